"""`untar_data(URLs.PETS)`: the folder of a public data set, from the package, from the cache, or over the network."""

from __future__ import annotations

import hashlib
import os
import pathlib
import secrets
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

from fastlearn.data.archive import extract
from fastlearn.data.fetch import compare, download, sha256_of
from fastlearn.data.urls import SHIPPED, published
from fastlearn.data.urls import URLs as URLs
from fastlearn.errors import ConfigError, DownloadError, near
from fastlearn.options import checked_path, named_options
from fastlearn.paths import Path, printable, siblings_like
from fastlearn.runtime.disk import lacking
from fastlearn.runtime.interrupt import DeferredInterrupt

BLOCK = 4096  # bytes: most file systems give a file whole blocks of this many
_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip")


@named_options
def untar_data(
    url: str | os.PathLike[str],
    archive: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    sha256: str | None = None,
) -> Path:
    """The folder with the data set of `url`: a member of `URLs`, its name, an http(s) address, or a local archive.

    The three data sets of the package are used where they lie (a learner on them keeps its files in the current folder,
    not beside the data). Any other is downloaded once to the folder `archive`
    (default ~/.fastlearn/archive) and unpacked to a folder of its own in `data` (default ~/.fastlearn/data); the
    environment variable FASTLEARN_HOME replaces ~/.fastlearn. An interrupted download goes on where it stopped.

    Before it is unpacked, the archive is compared with `sha256` if given; with the size and partial MD5 that fast.ai
    publishes for its own archives; and with the SHA-256 of the first download from this address, which is recorded
    beside the archive (trust on first use: the very first download of an unlisted address proves nothing). Raises
    DownloadError when it differs, when the network fails, and when a member of the archive would land outside.

    >>> path = untar_data(URLs.DIGITS)
    >>> path.ls()
    """
    address = _address(url)
    for folder, option in ((archive, "archive"), (data, "data")):
        if folder is not None:
            checked_path(folder, option)
    if address.startswith(SHIPPED):
        return _shipped(address.removeprefix(SHIPPED), data)
    if "://" not in address:
        return _from_disk(pathlib.Path(address), data, force_download, sha256)
    name = pathlib.PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name or "download"
    tag = "" if address in published().values() else hashlib.sha256(address.encode()).hexdigest()[:8]
    dest = _own_folder(data, name, tag)
    fetched = _folder(archive, "archive") / (f"{tag}-{name}" if tag and archive is None else name)
    with _alone(fetched):
        if dest.is_dir() and not force_download:
            return Path(dest)
        if force_download:
            fetched.unlink(missing_ok=True)
        download(address, fetched, sha256=sha256)
        _unpack_over(fetched, dest)
    return Path(dest)


def home() -> Path:
    """Where data sets and archives are kept: the environment variable FASTLEARN_HOME, or ~/.fastlearn."""
    return Path(os.environ.get("FASTLEARN_HOME") or Path("~/.fastlearn").expanduser())


def _address(url: str | os.PathLike[str]) -> str:
    """`url` as an address or as a path that exists; a name of `URLs` becomes its address."""
    text = os.fspath(checked_path(url, "url"))
    scheme = urllib.parse.urlsplit(text).scheme
    if text.startswith(SHIPPED) or scheme in ("http", "https"):
        return text
    if "://" in text:
        raise ConfigError(f"untar_data cannot read {text!r}: expected an http or https address, or a path.")
    members = published()
    by_name = {name.upper(): value for name, value in members.items()}
    if text.upper() in by_name and not os.path.exists(text):
        return by_name[text.upper()]
    if not os.path.exists(text):
        looks_like_path = os.sep in text or "." in text
        hint = siblings_like(text) if looks_like_path else near(text.upper(), members)
        raise ConfigError(
            f"{printable(text)!r} is neither a data set of URLs, nor an http address, nor a file here.{hint} "
            "Type untar_data(URLs.DIGITS), for example; dir(URLs) lists the names."
        )
    return text


def is_shipped(path: str | os.PathLike[str]) -> bool:
    """True of the package's own data sets and of all that lies in them: nothing of a user's belongs there."""
    where = pathlib.Path(path).resolve()
    return any(where.is_relative_to(root) for root in _shipped_roots())


