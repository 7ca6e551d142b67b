"""One file from the network, however often the line breaks, and never another file than the one expected."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pathlib
import shutil
import time
import urllib.error
import urllib.request
from typing import Any

from fastlearn.data.archive import disk_full
from fastlearn.data.progress import progress_line
from fastlearn.data.urls import FINGERPRINTS, Fingerprint, published
from fastlearn.errors import DownloadError
from fastlearn.paths import Path, printable
from fastlearn.runtime.disk import is_full, write_whole

CHUNK = 1 << 18
TRIES = 5
TIMEOUT_S = 30.0
PAUSE_S = 0.5  # before the second try; twice as long before each further one


def download(url: str, dest: str | os.PathLike[str], sha256: str | None = None, progress: bool = True) -> Path:
    """The file at an http(s) `url` as `dest`, verified; nothing is fetched when `dest` is there and passes.

    The bytes so far lie in `dest`.part, so that the next call goes on from there; what is known of the file (address,
    SHA-256) in `dest`.json. Raises DownloadError.
    """
    target = pathlib.Path(dest)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file():
        _verify(target, url, sha256)
        return Path(target)
    part = target.with_name(target.name + ".part")
    while True:
        resumed = _fetch(url, part, progress)
        try:
            _verify(part, url, sha256, target)
            break
        except DownloadError:
            part.unlink()
            _note_of(part).unlink(missing_ok=True)
            if not resumed:  # else perhaps only the older bytes were bad: once more, from the start
                raise
    os.replace(part, target)
    _note_of(part).unlink(missing_ok=True)
    return Path(target)


def _fetch(url: str, part: pathlib.Path, progress: bool) -> bool:
    """Bring `part` to its full length, however often the line breaks; returns whether older bytes are in it."""
    resumed, failures = _size(part) > 0, 0
    while True:
        before = _size(part)
        try:
            _fetch_once(url, part, progress)
            return resumed
        except DownloadError:
            raise
        except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code == 416:  # what we have is not a beginning of what they have
                    part.unlink(missing_ok=True)
            _raise_if_final(error, url, part)
            failures = 1 if _size(part) >= before + CHUNK else failures + 1  # what moves on may break often
            if failures >= TRIES:
                raise DownloadError(_gave_up(error, url, _size(part))) from error
        resumed = resumed or _size(part) > 0
        time.sleep(PAUSE_S * 2 ** (failures - 1))


def _raise_if_final(error: Exception, url: str, part: pathlib.Path) -> None:
    """Raise DownloadError when another try cannot help."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code < 500 and error.code not in (408, 416, 429):
            answer = f"{url} answers {error.code} {error.reason}."
            raise DownloadError(f"{answer} The address may have moved, or needs a login.") from error
    elif is_full(error):
        raise DownloadError(disk_full(part.parent, f"download {url}")) from error
    elif isinstance(error, PermissionError):
        raise DownloadError(f"Cannot write {printable(part)}: {error.strerror}. Set FASTLEARN_HOME.") from error


def _gave_up(error: Exception, url: str, have: int) -> str:
    kept = f"The {have:,} bytes so far are kept: the next call goes on from there." if have else "Is there a network?"
    return (
        f"Cannot download {url} ({getattr(error, 'reason', error)}), tried {TRIES} times. {kept} Without a network: "
        "URLs.DIGITS, URLs.FASHION and URLs.CLIPART are in the package, and untar_data('file.tgz') takes an archive "
        "that you copied here."
    )


def _size(file: pathlib.Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _fetch_once(url: str, part: pathlib.Path, progress: bool) -> None:
    """One request: the rest of `part`, if the server still has the same file, or all of it."""
    note = _note_of(part)
    have = _size(part)
    earlier = _read_json(note) if have else {}
    if have and earlier.get("bytes") == have and earlier.get("url") == url:
        return  # complete, but the process ended before it was moved
    mark = earlier.get("mark", "") if earlier.get("url") == url else ""
    headers = {"User-Agent": "fastlearn", "Accept-Encoding": "identity"}
    if have and mark:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status == 206 and not goes_on:
            raise http.client.HTTPException("the server sent another part than was asked for")
        have = have if goes_on else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        if total is not None and total - have > shutil.disk_usage(part.parent).free:
            raise DownloadError(disk_full(part.parent, f"download {url}", total - have))
        etag = response.headers.get("ETag", "")
        mark = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        _write_json(note, {"url": url, "mark": mark, "bytes": total})
        with (
            open(part, "ab" if goes_on else "wb") as file,
            progress_line(total, f"downloading {part.stem}", "B", progress, done=have) as line,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                line.update(len(chunk))
    if total is not None and have != total:
        raise http.client.HTTPException(f"the connection closed after {have:,} of {total:,} bytes")


def _verify(file: pathlib.Path, url: str, sha256: str | None, target: pathlib.Path | None = None) -> None:
    """Compare with all that is known of this address, and record the digest of a first download."""
    target = target or file
    known = FINGERPRINTS.get(url.rsplit("/", 1)[-1]) if url in published().values() else None
    if known is not None and (found := _fingerprint(file)) != known:
        raise DownloadError(
            f"{printable(target)} is not the archive that was published: it has {found.n_bytes:,} bytes, expected "
            f"{known.n_bytes:,}{'' if found.n_bytes != known.n_bytes else ', and other content'}. Type "
            f"untar_data({url!r}, force_download=True) to fetch it again."
        )
    digest = sha256_of(file)
    note = _note_of(target)
    first = _read_json(note)
    if sha256 is not None:
        compare(sha256, digest, target, url)
    elif first.get("url") == url and "sha256" in first:
        compare(first["sha256"], digest, target, url, f" as at the first download (see {printable(note)})")
    if first.get("sha256") != digest or first.get("url") != url:
        _write_json(note, {"url": url, "sha256": digest, "bytes": file.stat().st_size})


def compare(expected: str, found: str, file: pathlib.Path, source: str, why: str = "") -> None:
    if found != expected.strip().lower():
        raise DownloadError(
            f"{printable(file)} from {source} has the SHA-256 {found}, expected {expected}{why}. It was not unpacked. "
            f"If you want the new content: untar_data({source!r}, force_download=True, sha256={found!r})."
        )


def _fingerprint(file: pathlib.Path) -> Fingerprint:
    with open(file, "rb") as opened:
        head = opened.read(1 << 20)
    return Fingerprint(file.stat().st_size, hashlib.md5(head, usedforsecurity=False).hexdigest())


def sha256_of(file: pathlib.Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _note_of(file: pathlib.Path) -> pathlib.Path:
    return file.with_name(file.name + ".json")


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    try:
        write_whole({path: json.dumps(content, indent=1).encode()})
    except OSError as error:
        if is_full(error):
            raise DownloadError(disk_full(path.parent, f"write {printable(path)}")) from error
        raise DownloadError(f"Cannot write {printable(path)}: {error.strerror}. Set FASTLEARN_HOME.") from error
