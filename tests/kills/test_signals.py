"""SIGTERM and Ctrl-C to a training: it keeps what it has, ends as the system expects, and goes on as if without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from killing import VICTIM, Counts, Victims, assert_same, damaged_in, environment, folder_of, litter_in, result_of
from victim import Job

from fastlearn.training.runs import names_in

CODES = {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: -signal.SIGINT}
PLACES = [  # with the number of the step after which the checkpoint is
    ([0, 0, 0, "train"], 1),
    ([0, 1, 3, "train"], 11),
    ([0, 2, -1, "train"], 21),
    ([0, 1, 0, "valid"], 14),
]


@pytest.fixture(scope="module")
def counts() -> Iterator[Counts]:
    counts = Counts()
    yield counts


@pytest.fixture
def goes_on(victims: Victims, uninterrupted: Callable[..., dict[str, Any]], counts: Counts) -> Callable[[Job], None]:
    """Count what an end has left, let the training go on to its own, and compare."""

    def goes_on(job: Job) -> None:
        counts.kills += 1
        counts.damaged += damaged_in(folder_of(job))
        counts.litter += len(litter_in(folder_of(job)))
        job.place, job.own_handler = None, False
        ended = victims.run(job)
        assert ended.code == 0, ended.told
        counts.litter += len(litter_in(folder_of(job)))
        assert_same(result_of(job), uninterrupted())

    return goes_on


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(("place", "step"), PLACES)
def test_it_saves_within_a_step_and_goes_on(
    victims: Victims, job_in: Callable[..., Job], goes_on: Callable[[Job], None], number: int, place: Any, step: int
) -> None:
    job = job_in("job", saves="epoch", place=place, signal=number)
    ended = victims.run(job)
    assert ended.code == CODES[signal.Signals(number)], ended.told
    assert "handlers restored: True" in ended.told
    assert ("KeyboardInterrupt" in ended.told) == (number == signal.SIGINT)
    assert names_in(folder_of(job))[0].name.endswith(f"-step{step}")
    goes_on(job)


@pytest.mark.parametrize("number", CODES)
def test_a_second_one_ends_it_at_once(
    victims: Victims, job_in: Callable[..., Job], goes_on: Callable[[Job], None], number: int
) -> None:
    """In a step that would take a minute."""
    job = job_in("job", place=[0, 1, 3, "train"], signal=number, again=True)
    ended = victims.run(job)
    assert ended.code == CODES[signal.Signals(number)] and ended.seconds < 30, ended.told
    assert "handlers restored: True" in ended.told
    assert names_in(folder_of(job))[0].name.endswith("-step10")  # that of the step before
    goes_on(job)


@pytest.mark.parametrize("number", CODES)
def test_a_handler_of_ones_own_is_asked(
    victims: Victims, job_in: Callable[..., Job], uninterrupted: Callable[..., dict[str, Any]], number: int
) -> None:
    """And the training goes on, as the handler did not end it."""
    job = job_in("job", place=[0, 1, 3, "train"], signal=number, own_handler=True)
    ended = victims.run(job)
    assert ended.code == 0 and "handlers restored: True" in ended.told, ended.told
    assert_same(result_of(job), uninterrupted() | {"heard": [number]})


@pytest.mark.parametrize("n_signals", [4, pytest.param(60, marks=pytest.mark.soak)])
def test_signals_at_random_moments(
    victims: Victims, job_in: Callable[..., Job], goes_on: Callable[[Job], None], counts: Counts, n_signals: int
) -> None:
    """From outside, one after the other to the same training until it has ended, and then to the next."""
    sent, trainings = 0, 0
    while sent < n_signals:
        trainings += 1
        job = job_in(f"training-{trainings}", saves="step")
        while sent < n_signals:
            number = list(CODES)[sent % 2]
            ended = victims.run(job, [(0.25 + 0.03 * (sent % 10), number)])
            sent += 1
            if ended.code == 0:
                break
            assert ended.code in (CODES[number], -number), ended.told  # -15 before the training began
        if folder_of(job).exists():
            goes_on(job)
    counts.kills += sent - trainings


GROUP = """
import sys, time
import torch
from torch import nn
from fastlearn.vision.all import Checkpoint, CrossEntropyLossFlat, DataLoader, DataLoaders, Learner

class Slow:
    def __len__(self):
        return 24

    def __getitem__(self, i):
        time.sleep(0.1)
        return torch.full((3,), float(i)), i % 2

