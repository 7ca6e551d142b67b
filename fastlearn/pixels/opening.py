"""Files, bytes, pictures and arrays in; an upright 8-bit Pillow image out."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from fastlearn.errors import ImageError
from fastlearn.pixels.convert import as_hwc_uint8, convert, orientation, upright
from fastlearn.pixels.faults import explain, hush_pillow, refuse_bomb, refuse_program
from fastlearn.pixels.fit import AtMost, Fixed, resample

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

AT_ONCE = 1 << 24  # bytes of a file that is read whole before it is decoded
SPARE = 1.4  # with so many more pixels than needed, a scaled decode is within a grey level of a full one; measured


def open_image(source: Any, mode: str = "RGB", fixed: Fixed | AtMost | None = None) -> Image:
    """The first frame of a picture as an upright 8-bit Pillow image of `mode`.

    `source` is a path, bytes, a file object, a Pillow image, or an array or tensor: (h, w), (h, w, c) or (c, h, w) with
    1, 3 or 4 channels, of bools, integers in 0..255, 16-bit unsigned integers, or floats in 0..1 (or 0..255). The
    orientation stored by the camera (EXIF) is applied. Transparent parts are laid on white, unless `mode` itself has
    alpha. Samples of 16 bits are divided by 257; values outside these ranges are stretched from their lowest and
    highest to 0..255. With `fixed`, the picture is resized to the size that it says, and of a JPEG no more is
    decoded than that needs. Raises ImageError that names the file and the reason.

    >>> open_image("photo.jpg").size
    """
    from PIL import Image as pil

    hush_pillow()
    if isinstance(source, pil.Image):
        return _resized(convert(upright(source), mode), fixed)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), mode, fixed, f"these {len(source):,} bytes")
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fspath(source), mode, fixed)
    if hasattr(source, "read"):
        return _decode(source, mode, fixed, f"the file object {getattr(source, 'name', type(source).__name__)!s}")
    if hasattr(source, "__array__") or hasattr(source, "detach"):
        return _resized(convert(pil.fromarray(as_hwc_uint8(source)), mode), fixed)
    raise ImageError(
        f"Cannot make a picture of {type(source).__name__} {_short(source)}. "
        "Pass a path, bytes, a PIL image, or an array or tensor of pixels."
    )


def decoder() -> str:
    """What pixels depend on beside the file, the mode and the size: the decoder and its version."""
    import PIL
    from PIL import features

    return f"Pillow {PIL.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}, spare {SPARE}"


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


def _open_path(path: str, mode: str, fixed: Fixed | AtMost | None) -> Image:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; its errors are told apart from those of decoding
    except (OSError, ValueError) as error:
        raise explain(error, path, path) from error
    with file:
        return _decode(_in_memory(file), mode, fixed, path, path)


def _in_memory(file: BinaryIO) -> BinaryIO:
    """The content of a file of usual size: each of a decoder's many small reads would let go of the interpreter."""
    return io.BytesIO(file.read()) if 0 < os.fstat(file.fileno()).st_size <= AT_ONCE else file


def _decode(file: Any, mode: str, fixed: Fixed | AtMost | None, name: str, path: str | None = None) -> Image:
    from PIL import Image as pil

    try:
        with pil.open(file) as image:
            refuse_program(image.format, name, path)
            refuse_bomb(image.size, name, path)
            if fixed is not None and image.format in ("JPEG", "MPO"):
                return _decode_at(image, mode, fixed)
            image.load()
            return _resized(convert(upright(image), mode), fixed)
    except ImageError:
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise explain(error, path, name) from error


def _decode_at(image: ImageFile, mode: str, fixed: Fixed | AtMost) -> Image:
    """A JPEG at its fixed size, decoded at a half, a quarter or an eighth of its own where that is enough."""
    way, (width, height) = orientation(image), image.size
    lies = way >= 5
    goal = fixed.of((width, height) if lies else (height, width))
    if goal is None:
        image.load()
        return convert(upright(image), mode)
    goal = (goal[1], goal[0]) if lies else goal
    part = next((k for k in (8, 4, 2) if width >= SPARE * k * goal[1] and height >= SPARE * k * goal[0]), 1)
    scaled = image.draft(None, (width // part, height // part)) if part > 1 else None
    image.load()
    # Of an odd size the last pixel of a half lies partly outside; a box that took it whole would shift the picture.
    box = (0.0, 0.0, float(width), float(height)) if scaled is None else scaled[1]
    placed = resample(image if image.mode == mode else convert(image, mode), box, goal, method=fixed.filter)
    if placed is image:  # nothing has changed yet: it is still the file's
        placed = convert(image, mode)
    placed.info = {}
    return upright(placed, way)


def _resized(image: Image, fixed: Fixed | AtMost | None) -> Image:
    goal = None if fixed is None else fixed.of((image.height, image.width))
    if fixed is None or goal is None:
        return image
    return resample(image, (0.0, 0.0, float(image.width), float(image.height)), goal, method=fixed.filter)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
