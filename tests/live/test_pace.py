"""Where a story is and how long it will take, by a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from fastlearn.live import pace
from fastlearn.live.pace import Pace
from fastlearn.training.state import Story


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def state_at(index: int = 0, start_epoch: int = 0, **options: Any) -> Any:
    """A story of 1 frozen and 3 unfrozen epochs, 10 training and 5 validation batches each."""
    story = Story("fine_tune", (("frozen", 1), ("unfrozen", 3)), index)
    plan = SimpleNamespace(story=story, steps_per_epoch=10, n_steps=10 * story.parts[index][1], valid=range(5))
    plan.start_epoch = start_epoch
    fields = {"fit_epoch": 0, "fit_step": 0, "batch_index": 0, "training": True, "batch_size": 8}
    state = SimpleNamespace(plan=plan, phase="train", **(fields | options))
    state.phase = "train" if state.training else "valid"
    return state


def test_the_first_part(clock: Clock):
    pace = Pace()
    pace.start_part(state_at())
    clock.now += 4
    found = pace.progress(state_at(fit_step=3, batch_index=3))
    assert (found["epoch"], found["epochs"], found["step"], found["steps_total"]) == (1, 4, 4, 40)
    assert (found["done"], found["total"], found["seconds"]) == (4, 60, 4)
    assert found["left_s"] == pytest.approx(56)  # a second a batch
    assert found["images_s"] == pytest.approx(8)


def test_validation_counts_as_batches(clock: Clock):
    pace = Pace()
    pace.start_part(state_at())
    clock.now += 12
    found = pace.progress(state_at(fit_step=10, batch_index=1, training=False))
    assert (found["step"], found["valid_done"], found["valid_total"], found["done"]) == (10, 2, 5, 12)


def test_the_second_part_goes_on_at_its_own_speed(clock: Clock):
    pace = Pace()
    pace.start_part(state_at())
    clock.now += 15
    pace.start_part(state_at(1))
    clock.now += 10
    found = pace.progress(state_at(1, fit_step=4, batch_index=4))
    assert (found["epoch"], found["part"], found["step"], found["done"]) == (2, 1, 15, 20)
    assert found["left_s"] == pytest.approx(80)  # two seconds a batch, 40 to go


def test_parts_of_different_steps(clock: Clock):
    pace = Pace()
    state = state_at()
    state.plan.story = replace(state.plan.story, steps=(100, 10))
    state.plan.steps_per_epoch = state.plan.n_steps = 100
    pace.start_part(state)
    clock.now += 1
    state.fit_step = state.batch_index = 49
    found = pace.progress(state)
    assert (found["step"], found["steps_total"], found["done"], found["total"]) == (50, 130, 50, 150)
    assert found["left_s"] is None  # nobody knows how long a batch of the other part takes
    state = state_at(1, fit_step=4, batch_index=4)
    state.plan.story = replace(state.plan.story, steps=(100, 10))
    pace.start_part(state)
    clock.now += 10
    found = pace.progress(state)
    assert (found["step"], found["done"], found["left_s"]) == (105, 110, pytest.approx(80))


def test_the_end(clock: Clock):
    pace = Pace()
    pace.start_part(state_at(1))
    clock.now += 10
    found = pace.progress(state_at(1, fit_epoch=2, fit_step=30, batch_index=9))
    assert (found["epoch"], found["step"], found["done"], found["total"], found["left_s"]) == (4, 40, 60, 60, 0)


def test_a_pause_is_no_time(clock: Clock):
    pace = Pace()
    pace.start_part(state_at())
    clock.now += 4
    pace.progress(state_at(fit_step=3, batch_index=3))
    clock.now += 60
    pace.pause(60)
    clock.now += 4
    found = pace.progress(state_at(fit_step=7, batch_index=7))
    assert found["seconds"] == 8 and found["left_s"] == pytest.approx(52) and found["images_s"] == pytest.approx(8)


def test_before_the_first_batch_nothing_is_known(clock: Clock):
    pace = Pace()
    pace.start_part(state_at())
    clock.now += 1
    found = pace.progress(state_at(batch_index=-1))
    assert found["images_s"] is None and found["left_s"] is None


def test_a_resumed_fit_knows_its_own_speed(clock: Clock):
    pace = Pace()
    pace.start_part(state_at(1, start_epoch=2))
    clock.now += 5
    found = pace.progress(state_at(1, start_epoch=2, fit_epoch=2, fit_step=24, batch_index=4))
    assert found["left_s"] == pytest.approx(10)  # of its 15 batches 5 took 5 seconds
    assert found["images_s"] == pytest.approx(8)
