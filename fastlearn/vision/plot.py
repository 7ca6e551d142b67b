"""Pictures in a grid with their labels: batches, results, and the samples with the highest losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastlearn.errors import ConfigError
from fastlearn.lettering import drawable, elide
from fastlearn.options import checked_count, checked_figsize, checked_list, checked_number, found, named_options
from fastlearn.pixels import open_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

CELL_IN = 2.2  # inches a picture
TITLE_PT = 10
SMALL_PX = 64  # pictures up to this size show their pixels as squares

Tone = Literal["neutral", "right", "wrong"]
_COLOURS: dict[Tone, str] = {"neutral": "#c8ccd0", "right": "#1a7f37", "wrong": "#c6262e"}


class Grid(list["Axes"]):
    """The axes of the pictures drawn, in order. As the last value of a cell it adds nothing to the figure below it."""

    def _ipython_display_(self) -> None:
        pass


@dataclass(frozen=True)
class Caption:
    """The lines over a picture and what they mean: `wrong` is drawn in red and `right` in green."""

    lines: tuple[str, ...]
    tone: Tone = "neutral"


@named_options
def show_image(
    im: Any,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: object = None,
    ctx: Axes | None = None,
    cmap: str | None = None,
) -> Axes:
    """Draw one picture (Pillow, array, or tensor (c, h, w) or (h, w)) into `ax`, or a new figure; gives the axes.

    `im` may also be the path of a file. Raises ImageError for what is no picture.
    """
    import matplotlib.pyplot as plt

    pixels, figsize = _drawable(im), checked_figsize(figsize)
    ax = ctx if ax is None else ax
    if ax is not None and not hasattr(ax, "imshow"):
        raise ConfigError(f"ax is the axes to draw into, not {found(ax)}. Type _, ax = plt.subplots() for new ones.")
    if ax is None:
        _, ax = plt.subplots(figsize=figsize or _one_figure(pixels.shape))
    grey = pixels.ndim == 2
    limits = (0, 255) if pixels.dtype == np.uint8 else (None, None)
    sharp = "nearest" if max(pixels.shape[:2]) <= SMALL_PX else None
    ax.imshow(pixels, cmap=cmap or ("gray" if grey else None), vmin=limits[0], vmax=limits[1], interpolation=sharp)
    ax.set_axis_off()
    if title is not None:
        write_title(ax, Caption(tuple(str(title).splitlines())))
    return ax


@named_options
def show_images(
    ims: Sequence[Any],
    nrows: int = 1,
    ncols: int | None = None,
    titles: Sequence[object] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Grid:
    """Draw several pictures side by side, in `nrows` rows."""
    ims, nrows = (
        checked_list(ims, "ims", "pictures (show_image draws a single one)"),
        checked_count(nrows, "nrows") or 1,
    )
    ncols = checked_count(ncols, "ncols") or math.ceil(len(ims) / nrows)
    named = None if titles is None else checked_list(titles, "titles", "titles, one a picture")
    captions = [Caption(())] * len(ims) if named is None else [Caption((str(title),)) for title in named]
    return show_grid(ims, captions, nrows=nrows, ncols=ncols, figsize=figsize)


@named_options
def get_grid(
    n: int,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    lines: int = 1,
) -> Grid:
    """Axes for `n` pictures, with room for `lines` of text over each; those left over are hidden."""
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    n, nrows, ncols = checked_count(n, "n") or 1, checked_count(nrows, "nrows"), checked_count(ncols, "ncols")
    lines, figsize = int(checked_number(lines, "lines", 1)), checked_figsize(figsize)
    if nrows is None:
        nrows = math.ceil(n / ncols) if ncols else max(1, int(math.sqrt(n)))
    ncols = ncols or math.ceil(n / nrows)
    text_in = lines * TITLE_PT * 1.3 / 72
    figsize = figsize or (ncols * CELL_IN, nrows * (CELL_IN + text_in))
    layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.05)
    _, axes = plt.subplots(nrows, ncols, figsize=figsize, squeeze=False, layout=layout)
    flat = [ax for row in axes for ax in row]
    for ax in flat:
        ax.set_axis_off()
    return Grid(flat[:n])


def show_grid(
    images: Sequence[Any],
    captions: Sequence[Caption],
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
) -> Grid:
    """Draw pictures with their captions; gives one axes a picture."""
    if nrows and ncols:
        images = images[: nrows * ncols]
    lines = max((len(caption.lines) for caption in captions), default=0)
    axes = get_grid(len(images), nrows, ncols, figsize, lines)
    for ax, image, caption in zip(axes, images, captions, strict=False):
        show_image(image, ax=ax)
        _frame(ax, caption.tone)
        write_title(ax, caption)
    if title and axes:
        axes[0].figure.suptitle(title)
    return axes


def _frame(ax: Axes, tone: Tone) -> None:
    """A thin line round the picture, so that a white one has an end; in the caption's colour where that tells."""
    ax.set_axis_on()
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=_COLOURS[tone], linewidth=1.6 if tone == "wrong" else 0.8)


