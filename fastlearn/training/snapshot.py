"""A whole training held in memory, so that something may be tried and taken back without a trace."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from fastlearn.runtime.interrupt import DeferredInterrupt
from fastlearn.runtime.precision import Precision
from fastlearn.training.callback import Callback
from fastlearn.training.state import clear_grads


@contextlib.contextmanager
def preserved(
    model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision, callbacks: Sequence[Callback] = ()
) -> Iterator[None]:
    """Leaves, even by an error, weights, buffers, optimizer, scaler, callbacks and generators as it found them."""
    parameters = [(parameter, parameter.detach().clone(), parameter.requires_grad) for parameter in model.parameters()]
    # By their places, because a module may put another tensor where a buffer was.
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    modes = [(module, module.training) for module in model.modules()]
    optimizer_state = copy.deepcopy(optimizer.state_dict())
    precision_state = precision.state_dict()
    callback_states = [(callback, copy.deepcopy(callback.state_dict())) for callback in callbacks]
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    mps_state = torch.mps.get_rng_state() if precision.device.type == "mps" else None
    cuda_states = torch.cuda.get_rng_state_all() if precision.device.type == "cuda" else []
    try:
        yield
    finally:
        with DeferredInterrupt() as interrupt:  # a second Ctrl-C must not leave half of it
            with torch.no_grad():
                for parameter, kept, trained in parameters:
                    parameter.copy_(kept)
                    parameter.requires_grad_(trained)
                for module, name, buffer, kept in buffers:
                    buffer.copy_(kept)
                    module._buffers[name] = buffer
            for module, training in modes:
                module.training = training
            clear_grads(optimizer)
            optimizer.load_state_dict(optimizer_state)
            precision.load_state_dict(precision_state)
            for callback, state in callback_states:
                callback.load_state_dict(state)
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_rng_state(torch_state)
            if cuda_states:
                torch.cuda.set_rng_state_all(cuda_states)
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
            interrupt.check()
