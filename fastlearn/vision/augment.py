"""`aug_transforms`, the usual augmentation, and in one place all batch transforms of pictures.

All geometric ones become one interpolation, all of brightness, contrast and saturation one pass. Parameters are each
sample's own, drawn on the CPU from the batch's generator, so they do not depend on the device. In validation nothing
is changed, sizes and normalisation apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, named_options
from fastlearn.pixels import PadMode
from fastlearn.vision.affine import Dihedral as Dihedral
from fastlearn.vision.affine import Flip as Flip
from fastlearn.vision.affine import GeometricTransform, ResizeBatch
from fastlearn.vision.affine import RandomResizedCropGPU as RandomResizedCropGPU
from fastlearn.vision.affine import Rotate as Rotate
from fastlearn.vision.affine import Warp as Warp
from fastlearn.vision.affine import Zoom as Zoom
from fastlearn.vision.batch import IntToFloatTensor as IntToFloatTensor
from fastlearn.vision.batch import Normalize as Normalize
from fastlearn.vision.batch import cifar_stats as cifar_stats
from fastlearn.vision.batch import imagenet_stats as imagenet_stats
from fastlearn.vision.batch import mnist_stats as mnist_stats
from fastlearn.vision.geometry import GridMode
from fastlearn.vision.light import Brightness as Brightness
from fastlearn.vision.light import Contrast as Contrast
from fastlearn.vision.light import Hue as Hue
from fastlearn.vision.light import LightTransform
from fastlearn.vision.light import RandomErasing as RandomErasing
from fastlearn.vision.light import Saturation as Saturation
from fastlearn.vision.transforms import Size


@named_options
def aug_transforms(
    mult: float = 1.0,
    do_flip: bool = True,
    flip_vert: bool = False,
    max_rotate: float = 10.0,
    min_zoom: float = 1.0,
    max_zoom: float = 1.1,
    max_lighting: float = 0.2,
    max_warp: float = 0.2,
    p_affine: float = 0.75,
    p_lighting: float = 0.75,
    xtra_tfms: Sequence[Any] | Any | None = None,
    size: Size | None = None,
    mode: GridMode = "bilinear",
    pad_mode: PadMode | str = PadMode.Reflection,
    align_corners: bool = True,
    batch: bool = False,
    min_scale: float = 1.0,
) -> list[Any]:
    """The usual augmentation of photographs: flip, rotate, zoom, warp and light, each sample by its own draw.

    `mult` multiplies `max_rotate`, `max_lighting` and `max_warp`. `size` resizes in the same
    interpolation (validation too); with `min_scale` below 1 a random part of at least that area is shown at `size`.
    With `batch` all samples share one draw.

    >>> dls = ImageDataLoaders.from_folder(path, item_tfms=Resize(460), batch_tfms=aug_transforms(size=224))
    """
    for name, value, usual in (
        ("mult", mult, 1.0),
        ("max_rotate", max_rotate or 0.0, 10.0),  # None or False is one way to say 0
        ("min_zoom", min_zoom, 1.0),
        ("max_zoom", max_zoom, 1.1),
        ("max_lighting", max_lighting or 0.0, 0.2),
        ("max_warp", max_warp or 0.0, 0.2),
        ("p_affine", p_affine, 0.75),
        ("p_lighting", p_lighting, 0.75),
        ("min_scale", min_scale, 1.0),
    ):
        checked_number(value, name, usual)
    if min_scale != 1 and size is None:
        raise ConfigError(f"aug_transforms(min_scale={min_scale}) needs a size: type aug_transforms(size=224, ...).")
    geometric: list[GeometricTransform] = []
    manner: dict[str, Any] = {"size": size, "mode": mode, "pad_mode": pad_mode, "align_corners": align_corners}
    if do_flip:
        geometric.append((Dihedral if flip_vert else Flip)(p=0.5, batch=batch, **manner))
    if max_warp:
        geometric.append(Warp(magnitude=mult * max_warp, p=p_affine, batch=batch, **manner))
    if max_rotate:
        geometric.append(Rotate(max_deg=mult * max_rotate, p=p_affine, batch=batch, **manner))
    if min_zoom < 1 or max_zoom > 1:
        geometric.append(Zoom(min_zoom, max_zoom, p=p_affine, batch=batch, **manner))
    if size is not None and min_scale != 1:
        geometric.append(RandomResizedCropGPU(min_scale=min_scale, ratio=(1, 1), batch=batch, **manner))
    elif size is not None and not geometric:
        geometric.append(ResizeBatch(**manner))
    light: list[LightTransform] = []
    if max_lighting:
        light = [kind(mult * max_lighting, p=p_lighting, batch=batch) for kind in (Brightness, Contrast)]
    extra = [] if xtra_tfms is None else list(xtra_tfms) if isinstance(xtra_tfms, (list, tuple)) else [xtra_tfms]
    return [*geometric, *light, *extra]
