"""A training that can be killed: checkpoints as it goes, from which it goes on with the same bits."""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlearn.callbacks.tracker import less_is_better
from fastlearn.errors import CheckpointError, ConfigError, NonFiniteError, near
from fastlearn.options import checked_flag, checked_path, checked_whole, found, named_options
from fastlearn.runtime.json_bytes import write_json
from fastlearn.runtime.say import say
from fastlearn.runtime.tensor_bytes import check_savable
from fastlearn.training.callback import Callback
from fastlearn.training.calls import typed
from fastlearn.training.capture import capture, capture_generators, copied
from fastlearn.training.state import Position

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState

FOLDER = "checkpoints"
_UNITS = {"second": 1, "minute": 60, "hour": 3600}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(second|minute|hour)s?\s*")
_EVERY = "every is 'epoch', a number of steps such as 500, or a time such as '10 minutes'"


@dataclass(frozen=True)
class Every:
    """When a checkpoint is due: after each epoch, after so many steps, or after so many seconds."""

    epoch: bool = False
    steps: int = 0
    seconds: float = 0.0


def as_every(every: Any) -> Every:
    """What "epoch", a number of steps, a `timedelta` or words such as "10 minutes" mean; ConfigError for others."""
    if every == "epoch":
        return Every(epoch=True)
    if isinstance(every, int) and not isinstance(every, bool) and every > 0:
        return Every(steps=every)
    match = _SPAN.fullmatch(every) if isinstance(every, str) else None
    seconds = every.total_seconds() if isinstance(every, timedelta) else 0.0
    if match is not None:
        seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{_EVERY}, not {found(every)}.")
    return Every(seconds=seconds)


