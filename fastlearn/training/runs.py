"""Checkpoints of a training: folders that are there whole or not at all, each with a manifest of its files.

    models/checkpoints/
      000007-step1200/    a checkpoint; the first number counts up, so the highest is the newest
        tensors.safetensors
        state.json
        manifest.json     format, and the SHA-256 of the other two

A checkpoint is made under a name that begins with a dot, all of it is brought to the disk, and then it is renamed; what
a killed process left under such a name is swept away by the next training in the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from fastlearn.errors import CheckpointError, ConfigError, DamagedFileError
from fastlearn.paths import printable
from fastlearn.runtime.disk import alone_in, is_full, lacking, sync, temp_beside, write_new
from fastlearn.runtime.file_bytes import NO_DIGEST, digest, is_sealed, read_bounded, sealed
from fastlearn.runtime.json_bytes import read_json, write_json
from fastlearn.runtime.memory import free_memory
from fastlearn.runtime.say import say
from fastlearn.runtime.tensor_bytes import Piece, load_tensors, tensor_pieces
from fastlearn.training.checkpoint import pack_recorder, unpack_recorder
from fastlearn.training.recorder import Recorder

FORMAT = 2
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_NAME = re.compile(r"(\d{6,})-step(\d+)")
_LITTER = re.compile(r"\.(\d{6,}-step\d+|trial)\.\d+\.[0-9a-f]+\.tmp")  # as `temp_beside` names it
_MOST_JSON, _MOST_TENSORS = 1 << 30, 1 << 44  # bytes; the manifest says how many there are, and these bound it
Tensors = dict[str, torch.Tensor]


def _history_as_tensors(tensors: Tensors, state: dict[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """Format 1 had the table of epochs as JSON."""
    recorder = Recorder()
    unpack_recorder(recorder, tensors, state["recorder"])
    history, packed = pack_recorder(recorder)
    return tensors | history, state | {"recorder": packed}


# What brings the tensors and the state of an earlier format to the next one.
MIGRATIONS: dict[int, Callable[[Tensors, dict[str, Any]], tuple[Tensors, dict[str, Any]]]] = {1: _history_as_tensors}


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One file of a checkpoint."""

    sha256: str
    n_bytes: int


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """What a checkpoint consists of, and what it is of.

    `run` is common to those of one training, and empty for one that was saved by hand; by `score` the best is chosen.
    `call` is what was typed, when the learner had done `began` steps.
    """

    format: int
    files: dict[str, Entry]
    run: str
    finished: bool = False
    score: float | None = None
    call: str = ""
    began: int = 0
    check: str = NO_DIGEST


class _Head(msgspec.Struct):
    """What every format's manifest has: its digest is that of its own bytes, with zeros in the place of the digest."""

    format: int
    check: str


@dataclass(frozen=True)
class RunCheckpoint:
    """A checkpoint that was read whole: its tensors, on the CPU, and its state, JSON values by name."""

    path: Path
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    manifest: Manifest