def _shipped_roots() -> tuple[pathlib.Path, ...]:
    package = pathlib.Path(__file__).resolve().parents[1]
    return package / "_datasets", package.parent / "datasets"  # an installed wheel; the repository


def _shipped(name: str, data: str | os.PathLike[str] | None) -> Path:
    """The data set of the package, or a copy of it in `data`."""
    for root in _shipped_roots():
        if (root / name).is_dir():
            break
    else:
        package = pathlib.Path(__file__).parents[1]
        raise DownloadError(f"The data set {name!r} is missing from {printable(package)}. Reinstall fastlearn.")
    if data is None:
        return Path(root / name)
    copy = pathlib.Path(data) / name
    if not copy.is_dir():
        _copy_whole(root / name, copy)
    return Path(copy)


def _copy_whole(source: pathlib.Path, dest: pathlib.Path) -> None:
    """A copy of a folder that appears whole or never: half of one would be taken for the data set from then on."""
    folder = _folder(dest.parent, "data")
    into = folder / f".{dest.name}.copying-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        shutil.copytree(source, into, ignore=shutil.ignore_patterns("make.py", "__pycache__"))
        os.replace(into, dest)
    except OSError as error:  # of copytree: one of all files, in a list
        if dest.is_dir():  # another process was faster
            return
        shutil.rmtree(into, ignore_errors=True)  # now, so that what it took counts as free
        n_bytes = sum(-(-file.stat().st_size // BLOCK) * BLOCK for file in source.rglob("*"))
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        missing = lacking(folder, n_bytes)
        raise DownloadError(
            f"Cannot copy {printable(source)} to {printable(dest)}: {why}.{f' {missing}' if missing else ''} "
            "Name another folder: data=…"
        ) from error
    finally:
        shutil.rmtree(into, ignore_errors=True)


def _from_disk(path: pathlib.Path, data: str | os.PathLike[str] | None, again: bool, sha256: str | None) -> Path:
    """The folder that a local archive unpacks to; a folder is returned as it is."""
    if path.is_dir():
        return Path(path)
    status = path.stat()
    identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    dest = _own_folder(data, path.name, hashlib.sha256(os.fsencode(identity)).hexdigest()[:8])
    with _alone(dest):
        if again or not dest.is_dir():
            if sha256 is not None:
                compare(sha256, sha256_of(path), path, str(path))
            _unpack_over(path, dest)
    return Path(dest)


def _unpack_over(archive: pathlib.Path, dest: pathlib.Path) -> None:
    """Unpack, and only then replace an older folder."""
    if not dest.exists():
        extract(archive, dest)
        return
    fresh, old = dest.with_name(dest.name + ".new"), dest.with_name(dest.name + ".old")
    for left in (fresh, old):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    extract(archive, fresh)
    with DeferredInterrupt() as interrupt:  # deleting takes long, and between the renames there is no data set
        os.replace(dest, old)
        os.replace(fresh, dest)
        shutil.rmtree(old, ignore_errors=True)
    interrupt.check("")


def _folder(given: str | os.PathLike[str] | None, kind: str) -> pathlib.Path:
    folder = pathlib.Path(given) if given is not None else pathlib.Path(home()) / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"Cannot make the folder {printable(folder)}: {error.strerror}. "
            "Set the environment variable FASTLEARN_HOME to a folder that you may write to."
        ) from error
    return folder


def _own_folder(data: str | os.PathLike[str] | None, name: str, tag: str) -> pathlib.Path:
    """Where an archive `name` is unpacked to; the `tag` keeps namesakes from elsewhere apart in the common cache."""
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
    stem = name.removesuffix(name[len(name) - len(ending) :]) if ending else name + ".d"
    return _folder(data, "data") / (f"{stem}-{tag}" if tag and data is None else stem)


@contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
    """One process at a time for `path`, where the system can say so (not on Windows)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    name = path.with_name(f".{path.name}.lock")
    try:
        lock = open(name, "w")  # noqa: SIM115 - closed below; only the opening may mean a folder that is closed to us
    except OSError as error:
        raise DownloadError(
            f"Cannot write in {printable(path.parent)}: {error.strerror}. Set the environment variable FASTLEARN_HOME, "
            "or archive=… and data=…, to a folder that you may write to."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another process is fetching {printable(path)}: waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
