"""What changes while a model trains (`TrainState`), and what stays as it is during one fit (`FitPlan`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from fastlearn.runtime.interrupt import DeferredInterrupt
from fastlearn.runtime.pieces import in_pieces
from fastlearn.runtime.precision import Precision

if TYPE_CHECKING:
    from fastlearn.data.loaders import Loader
    from fastlearn.metrics import Metric
    from fastlearn.runtime.compiled import CompiledForward
    from fastlearn.task import Task
    from fastlearn.training.callback import Events
    from fastlearn.training.recorder import Recorder
    from fastlearn.training.schedule import Schedule

Phase = Literal["train", "valid"]


@dataclass(frozen=True)
class Story:
    """What a user typed, of which a fit may be one part: `fine_tune` is a frozen and an unfrozen fit.

    `parts` holds a name and the number of epochs of each, `index` says which of them this fit is. `steps` are the
    training batches of an epoch of each part, where these differ, as a head on kept features and the whole network do.
    """

    title: str = "fit"
    parts: tuple[tuple[str, int], ...] = ()
    index: int = 0
    steps: tuple[int, ...] = ()

    def steps_of_parts(self, usual: int) -> list[int]:
        """The training batches of each whole part; an epoch has `usual` of them where the parts do not differ."""
        each = self.steps or (usual,) * len(self.parts)
        return [epochs * steps for (_, epochs), steps in zip(self.parts, each, strict=True)]

    @property
    def is_last(self) -> bool:
        """True when no other part follows."""
        return self.index >= len(self.parts) - 1


@dataclass(frozen=True)
class Call:
    """What a user typed to train: a method of the learner and its arguments, as JSON values."""

    method: str
    arguments: dict[str, Any]


@dataclass
class Run:
    """One call that trains, as its checkpoints tell it: what was typed, and what its parts leave for one another.

    `identity` gives data, model, hyperparameters and environment by name; it is asked for when a checkpoint is made.
    `notes` are JSON values, `kept` tensors, that the later parts of the call need (see `fine_tune`). `ends` wait for
    what a call does after the fit of its last part.
    """

    call: Call
    identity: Callable[[], dict[str, Any]] = dict
    notes: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    loaders: tuple[Any, ...] = ()
    lr_scale: float = 1.0
    began: int = 0  # steps that the learner had done before
    ends: list[Callable[[bool], None]] = field(default_factory=list)

    def end_part(self, finished: bool = False) -> None:
        """Let the checkpoints of the part that has ended be written; `finished` where that is the end of the call."""
        waiting, self.ends = self.ends, []
        for write in waiting:
            write(finished)


@dataclass(frozen=True)
class Position:
    """Where a training is: the part of its call, the epoch of that part's fit, and the next batch of that epoch.

    `batch` is the number of batches when only the epoch's validation is to come. `done`: the part has ended, and what
    its callbacks did at the end is in the weights. `seconds` have passed of the epoch.
    """

    part: int = 0
    fit_epoch: int = 0
    batch: int = 0
    done: bool = False
    stop: bool = False
    stop_story: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Start:
    """Where a fit goes on, and what puts optimizer, recorder and callbacks back to how they were there."""

    position: Position
    restore: Callable[[TrainState], None]


@dataclass(frozen=True)
class FitPlan:
    """What one fit was asked to do."""

    n_epochs: int
    train: Loader
    valid: Loader | None
    loss_func: Callable[..., torch.Tensor]
    schedule: Schedule | None
    metrics: tuple[Metric, ...]
    seed: int
    stream: str = "train"
    start_epoch: int = 0
    eval_modules: tuple[nn.Module, ...] = ()
    channels_last: bool = False
    in_pieces: bool = False
    network: nn.Module | None = None  # what the batches go through in place of the model: its head, for kept features
    task: Task | None = None
    model_path: Path = Path("models")
    path: Path = Path(".")
    story: Story = Story()
    run: Run | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Training batches in an epoch."""
        return len(self.train)

    @property
    def n_steps(self) -> int:
        """Training batches in the whole fit."""
        return self.n_epochs * self.steps_per_epoch


