"""The Learner: data, model, loss and optimizer behind the handful of calls that a notebook needs."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import nn

from fastlearn.data.checks import check_dataloaders
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.losses import activation_of, decodes_of, per_sample
from fastlearn.metrics import Metric, as_metric, check_metric
from fastlearn.runtime.precision import Precision, PrecisionName
from fastlearn.runtime.seed import RunKey, draw_seed
from fastlearn.training import schedule as schedules
from fastlearn.training.callback import Callback, Events, FunctionCallback, as_callbacks
from fastlearn.training.checkpoint import (
    checkpoint_path,
    fitting_weights,
    from_json,
    json_safe,
    pack_optimizer,
    read_checkpoint,
    unpack_optimizer,
    write_checkpoint,
)
from fastlearn.training.dry_run import dry_run
from fastlearn.training.groups import (
    Splitter,
    bias_parameters,
    body_batch_norms,
    freeze_groups,
    norm_parameters,
    one_group,
    split_parameters,
)
from fastlearn.training.loop import StepFunction, default_step, run_fit, valid_pass
from fastlearn.training.lr_find import LRFinder, RisingRate, check_range
from fastlearn.training.lr_suggest import SuggestFunc, suggest, valley
from fastlearn.training.optimizer import Adam, check_lr, lr_groups, make_optimizer
from fastlearn.training.predict import FirstBatches, Predictions, predict_loader
from fastlearn.training.preflight import first_samples, preflight
from fastlearn.training.recorder import Recorder
from fastlearn.training.schedule import Schedule
from fastlearn.training.snapshot import preserved
from fastlearn.training.state import FitPlan, TrainState
from fastlearn.training.summary import layer_table, parameter_counts

LR = float | slice | Sequence[float]
OptFunc = Callable[..., torch.optim.Optimizer]
BatchNormMode = Literal["train", "eval"]


class Learner:
    """A model, its data and how it learns, ready to be trained, looked at, saved and asked.

    `splitter(model)` returns the groups of parameters, stem first, for freezing and for a learning rate by slice.
    `loss_func` and the decoding of predictions come from the data's task when left out. `bn="eval"` lets the batch-norm
    layers of every group but the last keep their statistics, which is what transfer learning on small sets wants;
    `bn="train"` trains them, as fast.ai does, in frozen groups too unless `train_bn=False`. With no `seed`, one is
    drawn from torch's generator (so `set_seed` before it decides) and shown by `summary()`.

    >>> learn = Learner(dls, model, loss_func=F.cross_entropy, metrics=accuracy)
    >>> learn.fit_one_cycle(3, 1e-3)
    >>> learn.predict("cat.jpg")
    """

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
        check_lr(lr)
        self.dls, self.model = dls, model
        self.task = dls.task
        self.loss_func = _choose_loss(loss_func, self.task)
        self.opt_func, self.lr, self.splitter = opt_func, lr, splitter
        self.wd, self.wd_bn_bias, self.train_bn, self.moms, self.bn = wd, wd_bn_bias, train_bn, moms, bn
        self.path = Path(path if path is not None else getattr(dls, "path", None) or ".")
        self.model_dir = Path(model_dir)
        self.seed = draw_seed() if seed is None else seed
        self.device = torch.device(dls.device)
        self.precision = Precision("fp32", self.device)
        self.channels_last = False
        self.step: StepFunction = default_step
        self.recorder = Recorder()
        self.opt: torch.optim.Optimizer | None = None
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
        self._checked: object = None

    # ── what it is made of ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of each epoch's validation; set them to a function, a metric, or a list of those."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Any) -> None:
        wanted = [] if metrics is None else list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        self._metrics = [as_metric(metric) for metric in wanted]
        if self.task is not None:
            for metric in self._metrics:
                check_metric(metric, self.task)

    @staticmethod
    def _default_callbacks() -> list[Callback]:
        from fastlearn.callbacks.nan_stop import StopOnNonFinite
        from fastlearn.callbacks.progress import ProgressCallback

        return [ProgressCallback(), StopOnNonFinite()]

    def add_cb(self, cb: Any) -> Self:
        """Add a callback for every fit from now on."""
        self.cbs += as_callbacks(cb)
        return self

    def remove_cb(self, cb: Callback | type[Callback]) -> Self:
        """Remove a callback, or every callback of a class."""
        self.cbs = [one for one in self.cbs if one is not cb and not (isinstance(cb, type) and isinstance(one, cb))]
        return self

    def on(self, event: str, every: int = 1) -> Callable[[Callable[[TrainState], None]], Callable[[TrainState], None]]:
        """A decorator that calls a function of the state at an event, at every `every`-th time.

        >>> @learn.on("after_epoch", every=3)
        ... def report(state):
        ...     print(state.epoch, state.values)
        """
        callback = FunctionCallback(event, lambda state: None, every)

        def register(function: Callable[[TrainState], None]) -> Callable[[TrainState], None]:
            callback.function = function
            self.cbs.append(callback)
            return function

        return register

    @contextlib.contextmanager
    def no_bar(self) -> Iterator[Self]:
        """Inside this context nothing is printed while training."""
        before, self._bar = self._bar, False
        try:
            yield self
        finally:
            self._bar = before

    def create_opt(self) -> torch.optim.Optimizer:
        """Make a fresh optimizer over the groups; every fit uses the same one until `reset_opt`."""
        exempt = set() if self.wd_bn_bias else norm_parameters(self.model) | bias_parameters(self.model)
        parameters = [parameter for group in self.groups for parameter in group if id(parameter) in exempt]
        self.opt = make_optimizer(self.opt_func, self.groups, lr_groups(self.lr, len(self.groups)), self.wd, parameters)
        return self.opt

    # ── precision and format ──────────────────────────────────────────────────────────────────────────────────────

    def _set_precision(self, name: PrecisionName) -> Self:
        self.precision = Precision(name, self.device)
        if self.precision.fell_back:
            print("This device has no fast fp16 arithmetic: using bf16 in its place.")
        return self

    def to_fp16(self) -> Self:
        """Train in mixed fp16 with a loss scaler (on the CPU: bf16, and says so)."""
        return self._set_precision("fp16")

    def to_bf16(self) -> Self:
        """Train in mixed bf16."""
        return self._set_precision("bf16")

    def to_fp32(self) -> Self:
        """Train in plain fp32."""
        return self._set_precision("fp32")

    def to_channelslast(self, on: bool = True) -> Self:
        """Keep pictures and convolutions in channels-last memory format, which most convolutions are faster in."""
        self.channels_last = on
        self.model.to(memory_format=torch.channels_last if on else torch.contiguous_format)
        return self

    # ── freezing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def freeze_to(self, n: int) -> Self:
        """Freeze the groups before the `n`-th (negative counts from the end); clears the optimizer's state."""
        if not -len(self.groups) <= n <= len(self.groups):
            raise ConfigError(f"freeze_to({n}): the model has {len(self.groups)} groups of layers.")
        keep = norm_parameters(self.model) if self.train_bn and self.bn == "train" else set()
        freeze_groups(self.groups, n % len(self.groups) if n < 0 else n, keep)
        if self.opt is None:
            self.create_opt()
        assert self.opt is not None
        self.opt.state.clear()
        return self

    def freeze(self) -> Self:
        """Let only the last group (the head) learn."""
        return self.freeze_to(-1)

    def unfreeze(self) -> Self:
        """Let every group learn."""
        return self.freeze_to(0)

    # ── training ──────────────────────────────────────────────────────────────────────────────────────────────────

    def fit(
        self,
        n_epoch: int,
        lr: LR | None = None,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> Self:
        """Train for `n_epoch` epochs at a constant learning rate; a slice gives each group of layers its own."""
        return self._fit(n_epoch, schedules.constant(self._lrs(lr)), wd, cbs, reset_opt, start_epoch)

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
    ) -> Self:
        """Train with one cycle (Smith, 2018): the rate rises to `lr_max` over `pct_start`, then falls."""
        cycle = schedules.one_cycle(
            self._lrs(lr_max), div=div, div_final=div_final, pct_start=pct_start, moms=moms or self.moms
        )
        return self._fit(n_epoch, cycle, wd, cbs, reset_opt, start_epoch)

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
    ) -> Self:
        """Train at a flat rate until `pct_start`, then along a cosine to `lr / div_final`."""
        flat = schedules.flat_cos(self._lrs(lr), div_final=div_final, pct_start=pct_start)
        return self._fit(n_epoch, flat, wd, cbs, reset_opt, start_epoch)

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
    ) -> Self:
        """Train with warm restarts (Loshchilov and Hutter, 2017): cosines, `cycle_mult` times as long each."""
        restarts = schedules.sgdr(self._lrs(lr_max), n_cycles, cycle_len, cycle_mult)
        n_epoch = sum(schedules.sgdr_epochs(n_cycles, cycle_len, cycle_mult))
        return self._fit(n_epoch, restarts, wd, cbs, reset_opt, start_epoch)

    def fine_tune(
        self,
        epochs: int,
        base_lr: float = 2e-3,
        freeze_epochs: int = 1,
        lr_mult: float = 100,
        pct_start: float = 0.3,
        div: float = 5.0,
        *,
        wd: float | None = None,
        cbs: Any = None,
        keep_best: bool = False,
    ) -> Self:
        """Transfer learning: train the head with the body frozen, then everything, the stem `lr_mult` times slower.

        `keep_best=True` puts back the weights of the frozen phase when the second one ends with a higher validation
        loss; it chooses by the validation set, so judge the result on other data.
        """
        first, second = schedules.fine_tune_phases(epochs, base_lr, freeze_epochs, lr_mult, pct_start, div)
        self.freeze()
        self.fit_one_cycle(first.epochs, first.lr, first.div, pct_start=first.pct_start, wd=wd, cbs=cbs)
        frozen = (
            {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()} if keep_best else None
        )
        frozen_loss = self.recorder.final_value("valid_loss")
        self.unfreeze()
        with self._same_story():
            self.fit_one_cycle(second.epochs, second.lr, second.div, pct_start=second.pct_start, wd=wd, cbs=cbs)
        if frozen is not None and not self.recorder.final_value("valid_loss") <= frozen_loss:
            self.model.load_state_dict(frozen)
            print("Kept the weights of the frozen phase, whose validation loss was lower.")
        return self

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
        """
        check_range(start_lr, end_lr, num_it)
        finder = LRFinder(num_it, stop_div)
        optimizer = self.opt or self.create_opt()
        n_batches = max(1, len(self.dls.train))
        n_epoch = math.ceil(num_it / n_batches)
        rates = lr_groups(self.lr, len(self.groups))
        rising = RisingRate(start_lr, end_lr, n_epoch * n_batches / num_it, tuple(lr / rates[-1] for lr in rates))
        callbacks = [*(callback for callback in self.cbs if callback.in_lr_find), finder]
        plan = self._plan(n_epoch, rising, stream="lr_find", valid=False)
        state = self._state(plan, callbacks, Recorder())
        with preserved(self.model, optimizer, self.precision, self.cbs):
            state.epoch = state.step = 0
            run_fit(state, self.step)
        result = finder.result
        result.suggestions = suggest(result.lrs, result.losses, num_it, suggest_funcs)
        self.recorder.lr_finder = result
        if show_plot and _in_notebook():
            self.recorder.plot_lr_find()
        suggested = NamedTuple("SuggestedLRs", [(name, float) for name in result.suggestions])  # type: ignore[misc]
        return suggested(*(float(lr) for lr, _ in result.suggestions.values()))

    def validate(self, ds_idx: int = 1, dl: Any = None, cbs: Any = None) -> list[float]:
        """Loss and metrics on the validation loader (or another): [loss, metric, …]."""
        plan = self._plan(0, None, valid=self._loader(ds_idx, dl))
        state = self._state(plan, as_callbacks(cbs), Recorder())
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            values = valid_pass(state, self.step)
        finally:
            for module, training in modes:
                module.training = training
        return list(values.values())

    def dry_run(self) -> dict[str, float]:
        """Run one batch of every path (training, validation, prediction, saving) and take all of it back.

        Returns the seconds that each took; an error says what a long training would have met at its end.
        """
        callbacks = [callback for callback in self.cbs if callback.in_lr_find]
        state = self._state(self._plan(1, schedules.constant(self._lrs(None))), callbacks, Recorder())
        return dry_run(state, self.step)

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_preds(
        self,
        ds_idx: int = 1,
        dl: Any = None,
        with_input: bool = False,
        with_decoded: bool = False,
        with_loss: bool = False,
        act: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> tuple[Any, ...]:
        """Predictions and targets of a whole loader, on the CPU and in its order.

        Returns `([inputs,] predictions, targets [, decoded] [, losses])`; the predictions went through the loss
        function's activation (softmax for cross-entropy) unless `act` is another function. `dl` takes a loader or a
        list of batches such as `[(x, y)]`.
        """
        found = self._predict(self._loader(ds_idx, dl), with_input=with_input, with_loss=with_loss)
        activation = act if act is not None else activation_of(self.loss_func)
        predictions = activation(found.outputs)
        parts: list[Any] = [found.inputs] if with_input else []
        parts += [predictions, found.targets]
        if with_decoded:
            parts.append(decodes_of(self.loss_func)(predictions))
        if with_loss:
            parts.append(found.losses)
        return tuple(parts)

    def predict(self, item: Any, with_input: bool = False) -> tuple[Any, ...]:
        """The label, its index and the probabilities for one item (a path, bytes, a PIL image, an array).

        For several labels at once: the labels, a mask and the probabilities; for a regression the value three times.

        >>> label, index, probabilities = learn.predict("cat.jpg")
        """
        loader = self.dls.test_dl([item], num_workers=0)
        found = self._predict(loader, with_input=with_input)
        probabilities = activation_of(self.loss_func)(found.outputs)
        decoded = decodes_of(self.loss_func)(probabilities)[0]
        label = self.task.decode(decoded) if self.task is not None else decoded
        answer = (label, decoded, probabilities[0])
        return (loader.decode_batch((found.inputs,))[0], *answer) if with_input else answer

    def tta(
        self, ds_idx: int = 1, dl: Any = None, n: int = 4, beta: float | None = 0.25, use_max: bool = False
    ) -> tuple[torch.Tensor, Any]:
        """Predictions averaged over `n` augmented passes and a plain one: (1 − beta)·mean(augmented) + beta·plain.

        `beta=None` returns (augmented, plain, targets); `use_max` takes the largest in place of the mean.
        """
        if n < 1:
            raise ConfigError(f"tta needs n ≥ 1 augmented passes, not {n}.")
        loader = self._loader(ds_idx, dl)
        activation = activation_of(self.loss_func)
        augmented_loader = loader.new(shuffle=False, drop_last=False, train=True)
        passes = [activation(self._predict(augmented_loader, stream="tta", epoch=i).outputs) for i in range(n)]
        plain = self._predict(loader)
        predictions = activation(plain.outputs)
        if use_max:
            return torch.stack([predictions, *passes]).max(0)[0], plain.targets
        mean = torch.stack(passes).mean(0)
        if beta is None:
            return mean, predictions, plain.targets  # type: ignore[return-value]
        return (1 - beta) * mean + beta * predictions, plain.targets

    def show_results(
        self, ds_idx: int = 1, dl: Any = None, max_n: int = 9, figsize: tuple[float, float] | None = None
    ) -> Any:
        """Draw samples of a loader with their targets and predictions."""
        display = getattr(self.dls, "display", None)
        if display is None:
            raise ConfigError("These DataLoaders cannot be drawn: they hold no pictures that fastlearn knows.")
        loader = self._loader(ds_idx, dl).new(bs=max_n, shuffle=False, drop_last=False)
        found = self._predict(FirstBatches(loader, 1), with_input=True)
        decoded = decodes_of(self.loss_func)(activation_of(self.loss_func)(found.outputs))
        batch = tuple(part[:max_n] for part in (found.inputs, found.targets))
        return display.show_results(loader, batch, decoded[:max_n], max_n=max_n, figsize=figsize)

    def summary(self) -> str:
        """The layers with their shapes and parameters, and how the learner is set up; also printed."""
        batch = first_samples(self.dls.train, self.device)
        every, trained = parameter_counts(self.model)
        lines = [layer_table(self.model, batch[: self.dls.n_inp])] if batch is not None else []
        loss = getattr(self.loss_func, "__name__", type(self.loss_func).__name__)
        optimizer = getattr(self.opt_func, "__name__", str(self.opt_func))
        lines += [
            "",
            f"Parameters: {every:,}, of which {trained:,} are trained, in {len(self.groups)} group(s)",
            f"Loss: {loss}    Optimizer: {optimizer}    Batch norm of the body: {self.bn}",
            f"Device: {self.device}    Precision: {self.precision.name}    Seed: {self.seed}",
            f"Callbacks: {', '.join(map(repr, self.cbs)) or 'none'}",
        ]
        text = "\n".join(lines)
        print(text)
        return text

    # ── keeping ───────────────────────────────────────────────────────────────────────────────────────────────────

    def save(self, file: str | os.PathLike[str], with_opt: bool = True) -> Path:
        """Save weights, optimizer, history and counters to `path/model_dir/file.safetensors`; returns that path."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        meta: dict[str, Any] = {"kind": "learner", "torch": torch.__version__, "learner": self.state_dict()}
        if with_opt and self.opt is not None:
            optimizer_tensors, meta["optimizer"] = pack_optimizer(self.opt)
            tensors |= optimizer_tensors
        return write_checkpoint(checkpoint_path(self.path / self.model_dir, file), tensors, meta)

    def load(self, file: str | os.PathLike[str], with_opt: bool = True, strict: bool = True) -> Self:
        """Load what `save` wrote. A file that is missing or does not fit raises CheckpointError and changes nothing."""
        path = checkpoint_path(self.path / self.model_dir, file)
        tensors, meta = read_checkpoint(path)
        weights = fitting_weights(self.model, tensors, strict, path)
        if with_opt and meta.get("optimizer"):
            unpack_optimizer(self.opt or self.create_opt(), tensors, meta["optimizer"])
        self.model.load_state_dict(weights, strict=strict)
        self.load_state_dict(meta["learner"])
        return self

    def state_dict(self) -> dict[str, Any]:
        """Counters, seed and history as JSON values (weights and optimizer have state of their own)."""
        return {
            "epoch": self.epoch,
            "step": self.global_step,
            "seed": self.seed,
            "precision": self.precision.state_dict(),
            "recorder": json_safe(self.recorder.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` said."""
        self.epoch, self.global_step, self.seed = int(state["epoch"]), int(state["step"]), int(state["seed"])
        self.precision.load_state_dict(state["precision"])
        self.recorder.load_state_dict(from_json(state["recorder"]))

    def __repr__(self) -> str:
        every, trained = parameter_counts(self.model)
        return f"Learner({type(self.model).__name__}, {every:,} parameters, {trained:,} trained, on {self.device})"

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _lrs(self, lr: LR | None) -> list[float]:
        lr = self.lr if lr is None else lr
        check_lr(lr)
        return lr_groups(lr, len(self.groups))

    @contextlib.contextmanager
    def _same_story(self) -> Iterator[None]:
        self.recorder.continue_story(True)
        try:
            yield
        finally:
            self.recorder.continue_story(False)

    def _loader(self, ds_idx: int, dl: Any) -> Any:
        if dl is None:
            loaders = self.dls.loaders
            if not -len(loaders) <= ds_idx < len(loaders):
                raise ConfigError(f"ds_idx={ds_idx}, but there are {len(loaders)} loaders (0 is train, 1 is valid).")
            return loaders[ds_idx]
        if hasattr(dl, "batches"):
            return dl
        from fastlearn.data.foreign import ForeignLoader

        return ForeignLoader(dl, n_inp=self.dls.n_inp, device=self.device)

    def _plan(
        self, n_epoch: int, schedule: Any, stream: str = "train", valid: Any = True, start_epoch: int = 0
    ) -> FitPlan:
        loaders = self.dls.loaders
        own_valid = loaders[1] if len(loaders) > 1 and len(loaders[1]) else None
        return FitPlan(
            n_epochs=n_epoch,
            train=self.dls.train,
            valid=own_valid if valid is True else (valid or None),
            loss_func=self.loss_func,
            schedule=schedule,
            metrics=tuple(self.metrics),
            seed=self.seed,
            stream=stream,
            start_epoch=start_epoch,
            eval_modules=body_batch_norms(self.model, self.groups) if self.bn == "eval" else (),
            channels_last=self.channels_last,
            task=self.task,
            model_path=self.path / self.model_dir,
            path=self.path,
        )

    def _state(self, plan: FitPlan, callbacks: list[Callback], recorder: Recorder) -> TrainState:
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
        )

    def _fit(
        self, n_epoch: int, schedule: Schedule, wd: float | None, cbs: Any, reset_opt: bool, start_epoch: int
    ) -> Self:
        if not isinstance(n_epoch, int) or isinstance(n_epoch, bool) or n_epoch < 0:
            raise ConfigError(f"The number of epochs is a whole number from 0, not {n_epoch!r}.")
        if not len(self.dls.train):
            raise ConfigError("The training loader has no batch. Use a smaller batch size (bs=…) or more data.")
        if reset_opt or self.opt is None:
            self.create_opt()
        assert self.opt is not None
        if wd is not None:
            for group in self.opt.param_groups:
                group["wd" if "wd" in group else "weight_decay"] = wd
        callbacks = [*self.cbs, *as_callbacks(cbs)]
        if not self._bar:
            callbacks = [callback for callback in callbacks if not getattr(callback, "is_bar", False)]
        self._check_files()
        self._preflight()
        state = self._state(self._plan(n_epoch, schedule, start_epoch=start_epoch), callbacks, self.recorder)
        try:
            run_fit(state, self.step)
        finally:
            self.epoch, self.global_step = state.epoch, state.step
        return self

    def _check_files(self) -> None:
        """Refuse files that no training can use, before the first batch; once for each data set, by header and tail."""
        fresh = [ds for ds in (getattr(dl, "dataset", None) for dl in self.dls.loaders) if hasattr(ds, "files_checked")]
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

    def _predict(
        self, loader: Any, with_input: bool = False, with_loss: bool = False, stream: str = "predict", epoch: int = 0
    ) -> Predictions:
        return predict_loader(
            self.model,
            loader,
            self.precision,
            RunKey(self.seed, stream, epoch),
            n_inp=self.dls.n_inp,
            loss_func=per_sample(self.loss_func) if with_loss else None,
            with_input=with_input,
            channels_last=self.channels_last,
        )


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


def _in_notebook() -> bool:
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"
