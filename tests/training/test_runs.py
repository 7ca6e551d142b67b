"""Checkpoints as folders: whole or not there, the newest and the best kept, damage found."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from fastlearn.errors import CheckpointError, ConfigError, DamagedFileError
from fastlearn.runtime.file_bytes import digest
from fastlearn.training import runs
from fastlearn.training.capture import restore_recorder
from fastlearn.training.recorder import Recorder
from fastlearn.training.runs import (
    FORMAT,
    MANIFEST,
    STATE,
    TENSORS,
    find_run,
    names_in,
    newest_whole,
    next_name,
    owned,
    prune,
    read_manifest,
    read_run,
    remove,
    to_keep,
    write_run,
)


def written(folder: Path, step: int = 0, run: str = "a", **options: Any) -> Path:
    tensors = {"model/w": torch.arange(6.0).reshape(2, 3) + step, "model/n": torch.tensor(step)}
    return write_run(
        folder / next_name(folder, step), tensors, {"step": step, "deep": [{"a": None}]}, run=run, **options
    )


def signed(content: Any) -> bytes:
    """A manifest with its own digest in it."""
    zeros = "0" * 64
    data = json.dumps(content | {"check": zeros} if isinstance(content, dict) else content).encode()
    return data.replace(zeros.encode(), digest(data).encode())


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = written(tmp_path, 7, score=0.5, finished=True)
    assert path.name == "000001-step7" and sorted(os.listdir(path)) == [MANIFEST, STATE, TENSORS]
    found = read_run(path)
    assert found.state == {"step": 7, "deep": [{"a": None}]}
    assert torch.equal(found.tensors["model/w"], torch.arange(6.0).reshape(2, 3) + 7)
    assert found.tensors["model/n"].item() == 7 and found.tensors["model/n"].dtype == torch.int64
    assert (found.manifest.format, found.manifest.run, found.manifest.score) == (FORMAT, "a", 0.5)
    assert found.manifest.finished and not hidden(tmp_path)


def test_the_number_counts_up_and_the_newest_comes_first(tmp_path: Path) -> None:
    paths = [written(tmp_path, step) for step in (30, 5, 5)]
    (tmp_path / "notes.txt").write_text("mine")
    assert names_in(tmp_path) == paths[::-1] and names_in(tmp_path / "nothing") == []
    found = newest_whole(tmp_path)
    assert found is not None and found.path == paths[-1] and find_run(tmp_path).path == paths[-1]
    assert find_run(paths[0]).path == paths[0] and newest_whole(tmp_path / "nothing") is None


def test_the_newest_and_the_best_of_this_training_stay(tmp_path: Path) -> None:
    old = written(tmp_path, 1, run="before", score=-9.0)
    paths = [written(tmp_path, step, score=score) for step, score in enumerate([0.5, 0.1, 0.3, None, 0.4])]
    prune(tmp_path, 2)
    assert names_in(tmp_path) == [paths[4], paths[3], paths[1]] and not old.exists() and not hidden(tmp_path)
    prune(tmp_path, 1)
    assert names_in(tmp_path) == [paths[4], paths[1]]


def test_the_ends_of_earlier_trainings_stay_and_no_others(tmp_path: Path) -> None:
    older, first = (written(tmp_path, 5, run, finished=True, began=0) for run in "ab")
    second = written(tmp_path, 9, "c", finished=True, began=5)
    unfinished, newest = written(tmp_path, 12, "d", began=9), written(tmp_path, 15, "e", began=9)
    assert to_keep(tmp_path, 1) == {first, second, newest}
    assert older not in to_keep(tmp_path, 2) and unfinished in to_keep(tmp_path, 2)
    again = written(tmp_path, 3, "f", began=0)  # a new training from the beginning: the others are no part of it
    assert to_keep(tmp_path, 1) == {again}


def test_what_cannot_be_read_now_or_by_this_version_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, later, failing, newest = (written(tmp_path, step) for step in range(4))
    manifest = json.loads((later / MANIFEST).read_text())
    (later / MANIFEST).write_bytes(signed(manifest | {"format": FORMAT + 1}))
    (broken / MANIFEST).write_bytes(b"{}")

    def read(path: Path) -> runs.Manifest:
        if path == failing:
            raise OSError(5, "Input/output error")
        return read_manifest(path)

    monkeypatch.setattr(runs, "read_manifest", read)
    runs.prune(tmp_path, 1)
    assert names_in(tmp_path) == [newest, failing, later]


def test_hidden_folders_of_others_are_not_swept(tmp_path: Path) -> None:
    litter = [".000007-step1200.123.0a1b2c3d.tmp", ".trial.7.ffffffff.tmp"]
    others = [".cache.tmp", ".000007-step1200.tmp", ".git", "000007-step1200.123.0a1b2c3d.tmp"]
    for name in litter + others:
        (tmp_path / name).mkdir()
    runs.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_a_forked_process_does_not_hold_the_lock(tmp_path: Path) -> None:
    """A loader's worker may live longer than the training that was killed."""
    (reader, writer), (begins, begun) = os.pipe(), os.pipe()
    with owned(tmp_path):
        child = os.fork()
        if child == 0:  # waits, and touches nothing
            os.write(begun, b"x")
            os.read(reader, 1)
            os._exit(0)
    try:
        os.read(begins, 1)
        handle = os.open(tmp_path, os.O_RDONLY)
        with owned(tmp_path):
            os.close(handle)
    finally:
        os.write(writer, b"x")
        os.waitpid(child, 0)


