"""Making a picture fit a size: which part of it is taken, and what is seen where it does not reach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fastlearn.errors import ConfigError, ImageError, near

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling


ChoiceT = TypeVar("ChoiceT", bound="Choice")


class Choice(StrEnum):
    """An enum whose members may be typed as strings in any case."""

    @classmethod
    def of(cls: type[ChoiceT], value: object) -> ChoiceT:
        """The member that `value` names; raises ConfigError with the near matches otherwise."""
        names = [member.value for member in cls]
        if isinstance(value, str) and value.lower() in names:
            return cls(value.lower())
        hint = near(str(value).lower(), names)
        raise ConfigError(f"{cls.__name__} has no {value!r}.{hint} Choose from {', '.join(map(repr, names))}.")


class ResizeMethod(Choice):
    """How a picture of another shape is made to fit: cut off, filled up, or distorted."""

    Crop = "crop"
    Pad = "pad"
    Squish = "squish"


class PadMode(Choice):
    """What is seen outside the picture: black, its edge repeated, or its mirror image."""

    Zeros = "zeros"
    Border = "border"
    Reflection = "reflection"


def fit_box(
    source: tuple[int, int], target: tuple[int, int], method: ResizeMethod, at: tuple[float, float] = (0.5, 0.5)
) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom) of a `source` (h, w) picture that fills a `target` (h, w).

    Cropping takes the largest part of the target's shape; padding the smallest area of that shape round the whole
    picture, so the box lies partly outside. `at` says where along the free side (y, x), 0 to 1.
    """
    (height, width), (target_h, target_w) = source, target
    if method is ResizeMethod.Squish:
        return 0.0, 0.0, float(width), float(height)
    scales = height / target_h, width / target_w
    scale = min(scales) if method is ResizeMethod.Crop else max(scales)
    box_h, box_w = target_h * scale, target_w * scale
    top, left = (height - box_h) * at[0], (width - box_w) * at[1]
    return left, top, left + box_w, top + box_h


LONGEST = 16.0  # of a picture's sides, one over the other, that is resized as a whole


@dataclass(frozen=True)
class Fixed:
    """The part of a resize that is the same each time: the whole picture, so large that `size` (h, w) is cut from it.

    `method` "crop" covers the size, "pad" fits into it, "squish" is the size. `filter` is Pillow's; None is bilinear.
    """

    size: tuple[int, int]
    method: ResizeMethod = ResizeMethod.Crop
    filter: int | None = None

    def of(self, source: tuple[int, int]) -> tuple[int, int] | None:
        """(height, width) of a `source` (h, w) picture then; None where it is so long that it would be huge."""
        if self.method is ResizeMethod.Squish:
            return self.size
        scales = self.size[0] / source[0], self.size[1] / source[1]
        if max(scales) > LONGEST * min(scales):
            return None
        scale = max(scales) if self.method is ResizeMethod.Crop else min(scales)
        return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))

    def box(self, source: tuple[int, int], at: tuple[float, float] = (0.5, 0.5)) -> tuple[float, float, float, float]:
        """`fit_box`, in whole pixels for a picture that has its fixed size already."""
        box = fit_box(source, self.size, self.method, at)
        if self.of(source) != source:
            return box
        left, top = round(box[0]), round(box[1])
        return left, top, left + self.size[1], top + self.size[0]

    def __str__(self) -> str:
        return f"{self.size[0]}x{self.size[1]} by {self.method.value}, filter {self.filter}"


@dataclass(frozen=True)
class AtMost:
    """The part of a random crop that is the same each time: the whole picture, shrunk to `area` pixels if it has more.

    `filter` is Pillow's; None is bilinear.
    """

    area: int
    filter: int | None = None

    def of(self, source: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of a `source` (h, w) picture then, never more than `area` pixels."""
        scale = math.sqrt(self.area / (source[0] * source[1]))
        return source if scale >= 1 else (max(1, int(source[0] * scale)), max(1, int(source[1] * scale)))

    def __str__(self) -> str:
        return f"at most {self.area} pixels, filter {self.filter}"


def resample(
    image: Image,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    pad_mode: PadMode = PadMode.Reflection,
    method: Resampling | int | None = None,
) -> Image:
    """The part `box` (left, top, right, bottom, in pixels) of a picture at `size` (h, w), smoothed when it shrinks.

    Bilinear by default. What of the box lies outside the picture is filled as `pad_mode` says. The very same picture
    when nothing changes.
    """
    from PIL import Image as pil

    method = pil.Resampling.BILINEAR if method is None else pil.Resampling(method)
    left, top, right, bottom = box
    inside = max(left, 0.0), max(top, 0.0), min(right, float(image.width)), min(bottom, float(image.height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ImageError(f"The area {box} has nothing in common with a picture of {image.width}x{image.height}.")
    across = _span(inside[0], inside[2], left, right, size[1])
    down = _span(inside[1], inside[3], top, bottom, size[0])
    height, width = down[1] - down[0], across[1] - across[0]
    whole = tuple(map(round, inside))
    if inside == (0.0, 0.0, float(width), float(height)) and (width, height) == image.size:
        part = image
    elif inside == whole and (whole[2] - whole[0], whole[3] - whole[1]) == (width, height):
        part = image.crop(whole)  # type: ignore[arg-type]
    else:
        part = image.resize((width, height), method, box=inside)
    if (height, width) == tuple(size):
        return part
    return _pad(part, (down[0], size[0] - down[1]), (across[0], size[1] - across[1]), pad_mode)


def _span(inside_from: float, inside_to: float, box_from: float, box_to: float, pixels: int) -> tuple[int, int]:
    """Which of the `pixels` between `box_from` and `box_to` the inside covers: at least one."""
    scale = pixels / (box_to - box_from)
    start = min(round((inside_from - box_from) * scale), pixels - 1)
    return start, max(round((inside_to - box_from) * scale), start + 1)


def _pad(image: Image, down: tuple[int, int], across: tuple[int, int], pad_mode: PadMode) -> Image:
    from PIL import Image as pil

    modes = {PadMode.Zeros: "constant", PadMode.Border: "edge", PadMode.Reflection: "reflect"}
    pixels = np.asarray(image)
    padded = np.pad(pixels, [down, across] + [(0, 0)] * (pixels.ndim - 2), mode=modes[pad_mode])  # type: ignore[call-overload]
    result = pil.fromarray(padded)
    if image.mode == "P" and (palette := image.getpalette()) is not None:
        result.putpalette(palette)
    return result
