"""Reading batches ahead of time: in this thread, in a pool of threads, or in processes.

All three give the same bits, because every sample draws from a generator of its own. Whoever stops early closes the
iterator, which ends the workers.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fastlearn.data.collate import stack_samples
from fastlearn.errors import ConfigError, DataError, WorkerError
from fastlearn.runtime.interrupt import DeferredInterrupt
from fastlearn.runtime.seed import RunKey

AHEAD = 2
LARGEST_CHUNK = 16


@dataclass(frozen=True)
class Job:
    """One batch to read: the items `indices`, which come from position `first` on in the order of the pass `key`.

    `number` is the batch's own in that pass.
    """

    key: RunKey
    first: int
    indices: tuple[int, ...]
    number: int = 0


Finish = Callable[[Any, Job], Any]  # what is done to a batch once it is read


@dataclass(frozen=True)
class Reader:
    """Reads samples of a data set and makes batches of them; the same in a thread and in a process.

    With `by_position`, an item that comes more than once in a pass is transformed differently each time.
    """

    dataset: Any
    train: bool = False
    by_position: bool = False
    collate: Callable[[list[Any]], Any] | None = None
    pin: bool = False

    @property
    def ours(self) -> bool:
        """Whether the data set encodes its samples itself (`sample`) or is any indexable one."""
        return hasattr(self.dataset, "sample")

    def sample(self, key: RunKey, position: int, index: int) -> Any:
        """One sample, with its own generator."""
        if not self.ours:
            return self._foreign_sample(index)
        keys = ("sample", index, position) if self.by_position else ("sample", index)
        return self.dataset.sample(index, key.numpy_rng(*keys), self.train)

    def _foreign_sample(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except StopIteration as error:
            raise _as_error(error, self.source(index)) from error
        except Exception as error:
            error.add_note(f"while reading {self.source(index)}")
            raise

    def batch(self, samples: list[Any], indices: tuple[int, ...]) -> Any:
        """The samples as one batch of tensors on the CPU."""
        if self.collate is not None:
            return self.collate([tuple(map(_own, sample)) for sample in samples] if self.ours else samples)
        if self.ours:
            return stack_samples(samples, self.dataset.kinds, lambda k: self.source(indices[k]), self.pin)
        return _default_collate(samples)

    def read(self, job: Job) -> Any:
        """One whole batch."""
        samples = [self.sample(job.key, job.first + k, index) for k, index in enumerate(job.indices)]
        return self.batch(samples, job.indices)

    def source(self, index: int) -> str:
        """The file or row of an item, for errors."""
        named = getattr(self.dataset, "source", None)
        return str(named(index)) if callable(named) else f"item {index} of {type(self.dataset).__name__}"


def _own(part: Any) -> Any:
    """An array that may be written to and handed to torch, in place of a view of what a cache keeps."""
    return part.copy() if isinstance(part, np.ndarray) and not part.flags.carray else part


def _default_collate(samples: list[Any]) -> Any:
    from torch.utils.data import default_collate

    try:
        return default_collate(samples)
    except (RuntimeError, TypeError) as error:
        raise DataError(f"The samples cannot form a batch: {error}. Make them equal, or pass collate=…") from error


def read_here(reader: Reader, jobs: Iterable[Job]) -> Iterator[Any]:
    """Each batch when it is asked for."""
    for job in jobs:
        try:
            batch = reader.read(job)
        except StopIteration as error:
            raise _as_error(error, _A_BATCH) from error
        yield batch


_A_BATCH = "a batch, in collate"


def _as_error(error: BaseException, what: str) -> BaseException:
    """`error`, or an error that names it if the program would take it for the end of a loop or for its own end.

    No Ctrl-C reaches a worker, so a KeyboardInterrupt there, like a SystemExit, comes from the code that reads `what`.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    made = WorkerError(
        f"{type(error).__name__} came out of the code that makes {what}. Expected a value, or an ordinary exception: "
        "look for sys.exit() or next() there."
    )
    made.__cause__ = error
    return made


