"""A trained model as one file (a zip), and as the folder that it was in format 1: from members to bytes and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fastlearn.errors import CheckpointError, ConfigError, damaged
from fastlearn.export.card import FORMAT, FolderCard
from fastlearn.export.foreign import refuse_foreign
from fastlearn.options import checked_path
from fastlearn.paths import printable, siblings_like
from fastlearn.runtime.disk import is_full, lacking
from fastlearn.runtime.file_bytes import digest, read_bounded
from fastlearn.runtime.json_bytes import MOST_BYTES as MOST_JSON
from fastlearn.runtime.json_bytes import read_json, write_json
from fastlearn.runtime.zip_bytes import read_members, write_members

MANIFEST, CARD, WEIGHTS, SAMPLE, PROGRAM = (
    "manifest.json", "model.json", "model.safetensors", "sample.safetensors", "model.onnx",
)  # fmt: skip
NEEDED = (CARD, WEIGHTS, SAMPLE)
SUFFIX = ".fl"
_OTHERS = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".onnx", ".safetensors", ".zip", ".json")
_MOST_IN_FOLDER = 1 << 36


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a manifest says of one member."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a bundle, but the manifest itself."""

    format: int
    members: dict[str, Entry]


def bundle_path(file: str | os.PathLike[str]) -> Path:
    """Where a bundle of that name is written: with `.fl`, if it has no ending of its own. Raises ConfigError.

    >>> bundle_path("pets").name
    'pets.fl'
    """
    path = Path(checked_path(file, "file"))
    if path.suffix.lower() in _OTHERS:
        raise ConfigError(
            f"{printable(path)} has the ending of another kind of file, and this is fastlearn's own: safetensors and "
            f"JSON in a zip. Call it {printable(path.with_suffix(SUFFIX).name)!r}."
        )
    if "\0" in str(path):
        raise ConfigError(f"{str(path)!r} cannot name a file. Give a name such as 'model.fl'.")
    if os.path.isdir(path) or not path.name:  # unlike Path.is_dir, says no to a name that is too long
        raise ConfigError(f"{printable(path)} is a folder. Name a file, such as {printable(path / 'model.fl')!r}.")
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def write_bundle(path: Path, members: Mapping[str, bytes]) -> None:
    """Put the members and their manifest into place as one file, whole or not at all. Raises CheckpointError."""
    entries = {name: Entry(digest(data), len(data)) for name, data in members.items()}
    whole = {MANIFEST: write_json(Manifest(FORMAT, entries)), **members}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_members(path, whole)
    except OSError as error:
        raise CheckpointError(_not_written(path, error, sum(map(len, whole.values())))) from error


def read_bundle(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """The members of a bundle, each as its manifest says; of a folder of format 1, its two files.

    Nothing is unpacked to the disk, and nothing is run. Raises CheckpointError for a file that is missing or is
    something else (fast.ai's export.pkl, say), DamagedFileError for one that is not as it was written.
    """
    path = Path(checked_path(path, "file"))
    name = printable(path)
    if os.path.isdir(path):
        return _read_folder(path, name)
    if not os.path.exists(path):
        raise CheckpointError(f"There is no file {name}.{siblings_like(path)} learn.export({path.name!r}) writes one.")
    refuse_foreign(path, name)
    # Members are stored as they are, so four times the file's size is more than any of them unpacks to.
    most = max(4 * path.stat().st_size, 1 << 16)
    members = read_members(path, dict.fromkeys((WEIGHTS, PROGRAM, SAMPLE), most) | _JSON, name)
    if MANIFEST not in members:
        raise damaged(name, f"it has no {MANIFEST}")
    manifest = read_json(members.pop(MANIFEST), Manifest, f"{MANIFEST} of {name}")
    if manifest.format != FORMAT:
        raise CheckpointError(f"{name} has format {manifest.format}; this fastlearn reads {FORMAT}. Update fastlearn.")
    _check_members(members, manifest, name)
    return members


_JSON = {MANIFEST: 1 << 16, CARD: MOST_JSON}


def _check_members(members: Mapping[str, bytes], manifest: Manifest, name: str) -> None:
    for member in (*manifest.members, *NEEDED):
        if member not in members:
            raise damaged(name, f"it lacks {member}")
    for member, data in members.items():
        entry = manifest.members.get(member)
        if entry is None:
            raise damaged(name, f"its member {member} is not in its manifest")
        if (entry.size, entry.sha256) != (len(data), digest(data)):
            raise damaged(name, f"its member {member} is not the one that it was written with")


def _read_folder(folder: Path, name: str) -> dict[str, bytes]:
    """The two files of format 1. The card names the weights by their SHA-256, so those of another writing are found."""
    if not ((folder / CARD).is_file() and (folder / WEIGHTS).is_file()):
        raise CheckpointError(
            f"{name} is a folder without a model in it. Expected a file, such as learn.export('model.fl') writes, or a "
            f"folder with {CARD} and {WEIGHTS}."
        )
    card = read_bounded(folder / CARD, MOST_JSON, f"{name}/{CARD}")
    weights = read_bounded(folder / WEIGHTS, _MOST_IN_FOLDER, f"{name}/{WEIGHTS}")
    if digest(weights) != read_json(card, FolderCard, f"{name}/{CARD}").weights_sha256:
        raise damaged(f"{name}/{WEIGHTS}", f"it is not the file that {CARD} was written with, or is of another model")
    return {CARD: card, WEIGHTS: weights}


def _not_written(path: Path, error: OSError, n_bytes: int) -> str:
    missing = lacking(path.parent, n_bytes)
    why = f"{error.strerror or error}.{f' {missing}' if missing else ''}"
    way_out = "Free some space, or name a file on another disk" if is_full(error) else "Name another file"
    return f"Cannot write the model to {printable(path)}: {why} What was there before is untouched. {way_out}."
