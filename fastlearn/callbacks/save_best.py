"""Keep the weights of the best epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fastlearn.callbacks.tracker import Compare, TrackerCallback, finished_epoch
from fastlearn.errors import ConfigError
from fastlearn.options import checked_flag, found, named_options
from fastlearn.runtime.say import say
from fastlearn.training.checkpoint import (
    checkpoint_path,
    fitting_weights,
    pack_optimizer,
    pack_recorder,
    read_checkpoint,
    unpack_optimizer,
    weights_of,
    write_checkpoint,
)

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


class SaveModelCallback(TrackerCallback):
    """Saves the model whenever `monitor` is better than ever, and loads the best weights when the fit ends.

    The file is `path/model_dir/fname.safetensors`, which `learn.load(fname)` reads too. `every_epoch=True` (or a number
    k) saves every (k-th) epoch as `fname_<epoch>` instead and loads nothing; `at_end=True` also saves the last weights
    over `fname` and keeps them. `with_opt` saves, and loads, the optimizer's state too. A fit that an error or Ctrl-C
    ends keeps the weights of its last step; the best ones stand in the file.

    >>> learn.fit_one_cycle(10, cbs=SaveModelCallback(monitor="accuracy"))
    """

    order = 55

    @named_options
    def __init__(
        self, monitor: str = "valid_loss", comp: Compare | None = None, min_delta: float = 0.0, fname: str = "model",
        every_epoch: bool | int = False, at_end: bool = False, with_opt: bool = False, reset_on_fit: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        if not isinstance(every_epoch, int) or every_epoch < 0:
            raise ConfigError(f"every_epoch={found(every_epoch)} must be True, False or a number of epochs from 1.")
        if not isinstance(fname, (str, os.PathLike)) or not str(fname):
            what = "empty" if fname == "" else found(fname)
            raise ConfigError(f"fname is {what}; give a name for the file, such as fname='best'.")
        self.fname, self.every_epoch = str(fname), int(every_epoch)
        self.at_end, self.with_opt = checked_flag(at_end, "at_end"), checked_flag(with_opt, "with_opt")
        self.last_saved_path: Path | None = None

    def before_fit(self, state: TrainState) -> None:
        super().before_fit(state)
        if not state.goes_on:
            self.last_saved_path = None

    def after_epoch(self, state: TrainState) -> None:
        super().after_epoch(state)
        if self.every_epoch:
            if state.fit_epoch % self.every_epoch == 0:
                self._save(state, f"{self.fname}_{finished_epoch(state)}")
        elif self.new_best:
            self._save(state, self.fname)

    def after_fit(self, state: TrainState) -> None:
        if state.error is not None:
            return
        if self.at_end:
            self._save(state, self.fname)
        elif not self.every_epoch and self.last_saved_path is not None:
            self._load(state, self.last_saved_path)
            best = f"Best epoch: {self.best_epoch}, {self.monitor} {self.best:.6g}."
            say(f"{best} The model has its weights ({self.last_saved_path}).")

    def _save(self, state: TrainState, name: str) -> None:
        tensors = {f"model/{key}": tensor for key, tensor in weights_of(state.model).items()}
        history, recorder = pack_recorder(state.recorder)
        tensors |= history
        learner = {
            "epoch": state.epoch,
            "step": state.step,
            "seed": state.plan.seed,
            "precision": state.precision.state_dict(),
            "recorder": recorder,
        }
        meta: dict[str, Any] = {"kind": "learner", "torch": torch.__version__, "learner": learner}
        if self.with_opt:
            optimizer_tensors, meta["optimizer"] = pack_optimizer(state.optimizer)
            tensors |= optimizer_tensors
        self.last_saved_path = write_checkpoint(checkpoint_path(state.plan.model_path, name), tensors, meta)

    def _load(self, state: TrainState, path: Path) -> None:
        tensors, meta = read_checkpoint(path)
        state.model.load_state_dict(fitting_weights(state.model, tensors, True, path))
        if self.with_opt and "optimizer" in meta:
            unpack_optimizer(state.optimizer, tensors, meta["optimizer"])

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"path": None if self.last_saved_path is None else str(self.last_saved_path)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.last_saved_path = None if state["path"] is None else Path(state["path"])
