"""What a step of your own uses beside the model and the learner's optimizer, kept in checkpoints."""

from __future__ import annotations

from typing import Any

import torch

from fastlearn.errors import CheckpointError, ConfigError
from fastlearn.options import found
from fastlearn.training.callback import Callback
from fastlearn.training.checkpoint import pack_optimizer, unpack_optimizer

_WAY_OUT = "Make it as it was when the training began."


class KeepState(Callback):
    """Keeps objects of your own in checkpoints: a second optimizer, a second network, a scheduler, by names you choose.

    Each has `state_dict()` and `load_state_dict(state)`; a state consists of numbers, texts, tensors, lists and dicts.
    A training that goes on gives each back what it said. Without it, a resumed training begins
    with these objects as they are then, and not as they were.

    >>> critic_opt = torch.optim.Adam(critic.parameters())
    >>> learn.step = gan_step  # steps critic_opt too
    >>> learn.fit(5, cbs=[Checkpoint(), KeepState(critic=critic, critic_opt=critic_opt)])
    """

    needs_inputs = False

    def __init__(self, **objects: Any) -> None:
        for name, kept in objects.items():
            if not (callable(getattr(kept, "state_dict", None)) and callable(getattr(kept, "load_state_dict", None))):
                raise ConfigError(
                    f"KeepState({name}=…) keeps what has state_dict() and load_state_dict(state), such as an "
                    f"optimizer or a module, not {found(kept)}."
                )
        if not objects:
            raise ConfigError("KeepState() keeps nothing. Name what it is to keep: KeepState(critic_opt=critic_opt).")
        self.objects, self._kept = sorted(objects), objects

    def state_dict(self) -> dict[str, Any]:
        """What each object says, by name."""
        return {name: _said(kept) for name, kept in self._kept.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give each object what it said. Raises CheckpointError where it does not fit."""
        for name, kept in self._kept.items():
            if name not in state:
                continue
            if isinstance(kept, torch.optim.Optimizer):
                unpack_optimizer(kept, state[name]["tensors"], state[name]["rest"], _WAY_OUT)
            else:
                try:
                    kept.load_state_dict(state[name])
                except (KeyError, RuntimeError, TypeError, ValueError) as error:
                    why = " ".join(str(error).split()).rstrip(".")
                    raise CheckpointError(f"{name} does not take what was kept of it: {why}. {_WAY_OUT}") from error

    def __repr__(self) -> str:
        return f"KeepState({', '.join(self.objects)})"


def _said(kept: Any) -> dict[str, Any]:
    if isinstance(kept, torch.optim.Optimizer):
        tensors, rest = pack_optimizer(kept)
        return {"tensors": tensors, "rest": rest}
    return dict(kept.state_dict())