class _Gathering:
    """A batch in the making: threads bring its chunks in any order, and the last one stacks and finishes them."""

    def __init__(self, reader: Reader, job: Job, chunk: int, finish: Finish | None) -> None:
        self.reader, self.job, self.finish = reader, job, finish
        self.starts = range(0, len(job.indices), chunk)
        self.chunk = chunk
        self.done: Future[Any] = Future()
        self._samples: list[list[Any]] = [[] for _ in self.starts]
        self._errors: dict[int, BaseException] = {}
        self._left = len(self.starts)
        self._lock = threading.Lock()

    def fill(self, c: int, stop: threading.Event) -> None:
        """Read chunk `c`."""
        start = self.starts[c]
        try:
            for k in range(start, min(start + self.chunk, len(self.job.indices))):
                if stop.is_set():
                    return
                self._samples[c].append(self.reader.sample(self.job.key, self.job.first + k, self.job.indices[k]))
        except BaseException as error:  # handed to the thread that waits for the batch
            at = self.job.indices[start + len(self._samples[c])]
            self._errors[c] = _as_error(error, self.reader.source(at))
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._finish()

    def _finish(self) -> None:
        if self._errors:
            self.done.set_exception(self._errors[min(self._errors)])
            return
        try:
            batch = self.reader.batch([s for part in self._samples for s in part], self.job.indices)
            self.done.set_result(batch if self.finish is None else self.finish(batch, self.job))
        except BaseException as error:
            self.done.set_exception(_as_error(error, _A_BATCH))


@functools.cache
def _pools() -> Any:
    """The pools of threads in the libraries that are loaded."""
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


def _alone() -> None:
    """This thread does its share of the arithmetic by itself: the other readers, and the training, have their own."""
    torch.get_num_threads()  # torch sets a thread up at its first use, and would undo what follows
    _pools().limit(limits=1, user_api="openmp")


def read_in_threads(
    reader: Reader, jobs: Iterable[Job], n_workers: int, bs: int, finish: Finish | None = None
) -> Iterator[Any]:
    """Batches in order, a few of them read ahead by `n_workers` threads that share the samples of each.

    With `finish`, they finish them too.
    """
    chunk = max(1, min(LARGEST_CHUNK, math.ceil(bs / n_workers)))
    ahead = max(AHEAD, math.ceil(2 * n_workers * chunk / bs))
    stop = threading.Event()
    pool = ThreadPoolExecutor(n_workers, "fastlearn-data", initializer=None if finish is None else _alone)
    waiting: deque[Future[Any]] = deque()
    try:
        for job in jobs:
            gathering = _Gathering(reader, job, chunk, finish)
            for c in range(len(gathering.starts)):
                pool.submit(gathering.fill, c, stop)
            waiting.append(gathering.done)
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def read_in_processes(reader: Reader, jobs: Iterable[Job], n_workers: int) -> Iterator[Any]:
    """Batches in order, read by fresh processes (never forked from this one, which may hold locks and a GPU).

    Raises `ConfigError` when the data set cannot be pickled, `WorkerError` when a process dies.
    """
    payload = _pickled(reader)
    context = _context()
    slots = context.Array("q", [-1] * (3 * n_workers), lock=False)
    counter = context.Value("i", 0)
    pool = ProcessPoolExecutor(n_workers, context, initializer=_start_worker, initargs=(payload, slots, counter))
    waiting: deque[Future[Any]] = deque()
    finished = False
    try:
        for job in jobs:
            with _shielded() if len(context.made) < n_workers else nullcontext():
                waiting.append(pool.submit(_read_in_worker, job))
            if len(waiting) > AHEAD * n_workers:
                yield _received(waiting.popleft(), reader.pin)
        while waiting:
            yield _received(waiting.popleft(), reader.pin)
        finished = True
    except BrokenProcessPool as error:
        raise WorkerError(_obituary(context.made, slots, reader)) from error
    finally:
        if not finished:
            for process in context.made:
                if process.pid is not None:  # else it could not be started
                    process.kill()  # it holds nothing that could be lost
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _shielded() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back while a worker is started, and keeps them from it.

    Both may be sent to every process of the group; one that is still importing would answer with a traceback, or be
    gone before the training has ended its step. The mask of blocked signals is inherited by whatever is started here,
    the fork server too, which lives on.
    """
    with DeferredInterrupt() as interrupt:
        can_mask = hasattr(signal, "pthread_sigmask")  # not on Windows
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM}) if can_mask else set()
        try:
            yield
        finally:
            if can_mask:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    interrupt.check("")


def _received(future: Future[Any], pin: bool) -> Any:
    """Arrays as tensors: they came through a pipe and not through /dev/shm, which is tiny in many containers."""
    batch = future.result()
    if not isinstance(batch, _Arrays):
        return batch
    parts = tuple(torch.from_numpy(part) for part in batch.parts)
    return tuple(part.pin_memory() for part in parts) if pin else parts


@dataclass(frozen=True)
class _Arrays:
    parts: tuple[Any, ...]


def _pickled(reader: Reader) -> bytes:
    try:
        return pickle.dumps(replace(reader, pin=False))
    except Exception as error:
        raise ConfigError(
            f"The data set cannot be sent to worker processes ({type(error).__name__}: {error}). Lambdas and what a "
            "notebook cell defines stay in this process. Type workers='thread', or num_workers=0."
        ) from error


_METHOD = "spawn" if sys.platform in ("win32", "darwin") else "forkserver"
_Context: Any = type(multiprocessing.get_context(_METHOD))


class _RememberingContext(_Context):
    """A start method without forking that remembers its processes, so that a death can be told from a clean end."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Any] = []

    def Process(self, *args: Any, **kwargs: Any) -> Any:
        """A process of this start method."""
        self.made.append(super().Process(*args, **kwargs))
        return self.made[-1]


