"""How a learner is saved and loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch

from fastlearn.learner.setup import LearnerSetup
from fastlearn.options import named_options
from fastlearn.runtime.say import say
from fastlearn.training.checkpoint import (
    check_learner_state,
    checkpoint_path,
    fitting_weights,
    from_json,
    json_safe,
    pack_callbacks,
    pack_optimizer,
    read_checkpoint,
    unpack_callbacks,
    unpack_optimizer,
    write_checkpoint,
)


class Keeping(LearnerSetup):
    """The methods of a `Learner` that write it to disk and read it back."""

    @named_options
    def save(self, file: str | os.PathLike[str], with_opt: bool = True) -> Path:
        """Save weights, optimizer, callbacks, history and counters to `path/model_dir/file.safetensors`: the path.

        The file is written whole or not at all; `with_opt=False` leaves the optimizer out. An absolute `file` is kept.

        Raises CheckpointError when the file cannot be named or written, or when a state has no form without pickle.

        >>> path = learn.save("stage-1")  # models/stage-1.safetensors
        """
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        meta: dict[str, Any] = {"kind": "learner", "torch": torch.__version__, "learner": self.state_dict()}
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
        check_learner_state(meta.get("learner"), path)
        if with_opt and meta.get("optimizer"):
            unpack_optimizer(self.opt or self.create_opt(), tensors, meta["optimizer"])
        self.model.load_state_dict(weights, strict=strict)
        self.load_state_dict(meta["learner"])
        unpack_callbacks(self.cbs, tensors, meta.get("callbacks", []))
        return self

    def state_dict(self) -> dict[str, Any]:
        """Counters, seed and history as JSON values (weights and optimizer have state of their own).

        >>> learn.state_dict()["epoch"]
        """
        return {
            "epoch": self.epoch,
            "step": self.global_step,
            "seed": self.seed,
            "precision": self.precision.state_dict(),
            "channels_last": self.channels_last,
            "recorder": json_safe(self.recorder.state_dict()),
        }

    @named_options
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` said.

        >>> learn.load_state_dict(learn.state_dict())
        """
        self.epoch, self.global_step, self.seed = int(state["epoch"]), int(state["step"]), int(state["seed"])
        self.precision.load_state_dict(state["precision"])
        self.recorder.load_state_dict(from_json(state["recorder"]))
        if state.get("channels_last", self.channels_last) != self.channels_last:
            was, now = ("usual", "channels-last") if self.channels_last else ("channels-last", "usual")
            say(
                f"What was loaded trained in {was} memory format, this learner has the {now} one, and their results "
                f"differ by rounding. For the same bits: learn.to_channelslast({not self.channels_last})."
            )
