"""What a user typed to train, as JSON values and as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlearn.training.state import Call


def to_plain(value: Any) -> Any:
    """An argument as a JSON value; of one that has none, its text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, slice):
        return {"slice": [to_plain(value.start), to_plain(value.stop)]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return {"tuple" if isinstance(value, tuple) else "list": [to_plain(part) for part in value]}
    return value if isinstance(value, (int, float)) else repr(value)


def from_plain(value: Any) -> Any:
    """The argument that `to_plain` was given."""
    if not isinstance(value, dict):
        return value
    if "slice" in value:
        return slice(*map(from_plain, value["slice"]))
    parts = [from_plain(part) for part in value["tuple" if "tuple" in value else "list"]]
    return tuple(parts) if "tuple" in value else parts


def typed(call: Call) -> str:
    """`fit_one_cycle(n_epoch=3, lr_max=0.001)`, without the arguments that were left out."""
    given = ", ".join(f"{name}={from_plain(value)}" for name, value in call.arguments.items() if value is not None)
    return f"{call.method}({given})"