def test_one_that_cannot_be_read_is_not_what_is_kept(tmp_path: Path) -> None:
    paths = [written(tmp_path, step) for step in range(3)]
    (paths[2] / MANIFEST).write_text("{}")
    prune(tmp_path, 2)
    assert names_in(tmp_path) == [paths[1], paths[0]]


def test_going_back_to_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [written(tmp_path, step) for step in range(3)]
    data = bytearray((paths[2] / TENSORS).read_bytes())
    data[-1] ^= 1
    (paths[2] / TENSORS).write_bytes(data)
    (paths[1] / STATE).unlink()
    found = newest_whole(tmp_path)
    assert found is not None and found.path == paths[0]
    said = capsys.readouterr()
    assert "000003-step2/tensors.safetensors is damaged" in said.out + said.err
    assert "Going back to the" in said.out + said.err


def test_every_changed_byte_of_every_file_is_found(tmp_path: Path) -> None:
    path, rng = written(tmp_path), random.Random(0)
    for name in (MANIFEST, STATE, TENSORS):
        whole = (path / name).read_bytes()
        for _ in range(60):
            at, cut = rng.randrange(len(whole)), rng.random() < 0.2
            changed = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
            (path / name).write_bytes(changed)
            try:
                found = read_run(path)
            except CheckpointError:
                continue
            raise AssertionError(f"{name} was changed at {at}, and read: {found.manifest}")
        (path / name).write_bytes(whole)
    read_run(path)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"format": FORMAT + 1, "files": {}, "run": "a"}, "has format 3; this fastlearn reads 1 to 2. Update"),
        ({"format": FORMAT, "files": {}, "run": "a"}, "lists nothing, not tensors.safetensors and state.json"),
        ({"format": FORMAT, "files": {"../x": {"sha256": "", "n_bytes": 1}}, "run": "a"}, "lists ../x"),
        ({"format": "1", "files": {}, "run": "a"}, "Expected `int`, got `str`"),
        ([], "damaged"),
    ],
)
def test_manifests_that_cannot_be(tmp_path: Path, manifest: Any, message: str) -> None:
    path = written(tmp_path)
    (path / MANIFEST).write_bytes(signed(manifest))
    with pytest.raises(CheckpointError, match=message.replace("(", r"\(")):
        read_run(path)


def test_a_manifest_with_an_absurd_size_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = json.loads((path / MANIFEST).read_text())
    for n_bytes in (1 << 60, -1):
        content["files"][TENSORS]["n_bytes"] = n_bytes
        (path / MANIFEST).write_bytes(signed(content))
        with pytest.raises(DamagedFileError, match="which cannot be"):
            read_run(path)


def test_the_state_of_every_format_is_read() -> None:
    folder = Path(__file__).parent / "formats"
    found = {int(path.name.removeprefix("run-")): read_run(path) for path in folder.glob("run-*")}
    assert sorted(found) == list(range(1, FORMAT + 1)) and set(runs.MIGRATIONS) == set(range(1, FORMAT))
    for one in found.values():
        assert one.state["step"] == 5 and one.tensors["model/0.weight"].shape == (12, 6)
        recorder = Recorder()
        restore_recorder(recorder, one.tensors, one.state)
        (row,) = recorder.epochs
        assert list(row) == ["fit", "epoch", "train_loss", "valid_loss", "accuracy", "time"] and row["fit"] == 1
        assert recorder.values == [[row["train_loss"], row["valid_loss"], row["accuracy"]]] and recorder.iters == [5]
        assert len(recorder.losses) == 5 and 0.5 < row["accuracy"] < 1


def test_an_earlier_format_that_lacks_a_part_is_told(tmp_path: Path) -> None:
    path = written(tmp_path)
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_bytes(signed(manifest | {"format": 1}))
    with pytest.raises(CheckpointError, match="is of format 1, and lacks a part of it .'recorder'"):
        read_run(path)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint .*nothing was saved there yet"):
        find_run(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="holds no whole checkpoint. Expected a folder that Checkpoint"):
        find_run(tmp_path)


def test_a_failed_write_leaves_nothing_and_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device.*earlier ones are untouched. Free some space"):
        written(tmp_path, 1)
    monkeypatch.undo()
    assert names_in(tmp_path) == [first] and not hidden(tmp_path)
    read_run(first)


def test_what_was_left_by_a_kill_is_swept_and_the_folder_is_one_training_s(tmp_path: Path) -> None:
    litter = tmp_path / "sub" / ".000009-step1.1.ab.tmp"
    litter.mkdir(parents=True)
    (litter / TENSORS).write_bytes(b"half")
    with owned(tmp_path / "sub"):
        assert os.listdir(tmp_path / "sub") == []
        message = "Another process is writing to .*Two trainings need two folders"
        with pytest.raises(ConfigError, match=message), owned(tmp_path / "sub"):
            pass
    with owned(tmp_path / "sub"):
        pass
    (tmp_path / "file").write_text("")
    message = "Checkpoints cannot be written in .*Give another folder"
    with pytest.raises(ConfigError, match=message), owned(tmp_path / "file"):
        pass


def test_a_removed_one_is_gone_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    monkeypatch.setattr(runs.shutil, "rmtree", lambda *args, **options: None)
    remove(path)
    assert names_in(tmp_path) == [] and len(hidden(tmp_path)) == 1
    with pytest.raises(CheckpointError):
        read_manifest(path)
