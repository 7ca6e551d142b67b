"""The one door for pixels: files, bytes and arrays in, upright 8-bit pictures of one mode and size out.

Training, prediction and serving all come through here, so that a picture never looks different to a model than it did
in training. Pillow and NumPy only.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastlearn.errors import ConfigError, ImageError, near

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

ORIENTATION_TAG = 0x0112
WHITE = 255
_PIL_MODULES = re.compile(r"PIL\.")
_WITH_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_HINTS = {
    b"<svg": "It is an SVG drawing: convert it to PNG first.",
    b"<?xml": "It is an XML (perhaps SVG) file: convert it to PNG first.",
    b"<!DOCTYPE": "It is a web page, perhaps a failed download.",
    b"<html": "It is a web page, perhaps a failed download.",
    b"%PDF": "It is a PDF document: export its pages as pictures first.",
}

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


def open_image(source: Any, mode: str = "RGB") -> Image:
    """The first frame of a picture as an upright 8-bit Pillow image of `mode`.

    `source` is a path, bytes, a file object, a Pillow image, or an array or tensor: (h, w), (h, w, c) or (c, h, w) with
    1, 3 or 4 channels, of bools, integers in 0..255, 16-bit unsigned integers, or floats in 0..1 (or 0..255). The
    orientation stored by the camera (EXIF) is applied. Transparent parts are laid on white, unless `mode` itself has
    alpha. Samples of 16 bits are divided by 257; values outside these ranges are stretched from their lowest and
    highest to 0..255. Raises ImageError that names the file and the reason.

    >>> open_image("photo.jpg").size
    """
    from PIL import Image as pil

    _hush_pillow()
    if isinstance(source, pil.Image):
        return _convert(_upright(source), mode)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), mode, f"these {len(source):,} bytes")
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fspath(source), mode)
    if hasattr(source, "read"):
        return _decode(source, mode, f"the file object {getattr(source, 'name', type(source).__name__)!s}")
    if hasattr(source, "__array__") or hasattr(source, "detach"):
        return _convert(pil.fromarray(_as_hwc_uint8(source)), mode)
    raise ImageError(
        f"Cannot make a picture of {type(source).__name__} {_short(source)}. "
        "Pass a path, bytes, a PIL image, or an array or tensor of pixels."
    )


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of a picture as it will be seen (EXIF applied), from its header alone. Raises ImageError."""
    from PIL import Image as pil

    _hush_pillow()
    try:
        with open(path, "rb") as file, pil.open(file) as image:
            _refuse_bomb(image.size, os.fspath(path), os.fspath(path))
            width, height = image.size
            return (width, height) if _orientation(image) >= 5 else (height, width)
    except ImageError:
        raise
    except Exception as error:
        raise _explain(error, os.fspath(path), os.fspath(path)) from error


def to_array(image: Image) -> np.ndarray:
    """Pixels as a contiguous uint8 array (channels, height, width): what a batch is stacked from."""
    pixels = np.asarray(image, dtype=np.uint8)
    if pixels.ndim == 2:
        return np.array(pixels[None])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


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
    unchanged = inside == (0.0, 0.0, float(width), float(height)) and (width, height) == image.size
    part = image if unchanged else image.resize((width, height), method, box=inside)
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


def _hush_pillow() -> None:
    """Keep Pillow's own warnings from the user: what matters in them becomes an ImageError.

    `warnings.catch_warnings` would restore the wrong filters when several threads decode at once, so one narrow
    filter is put in place and stays.
    """
    if not any(entry[0] == "ignore" and entry[3] is _PIL_MODULES for entry in warnings.filters):
        warnings.filters.insert(0, ("ignore", None, Warning, _PIL_MODULES, 0))  # type: ignore[attr-defined]
        getattr(warnings, "_filters_mutated", lambda: None)()


def _open_path(path: str, mode: str) -> Image:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; its errors are told apart from those of decoding
    except (OSError, ValueError) as error:
        raise _explain(error, path, path) from error
    with file:
        return _decode(file, mode, path, path)


def _decode(file: Any, mode: str, name: str, path: str | None = None) -> Image:
    from PIL import Image as pil

    try:
        with pil.open(file) as image:
            _refuse_bomb(image.size, name, path)
            image.load()
            return _convert(_upright(image), mode)
    except ImageError:
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise _explain(error, path, name) from error


def _refuse_bomb(size: tuple[int, int], name: str, path: str | None) -> None:
    from PIL import Image as pil

    pixels, limit = size[0] * size[1], pil.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise ImageError(
            f"{name} unpacks to {size[0]:,}x{size[1]:,} = {pixels:,} pixels, more than the limit of {limit:,}: perhaps "
            f"a decompression bomb. If you trust it: import PIL.Image; PIL.Image.MAX_IMAGE_PIXELS = {pixels}.",
            path,
        )


def _explain(error: Exception, path: str | None, name: str) -> ImageError:
    """The ImageError that says what is wrong with a file in a reader's words."""
    from PIL import Image as pil
    from PIL import UnidentifiedImageError

    if isinstance(error, FileNotFoundError) and path is not None:
        return ImageError(f"There is no file {name}.{_near_file(path)}", path)
    if isinstance(error, IsADirectoryError):
        return ImageError(f"{name} is a folder; expected a picture in it, such as {name}/photo.jpg.", path)
    if isinstance(error, PermissionError):
        return ImageError(f"No permission to read {name}. Change its owner or mode (chmod u+r).", path)
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{name} {_not_a_picture(error, path)}", path)
    if isinstance(error, (pil.DecompressionBombError, pil.DecompressionBombWarning)):
        return ImageError(f"{name} is too large, perhaps a decompression bomb: {error}", path)
    return ImageError(f"{name} is damaged or cut off ({type(error).__name__}: {error}).", path)


def _not_a_picture(error: Exception, path: str | None) -> str:
    if path is None:
        return "are not a picture in a format that Pillow reads."
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        return "is empty (0 bytes)."
    hint = next((text for magic, text in _HINTS.items() if head.lstrip().lower().startswith(magic.lower())), "")
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        hint = "It is a HEIC photo: convert it, or pip install pillow-heif and call its register_heif_opener()."
    return f"is not a picture that Pillow can read (it starts with {head[:12]!r}). {hint}".rstrip()


def _near_file(path: str) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    try:
        with os.scandir(folder) as entries:
            return near(name, (entry.name for entry, _ in zip(entries, range(10_000), strict=False)))
    except OSError:
        return f" Its folder {folder} does not exist either."


def _orientation(image: Image) -> int:
    """1 to 8, as in EXIF. Damaged EXIF is no reason to refuse a picture: it counts as upright."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image) -> Image:
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
    turn = turns.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _convert(image: Image, mode: str) -> Image:
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


def _as_hwc_uint8(source: Any) -> np.ndarray:
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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
