"""Item transforms: what is done to one picture on the CPU, so that all of a batch have the same size.

In training the place of a crop is drawn from the sample's own generator; in validation it is the centre.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.data.transform import ItemTransform
from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, checked_pair, named_options
from fastlearn.pixels import AtMost, Fixed, PadMode, ResizeMethod
from fastlearn.vision.geometry import Crop

if TYPE_CHECKING:
    from PIL.Image import Image

Size = int | Sequence[int]
CENTRE = (0.5, 0.5)


def as_size(size: Size, name: str = "size") -> tuple[int, int]:
    """(height, width) from a number (a square) or a pair. Raises ConfigError for anything else."""
    pair = (size, size) if isinstance(size, (int, np.integer)) else size
    whole = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2
    if not whole or not all(isinstance(side, (int, np.integer)) and side > 0 for side in pair):
        raise ConfigError(f"{name}={size!r} is not a size in pixels. Type a number such as 224, or (height, width).")
    return int(pair[0]), int(pair[1])


class PlaceTransform(ItemTransform):
    """An item transform that places all parts of a sample (picture, mask, points) by one `Crop`."""

    order = 1
    fixed: Fixed | AtMost | None = None
    filters: tuple[int | None, int | None] = (None, None)

    @abstractmethod
    def crop(self, height: int, width: int, rng: np.random.Generator, train: bool) -> Crop:
        """Where a picture of `height` by `width` goes."""

    def __call__(
        self, sample: tuple[Any, ...], kinds: tuple[str, ...], rng: np.random.Generator, train: bool
    ) -> tuple[Any, ...]:
        sizes = [part.size for part, kind in zip(sample, kinds, strict=True) if kind in ("image", "mask")]
        if not sizes:
            return sample
        width, height = sizes[0]
        whole = None if self.fixed is None else self.fixed.of((height, width))
        if whole is not None and whole != (height, width):
            sample = self._placed(sample, kinds, Crop((0, 0, width, height), whole))
            height, width = whole
        return self._placed(sample, kinds, self.crop(height, width, rng, train))

    def _placed(self, sample: tuple[Any, ...], kinds: tuple[str, ...], crop: Crop) -> tuple[Any, ...]:
        return tuple(self._place(part, kind, crop) for part, kind in zip(sample, kinds, strict=True))

    def _place(self, part: Any, kind: str, crop: Crop) -> Any:
        if kind == "image":
            return _like(part, crop.apply_image(part, self.filters[0]))
        if kind == "mask":
            return _like(part, crop.apply_mask(part))
        return crop.apply_points(part) if kind == "points" else part


def _like(before: Image, after: Image) -> Image:
    """`after` as an object of the class of `before`, where that class knows how."""
    wrap = getattr(type(before), "wrap", None)
    return after if wrap is None else wrap(after)


class Resize(PlaceTransform):
    """Every picture at `size`, a number or (height, width).

    "crop" scales until the picture covers the size and cuts off the rest, in training at a random place along the long
    side; "pad" scales until it fits and fills the rest as `pad_mode` says; "squish" changes its shape.

    >>> Resize(224), Resize((128, 192), method="squish"), Resize(224, ResizeMethod.Pad, pad_mode="zeros")
    """

    @named_options
    def __init__(
        self,
        size: Size,
        method: ResizeMethod | str = ResizeMethod.Crop,
        pad_mode: PadMode | str = PadMode.Reflection,
        resamples: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """`resamples` are Pillow's filters for pictures (default: bilinear) and for masks (always nearest)."""
        self.size, self.method, self.pad_mode = as_size(size), ResizeMethod.of(method), PadMode.of(pad_mode)
        self.filters = resamples
        self.fixed: Fixed = Fixed(self.size, self.method, resamples[0])

    def crop(self, height: int, width: int, rng: np.random.Generator, train: bool) -> Crop:
        at = tuple(rng.random(2)) if train else CENTRE
        return Crop(self.fixed.box((height, width), at), self.size, self.pad_mode)

    def cut(self, pixels: np.ndarray, rng: np.random.Generator, train: bool) -> np.ndarray | None:
        """The same window of a picture that has its fixed size, if nothing is added to it."""
        size = pixels.shape[1], pixels.shape[2]
        if self.method is ResizeMethod.Pad or self.fixed.of(size) != size:
            return None
        (down, across), (height, width) = rng.random(2).tolist() if train else CENTRE, self.size
        top, left = round((size[0] - height) * down), round((size[1] - width) * across)
        return pixels[:, top : top + height, left : left + width]

    def __repr__(self) -> str:
        return f"Resize({self.size[0]}x{self.size[1]}, {self.method.value})"