class Checkpoint(Callback):
    """Keeps checkpoints, from which a training that was killed goes on as if it had not been.

    `every` is "epoch", a number of steps, or a time such as "10 minutes". The `keep` newest ones stay, that of the
    epoch with the best value of `best` ("valid_loss", or the name of a metric; None for no such one), and the end of
    each call that came before: a script with several, started again from its top, goes through those that are done.
    (Trainings that begin at the same step, each with a new learner say, need a folder each.) Checkpoints are folders in
    `folder`, by default `checkpoints` in the learner's model folder, and hold weights, optimizer, callbacks, history,
    position and generators. They are written in the background of the training, each whole or not at all; where the
    last one is still being written when the next is due, the training waits. Ctrl-C and SIGTERM make one first.

    What a `learn.step` of your own keeps elsewhere, such as a second optimizer, is for `KeepState`.

    A disk that has no room is told, and tried again at the next one; the training goes on. At its end, or where the
    folder cannot be written from the beginning, it is an error.

    >>> learn.fit_one_cycle(10, cbs=Checkpoint(every="epoch", keep=2))
    >>> learn.fit_one_cycle(10, resume=True)  # typed again after a kill: goes on
    """

    order = 1000  # what the others do with a batch is a part of it
    needs_inputs = False
    only_watches = True  # a training with other checkpoints, or without any, is the same training

    @named_options
    def __init__(
        self,
        every: Any = "epoch",
        keep: int = 2,
        best: str | None = "valid_loss",
        folder: str | os.PathLike[str] | None = None,
        background: bool = True,
    ) -> None:
        self.every, self.keep = as_every(every), checked_whole(keep, "keep", "2")
        if self.keep < 1:
            raise ConfigError(f"keep={keep} would keep no checkpoint; 2 is usual, so that one is always whole.")
        if best is not None and not isinstance(best, str):
            raise ConfigError(f"best is a name such as 'valid_loss' or 'accuracy', not {found(best)}.")
        self.best, self.background = best, checked_flag(background, "background")
        self.folder = None if folder is None else Path(checked_path(folder, "folder"))
        self.path: Path | None = None
        self._last: tuple[int, float] = 0, 0.0  # step and time of the last one
        self._failed: CheckpointError | None = None
        self._run_id = self._call = ""
        self._best: float | None = None
        self._before_valid: dict[str, Any] = {}
        self._open: contextlib.ExitStack | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def before_fit(self, state: TrainState) -> None:
        from fastlearn.training import runs

        self._check_best(state)
        run = state.plan.run
        if run is None:
            raise ConfigError("Checkpoint keeps trainings that a learner's own methods began, such as learn.fit(3).")
        self.path = state.plan.model_path / FOLDER if self.folder is None else self.folder
        others = [one for one in state.events.callbacks if isinstance(one, Checkpoint) and one is not self]
        if any(one.path == self.path for one in others):
            raise ConfigError(f"Two Checkpoints would write in {self.path}. Give one of them another folder=.")
        self._open = contextlib.ExitStack()
        self._open.enter_context(runs.owned(self.path))
        self._run_id, self._call = run.notes.setdefault("run", secrets.token_hex(8)), typed(run.call)
        self._check_form(state)
        self._last, self._failed = (state.step, time.monotonic()), None
        own = [one.score for one in runs.manifests(self.path) if one.run == self._run_id and one.score is not None]
        self._best = min(own, default=None)
        if self.background:
            self._writer = self._open.enter_context(ThreadPoolExecutor(1, "fastlearn-checkpoint"))
        if not state.goes_on and state.plan.story.index == 0:
            self._tell_unfinished(self.path)

    def before_batch(self, state: TrainState) -> None:
        if not state.training and state.batch_index == 0:
            self._before_valid = capture_generators(state.generators)

    def after_batch(self, state: TrainState) -> None:
        more = int(state.training)  # steps that the loop has not counted yet
        if state.ending or (more and self._is_due(state.step + more)):
            batch = state.batch_index + 1 if state.training else state.plan.steps_per_epoch
            self._save(state, self._position(state, batch=batch), more)

    def after_epoch(self, state: TrainState) -> None:
        score = self._scored(state)
        is_best = score is not None and (self._best is None or score < self._best)
        self._best = score if is_best else self._best
        last = (state.fit_epoch + 1 >= state.plan.n_epochs or state.stop) and not state.ending
        is_due = not last and (self.every.epoch or self._is_due(state.step) or state.ending)
        if is_best or is_due:
            before = self._last
            self._save(state, self._position(state, epochs=1), score=score)
            self._last = self._last if is_due else before  # the best ones come beside the others

    def after_fit(self, state: TrainState) -> None:
        self._close()
        if state.error is None and state.plan.run is not None and self.path is not None:
            state.plan.run.ends.append(partial(self._end, state))

    def _end(self, state: TrainState, finished: bool) -> None:
        """The checkpoint of a part that has ended, when all that the call does between its parts, or last, is done."""
        from fastlearn.training import runs

        assert self.path is not None
        with runs.locked(self.path):
            self._save(state, self._position(state, epochs=1, done=True), finished=finished)
        if finished and self._failed is not None:
            raise self._failed

    def on_exception(self, state: TrainState) -> None:
        self._wait()  # the one that is being written is wanted more than ever
        if isinstance(state.error, NonFiniteError):
            state.error.add_note("To go on from the last checkpoint at half the rates: learn.recover(lr_scale=0.5).")

    def _close(self) -> None:
        with contextlib.suppress(CheckpointError):
            self._wait()
        if self._open is not None:
            self._open.close()
        self._open = self._writer = None

    def _is_due(self, done: int) -> bool:
        """Whether a checkpoint is due after so many steps of the learner's life."""
        step, moment = self._last
        if self.every.steps:
            return done - step >= self.every.steps
        return bool(self.every.seconds) and time.monotonic() - moment >= self.every.seconds

    @staticmethod
    def _position(state: TrainState, batch: int = 0, epochs: int = 0, done: bool = False) -> Position:
        return Position(state.plan.story.index, state.fit_epoch + epochs, batch, done)

    def _save(
        self,
        state: TrainState,
        position: Position,
        more: int = 0,
        finished: bool = False,
        score: float | None = None,
    ) -> None:
        """Have what is to be kept written, in the background a copy of it; `more` steps are done than are counted."""
        self._wait()
        tensors, meta = capture(state, position)
        if not state.training:  # the validation begins anew, with the random numbers that it had
            tensors |= self._before_valid
        meta["step"] = step = state.step + more
        self._last = step, time.monotonic()
        if self._writer is None or state.ending:
            self._note(self._write_of(tensors, meta, step, finished, score))
        else:
            self._writing = self._writer.submit(self._write_of(copied(tensors), meta, step, finished, score))

    def _write_of(self, tensors: Any, meta: Any, step: int, finished: bool, score: float | None) -> Callable[[], None]:
        from fastlearn.training import runs

        folder, run, keep, call = self.path, self._run_id, self.keep, self._call
        assert folder is not None

        def write() -> None:
            path = folder / runs.next_name(folder, step)
            runs.write_run(path, tensors, meta, run=run, finished=finished, score=score, call=call, began=meta["began"])
            runs.prune(folder, keep)

        return write

    def _wait(self) -> None:
        """Until the last one is on the disk."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._note(writing.result)

    def _note(self, work: Callable[[], Any]) -> None:
        """Do the work; what goes wrong on the disk is told, and no reason to lose the training."""
        try:
            work()
            self._failed = None
        except CheckpointError as error:
            if self._failed is None:
                say(f"{error} A training goes on meanwhile, and the next checkpoint will be tried.")
            self._failed = error

    @staticmethod
    def _check_form(state: TrainState) -> None:
        """Tell now, and not after an epoch, what has no form in a checkpoint."""
        tensors, meta = capture(state, Position())
        write_json(meta)
        check_savable(tensors)

    def _check_best(self, state: TrainState) -> None:
        names = ["train_loss"]
        if state.plan.valid is not None:
            names += ["valid_loss", *(metric.name for metric in state.plan.metrics)]
        if self.best is not None and self.best not in names and self.best != "valid_loss":
            raise ConfigError(
                f"Checkpoint(best={self.best!r}): this fit has {', '.join(map(repr, names))}.{near(self.best, names)}"
            )

    def _scored(self, state: TrainState) -> float | None:
        """The epoch's value of `best`, turned so that less is better; None where there is none."""
        if self.best is None:
            return None
        value = float(state.values.get(self.best, math.nan))
        if not math.isfinite(value):
            return None
        return value if less_is_better(self.best) else -value

    def _tell_unfinished(self, folder: Path) -> None:
        from fastlearn.training import runs

        newest = next(iter(runs.names_in(folder)), None)
        with contextlib.suppress(CheckpointError):
            if newest is not None and not runs.read_manifest(newest).finished:
                say(
                    f"{folder} holds an unfinished training ({newest.name}). This one starts anew and takes its place; "
                    "to go on with the other, interrupt, and give resume=True to the same call."
                )
