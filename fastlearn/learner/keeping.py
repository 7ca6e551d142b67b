"""How a learner is saved and loaded."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any, Self

import torch

from fastlearn.callbacks.checkpoint import FOLDER
from fastlearn.errors import ConfigError
from fastlearn.learner.identity import identity_of
from fastlearn.learner.resuming import checkpoint_folder, goes_on, training_method
from fastlearn.learner.setup import LearnerSetup
from fastlearn.options import checked_number, checked_path, named_options
from fastlearn.runtime.say import say
from fastlearn.training import capture, runs
from fastlearn.training.callback import Callback, as_callbacks
from fastlearn.training.calls import from_plain
from fastlearn.training.checkpoint import (
    check_learner_state,
    checkpoint_path,
    fitting_weights,
    from_json,
    json_safe,
    pack_callbacks,
    pack_optimizer,
    pack_recorder,
    read_checkpoint,
    unpack_callbacks,
    unpack_optimizer,
    unpack_recorder,
    weights_of,
    write_checkpoint,
)
from fastlearn.training.loop import save_generators
from fastlearn.training.state import Call, Position, Run


class Keeping(LearnerSetup):
    """The methods of a `Learner` that write it to disk and read it back."""

    @named_options
    def save(self, file: str | os.PathLike[str], with_opt: bool = True) -> Path:
        """Save weights, optimizer, callbacks, history and counters to `path/model_dir/file.safetensors`: the path.

        The file is written whole or not at all; `with_opt=False` leaves the optimizer out. An absolute `file` is kept.

        Raises CheckpointError when the file cannot be named or written, or when a state has no form without pickle.

        >>> path = learn.save("stage-1")  # models/stage-1.safetensors
        """
        tensors = {f"model/{name}": tensor for name, tensor in weights_of(self.model).items()}
        history, recorder = pack_recorder(self.recorder)
        tensors |= history
        learner = self._counters() | {"recorder": recorder}
        meta: dict[str, Any] = {"kind": "learner", "torch": torch.__version__, "learner": learner}
        if with_opt and self.opt is not None:
            optimizer_tensors, meta["optimizer"] = pack_optimizer(self.opt)
            tensors |= optimizer_tensors
        callback_tensors, meta["callbacks"] = pack_callbacks(self.cbs)
        return write_checkpoint(checkpoint_path(self.path / self.model_dir, file), tensors | callback_tensors, meta)

    @named_options
    def load(self, file: str | os.PathLike[str], with_opt: bool = True, strict: bool = True) -> Self:
        """Load what `save` wrote. A file that is missing or does not fit raises CheckpointError and changes nothing.

        `with_opt=False` leaves the optimizer as it is, `strict=False` the weights that the file does not have.

        >>> learn.load("stage-1").validate()
        """
        path = checkpoint_path(self.path / self.model_dir, file)
        tensors, meta = read_checkpoint(path)
        weights = fitting_weights(self.model, tensors, strict, path)
        check_learner_state(meta.get("learner"), tensors, path)
        if with_opt and meta.get("optimizer"):
            unpack_optimizer(self.opt or self.create_opt(), tensors, meta["optimizer"])
        self.model.load_state_dict(weights, strict=strict)
        self._load_counters(meta["learner"])
        unpack_recorder(self.recorder, tensors, meta["learner"]["recorder"])
        unpack_callbacks(self.cbs, tensors, meta.get("callbacks", []))
        return self

    def state_dict(self) -> dict[str, Any]:
        """Counters, seed and history as JSON values (weights and optimizer have state of their own).

        >>> learn.state_dict()["epoch"]
        """
        return self._counters() | {"recorder": json_safe(self.recorder.state_dict())}

    def _counters(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "step": self.global_step,
            "seed": self.seed,
            "precision": self.precision.state_dict(),
            "channels_last": self.channels_last,
        }

    @named_options
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` said.

        >>> learn.load_state_dict(learn.state_dict())
        """
        self._load_counters(state)
        self.recorder.load_state_dict(from_json(state["recorder"]))

    def _load_counters(self, state: dict[str, Any]) -> None:
        self.epoch, self.global_step, self.seed = int(state["epoch"]), int(state["step"]), int(state["seed"])
        self.precision.load_state_dict(state["precision"])
        if state.get("channels_last", self.channels_last) != self.channels_last:
            was, now = ("usual", "channels-last") if self.channels_last else ("channels-last", "usual")
            say(
                f"What was loaded trained in {was} memory format, this learner has the {now} one, and their results "
                f"differ by rounding. For the same bits: learn.to_channelslast({not self.channels_last})."
            )

    @named_options
    def save_checkpoint(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Save the learner as it is now, as `Checkpoint` does in a training: the new checkpoint's folder.

        `folder` holds checkpoints, by default `checkpoints` in the model folder; none of them is removed. Raises
        CheckpointError when it cannot be written.

        >>> path = learn.save_checkpoint()
        >>> learn.resume(path)
        """
        if self._run is not None:
            raise ConfigError("A training is going on: give it cbs=Checkpoint(every=…), which knows where it is.")
        run = Run(Call("", {}), lambda: identity_of(self, self.cbs), loaders=tuple(self.dls.loaders))
        state = self._state(dataclasses.replace(self._plan(0, None), run=run), self.cbs, self.recorder)
        state.generators = save_generators(self.device)
        tensors, meta = capture.capture(state, Position(done=True))
        into = self.path / self.model_dir / FOLDER if folder is None else Path(checked_path(folder, "folder"))
        with runs.owned(into):
            return runs.write_run(into / runs.next_name(into, self.global_step), tensors, meta, run="", finished=True)

    @named_options
    def resume(self, folder: str | os.PathLike[str] | None = None, cbs: Any = None, strict: bool = True) -> Self:
        """Go on with the training of a checkpoint, on its exact next batch, with the bits that it would have had.

        `folder` is a checkpoint, or holds checkpoints, of which the newest whole one is taken; by default those in the
        model folder. The learner is to be made as it was; `cbs` are the callbacks that the interrupted call was given.
        On another machine or with other versions, which are told, rounding may differ.

        Raises CheckpointError where there is no whole checkpoint, and where data, model or hyperparameters are not
        those of the training; with `strict=False` it names what differs and goes on.

        >>> learn = vision_learner(dls, resnet18, metrics=accuracy)  # as before the kill
        >>> learn.resume("models/checkpoints")
        """
        added = as_callbacks(cbs)
        return self._go_on_from(self._saved_in(folder, added), added, strict)

    @named_options
    def recover(self, lr_scale: float = 0.5, folder: str | os.PathLike[str] | None = None, cbs: Any = None) -> Self:
        """Go on from the last checkpoint with `lr_scale` times the learning rates, after a loss that was not finite.

        The rest of the schedule is lower by that factor; a second `recover` lowers it further. Raises CheckpointError
        where there is no checkpoint: fit with `resume=True`, or with `cbs=Checkpoint()`, to have some.

        >>> learn.recover(lr_scale=0.5)
        """
        if not 0 < checked_number(lr_scale, "lr_scale", 0.5) < math.inf:
            raise ConfigError(f"lr_scale={lr_scale!r} multiplies the learning rates: a number above 0, such as 0.5.")
        added = as_callbacks(cbs)
        saved = self._saved_in(folder, added)
        before, scale = self._recovered
        self._lr_scale = float(lr_scale) * (scale if before == saved.path else 1.0)  # again, and no checkpoint since
        self._recovered = saved.path, self._lr_scale
        try:
            return self._go_on_from(saved, added, True)
        finally:
            self._lr_scale = 1.0

    def _saved_in(self, folder: str | os.PathLike[str] | None, cbs: list[Callback]) -> runs.RunCheckpoint:
        """The checkpoint that `folder` is, or the newest whole one in it or where this learner keeps its own."""
        return runs.find_run(checkpoint_folder(self, cbs) if folder is None else Path(checked_path(folder, "folder")))

    def _go_on_from(self, saved: runs.RunCheckpoint, cbs: list[Callback], strict: bool) -> Self:
        """The call that the checkpoint is of, made again from there; of one that was saved by hand, only its state."""
        capture.check_whole(saved.state, saved.path)
        call = capture.call_of(saved.state)
        self._given, self._strict = saved, strict
        try:
            if call.method:
                arguments = {name: from_plain(value) for name, value in call.arguments.items()}
                training_method(self, call.method)(**arguments, cbs=cbs, resume=saved.path)
            else:
                self._take_all(cbs)
        finally:
            self._given, self._strict = None, True
        return self

    def _take_all(self, cbs: list[Callback]) -> None:
        self._run = Run(Call("", {}), loaders=tuple(self.dls.loaders))
        try:
            goes_on(self, True, cbs)
        finally:
            self._run = self._resume = None