def names_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first, by their names alone."""
    try:
        found = [(int(match[1]), entry.name) for entry in os.scandir(folder) if (match := _NAME.fullmatch(entry.name))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for _, name in sorted(found, reverse=True)]


def next_name(folder: Path, step: int) -> str:
    """The name of the next checkpoint in a folder."""
    newest = next(iter(names_in(folder)), None)
    number = int(newest.name.partition("-")[0]) + 1 if newest else 1
    return f"{number:06}-step{step}"


def write_run(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    *,
    run: str,
    finished: bool = False,
    score: float | None = None,
    call: str = "",
    began: int = 0,
) -> Path:
    """Write a checkpoint at `path`, which is not there yet: whole and on the disk, or not at all.

    Raises CheckpointError; nothing that was there before is touched.
    """
    contents: dict[str, list[Piece]] = {TENSORS: tensor_pieces(tensors), STATE: [write_json(state)]}
    entries = {name: Entry(digest(*pieces), sum(map(len, pieces))) for name, pieces in contents.items()}
    contents[MANIFEST] = [sealed(write_json(Manifest(FORMAT, entries, run, finished, score, call, began)))]
    temp = temp_beside(path)
    try:
        temp.mkdir(parents=True)
        for name, pieces in contents.items():
            write_new(temp / name, pieces)
        sync(temp)
        os.rename(temp, path)
        sync(path.parent)
    except OSError as error:
        shutil.rmtree(temp, ignore_errors=True)  # now, so that what it took counts as free
        raise _not_written(path, error, sum(entry.n_bytes for entry in entries.values())) from error
    return path


def _not_written(path: Path, error: OSError, n_bytes: int) -> CheckpointError:
    missing = lacking(path.parent, n_bytes)
    why = f"{error.strerror or error}.{f' {missing}' if missing else ''}"
    way_out = "Free some space, or give a folder on another disk" if is_full(error) else "Give another folder"
    return CheckpointError(
        f"Cannot write the checkpoint {printable(path)}: {why} The earlier ones are untouched. {way_out}: "
        "Checkpoint(folder=…)."
    )


def remove(path: Path) -> None:
    """Remove a checkpoint: at once from sight, then from the disk."""
    gone = temp_beside(path)
    os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left of checkpoints that they were writing or removing."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if _LITTER.fullmatch(entry.name):
                shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Makes the folder, sweeps it, and keeps other trainings from it meanwhile. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = temp_beside(folder / "trial")
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise ConfigError(
            f"Checkpoints cannot be written in {printable(folder)}: {error.strerror}. Give another folder: "
            'Checkpoint(folder="…").'
        ) from error
    with locked(folder):
        sweep(folder)
        yield


def locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keeps other trainings from a folder meanwhile. Raises ConfigError where one has it."""
    return alone_in(folder, "Two trainings need two folders: Checkpoint(folder=…).")


def read_manifest(path: Path) -> Manifest:
    """The manifest of a checkpoint. Raises DamagedFileError."""
    what = f"{printable(path)}/{MANIFEST}"
    data = read_bounded(path / MANIFEST, 1 << 20, what)
    head = read_json(data, _Head, what)
    if not is_sealed(data, head.check):
        raise DamagedFileError(f"{what} is damaged: its bytes are not those that were written.")
    if head.format != FORMAT and head.format not in MIGRATIONS:
        raise CheckpointError(f"{what} has format {head.format}; this fastlearn reads 1 to {FORMAT}. Update fastlearn.")
    manifest = read_json(data, Manifest, what)
    if set(manifest.files) != {TENSORS, STATE}:
        raise DamagedFileError(f"{what} lists {', '.join(manifest.files) or 'nothing'}, not {TENSORS} and {STATE}.")
    return manifest


def read_run(path: Path) -> RunCheckpoint:
    """A checkpoint, every byte of it held against its manifest. Raises CheckpointError, DamagedFileError if damaged."""
    path = Path(path)
    if not (path / MANIFEST).is_file():
        raise CheckpointError(_no_checkpoint(path))
    manifest = read_manifest(path)
    tensors, _ = load_tensors(_read(path, TENSORS, manifest, _MOST_TENSORS), f"{printable(path)}/{TENSORS}")
    what = f"{printable(path)}/{STATE}"
    state = read_json(_read(path, STATE, manifest, _MOST_JSON), dict[str, Any], what)
    for number in range(manifest.format, FORMAT):
        tensors, state = _migrated(number, tensors, state, what)
    return RunCheckpoint(path, tensors, state, manifest)


def _migrated(number: int, tensors: Tensors, state: dict[str, Any], what: str) -> tuple[Tensors, dict[str, Any]]:
    try:
        return MIGRATIONS[number](tensors, state)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{what} is of format {number}, and lacks a part of it ({error}).") from error


