"""The folder where caches of pictures lie: how much is there, what goes when it grows too large, how to empty it.

Each recipe (how the pictures were made) has a folder of its own in it, named by a digest of the recipe, with the shards
and a `recipe.txt` for whoever looks in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastlearn.data.shards import RECORD_BYTES, locked
from fastlearn.errors import ConfigError
from fastlearn.paths import printable
from fastlearn.runtime.disk import write_whole

LIMIT = 20_000_000_000  # bytes, of all recipes together
KEEP_FREE = 1 << 30  # bytes of the disk that a cache leaves to others: a checkpoint must still find room
MOST_SHARDS = 256  # of one recipe: each is an open file, of which many systems allow a process 1,024
FORMAT = 1  # of the files; another one has other folders
_RECIPE = "recipe.txt"
_FOLDER_NAME = re.compile(r"[0-9a-f]{32}")


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """`folder`, else what the environment variable FASTLEARN_CACHE says, else a place among the system's caches."""
    given = folder if folder is not None else os.environ.get("FASTLEARN_CACHE")
    try:
        return Path(given or os.path.join(_system_caches(), "fastlearn", "pixels")).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(
            "There is no home folder to cache pictures in. Set the environment variable FASTLEARN_CACHE to a folder "
            "that you may write to, or type cache=False."
        ) from error


def _system_caches() -> str:
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    if sys.platform == "darwin":
        return "~/Library/Caches"
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"


def size_limit() -> int:
    """How many bytes all cached pictures may take: the environment variable FASTLEARN_CACHE_LIMIT, or 20 GB."""
    text = os.environ.get("FASTLEARN_CACHE_LIMIT", "").strip()
    if text and not text.isdecimal():
        raise ConfigError(
            f"The environment variable FASTLEARN_CACHE_LIMIT is {text!r}: expected a number of bytes, such as {LIMIT}."
        )
    return int(text) if text else LIMIT


def folder_of(root: Path, recipe: str) -> Path:
    """Where the pictures of a recipe lie."""
    text = f"{FORMAT} {recipe}".encode("utf-8", "surrogatepass")
    return root / hashlib.sha256(text).hexdigest()[:32]


def make_folder(root: Path, recipe: str) -> Path:
    """The folder of a recipe, made where it is missing. Raises OSError."""
    folder = folder_of(root, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _RECIPE).exists():
        write_whole({folder / _RECIPE: recipe.encode("utf-8", "backslashreplace")})
    return folder


class StoredShard(NamedTuple):
    """One shard on the disk; `path`: its index; `used`: when it was last written or opened, in seconds since 1970."""

    path: Path
    n_pictures: int
    n_bytes: int
    used: float


def stored_shards(root: Path) -> Iterator[StoredShard]:
    """All shards of all recipes, also those that are being written; none where there is no such folder."""
    for folder in _recipe_folders(root):
        for index in folder.glob("*.index"):
            with contextlib.suppress(OSError):  # another process removes it
                status = index.stat()
                n_bytes = status.st_size
                with contextlib.suppress(OSError):
                    n_bytes += index.with_suffix(".data").stat().st_size
                yield StoredShard(index, status.st_size // RECORD_BYTES, n_bytes, status.st_mtime)


def _recipe_folders(root: Path) -> list[Path]:
    return sorted(one for one in root.glob("*") if _FOLDER_NAME.fullmatch(one.name) and os.path.isdir(one))


def make_room(root: Path, own: Path, limit: int, to_come: int = 0) -> None:
    """Remove shards, the least recently used first, until they and `to_come` bytes are within `limit`.

    Those in the folder `own` go last, and not for what is to come; at most MOST_SHARDS of them stay, however small.
    A shard that any process has open stays.
    """
    shards = sorted(stored_shards(root), key=lambda shard: (shard.path.parent == own, shard.used))
    total = sum(shard.n_bytes for shard in shards)
    n_own = sum(shard.path.parent == own for shard in shards)
    for shard in shards:
        is_own = shard.path.parent == own
        excess = total > limit or n_own > MOST_SHARDS if is_own else total > limit - to_come
        if excess and _removed(shard.path):
            total -= shard.n_bytes
            n_own -= is_own


def _removed(index: Path) -> bool:
    """Whether a shard could be removed: not while a process has it open, nor where we may not, or cannot know."""
    try:
        data = index.with_suffix(".data")
        if sys.platform != "win32" and data.exists():
            with open(data, "rb") as file:
                if not locked(file.fileno(), alone=True):
                    return False
                data.unlink()
        data.unlink(missing_ok=True)  # which Windows refuses while a process has it open
        index.unlink(missing_ok=True)
    except OSError:
        return False
    return True


class Stored(NamedTuple):
    """What is cached of one recipe; `used`: when it was last used, in seconds since 1970 (0: never)."""

    recipe: str
    n_pictures: int
    n_bytes: int
    used: float


def listing(folder: str | os.PathLike[str] | None = None) -> list[Stored]:
    """What is cached, recipe by recipe, the last used one first."""
    root = cache_folder(folder)
    shards = list(stored_shards(root))
    found = []
    for one in _recipe_folders(root):
        own = [shard for shard in shards if shard.path.parent == one]
        n_pictures, n_bytes = sum(shard.n_pictures for shard in own), sum(shard.n_bytes for shard in own)
        found.append(Stored(_recipe_in(one), n_pictures, n_bytes, max((shard.used for shard in own), default=0.0)))
    return sorted(found, key=lambda stored: -stored.used)


def _recipe_in(folder: Path) -> str:
    try:
        return (folder / _RECIPE).read_text("utf-8", "replace")
    except OSError:
        return f"unknown ({folder.name})"


def clear(folder: str | os.PathLike[str] | None = None) -> int:
    """Remove all cached pictures but those that a process has open; returns how many bytes that freed."""
    root = cache_folder(folder)
    freed = sum(shard.n_bytes for shard in stored_shards(root) if _removed(shard.path))
    for one in _recipe_folders(root):
        if not any(one.glob("*.index")):
            with contextlib.suppress(OSError):  # a process began to write there in this moment
                for left in (one / _RECIPE, *one.glob(f".{_RECIPE}.*.tmp")):
                    left.unlink(missing_ok=True)
                one.rmdir()
    return freed


def free_on_disk(folder: Path) -> int | None:
    """How many bytes are free on the disk of a folder that need not be there yet; None where it does not tell."""
    at = folder.absolute()
    while not os.path.exists(at) and at.parent != at:
        at = at.parent
    try:
        usage = shutil.disk_usage(at)
    except OSError:
        return None
    return usage.free if usage.total else None  # some network file systems tell nothing


def in_units(n_bytes: float) -> str:
    """A number of bytes for a reader: `40 kB`, `79 MB`, `13.2 GB`."""
    if n_bytes < 1e6:
        return f"{n_bytes / 1e3:.0f} kB" if n_bytes >= 1e3 else f"{n_bytes:.0f} bytes"
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:,.1f} GB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.1f} MB"


def shown(folder: Path) -> str:
    """A folder for a reader, with ~ for the home folder."""
    home = os.path.expanduser("~")
    return printable(Path("~") / folder.relative_to(home)) if folder.is_relative_to(home) else printable(folder)
