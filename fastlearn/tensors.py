"""Between Python values, arrays, pictures and tensors, as one types it in a notebook."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlearn.errors import ConfigError
from fastlearn.options import found


def tensor(x: Any, *rest: Any) -> Tensor:
    """A CPU tensor of a number, a list, an array, a picture or a table's column; several numbers may follow each other.

    64-bit floats become float32. Unlike `torch.tensor`, takes lists of tensors of one shape, and shares the memory of
    an array that may be written. Raises ConfigError for what holds no numbers.

    >>> tensor([1, 2, 3]), tensor(1.0, 2.0)
    """
    value = (x, *rest) if rest else x
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(part, Tensor) for part in value):
        return torch.stack(tuple(value))
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ConfigError(f"tensor() needs rows of one length: {error}") from error
    if array.dtype.kind not in "biufc":
        raise ConfigError(f"tensor() takes numbers; found {type(value).__name__} of {array.dtype}.")
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):  # a picture's pixels, a reversed view
        array = array.copy()
    made = torch.from_numpy(array) if array.ndim else torch.tensor(array.item())
    return made.float() if made.dtype == torch.float64 else made


def to_np(x: Tensor) -> np.ndarray:
    """The values of a tensor, wherever it is, as a NumPy array. Raises ConfigError for what is no tensor."""
    if not isinstance(x, Tensor):
        raise ConfigError(f"to_np() takes a tensor, not {found(x)}. Type np.asarray(…) for lists and numbers.")
    return x.detach().cpu().numpy()
