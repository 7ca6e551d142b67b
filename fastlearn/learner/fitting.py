"""How a learner trains: the fits, fine-tuning, the learning-rate finder, validation."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fastlearn.callbacks.ema import EMA
from fastlearn.callbacks.progress import in_notebook
from fastlearn.errors import ConfigError, DataError
from fastlearn.learner.heading import Heading, default_passes
from fastlearn.learner.resuming import Resume, resumable
from fastlearn.learner.running import check_epochs
from fastlearn.learner.setup import LR, NO_LABELS
from fastlearn.options import named_options
from fastlearn.runtime.modes import kept_modes
from fastlearn.training import schedule as schedules
from fastlearn.training.callback import Callback, as_callbacks
from fastlearn.training.dry_run import dry_run
from fastlearn.training.groups import depthwise_kernels
from fastlearn.training.hypers import lr_groups
from fastlearn.training.loop import run_fit, valid_pass
from fastlearn.training.lr_find import LRFinder, LRFinderResult, RisingRate, check_range
from fastlearn.training.lr_suggest import SuggestFunc, suggest, valley
from fastlearn.training.optimizer import check_wd
from fastlearn.training.recorder import Recorder
from fastlearn.training.schedule import Phase
from fastlearn.training.snapshot import preserved
from fastlearn.training.state import Story

AVERAGED = 0.99  # of `fine_tune`'s average: the mean of the weights of up to a hundred steps


class Fitting(Heading):
    """The methods of a `Learner` that train or measure its model."""

    @resumable
    @named_options
    def fit(
        self,
        n_epoch: int,
        lr: LR | None = None,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
        resume: Resume = False,
    ) -> None:
        """Train for `n_epoch` epochs at a constant learning rate; a slice gives each group of layers its own.

        `wd` is the weight decay from now on, `cbs` are callbacks of this fit alone, `reset_opt` forgets the optimizer's
        state, and `start_epoch` skips the epochs before it, with their part of the schedule. `resume=True` keeps
        checkpoints (see `Checkpoint`), and goes on from the newest one of the same call if there is one; or `resume` is
        the folder of a checkpoint.

        Raises ConfigError or DataError before the first batch for options, files, model, loss and metrics that do not
        fit together, NonFiniteError for a loss that is NaN or infinite, DeviceMemoryError for too large a batch.

        >>> learn.fit(3, lr=1e-3)
        >>> learn.fit(3, lr=slice(1e-5, 1e-3), wd=0.01)
        """
        self._fit("fit", n_epoch, schedules.constant(self._lrs(lr)), wd, cbs, reset_opt, start_epoch)

    @resumable
    @named_options
    def fit_one_cycle(
        self,
        n_epoch: int,
        lr_max: LR | None = None,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        wd: float | None = None,
        moms: tuple[float, float, float] | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
        resume: Resume = False,
    ) -> None:
        """Train with one cycle (Smith, 2018): the rate rises to `lr_max` over `pct_start`, then falls.

        It starts at `lr_max / div` and ends at `lr_max / div_final`; `moms` is the momentum at the start, at the top
        and at the end. Raises as `fit` does.

        >>> learn.fit_one_cycle(3, 1e-3)
        >>> learn.fit_one_cycle(3, slice(1e-5, 1e-3))
        """
        cycle = schedules.one_cycle(
            self._lrs(lr_max), div=div, div_final=div_final, pct_start=pct_start, moms=moms or self.moms
        )
        self._fit("fit_one_cycle", n_epoch, cycle, wd, cbs, reset_opt, start_epoch)

    @resumable
    @named_options
    def fit_flat_cos(
        self,
        n_epoch: int,
        lr: LR | None = None,
        div_final: float = 1e5,
        pct_start: float = 0.75,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
        resume: Resume = False,
    ) -> None:
        """Train at a flat rate until `pct_start`, then along a cosine to `lr / div_final`.

        Raises as `fit` does.

        >>> learn.fit_flat_cos(5, 1e-3)
        """
        flat = schedules.flat_cos(self._lrs(lr), div_final=div_final, pct_start=pct_start)
        self._fit("fit_flat_cos", n_epoch, flat, wd, cbs, reset_opt, start_epoch)

    @resumable
    @named_options
    def fit_sgdr(
        self,
        n_cycles: int,
        cycle_len: int,
        lr_max: LR | None = None,
        cycle_mult: int = 2,
        cbs: Any = None,
        reset_opt: bool = False,
        wd: float | None = None,
        start_epoch: int = 0,
        resume: Resume = False,
    ) -> None:
        """Train with warm restarts (Loshchilov and Hutter, 2017): cosines, `cycle_mult` times as long each.

        The first cycle has `cycle_len` epochs: three cycles of 1, 2 and 4 are 7 epochs. Raises as `fit` does.

        >>> learn.fit_sgdr(n_cycles=3, cycle_len=1, lr_max=1e-3)
        """
        restarts = schedules.sgdr(self._lrs(lr_max), n_cycles, cycle_len, cycle_mult)
        n_epoch = sum(schedules.sgdr_epochs(n_cycles, cycle_len, cycle_mult))
        self._fit("fit_sgdr", n_epoch, restarts, wd, cbs, reset_opt, start_epoch)

    @resumable
    @named_options
    def fine_tune(
        self,
        epochs: int,
        base_lr: float | None = None,
        freeze_epochs: int = 1,
        lr_mult: float = 100,
        pct_start: float = 0.3,
        div: float = 5.0,
        *,
        wd: float | None = None,
        moms: tuple[float, float, float] | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        keep_best: bool = False,
        cached_head: bool = True,
        average: bool | None = None,
        resume: Resume = False,
    ) -> None:
        """Transfer learning: train the head with the body frozen, then everything, the stem `lr_mult` times slower.

        `base_lr` is 2e-3 when left out, or the rate that was picked by hand on the curve of `lr_find`.
        Where the frozen body gives the same features in every epoch (`bn="eval"`), they are computed once and the head
        is trained on them as `fit_head` does: each of the `freeze_epochs` is then many passes over the features.
        `cached_head=False` runs the pictures through the body in each epoch, changed at random.
        With `average`, the second part ends with the mean of its weights along the way, the start among them (over
        the last 100 steps, if there are more); left out, it does so after a head on kept features, which is a good
        start. On a CPU, depthwise kernels stay as they are then: their gradient is a large part of a step's cost.
        `keep_best=True` puts back the weights of the frozen phase when the second one ends with a higher validation
        loss; it chooses by the validation set, so judge the result on other data.

        Raises as `fit` does, with nothing frozen yet for wrong options; ConfigError for `keep_best` without a
        validation set.

        >>> learn.fine_tune(3)
        >>> learn.fine_tune(5, base_lr=1e-3, freeze_epochs=2)
        """
        base_lr = (self.picked_lr or 2e-3) if base_lr is None else base_lr
        first, second = schedules.fine_tune_phases(epochs, base_lr, freeze_epochs, lr_mult, pct_start, div)
        for phase in (first, second):  # whatever is wrong is said before anything is frozen
            check_epochs(phase.epochs)
            schedules.one_cycle(self._lrs(phase.lr), div=phase.div, pct_start=phase.pct_start, moms=moms or self.moms)
        check_wd(wd)
        if keep_best and self._valid_loader() is None:
            raise ConfigError("keep_best compares validation losses, and there is no validation set.")
        rest: dict[str, Any] = {"wd": wd, "moms": moms, "cbs": as_callbacks(cbs), "reset_opt": reset_opt}
        story = Story("fine_tune", (("frozen", first.epochs), ("unfrozen", second.epochs)))
        self.freeze()
        assert self._run is not None
        notes, kept = self._run.notes, self._run.kept
        if self._resume is None or not self._resume.has_done(0):
            with self._telling(story):
                self._fit_frozen(story, first, base_lr, cached_head, rest)
        if "valid_loss" not in notes:
            notes["valid_loss"] = self.recorder.final_value("valid_loss")
            weights = self.model.state_dict() if keep_best else {}
            kept |= {name: tensor.detach().clone() for name, tensor in weights.items()}
        story = dataclasses.replace(story, index=1, steps=tuple(notes["steps"]))
        self.unfreeze()
        if self._stopped:
            return
        if (notes["head"] if average is None else average) and not _averages([*self.cbs, *rest["cbs"]]):
            rest["cbs"] = [*rest["cbs"], EMA(AVERAGED, from_start=True)]
        with self._telling(story), self._fixed_kernels(notes["head"]):
            self.fit_one_cycle(second.epochs, second.lr, second.div, pct_start=second.pct_start, **rest)
        if kept and not self.recorder.final_value("valid_loss") <= notes["valid_loss"]:
            self.model.load_state_dict(kept)
            print("Kept the weights of the frozen phase, whose validation loss was lower.")

    def _fit_frozen(self, story: Story, phase: Phase, lr: float, cached_head: bool, rest: dict[str, Any]) -> None:
        """The frozen part of `fine_tune`, on kept features where that can be.

        Notes of the run say whether it can (`head`), and then the steps of an epoch of both parts.
        """
        assert self._run is not None
        wanted = bool(cached_head and phase.epochs and self._has_body())
        head = self._head_as_before(rest["cbs"], wanted=wanted)
        self._run.notes["steps"] = []
        if head is None:
            self.fit_one_cycle(phase.epochs, phase.lr, phase.div, pct_start=phase.pct_start, **rest)
            return
        head = head.with_passes(math.ceil(default_passes(head.train) / phase.epochs))
        self._run.notes["steps"] = [len(head.train), len(self.dls.train)]
        self._story = dataclasses.replace(story, steps=(len(head.train), len(self.dls.train)))
        self._fit_kept(head, phase.epochs, lr, **rest)

    @contextlib.contextmanager
    def _fixed_kernels(self, fixed: bool) -> Iterator[None]:
        """On a CPU, if so wished, the body's depthwise kernels do not learn meanwhile."""
        body = {id(parameter) for group in self.groups[:-1] for parameter in group}
        kernels = depthwise_kernels(self.model) if fixed and self.device.type == "cpu" else []
        kernels = [kernel for kernel in kernels if id(kernel) in body]
        for kernel in kernels:
            kernel.requires_grad_(False)
        try:
            yield
        finally:
            for kernel in kernels:
                kernel.requires_grad_(True)

    @named_options
    def lr_find(
        self,
        start_lr: float = 1e-7,
        end_lr: float = 10,
        num_it: int = 100,
        stop_div: bool = True,
        show_plot: bool = True,
        suggest_funcs: SuggestFunc | str | Sequence[SuggestFunc | str] = valley,
    ) -> Any:
        """Try `num_it` steps with a rising rate and suggest one; afterwards nothing has changed, generators included.

        Returns a named tuple with one learning rate for each of `suggest_funcs` (valley, slide, minimum, steep). The
        curve is in `learn.recorder.plot_lr_find()`; a notebook shows it at once.

        Raises ConfigError unless 0 < start_lr < end_lr and for too few steps, and before the first step as `fit` does.

        >>> found = learn.lr_find(suggest_funcs=("valley", "slide"))
        >>> learn.fit_one_cycle(3, found.valley)
        """
        check_range(start_lr, end_lr, num_it)
        self._check_before_training()
        finder = LRFinder(num_it, stop_div)
        optimizer = self.opt or self.create_opt()
        n_batches = len(self.dls.train)
        n_epoch = math.ceil(num_it / n_batches)
        rates = lr_groups(self.lr, len(self.groups))
        rising = RisingRate(start_lr, end_lr, n_epoch * n_batches / num_it, tuple(lr / rates[-1] for lr in rates))
        bars = [callback for callback in self.cbs if self._bar and getattr(callback, "is_bar", False)]
        callbacks = [*(callback for callback in self.cbs if callback.in_lr_find), *bars, finder]
        plan = self._plan(n_epoch, rising, stream="lr_find")
        state = self._state(plan, callbacks, Recorder())
        with preserved(self.model, optimizer, self.precision, self.cbs):
            state.epoch = state.step = 0
            run_fit(state, self.step)
        result = finder.result
        self.recorder.lr_finder = result  # before the suggestions, so that a curve without one can be looked at
        result.suggestions = suggest(result.lrs, result.losses, num_it, suggest_funcs)
        return self._show_search(result, show_plot)

    def _show_search(self, result: LRFinderResult, show_plot: bool) -> Any:
        """The suggestions as a named tuple; draws the curve in a notebook."""
        if show_plot and in_notebook():
            self.recorder.plot_lr_find()
        suggested = NamedTuple("SuggestedLRs", [(name, float) for name in result.suggestions])  # type: ignore[misc]
        return suggested(*(float(lr) for lr, _ in result.suggestions.values()))

    @named_options
    def validate(self, ds_idx: int = 1, dl: Any = None, cbs: Any = None) -> list[float]:
        """Loss and metrics on the validation loader (or another): [loss, metric, …].

        The loss is the mean over samples. `ds_idx` is 0 for the training set, read in order, whole and unchanged; `dl`
        takes a loader or a list of batches such as `[(x, y)]`.

        Raises ConfigError for a `ds_idx` that there is no loader for and for an empty loader, DataError for a loader
        without labels.

        >>> valid_loss, valid_accuracy = learn.validate()
        >>> learn.validate(dl=dls.test_dl(files, with_labels=True))
        """
        loader = self._loader(ds_idx, dl)
        if not len(loader):
            raise ConfigError("There is no batch to validate on: the loader is empty.")
        state = self._state(self._plan(0, None, loader), as_callbacks(cbs), Recorder())
        with kept_modes(self.model):
            try:
                values = valid_pass(state, self.step)
            except TypeError as error:
                if state.targets:
                    raise
                raise DataError(NO_LABELS) from error  # the loss, or a metric, was called without them
        return list(values.values())

    def dry_run(self) -> dict[str, float]:
        """Run one batch of every path (training, validation, prediction, saving) and take all of it back.

        Returns the seconds that each took; an error says what a long training would have met at its end.

        >>> learn.dry_run()["prediction"]  # seconds
        """
        callbacks = [callback for callback in self.cbs if callback.in_lr_find]
        state = self._state(
            self._plan(1, schedules.constant(self._lrs(None)), self._valid_loader()), callbacks, Recorder()
        )
        return dry_run(state, self.step)


def _averages(callbacks: Sequence[Callback]) -> bool:
    """Whether one of them averages the weights."""
    return any(isinstance(callback, EMA) for callback in callbacks)
