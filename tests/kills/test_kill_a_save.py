"""A save that is killed, or fails, anywhere: what was whole stays, nothing is damaged, and nothing is left lying."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import Counts, Victims, assert_same, damaged_in, folder_of, litter_in, newest_number, result_of
from victim import Job

SAVES = (1, 4, 8, 9)  # of seven steps: the first, one that prunes, that of the best epoch, and the end
EPOCHS = 1
KEPT = 3  # two, and the best
MOST_CALLS = 30
RAM = Path("/dev/shm")


@pytest.fixture(scope="module")
def counts() -> Iterator[Counts]:
    counts = Counts()
    yield counts


@pytest.fixture
def short_job(job_in: Callable[..., Job]) -> Callable[..., Job]:
    """Makes jobs of one epoch."""
    return functools.partial(job_in, epochs=EPOCHS)


@pytest.fixture
def goes_on(
    victims: Victims, uninterrupted: Callable[..., dict[str, Any]], counts: Counts
) -> Callable[[Job, int, str], None]:
    """Count what a kill left where at least `expected` is the number of the newest checkpoint, and let it go on."""

    def goes_on(job: Job, expected: int, why: str = "") -> None:
        folder, others = folder_of(job), {"told.txt", "models", "cache"}
        counts.kills += 1
        counts.lost += newest_number(folder) < expected
        counts.damaged += damaged_in(folder)
        ended = victims.run(dataclasses.replace(job, saves="epoch"))
        assert ended.code == 0, f"{why}: {ended.told}"
        assert_same(result_of(job), uninterrupted(epochs=EPOCHS), why)
        litter = litter_in(folder) + sorted({path.name for path in Path(job.folder).iterdir()} - others)
        litter += sorted(path.name for path in folder.glob("[0-9]*"))[KEPT:]
        counts.litter += len(litter)
        if litter:
            print(f"left behind: {', '.join(litter)} {why}")

    return goes_on


@pytest.fixture(scope="module")
def calls(victims: Victims, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """What each save of a training that is let alone asks of the system, by the save's number."""
    folder = tmp_path_factory.mktemp("calls")
    job = Job(str(folder / "job"), str(pictures), str(folder / "result.pt"), epochs=EPOCHS, log=str(folder / "log"))
    assert victims.run(job).code == 0
    calls: dict[int, list[str]] = {}
    for line in (folder / "log").read_text().splitlines():
        save, _, name = line.split()
        calls.setdefault(int(save), []).append(name)
    return calls


def test_a_save_asks_for_all_that_makes_it_durable(calls: dict[int, list[str]]) -> None:
    file = ["open", "write", "fsync"]
    assert calls[1] == ["mkdir", *3 * file, "fsync", "rename", "fsync"]
    assert calls[0] == ["mkdir", "mkdir", "mkdir", "rmdir"] or "fsync" not in calls[0]
    n_calls = len(calls[1])
    pruned = [names for save, names in calls.items() if save > 1 and "unlink" in names]
    assert pruned and all(names[:n_calls] == calls[1] for names in pruned)
    assert all(len(names) < MOST_CALLS for names in calls.values()) and max(calls) == max(SAVES)


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("saves", ["step, waited for", pytest.param("step", marks=pytest.mark.soak)])
def test_a_kill_before_each_call_of_a_save(
    victims: Victims,
    short_job: Callable[..., Job],
    goes_on: Callable[..., None],
    calls: dict[int, list[str]],
    save: int,
    saves: str,
) -> None:
    renamed = calls[save].index("rename") + 1
    for number, name in enumerate(calls[save], 1):
        job = short_job(f"{save}-{number}", saves=saves)
        log = str(Path(job.result).with_suffix(".log"))
        job.save, job.call_number, job.log = save, number, log
        ended = victims.run(job)
        assert ended.code == -9, ended.told
        job.save, job.log = None, ""
        goes_on(job, save if number > renamed else save - 1, f"before {name}, call {number} of save {save}")
        shutil.rmtree(job.folder)


