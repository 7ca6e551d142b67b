"""Batch transforms that change light and colour, and random erasing."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fastlearn.data.transform import Batch, BatchTransform, RowChange
from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, named_options
from fastlearn.vision.batch import Draw, RandomTransform, as_floats, first_picture, on_images

GREY = (0.299, 0.587, 0.114)  # luma weights of ITU-R BT.601


class LightTransform(RandomTransform):
    """Changes light and colour by x -> sigmoid(A logit(x) + b): results stay between 0 and 1 without clipping.

    Neighbours are merged into one pass. A and b are given as contrast (n,), brightness (n,) and saturation (n,). Unlike
    fast.ai's, it comes before pixels are moved, while they are bytes: of 256 levels, a table holds the results.
    """

    order = 5

    @abstractmethod
    def affine(self, n: int, channels: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """A: (n, channels, channels) and b: (n,), on the scale of logits."""

    def merge(self, other: BatchTransform) -> BatchTransform | None:
        """One pass for this and the next."""
        if not isinstance(other, LightTransform):
            return None
        return MergedLight([*self._parts(), *other._parts()])

    def _parts(self) -> list[LightTransform]:
        return [self]

    def by_rows(self, n: int, part: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> RowChange:
        """Light is drawn for the whole batch."""
        picture = first_picture(part, kinds, ("image",))
        if not train or picture is None:
            return lambda batch, rows: batch
        change = relighting(*self.affine(n, picture.shape[1], rng), picture)
        return lambda batch, rows: on_images(batch, kinds, lambda x: change(x, rows))


class MergedLight(LightTransform):
    """Several changes of light as one pass."""

    def __init__(self, parts: Sequence[LightTransform]) -> None:
        super().__init__(1.0)
        self.parts = list(parts)

    def _parts(self) -> list[LightTransform]:
        return self.parts

    def affine(self, n: int, channels: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        matrix, offset = self.parts[0].affine(n, channels, rng)
        for part in self.parts[1:]:
            later, shift = part.affine(n, channels, rng)
            # The rows of each matrix have one sum, so an offset equal in all channels stays equal in all.
            offset = later.sum(2)[:, 0] * offset + shift
            matrix = later @ matrix
        return matrix, offset

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


def relight(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """sigmoid(A logit(x) + b) for pictures (n, c, h, w), floats from 0 to 1 or bytes: floats from 0 to 1.

    The very same tensor when nothing changes.
    """
    return relighting(matrix, offset, images)(images, slice(0, len(images)))


def relighting(matrix: Tensor, offset: Tensor, like: Tensor) -> Callable[[Tensor, slice], Tensor]:
    """The same, as a function of some pictures of a batch and which they are; `like` is one of its pictures or more."""
    channels, dtype = like.shape[1], like.dtype if like.is_floating_point() else torch.float32
    contrast = matrix[:, 0, 0]
    by_channel = bool((matrix == contrast[:, None, None] * torch.eye(channels, dtype=matrix.dtype)).all())
    if by_channel and bool((contrast == 1).all()) and not bool(offset.any()):
        return lambda images, rows: images
    matrix, offset = (part.to(dtype).to(like.device, non_blocking=True) for part in (matrix, offset))
    if not by_channel:
        return lambda images, rows: _mix(as_floats(images), matrix[rows], offset[rows])
    if like.is_floating_point():
        return lambda images, rows: _scale(images, matrix[rows, :1, :1, None], offset[rows])
    levels = as_floats(torch.arange(256, dtype=torch.uint8, device=like.device)).view(1, 1, 1, 256)
    table = _scale(levels, matrix[:, :1, :1, None], offset)[:, 0, 0]  # (n, 256)
    return lambda images, rows: table[rows].gather(1, images.flatten(1).long()).view(images.shape)


def _logit(images: Tensor) -> Tensor:
    return torch.logit(images, eps=1e-6 if images.dtype == torch.float32 else 1e-3)


def _scale(images: Tensor, contrast: Tensor, offset: Tensor) -> Tensor:
    """Every channel by itself."""
    return (_logit(images) * contrast).add_(offset.view(-1, 1, 1, 1)).sigmoid_()


def _mix(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Channels mixed by the matrices."""
    logits = (matrix @ _logit(images).flatten(2)).view_as(images)
    return logits.add_(offset.view(-1, 1, 1, 1)).sigmoid_()


