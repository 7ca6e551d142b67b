"""How far a story is, how fast it goes and how long it will take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState

_MEMORY_S = 3.0  # how long the speed remembers: steady enough to read, quick enough to follow a pause


class Pace:
    """Counts the batches of a story's parts; a validation batch counts like a training batch."""

    def __init__(self) -> None:
        self._started = self._looked = self._part_started = time.perf_counter()
        self._batches_before = self._steps_before = 0
        self._done = self._done_before = 0
        self._samples_s: float | None = None

    def start_part(self, state: TrainState) -> None:
        """The story's next fit begins now."""
        self._part_started = time.perf_counter()
        self._done = self._done_before = state.plan.start_epoch * _epoch_batches(state)  # by the fit that it resumes
        story = state.plan.story
        epochs = sum(n for _, n in story.parts[: story.index])
        self._batches_before, self._steps_before = epochs * _epoch_batches(state), epochs * state.plan.steps_per_epoch

    def pause(self, seconds: float) -> None:
        """Time that passed without a batch counts for nothing."""
        self._started += seconds
        self._part_started += seconds
        self._looked += seconds

    def progress(self, state: TrainState) -> dict[str, Any]:
        """Where the story is: epochs, steps and validation batches; seconds gone and left; pictures a second."""
        plan, story, now = state.plan, state.plan.story, time.perf_counter()
        total_epochs = sum(n for _, n in story.parts)
        at_end = state.fit_step == plan.n_steps and state.training
        in_epoch = state.batch_index + 1 if not at_end else _epoch_batches(state)
        valid_done = 0 if state.training else state.batch_index + 1
        done = state.fit_epoch * _epoch_batches(state) + (
            in_epoch if state.training else plan.steps_per_epoch + valid_done
        )
        total = total_epochs * _epoch_batches(state) - self._batches_before
        self._note_speed(state, done, now)
        here = done - self._done_before
        left = (now - self._part_started) / here * max(0, total - done) if here else None
        steps = state.fit_step + (1 if state.training and not at_end else 0)
        return {
            "epoch": min(sum(n for _, n in story.parts[: story.index]) + state.fit_epoch + 1, total_epochs),
            "epochs": total_epochs,
            "part": story.index,
            "step": self._steps_before + min(steps, plan.n_steps),
            "steps_total": total_epochs * plan.steps_per_epoch,
            "phase": state.phase,
            "valid_done": valid_done,
            "valid_total": len(plan.valid) if plan.valid is not None else 0,
            "seconds": now - self._started,
            "left_s": left,
            "images_s": self._samples_s,
            "done": self._batches_before + done,
            "total": self._batches_before + total,
        }

    def _note_speed(self, state: TrainState, done: int, now: float) -> None:
        passed, batches = now - self._looked, done - self._done
        self._looked, self._done = now, done
        if batches <= 0 or passed <= 0:
            return
        speed = batches * state.batch_size / passed
        keep = 0.5 ** (passed / _MEMORY_S)
        self._samples_s = speed if self._samples_s is None else keep * self._samples_s + (1 - keep) * speed


def _epoch_batches(state: TrainState) -> int:
    return state.plan.steps_per_epoch + (len(state.plan.valid) if state.plan.valid is not None else 0)
