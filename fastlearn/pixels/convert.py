"""Pictures and arrays of any kind as upright 8-bit ones of one mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image


ORIENTATION_TAG = 0x0112
WHITE = 255
_WITH_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


def to_array(image: Image) -> np.ndarray:
    """Pixels as a contiguous uint8 array (channels, height, width): what a batch is stacked from."""
    pixels = np.asarray(image, dtype=np.uint8)
    if pixels.ndim == 2:
        return np.array(pixels[None])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def from_array(pixels: np.ndarray) -> Image:
    """The picture whose `to_array` is `pixels`."""
    from PIL import Image as pil

    return pil.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def as_hwc_uint8(source: Any) -> np.ndarray:
    """An array or tensor of pixels as uint8 (h, w), or (h, w, c) with 3 or 4 channels, for Pillow."""
    is_tensor = hasattr(source, "detach")
    pixels = np.asarray(source.detach().cpu() if is_tensor else source)
    channels = (1, 3, 4)
    if pixels.ndim == 3:
        first, last = pixels.shape[0] in channels, pixels.shape[2] in channels
        if first and (is_tensor or not last):
            pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or (pixels.ndim == 3 and pixels.shape[2] not in channels):
        raise ImageError(
            f"Cannot make a picture of an array of shape {tuple(pixels.shape)}: expected (h, w), (h, w, c) or "
            "(c, h, w) with 1, 3 or 4 channels."
        )
    pixels = _to_uint8(pixels)
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else np.ascontiguousarray(pixels)


def orientation(image: Image) -> int:
    """1 to 8, as in EXIF. Damaged EXIF is no reason to refuse a picture: it counts as upright."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: Image, way: int | None = None) -> Image:
    """The picture turned and mirrored as its EXIF, or `way`, asks; the very same one if it asks for nothing."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation(image) if way is None else way)
    return image if turn is None else image.transpose(turn)


def convert(image: Image, mode: str) -> Image:
    """A new image in `mode`, free of its file and of what was stored beside the pixels."""
    from PIL import Image as pil

    if image.mode.startswith(("I", "F")):
        image = pil.fromarray(_to_uint8(np.asarray(image)))
    transparent = image.mode in _WITH_ALPHA or "transparency" in image.info
    if transparent and mode not in _WITH_ALPHA:
        paper = pil.new("RGBA", image.size, (WHITE, WHITE, WHITE, WHITE))
        image = pil.alpha_composite(paper, image.convert("RGBA"))
    elif transparent and image.mode == "P":
        image = image.convert("RGBA")
    converted = image.convert(mode)
    converted.info = {}
    return converted


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Samples of any type on the scale 0..255, by the range that their type and values imply."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if not np.isfinite(pixels).all():
        raise ImageError("The picture has NaN or infinite pixels; replace them first, as with np.nan_to_num.")
    low, high = float(pixels.min()), float(pixels.max())
    sixteen_bit = pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2
    if sixteen_bit or (pixels.dtype.kind in "iu" and low >= 0 and 255 < high <= 65535):
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype.kind in "iu" and low >= 0 and high <= 255:
        return pixels.astype(np.uint8)
    if pixels.dtype.kind == "f" and low >= 0 and high <= 255:
        return np.rint(pixels * (255.0 if high <= 1 else 1.0)).astype(np.uint8)
    return np.rint((pixels.astype(np.float64) - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)
