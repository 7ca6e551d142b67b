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
        self._batches_before = self._epochs_before = self._epochs = self._total = 0
        self._steps_before = self._steps_total = 0
        self._steps = self._valid_total = 0  # batches of an epoch
        self._foreseen = True  # what is left takes as long a batch as what is done
        self._done = self._done_before = 0
        self._samples_s: float | None = None

    def start_part(self, state: TrainState) -> None:
        """The story's next fit begins now."""
        self._part_started = time.perf_counter()
        self._done = self._done_before = state.plan.start_epoch * _epoch_batches(state)  # by the fit that it resumes
        plan, story = state.plan, state.plan.story
        self._epochs_before = sum(n for _, n in story.parts[: story.index])
        self._epochs = sum(n for _, n in story.parts)
        self._steps = plan.steps_per_epoch
        self._valid_total = len(plan.valid) if plan.valid is not None else 0
        steps = story.steps_of_parts(self._steps)
        self._steps_before, self._steps_total = sum(steps[: story.index]), sum(steps)
        self._batches_before = self._steps_before + self._epochs_before * self._valid_total
        self._total = self._steps_total + self._epochs * self._valid_total
        self._foreseen = story.is_last or not story.steps

    def pause(self, seconds: float) -> None:
        """Time that passed without a batch counts for nothing."""
        self._started += seconds
        self._part_started += seconds
        self._looked += seconds

    def progress(self, state: TrainState) -> dict[str, Any]:
        """Where the story is: epochs, steps and validation batches; seconds gone and left; pictures a second."""
        plan, now = state.plan, time.perf_counter()
        in_training, an_epoch = self._steps, self._steps + self._valid_total
        at_end = state.training and state.fit_step == plan.n_steps
        valid_done = 0 if state.training else state.batch_index + 1
        in_epoch = an_epoch if at_end else in_training + valid_done if valid_done else state.batch_index + 1
        done = state.fit_epoch * an_epoch + in_epoch
        total = self._total - self._batches_before
        self._note_speed(state, done, now)
        here = done - self._done_before
        left = (now - self._part_started) / here * max(0, total - done) if here and self._foreseen else None
        steps = state.fit_step + (1 if state.training and not at_end else 0)
        return {
            "epoch": min(self._epochs_before + state.fit_epoch + 1, self._epochs),
            "epochs": self._epochs,
            "part": plan.story.index,
            "step": self._steps_before + min(steps, plan.n_steps),
            "steps_total": self._steps_total,
            "phase": state.phase,
            "valid_done": valid_done,
            "valid_total": self._valid_total,
            "seconds": now - self._started,
            "left_s": left,
            "images_s": self._samples_s,
            "done": self._batches_before + done,
            "total": self._total,
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
