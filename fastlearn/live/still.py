"""What a story leaves in the notebook: a picture and a table that need no kernel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.lettering import drawable
from fastlearn.live.feed import Feed
from fastlearn.training.plots import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from fastlearn.training.recorder import Recorder

STILL_WIDTH = 760  # CSS pixels; the picture has more, for sharp screens
_INK = "#808080"  # reads on white and on black: the picture has no background of its own
_POINTS = 300


def still_png(recorder: Recorder, parts_at: Sequence[int], deeds: Sequence[dict[str, Any]]) -> bytes | None:
    """The story's losses, rate and first metric as a PNG; None when no batch was trained.

    matplotlib's Figure is used without pyplot, so that no window system and no global state is touched.
    """
    if not recorder.n_batches:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 2.9), layout="constrained")
    figure.patch.set_alpha(0)
    large, small = figure.subplots(1, 2, width_ratios=[2.1, 1])
    _draw_losses(large, recorder, parts_at, deeds)
    metric = next((name for name in recorder.metric_names[3:-1]), None)
    if metric is not None and recorder.values and "valid_loss" in recorder.metric_names:
        _draw_metric(small, recorder, metric)
    else:
        _draw_rate(small, recorder)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=160, transparent=True)
    return out.getvalue()


def _draw_losses(ax: Any, recorder: Recorder, parts_at: Sequence[int], deeds: Sequence[dict[str, Any]]) -> None:
    count, (floats, xs) = Feed(recorder).thinned(_POINTS)
    low, high, smooth, *_ = np.frombuffer(floats, dtype=np.float32).reshape(-1, count)
    x = np.frombuffer(xs)
    ax.fill_between(x, low, high, color=BLUE, alpha=0.4, linewidth=0.6)
    ax.plot(x, smooth, color=BLUE, linewidth=1.6, label="train")
    if "valid_loss" in recorder.metric_names and recorder.values:
        ends = [end - 1 for end in recorder.iters]
        ax.plot(ends, [row[1] for row in recorder.values], color=ORANGE, marker="o", markersize=4, label="valid")
    for at in parts_at[1:]:
        ax.axvline(at - 0.5, color=_INK, linewidth=0.8, linestyle=":")
    for at, together in groupby(deeds, key=lambda deed: deed["at"]):
        ax.axvline(at - 0.5, color=_INK, linewidth=0.8, alpha=0.7)
        ax.annotate(
            ", ".join(map(_deed_text, together)), (at, 1), xycoords=("data", "axes fraction"), fontsize=7, color=_INK,
            rotation=90, va="top", ha="left", xytext=(2, -2), textcoords="offset points",
        )  # fmt: skip
    _frame_losses(ax, low, high, recorder)
    ax.set(xlabel="step", title="loss")
    ax.legend(frameon=False, fontsize=8, labelcolor=_INK)
    _tidy(ax)


def _frame_losses(ax: Any, low: np.ndarray, high: np.ndarray, recorder: Recorder) -> None:
    """A few wild batches must not flatten the curve that matters."""
    valid = [row[1] for row in recorder.values if len(row) > 1]
    ends = np.array([*_inner(low), *_inner(high), *valid])
    ends = ends[np.isfinite(ends)]
    if len(ends):
        room = 0.08 * (ends.max() - ends.min()) + 1e-12
        ax.set_ylim(ends.min() - room, ends.max() + room)


def _inner(values: np.ndarray) -> list[float]:
    """Where all but the wildest of the finite values lie; nothing if there are none."""
    finite = values[np.isfinite(values)]
    return np.percentile(finite, [2, 98]).tolist() if len(finite) else []


def _draw_metric(ax: Any, recorder: Recorder, name: str) -> None:
    column = recorder.metric_names.index(name) - 1
    ax.plot(
        range(1, len(recorder.values) + 1),
        [row[column] for row in recorder.values],
        color=GREEN,
        marker="o",
        markersize=4,
    )
    title, fonts = drawable(name)
    ax.set(xlabel="epoch")
    ax.set_title(title, fontfamily=fonts, parse_math=False)
    ax.xaxis.get_major_locator().set_params(integer=True)
    _tidy(ax)


def _draw_rate(ax: Any, recorder: Recorder) -> None:
    ax.plot(recorder.lrs, color=GREEN, linewidth=1.4)
    ax.set(xlabel="step", title="learning rate")
    _tidy(ax)


def _deed_text(deed: dict[str, Any]) -> str:
    return f"lr {deed['new']:.1e}" if deed["what"] == "lr" else deed["what"].replace("_", " ")


def _tidy(ax: Any) -> None:
    ax.patch.set_alpha(0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6, color=_INK)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(_INK)
    ax.tick_params(colors=_INK, labelsize=8)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        text.set_color(_INK)
        text.set_fontsize(9)
