"""A training's columns as messages for the page: what is new since the last one, or the whole story thinned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlearn.training.recorder import Recorder

_BUCKETS = 2000  # twice the pixels of a wide chart, so that thinning is not seen


@dataclass
class Points:
    """Some batches of a story: `first` counts from its start, `buffer` holds raw, smooth, lr and mom, float32 each."""

    first: int
    n: int
    buffer: bytes


class Feed:
    """Follows a recorder's columns; keeps no copy of them."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.sent = recorder, 0

    def new_points(self) -> Points | None:
        """The batches recorded since the last call, or None."""
        n = self.recorder.n_batches - self.sent
        if not n:
            return None
        points = Points(self.sent, n, self.recorder.packed(self.sent))
        self.sent += n
        return points

    def thinned(self, n_buckets: int = _BUCKETS) -> tuple[int, list[bytes]]:
        """(count, [float32 raw_lo, raw_hi, smooth, lr, mom; float64 x]) of the story so far, `count` values each.

        A bucket keeps the lowest and the highest raw loss, and the last of the other columns. x is the number of the
        bucket's last batch, from 0.
        """
        raw, *others = self.recorder.columns(0)
        starts = np.arange(0, len(raw), max(1, -(-len(raw) // n_buckets)))
        if not len(starts):
            return 0, [b"", b""]
        ends = np.append(starts[1:], len(raw)) - 1
        with np.errstate(invalid="ignore"):
            columns = [np.fmin.reduceat(raw, starts), np.fmax.reduceat(raw, starts), *(one[ends] for one in others)]
        return len(starts), [_float32(columns).tobytes(), ends.astype(np.float64).tobytes()]


def _float32(columns: list[np.ndarray]) -> np.ndarray:
    """The columns one after the other; a rate beyond float32 is infinite, without a warning."""
    with np.errstate(over="ignore"):
        return np.concatenate(columns, dtype=np.float32, casting="same_kind")
