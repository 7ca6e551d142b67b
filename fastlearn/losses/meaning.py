"""What any loss means by a model's output, be it fastlearn's, torch's module or function, a partial, or one's own."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[..., Tensor]
Activation = Callable[[Tensor], Tensor]

# torch's losses by what their input means
_MODULES: dict[str, tuple[type[nn.Module], ...]] = {
    "class": (nn.CrossEntropyLoss, nn.MultiMarginLoss),
    "log": (nn.NLLLoss,),
    "binary": (nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss),
    "probs": (nn.BCELoss,),
}
_FUNCTIONS: dict[Any, str] = {
    F.cross_entropy: "class",
    F.multi_margin_loss: "class",
    F.nll_loss: "log",
    F.binary_cross_entropy_with_logits: "binary",
    F.multilabel_soft_margin_loss: "binary",
    F.binary_cross_entropy: "probs",
}


def activation_of(loss_func: Any) -> Activation:
    """From a model's raw output to the probabilities (or values) that any loss means; identity if unknown."""
    own = getattr(loss_func, "activation", None)
    if callable(own):
        return own
    known: dict[str, Activation] = {"class": _softmax, "log": torch.exp, "binary": torch.sigmoid}
    return known.get(_kind(loss_func), _identity)


def decodes_of(loss_func: Any) -> Activation:
    """From what `activation_of` gives to the answer: class numbers, booleans or the values themselves."""
    own = getattr(loss_func, "decodes", None)
    if callable(own):
        return own
    return {"class": _argmax, "log": _argmax, "binary": _above_half, "probs": _above_half}.get(
        _kind(loss_func), _identity
    )


def per_sample(loss_func: Loss) -> Loss:
    """The same loss without its mean over the batch: (outputs, targets) → (batch,).

    A loss without a `reduction` is called on one sample at a time.
    """
    if isinstance(loss_func, nn.Module) and hasattr(loss_func, "reduction"):
        single: Any = copy.copy(loss_func)
        single.reduction = "none"
    elif _takes_reduction(loss_func):
        single = partial(loss_func, reduction="none")
    else:
        return lambda outputs, targets: torch.stack(
            [loss_func(outputs[i : i + 1], targets[i : i + 1]).reshape(-1).mean() for i in range(len(targets))]
        )
    return lambda outputs, targets: single(outputs, targets).reshape(len(targets), -1).mean(1)


def _takes_reduction(loss_func: Any) -> bool:
    try:
        return "reduction" in inspect.signature(loss_func).parameters
    except (TypeError, ValueError):
        return False


def _kind(loss_func: Any) -> str:
    while isinstance(loss_func, partial):
        loss_func = loss_func.func
    for kind, modules in _MODULES.items():
        if isinstance(loss_func, modules) or (isinstance(loss_func, type) and issubclass(loss_func, modules)):
            return kind
    try:
        return _FUNCTIONS.get(loss_func, "")
    except TypeError:  # an unhashable callable
        return ""


def _class_dim(x: Tensor) -> int:
    return 1 if x.dim() > 1 else 0  # where torch's own losses have the classes


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(_class_dim(logits))


def _argmax(probs: Tensor) -> Tensor:
    return probs.argmax(_class_dim(probs))


def _above_half(probs: Tensor) -> Tensor:
    return probs > 0.5


def _identity(x: Tensor) -> Tensor:
    return x
