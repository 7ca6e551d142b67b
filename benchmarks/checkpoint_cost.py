"""What checkpoints cost a training: milliseconds of one checkpoint, beside torch's own way of saving.

ResNet18 with fastlearn's Adam (11 million weights, two moments each: 134 MB), batches of 8 pictures of 64 px that lie
ready, a checkpoint every 4 of 16 steps. `wall` and `cpu` are what one adds to the training: the seconds of a round,
less those of the same training without any, over the number of checkpoints.

- `background` is `Checkpoint(every=4)` as it comes: the training goes on while a thread writes, and waits only where
  the one before is not done yet; `foreground` is `background=False`.
- `torch.save` saves the same state dicts in a callback, without a digest, `fsync` or rename: what a kill then leaves
  may be no checkpoint at all. `torch.save, fsync` waits until the file is on the disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from harness import Build, Contestant, Measure, Round, main, timed

STEPS, EVERY, BATCH_SIZE, SIZE = 16, 4, 8, 64
N_CHECKPOINTS = STEPS // EVERY


def learner(folder: Path) -> Any:
    """A learner over batches that lie ready."""
    import torch
    from torchvision.models import resnet18

    from fastlearn.vision.all import DataLoaders, Learner, set_seed

    set_seed(0)
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(BATCH_SIZE, 3, SIZE, SIZE, generator=generator), torch.arange(BATCH_SIZE) % 10
    loaders = DataLoaders([batch] * STEPS, device="cpu")
    return Learner(loaders, resnet18(num_classes=10), torch.nn.functional.cross_entropy, path=folder, seed=0)


def saving(callbacks: Any) -> Build:
    """A training with some callbacks, and in each round the same without them before it."""

    def build(options: argparse.Namespace) -> Round:
        folder = tempfile.TemporaryDirectory(prefix="fastlearn-bench-checkpoints-", dir=options.folder)
        learn = learner(Path(folder.name))
        with learn.no_bar():
            learn.fit(1)

        def train(cbs: Any) -> dict[str, float]:
            with learn.no_bar():
                return timed(lambda: learn.fit(1, cbs=cbs))

        def one_round() -> dict[str, float]:
            without = train([])
            figures = train(callbacks(Path(folder.name)))
            return {name: (value - without[name]) / N_CHECKPOINTS for name, value in figures.items()}

        one_round.folder = folder  # type: ignore[attr-defined] (it goes with the worker)
        return one_round

    return build


def ours(background: bool) -> Any:
    def callbacks(folder: Path) -> Any:
        from fastlearn.vision.all import Checkpoint

        return Checkpoint(every=EVERY, background=background)

    return callbacks


def by_torch(durable: bool) -> Any:
    def callbacks(folder: Path) -> Any:
        import torch

        from fastlearn.training.callback import Callback

        class Save(Callback):
            def after_step(self, state: Any) -> None:
                if (state.fit_step + 1) % EVERY == 0:
                    parts = {"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()}
                    with open(folder / "checkpoint.pt", "wb") as file:
                        torch.save(parts, file)
                        if durable:
                            file.flush()
                            os.fsync(file.fileno())

        return Save()

    return callbacks


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=None, help="where checkpoints go (default: a temporary one)")


MEASURE = Measure(
    name="checkpoint_cost",
    title="What one checkpoint of ResNet18 with Adam (134 MB) adds to a training",
    contestants={
        "torch.save": Contestant(saving(by_torch(durable=False))),
        "torch.save, fsync": Contestant(saving(by_torch(durable=True))),
        "foreground": Contestant(saving(ours(background=False))),
        "background": Contestant(saving(ours(background=True))),
    },
    units={"wall": "ms", "cpu": "ms"},
    scale={"wall": 1e3, "cpu": 1e3},
    reference="torch.save",
    rounds=5,
    add_options=add_options,
)

if __name__ == "__main__":
    main(MEASURE)
