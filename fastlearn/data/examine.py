"""Looks at picture files one by one, many at a time: whether each can be used, its size, and what it is equal to."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastlearn.data.progress import progress_line
from fastlearn.errors import ConfigError, ImageError
from fastlearn.options import found
from fastlearn.pixels import open_image
from fastlearn.pixels.faults import EPS, hush_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
R = TypeVar("R")
PER_TASK = 32
HEAD = 1 << 14
TAILS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}  # what a whole file ends with
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP", "CUR": "ICO"}  # told apart by Pillow, and by nobody who names a file
UNREGISTERED = {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF"}  # endings that Pillow alone does not know


@dataclass(frozen=True)
class Seen:
    """What a look at one file told. `fault` is None or a key of `FILE_FAULTS`, and `reason` says it in full."""

    fault: str | None = None
    reason: str = ""
    n_bytes: int = 0
    size: tuple[int, int] = (0, 0)  # height, width
    wrong_name: str = ""  # the format, where the name says another
    pixels: bytes = b""  # a digest of what was decoded


def examine(path: str | os.PathLike[str], thorough: bool = True) -> Seen:
    """One file; never raises. A header that promises too many pixels is believed and the file never decoded.

    With `thorough`, the picture is decoded whole. Otherwise only its header and its end are read, and it is decoded
    only if its end looks cut off, which finds all that is usually wrong at a tenth of the cost.
    """
    try:
        status = os.stat(path)
    except PermissionError as error:
        return Seen("no_permission", str(error))
    except (OSError, ValueError) as error:
        return Seen("missing", str(error))
    if not stat.S_ISREG(status.st_mode):
        return Seen("folder", "not a regular file")
    if status.st_size == 0:
        return Seen("empty", "0 bytes")
    try:
        return _look_inside(path, status.st_size, thorough)
    except Exception as error:  # a damaged file can make a decoder raise anything
        return _faulty(path, status.st_size, error)


def _look_inside(path: str | os.PathLike[str], n_bytes: int, thorough: bool) -> Seen:
    from PIL import Image as pil

    with open(path, "rb") as file, pil.open(file) as image:
        width, height = image.size
        if pil.MAX_IMAGE_PIXELS is not None and width * height > pil.MAX_IMAGE_PIXELS:
            return Seen("bomb", f"{width:,}x{height:,} pixels", n_bytes, (height, width))
        kind = image.format or ""
        if kind == "EPS":
            return Seen("not_an_image", f"it is {EPS}", n_bytes, (height, width))
        pixels = _digest(image) if thorough or _looks_cut_off(file, kind) else b""
    return Seen(None, "", n_bytes, (height, width), _wrong_name(os.fspath(path), kind), pixels if thorough else b"")


def _digest(image: Image) -> bytes:
    """Decodes the first frame. A JPEG is read to its end but made small on the way, at a third of the cost."""
    size = image.size
    if image.format == "JPEG":
        image.draft("RGB", (1, 1))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return hashlib.blake2b(image.convert(mode).tobytes() + repr(size).encode(), digest_size=16).digest()


def _looks_cut_off(file: Any, kind: str) -> bool:
    tail = TAILS.get(kind)
    if tail is None:
        return True
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - 64))
    looks_cut = tail not in file.read()
    file.seek(0)
    return looks_cut


def _wrong_name(path: str, kind: str) -> str:
    """The format, when the ending of the name promises another one."""
    from PIL import Image as pil

    ending = os.path.splitext(path)[1].lower()
    promised = pil.registered_extensions().get(ending) or UNREGISTERED.get(ending)
    same = SAME_FORMAT.get(kind, kind) == SAME_FORMAT.get(promised or "", promised)
    return "" if promised is None or same else kind


def _faulty(path: str | os.PathLike[str], n_bytes: int, error: Exception) -> Seen:
    """The fault behind an exception, in the words of the function that opens pictures for training."""
    from PIL import Image as pil
    from PIL import UnidentifiedImageError

    if isinstance(error, pil.DecompressionBombError):
        return Seen("bomb", str(error), n_bytes)
    try:
        open_image(os.fspath(path))
    except ImageError as said:
        causes = (error, said.__cause__)
        kinds = {PermissionError: "no_permission", UnidentifiedImageError: "not_an_image"}
        fault = next((name for kind, name in kinds.items() if any(isinstance(c, kind) for c in causes)), "damaged")
        return Seen(fault, str(said), n_bytes)
    return Seen(None, "", n_bytes)  # training can use it, so it is not at fault


def examine_all(
    paths: Sequence[str | os.PathLike[str]],
    thorough: bool = True,
    max_workers: int | None = None,
    progress: bool = True,
) -> list[Seen]:
    """`examine` of every path, in their order, by threads; with a progress line when it takes long."""
    from PIL import Image as pil

    pil.init()  # loads all decoders; not safe from several threads at once
    hush_pillow()
    return in_threads(lambda path: examine(path, thorough), paths, "checking pictures", max_workers, progress)


def in_threads(
    f: Callable[[T], R], items: Sequence[T], label: str, max_workers: int | None = None, progress: bool = True
) -> list[R]:
    """`f` of every item, in their order. Ctrl-C stops after the items that are being worked on."""
    n_workers = min(8, os.cpu_count() or 1) if max_workers is None else _checked_workers(max_workers)
    tasks = [items[i : i + PER_TASK] for i in range(0, len(items), PER_TASK)]
    done: list[R] = []
    stopped = threading.Event()

    def work(task: Sequence[T]) -> list[R]:
        return [] if stopped.is_set() else [f(item) for item in task]

    pool = ThreadPoolExecutor(max(1, n_workers), thread_name_prefix="fastlearn-check")
    try:
        with progress_line(len(items), label, "file", progress) as line:
            for results in pool.map(work, tasks):
                done += results
                line.update(len(results))
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return done


def _checked_workers(max_workers: Any) -> int:
    if not isinstance(max_workers, int):
        raise ConfigError(f"max_workers is how many threads read files, a whole number, not {found(max_workers)}.")
    return max_workers


def equal_files(
    paths: Sequence[str | os.PathLike[str]], seen: Sequence[Seen], max_workers: int | None = None, progress: bool = True
) -> list[list[int]]:
    """Positions of readable pictures in groups of equals: the same bytes, or the same pixels where they were decoded.

    Only files of one length are read again, and of these only the first 16 KiB unless they agree.
    """
    usable = [i for i, one in enumerate(seen) if one.fault is None]
    by_pixels = _groups((seen[i].pixels, i) for i in usable if seen[i].pixels)
    # Equal files decode to equal pixels, so where everything was decoded nothing need be read again.
    candidates = _groups((seen[i].n_bytes, i) for i in usable if not seen[i].pixels)
    for read in (_head_digest, _file_digest):
        positions = [i for group in candidates for i in group]
        digests = in_threads(read, [paths[i] for i in positions], "comparing pictures", max_workers, progress)
        lengths = {i: k for k, group in enumerate(candidates) for i in group}
        candidates = _groups(((lengths[i], d), i) for i, d in zip(positions, digests, strict=True) if d)
    return sorted(by_pixels + candidates)


def _groups(pairs: Iterable[tuple[Hashable, int]]) -> list[list[int]]:
    """The positions that share a key with another one."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for key, position in pairs:
        found[key].append(position)
    return [positions for positions in found.values() if len(positions) > 1]


def _head_digest(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(HEAD), digest_size=16).digest()
    except OSError:  # gone since it was looked at
        return b""


def _file_digest(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()  # type: ignore[arg-type]
    except OSError:
        return b""
