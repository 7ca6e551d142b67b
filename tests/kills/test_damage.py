"""Checkpoints whose files were changed or cut: an error by name, or the checkpoint before; never other weights."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import Counts, Victims, assert_same, folder_of
from victim import Job

from fastlearn.errors import CheckpointError
from fastlearn.training import runs
from fastlearn.training.runs import MANIFEST, RunCheckpoint, names_in, newest_whole, read_run


@pytest.fixture(scope="module")
def counts() -> Iterator[Counts]:
    """`kills` are damages here, `lost` the times when the checkpoint before was not found."""
    counts = Counts(more={"read as it was": 0})
    yield counts


@pytest.fixture(scope="module")
def written(
    victims: Victims, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[RunCheckpoint]]:
    """A folder with two checkpoints of a training, and what they hold, the newest first."""
    place = tmp_path_factory.mktemp("written")
    job = Job(str(place / "job"), str(pictures), what="EMA", saves="epoch")
    assert victims.run(job).code == 0
    for path in names_in(folder_of(job))[2:]:
        shutil.rmtree(path)
    return folder_of(job), [read_run(path) for path in names_in(folder_of(job))]


@pytest.fixture
def check(
    written: tuple[Path, list[RunCheckpoint]], tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Callable[[bytes], bytes]], None]:
    """Change a file of the newest checkpoint in a copy of the folder, look, and put it back."""
    monkeypatch.setattr(runs, "say", lambda text: None)  # thousands of times
    folder = tmp_path / "checkpoints"
    shutil.copytree(written[0], folder)
    newest, before = written[1]

    def check(name: str, change: Callable[[bytes], bytes]) -> None:
        path = names_in(folder)[0]
        whole = (path / name).read_bytes()
        changed = change(whole)
        (path / name).write_bytes(changed)
        counts.kills += 1
        try:
            assert_same_contents(read_run(path), newest)
            counts.more["read as it was"] += 1
            expected = newest
        except CheckpointError as error:  # and no other error
            assert path.name in str(error)
            expected = before
        try:
            found = newest_whole(folder)
            assert found is not None
            assert_same_contents(found, expected)
        except CheckpointError as error:
            counts.lost += 1
            print(f"newest_whole gave up: {error}")
        (path / name).write_bytes(whole)

    return check


def assert_same_contents(one: RunCheckpoint, other: RunCheckpoint) -> None:
    assert_same([one.tensors, one.state], [other.tensors, other.state])


def flipped(rng: random.Random) -> Callable[[bytes], bytes]:
    """Turns over one bit, or a few."""

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 16])):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return flip


def cut(rng: random.Random) -> Callable[[bytes], bytes]:
    """Takes away the end, and may put as many zeros in its place."""

    def cut(data: bytes) -> bytes:
        n = rng.randrange(len(data))
        return data[:n] + bytes((len(data) - n) * rng.randrange(2))

    return cut


@pytest.mark.parametrize("n_times", [50, pytest.param(500, marks=pytest.mark.soak)])
@pytest.mark.parametrize("damage", [flipped, cut])
@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", MANIFEST])
def test_damage_at_random_places(check: Any, name: str, damage: Any, n_times: int) -> None:
    rng = random.Random(f"{name} {damage.__name__}")
    for _ in range(n_times):
        check(name, damage(rng))


@pytest.mark.parametrize("bit", [1, *(pytest.param(bit, marks=pytest.mark.soak) for bit in (0, 2, 3, 4, 5, 6, 7))])
def test_every_byte_of_a_manifest(check: Any, written: tuple[Path, list[RunCheckpoint]], bit: int) -> None:
    for at in range((names_in(written[0])[0] / MANIFEST).stat().st_size):
        check(MANIFEST, lambda data, at=at: data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", MANIFEST])
def test_a_file_that_is_gone_or_of_the_other_checkpoint(
    written: tuple[Path, list[RunCheckpoint]], tmp_path: Path, name: str
) -> None:
    for gone in (True, False):
        folder = tmp_path / str(gone)
        shutil.copytree(written[0], folder)
        newest, before = names_in(folder)
        if gone:
            (newest / name).unlink()
        else:
            shutil.copy(before / name, newest / name)
        with pytest.raises(CheckpointError, match=newest.name):
            read_run(newest)
        found = newest_whole(folder)
        assert found is not None and found.path == before
        assert_same_contents(found, written[1][1])


def test_counts(counts: Counts) -> None:
    counts.check()
