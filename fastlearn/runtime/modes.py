"""Training and evaluation modes of a network's modules, borrowed and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """Leaves every module of `model` in the mode it was found in, also after an error."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            if module.training != training:  # to set an attribute of a module takes ten times as long as to read it
                module.training = training


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts `model` in evaluation mode, and leaves every module in the mode it was found in.

    A model that is in evaluation mode already is not walked through again: for one picture that would show.
    """
    with kept_modes(model):
        if any(module.training for module in model.modules()):
            model.eval()
        yield
