"""How one fit is set up and run: what is looked at before it, and the story that it is a part of."""

from __future__ import annotations

import contextlib
import dataclasses
import numbers
from collections.abc import Iterator
from typing import Any

from fastlearn.callbacks.checkpoint import Checkpoint
from fastlearn.data.checks import check_dataloaders
from fastlearn.errors import ConfigError
from fastlearn.learner.setup import LearnerSetup
from fastlearn.training.callback import as_callbacks
from fastlearn.training.features import HeadTraining
from fastlearn.training.loop import default_step, run_fit
from fastlearn.training.optimizer import check_wd
from fastlearn.training.preflight import first_samples, preflight
from fastlearn.training.schedule import Schedule, scaled
from fastlearn.training.state import Story


class Running(LearnerSetup):
    """What all the fits of a `Learner` have in common."""

    @contextlib.contextmanager
    def _telling(self, story: Story) -> Iterator[None]:
        """Fits inside are a part of this story; those after its first part are appended to it."""
        self._story = story
        self.recorder.continue_story(story.index > 0)
        try:
            yield
        finally:
            self._story = None
            self.recorder.continue_story(False)

    def _fit(
        self,
        title: str,
        n_epoch: int,
        schedule: Schedule,
        wd: float | None,
        cbs: Any,
        reset_opt: bool,
        start_epoch: int = 0,
        head: HeadTraining | None = None,
    ) -> None:
        """One fit; with `head`, on kept features and through the head alone."""
        n_epoch, start_epoch = check_epochs(n_epoch), check_epochs(start_epoch, "start_epoch")
        check_wd(wd)
        story = self._story or Story(title, (("", n_epoch),))
        if self._resume is not None and self._resume.has_done(story.index):
            return
        if self._run is not None:
            self._run.end_part()  # the one before this
        added = as_callbacks(cbs)
        self._check_before_training()
        if reset_opt or self.opt is None:
            self.create_opt()
        assert self.opt is not None
        if wd is not None:
            for group in self.opt.param_groups:
                group["wd" if "wd" in group else "weight_decay"] = wd
        callbacks = [*self.cbs, *added]
        if self._wants_checkpoints and not any(isinstance(callback, Checkpoint) for callback in callbacks):
            callbacks.append(Checkpoint())
        if not self._bar:
            callbacks = [callback for callback in callbacks if not getattr(callback, "is_bar", False)]
        if self._run is not None and self._run.lr_scale != 1:
            schedule = scaled(schedule, self._run.lr_scale)
        plan = self._plan(n_epoch, schedule, self._valid_loader(), start_epoch=start_epoch, story=story)
        if head is not None:
            plan = dataclasses.replace(plan, train=head.train, valid=head.valid, network=head.network)
        state = self._state(plan, callbacks, self.recorder)
        state.start = None if self._resume is None else self._resume.start_of(story.index)
        try:
            run_fit(state, self.step)
        finally:
            self.epoch, self.global_step, self._stopped = state.epoch, state.step, state.stop_story

    def _check_before_training(self) -> None:
        if not len(self.dls.train):
            raise ConfigError("The training loader has no batch. Use a smaller batch size (bs=…) or more data.")
        self._check_files()
        self._preflight()

    def _check_files(self) -> None:
        """Refuse files that no training can use, before the first batch; once for each data set, by header and tail."""
        fresh: list[Any] = [
            ds for ds in (getattr(dl, "dataset", None) for dl in self.dls.loaders) if hasattr(ds, "files_checked")
        ]
        if all(dataset.files_checked for dataset in fresh):
            return
        report = check_dataloaders(self.dls, progress=self._bar, thorough=False)
        report.raise_for_unreadable()
        for dataset in fresh:
            dataset.files_checked = True
        others = [*report.errors, *report.warnings]
        if others and self._bar:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            print(f"About the data: {others[0].message}{more} Type dls.check() to see it all.")

    def _preflight(self) -> None:
        """Look for faults on two samples, once for each change of model, loss or metrics."""
        setup = (self.model, self.loss_func, self.step, tuple(self.metrics), self.dls)
        if self._checked == setup or self.step is not default_step:
            return
        batch = first_samples(self.dls.train, self.device)
        if batch is not None:
            preflight(self.model, batch, self.dls.n_inp, self.loss_func, self.metrics, self.task, self.precision)
        self._checked = setup


def check_epochs(n: Any, name: str = "number of epochs") -> int:
    """`n` as an int; ConfigError unless it is a whole number from 0 (NumPy's too)."""
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 0:
        raise ConfigError(f"The {name} is a whole number from 0, not {n!r}.")
    return int(n)
