"""The picture of a confusion matrix, legible from two classes to some hundreds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.lettering import drawable, elide

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_NAME = 24  # characters
NAME_PT = 10.0
MOST_IN = 15.0  # the side of the largest matrix
MOST_RULED = 150  # classes; beyond, lines would hide the cells and take minutes to draw
MOST_WITH_ZEROS = 12  # classes; beyond, an empty cell says it better than a nought
FAINT, INK = "#b5bbc1", "#111418"
_DARK_BELOW = 0.194  # the luminance on which ink and white are equally easy to read, 4.3 to 1
_EM = 0.6  # the usual width of a letter for its height
_GAMMA = 0.6  # below 1: a few mistakes show against a strong diagonal


def draw_matrix(
    counts: np.ndarray,
    names: Sequence[str],
    digits: int | None = None,
    title: str = "",
    cmap: Any = "Blues",
    with_numbers: bool = True,
    figsize: tuple[float, float] | None = None,
    dpi: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw counts (actual, predicted) shaded by their share of the row; with `digits`, shares are written."""
    from matplotlib.colors import PowerNorm

    n, shown = len(names), [elide(" ".join(name.split()), LONGEST_NAME) for name in names]
    cell_in = _cell_in(n, counts, digits)
    if ax is not None:
        box = ax.get_window_extent()
        cell_in = min(box.width, box.height) / ax.figure.dpi / n
    else:
        ax = _new_axes(n * cell_in, max(map(len, shown)) * NAME_PT * _EM / 72, figsize, dpi)
        if figsize is not None:
            cell_in = max(0.05, min(figsize) - 1.8) / n
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(shares, cmap=cmap, norm=PowerNorm(_GAMMA, 0, 1), interpolation="nearest")
    _name_axes(ax, shown, cell_in)
    _rule(ax, n)
    if title:
        ax.set_title(title, pad=10)
    if with_numbers:
        _write_numbers(ax, counts, shares, digits, cell_in)
    return ax


def _cell_in(n: int, counts: np.ndarray, digits: int | None) -> float:
    """The side of a cell in inches: wide enough for its numbers, smaller the more there are."""
    signs = len(str(int(counts.max(initial=0)))) if digits is None else digits + 2
    wanted = 0.75 if n <= 4 else 0.55 if n <= 12 else 0.42 if n <= 20 else 0.3 if n <= 50 else 0.2
    return min(max(wanted, 0.075 * signs + 0.1), MOST_IN / n)


def _new_axes(side_in: float, name_in: float, figsize: tuple[float, float] | None, dpi: float | None) -> Axes:
    """Axes in a figure with room for the cells, names of this length, axis labels and the title."""
    import matplotlib.pyplot as plt

    side, below = max(2.4, side_in), 0.75 * name_in
    return plt.subplots(figsize=figsize or (side + name_in + 0.6, side + below + 0.9), dpi=dpi, layout="constrained")[1]


def _name_axes(ax: Axes, names: Sequence[str], cell_in: float) -> None:
    """Class names along both axes: level where they fit, else slanted, else upright; every k-th of very many."""
    shown = [drawable(name) for name in names]
    size_pt = min(NAME_PT, max(6.0, cell_in * 72 * 0.75))
    every = max(1, int(np.ceil(size_pt * 1.1 / (cell_in * 72))))
    ticks = range(0, len(shown), every)
    longest_in = max(len(text) for text, _ in shown) * size_pt * _EM / 72
    ax.set_xticks(ticks, [shown[k][0] for k in ticks])
    ax.set_yticks(ticks, [shown[k][0] for k in ticks])
    angle = 0 if longest_in < 0.95 * cell_in else 40 if cell_in * 72 > 1.6 * size_pt else 90
    for side in ("x", "y"):
        for label, k in zip(getattr(ax, f"get_{side}ticklabels")(), ticks, strict=True):
            label.set(fontsize=size_pt, fontfamily=shown[k][1], parse_math=False)
    if angle:
        for label in ax.get_xticklabels():
            label.set(rotation=angle, ha="right", va="top" if angle < 90 else "center", rotation_mode="anchor")
    ax.set(xlabel="predicted", ylabel="actual")
    ax.tick_params(length=0)


def _rule(ax: Axes, n: int) -> None:
    """Thin white lines between the cells, and no frame."""
    if n <= MOST_RULED:
        ax.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="#e4e7ea", linewidth=0.8 if n <= 20 else 0.4)
        ax.tick_params(which="minor", length=0)
    ax.spines[:].set_visible(False)


def _write_numbers(ax: Axes, counts: np.ndarray, shares: np.ndarray, digits: int | None, cell_in: float) -> None:
    texts = {
        (i, j): str(counts[i, j]) if digits is None else f"{shares[i, j]:.{digits}f}"
        for i, j in np.ndindex(*counts.shape)
        if counts[i, j] or len(counts) <= MOST_WITH_ZEROS
    }
    longest = max(map(len, texts.values()), default=1)
    size_pt = min(11.0, cell_in * 72 * 0.5, cell_in * 72 * 0.9 / (_EM * longest))
    if size_pt < 4:
        return
    image = ax.images[0]
    luminance = np.asarray(image.cmap(image.norm(shares)))[..., :3] ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    for (i, j), text in texts.items():
        if counts[i, j]:
            colour = "white" if luminance[i, j] < _DARK_BELOW else INK
        else:
            text, colour = "0", FAINT
        ax.text(j, i, text, ha="center", va="center", fontsize=size_pt, color=colour)
