"""The whole of a training as tensors and JSON values, and back: what a checkpoint holds."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlearn.errors import CheckpointError
from fastlearn.runtime.say import say
from fastlearn.training.callback import Callback
from fastlearn.training.checkpoint import (
    from_json,
    json_safe,
    pack_callbacks,
    pack_optimizer,
    pack_recorder,
    unpack_callbacks,
    unpack_optimizer,
    unpack_recorder,
    weights_of,
)
from fastlearn.training.recorder import Recorder
from fastlearn.training.state import Call, Position, Run, TrainState

Tensors = dict[str, Tensor]


def capture(state: TrainState, position: Position) -> tuple[Tensors, dict[str, Any]]:
    """All that the rest of the training depends on: tensors, where they lie, and the JSON values beside them.

    `position` is where the training goes on. `state.epoch` and `state.step` are taken as they are. The next step
    changes the tensors: `copied` keeps them.
    """
    run = state.plan.run
    assert run is not None
    seconds = time.perf_counter() - state.epoch_began if position.batch else 0.0
    position = replace(position, stop=state.stop, stop_story=state.stop_story, seconds=seconds)
    tensors = capture_model(state.model)
    tensors |= {f"gradients/{k}": grad for k, grad in enumerate(_gradients(state)) if grad is not None}
    optimizer, optimizer_meta = pack_optimizer(state.optimizer)
    callbacks, callback_meta = pack_callbacks(state.events.callbacks)
    history, recorder_meta = pack_recorder(state.recorder)
    tensors |= optimizer | callbacks | history | capture_generators(state.generators)
    tensors |= {f"kept/{name}": one for name, one in run.kept.items()}
    meta = {
        "call": asdict(run.call),
        "position": asdict(position),
        "notes": run.notes,
        "lr_scale": run.lr_scale,
        "began": run.began,
        "epoch": state.epoch,
        "step": state.step,
        "seed": state.plan.seed,
        "frozen": [name for name, parameter in state.model.named_parameters() if not parameter.requires_grad],
        "precision": state.precision.state_dict(),
        "recorder": recorder_meta,
        "optimizer": optimizer_meta,
        "callbacks": callback_meta,
        "loaders": [loader_state(loader) for loader in run.loaders],
        "identity": run.identity(),
    }
    return tensors, json_safe(meta)


def copied(tensors: Tensors) -> Tensors:
    """Copies on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def capture_model(model: torch.nn.Module) -> Tensors:
    """A model's weights and buffers by name; `unsaved/…` are buffers that its own state dict leaves out."""
    held = weights_of(model)
    others = {f"unsaved/{name}": buffer for name, buffer in model.named_buffers() if name not in held}
    return {f"model/{name}": tensor for name, tensor in held.items()} | others


def _gradients(state: TrainState) -> list[Tensor | None]:
    """What batches that only accumulate have gathered, one entry a parameter of the optimizer; else nothing."""
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    return [parameter.grad for parameter in parameters]


def capture_generators(before: Sequence[Tensor]) -> Tensors:
    """The states of all generators as now, and torch's as before the fit too, which puts them back at its end."""
    numpy_state: Any = np.random.get_state()
    made = {f"generators/torch/{k}": one for k, one in enumerate(before)}
    made["generators/now"] = torch.get_rng_state()
    made["generators/numpy"] = torch.from_numpy(numpy_state[1].astype(np.int64))
    made["generators/numpy_rest"] = torch.tensor([numpy_state[2], numpy_state[3], numpy_state[4]], dtype=torch.float64)
    version, words, gauss = random.getstate()
    made["generators/python"] = torch.tensor([version, *words], dtype=torch.int64)
    made["generators/python_gauss"] = torch.tensor([] if gauss is None else [gauss], dtype=torch.float64)
    return made


def set_generators(tensors: Tensors, device: torch.device) -> None:
    """Put torch's, NumPy's and Python's generators to the states in a checkpoint, torch's to those before the fit."""
    torch.set_rng_state(tensors["generators/torch/0"])
    if "generators/torch/1" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["generators/torch/1"], device)
    _set_other_generators(tensors)


def _set_other_generators(tensors: Tensors) -> None:
    position, has_gauss, gauss = tensors["generators/numpy_rest"].tolist()
    words = tensors["generators/numpy"].numpy().astype(np.uint32)
    if words.shape != (624,) or not 0 <= position <= 624:  # NumPy believes it, and would read beyond the words
        raise ValueError(f"a generator of {words.shape} words stands at {position}")
    np.random.set_state(("MT19937", words, int(position), int(has_gauss), gauss))
    version, *numbers = tensors["generators/python"].tolist()
    random.setstate((version, tuple(numbers), next(iter(tensors["generators/python_gauss"].tolist()), None)))