def test_a_kill_while_a_training_begins(
    victims: Victims, short_job: Callable[..., Job], goes_on: Callable[..., None], calls: dict[int, list[str]]
) -> None:
    """Also while it sweeps away what an earlier kill has left."""
    job = short_job("begins")
    job.save, job.call_number, job.log = 3, 8, str(Path(job.result).with_suffix(".log"))
    assert victims.run(job).code == -9
    assert litter_in(folder_of(job))
    for number in range(1, MOST_CALLS):
        job.save, job.call_number = 0, number
        if victims.run(job).code != -9:
            break
    assert 3 < number < MOST_CALLS - 1  # the trial of the folder, and the files swept
    job.save, job.log = None, ""
    goes_on(job, 2)


@pytest.mark.parametrize("n_kills", [10, pytest.param(200, marks=pytest.mark.soak)])
def test_kills_at_random_moments(
    victims: Victims, short_job: Callable[..., Job], goes_on: Callable[..., None], counts: Counts, n_kills: int
) -> None:
    """Trainings that are killed again and again; what a later part has seen whole is never lost."""
    rng, done, trainings = random.Random(n_kills), 0, 0
    while done < n_kills:
        trainings += 1
        job, seen = short_job(f"random-{trainings}", saves=rng.choice(["step", "step, waited for"])), 0
        while done < n_kills and victims.run(job, [(rng.uniform(0.05, 0.5), signal.SIGKILL)]).code == -9:
            done += 1
            found = newest_number(folder_of(job))
            counts.lost += found < seen
            counts.damaged += damaged_in(folder_of(job))
            seen = found
        goes_on(job, seen)
        shutil.rmtree(job.folder)
    counts.kills += done - trainings


