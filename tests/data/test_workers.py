"""Threads and processes: the same bits, faults by name, clean ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
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
