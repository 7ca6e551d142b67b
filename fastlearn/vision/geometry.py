"""Where every pixel goes: one geometry object per sample, which pictures, masks and points all follow.

Two stages. `Crop` places one picture on the CPU (cut, pad, resize, turn). `Homographies` moves a whole batch on its
device: 3x3 matrices, one a sample, composed from flips, rotations, zooms, warps and crops and then applied in a single
interpolation. A matrix takes a place in the *result* to the place in the *source* that is seen there, in coordinates
(x, y) from -1 to 1 over the picture.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastlearn import pixels
from fastlearn.pixels import PadMode

if TYPE_CHECKING:
    from PIL.Image import Image

SKIP = 1.25  # the source is averaged until a step spans fewer pixels than twice this; measured on photos
GridMode = Literal["bilinear", "nearest", "bicubic"]

# The eight ways to lay a square tile, as (x, y) matrices from result to source: 0 leaves it, 1 mirrors left to right.
DIHEDRAL = (
    ((1, 0), (0, 1)),
    ((-1, 0), (0, 1)),
    ((1, 0), (0, -1)),
    ((-1, 0), (0, -1)),
    ((0, 1), (1, 0)),
    ((0, -1), (1, 0)),
    ((0, 1), (-1, 0)),
    ((0, -1), (-1, 0)),
)


@dataclass(frozen=True)
class Crop:
    """One sample's placement: the area `box` (left, top, right, bottom; pixels) of the source becomes `size` (h, w).

    What of the box lies outside the source is filled as `pad_mode` says. `turn` is one of the eight `DIHEDRAL` ways to
    lay the result, applied last; those from 4 on swap height and width.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    pad_mode: PadMode = PadMode.Reflection
    turn: int = 0

    def apply_image(self, image: Image, method: int | None = None) -> Image:
        """The picture placed so; bilinear unless `method` names another of Pillow's filters."""
        return _turn(pixels.resample(image, self.box, self.size, self.pad_mode, method), self.turn)

    def apply_mask(self, mask: Image, pad_mode: PadMode | None = None) -> Image:
        """A mask placed in the same way: nearest pixel, so that no class is invented between two others."""
        from PIL.Image import Resampling

        return replace(self, pad_mode=pad_mode or self.pad_mode).apply_image(mask, Resampling.NEAREST)

    def apply_points(self, points: np.ndarray) -> np.ndarray:
        """Where points (n, 2) as (x, y) in pixels of the source come to lie, in pixels of the result."""
        left, top, right, bottom = self.box
        height, width = self.size
        moved = (np.asarray(points, dtype=np.float64) - (left, top)) * (width / (right - left), height / (bottom - top))
        to_source = np.array(DIHEDRAL[self.turn], dtype=np.float64)
        middle = np.array([width, height]) / 2
        new_middle = middle[::-1] if self.turn >= 4 else middle
        return (moved - middle) @ to_source + new_middle  # the inverse of a turn is its transpose


def _turn(image: Image, turn: int) -> Image:
    from PIL.Image import Transpose

    ways = (
        None,
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.ROTATE_180,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_90,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
    )
    way = ways[turn]
    return image if way is None else image.transpose(way)


@functools.cache
def _ways() -> Tensor:
    """(8, 3, 3) matrices of the `DIHEDRAL` ways, the first of which changes nothing; read-only."""
    matrices = torch.zeros(8, 3, 3, dtype=torch.float64)
    matrices[:, :2, :2] = torch.tensor(DIHEDRAL, dtype=torch.float64)
    matrices[:, 2, 2] = 1
    return matrices


def identity(n: int) -> Tensor:
    """(n, 3, 3) matrices that change nothing."""
    return _ways()[:1].expand(n, 3, 3).clone()


def dihedral(turns: Tensor) -> Tensor:
    """Matrices of the `DIHEDRAL` ways named by `turns` (n,), 0 to 7."""
    return _ways()[turns]


def rotation(degrees: Tensor, size: tuple[int, int]) -> Tensor:
    """Matrices that turn pictures of `size` (h, w) counter-clockwise, in pixels: also oblong ones keep right angles."""
    matrices, radians = identity(len(degrees)), torch.deg2rad(degrees.double())
    aspect = size[1] / size[0]
    # Seen from the result, the source turns the other way; y points down.
    matrices[:, 0, 0] = matrices[:, 1, 1] = radians.cos()
    matrices[:, 0, 1] = -radians.sin() / aspect
    matrices[:, 1, 0] = radians.sin() * aspect
    return matrices


def window(middle: Tensor, half: Tensor) -> Tensor:
    """Matrices that show the window with centres `middle` (n, 2) and half sizes `half` (n, 2), in (x, y) of -1 to 1."""
    matrices = identity(len(middle))
    matrices[:, 0, 0], matrices[:, 1, 1] = half[:, 0].double(), half[:, 1].double()
    matrices[:, :2, 2] = middle.double()
    return matrices


