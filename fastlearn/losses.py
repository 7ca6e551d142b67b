"""Losses that know how to turn a model's output into probabilities (`activation`) and into an answer (`decodes`).

The three functions at the end do the same for any loss: torch's modules and functions, partials, or one's own.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastlearn.errors import ConfigError, DataError

Reduction = Literal["mean", "sum", "none"]
Loss = Callable[..., Tensor]
Activation = Callable[[Tensor], Tensor]


class _Loss(nn.Module):
    """What the losses share: a reduction, tensors that follow the logits to their device, identity for the rest."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ConfigError(f"reduction is 'mean', 'sum' or 'none', found {reduction!r}.")
        self.reduction = reduction

    def activation(self, logits: Tensor) -> Tensor:
        """What the model's raw output means to a reader: probabilities, or the numbers themselves."""
        return logits

    def decodes(self, probs: Tensor) -> Tensor:
        """The answer from what `activation` gave."""
        return probs

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"

    def _near_logits(self, name: str, logits: Tensor) -> Tensor | None:
        tensor = self._buffers[name]
        if tensor is not None and (tensor.device != logits.device or tensor.dtype != logits.dtype):
            tensor = tensor.to(logits)
            setattr(self, name, tensor)
        return tensor


class _ClassLoss(_Loss):
    """One class out of n for every position; `axis` is the logits' class axis, all others are flattened."""

    weight: Tensor | None

    def __init__(self, axis: int = -1, weight: Any = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.axis = axis
        self.register_buffer("weight", _tensor(weight), persistent=False)

    def activation(self, logits: Tensor) -> Tensor:
        """Probabilities: the softmax over the class axis."""
        return logits.softmax(self.axis)

    def decodes(self, probs: Tensor) -> Tensor:
        """Class numbers, int64."""
        return probs.argmax(self.axis)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (…, n) and class numbers (…), or soft targets (…, n); half precision becomes float32."""
        if logits.dim() == 2 and targets.dim() == 1 and targets.dtype == torch.int64 and len(logits) == len(targets):
            return self._flat(logits if logits.dtype == torch.float32 else _full(logits), targets)  # nothing to flatten
        logits = _full(logits)
        flat, targets, shape = _flatten(logits, targets, self.axis)
        losses = self._flat(flat, targets)
        return losses.view(shape) if self.reduction == "none" else losses

    def _flat(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The reduced loss of logits (m, n) and targets (m,) int64 or (m, n) float."""
        raise NotImplementedError


class CrossEntropyLossFlat(_ClassLoss):
    """Cross-entropy over every position; `weight` has one number a class. Soft targets (mixup) work too.

    >>> loss_func = CrossEntropyLossFlat(weight=[1.0, 3.0])
    >>> loss_func(logits, targets).backward()
    >>> loss_func.decodes(loss_func.activation(logits))
    """

    def __init__(
        self, axis: int = -1, weight: Any = None, ignore_index: int = -100, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(axis, weight, reduction)
        self.ignore_index = ignore_index

    def _flat(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = self._near_logits("weight", logits)
        if targets.is_floating_point():  # ignore_index has no meaning then, and torch insists on its default
            return F.cross_entropy(logits, targets, weight, reduction=self.reduction)
        return F.cross_entropy(logits, targets, weight, ignore_index=self.ignore_index, reduction=self.reduction)


class LabelSmoothingCrossEntropy(_ClassLoss):
    """(1-eps)·cross-entropy + eps·mean of -log p over the classes (Szegedy et al. 2016, section 7).

    `weight` bears on the first term alone, as in fast.ai; torch's own label smoothing weighs both.
    """

    def __init__(self, eps: float = 0.1, weight: Any = None, reduction: Reduction = "mean", axis: int = -1) -> None:
        super().__init__(axis, weight, reduction)
        self.eps = eps

    def _flat(self, logits: Tensor, targets: Tensor) -> Tensor:
        uniform = -logits.log_softmax(-1).mean(-1)
        hard = F.cross_entropy(logits, targets, self._near_logits("weight", logits), reduction=self.reduction)
        return self.eps * _reduce(uniform, self.reduction) + (1 - self.eps) * hard


class LabelSmoothingCrossEntropyFlat(LabelSmoothingCrossEntropy):
    """`LabelSmoothingCrossEntropy` with the class axis first among the arguments."""

    def __init__(self, axis: int = -1, eps: float = 0.1, weight: Any = None, reduction: Reduction = "mean") -> None:
        super().__init__(eps, weight, reduction, axis)


class FocalLoss(_ClassLoss):
    """Cross-entropy times (1 - p)^gamma, p the probability of the true class (Lin et al. 2017, equation 5).

    `weight` (the paper's alpha, one number a class) multiplies the result and does not enter p, as in the paper;
    fast.ai takes p from the weighted cross-entropy. The mean is over positions. With soft targets
    p = exp(-cross-entropy).
    """

    def __init__(self, gamma: float = 2.0, weight: Any = None, reduction: Reduction = "mean", axis: int = -1) -> None:
        super().__init__(axis, weight, reduction)
        self.gamma = gamma

    def _flat(self, logits: Tensor, targets: Tensor) -> Tensor:
        entropy = F.cross_entropy(logits, targets, reduction="none")
        weight = self._near_logits("weight", logits)
        weighted = entropy if weight is None else F.cross_entropy(logits, targets, weight, reduction="none")
        # expm1 keeps the small 1-p of confident predictions, which 1 - exp(-x) rounds away; clamped because the root
        # of a rounding error below 0 is NaN.
        return _reduce((-torch.expm1(-entropy)).clamp(min=0) ** self.gamma * weighted, self.reduction)


class FocalLossFlat(FocalLoss):
    """`FocalLoss`, under fast.ai's other name."""


class _SameShape(_Loss):
    """One target for every output; (n, 1) and (n,) count as the same shape."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of as many outputs as targets; half precision becomes float32."""
        outputs = _full(outputs)
        if outputs.shape != targets.shape:
            if outputs.numel() != targets.numel() or outputs.shape[:1] != targets.shape[:1]:
                raise DataError(
                    f"{type(self).__name__} needs one target for each output: the model gave {tuple(outputs.shape)}, "
                    f"the targets are {tuple(targets.shape)}. Does n_out fit the targets?"
                )
            targets = targets.view(outputs.shape)
        return self._compare(outputs, targets.to(outputs.dtype))

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError


class MSELossFlat(_SameShape):
    """The mean squared error."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets, reduction=self.reduction)


class L1LossFlat(_SameShape):
    """The mean absolute error."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.l1_loss(outputs, targets, reduction=self.reduction)


class _Binary(_SameShape):
    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, thresh: float = 0.5, weight: Any = None, pos_weight: Any = None, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction)
        self.thresh = thresh
        self.register_buffer("weight", _tensor(weight), persistent=False)
        self.register_buffer("pos_weight", _tensor(pos_weight), persistent=False)

    def decodes(self, probs: Tensor) -> Tensor:
        """True where the probability is above `thresh`."""
        return probs > self.thresh


class BCEWithLogitsLossFlat(_Binary):
    """Binary cross-entropy of each label by itself. `weight` and `pos_weight` have one number a label."""

    def activation(self, logits: Tensor) -> Tensor:
        """The probability of each label: the sigmoid."""
        return logits.sigmoid()

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight, pos_weight = self._near_logits("weight", outputs), self._near_logits("pos_weight", outputs)
        return F.binary_cross_entropy_with_logits(
            outputs, targets, weight, pos_weight=pos_weight, reduction=self.reduction
        )


class BCELossFlat(_Binary):
    """Binary cross-entropy of outputs that are probabilities already; decoded at `thresh` (fast.ai: not at all)."""

    def __init__(self, thresh: float = 0.5, weight: Any = None, reduction: Reduction = "mean") -> None:
        super().__init__(thresh, weight, None, reduction)

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy(outputs, targets, self._near_logits("weight", outputs), reduction=self.reduction)


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


def _full(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _identity(x: Tensor) -> Tensor:
    return x


def _tensor(values: Any) -> Tensor | None:
    return None if values is None else torch.as_tensor(values, dtype=torch.float32)


def _reduce(losses: Tensor, reduction: Reduction) -> Tensor:
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _flatten(logits: Tensor, targets: Tensor, axis: int) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Logits as (m, n), targets as (m,) int64 or (m, n), and the shape of the m positions."""
    soft = targets.is_floating_point() and targets.shape == logits.shape
    if logits.dim() > 2 and axis not in (-1, logits.dim() - 1):
        logits = logits.movedim(axis, -1)
        targets = targets.movedim(axis, -1) if soft else targets
    shape, n_classes = tuple(logits.shape[:-1]), logits.shape[-1]
    logits = logits.reshape(-1, n_classes)
    if soft:
        return logits, targets.to(logits.dtype).reshape(-1, n_classes), shape
    if targets.is_floating_point():
        raise DataError(
            f"Class targets are whole numbers of shape {shape}, found {targets.dtype} of shape {tuple(targets.shape)}. "
            "For numbers to predict use RegressionBlock and MSELossFlat, for several labels BCEWithLogitsLossFlat."
        )
    if targets.numel() != logits.shape[0]:
        raise DataError(
            f"The model gave logits for {shape} positions with {n_classes} classes, but the targets have shape "
            f"{tuple(targets.shape)}. One class number a position is expected; is the class axis {axis} right?"
        )
    return logits, targets.reshape(-1).long(), shape
