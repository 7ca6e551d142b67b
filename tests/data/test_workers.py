"""Threads and processes: the same bits, faults by name, clean ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from number_loaders import KEY, dataset, loader, same

from fastlearn.data.loaders import DataLoader
from fastlearn.errors import ConfigError, DataError, WorkerError
from fastlearn.runtime.seed import RunKey

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"num_workers": 5}, {"num_workers": 2, "workers": "process"}])
def test_workers_change_no_bit(options: dict[str, Any]) -> None:
    plain, other = loader(), loader(**options)
    whole = list(plain.batches(KEY))
    assert len(whole) == len(plain) == 6 and same(whole, list(other.batches(KEY)))
    assert same(whole[3:], list(other.batches(KEY, 3))) and same(whole[5:], list(plain.batches(KEY, 5)))
    assert list(other.batches(KEY, 6)) == []
    assert not same(whole, list(plain.batches(RunKey(7, "train", 4))))


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "workers": "process"}])
def test_a_fault_in_a_worker_names_the_item(options: dict[str, Any]) -> None:
    dl = loader([0, 1, 2, 3, 4, -1, 6, 7], shuffle=False, bs=2, **options)
    stream = dl.batches(KEY)
    assert len(next(stream)[0]) == 2 and len(next(stream)[0]) == 2
    with pytest.raises(DataError, match=r"Row failed on \(-1, 'b'\): RuntimeError: broken"):
        next(stream)


@pytest.mark.parametrize("workers", ["thread", "process"])
def test_leaving_early_ends_the_workers(workers: Any) -> None:
    dl = loader([-5] * 40, num_workers=2, workers=workers)
    start = time.monotonic()
    for _ in dl:
        break
    stream = dl.batches(KEY)
    next(stream)
    stream.close()  # type: ignore[attr-defined]

    def interrupted() -> None:
        for _ in dl:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        interrupted()
    del raised
    assert time.monotonic() - start < 30


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_a_killed_worker_is_an_error_that_names_what_it_read() -> None:
    dl = loader([0, 1, 2, 3, 4, -9, 6, 7], shuffle=False, bs=2, num_workers=2, workers="process")
    with pytest.raises(WorkerError, match=r"A data worker died \((SIGKILL|killed).*while reading .*\(-9, 'b'\)"):
        list(dl.batches(KEY))


def test_what_cannot_be_sent_to_processes() -> None:
    data = dataset(item_tfms=(lambda a: a,))
    dl = DataLoader(data, 4, num_workers=2, workers="process", device="cpu")
    with pytest.raises(ConfigError, match=r"cannot be sent to worker processes.*workers='thread'"):
        list(dl)


def test_interrupting_the_wait_for_a_batch_ends_the_threads() -> None:
    dl = loader([-5] * 400, num_workers=2, bs=100, shuffle=False)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt) as raised:
        list(dl.batches(KEY))
    timer.join()
    del raised


class Raising:
    """A data set of which item 5 raises what no reader of files should."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 5:
            raise self.error
        return torch.zeros(2)


def raise_stop_iteration(samples: Any) -> None:
    raise StopIteration


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), StopIteration(), GeneratorExit()])
def test_what_would_end_the_program_is_an_error_in_a_worker(error: BaseException) -> None:
    dl = DataLoader(Raising(error), 4, num_workers=2, device="cpu")
    with pytest.raises(WorkerError, match=f"{type(error).__name__} came out of the code that makes item 5 of Raising"):
        list(dl)


def test_so_it_is_in_a_process() -> None:
    dl = DataLoader(Raising(SystemExit(3)), 4, num_workers=1, workers="process", device="cpu")
    with pytest.raises(WorkerError, match="SystemExit came out of the code that makes item 5 of Raising"):
        list(dl)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_the_end_of_an_iterator_is_not_the_end_of_the_batches(n_workers: int) -> None:
    dl = DataLoader(Raising(StopIteration()), 4, num_workers=n_workers, device="cpu")
    with pytest.raises(WorkerError, match="StopIteration came out of the code that makes item 5"):
        list(dl)
    dl = DataLoader(dataset(), 4, num_workers=n_workers, device="cpu", collate=raise_stop_iteration)
    with pytest.raises(WorkerError, match="StopIteration came out of the code that makes a batch, in collate"):
        list(dl)


def test_in_this_thread_ctrl_c_is_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(DataLoader(Raising(KeyboardInterrupt()), 4, num_workers=0, device="cpu"))


SCRIPT = """
from number_loaders import KEY, loader

if __name__ == "__main__":
    dl = loader([-5] * 4000, num_workers=1, workers="process")
    try:
        print("starting", flush=True)
        list(dl.batches(KEY))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    stream = dl.batches(KEY)
    next(stream)
    print("reading", flush=True)
    list(stream)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX process groups")
def test_ctrl_c_while_workers_start_and_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    run = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "starting\n"
    os.killpg(run.pid, signal.SIGINT)  # to all of them, as a terminal sends it
    assert [run.stdout.readline(), run.stdout.readline()] == ["interrupted\n", "reading\n"]
    run.kill()
    said = run.communicate()[1]  # at the end of the pipe that the workers share: when the last of them has ended
    assert "Traceback" not in said
