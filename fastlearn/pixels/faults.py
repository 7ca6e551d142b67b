"""What is wrong with a picture file, in a reader's words."""

from __future__ import annotations

import os
import re
import warnings

from fastlearn.errors import ImageError, near

_HINTS = {
    b"<svg": "It is an SVG drawing: convert it to PNG first.",
    b"<?xml": "It is an XML (perhaps SVG) file: convert it to PNG first.",
    b"<!DOCTYPE": "It is a web page, perhaps a failed download.",
    b"<html": "It is a web page, perhaps a failed download.",
    b"%PDF": "It is a PDF document: export its pages as pictures first.",
}
EPS = "PostScript (EPS), a program and not a picture, and is not run. Convert it to PNG, if you trust it."
_PIL_MODULES = re.compile(r"PIL\.")


def hush_pillow() -> None:
    """Keep Pillow's own warnings from the user: what matters in them becomes an ImageError.

    `warnings.catch_warnings` would restore the wrong filters when several threads decode at once, so one narrow
    filter is put in place and stays.
    """
    if not any(entry[0] == "ignore" and entry[3] is _PIL_MODULES for entry in warnings.filters):
        warnings.filters.insert(0, ("ignore", None, Warning, _PIL_MODULES, 0))  # type: ignore[attr-defined]
        getattr(warnings, "_filters_mutated", lambda: None)()


def refuse_program(kind: str | None, name: str, path: str | None) -> None:
    """ImageError for EPS, whatever the file is called: Pillow would hand it to Ghostscript, which runs it."""
    if kind == "EPS":
        raise ImageError(f"{name} is {EPS}", path)


def refuse_bomb(size: tuple[int, int], name: str, path: str | None) -> None:
    """ImageError for a picture of more pixels than Pillow's limit, before any of them is unpacked."""
    from PIL import Image as pil

    pixels, limit = size[0] * size[1], pil.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise ImageError(
            f"{name} unpacks to {size[0]:,}x{size[1]:,} = {pixels:,} pixels, more than the limit of {limit:,}: perhaps "
            f"a decompression bomb. If you trust it: import PIL.Image; PIL.Image.MAX_IMAGE_PIXELS = {pixels}.",
            path,
        )


def explain(error: Exception, path: str | None, name: str) -> ImageError:
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