class RandomResizedCrop(PlaceTransform):
    """A random part of the picture at `size`, of between `min_scale` and `max_scale` of its area.

    The part's width by height is drawn log-uniformly from `ratio`. In validation, and when ten draws do not fit into
    the picture, the centre: cut to the nearest shape that `ratio` allows, and `val_xtra` of the size taken off
    at the edges as margin.
    """

    @named_options
    def __init__(
        self,
        size: Size,
        min_scale: float = 0.08,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        resamples: tuple[int | None, int | None] = (None, None),
        val_xtra: float = 0.14,
        max_scale: float = 1.0,
    ) -> None:
        self.size, self.val_xtra = as_size(size), val_xtra
        self.min_scale, self.max_scale = check_range("min_scale", "max_scale", min_scale, max_scale)
        self.ratio = check_ratio(ratio)
        self.filters = resamples
        # Of a larger picture even the smallest part would be shrunk.
        self.fixed: AtMost = AtMost(math.ceil(self.size[0] * self.size[1] / self.min_scale), resamples[0])

    def crop(self, height: int, width: int, rng: np.random.Generator, train: bool) -> Crop:
        box = self._random_box(height, width, rng) if train else None
        return Crop(box or self._centre_box(height, width, train), self.size)

    def _random_box(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[float, float, float, float] | None:
        for _ in range(10):
            area = rng.uniform(self.min_scale, self.max_scale) * height * width
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            part_w, part_h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < part_w <= width and 0 < part_h <= height:
                left, top = rng.integers(width - part_w + 1), rng.integers(height - part_h + 1)
                return float(left), float(top), float(left + part_w), float(top + part_h)
        return None

    def _centre_box(self, height: int, width: int, train: bool) -> tuple[float, float, float, float]:
        shape = min(max(width / height, self.ratio[0]), self.ratio[1])
        part_w, part_h = min(width, height * shape), min(height, width / shape)
        if not train:
            part_w, part_h = part_w / (1 + self.val_xtra), part_h / (1 + self.val_xtra)
        left, top = (width - part_w) / 2, (height - part_h) / 2
        return left, top, left + part_w, top + part_h

    def __repr__(self) -> str:
        return f"RandomResizedCrop({self.size[0]}x{self.size[1]}, area {self.min_scale:g} to {self.max_scale:g})"


def check_range(low_name: str, high_name: str, low: float, high: float) -> tuple[float, float]:
    """(low, high) if 0 < low <= high, else ConfigError."""
    if not 0 < checked_number(low, low_name, 1) <= checked_number(high, high_name, 1):
        raise ConfigError(f"{low_name}={low!r} and {high_name}={high!r}: expected 0 < {low_name} <= {high_name}.")
    return float(low), float(high)


def check_ratio(ratio: Any) -> tuple[float, float]:
    """The least and the greatest width by height, if both are above 0, else ConfigError."""
    low, high = checked_pair(ratio, "ratio", "the least and the greatest width by height", (0.75, 1.33))
    return check_range("ratio[0]", "ratio[1]", low, high)


class CropPad(PlaceTransform):
    """The middle of the picture at its own scale: cut off or filled up to `size`; in training too."""

    order = 0

    @named_options
    def __init__(self, size: Size, pad_mode: PadMode | str = PadMode.Zeros) -> None:
        self.size, self.pad_mode = as_size(size), PadMode.of(pad_mode)

    def crop(self, height: int, width: int, rng: np.random.Generator, train: bool) -> Crop:
        return self._at(height, width, CENTRE)

    def _at(self, height: int, width: int, at: tuple[float, float]) -> Crop:
        top, left = round((height - self.size[0]) * at[0]), round((width - self.size[1]) * at[1])
        return Crop((left, top, left + self.size[1], top + self.size[0]), self.size, self.pad_mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size[0]}x{self.size[1]})"


class RandomCrop(CropPad):
    """A random part of the picture at its own scale; in validation the middle."""

    def crop(self, height: int, width: int, rng: np.random.Generator, train: bool) -> Crop:
        return self._at(height, width, tuple(rng.random(2)) if train else CENTRE)


class FlipItem(PlaceTransform):
    """The picture mirrored left to right with probability `p` in training."""

    order = 0
    turns: tuple[int, ...] = (1,)

    @named_options
    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= checked_number(p, "p", 0.5) <= 1:
            raise ConfigError(f"p={p!r} is not a probability: expected a number from 0 to 1.")
        self.p = p

    def crop(self, height: int, width: int, rng: np.random.Generator, train: bool) -> Crop:
        chance, which = rng.random(), int(rng.integers(len(self.turns)))
        turn = self.turns[which] if train and chance < self.p else 0
        return Crop((0, 0, width, height), (height, width), turn=turn)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p:g})"


class DihedralItem(FlipItem):
    """The picture laid in one of its eight ways (mirrored, turned by quarters) with probability `p` in training."""

    turns = tuple(range(8))

    @named_options
    def __init__(self, p: float = 1.0) -> None:
        super().__init__(p)