@pytest.mark.skipif(not RAM.is_dir() or not os.access(RAM, os.W_OK), reason="there is no /dev/shm")
def test_temporary_files_on_another_file_system(
    victims: Victims, short_job: Callable[..., Job], goes_on: Callable[..., None], counts: Counts, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(dir=RAM) as elsewhere:
        assert os.stat(elsewhere).st_dev != os.stat(tmp_path).st_dev
        for number in (5, 12, 13, 16):
            job = short_job(f"elsewhere-{number}")
            job.environment["TMPDIR"] = elsewhere
            job.save, job.call_number, job.log = 4, number, str(Path(job.result).with_suffix(".log"))
            assert victims.run(job).code == -9
            job.save, job.log = None, ""
            goes_on(job, 4 if number > 12 else 3)
        counts.litter += len(os.listdir(elsewhere))


# Disks that are full, and folders that cannot be written


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of that size at a folder; the test is skipped where none may be mounted."""
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no file system may be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def with_ballast(job: Job, fill: int, free: int | None) -> Job:
    """The disk of a job's checkpoints is full from a step on, and free again from another."""
    ballast = folder_of(job).parent / "ballast"
    job.commands[str(fill)] = [["sh", "-c", f"cat /dev/zero > {ballast} 2> /dev/null || true"]]
    if free is not None:
        job.commands[str(free)] = [["rm", str(ballast)]]
    return job


def intact(folder: Path) -> dict[str, bytes]:
    """All files of the checkpoints in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("saves", ["step, waited for", "step"])
def test_a_disk_that_is_full_for_a_while(
    victims: Victims, short_job: Callable[..., Job], uninterrupted: Callable[..., dict[str, Any]], saves: str
) -> None:
    job = short_job("full", saves=saves)
    with small_disk(folder_of(job).parent, "400k"):
        ended = victims.run(with_ballast(job, fill=3, free=6))
        assert ended.code == 0, ended.told
        assert ended.told.count("Cannot write the checkpoint") == 1, ended.told  # once, not at each step
        assert "No space left on device" in ended.told and "The earlier ones are untouched" in ended.told
        assert not litter_in(folder_of(job)) and newest_number(folder_of(job)) > 3
        assert_same(result_of(job), uninterrupted(epochs=EPOCHS))


def test_a_disk_that_stays_full(
    victims: Victims, short_job: Callable[..., Job], goes_on: Callable[..., None], counts: Counts
) -> None:
    job = short_job("stays-full")
    with small_disk(folder_of(job).parent, "400k"):
        ended = victims.run(with_ballast(job, fill=3, free=None))
        assert ended.code == 1 and "CheckpointError: Cannot write the checkpoint" in ended.told, ended.told
        assert newest_number(folder_of(job)) == 3 and not litter_in(folder_of(job))
        (folder_of(job).parent / "ballast").unlink()
        job.commands.clear()
        goes_on(job, 3)


def test_a_limit_of_file_size(victims: Victims, short_job: Callable[..., Job], goes_on: Callable[..., None]) -> None:
    """Where no disk can be filled: the system refuses to write the tensors, as it would for a quota."""
    job = short_job("limited")
    victims.run(job)
    largest = max(path.stat().st_size for path in folder_of(job).glob("*/tensors.safetensors"))
    shutil.rmtree(job.folder)
    job = short_job("limited", limit=largest - 60)
    ended = victims.run(job)
    assert ended.code == 1 and "Cannot write the checkpoint" in ended.told, ended.told
    assert not litter_in(folder_of(job))
    job.limit = resource.RLIM_INFINITY
    goes_on(job, 1)


def locked_by(folder: Path) -> tuple[list[str], list[str]]:
    """The commands that make a folder read-only, and writable again; root is stopped by a mount alone."""
    if os.geteuid():
        return ["chmod", "555", str(folder)], ["chmod", "755", str(folder)]
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    remount = ["mount", "-o", "remount,bind,{}", str(folder)]
    return [part.format("ro") for part in remount], [part.format("rw") for part in remount]


@contextlib.contextmanager
def lockable(folder: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The commands that make a folder read-only and writable; the test is skipped where there are none."""
    folder.mkdir(parents=True)
    try:
        lock, free = locked_by(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"permissions do not bind root, and no folder may be mounted here: {error}")
    try:
        yield lock, free
    finally:
        subprocess.run(free, check=True)
        if not os.geteuid():
            subprocess.run(["umount", "-l", folder], check=True)


def test_a_folder_that_becomes_read_only(
    victims: Victims, short_job: Callable[..., Job], goes_on: Callable[..., None], uninterrupted: Callable[..., Any]
) -> None:
    job = short_job("locked")
    with lockable(folder_of(job)) as (lock, free):
        job.commands = {"3": [lock], "6": [free]}
        ended = victims.run(job)
        assert ended.code == 0 and ended.told.count("Cannot write the checkpoint") == 1, ended.told
        assert_same(result_of(job), uninterrupted(epochs=EPOCHS))
        assert newest_number(folder_of(job)) > 3


def test_a_folder_that_stays_read_only(
    victims: Victims, short_job: Callable[..., Job], goes_on: Callable[..., None]
) -> None:
    job = short_job("stays-locked")
    with lockable(folder_of(job)) as (lock, free):
        job.commands = {"3": [lock]}
        ended = victims.run(job)
        assert ended.code == 1 and "CheckpointError: Cannot write the checkpoint" in ended.told, ended.told
        before = intact(folder_of(job))
        assert before and newest_number(folder_of(job)) == 3
        job.commands.clear()
        ended = victims.run(job)
        assert ended.code == 1 and "Checkpoints cannot be written in" in ended.told, ended.told
        assert "Checkpoint(folder=" in ended.told and intact(folder_of(job)) == before
        subprocess.run(free, check=True)
        goes_on(job, 3)


def test_counts(counts: Counts) -> None:
    counts.check()
