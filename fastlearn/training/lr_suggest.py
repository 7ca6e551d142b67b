"""Learning rates read off the curve of an `lr_find` run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlearn.errors import ConfigError, TrainingError, near
from fastlearn.options import checked_count, checked_number, found, named_options

Floats = NDArray[np.float64]


class Suggestion(NamedTuple):
    """A learning rate, and the smoothed loss there (for the dot in the plot)."""

    lr: float
    loss: float


def smooth_losses(losses: Sequence[float], beta: float = 0.98) -> Floats:
    """The debiased exponential mean after each loss: sₜ = β sₜ₋₁ + (1-β) lossₜ, divided by 1 - βᵗ."""
    smooth, mean = np.empty(len(losses)), 0.0
    for i, loss in enumerate(losses):
        mean = beta * mean + (1 - beta) * float(loss)
        smooth[i] = mean / (1 - beta ** (i + 1))
    return smooth


def prepare(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> tuple[Floats, Floats]:
    """The part of a run that suggestions read: without the first tenth and the last five steps, up to the first NaN.

    `losses` are smoothed. Raises TrainingError when fewer than three steps are left.
    """
    first = num_it // 10
    rates = np.asarray(lrs, dtype=np.float64)[first:-5]
    values = np.asarray(losses, dtype=np.float64)[first:-5]
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        rates, values = rates[: bad[0]], values[: bad[0]]
    if len(values) < 3:
        cause = (
            f"the loss was NaN or infinite from learning rate {lrs[first + bad[0]]:.2e} on; try dls.check()"
            if len(bad)
            else "the run was too short, or the loss diverged at once; give a larger num_it (100 is usual) "
            "or a smaller start_lr"
        )
        raise TrainingError(
            f"No learning rate can be suggested: of {len(losses)} steps, {len(values)} are usable and at least 3 are "
            f"needed, because {cause}."
        )
    return rates, values


@named_options
def valley(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> Suggestion:
    """Half way down the longest valley: the middle of the longest decreasing subsequence of losses."""
    rates, values = _checked(lrs, losses)
    lengths = np.ones(len(values), dtype=np.int64)
    for i in range(1, len(values)):
        longer = lengths[:i][values[:i] > values[i]]
        if len(longer):
            lengths[i] = longer.max() + 1
    end = int(lengths.argmax())
    third = int(lengths[end]) / 3
    index = end - int(lengths[end]) + int(third) + int(third / 2)
    # A valley that begins at the very first step would otherwise count one step back past the beginning.
    return _at(rates, values, max(index, 0))


@named_options
def slide(
    lrs: Sequence[float],
    losses: Sequence[float],
    num_it: int,
    lr_diff: int = 15,
    thresh: float = 0.005,
    adjust_value: float = 1.0,
) -> Suggestion:
    """The rate before the steep rise: two steps `lr_diff` apart move left until their slopes agree to `thresh`."""
    rates, values = _checked(lrs, losses)
    lr_diff = checked_count(lr_diff, "lr_diff") or 15
    thresh, adjust_value = checked_number(thresh, "thresh", 0.005), checked_number(adjust_value, "adjust_value", 1)
    slopes = np.gradient(values)
    right = len(values) - 1
    left = chosen = max(right - lr_diff, 0)
    while left >= 0 and abs(slopes[right] - slopes[left]) > thresh:
        chosen = left
        left, right = left - 1, right - 1
    return _near_lr(rates, values, float(rates[chosen]) * adjust_value)


@named_options
def minimum(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> Suggestion:
    """A tenth of the rate at the lowest loss."""
    rates, values = _checked(lrs, losses)
    return _near_lr(rates, values, float(rates[values.argmin()]) / 10)


@named_options
def steep(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> Suggestion:
    """The rate at which the loss falls fastest per ln(lr)."""
    rates, values = _checked(lrs, losses)
    return _at(rates, values, int((np.diff(values) / np.diff(np.log(rates))).argmin()))


SuggestFunc = Callable[[Sequence[float], Sequence[float], int], Suggestion]


def suggest(
    lrs: Sequence[float],
    losses: Sequence[float],
    num_it: int,
    funcs: SuggestFunc | str | Sequence[SuggestFunc | str] = valley,
) -> dict[str, Suggestion]:
    """What each function (or name) suggests for a whole run of smoothed `losses`, by its name.

    >>> suggest(lrs, smooth_losses(losses), 100, (valley, "minimum"))["valley"].lr
    """
    rates, values = prepare(lrs, losses, num_it)
    chosen: list[Any] = list(funcs) if isinstance(funcs, (list, tuple)) else [funcs]
    if wrong := [func for func in chosen if not (callable(func) or isinstance(func, str))]:
        raise ConfigError(f"A suggestion is a function or a name such as 'valley', not {wrong[0]!r}.")
    named = [_by_name(func) if isinstance(func, str) else func for func in chosen]
    return {getattr(func, "__name__", "suggestion"): func(list(rates), list(values), num_it) for func in named}


def _by_name(name: str) -> SuggestFunc:
    known: dict[str, SuggestFunc] = {"valley": valley, "slide": slide, "minimum": minimum, "steep": steep}
    if name not in known:
        raise ConfigError(f"No suggestion is called {name!r}; there are {', '.join(known)}.{near(name, known)}")
    return known[name]


def _checked(lrs: Sequence[float], losses: Sequence[float]) -> tuple[Floats, Floats]:
    rates, values = _floats(lrs, "lrs"), _floats(losses, "losses")
    if len(rates) != len(values) or len(values) < 3:
        raise TrainingError(
            f"A suggestion needs at least 3 rates with one loss each, found {len(rates)} and {len(values)}."
        )
    return rates, values


def _floats(given: Any, name: str) -> Floats:
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(())
    if numbers.ndim != 1:
        raise ConfigError(f"{name} is a list of numbers, not {found(given)}. learn.lr_find() reads its own curve.")
    return numbers


def _at(rates: Floats, values: Floats, index: int) -> Suggestion:
    return Suggestion(float(rates[index]), float(values[index]))


def _near_lr(rates: Floats, values: Floats, lr: float) -> Suggestion:
    return Suggestion(lr, float(values[np.abs(rates - lr).argmin()]))
