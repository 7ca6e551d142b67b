"""Threads or processes for reading ahead: by a measurement, where a user's own Python code may hold Python's lock.

Pillow frees the lock while it decodes and resizes, so threads read as fast as processes and cost nothing to start. A
transform written in Python does not: then threads wait for one another, and only processes read side by side.
"""

from __future__ import annotations

import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from fastlearn.data.cache import MemoryCache
from fastlearn.data.transform import own_code
from fastlearn.data.workers import Reader
from fastlearn.runtime.say import say
from fastlearn.runtime.seed import RunKey

TRIED = 4  # samples a thread, for a measurement
WORTH = 10.0  # seconds of reading a pass: below them, starting processes costs more than they gain
GAIN = 1.4  # of two threads over one; with less, they wait for one another


def has_own_code(dataset: Any) -> bool:
    """Whether samples pass through code that is neither fastlearn's nor known to free Python's lock."""
    return any(own_code(tfm) is not None for tfm in getattr(dataset, "item_tfms", ()))


def choose_workers(reader: Reader, key: RunKey, n_samples: int, n_workers: int) -> Literal["thread", "process"]:
    """What reads a pass of `n_samples` faster, with a line where it is not threads; a thread where nothing is to gain.

    Nothing that a worker process could not do is given to one: code of a notebook's cell, and, as nobody asked for
    processes, a script that may not be ready to be imported by them.
    """
    kept_here = isinstance(getattr(reader.dataset, "cache", None), MemoryCache)  # which no process shares
    if n_workers < 2 or n_samples < 3 * TRIED or kept_here or not has_own_code(reader.dataset):
        return "thread"
    alone = _seconds(reader, key, range(TRIED))
    if alone / TRIED * n_samples < WORTH:
        return "thread"
    with ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        list(pool.map(lambda first: _seconds(reader, key, range(first, first + TRIED)), (TRIED, 2 * TRIED)))
        together = time.perf_counter() - start
    if 2 * alone >= GAIN * together:
        return "thread"
    names = ", ".join(code for tfm in reader.dataset.item_tfms if (code := own_code(tfm)))
    if not _can_be_sent(reader):
        say(
            f"{names} holds Python's lock, so threads read no faster than one. Put it in a module and type "
            "workers='process' to read side by side."
        )
        return "thread"
    say(f"{names} holds Python's lock: pictures are read by {n_workers} processes. workers='thread' is the other way.")
    return "process"


def _seconds(reader: Reader, key: RunKey, indices: range) -> float:
    start = time.perf_counter()
    for index in indices:
        reader.sample(key, index, index)
    return time.perf_counter() - start


def _can_be_sent(reader: Reader) -> bool:
    """Whether worker processes can be started unasked, and rebuild the data set there."""
    if hasattr(sys.modules["__main__"], "__file__"):  # a script, which each of them would run
        return False
    if any(getattr(tfm, "f", tfm).__module__ == "__main__" for tfm in reader.dataset.item_tfms):
        return False
    try:
        pickle.dumps(reader)
    except Exception:
        return False
    return True
