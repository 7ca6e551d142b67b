"""Randomness as a function: every draw comes from a seed and the name of what it is for, never from hidden state.

The order of an epoch, a sample's augmentation and a step's dropout are each drawn from a generator whose seed is
`derive(seed, stream, epoch, ...)`. So a run does not depend on how many workers there are, and can go on from any step.
"""

from __future__ import annotations

import contextlib
import functools
import numbers
import os
import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastlearn.errors import ConfigError
from fastlearn.options import named_options

_MASK = (1 << 64) - 1


def _mix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every input bit reaches every output bit."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def derive(seed: int, *keys: int | str) -> int:
    """A 63-bit seed for the thing that `keys` name; the same keys give the same number on every machine."""
    return _absorbed(_mix(seed & _MASK), keys) >> 1


def _absorbed(state: int, keys: Iterable[int | str]) -> int:
    for key in keys:
        number = key if isinstance(key, int) else zlib.crc32(key.encode()) | 1 << 40
        state = _mix(state ^ _mix(number & _MASK))
    return state


def numbered(seed: int) -> Callable[[int], int]:
    """`derive(seed, number)` as a function of the number, with the seed's own share done once."""
    start = _mix(seed & _MASK)
    return lambda number: _mix(start ^ _mix(number)) >> 1


class _Words(np.random.bit_generator.ISeedSequence):
    """Seed words from `_mix`: NumPy's own SeedSequence costs ten times as much, and every sample needs a generator."""

    def __init__(self, start: int) -> None:
        self.start = start

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        return np.array([_mix(self.start + i) for i in range(n_words)], dtype=np.uint64).astype(dtype, copy=False)


def numpy_rng(seed: int, *keys: int | str) -> np.random.Generator:
    """A NumPy generator of its own for the thing that `keys` name."""
    return _numpy_rng(derive(seed, *keys))


def _numpy_rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(_Words(seed)))  # type: ignore[arg-type]


def torch_rng(seed: int, *keys: int | str) -> torch.Generator:
    """A CPU torch generator of its own for the thing that `keys` name."""
    return torch.Generator().manual_seed(derive(seed, *keys))


@dataclass(frozen=True)
class RunKey:
    """Names one pass over a loader: `stream` is what the pass is for ("train", "valid", "lr_find", "show"…)."""

    seed: int
    stream: str
    epoch: int

    @functools.cached_property
    def _state(self) -> int:  # every sample of the pass starts here
        return _absorbed(_mix(self.seed & _MASK), (self.stream, self.epoch))

    def derive(self, *keys: int | str) -> int:
        """A seed for something inside this pass: `derive(seed, stream, epoch, *keys)`."""
        return _absorbed(self._state, keys) >> 1

    def numpy_rng(self, *keys: int | str) -> np.random.Generator:
        """A NumPy generator of its own for something inside this pass."""
        return _numpy_rng(self.derive(*keys))

    def torch_rng(self, *keys: int | str) -> torch.Generator:
        """A CPU torch generator of its own for something inside this pass."""
        return torch.Generator().manual_seed(self.derive(*keys))


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Python's, NumPy's and torch's CPU generator, put back as they were; also after an error."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def draw_seed() -> int:
    """A seed from torch's default generator, so that `set_seed` before it makes it repeatable."""
    return int(torch.randint(2**31 - 1, ()).item())


def check_seed(seed: Any, name: str = "seed") -> int:
    """`seed` as an int (NumPy's too); ConfigError unless torch's generators take it."""
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
    if not whole or not -(1 << 63) <= int(seed) <= _MASK:
        raise ConfigError(f"{name} needs a whole number from -2**63 to 2**64 - 1, not {seed!r}. 42 will do.")
    return int(seed)


@named_options
def set_seed(s: int, reproducible: bool = False) -> None:
    """Seed Python's, NumPy's and torch's global generators; learners made afterwards draw their seed from these.

    With `reproducible`, torch uses deterministic algorithms only (cuDNN's benchmark off), which can be slower; an
    operation without a deterministic form then warns rather than raises.

    >>> set_seed(42, reproducible=True)
    """
    s = check_seed(s, "set_seed")
    random.seed(s)
    np.random.seed(s % 2**32)
    torch.manual_seed(s)
    if reproducible:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when CUDA starts
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
