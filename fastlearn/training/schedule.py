"""How learning rate and momentum move over a fit: curves, and the schedules made of them.

A curve maps a position 0…1 to a value, or to a list with one value a parameter group. A `Schedule` names curves. The
position of step i of N is i/N, so the last value is approached and never reached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from numbers import Integral, Real
from typing import Any

from fastlearn.errors import ConfigError
from fastlearn.options import checked_function, checked_list, checked_number, found, named_options

Curve = Callable[[float], Any]
Value = float | Sequence[float]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Named curves of one fit: `hypers(pct)` gives `{"lr": [one a group], "mom": [...]}` at pct in 0…1.

    >>> one_cycle([1e-4, 1e-3]).hypers(0.25)
    {'lr': [0.0001, 0.001], 'mom': [0.85, 0.85]}
    """

    curves: dict[str, Curve] = field(default_factory=dict)

    def hypers(self, pct: float) -> dict[str, list[float]]:
        return {name: curve(pct) for name, curve in self.curves.items()}


@named_options
def SchedNo(start: Value, end: Value) -> Curve:
    """The curve that stays at `start`."""
    _list(start)
    return lambda pos: start


@named_options
def SchedLin(start: Value, end: Value) -> Curve:
    """The straight line from `start` to `end`."""
    return _between(start, end, lambda pos: pos)


@named_options
def SchedCos(start: Value, end: Value) -> Curve:
    """Half a cosine from `start` to `end`: flat at both ends."""
    return _between(start, end, _cos)


@named_options
def SchedPoly(start: Value, end: Value, power: float) -> Curve:
    """From `start` to `end` as the position to the `power`."""
    checked_number(power, "power", 2)
    return _between(start, end, lambda pos: pos**power)


@named_options
def SchedExp(start: Value, end: Value) -> Curve:
    """The exponential from `start` to `end`, both of one sign and not 0."""
    pairs = _pairs(start, end)
    if not all(a and b and (a > 0) == (b > 0) for a, b in pairs):
        raise ConfigError(
            f"SchedExp goes from one number to another of the same sign, neither of them 0; found {start!r} and "
            f"{end!r}. SchedLin and SchedCos take any: SchedCos({start!r}, {end!r})."
        )
    starts, ratios = [a for a, _ in pairs], [b / a for a, b in pairs]
    if isinstance(start, Real):
        return lambda pos: starts[0] * ratios[0] ** pos
    return lambda pos: [a * ratio**pos for a, ratio in zip(starts, ratios, strict=True)]


@named_options
def combine_scheds(pcts: Sequence[float], scheds: Sequence[Curve]) -> Curve:
    """The curves one after the other, each over its share in `pcts`; the shares sum to 1."""
    shares = [checked_number(pct, "A share in pcts", 0.5) for pct in checked_list(pcts, "pcts", "shares, one a curve")]
    curves = checked_list(scheds, "scheds", "curves such as SchedCos(1e-3, 1e-5)")
    for sched in curves:
        checked_function(sched, "A curve in scheds")
    if len(shares) != len(curves) or min(shares, default=-1.0) < 0 or not abs(sum(shares) - 1) <= 1e-6:
        raise ConfigError(
            f"combine_scheds needs one share a curve, summing to 1; found {shares} for {len(curves)} curves."
        )
    parts = [(pct, sched) for pct, sched in zip(shares, curves, strict=True) if pct > 0]
    ends = list(accumulate(pct for pct, _ in parts))
    starts, last = [0.0, *ends[:-1]], len(parts) - 1

    def curve(pos: float) -> Any:
        k = last
        while k and pos < starts[k]:
            k -= 1
        width, sched = parts[k]
        return sched((pos - starts[k]) / width)

    return curve


@named_options
def combined_cos(pct: float, start: Value, middle: Value, end: Value) -> Curve:
    """A cosine from `start` to `middle` over the share `pct`, then one to `end`."""
    _share(pct, "pct")
    return combine_scheds([pct, 1 - pct], [SchedCos(start, middle), SchedCos(middle, end)])


@named_options
def one_cycle(
    lr_max: Value,
    *,
    div: float = 25.0,
    div_final: float = 1e5,
    pct_start: float = 0.25,
    moms: tuple[float, float, float] | None = (0.95, 0.85, 0.95),
) -> Schedule:
    """The one-cycle policy (Smith 2018) with cosines: lr_max/div up to lr_max, then down to lr_max/div_final.

    Momentum goes the other way. `lr_max` has one value a group. `moms=None` leaves momentum alone.
    """
    _share(pct_start)
    _above_zero("div", div)
    _above_zero("div_final", div_final)
    if moms is not None and (not isinstance(moms, (tuple, list)) or len(moms) != 3):
        raise ConfigError(
            f"moms are three momenta, at the start, the peak and the end: (.95, .85, .95), found {moms!r}."
        )
    peak = _list(lr_max)
    curves = {"lr": combined_cos(pct_start, _divided(peak, div), peak, _divided(peak, div_final))}
    if moms is not None:
        first, middle, last = ([mom] * len(peak) for mom in moms)
        curves["mom"] = combined_cos(pct_start, first, middle, last)
    return Schedule(curves)