def zoom(factor: Tensor, at: Tensor) -> Tensor:
    """Matrices that enlarge by `factor` (n,); `at` (n, 2), 0 to 1 for x and y, says which part stays in view."""
    half = (1 / factor.double())[:, None].expand(-1, 2)
    return window((1 - half) * (2 * at.double() - 1), half)


def warp(tilt: Tensor) -> Tensor:
    """Matrices that tilt by `tilt` (n, 2) about the upright and the level axis, as if seen from one side.

    Each corner of the result shows the place in the source that is shifted by the tilt: with tilt (x, 0) the left edge
    shows 1 + x of the height and the right edge 1 - x.
    """
    # A corner (X, Y), each of 1 or -1, shows (X - y XY, Y - x XY): these matrices do so, as X² and Y² are 1.
    tilt = tilt.double()
    crossed = tilt.flip(1)
    matrices = identity(len(tilt))
    matrices[:, :2, :2] -= crossed[:, :, None] * crossed[:, None]
    matrices[:, :2, 2] = matrices[:, 2, :2] = tilt
    return matrices


def choose(matrices: Tensor, chosen: Tensor) -> Tensor:
    """`matrices` where `chosen` (n,) is true, the identity elsewhere."""
    return torch.where(chosen[:, None, None], matrices, _ways()[0])


@dataclass(frozen=True)
class Homographies:
    """A batch's placement: (n, 3, 3) `matrices` on the CPU and the `size` (h, w) of the result."""

    matrices: Tensor
    size: tuple[int, int]
    mode: GridMode = "bilinear"
    pad_mode: PadMode = PadMode.Reflection
    align_corners: bool = True

    def then(self, later: Homographies) -> Homographies:
        """This placement followed by `later`, as one."""
        return replace(later, matrices=self.matrices @ later.matrices)

    def of(self, shape: torch.Size, device: torch.device) -> Placement:
        """This placement of pictures of `shape` (…, h, w) on `device`, to be made some rows at a time."""
        return Placement(self, shape, device)

    def apply_images(self, images: Tensor) -> Tensor:
        """Floats (n, c, h, w) placed so, in one interpolation; the very same tensor when nothing changes."""
        return self.of(images.shape, images.device).images(images)

    def apply_masks(self, masks: Tensor) -> Tensor:
        """Integer masks (n, h, w) placed so: nearest pixel, background (0) outside when the padding is zeros."""
        return self.of(masks.shape, masks.device).masks(masks)

    def apply_points(self, points: Tensor) -> Tensor:
        """Points (n, p, 2) as (x, y) from -1 to 1 over the picture, moved with what they mark."""
        inverse = torch.linalg.inv(self.matrices).float().to(points.device)
        ones = torch.ones_like(points[..., :1])
        moved = torch.cat([points, ones], -1).float() @ inverse.transpose(1, 2)
        return (moved[..., :2] / moved[..., 2:]).to(points.dtype)

    def turns(self) -> list[int | None]:
        """The `DIHEDRAL` way of each sample, None where pixels must be interpolated."""
        n_ways = 8 if self.size[0] == self.size[1] else 4  # the other four swap height and width
        same = (self.matrices[:, None] == _ways()[:n_ways]).flatten(2).all(2)  # (n, ways)
        turns: list[int | None] = [None] * len(same)
        for sample, way in same.nonzero().tolist():
            turns[sample] = way
        return turns

    def shrinkage(self, shape: torch.Size) -> int:
        """By how much to average the source first, so that bilinear sampling does not skip pixels of it.

        From the sample that is shrunk least, by the areas that the matrices say, so that none gets blurred.
        """
        (xx, xy), (yx, yy) = (row.unbind(1) for row in self.matrices[:, :2, :2].unbind(1))
        areas = (xx * yy - xy * yx).abs()
        ratio = shape[-1] * shape[-2] / (self.size[0] * self.size[1])
        return max(1, int(math.sqrt(float(areas.min()) * ratio) / SKIP))