def _context() -> Any:
    context = _RememberingContext()
    if _METHOD == "forkserver":
        context.set_forkserver_preload(["torch", "fastlearn.data.workers"])
    return context


_GRACE_S = 30.0  # that a worker lives on after a SIGTERM
_worker: dict[str, Any] = {}  # what this worker process was started with; empty in every other process


def _start_worker(payload: bytes, slots: Any, counter: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, _end_later)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with counter.get_lock():
        slot = counter.value
        counter.value += 1
    try:
        reader = pickle.loads(payload)
    except Exception as error:
        reader = WorkerError(
            f"A worker process cannot rebuild the data set ({type(error).__name__}: {error}). What a notebook cell "
            "defines is unknown there. Type workers='thread', or move it to a module."
        )
    _worker.update(reader=reader, slots=slots, slot=slot)
    slots[3 * slot] = multiprocessing.current_process().pid


def _end_later(number: int, frame: object) -> None:
    """SIGTERM often goes to all processes of a program, and the training still wants batches for its last step."""
    timer = threading.Timer(_GRACE_S, os._exit, (128 + number,))
    timer.daemon = True
    timer.start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, which hold each other's pipes open and would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _read_in_worker(job: Job) -> Any:
    reader, slots, slot = _worker["reader"], _worker["slots"], _worker["slot"]
    if isinstance(reader, Exception):
        raise reader
    samples: list[Any] = []
    try:
        for k, index in enumerate(job.indices):
            slots[3 * slot + 1] = index
            samples.append(reader.sample(job.key, job.first + k, index))
        slots[3 * slot + 1] = -1
        batch = reader.batch(samples, job.indices)
    except BaseException as error:
        done = len(samples)
        named = _as_error(error, reader.source(job.indices[done]) if done < len(job.indices) else _A_BATCH)
        if named is error:
            raise
        raise named  # noqa: B904 - its cause is set
    return _Arrays(tuple(part.numpy() for part in batch)) if reader.ours and reader.collate is None else batch


def _obituary(processes: list[Any], slots: Any, reader: Reader) -> str:
    """Which worker died, of what, and what it was reading."""
    until = time.monotonic() + 5
    while not (dead := [p for p in processes if p.exitcode not in (0, None)]) and time.monotonic() < until:
        time.sleep(0.01)
    reading = {slots[3 * k]: slots[3 * k + 1] for k in range(len(slots) // 3)}
    named = sorted({reader.source(reading[p.pid]) for p in dead if reading.get(p.pid, -1) >= 0})
    causes = ", ".join(sorted({_cause(p.exitcode) for p in dead})) or "it was ended"
    if not named:
        return (
            f"A data worker died ({causes}) before it read anything. In a script, put the code that starts training "
            "under if __name__ == '__main__':, or type workers='thread'."
        )
    return (
        f"A data worker died ({causes}) while reading {' or '.join(named)}. Look at that file with dls.check(); if "
        "memory ran out, use fewer workers (num_workers=…) or workers='thread'."
    )


def _cause(exitcode: int) -> str:
    if exitcode == 255:  # what a fork server says of a process whose end it could not learn
        return "killed, often for a lack of memory"
    if exitcode >= 0:
        return f"exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return name + (", often a lack of memory" if name == "SIGKILL" else "")