@named_options
def flat_cos(lr: Value, *, div_final: float = 1e5, pct_start: float = 0.75) -> Schedule:
    """`lr` for the share `pct_start`, then a cosine to lr/div_final."""
    _share(pct_start)
    _above_zero("div_final", div_final)
    rates = _list(lr)
    return Schedule({"lr": combined_cos(pct_start, rates, rates, _divided(rates, div_final))})


@named_options
def constant(lr: Value) -> Schedule:
    """The same `lr` throughout."""
    rates = _list(lr)
    return Schedule({"lr": SchedNo(rates, rates)})


def scaled(schedule: Schedule, factor: float) -> Schedule:
    """The same schedule with every learning rate times `factor`."""
    curve = schedule.curves.get("lr")
    if curve is None:
        return schedule

    def lower(pos: float) -> Any:
        rates = curve(pos)
        return rates * factor if isinstance(rates, Real) else [rate * factor for rate in rates]

    return Schedule(schedule.curves | {"lr": lower})


@named_options
def sgdr_epochs(n_cycles: int, cycle_len: int, cycle_mult: int = 2) -> list[int]:
    """The epochs of each warm restart; their sum is the length of the fit."""
    given = (n_cycles, cycle_len, cycle_mult)
    if not all(isinstance(number, Integral) and number >= 1 for number in given):
        raise ConfigError(
            "Warm restarts need n_cycles, cycle_len and cycle_mult of 1 or more, in whole numbers, "
            f"found {', '.join(map(found, given))}."
        )
    return [cycle_len * cycle_mult**k for k in range(n_cycles)]


@named_options
def sgdr(lr: Value, n_cycles: int, cycle_len: int, cycle_mult: int = 2) -> Schedule:
    """Warm restarts (Loshchilov & Hutter 2017): cosines from `lr` to 0, each `cycle_mult` times as long as the last.

    Runs for `sum(sgdr_epochs(...))` epochs.
    """
    rates, epochs = _list(lr), sgdr_epochs(n_cycles, cycle_len, cycle_mult)
    curve = SchedCos(rates, [0.0] * len(rates))
    return Schedule({"lr": combine_scheds([n / sum(epochs) for n in epochs], [curve] * n_cycles)})


@dataclass(frozen=True, slots=True)
class Phase:
    """One one-cycle fit of a recipe: its epochs and the arguments of `one_cycle`. `lr` awaits `lr_groups`."""

    epochs: int
    lr: slice
    div: float
    pct_start: float
    frozen: bool


def fine_tune_phases(
    epochs: int,
    base_lr: float = 2e-3,
    freeze_epochs: int = 1,
    lr_mult: float = 100,
    pct_start: float = 0.3,
    div: float = 5.0,
) -> tuple[Phase, Phase]:
    """The two phases of `fine_tune`: the head alone at `base_lr`; all at half of it, the stem `lr_mult` lower."""
    if isinstance(base_lr, bool) or not isinstance(base_lr, Real):
        raise ConfigError(
            f"fine_tune takes one learning rate, found base_lr={base_lr!r}: the stem's is lr_mult times lower. For "
            "rates of your own type learn.freeze(), learn.fit_one_cycle(1, lr), learn.unfreeze(), "
            "learn.fit_one_cycle(5, slice(low, high))."
        )
    _above_zero("lr_mult", lr_mult)
    head = Phase(freeze_epochs, slice(base_lr), div=25.0, pct_start=0.99, frozen=True)
    half = base_lr / 2
    return head, Phase(epochs, slice(half / lr_mult, half), div=div, pct_start=pct_start, frozen=False)


def _cos(pos: float) -> float:
    return (1 - math.cos(math.pi * pos)) / 2


def _between(start: Value, end: Value, shape: Callable[[float], float]) -> Curve:
    pairs = [(a, b - a) for a, b in _pairs(start, end)]
    if isinstance(start, Real):
        first, change = pairs[0]
        return lambda pos: first + shape(pos) * change
    if len(set(pairs)) == 1:  # momentum, and most often the rate: one value for every group
        (first, change), n = pairs[0], len(pairs)
        return lambda pos: [first + shape(pos) * change] * n

    def curve(pos: float) -> list[float]:
        part = shape(pos)
        return [first + part * change for first, change in pairs]

    return curve


def _list(value: Value) -> list[float]:
    try:
        if isinstance(value, (str, bytes)):  # float() would read one, and a loop take it for a list
            raise TypeError
        return [float(value)] if isinstance(value, (int, float, Real)) else [float(part) for part in value]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"A curve goes through numbers, or lists of them with one a parameter group, not {found(value)}."
        ) from error


def _pairs(start: Value, end: Value) -> list[tuple[float, float]]:
    starts, ends = _list(start), _list(end)
    if len(starts) != len(ends):
        raise ConfigError(f"A curve needs as many ends as starts, found {len(starts)} starts and {len(ends)} ends.")
    return list(zip(starts, ends, strict=True))


def _divided(values: list[float], by: float) -> list[float]:
    return [value / by for value in values]


def _share(pct: float, name: str = "pct_start") -> None:
    if not 0 <= checked_number(pct, name, 0.25) <= 1:
        raise ConfigError(f"{name} is a share of the fit between 0 and 1, found {pct}.")


def _above_zero(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
        raise ConfigError(f"{name} divides a learning rate, so it is a number above 0, found {value!r}.")