class ImageDisplay:
    """Draws batches whose samples start with a picture; what the loader's blocks decode is written over it."""

    def show_batch(
        self,
        loader: Any,
        batch: Any,
        *,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Grid:
        """The first `max_n` pictures with their labels."""
        samples = loader.decode_batch(batch, max_n)
        captions = [Caption(tuple(label_text(part) for part in sample[1:])) for sample in samples]
        return show_grid([sample[0] for sample in samples], captions, nrows, ncols, figsize)

    def show_results(
        self,
        loader: Any,
        batch: Any,
        decoded: Any,
        *,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Grid:
        """The first `max_n` pictures with their labels and, where they differ, what was predicted.

        `decoded` holds what the target's block encodes: codes of classes, flags, or numbers.
        """
        samples = loader.decode_batch(batch, max_n)
        target = loader.dataset.blocks[loader.n_inp]
        captions = [
            result_caption(sample[-1] if len(sample) > 1 else None, target.decode(part.detach().cpu()))
            for sample, part in zip(samples, decoded, strict=False)
        ]
        return show_grid([sample[0] for sample in samples], captions, nrows, ncols, figsize)

    def show_top_losses(
        self,
        loader: Any,
        batch: Any,
        decoded: Any,
        losses: Sequence[float],
        probabilities: Sequence[float] | None = None,
        *,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Grid:
        """The pictures of a batch as `show_results` draws them, with the loss of each and how sure the answer was."""
        samples = loader.decode_batch(batch)
        target = loader.dataset.blocks[loader.n_inp]
        predicted = [target.decode(part.detach().cpu()) for part in decoded]
        actual = [sample[-1] for sample in samples]
        pictures = [sample[0] for sample in samples]
        return show_top_losses(pictures, predicted, actual, losses, probabilities, nrows, ncols, figsize)


def show_top_losses(
    images: Sequence[Any],
    predicted: Sequence[Any],
    actual: Sequence[Any],
    losses: Sequence[float],
    probabilities: Sequence[float | None] | None = None,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
) -> Grid:
    """Pictures with what was predicted, what they are, the loss, and the probability given to the prediction."""
    chances = [None] * len(images) if probabilities is None else probabilities
    captions = []
    for guess, truth, loss, chance in zip(predicted, actual, losses, chances, strict=True):
        base = result_caption(truth, guess)
        sure = "" if chance is None else f", p {float(chance):.2f}"
        captions.append(Caption((*base.lines, f"loss {float(loss):.2f}{sure}"), base.tone))
    return show_grid(images, captions, nrows, ncols, figsize)


def result_caption(actual: Any, predicted: Any) -> Caption:
    """One line where the prediction is right, two where it is wrong: the words tell it, not the colour alone."""
    if actual is None:
        return Caption((label_text(predicted),))
    truth, guess = label_text(actual), label_text(predicted)
    if _is_number(actual) or _is_number(predicted):
        return Caption((f"predicted {guess}", f"actual {truth}"))
    if truth == guess:
        return Caption((f"{truth} ✓",), "right")
    return Caption((f"predicted {guess or 'nothing'}", f"actual {truth or 'nothing'}"), "wrong")


def label_text(label: Any) -> str:
    """A decoded label in one line: words as they are, several joined by ';', numbers with three digits."""
    if hasattr(label, "tolist"):
        label = label.tolist()
    if isinstance(label, float):
        return f"{label:.3g}"
    if isinstance(label, (list, tuple, set)):
        return ("; " if any(isinstance(part, str) for part in label) else ", ").join(map(label_text, label))
    return " ".join(str(label).split())


def write_title(ax: Axes, caption: Caption) -> Text:
    """Put a caption over `ax`: long lines are cut in the middle, and signs that no font here has become boxes."""
    columns = max(12, int(_width_in(ax) * 72 / (TITLE_PT * 0.58)))
    text, families = drawable("\n".join(elide(line, columns) for line in caption.lines))
    title = ax.set_title(text, fontsize=TITLE_PT, parse_math=False, fontfamily=families)
    if caption.tone != "neutral":  # otherwise the colour of the user's style
        title.set_color(_COLOURS[caption.tone])
    return title


def _width_in(ax: Axes) -> float:
    """The width of the axes' cell in inches."""
    spec, figure = ax.get_subplotspec(), ax.figure
    columns = spec.get_gridspec().ncols if spec is not None else 1
    return float(figure.get_figwidth()) / columns  # type: ignore[union-attr]


def _is_number(value: Any) -> bool:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_number(part) for part in value)
    return isinstance(value, float)


def _one_figure(shape: Sequence[int]) -> tuple[float, float]:
    """A figure for one picture of `shape` (h, w, …): four inches on the longer side."""
    height, width = shape[:2]
    longest = 4.0
    return max(1.0, longest * width / max(height, width)), max(1.0, longest * height / max(height, width))


def _drawable(image: Any) -> np.ndarray:
    """(h, w) or (h, w, 3) for matplotlib; one channel stays as it is, so that a colour map can be applied."""
    if hasattr(image, "detach"):
        image = image.detach().cpu().float().numpy() if image.is_floating_point() else image.detach().cpu().numpy()
    if isinstance(image, np.ndarray):
        if image.ndim == 3 and image.shape[0] == 1:
            image = image[0]
        if image.ndim == 2:
            return image
        if image.ndim == 3 and image.dtype.kind == "f" and image.min() >= -0.5 and image.max() <= 1.5:
            image = image.clip(0, 1)  # interpolation and rounding step a little over the ends
        return np.asarray(open_image(image))
    return np.asarray(image if getattr(image, "mode", "") in ("L", "RGB") else open_image(image))
