"""The training loop: one explicit loop that reads from top to bottom.

Nothing here waits for the device: losses and metric sums stay tensors where they are, and observers read them at their
own rate. Precision is an object with neutral methods, the schedule a function of the position; callbacks are bound
once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import closing

import torch
from torch import nn

from fastlearn.errors import TrainingError
from fastlearn.runtime.memory_format import as_channels_last, match_layout
from fastlearn.runtime.seed import RunKey, numbered
from fastlearn.training.callback import EventMethods
from fastlearn.training.explain import explain, not_scalar
from fastlearn.training.hypers import ScheduledHypers
from fastlearn.training.state import Position, TrainState, clear_grads

StepFunction = Callable[[TrainState], None]


def default_step(state: TrainState) -> None:
    """Forward, loss and, in training, backward and optimizer step: what `learn.step` does until it is replaced.

    A step of your own is called for every batch of both phases. It must set `state.loss` (a scalar) and, for metrics,
    `state.outputs`; in training it calls `state.backward(loss)`, then `state.optimizer_step()`, which see to the loss
    scaler, gradient accumulation and the callbacks. With several optimizers it may step the others itself;
    `cbs=KeepState(other=optimizer)` keeps them in checkpoints.
    """
    assert state.loss_func is not None
    with state.precision.autocast():
        state.outputs = state.forward(*state.inputs)
        state.loss = state.loss_func(state.outputs, *state.targets)
    if state.training:
        state.backward(state.loss)
        state.optimizer_step()


def run_fit(state: TrainState, step: StepFunction) -> None:
    """Run the epochs of `state.plan`; on any error the callbacks are told, everything is closed and it is raised again.

    The first Ctrl-C ends the fit after the step in progress, a second one at once.
    """
    plan, events = state.plan, state.events
    state.stop, state.stop_story, state.ending, state.error = False, False, False, None
    state.fit_step, state.loss_func = 0, plan.loss_func
    clear_grads(state.optimizer)
    match_layout(state.optimizer)
    state.recorder.start_fit([metric.name for metric in plan.metrics], plan.valid is not None)
    state.generators = save_generators(state.device)
    position = state.start.position if state.start else Position(fit_epoch=plan.start_epoch)
    with state.interrupt as interrupt:
        try:
            call(events.before_fit, state)
            if not position.batch:
                _restore(state)
            for fit_epoch in range(position.fit_epoch, 0 if state.stop else plan.n_epochs):
                state.fit_epoch = fit_epoch
                run_epoch(state, step, position.batch if fit_epoch == position.fit_epoch else 0)
                if state.stop:
                    break
        except BaseException as error:
            state.error = explain(error, state)
            _abandon_step(state)
            _call_every(events.on_exception, state)
            if state.error is error:
                raise
            raise state.error from error
        finally:
            _restore_generators(state.device, state.generators)
            _call_every(events.after_fit, state)
        interrupt.check()


def run_epoch(state: TrainState, step: StepFunction, first: int = 0) -> None:
    """One epoch: train on every batch from number `first` on, validate, record."""
    state.epoch_began = time.perf_counter()
    state.recorder.start_epoch(state)
    train_pass(state, step, first)
    state.values = {"train_loss": state.recorder.smooth_loss()}
    if state.plan.valid is not None:
        state.values |= valid_pass(state, step)
        call(state.events.after_validate, state)
    state.recorder.end_epoch(state, time.perf_counter() - state.epoch_began)
    # The counter moves before the callbacks: what they save at the end of an epoch goes on with the next one.
    state.epoch += 1
    state.ending = state.interrupt.requested
    call(state.events.after_epoch, state)
    if state.ending:
        state.interrupt.check()


def train_pass(state: TrainState, step: StepFunction, first: int = 0) -> None:
    """Train on every batch of the epoch from number `first` on, or until a stop is asked for."""
    plan, events, optimizer = state.plan, state.events, state.optimizer
    recorder, interrupt = state.recorder, state.interrupt
    hypers = ScheduledHypers(plan.schedule.hypers, max(1, plan.n_steps), optimizer) if plan.schedule else None
    key = RunKey(plan.seed, plan.stream, state.epoch)
    step_seed, reseed = numbered(key.derive("step")), _reseeder(state.device)
    n_inp = plan.train.n_inp
    state.fit_step = state.fit_epoch * plan.steps_per_epoch + first
    _enter_phase(state, "train", len(plan.train))
    call(events.before_epoch, state)
    if first:
        _restore(state)
    batches = plan.train.batches(key, len(plan.train) if state.stop else first)
    with closing(batches):  # type: ignore[type-var]
        for index, batch in enumerate(batches, first):
            state.batch_index, state.stepped = index, False
            _set_batch(state, batch, n_inp)
            reseed(step_seed(index))
            if hypers is not None:
                hypers.set(state.fit_step)
            for event in events.before_batch:
                event(state)
            step(state)
            if state.loss is None and index == first:
                raise TrainingError("learn.step must set state.loss, the loss of the batch as one number.")
            recorder.batch(state)
            state.ending = interrupt.requested
            for event in events.after_batch:
                event(state)
            state.step += 1
            state.fit_step += 1
            if state.ending:
                interrupt.check()
            if state.stop:
                break


def _restore(state: TrainState) -> None:
    """Go on as the training that is continued here stood, once what begins a fit or an epoch has begun."""
    if state.start is None:
        return
    state.start.restore(state)
    position = state.start.position
    state.stop, state.stop_story = position.stop, position.stop_story
    state.epoch_began = time.perf_counter() - position.seconds


@torch.no_grad()
def valid_pass(state: TrainState, step: StepFunction) -> dict[str, float]:
    """The validation loss (mean over samples) and the metrics of `state.plan`, by name; NaN if it was skipped.

    `no_grad` and not `inference_mode`, because a module may keep a tensor made here and train with it later.
    """
    plan, events = state.plan, state.events
    assert plan.valid is not None
    n_inp, half = plan.valid.n_inp, state.precision.name != "fp32"
    loss_sum, n_samples = torch.zeros((), device=state.device), 0
    for metric in plan.metrics:
        metric.reset()
    training_batch, state.skip_validation = state.batch_index, False
    _enter_phase(state, "valid", len(plan.valid))
    batches = plan.valid.batches(RunKey(plan.seed, "valid", 0))
    with closing(batches):  # type: ignore[type-var]
        for index, batch in enumerate(batches):
            state.batch_index = index
            _set_batch(state, batch, n_inp)
            for event in events.before_batch:
                event(state)
            step(state)
            if half and isinstance(state.outputs, torch.Tensor):
                state.outputs = state.outputs.float()
            if state.loss is not None:
                size = state.batch_size
                loss_sum += state.loss.detach().to(loss_sum.dtype) * size
                n_samples += size
            if plan.metrics and state.outputs is None:
                raise TrainingError("The metrics have nothing to measure: learn.step must set state.outputs.")
            for metric in plan.metrics:
                metric.update(state.outputs, *state.targets)
            state.ending = state.interrupt.requested
            for event in events.after_batch:
                event(state)
            if state.ending:
                state.interrupt.check()
            if state.skip_validation:
                break
    state.phase, state.batch_index = "train", training_batch
    if state.skip_validation:
        return dict.fromkeys(["valid_loss", *(metric.name for metric in plan.metrics)], math.nan)
    valid_loss = float(loss_sum) / n_samples if n_samples else float("nan")
    return {"valid_loss": valid_loss} | {metric.name: metric.value for metric in plan.metrics}


def call(methods: EventMethods, state: TrainState) -> None:
    """Call the bound methods of one event in order."""
    for method in methods:
        method(state)


def _call_every(methods: EventMethods, state: TrainState) -> None:
    """Call all of them even when one fails, so that each can put back what it changed; then raise the first failure."""
    failure: BaseException | None = None
    for method in methods:
        try:
            method(state)
        except BaseException as error:
            if state.error is not None:
                name = getattr(method, "__qualname__", repr(method))
                state.error.add_note(f"And {name} failed with {type(error).__name__}: {error}")
            else:
                failure = failure or error
    if failure is not None:
        raise failure


def _set_batch(state: TrainState, batch: object, n_inp: int) -> None:
    if not isinstance(batch, (tuple, list)):
        batch = (batch,)
    state.batch = batch
    state.outputs = state.loss = None  # frees the last graph before this one is built, so that its memory is reused
    state.inputs, state.targets = tuple(batch[:n_inp]), tuple(batch[n_inp:])
    if state.plan.channels_last:
        state.inputs = tuple(as_channels_last(part) for part in state.inputs)


def _enter_phase(state: TrainState, phase: str, n_batches: int) -> None:
    state.phase = "train" if phase == "train" else "valid"
    state.batch_index, state.n_batches, state.will_step, state.grad_weight = 0, n_batches, True, 1.0
    state.loss = state.outputs = None  # a step that forgets to set them is not credited with the phase before
    if state.plan.network is None:
        set_training_mode(state.model, state.training, state.plan.eval_modules)
    else:  # a part of the model; the rest of it does not run
        state.plan.network.train(state.training)


def set_training_mode(model: nn.Module, training: bool, eval_modules: Iterable[nn.Module] = ()) -> None:
    """Put the model in training or evaluation mode; `eval_modules`, which keep their statistics, stay in eval."""
    model.train(training)
    for module in eval_modules:
        module.eval()


def _abandon_step(state: TrainState) -> None:
    """After an error: drop half-made gradients, and give the next fit an epoch number that was not used."""
    clear_grads(state.optimizer)
    state.precision.reset()
    if state.recorder.epoch_open:
        state.recorder.abandon_epoch(state)
        state.epoch += 1
    state.phase = "train"


def _reseeder(device: torch.device) -> Callable[[int], object]:
    """Seeds the generators that dropout and its like draw from: 1 µs, where `torch.manual_seed` costs 100."""
    cpu = torch.default_generator
    if device.type == "cpu":
        return cpu.manual_seed
    gpu = torch.mps if device.type == "mps" else torch.cuda.default_generators[device.index or 0]

    def reseed(seed: int) -> None:
        cpu.manual_seed(seed)
        gpu.manual_seed(seed)

    return reseed


def save_generators(device: torch.device) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return states


def _restore_generators(device: torch.device, states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])


def check_scalar_loss(loss: object) -> None:
    """Raise TrainingError when a loss function gave something that cannot be differentiated as one number."""
    if not isinstance(loss, torch.Tensor):
        raise TrainingError(f"The loss function returned {type(loss).__name__}, not a tensor.")
    if loss.ndim:
        raise not_scalar(loss)