class Placement:
    """`Homographies` of pictures of one shape on one device, with all worked out but their pixels.

    Then each few rows of a batch cost as few operations as can be: threads that share the interpreter wait for each
    other at every one of them.
    """

    def __init__(self, placed: Homographies, shape: torch.Size, device: torch.device) -> None:
        self.placed, self.shape, self.device = placed, shape, device
        self.turns = placed.turns()
        self.shrinkage = 1 if placed.mode == "nearest" else placed.shrinkage(shape)
        self.flat = bool((placed.matrices[:, 2] == _ways()[0, 2]).all())
        self._places: dict[int, tuple[Tensor, Tensor]] = {}

    def images(self, images: Tensor, rows: slice = slice(None)) -> Tensor:
        """Floats (n, c, h, w), the `rows` of the batch, placed so; the very same tensor when nothing changes."""
        turns = self._turns_alone(images, rows)
        if turns is not None:
            return _lay(images, turns)
        if self.shrinkage > 1:
            images = F.avg_pool2d(images, self.shrinkage, ceil_mode=True, count_include_pad=False)
        return self.sample(images, rows, self.placed.mode, self.shrinkage)

    def masks(self, masks: Tensor, rows: slice = slice(None)) -> Tensor:
        """Integer masks (n, h, w), the `rows` of the batch, placed so."""
        turns = self._turns_alone(masks, rows)
        if turns is not None:
            return _lay(masks, turns)
        return self.sample(masks[:, None].float(), rows, "nearest")[:, 0].round().to(masks.dtype)

    def points(self, points: Tensor, rows: slice = slice(None)) -> Tensor:
        """Points (n, p, 2) of the `rows` of the batch, moved with what they mark."""
        return replace(self.placed, matrices=self.placed.matrices[rows]).apply_points(points)

    def sample(self, images: Tensor, rows: slice, mode: GridMode, shrinkage: int = 1) -> Tensor:
        """Pictures that were averaged by `shrinkage`, looked at in the places that the matrices say."""
        if shrinkage not in self._places:
            self._places[shrinkage] = self._lines(shrinkage)
        across, down = self._places[shrinkage]
        seen = across[rows] + down[rows]  # (n, 3, h, w)
        grid = seen[:, :2] if self.flat else seen[:, :2].div_(seen[:, 2:])
        if grid.dtype != images.dtype:
            grid = grid.to(images.dtype)
        placed = self.placed
        return F.grid_sample(images, grid.permute(0, 2, 3, 1), mode, placed.pad_mode.value, placed.align_corners)

    def _turns_alone(self, part: Tensor, rows: slice) -> list[int] | None:
        """The `DIHEDRAL` way of each of the rows where no interpolation is needed at all, else None."""
        turns = [turn for turn in self.turns[rows] if turn is not None]
        same_size = tuple(part.shape[-2:]) == tuple(self.placed.size)
        return turns if same_size and len(turns) == len(part) else None

    def _lines(self, shrinkage: int) -> tuple[Tensor, Tensor]:
        """What x adds (n, 3, 1, w), and what y adds (n, 3, h, 1), to where each pixel of the result looks."""
        matrices, (height, width), corners = self.placed.matrices, self.placed.size, self.placed.align_corners
        if shrinkage > 1:
            matrices = _pooling(self.shape, shrinkage, corners) @ matrices
        by_x, by_y, rest = matrices.float().to(self.device, non_blocking=True)[..., None, None].unbind(2)
        x, y = (_centres(length, corners, self.device) for length in (width, height))
        return by_x * x, by_y * y[:, None] + rest


def _pooling(shape: torch.Size, factor: int, align_corners: bool) -> Tensor:
    """The matrix that takes coordinates of a picture to those of the same picture averaged in `factor` by `factor`."""
    matrix = torch.eye(3, dtype=torch.float64)
    for axis, length in enumerate((shape[-1], shape[-2])):
        pooled = math.ceil(length / factor)
        if align_corners:  # pixel centres: (x + 1) / 2 * (length - 1) + 1/2 from the left edge
            scale = (length - 1) / factor / max(pooled - 1, 1)
            offset = ((length / factor) - 1) / max(pooled - 1, 1) - 1
        else:
            scale = length / factor / pooled
            offset = scale - 1
        matrix[axis, axis], matrix[axis, 2] = scale, offset
    return matrix


def _centres(length: int, align_corners: bool, device: torch.device) -> Tensor:
    """Pixel centres from -1 to 1, either with the outermost on the ends or half a pixel inside."""
    edge = 1.0 if align_corners and length > 1 else (length - 1) / length
    return torch.linspace(-edge, edge, length, device=device)


def _lay(images: Tensor, turns: list[int]) -> Tensor:
    """Mirror and turn without interpolating; the very same tensor when no sample is to be turned."""
    ways = sorted(set(turns))
    if len(ways) == 1:
        return _turned(images, ways[0])
    result = torch.empty_like(images)
    for turn in ways:
        rows = torch.tensor([i for i, way in enumerate(turns) if way == turn]).to(images.device, non_blocking=True)
        result.index_copy_(0, rows, _turned(images.index_select(0, rows), turn))
    return result


def _turned(images: Tensor, turn: int) -> Tensor:
    """All of them laid in one of the `DIHEDRAL` ways; the very same tensor in way 0."""
    (xx, xy), (yx, yy) = DIHEDRAL[turn]
    if turn >= 4:  # source x comes from result y
        images = images.transpose(-1, -2)
    signs = {-1: yx, -2: xy} if turn >= 4 else {-1: xx, -2: yy}
    flips = [axis for axis, sign in signs.items() if sign < 0]
    return images.flip(flips) if flips else images
