"""A training of many epochs and checkpoints takes no more at its end than at its beginning."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from fastlearn.callbacks.checkpoint import Checkpoint
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState
from fastlearn.vision.all import CrossEntropyLossFlat, DataLoader, DataLoaders, Learner

EPOCHS = 10_000
MOST_GROWTH = 24 << 20  # bytes; the history takes 1 kB an epoch, and a checkpoint that leaked would take 30


class Watch(Callback):
    """Reads what the process holds, every so many epochs."""

    only_watches = True

    def __init__(self) -> None:
        self.memory: list[int] = []
        self.handles: list[int] = []
        self.threads: list[int] = []
        self.seconds: list[float] = []

    def after_epoch(self, state: TrainState) -> None:
        if state.fit_epoch % 500 == 250:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
            self.handles.append(len(os.listdir("/proc/self/fd")))
            self.threads.append(len(os.listdir("/proc/self/task")))
            self.seconds.append(time.monotonic())


@pytest.mark.soak
def test_memory_and_handles_stay_flat(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    items = [(torch.randn(64, generator=generator), k % 3) for k in range(16)]
    dls = DataLoaders(DataLoader(items, bs=8, shuffle=True, seed=1), DataLoader(items[:8], bs=8, seed=2))
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(), path=tmp_path, seed=7)
    watch = Watch()
    with learn.no_bar():
        learn.fit(EPOCHS, 1e-3, cbs=[Checkpoint(every="epoch", keep=2), watch])
    took = [round(b - a) for a, b in zip(watch.seconds, watch.seconds[1:], strict=False)]
    print(f"\n{EPOCHS} epochs: MiB {[one >> 20 for one in watch.memory]}, handles {watch.handles},")
    print(f"threads {watch.threads}, seconds for each 500: {took}")
    assert max(watch.memory) - watch.memory[2] < MOST_GROWTH
    assert max(watch.handles) - min(watch.handles) <= 2  # a file that is being written, and its folder
    assert len(set(watch.threads)) == 1
    assert len(list((tmp_path / "models" / "checkpoints").iterdir())) <= 3
