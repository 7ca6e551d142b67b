"""A whole training held in memory, so that something may be tried and taken back without a trace."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from fastlearn.runtime.precision import Precision
from fastlearn.training.callback import Callback


@contextlib.contextmanager
def preserved(
    model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision, callbacks: Sequence[Callback] = ()
) -> Iterator[None]:
    """Leaves, even by an error, weights, buffers, optimizer, scaler, callbacks and generators as it found them."""
    tensors = [*model.parameters(), *model.buffers()]
    copies = [tensor.detach().clone() for tensor in tensors]
    modes = [(module, module.training) for module in model.modules()]
    optimizer_state = copy.deepcopy(optimizer.state_dict())
    precision_state = precision.state_dict()
    callback_states = [(callback, copy.deepcopy(callback.state_dict())) for callback in callbacks]
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if precision.device.type == "cuda" else []
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, kept in zip(tensors, copies, strict=True):
                tensor.copy_(kept)
        for module, training in modes:
            module.training = training
        optimizer.zero_grad(set_to_none=True)
        optimizer.load_state_dict(optimizer_state)
        precision.load_state_dict(precision_state)
        for callback, state in callback_states:
            callback.load_state_dict(state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)
