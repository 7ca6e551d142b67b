"""What the page is sent: each point once, and a thinned story that keeps its extremes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastlearn.live.feed import Feed
from fastlearn.training.recorder import Recorder


def record(recorder: Recorder, losses, lr: float = 0.1, mom: float = 0.9) -> None:
    optimizer = SimpleNamespace(param_groups=[{"lr": lr, "betas": (mom, 0.99)}])
    for loss in losses:
        recorder.batch(SimpleNamespace(optimizer=optimizer, loss=torch.tensor(loss)))  # type: ignore[arg-type]


def test_each_point_is_sent_once():
    recorder = Recorder()
    feed = Feed(recorder)
    assert feed.new_points() is None
    record(recorder, [3.0, 2.0])
    first = feed.new_points()
    record(recorder, [1.0], lr=0.2)
    second = feed.new_points()
    assert first is not None and second is not None and feed.new_points() is None
    assert (first.first, first.n, second.first, second.n) == (0, 2, 2, 1)
    columns = np.frombuffer(first.buffer, np.float32).reshape(4, 2)
    assert columns[0].tolist() == [3.0, 2.0]
    assert columns[1].tolist() == pytest.approx(recorder.losses[:2])
    assert columns[2:].tolist() == [pytest.approx([0.1, 0.1]), pytest.approx([0.9, 0.9])]
    assert np.frombuffer(second.buffer, np.float32).tolist() == pytest.approx([1.0, recorder.losses[2], 0.2, 0.9])


@pytest.mark.parametrize("n", [1, 7, 10, 11, 999, 1000, 1001])
def test_thinning_keeps_extremes_order_and_end(n):
    recorder, rng = Recorder(), np.random.default_rng(0)
    losses = rng.normal(size=n).astype(np.float32)
    record(recorder, losses.tolist())
    count, (floats, xs) = Feed(recorder).thinned(10)
    low, high, smooth, lr, mom = np.frombuffer(floats, np.float32).reshape(5, count)
    x = np.frombuffer(xs)
    assert count <= 10 and (np.diff(x) > 0).all() and x[-1] == n - 1
    assert low.min() == losses.min() and high.max() == losses.max()
    assert smooth[-1] == np.float32(recorder.losses[-1])
    start = 0
    for k, end in enumerate(x.astype(int)):
        assert (low[k], high[k]) == (losses[start : end + 1].min(), losses[start : end + 1].max())
        start = end + 1
    assert (lr == np.float32(0.1)).all() and (mom == np.float32(0.9)).all()


def test_a_nan_among_numbers_hides_nothing():
    recorder = Recorder()
    record(recorder, [1.0, float("nan"), 3.0, 4.0])
    count, (floats, _) = Feed(recorder).thinned(1)
    low, high, *_ = np.frombuffer(floats, np.float32).reshape(5, count)
    assert (low[0], high[0]) == (1.0, 4.0)


def test_nothing_trained_is_nothing_to_show():
    assert Feed(Recorder()).thinned() == (0, [b"", b""])


def test_a_recorder_goes_on_growing_after_it_was_read():
    recorder = Recorder()
    record(recorder, [1.0] * 5)
    columns = recorder.columns()
    record(recorder, [2.0] * 500)
    assert len(columns[0]) == 5 and recorder.n_batches == 505


def test_a_rate_beyond_float32_is_infinite():
    recorder = Recorder()
    record(recorder, [1.0, 2.0], lr=1e300)
    points = Feed(recorder).new_points()
    assert points is not None and np.isinf(np.frombuffer(points.buffer, np.float32).reshape(4, 2)[2]).all()
    assert Feed(recorder).thinned()[0] == 2