class Brightness(LightTransform):
    """Light added or taken: the offset takes mid-grey to a level between (1 ± `max_lighting`) / 2."""

    @named_options
    def __init__(self, max_lighting: float = 0.2, p: float = 0.75, draw: Draw = None, batch: bool = False) -> None:
        super().__init__(p, batch)
        self.max_lighting, self.draw = check_lighting(max_lighting), draw

    def affine(self, n: int, channels: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = self.chosen(n, rng)
        level = self.uniform(n, 0.5 * (1 - self.max_lighting), 0.5 * (1 + self.max_lighting), rng, self.draw)
        return eyes(n, channels), torch.where(chosen, torch.logit(level), 0.0)

    def __repr__(self) -> str:
        return f"Brightness(±{self.max_lighting:g}, p={self.p:g})"


class Contrast(LightTransform):
    """Logits times a factor between 1 - `max_lighting` and its inverse, drawn log-uniformly."""

    @named_options
    def __init__(self, max_lighting: float = 0.2, p: float = 0.75, draw: Draw = None, batch: bool = False) -> None:
        super().__init__(p, batch)
        self.max_lighting, self.draw = check_lighting(max_lighting), draw

    def factor(self, n: int, rng: torch.Generator) -> Tensor:
        """(n,) factors, 1 for the samples that are left alone."""
        chosen, edge = self.chosen(n, rng), -math.log(1 - self.max_lighting)
        drawn = self.uniform(n, -edge, edge, rng, self.draw)
        return torch.where(chosen, drawn.exp() if self.draw is None else drawn, 1.0)

    def affine(self, n: int, channels: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.factor(n, rng)[:, None, None] * eyes(n, channels), torch.zeros(n, dtype=torch.float64)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(±{self.max_lighting:g}, p={self.p:g})"


class Saturation(Contrast):
    """Colours moved away from or towards their grey by a factor between 1 - `max_lighting` and its inverse."""

    def affine(self, n: int, channels: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        factor = self.factor(n, rng)[:, None, None]
        if channels != 3:
            return eyes(n, channels), torch.zeros(n, dtype=torch.float64)
        grey = torch.tensor(GREY, dtype=torch.float64).expand(n, 3, 3)
        return factor * eyes(n, 3) + (1 - factor) * grey, torch.zeros(n, dtype=torch.float64)


def eyes(n: int, channels: int) -> Tensor:
    """(n, channels, channels) identity matrices, to be read and not written to."""
    return torch.eye(channels, dtype=torch.float64).expand(n, channels, channels)


def check_lighting(max_lighting: float) -> float:
    """`max_lighting` if it is from 0 to below 1, else ConfigError."""
    if not 0 <= checked_number(max_lighting, "max_lighting", 0.2) < 1:
        raise ConfigError(f"max_lighting={max_lighting!r}: expected a number from 0 to below 1, such as 0.2.")
    return float(max_lighting)


class Hue(RandomTransform):
    """The hue turned by up to `max_hue` of the colour circle either way; RGB pictures only."""

    order = 41

    @named_options
    def __init__(self, max_hue: float = 0.1, p: float = 0.75, draw: Draw = None, batch: bool = False) -> None:
        super().__init__(p, batch)
        self.max_hue, self.draw = checked_number(max_hue, "max_hue", 0.1), draw

    def by_rows(self, n: int, part: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> RowChange:
        """The turn is drawn for the whole batch."""
        picture = first_picture(part, kinds, ("image",))
        if not train or picture is None or picture.shape[1] != 3:
            return lambda batch, rows: batch
        chosen = self.chosen(n, rng)
        turn = torch.where(chosen, self.uniform(n, -self.max_hue, self.max_hue, rng, self.draw), 0.0)
        if not bool(turn.any()):
            return lambda batch, rows: batch
        return lambda batch, rows: on_images(batch, kinds, lambda x: turn_hue(x, turn[rows]))

    def __repr__(self) -> str:
        return f"Hue(±{self.max_hue:g}, p={self.p:g})"


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """RGB pictures (n, 3, h, w) with the hue of HSV turned by `turn` (n,) of the circle; value and chroma stay."""
    turn = turn.to(images.dtype).to(images.device, non_blocking=True)[:, None, None]
    red, green, blue = images.unbind(1)
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    safe = chroma.clamp(min=1e-12)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turn
    # A channel falls from the value to the lowest as the hue moves 1 to 2 sixths away from the channel's own.
    channels = [(sixth + shift).remainder(6) for shift in (5.0, 3.0, 1.0)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in channels], 1)


class RandomErasing(RandomTransform):  # a whole batch at a time
    """Random boxes filled with noise of the batch's own mean and spread (Zhong et al., 2017).

    A box takes between `sl` and `sh` of the area, with sides in a ratio drawn log-uniformly between `min_aspect` and
    its inverse; up to `max_count` boxes a sample share that area. One field of noise serves the whole batch.
    """

    order = 100

    @named_options
    def __init__(
        self, p: float = 0.5, sl: float = 0.0, sh: float = 0.3, min_aspect: float = 0.3, max_count: int = 1
    ) -> None:
        super().__init__(p)
        numbers = (("sl", sl, 0), ("sh", sh, 0.3), ("min_aspect", min_aspect, 0.3), ("max_count", max_count, 1))
        for name, value, usual in numbers:
            checked_number(value, name, usual)
        if not 0 <= sl <= sh <= 1 or not 0 < min_aspect <= 1 or max_count < 1 or max_count % 1:
            raise ConfigError(
                f"RandomErasing(sl={sl}, sh={sh}, min_aspect={min_aspect}, max_count={max_count}): expected "
                "0 <= sl <= sh <= 1, 0 < min_aspect <= 1 and a whole max_count >= 1."
            )
        self.sl, self.sh, self.min_aspect, self.max_count = sl, sh, min_aspect, int(max_count)

    def __call__(self, batch: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> Batch:
        picture = first_picture(batch, kinds, ("image",))
        if not train or picture is None:
            return batch
        boxes = self.boxes(len(picture), picture.shape[-2], picture.shape[-1], rng)
        noise = torch.randn(1, *picture.shape[1:], generator=rng)
        return on_images(batch, kinds, lambda x: erase(x, boxes, noise))

    def boxes(self, n: int, height: int, width: int, rng: torch.Generator) -> Tensor:
        """(n, max_count, 4) as top, left, bottom, right in pixels; an empty box where nothing is erased."""
        shape = (n, self.max_count)
        count = torch.randint(1, self.max_count + 1, (n, 1), generator=rng)
        used = self.chosen(n, rng)[:, None] & (torch.arange(self.max_count) < count)
        draws = torch.rand(4, *shape, generator=rng, dtype=torch.float64)
        area = height * width * (self.sl + (self.sh - self.sl) * draws[0]) / count
        ratio = ((2 * draws[1] - 1) * -math.log(self.min_aspect)).exp()
        high = (area / ratio).sqrt().round().clamp(max=height) * used
        wide = (area * ratio).sqrt().round().clamp(max=width) * used
        top, left = ((height - high + 1) * draws[2]).floor(), ((width - wide + 1) * draws[3]).floor()
        return torch.stack([top, left, top + high, left + wide], -1)

    def __repr__(self) -> str:
        return f"RandomErasing(p={self.p:g}, area {self.sl:g} to {self.sh:g})"


def erase(images: Tensor, boxes: Tensor, noise: Tensor) -> Tensor:
    """Pictures (n, c, h, w) with `boxes` (n, k, 4) filled by `noise` (1, c, h, w), scaled and clipped to the batch."""
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[-2:])
    boxes = boxes.int().to(images.device, non_blocking=True)
    top, left, bottom, right = boxes[..., None].unbind(2)  # each (n, k, 1)
    across, down = (columns >= left) & (columns < right), (rows >= top) & (rows < bottom)
    inside = (down[..., None] & across[:, :, None]).any(1, keepdim=True)  # (n, 1, h, w)
    noise = noise.to(images.dtype).to(images.device, non_blocking=True)
    spread, mean = torch.std_mean(images, (0, 2, 3), keepdim=True)
    fill = (noise * spread + mean).clamp(*images.aminmax())
    return torch.where(inside, fill, images)
