"""Bytes that nobody vouches for, in search of new paths through our readers: `python readers.py tensors -runs=10000`.

Needs `pip install ".[fuzz]"`. The first argument names a reader, the others are libFuzzer's options and folders of
first inputs. An error that is not the reader's own ends it with what it was and the bytes that made it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["fastlearn", "msgspec", "zipfile", "pickletools"]):
    from fastlearn.arch.pickle_scan import PickleFault, scan_pickle
    from fastlearn.errors import CheckpointError
    from fastlearn.export.bundle import read_bundle
    from fastlearn.export.card import Card
    from fastlearn.export.onnx import checked_program
    from fastlearn.runtime.json_bytes import read_json
    from fastlearn.runtime.tensor_bytes import load_tensors
    from fastlearn.runtime.zip_bytes import read_members
    from fastlearn.training.capture import check_whole
    from fastlearn.training.checkpoint import check_learner_state, read_checkpoint
    from fastlearn.training.runs import FORMAT, MIGRATIONS, _migrated, read_manifest

Reader = Callable[[bytes], object]
FOLDER = Path(tempfile.mkdtemp(prefix="fastlearn-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))


def on_disk(name: str, read: Callable[[Path], object]) -> Reader:
    """A reader of files, given bytes."""

    def reader(data: bytes) -> object:
        path = FOLDER / name
        path.write_bytes(data)
        return read(path)

    return reader


def state(data: bytes) -> None:
    """The JSON of a checkpoint, of every format: what a forged file with right digests could hold."""
    found = read_json(data, dict[str, Any], "it")
    for number in MIGRATIONS:
        _migrated(number, {}, found, "it")
    check_whole(found, "it")
    check_learner_state(found.get("learner"), {}, "it")


READERS: dict[str, Reader] = {
    "json": lambda data: read_json(data, dict[str, Any], "it"),
    "card": lambda data: read_json(data, Card, "it"),
    "tensors": lambda data: load_tensors(data, "it"),
    "zip": on_disk("it.zip", lambda path: read_members(path, {"a": 1 << 16, "b": 1 << 10}, "it")),
    "bundle": on_disk("it.fl", read_bundle),
    "saved": on_disk("it.safetensors", read_checkpoint),
    "manifest": on_disk("manifest.json", lambda path: read_manifest(path.parent)),
    "state": state,
    "pickle": lambda data: scan_pickle(io.BytesIO(data)),
    "onnx": lambda data: checked_program(data, 3, "it"),
}


def main(name: str, options: list[str]) -> None:
    """Ask the reader until the options say that it is enough; FORMAT is told, so that a log says what was read."""
    reader = READERS[name]

    def ask(data: bytes) -> None:
        with contextlib.suppress(CheckpointError, PickleFault):
            reader(data)

    print(f"{name}: checkpoints of format {FORMAT}", flush=True)
    atheris.Setup([sys.argv[0], *options], ask)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
