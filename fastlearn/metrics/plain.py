"""The everyday metrics in plain torch. Each is a function of (outputs, targets); given to a Learner it is accumulated
exactly: sums and counts, not means of batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastlearn.errors import ConfigError, DataError
from fastlearn.metrics.base import Metric, Ratio, TaskName, name_of, wide
from fastlearn.options import (
    checked_count,
    checked_number,
    checked_whole,
    found,
    named_options,
    option_names,
    unknown_option,
)


@named_options
def accuracy(inp: Tensor, targ: Tensor, axis: int = -1) -> Tensor:
    """The share of positions at which the largest output is the target's class; classes along `axis`.

    Outputs are (…, classes), targets (…) class numbers. Raises DataError unless there is one target a prediction.

    >>> accuracy(torch.tensor([[0.2, 0.8], [0.9, 0.1]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    return _mean(_hits, inp, targ, axis=axis)


@named_options
def error_rate(inp: Tensor, targ: Tensor, axis: int = -1) -> Tensor:
    """1 - `accuracy`.

    >>> error_rate(torch.tensor([[0.2, 0.8], [0.9, 0.1]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    return 1 - accuracy(inp, targ, axis=axis)


@named_options
def top_k_accuracy(inp: Tensor, targ: Tensor, k: int = 5, axis: int = -1) -> Tensor:
    """The share of positions at which the target's class is among the `k` largest outputs.

    Shapes as in `accuracy`. Raises DataError for a `k` above the number of classes. Another `k` for a learner:

    >>> learn = Learner(dls, model, metrics=partial(top_k_accuracy, k=2))
    """
    return _mean(_top_hits, inp, targ, k=k, axis=axis)


@named_options
def accuracy_multi(inp: Tensor, targ: Tensor, thresh: float = 0.5, sigmoid: bool = True) -> Tensor:
    """The share of labels that are right, an output counting as present above the probability `thresh`.

    Outputs and targets (0 or 1) are (…, labels).

    >>> accuracy_multi(torch.tensor([[2.0, -2.0, -1.0]]), torch.tensor([[1, 0, 1]]))
    tensor(0.6667)
    """
    return _mean(_label_hits, inp, targ, thresh=thresh, sigmoid=sigmoid)


@named_options
def mse(inp: Tensor, targ: Tensor) -> Tensor:
    """The mean squared error.

    Raises DataError unless outputs and targets hold as many numbers.

    >>> mse(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    return _mean(_squares, inp, targ)


@named_options
def rmse(inp: Tensor, targ: Tensor) -> Tensor:
    """The root of the mean squared error (over all samples, not the mean of the batches' roots).

    >>> rmse(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(1.4142)
    """
    return mse(inp, targ).sqrt()


@named_options
def mae(inp: Tensor, targ: Tensor) -> Tensor:
    """The mean absolute error.

    >>> mae(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(1.)
    """
    return _mean(_distances, inp, targ)


@named_options
def msle(inp: Tensor, targ: Tensor) -> Tensor:
    """The mean squared error of log(1 + x); outputs and targets are above -1.

    >>> msle(torch.tensor([1.0]), torch.tensor([0.0]))
    tensor(0.4805)
    """
    return _mean(_log_squares, inp, targ)


@named_options
def exp_rmspe(inp: Tensor, targ: Tensor) -> Tensor:
    """The root mean squared percentage error of targets that are logarithms.

    >>> exp_rmspe(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]))
    tensor(0.)
    """
    return _mean(_relative_squares, inp, targ).sqrt()


class Perplexity(Ratio):
    """exp of the mean cross-entropy over all tokens; outputs (…, vocabulary), targets (…).

    >>> learn = Learner(dls, model, metrics=Perplexity())
    """

    @named_options
    def __init__(self, axis: int = -1, ignore_index: int = -100) -> None:
        checked_whole(ignore_index, "ignore_index")
        parts = partial(_entropy, axis=checked_whole(axis, "axis"), ignore_index=ignore_index)
        super().__init__("perplexity", parts, _exp, ("classification",))


class BrierScore(Ratio):
    """The mean squared distance of the positive class' probability from 0 or 1, for two classes.

    Probabilities are used, as Brier (1950) has it; fast.ai scores the decided class instead.

    >>> learn = Learner(dls, model, metrics=BrierScore())
    """

    @named_options
    def __init__(self, axis: int = -1, pos_label: int = 1) -> None:
        checked_whole(pos_label, "pos_label")
        parts = partial(_brier, axis=checked_whole(axis, "axis"), pos_label=pos_label)
        super().__init__("brier_score", parts, None, ("classification",))

    def problem(self, task: Any) -> str | None:
        return needs_two(task)


class HammingLoss(Ratio):
    """The share of wrong positions: for one label a sample, the error rate.

    >>> learn = Learner(dls, model, metrics=HammingLoss())
    """

    @named_options
    def __init__(self, axis: int = -1) -> None:
        parts = partial(_hits, axis=checked_whole(axis, "axis"))
        super().__init__("hamming_loss", parts, _complement, ("classification",))


class HammingLossMulti(Ratio):
    """The share of labels that are wrong.

    >>> learn = Learner(dls, model, metrics=HammingLossMulti())
    """

    @named_options
    def __init__(self, thresh: float = 0.5, sigmoid: bool = True) -> None:
        parts = partial(_label_hits, thresh=checked_number(thresh, "thresh", 0.5), sigmoid=sigmoid)
        super().__init__("hamming_loss_multi", parts, _complement, ("multilabel",))


class Dice(Ratio):
    """2·|A∩B| / (|A|+|B|) of the foreground (any class but 0) over all pixels (Dice 1945); classes along `axis`.

    >>> learn = Learner(dls, model, metrics=Dice())
    """

    @named_options
    def __init__(self, axis: int = 1) -> None:
        super().__init__("dice", partial(_overlap, axis=checked_whole(axis, "axis")))


def needs_two(task: Any) -> str | None:
    """The complaint of a metric for two classes about a task with more, or None."""
    return None if task.n_out == 2 else f"it is for 2 classes and the data have {task.n_out}"


def plain_metric(func: Any) -> Metric | None:
    """The exact metric for one of this file's functions or a partial of one; None for any other."""
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    inner = func
    while isinstance(inner, partial):
        args, keywords, inner = inner.args + args, {**inner.keywords, **keywords}, inner.func
    try:
        entry = _PARTS.get(inner)
    except TypeError:  # an unhashable callable
        return None
    if entry is None or args:
        return None
    known = option_names(inner)
    for name in keywords:
        if name not in known:
            raise ConfigError(unknown_option(name, inner.__name__, known))
    parts, finish, suits = entry
    metric = Ratio(name_of(func), partial(parts, **keywords), finish, suits)
    if inner is top_k_accuracy:
        _check_k(keywords.get("k", 5))
        metric.problem = partial(_too_many, keywords.get("k", 5))  # type: ignore[method-assign]
    return metric


def _check_k(k: Any) -> None:
    if checked_count(k, "k") is None:
        raise ConfigError("k is a whole number from 1, not None.")


def _too_many(k: int, task: Any) -> str | None:
    return (
        f"k={k} and the data have {task.n_out} classes; type partial(top_k_accuracy, k=2)" if k > task.n_out else None
    )


Sum = tuple[Tensor, int | Tensor]


def _mean(parts: Callable[..., Sum], inp: Tensor, targ: Tensor, **options: Any) -> Tensor:
    """The mean of one call; ConfigError for what is no tensor."""
    for name, given in (("inp", inp), ("targ", targ)):
        if not isinstance(given, Tensor):
            raise ConfigError(f"{name} is a tensor, not {found(given)}. To make one: tensor(…).")
    if "axis" in options:
        checked_whole(options["axis"], "axis")
    if "thresh" in options and not (isinstance(options["thresh"], Tensor) and options["thresh"].numel() == 1):
        checked_number(options["thresh"], "thresh", 0.5)
    _check_k(options.get("k", 5))
    total, count = parts(inp, targ, **options)
    return total.float() / count


def _hits(outputs: Tensor, targets: Tensor, axis: int = -1) -> Sum:
    right = outputs.argmax(axis).reshape(-1) == _same(outputs.numel() // outputs.shape[axis], targets, outputs)
    return right.sum(), right.numel()


def _top_hits(outputs: Tensor, targets: Tensor, k: int = 5, axis: int = -1) -> Sum:
    if k > outputs.shape[axis]:
        raise DataError(f"top_k_accuracy with k={k} needs {k} classes, found {outputs.shape[axis]}. Give a smaller k.")
    best = outputs.movedim(axis, -1).topk(k, dim=-1).indices.reshape(-1, k)
    right = best == _same(len(best), targets, outputs)[:, None]
    return right.sum(), len(best)


def _label_hits(outputs: Tensor, targets: Tensor, thresh: float = 0.5, sigmoid: bool = True) -> Sum:
    probs = outputs.sigmoid() if sigmoid else outputs
    right = (probs.reshape(-1) > thresh) == (_same(outputs.numel(), targets, outputs) > 0.5)
    return right.sum(), right.numel()


def _squares(outputs: Tensor, targets: Tensor) -> Sum:
    return (_flat(outputs) - _same(outputs.numel(), targets, outputs)).square().sum(), outputs.numel()


def _distances(outputs: Tensor, targets: Tensor) -> Sum:
    return (_flat(outputs) - _same(outputs.numel(), targets, outputs)).abs().sum(), outputs.numel()


def _log_squares(outputs: Tensor, targets: Tensor) -> Sum:
    return (_flat(outputs).log1p() - _same(outputs.numel(), targets, outputs).log1p()).square().sum(), outputs.numel()


def _relative_squares(outputs: Tensor, targets: Tensor) -> Sum:
    return (1 - (_flat(outputs) - _same(outputs.numel(), targets, outputs)).exp()).square().sum(), outputs.numel()


def _entropy(outputs: Tensor, targets: Tensor, axis: int = -1, ignore_index: int = -100) -> Sum:
    logits = outputs.movedim(axis, -1).reshape(-1, outputs.shape[axis]).float()
    numbers = _same(len(logits), targets, outputs)
    total = F.cross_entropy(logits, numbers, ignore_index=ignore_index, reduction="sum")
    return total, (numbers != ignore_index).sum()


def _brier(outputs: Tensor, targets: Tensor, axis: int = -1, pos_label: int = 1) -> Sum:
    probs = wide(outputs).softmax(axis).select(axis, pos_label).reshape(-1)
    return (probs - (_same(len(probs), targets, outputs) == pos_label).to(probs.dtype)).square().sum(), len(probs)


def _overlap(outputs: Tensor, targets: Tensor, axis: int = 1) -> Sum:
    said = outputs.argmax(axis).reshape(-1) > 0
    true = _same(len(said), targets, outputs) > 0
    return 2 * (said & true).sum(), said.sum() + true.sum()


def _flat(outputs: Tensor) -> Tensor:
    return outputs.reshape(-1).float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs.reshape(-1)


def _same(n: int, targets: Tensor, outputs: Tensor) -> Tensor:
    if targets.numel() != n:
        raise DataError(
            f"A metric needs one target for each of {n} predictions: outputs are {tuple(outputs.shape)}, targets "
            f"{tuple(targets.shape)}. Several labels a sample? Use accuracy_multi."
        )
    return targets.reshape(-1)


def _complement(value: float) -> float:
    return 1 - value


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


_ONE: tuple[TaskName, ...] = ("classification",)
_NUMBERS: tuple[TaskName, ...] = ("regression",)
# function → what a batch adds, what is done with the quotient at the end, and the tasks that it fits
_PARTS: dict[Any, tuple[Callable[..., Sum], Callable[[float], float] | None, tuple[TaskName, ...]]] = {
    accuracy: (_hits, None, _ONE),
    error_rate: (_hits, _complement, _ONE),
    top_k_accuracy: (_top_hits, None, _ONE),
    accuracy_multi: (_label_hits, None, ("multilabel",)),
    mse: (_squares, None, _NUMBERS),
    rmse: (_squares, math.sqrt, _NUMBERS),
    mae: (_distances, None, _NUMBERS),
    msle: (_log_squares, None, _NUMBERS),
    exp_rmspe: (_relative_squares, math.sqrt, _NUMBERS),
}
