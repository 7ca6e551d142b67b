"""Batch transforms that move pixels, merged into one interpolation for the whole batch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from fastlearn.data.transform import Batch, BatchTransform, RowChange
from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, named_options
from fastlearn.pixels import PadMode
from fastlearn.vision import geometry
from fastlearn.vision.batch import Draw, RandomTransform, first_picture
from fastlearn.vision.geometry import GridMode, Homographies
from fastlearn.vision.transforms import Size, as_size, check_range, check_ratio


class GeometricTransform(RandomTransform):
    """Moves pixels by one 3x3 matrix a sample. Neighbours are merged into one interpolation."""

    order = 30

    def __init__(
        self,
        p: float,
        size: Size | None = None,
        mode: GridMode = "bilinear",
        pad_mode: PadMode | str = PadMode.Reflection,
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        super().__init__(p, batch)
        self.size = None if size is None else as_size(size)
        if mode not in ("bilinear", "nearest", "bicubic"):
            raise ConfigError(f"mode={mode!r}: choose 'bilinear', 'nearest' or 'bicubic'.")
        self.mode, self.pad_mode, self.align_corners = mode, PadMode.of(pad_mode), align_corners

    @abstractmethod
    def matrices(self, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """(n, 3, 3) matrices for pictures of `size` in training; see `geometry`."""

    def fixed(self, n: int, size: tuple[int, int]) -> Tensor:
        """(n, 3, 3) matrices for validation."""
        return geometry.identity(n)

    def place(self, n: int, size: tuple[int, int], rng: torch.Generator, train: bool) -> Homographies:
        """What is done to a batch of `n` pictures of `size` (h, w)."""
        matrices = self.matrices(n, size, rng) if train else self.fixed(n, size)
        return Homographies(matrices, self.size or size, self.mode, self.pad_mode, self.align_corners)

    def merge(self, other: BatchTransform) -> BatchTransform | None:
        """One transform for this and the next, if both interpolate in the same way."""
        if not isinstance(other, GeometricTransform) or self._manner() != other._manner():
            return None
        return MergedGeometry([*self._parts(), *other._parts()])

    def _parts(self) -> list[GeometricTransform]:
        return [self]

    def _manner(self) -> tuple[str, PadMode, bool]:
        return self.mode, self.pad_mode, self.align_corners

    def by_rows(self, n: int, part: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> RowChange:
        """Places are drawn for the whole batch."""
        picture = first_picture(part, kinds)
        if picture is None or (not train and self.size is None):
            return lambda batch, rows: batch
        shape = picture.shape
        placed = self.place(n, (shape[-2], shape[-1]), rng, train).of(shape, picture.device)
        moves = {"image": placed.images, "mask": placed.masks, "points": placed.points}

        def change(batch: Batch, rows: slice) -> Batch:
            return tuple(
                moves[kind](part, rows) if kind in moves and isinstance(part, Tensor) else part
                for part, kind in zip(batch, kinds, strict=True)
            )

        return change


class MergedGeometry(GeometricTransform):
    """Several geometric transforms as one interpolation."""

    def __init__(self, parts: Sequence[GeometricTransform]) -> None:
        sizes = [part.size for part in parts if part.size is not None]
        super().__init__(1.0, sizes[-1] if sizes else None, parts[0].mode, parts[0].pad_mode, parts[0].align_corners)
        self.parts = list(parts)

    def _parts(self) -> list[GeometricTransform]:
        return self.parts

    def matrices(self, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        return _product([part.matrices(n, size, rng) for part in self.parts])

    def fixed(self, n: int, size: tuple[int, int]) -> Tensor:
        return _product([part.fixed(n, size) for part in self.parts])

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


def _product(matrices: list[Tensor]) -> Tensor:
    product = matrices[0]
    for later in matrices[1:]:
        product = product @ later
    return product


class Flip(GeometricTransform):
    """Pictures mirrored left to right."""

    turns: tuple[int, ...] = (1,)

    @named_options
    def __init__(
        self,
        p: float = 0.5,
        draw: Draw = None,
        size: Size | None = None,
        mode: GridMode = "bilinear",
        pad_mode: PadMode | str = PadMode.Reflection,
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        """`draw`, where given, says 1 (mirrored) or 0 for each sample; for `Dihedral` one of the eight ways."""
        super().__init__(p, size, mode, pad_mode, align_corners, batch)
        self.draw = draw

    def matrices(self, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        chosen = self.chosen(n, rng)
        drawn = self.uniform(n, 0, len(self.turns), rng, self.draw).long()
        turns = drawn if self.draw is not None else torch.tensor(self.turns)[drawn.clamp_(max=len(self.turns) - 1)]
        return geometry.dihedral(torch.where(chosen, turns, 0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p:g})"


class Dihedral(Flip):
    """Pictures laid in one of their eight ways: mirrored, and turned by quarters."""

    turns = tuple(range(8))


class Rotate(GeometricTransform):
    """Pictures turned by up to `max_deg` degrees either way, without changing right angles in oblong ones."""

    @named_options
    def __init__(
        self,
        max_deg: float = 10,
        p: float = 0.5,
        draw: Draw = None,
        size: Size | None = None,
        mode: GridMode = "bilinear",
        pad_mode: PadMode | str = PadMode.Reflection,
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        super().__init__(p, size, mode, pad_mode, align_corners, batch)
        self.max_deg, self.draw = checked_number(max_deg, "max_deg", 10), draw

    def matrices(self, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        chosen, degrees = self.chosen(n, rng), self.uniform(n, -self.max_deg, self.max_deg, rng, self.draw)
        return geometry.choose(geometry.rotation(degrees, size), chosen)

    def __repr__(self) -> str:
        return f"Rotate(±{self.max_deg:g}°, p={self.p:g})"


class Zoom(GeometricTransform):
    """Pictures enlarged by a factor from `min_zoom` to `max_zoom`, about a random place."""

    @named_options
    def __init__(
        self,
        min_zoom: float = 1.0,
        max_zoom: float = 1.1,
        p: float = 0.5,
        draw: Draw = None,
        draw_x: Draw = None,
        draw_y: Draw = None,
        size: Size | None = None,
        mode: GridMode = "bilinear",
        pad_mode: PadMode | str = PadMode.Reflection,
        batch: bool = False,
        align_corners: bool = True,
    ) -> None:
        super().__init__(p, size, mode, pad_mode, align_corners, batch)
        self.min_zoom, self.max_zoom = check_range("min_zoom", "max_zoom", min_zoom, max_zoom)
        self.draw, self.draw_x, self.draw_y = draw, draw_x, draw_y

    def matrices(self, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        chosen, factor = self.chosen(n, rng), self.uniform(n, self.min_zoom, self.max_zoom, rng, self.draw)
        at = [self.uniform(n, 0, 1, rng, draw) for draw in (self.draw_x, self.draw_y)]
        return geometry.choose(geometry.zoom(factor, torch.stack(at, 1)), chosen)

    def __repr__(self) -> str:
        return f"Zoom({self.min_zoom:g} to {self.max_zoom:g}, p={self.p:g})"


class Warp(GeometricTransform):
    """Pictures tilted as if seen from another side, by up to `magnitude` about either axis."""

    @named_options
    def __init__(
        self,
        magnitude: float = 0.2,
        p: float = 0.5,
        draw_x: Draw = None,
        draw_y: Draw = None,
        size: Size | None = None,
        mode: GridMode = "bilinear",
        pad_mode: PadMode | str = PadMode.Reflection,
        batch: bool = False,
        align_corners: bool = True,
    ) -> None:
        super().__init__(p, size, mode, pad_mode, align_corners, batch)
        if not 0 <= checked_number(magnitude, "magnitude", 0.2) < 1:
            raise ConfigError(f"Warp(magnitude={magnitude!r}): expected a number from 0 to below 1, such as 0.2.")
        self.magnitude, self.draw_x, self.draw_y = magnitude, draw_x, draw_y

    def matrices(self, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        chosen = self.chosen(n, rng)
        tilt = [self.uniform(n, -self.magnitude, self.magnitude, rng, draw) for draw in (self.draw_x, self.draw_y)]
        return geometry.choose(geometry.warp(torch.stack(tilt, 1)), chosen)

    def __repr__(self) -> str:
        return f"Warp(±{self.magnitude:g}, p={self.p:g})"


class RandomResizedCropGPU(GeometricTransform):
    """A random part of each picture at `size`, as `RandomResizedCrop` but in the batch's one interpolation.

    Unlike fast.ai's, every sample gets a part of its own. In validation: the largest centre part of the shape of
    `size`, its sides times `valid_scale`.
    """

    order = 31  # cut from the picture that the other transforms have moved

    @named_options
    def __init__(
        self,
        size: Size,
        min_scale: float = 0.08,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        mode: GridMode = "bilinear",
        valid_scale: float = 1.0,
        max_scale: float = 1.0,
        pad_mode: PadMode | str = PadMode.Reflection,
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        super().__init__(1.0, size, mode, pad_mode, align_corners, batch)
        self.min_scale, self.max_scale = check_range("min_scale", "max_scale", min_scale, max_scale)
        self.ratio, self.valid_scale = check_ratio(ratio), valid_scale

    def matrices(self, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        height, width = size
        area = self.uniform(n, self.min_scale, self.max_scale, rng)
        ratio = self.uniform(n, math.log(self.ratio[0]), math.log(self.ratio[1]), rng).exp()
        # Half of the window's sides as a part of the picture's: a part that would not fit is cut to the picture.
        half = torch.stack([(area * ratio * height / width).sqrt(), (area / ratio * width / height).sqrt()], 1)
        half = half.clamp(max=1.0)
        at = torch.stack([self.uniform(n, -1, 1, rng), self.uniform(n, -1, 1, rng)], 1)
        return geometry.window((1 - half) * at, half)

    def fixed(self, n: int, size: tuple[int, int]) -> Tensor:
        target = self.size or size
        scales = torch.tensor([target[1] / size[1], target[0] / size[0]], dtype=torch.float64)
        half = scales / scales.max() * self.valid_scale
        return geometry.window(torch.zeros(n, 2), half.expand(n, 2))

    def __repr__(self) -> str:
        return f"RandomResizedCropGPU({self.size}, area {self.min_scale:g} to {self.max_scale:g})"


class ResizeBatch(GeometricTransform):
    """Pictures at `size` with nothing else done to them, in training and validation."""

    @named_options
    def __init__(
        self,
        size: Size,
        mode: GridMode = "bilinear",
        pad_mode: PadMode | str = PadMode.Reflection,
        align_corners: bool = True,
    ) -> None:
        super().__init__(1.0, size, mode, pad_mode, align_corners)

    def matrices(self, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        return geometry.identity(n)

    def __repr__(self) -> str:
        return f"ResizeBatch({self.size})"