def loader_state(loader: Any) -> dict[str, Any]:
    """What the order of a loader's next batches outside a training depends on; nothing for one of another library."""
    names = ("seed", "_passes", "_looks")
    return {name.strip("_"): getattr(loader, name) for name in names if hasattr(loader, "_passes")}


def set_loader(loader: Any, state: dict[str, Any]) -> None:
    """Take back what `loader_state` said."""
    if state and hasattr(loader, "_passes"):
        loader.seed, loader._passes, loader._looks = int(state["seed"]), int(state["passes"]), int(state["looks"])


def call_of(meta: dict[str, Any]) -> Call:
    """What was typed to begin the training."""
    return Call(str(meta["call"]["method"]), dict(meta["call"]["arguments"]))


def position_of(meta: dict[str, Any]) -> Position:
    """Where the training goes on."""
    return Position(**meta["position"])


def restore_recorder(recorder: Recorder, tensors: Tensors, meta: dict[str, Any]) -> None:
    """Give a recorder the history in a checkpoint."""
    unpack_recorder(recorder, tensors, meta["recorder"])


def restore_fit(state: TrainState, tensors: Tensors, meta: dict[str, Any], strict: bool = True) -> None:
    """Give optimizer, gathered gradients, scaler, recorder and callbacks the states in a checkpoint.

    The weights too, as callbacks may have changed them when the fit, or once more an epoch, began.
    """
    weights = {name.removeprefix("model/"): one for name, one in tensors.items() if name.startswith("model/")}
    state.model.load_state_dict(weights, strict=False)  # what does not fit was told before
    restore_unsaved(state.model, tensors)
    if restore_optimizer(state.optimizer, tensors, meta, strict):
        parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
        for k, parameter in enumerate(parameters):
            gradient = tensors.get(f"gradients/{k}")
            if gradient is not None:
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
    state.precision.load_state_dict(from_json(meta["precision"]))
    torch.set_rng_state(tensors["generators/now"])
    _set_other_generators(tensors)
    names = state.recorder.metric_names
    restore_recorder(state.recorder, tensors, meta)
    state.recorder.name_metrics(names)  # the same, or what they are now
    restore_callbacks(state.events.callbacks, tensors, meta, strict)


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors, meta: dict[str, Any], strict: bool) -> bool:
    """Give an optimizer its state in a checkpoint; False where that is of another one, which only `strict` refuses."""
    try:
        unpack_optimizer(optimizer, tensors, meta["optimizer"], "Make the learner with the same opt_func and splitter.")
    except CheckpointError as error:
        if strict:
            raise
        say(f"{error} Going on without that state: the optimizer begins anew.")
        return False
    return True


def restore_callbacks(
    callbacks: Sequence[Callback], tensors: Tensors, meta: dict[str, Any], strict: bool = True
) -> None:
    """Give the callbacks the states in a checkpoint; says whose states are left over."""
    if missing := unpack_callbacks(callbacks, tensors, meta["callbacks"], strict):
        say(f"What these callbacks knew is left out, as they are not there or are others now: {', '.join(missing)}.")


def check_whole(meta: dict[str, Any], source: object) -> None:
    """Raise CheckpointError unless the state of a checkpoint has all that restoring it reads."""
    try:
        call_of(meta), position_of(meta)
        int(meta["epoch"]), int(meta["step"]), int(meta["seed"]), float(meta["lr_scale"]), int(meta["began"])
        dict(meta["notes"]), list(meta["frozen"]), list(meta["loaders"]), list(meta["callbacks"])
        dict(meta["optimizer"]), dict(meta["precision"]), dict(meta["identity"]), dict(meta["recorder"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{source} is no whole training ({type(error).__name__}: {error}). Was it written by another version?"
        ) from error


def restore_unsaved(model: torch.nn.Module, tensors: Tensors) -> None:
    """Give back the buffers that a model's own state dict leaves out."""
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if f"unsaved/{name}" in tensors:
                buffer.copy_(tensors[f"unsaved/{name}"])


def take_notes(run: Run, tensors: Tensors, meta: dict[str, Any]) -> None:
    """Give the run of a call that goes on what the earlier parts left for the later ones."""
    run.notes = from_json(dict(meta["notes"]))
    run.kept = {name.removeprefix("kept/"): one for name, one in tensors.items() if name.startswith("kept/")}
    run.lr_scale, run.began = float(meta["lr_scale"]), int(meta["began"])
