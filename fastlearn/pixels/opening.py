"""Files, bytes, pictures and arrays in; an upright 8-bit Pillow image out."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from fastlearn.errors import ImageError
from fastlearn.pixels.convert import as_hwc_uint8, convert, orientation, upright
from fastlearn.pixels.faults import explain, hush_pillow, refuse_bomb, refuse_program

if TYPE_CHECKING:
    from PIL.Image import Image


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

    hush_pillow()
    if isinstance(source, pil.Image):
        return convert(upright(source), mode)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), mode, f"these {len(source):,} bytes")
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fspath(source), mode)
    if hasattr(source, "read"):
        return _decode(source, mode, f"the file object {getattr(source, 'name', type(source).__name__)!s}")
    if hasattr(source, "__array__") or hasattr(source, "detach"):
        return convert(pil.fromarray(as_hwc_uint8(source)), mode)
    raise ImageError(
        f"Cannot make a picture of {type(source).__name__} {_short(source)}. "
        "Pass a path, bytes, a PIL image, or an array or tensor of pixels."
    )


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of a picture as it will be seen (EXIF applied), from its header alone. Raises ImageError."""
    from PIL import Image as pil

    hush_pillow()
    try:
        with open(path, "rb") as file, pil.open(file) as image:
            refuse_program(image.format, os.fspath(path), os.fspath(path))
            refuse_bomb(image.size, os.fspath(path), os.fspath(path))
            width, height = image.size
            return (width, height) if orientation(image) >= 5 else (height, width)
    except ImageError:
        raise
    except Exception as error:
        raise explain(error, os.fspath(path), os.fspath(path)) from error


def _open_path(path: str, mode: str) -> Image:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; its errors are told apart from those of decoding
    except (OSError, ValueError) as error:
        raise explain(error, path, path) from error
    with file:
        return _decode(file, mode, path, path)


def _decode(file: Any, mode: str, name: str, path: str | None = None) -> Image:
    from PIL import Image as pil

    try:
        with pil.open(file) as image:
            refuse_program(image.format, name, path)
            refuse_bomb(image.size, name, path)
            image.load()
            return convert(upright(image), mode)
    except ImageError:
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise explain(error, path, name) from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