if __name__ == "__main__":
    dls = DataLoaders(DataLoader(Slow(), bs=4, num_workers=1, workers="process", seed=1), device="cpu")
    learn = Learner(dls, nn.Linear(3, 2), CrossEntropyLossFlat(), path=sys.argv[1], seed=2)
    with learn.no_bar():
        learn.fit(3, 1e-3, cbs=Checkpoint(every="10 hours"), resume=True)
    print("steps", learn.global_step)
"""


def test_a_signal_to_all_processes_of_a_program(tmp_path: Path) -> None:
    """As `timeout`, systemd and cluster managers send it: the workers too, for one of which the training waits."""
    script = tmp_path / "training.py"
    script.write_text(GROUP)
    command = [sys.executable, script, tmp_path]
    running = subprocess.Popen(command, env=environment(), start_new_session=True, stderr=subprocess.PIPE, text=True)
    wait_for((tmp_path / "models" / "checkpoints").is_dir)
    time.sleep(2)  # while it waits for a batch
    os.killpg(running.pid, signal.SIGTERM)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, told
    (saved,) = names_in(tmp_path / "models" / "checkpoints")
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.endswith("steps 18\n"), done.stderr
    assert 0 < int(saved.name.partition("step")[2]) < 18


def wait_for(happens: Callable[[], Any], timeout_s: float = 60.0) -> None:
    """Until something is so."""
    end = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_script_that_was_started_from_a_shell(
    job_in: Callable[..., Job], goes_on: Callable[[Job], None], tmp_path: Path
) -> None:
    job = job_in("job", commands={str(step): [["sleep", "0.1"]] for step in range(21)})
    file = tmp_path / "job.json"
    file.write_text(json.dumps(asdict(job)))
    process = subprocess.Popen([sys.executable, VICTIM, file], env=environment(), stdout=subprocess.DEVNULL)
    wait_for(lambda: names_in(folder_of(job)) or process.poll() is not None)
    process.terminate()
    assert process.wait(timeout=60) == 143
    job.commands.clear()
    goes_on(job)


# A notebook's kernel

CELL = """
import json, sys, time
sys.path.insert(0, {folder!r})
import victim

job = victim.Job(**json.loads({job!r}))
learn = victim.make_learner(job)
"""
SLOWLY = """
class Slowly(victim.Callback):
    only_watches = True
    def before_batch(self, state):
        time.sleep(0.1)

victim.train(learn, job, [victim.Checkpoint(every=1), Slowly()])
"""
GO_ON = """
victim.train(learn, job, [])
victim.torch.save(victim.outcome(learn, []) | {"heard": []}, job.result)
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[tuple[Any, Any]]:
    """A kernel and its client."""
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    env = environment()
    env.pop("PYTHONWARNINGS")  # ipykernel is not ours
    manager, client = manager.start_new_kernel(kernel_name="python3", env=env, startup_timeout=120)
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.filterwarnings("ignore")  # of jupyter_client's event loop
@pytest.mark.parametrize("number", CODES)
def test_a_kernel_lives_on(
    kernel: tuple[Any, Any],
    job_in: Callable[..., Job],
    uninterrupted: Callable[..., dict[str, Any]],
    counts: Counts,
    number: int,
) -> None:
    """The cell ends as an interrupted one does, and another goes on."""
    manager, client = kernel
    job = job_in("job")
    make = CELL.format(folder=str(VICTIM.parent), job=json.dumps(asdict(job)))
    asked = client.execute(make + SLOWLY, stop_on_error=False)  # or the next cell might be dropped as one that waits
    wait_for(lambda: names_in(folder_of(job)))
    if number == signal.SIGINT:
        manager.interrupt_kernel()
    else:
        os.kill(manager.provisioner.pid, number)
    reply = reply_to(client, asked)
    assert reply["status"] == "error" and reply["ename"] == "KeyboardInterrupt", reply
    assert "the learner is whole" in reply["evalue"]
    assert manager.is_alive()
    assert reply_to(client, client.execute(make + GO_ON))["status"] == "ok"
    assert_same(result_of(job), uninterrupted())
    counts.kills += 1
    counts.litter += len(litter_in(folder_of(job)))


def reply_to(client: Any, asked: str) -> dict[str, Any]:
    """What a kernel answers to a cell."""
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == asked:
            content: dict[str, Any] = reply["content"]
            return content


def test_counts(counts: Counts) -> None:
    counts.check()
