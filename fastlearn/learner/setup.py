"""What a learner is made of: data, model, loss, optimizer, callbacks, precision, and which layers learn."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.download import is_shipped
from fastlearn.data.loaders import DataLoader
from fastlearn.errors import ConfigError, no_attribute
from fastlearn.learner.arithmetic import Arithmetic
from fastlearn.metrics import Metric, as_metrics, check_metric
from fastlearn.options import checked_path, named_options
from fastlearn.runtime.interrupt import DeferredInterrupt
from fastlearn.runtime.seed import check_seed, draw_seed
from fastlearn.training.callback import Callback, Events, FunctionCallback, as_callbacks
from fastlearn.training.groups import (
    Splitter,
    bias_parameters,
    body_batch_norms,
    freeze_groups,
    norm_parameters,
    one_group,
    split_parameters,
)
from fastlearn.training.hypers import check_lr, lr_groups
from fastlearn.training.loop import StepFunction, default_step
from fastlearn.training.optimizer import Adam, check_wd, make_optimizer
from fastlearn.training.recorder import Recorder
from fastlearn.training.state import FitPlan, Run, Story, TrainState
from fastlearn.training.summary import parameter_counts

if TYPE_CHECKING:
    from fastlearn.learner.resuming import Resumption
    from fastlearn.training.runs import RunCheckpoint

LR = float | slice | Sequence[float]
OptFunc = Callable[..., torch.optim.Optimizer]
BatchNormMode = Literal["train", "eval"]
NO_LABELS = "This loader has no labels, so there is no loss. Type dls.test_dl(items, with_labels=True)."


class LearnerSetup(Arithmetic):
    """The parts of a `Learner` and how they are changed; what it does with them is in its other bases."""

    @named_options
    def __init__(
        self,
        dls: DataLoaders,
        model: nn.Module,
        loss_func: Callable[..., torch.Tensor] | None = None,
        opt_func: OptFunc = Adam,
        lr: LR = 1e-3,
        *,
        splitter: Splitter = one_group,
        cbs: Any = None,
        metrics: Any = None,
        path: str | os.PathLike[str] | None = None,
        model_dir: str | os.PathLike[str] = "models",
        wd: float | None = None,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
        default_cbs: bool = True,
        seed: int | None = None,
        bn: BatchNormMode = "train",
    ) -> None:
        if not isinstance(dls, DataLoaders):
            raise ConfigError(
                f"Learner needs DataLoaders first, not {type(dls).__name__}. Wrap loaders of your own: "
                "Learner(DataLoaders(train_loader, valid_loader), model)."
            )
        if not isinstance(model, nn.Module):
            what = "the class itself; call it first" if isinstance(model, type) else f"{model!r}"
            raise ConfigError(f"Learner needs a torch module as model, not {what}.")
        if bn not in ("train", "eval"):
            raise ConfigError(f"bn is 'train' or 'eval', not {bn!r}.")
        if not isinstance(model_dir, (str, os.PathLike)):
            raise ConfigError(f"model_dir is the name of a folder, not {model_dir!r}.")
        check_lr(lr)
        check_wd(wd)
        self.dls, self.model = dls, model
        self.task = dls.task
        self.loss_func = _choose_loss(loss_func, self.task)
        self.opt_func, self.lr, self.splitter = opt_func, lr, splitter
        self.wd, self.wd_bn_bias, self.train_bn, self.moms, self.bn = wd, wd_bn_bias, train_bn, moms, bn
        self.path = _own_folder(path, getattr(dls, "path", None))
        self.model_dir = Path(model_dir)
        self.seed = draw_seed() if seed is None else check_seed(seed)
        self.given_seed = None if seed is None else self.seed
        self._start_arithmetic(torch.device(dls.device))
        self.step = default_step
        self.recorder = Recorder()
        self.opt: torch.optim.Optimizer | None = None
        self.picked_lr: float | None = None  # by hand, after a search
        self.epoch, self.global_step = 0, 0
        self.metrics = metrics
        self.groups = split_parameters(model, splitter)
        if bn == "eval" and len(self.groups) < 2:
            raise ConfigError(
                "bn='eval' keeps the body's statistics, but the splitter makes no body: it has one group only."
            )
        model.to(self.device)
        self.cbs: list[Callback] = [*(self._default_callbacks() if default_cbs else []), *as_callbacks(cbs)]
        self._bar = True
        self._story: Story | None = None
        self._stopped = False  # by hand, and with it what would follow in the same call
        self._checked: object = None
        self._run: Run | None = None  # the call that trains now
        self._resume: Resumption | None = None  # where it goes on, if it does
        self._why_not_kept = ""  # the last reason why a head could not be trained on kept features
        self._given: RunCheckpoint | None = None  # what `resume` and `recover` let it go on from
        self._strict, self._wants_checkpoints, self._lr_scale = True, False, 1.0
        self._recovered: tuple[Path | None, float] = None, 1.0  # from which checkpoint, at what part of its rates

    @property
    def step(self) -> StepFunction:
        """What is done with a batch, in training and in validation: a function of the state that may be replaced.

        It sets `state.loss` (one number), and `state.outputs` where metrics want them. In training it calls
        `state.backward(loss)` and `state.optimizer_step()`, which see to the loss scaler, accumulation and callbacks.

        >>> def step(state):
        ...     state.outputs = state.model(*state.inputs)
        ...     state.loss = F.cross_entropy(state.outputs, *state.targets)
        ...     if state.training:
        ...         state.backward(state.loss)
        ...         state.optimizer_step()
        >>> learn.step = step
        """
        return self._step

    @step.setter
    def step(self, step: StepFunction) -> None:
        if not callable(step):
            raise ConfigError(f"learn.step is a function of the state, not {step!r}. learn.step? shows one.")
        self._step = step

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of each epoch's validation; set them to a function, a metric, or a list of those."""
        if not all(isinstance(metric, Metric) for metric in self._metrics):  # one that was appended
            self.metrics = self._metrics
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Any) -> None:
        self._metrics = as_metrics(metrics)
        if self.task is not None:
            for metric in self._metrics:
                check_metric(metric, self.task)

    def _default_callbacks(self) -> list[Callback]:
        from fastlearn.callbacks.nan_stop import StopOnNonFinite

        return [self._progress(), StopOnNonFinite()]

    def _progress(self) -> Callback:
        """What shows a training; a learner with a livelier view has another."""
        from fastlearn.callbacks.progress import ProgressCallback

        return ProgressCallback()

    @named_options
    def add_cb(self, cb: Any) -> Self:
        """Add a callback for every fit from now on.

        >>> learn.add_cb(SaveModelCallback(monitor="accuracy")).fit(3)
        """
        self.cbs += as_callbacks(cb)
        return self

    @named_options
    def remove_cb(self, cb: Callback | type[Callback]) -> Self:
        """Remove a callback, or every callback of a class.

        >>> learn.remove_cb(SaveModelCallback)
        """
        self.cbs = [one for one in self.cbs if one is not cb and not (isinstance(cb, type) and isinstance(one, cb))]
        return self

    @named_options
    def on(self, event: str, every: int = 1) -> Callable[[Callable[[TrainState], None]], Callable[[TrainState], None]]:
        """A decorator that calls a function of the state at an event, at every `every`-th time.

        >>> @learn.on("after_epoch", every=3)
        ... def report(state):
        ...     print(state.epoch, state.values)
        """
        callback = FunctionCallback(event, lambda state: None, every)

        def register(function: Callable[[TrainState], None]) -> Callable[[TrainState], None]:
            _check_takes_state(function)
            callback.function = function
            self.cbs.append(callback)
            return function

        return register

    @contextlib.contextmanager
    def no_bar(self) -> Iterator[Self]:
        """Inside this context nothing is printed while training.

        >>> with learn.no_bar():
        ...     learn.fit(1)
        """
        before, self._bar = self._bar, False
        try:
            yield self
        finally:
            self._bar = before

    def create_opt(self) -> torch.optim.Optimizer:
        """Make a fresh optimizer over the groups; every fit uses the same one until `reset_opt`.

        The groups are taken anew, so this is what to call after `learn.model` or a layer of it was replaced.

        Raises ConfigError for a splitter that leaves a parameter out or names one twice.

        >>> optimizer = learn.create_opt()
        """
        self.groups = split_parameters(self.model, self.splitter)
        self._keep_format()
        exempt = set() if self.wd_bn_bias else norm_parameters(self.model) | bias_parameters(self.model)
        parameters = [parameter for group in self.groups for parameter in group if id(parameter) in exempt]
        # torch imports much of itself for its first optimizer; an import that is cut short cannot be done again.
        with DeferredInterrupt() as interrupt:
            rates = lr_groups(self.lr, len(self.groups))
            self.opt = make_optimizer(self.opt_func, self.groups, rates, self.wd, parameters)
        interrupt.check()
        return self.opt

    @named_options
    def freeze_to(self, n: int) -> None:
        """Freeze the groups before the `n`-th (negative counts from the end); clears the optimizer's state.

        Batch-norm layers go on learning unless `train_bn=False` or `bn="eval"`. Raises ConfigError for an `n` beyond
        the number of groups.

        >>> learn.freeze_to(-2)  # the last two groups learn
        """
        if not isinstance(n, int) or not -len(self.groups) <= n <= len(self.groups):
            raise ConfigError(f"freeze_to({n!r}): the model has {len(self.groups)} groups of layers.")
        keep = norm_parameters(self.model) if self.train_bn and self.bn == "train" else set()
        freeze_groups(self.groups, n % len(self.groups) if n < 0 else n, keep)
        if self.opt is None:
            self.create_opt()
        assert self.opt is not None
        self.opt.state.clear()

    def freeze(self) -> None:
        """Let only the last group (the head) learn.

        >>> learn.freeze()
        >>> learn.fit_one_cycle(1, 2e-3)
        """
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Let every group learn.

        >>> learn.unfreeze()
        >>> learn.fit_one_cycle(3, slice(1e-5, 1e-3))
        """
        self.freeze_to(0)

    if not TYPE_CHECKING:  # a type checker, and completion, shall know the real names only

        def __getattr__(self, name: str) -> Any:
            """Only for names that a learner does not have: an error that tells the nearest."""
            raise no_attribute(self, name, "Learner")

    def __repr__(self) -> str:
        every, trained = parameter_counts(self.model)
        return f"Learner({type(self.model).__name__}, {every:,} parameters, {trained:,} trained, on {self.device})"

    def _lrs(self, lr: LR | None) -> list[float]:
        lr = self.lr if lr is None else lr
        check_lr(lr)
        return lr_groups(lr, len(self.groups))

    def _loader(self, ds_idx: int, dl: Any) -> Any:
        if dl is None:
            loaders = self.dls.loaders
            if not isinstance(ds_idx, int) or not -len(loaders) <= ds_idx < len(loaders):
                raise ConfigError(f"ds_idx={ds_idx!r}, but there are {len(loaders)} loaders (0 is train, 1 is valid).")
            loader = loaders[ds_idx]
            # The training loader as validation reads it: every sample once, in order, unchanged.
            plain = {"shuffle": False, "drop_last": False, "weights": None, "train": False}
            return loader.new(**plain) if isinstance(loader, DataLoader) and loader.train else loader
        if hasattr(dl, "batches"):
            return dl
        from fastlearn.data.foreign import ForeignLoader

        return ForeignLoader(dl, n_inp=self.dls.n_inp, device=self.device)

    def _valid_loader(self) -> Any:
        """The validation loader, or None when there is none or it is empty."""
        return self.dls.loaders[1] if len(self.dls.loaders) > 1 and len(self.dls.loaders[1]) else None

    def _plan(
        self,
        n_epoch: int,
        schedule: Any,
        valid: Any = None,
        *,
        stream: str = "train",
        start_epoch: int = 0,
        story: Story | None = None,
    ) -> FitPlan:
        return FitPlan(
            n_epochs=n_epoch,
            train=self.dls.train,
            valid=valid,
            loss_func=self.loss_func,
            schedule=schedule,
            metrics=tuple(self.metrics),
            seed=self.seed,
            stream=stream,
            start_epoch=start_epoch,
            eval_modules=body_batch_norms(self.model, self.groups) if self.bn == "eval" else (),
            channels_last=self.channels_last,
            in_pieces=self.in_pieces,
            task=self.task,
            model_path=self.path / self.model_dir,
            path=self.path,
            story=story or Story(stream, (("", n_epoch),)),
            run=self._run,
        )

    def _state(self, plan: FitPlan, callbacks: list[Callback], recorder: Recorder) -> TrainState:
        if self._compiled is not None:
            self._compiled.quiet = not self._bar
        return TrainState(
            model=self.model,
            optimizer=self.opt or self.create_opt(),
            precision=self.precision,
            device=self.device,
            recorder=recorder,
            plan=plan,
            events=Events(callbacks),
            epoch=self.epoch,
            step=self.global_step,
            loss_func=self.loss_func,
            compiled=self._compiled,
        )


def _check_takes_state(function: Callable[..., Any]) -> None:
    name = getattr(function, "__name__", repr(function))
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function of C has none to ask
        return
    try:
        signature.bind(None)
    except TypeError:
        raise ConfigError(f"learn.on calls {name} with the state: write `def {name}(state):`.") from None


def _own_folder(path: str | os.PathLike[str] | None, data: Any) -> Path:
    """Where a learner keeps its files: `path`, or beside the data, or here when those belong to the package."""
    if path is not None:
        return Path(checked_path(path, "path"))
    return Path(data) if data is not None and not is_shipped(data) else Path(".")


def _choose_loss(loss_func: Any, task: Any) -> Callable[..., torch.Tensor]:
    if loss_func is not None:
        if isinstance(loss_func, type):
            raise ConfigError(
                f"loss_func is the class {loss_func.__name__} itself; give an object: {loss_func.__name__}()."
            )
        if not callable(loss_func):
            raise ConfigError(f"loss_func must be a function of (outputs, targets), not {loss_func!r}.")
        return loss_func
    if task is None:
        raise ConfigError(
            "These DataLoaders do not say what is predicted, so give a loss: loss_func=F.cross_entropy, say."
        )
    return task.loss()
