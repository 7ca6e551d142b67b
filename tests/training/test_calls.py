"""The arguments of a training as JSON values, and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fastlearn.training.calls import from_plain, to_plain, typed
from fastlearn.training.state import Call


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "x", slice(1e-5, 1e-3), slice(1e-3), (0.9, 0.8), [1, [2]]])
def test_arguments_as_json_and_back(value: Any) -> None:
    assert from_plain(to_plain(value)) == value
    assert typed(Call("fit", {"lr": to_plain(value), "wd": None})) == ("fit()" if value is None else f"fit(lr={value})")


@pytest.mark.parametrize("value", [np.int64(3), np.float32(0.5), np.bool_(True)])
def test_numpy_s_numbers_are_numbers(value: Any) -> None:
    assert json.loads(json.dumps(to_plain(value))) == value.item()
