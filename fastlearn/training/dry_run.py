"""One batch of every path that a long training will take, and then everything as before."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlearn.runtime.seed import RunKey
from fastlearn.training.checkpoint import fitting_weights, pack_optimizer, read_checkpoint, write_checkpoint
from fastlearn.training.loop import StepFunction, run_fit
from fastlearn.training.predict import FirstBatches, predict_loader
from fastlearn.training.snapshot import preserved

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


def dry_run(state: TrainState, step: StepFunction, report: Callable[[str], Any] = print) -> dict[str, float]:
    """Train, validate, predict, save and load on one batch; returns seconds by path, and reports a line for each.

    The weights, the optimizer and every generator are put back, also when a path fails; its error is raised as it is.
    """
    plan = state.plan
    seconds: dict[str, float] = {}
    train: Any = FirstBatches(plan.train, 1)
    valid: Any = FirstBatches(plan.valid, 1) if plan.valid is not None else None
    state.plan = dataclasses.replace(plan, train=train, valid=valid, n_epochs=1, stream="dry_run")
    with preserved(state.model, state.optimizer, state.precision, state.events.callbacks):
        with _timed("training and validation", seconds, report):
            run_fit(state, step)
        with _timed("prediction", seconds, report):
            key = RunKey(plan.seed, "dry_run", 0)
            predict_loader(
                state.model,
                valid or train,
                state.precision,
                key,
                n_inp=plan.train.n_inp,
                channels_last=plan.channels_last,
                in_pieces=plan.in_pieces,
            )
        with _timed("saving and loading", seconds, report), tempfile.TemporaryDirectory() as folder:
            _save_and_load(state, Path(folder) / "dry_run.safetensors")
    return seconds


def _save_and_load(state: TrainState, path: Path) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
    optimizer_tensors, meta = pack_optimizer(state.optimizer)
    write_checkpoint(path, tensors | optimizer_tensors, {"kind": "dry_run", "optimizer": meta})
    state.model.load_state_dict(fitting_weights(state.model, read_checkpoint(path)[0], True, path))


@contextmanager
def _timed(name: str, seconds: dict[str, float], report: Callable[[str], Any]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
    report(f"✓ {name}: one batch in {seconds[name]:.2f} s")