@dataclass
class TrainState:
    """Everything that a step reads or changes; every callback and a replaced `learn.step` are given it.

    `epoch` and `step` count over the learner's life; `fit_epoch`, `fit_step` and `batch_index` count from the start
    of this fit and of this epoch. `inputs` and `targets` are the two parts of `batch`, on the device.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision
    device: torch.device
    recorder: Recorder
    plan: FitPlan
    events: Events
    epoch: int = 0
    step: int = 0
    fit_epoch: int = 0
    fit_step: int = 0
    batch_index: int = 0
    n_batches: int = 0
    phase: Phase = "train"
    batch: Any = None
    inputs: tuple[Any, ...] = ()
    targets: tuple[Any, ...] = ()
    outputs: Any = None
    loss: torch.Tensor | None = None
    loss_func: Callable[..., torch.Tensor] | None = None
    compiled: CompiledForward | None = None
    grad_weight: float = 1.0
    will_step: bool = True
    stepped: bool = False
    stop: bool = False
    stop_story: bool = False
    skip_validation: bool = False
    ending: bool = False  # an interrupt came: the fit ends once the callbacks of this event have been called
    interrupt: DeferredInterrupt = field(default_factory=DeferredInterrupt)
    values: dict[str, float] = field(default_factory=dict)
    error: BaseException | None = None
    start: Start | None = None
    epoch_began: float = 0.0  # by `time.perf_counter()`
    generators: list[torch.Tensor] = field(default_factory=list)  # torch's, as they were before the fit

    @property
    def training(self) -> bool:
        """True in the training phase, False in validation."""
        return self.phase == "train"

    @property
    def goes_on(self) -> bool:
        """True where this fit continues an earlier one, so that callbacks keep what they know from it."""
        return self.plan.start_epoch > 0 or self.start is not None

    @property
    def last_batch(self) -> bool:
        """True for the last batch of the phase's pass over its loader."""
        return self.batch_index == self.n_batches - 1

    @property
    def batch_size(self) -> int:
        """Samples in the current batch."""
        return count_samples(self.inputs or self.targets)

    def forward(self, *inputs: Any) -> Any:
        """The model's outputs, by way of torch's compiler after `learn.compile()`.

        A replaced `learn.step` may call this in place of `state.model`, which itself is never compiled.
        """
        if self.plan.network is not None:
            return self.plan.network(*inputs)
        if self.compiled is not None:
            return self.compiled(self.model, *inputs)
        return in_pieces(self.model, inputs) if self.plan.in_pieces else self.model(*inputs)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of `loss`, then tell the callbacks.

        A replaced `learn.step` calls this in place of `loss.backward()`; it sees to the scaler and to accumulation.
        """
        self.precision.backward(loss if self.grad_weight == 1.0 else loss * self.grad_weight)
        for event in self.events.after_backward:
            event(self)

    def optimizer_step(self) -> None:
        """Step the optimizer and clear the gradients, unless this batch only accumulates."""
        if not self.will_step:
            return
        self.precision.step(self.optimizer)
        clear_grads(self.optimizer)
        self.stepped = True
        for event in self.events.after_step:
            event(self)

    def request_stop(self, story: bool = False) -> None:
        """Ask the loop to end the fit after the current batch; the epoch's validation still runs.

        With `story`, the fits that would follow in the same call (the second part of `fine_tune`) are left out too.
        """
        self.stop = True
        self.stop_story = self.stop_story or story

    def request_skip_validation(self) -> None:
        """Ask the loop to leave out what remains of this epoch's validation; its values are then NaN."""
        self.skip_validation = True


def clear_grads(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.zero_grad()`, without the profiler's record around it, which costs 11 µs where this costs 0.4."""
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
        optimizer.zero_grad(set_to_none=True)
        return
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = None


def count_samples(parts: Sequence[Any]) -> int:
    """The length of the first tensor found in a nesting of tuples, lists and dicts; 1 when there is none."""
    for part in parts:
        if isinstance(part, torch.Tensor):
            return part.shape[0] if part.ndim else 1
        if isinstance(part, (tuple, list)) and part:
            return count_samples(part)
        if isinstance(part, dict) and part:
            return count_samples(list(part.values()))
    return 1
