"""Pictures of a training: loss, schedule, and the learning-rate curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastlearn.errors import TrainingError, near

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastlearn.training.lr_find import LRFinderResult
    from fastlearn.training.recorder import Recorder

# Blue, orange, green, purple of Okabe and Ito (2008), which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"


def plot_loss(recorder: Recorder, skip_start: int, with_valid: bool, log: bool, ax: Axes | None = None) -> Axes:
    """Training loss by batch, raw and smoothed, and the validation loss at each epoch's end."""
    if not recorder.lrs:
        raise TrainingError("There is nothing to plot yet. Train first: learn.fit_one_cycle(1).")
    skip = skip_start if len(recorder.lrs) > 2 * skip_start else 0
    ax = ax or _new_axes()
    batches = range(skip, len(recorder.lrs))
    ax.plot(batches, recorder.raw_losses[skip:], color=BLUE, alpha=0.25, linewidth=0.8)
    ax.plot(batches, recorder.losses[skip:], color=BLUE, linewidth=1.8, label="train (smoothed)")
    if with_valid and "valid_loss" in recorder.metric_names and recorder.values:
        ax.plot(recorder.iters, [row[1] for row in recorder.values], color=ORANGE, marker="o", label="valid")
    if log:
        ax.set_yscale("log")
    ax.set(xlabel="batch", ylabel="loss")
    _whole_batches(ax)
    ax.legend(frameon=False)
    return _tidy(ax)


def plot_sched(recorder: Recorder, keys: list[str] | None, figsize: tuple[float, float] | None) -> Sequence[Axes]:
    """One panel each for learning rate and momentum."""
    import matplotlib.pyplot as plt

    hps = recorder.hps
    keys = ["lr", "mom"] if keys is None else keys
    for key in keys:
        if key not in hps:
            raise TrainingError(f"No hyperparameter {key!r} was recorded.{near(key, hps)} There are: {', '.join(hps)}.")
    if not hps["lr"]:
        raise TrainingError("There is no schedule yet. Train first: learn.fit_one_cycle(1).")
    figure, axes = plt.subplots(
        1, len(keys), figsize=figsize or (5 * len(keys), 3.4), layout="constrained", squeeze=False
    )
    for ax, key in zip(axes[0], keys, strict=True):
        ax.plot(hps[key], color=BLUE, linewidth=1.8)
        ax.set(xlabel="batch", ylabel={"lr": "learning rate", "mom": "momentum"}.get(key, key))
        _whole_batches(ax)
        _tidy(ax)
    return list(axes[0])


def plot_lr_find(result: LRFinderResult, ax: Axes | None = None) -> Axes:
    """Smoothed loss against learning rate (log scale), with each suggestion as a labelled mark."""
    ax = ax or _new_axes()
    end = len(result.lrs) - 5 if len(result.lrs) > 20 and not result.stopped else len(result.lrs)
    ax.plot(result.lrs[:end], result.losses[:end], color=BLUE, linewidth=1.8)
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)")
    losses = sorted(loss for loss in result.losses[:end] if math.isfinite(loss))
    if losses:
        # The last losses of a diverging run would flatten the part that matters.
        low, start = losses[0], result.losses[0]
        top = max(start, losses[int(0.9 * (len(losses) - 1))])
        room = 0.08 * (top - low) + 1e-12
        ax.set_ylim(low - room, top + 3 * room)
    for color, (name, (lr, loss)) in zip([ORANGE, GREEN, PURPLE, "#000000"], result.suggestions.items(), strict=False):
        ax.plot(lr, loss, "o", color=color, markersize=8, label=f"{name}  {lr:.2e}", zorder=3)
        ax.axvline(lr, color=color, linewidth=0.8, alpha=0.5)
    if result.suggestions:
        ax.legend(edgecolor="none")
    return _tidy(ax)


def _new_axes() -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, 4), layout="constrained")[1]


def _whole_batches(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def _tidy(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    return ax