def _read(path: Path, name: str, manifest: Manifest, most: int) -> bytes:
    """The bytes of one file, which are those that the manifest is of."""
    entry, what = manifest.files[name], f"{printable(path)}/{name}"
    if not 0 <= entry.n_bytes <= most:
        raise DamagedFileError(f"{printable(path)}/{MANIFEST} gives {name} {entry.n_bytes:,} bytes, which cannot be.")
    if entry.n_bytes > (free := free_memory()):
        raise CheckpointError(f"{what} takes {entry.n_bytes:,} bytes, and {free:,} of memory are free.")
    if not (path / name).is_file():
        raise DamagedFileError(f"{what} is missing, though {MANIFEST} lists it.")
    data = read_bounded(path / name, entry.n_bytes, what)
    if len(data) != entry.n_bytes or digest(data) != entry.sha256:
        raise DamagedFileError(
            f"{what} is damaged: its {len(data):,} bytes are not those that {MANIFEST} was written with."
        )
    return data


def newest_whole(folder: Path, fits: Callable[[Manifest], bool] = lambda manifest: True) -> RunCheckpoint | None:
    """The newest whole checkpoint in a folder whose manifest `fits`; says which ones are damaged. None without any."""
    for path in names_in(folder):
        try:
            if not fits(read_manifest(path)):
                continue
            return read_run(path)
        except DamagedFileError as error:
            say(f"{error} Going back to the checkpoint before it.")
        except CheckpointError:
            if (path / MANIFEST).exists():  # a newer format: going back would lose work without need
                raise
            say(f"{printable(path)} is no whole checkpoint. Going back to the one before it.")
    return None


def manifests(folder: Path) -> list[Manifest]:
    """Those of the checkpoints in a folder that can be read, the newest first."""
    found = []
    for path in names_in(folder):
        with contextlib.suppress(CheckpointError):
            found.append(read_manifest(path))
    return found


def find_run(path: Path) -> RunCheckpoint:
    """The checkpoint at `path`, or the newest whole one in it. Raises CheckpointError where there is none."""
    try:
        os.stat(path)
    except FileNotFoundError:
        raise CheckpointError(_no_checkpoint(path)) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{printable(str(path)[:100])!r} cannot be a checkpoint: {why}.") from error
    if (path / MANIFEST).exists():
        return read_run(path)
    found = newest_whole(path)
    if found is None:
        raise CheckpointError(_no_checkpoint(path))
    return found


def _no_checkpoint(path: Path) -> str:
    if not path.exists():
        return f"There is no checkpoint {printable(path)}: nothing was saved there yet."
    return (
        f"{printable(path)} holds no whole checkpoint. Expected a folder that Checkpoint() or learn.save_checkpoint() "
        "has written, such as models/checkpoints."
    )


def to_keep(folder: Path, newest: int) -> set[Path]:
    """Of the checkpoints in a folder the `newest` ones, and the one with the lowest score of the newest one's training.

    What was saved by hand stays too, and the end of each training that came before the newest one: a script with
    several calls, started again, goes through them. One that is damaged may go; one that cannot be read now, or by this
    version, may not.
    """
    keep: set[Path] = set()
    known: list[tuple[Path, Manifest]] = []
    for path in names_in(folder):
        try:
            known.append((path, read_manifest(path)))
        except DamagedFileError:
            pass
        except (CheckpointError, OSError):
            keep.add(path)
    keep |= {path for path, manifest in known if not manifest.run}
    known = [(path, manifest) for path, manifest in known if manifest.run]
    keep |= {path for path, _ in known[:newest]}
    if known:
        last = known[0][1]
        own = [(manifest.score, path) for path, manifest in known if manifest.run == last.run]
        scored = [(score, path) for score, path in own if score is not None]
        keep |= {min(scored)[1]} if scored else set()
        # From old to new, so that of two trainings that began at the same step the later one stays.
        ended = {one.began: path for path, one in reversed(known) if one.finished and one.began < last.began}
        keep |= set(ended.values())
    return keep


def prune(folder: Path, newest: int) -> None:
    """Remove the checkpoints that are not `to_keep`."""
    keep = to_keep(folder, newest)
    for path in names_in(folder):
        if path not in keep:
            with contextlib.suppress(OSError):
                remove(path)
