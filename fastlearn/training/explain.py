"""Errors from deep inside a step, said again in the words of the person who typed `learn.fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastlearn.errors import ConfigError, DataError, DeviceMemoryError, FastlearnError, TrainingError

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState

_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def explain(error: BaseException, state: TrainState) -> BaseException:
    """The error to raise in place of `error`: a clearer one where we know more than the library that raised it."""
    if isinstance(error, FastlearnError) or not isinstance(error, (RuntimeError, IndexError, MemoryError)):
        return error
    if is_out_of_memory(error):
        return out_of_memory(state)
    if "device-side assert" in str(error):  # the device answers nothing any more, so the targets cannot be looked at
        return TrainingError(
            f"The device stopped in {_phase(state)}: most often a target is not a class number from 0 to "
            f"{_n_outputs(state)} outputs less one. Restart Python, check the labels, and fit once on the CPU "
            '(device="cpu" in the DataLoaders), where the error names the value.'
        )
    if "does not require grad" in str(error) and not any(p.requires_grad for p in state.model.parameters()):
        return ConfigError("Every parameter is frozen, so there is nothing to train. Type learn.unfreeze().")
    if "does not require grad" in str(error) and not state.training:
        return TrainingError(
            "learn.step goes backward in validation too, where there are no gradients. Write `if state.training:` "
            "before its backward and optimizer step."
        )
    if state.training and isinstance(state.loss, torch.Tensor) and state.loss.ndim and "scalar outputs" in str(error):
        return not_scalar(state.loss)
    try:
        if state.plan.task is not None and len(state.targets) == 1 and isinstance(state.targets[0], torch.Tensor):
            state.plan.task.check_targets(state.targets[0])
    except DataError as better:
        return better
    if isinstance(error, IndexError) and "out of bounds" in str(error).lower():
        return DataError(
            f"{error} The model has {_n_outputs(state)} outputs, so targets must be 0 to one less than that. "
            "Check the labels, or give the model more outputs (n_out)."
        )
    return error


def is_out_of_memory(error: BaseException) -> bool:
    """True for the different ways in which torch says that memory is used up."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _NO_MEMORY)


def not_scalar(loss: torch.Tensor) -> TrainingError:
    """An error for a loss that is more than one number."""
    return TrainingError(
        f"The loss has shape {tuple(loss.shape)}; training needs one number. Use reduction='mean' in the loss."
    )


def out_of_memory(state: TrainState) -> DeviceMemoryError:
    """An error that names the batch size and what to try."""
    size = state.batch_size
    tries = [f"a smaller batch, for instance bs={max(1, size // 2)} when you make the DataLoaders" if size > 1 else ""]
    tries += ["smaller pictures (item_tfms=Resize(128))", "a smaller model"]
    if state.precision.name == "fp32":
        tries.append("learn.to_bf16()" if state.device.type == "cpu" else "learn.to_fp16()")
    if state.training:
        tries.append("GradientAccumulation, which keeps the effect of a large batch")
    where = f"{state.device.type.upper()} ran out of memory with a batch of {size} in {_phase(state)}."
    return DeviceMemoryError(f"{where} Try {'; or '.join(text for text in tries if text)}.")


def _phase(state: TrainState) -> str:
    return "training" if state.training else "validation"


def _n_outputs(state: TrainState) -> str:
    outputs = state.outputs
    return str(outputs.shape[-1]) if isinstance(outputs, torch.Tensor) and outputs.ndim > 1 else "fewer"
