"""Python values, arrays and pictures as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fastlearn.errors import ConfigError
from fastlearn.tensors import tensor, to_np


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2], torch.tensor([1, 2])),
        (1.5, torch.tensor(1.5)),
        (True, torch.tensor(True)),
        (np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])),
        (np.arange(3)[::-1], torch.tensor([2, 1, 0])),
        ([torch.ones(2), torch.zeros(2)], torch.tensor([[1.0, 1.0], [0.0, 0.0]])),
        (pd.Series([1, 2]), torch.tensor([1, 2])),
        (Image.new("L", (2, 1), 7), torch.tensor([[7, 7]], dtype=torch.uint8)),
    ],
)
def test_values_of_every_sort(value: Any, expected: torch.Tensor) -> None:
    made = tensor(value)
    assert torch.equal(made, expected) and made.dtype == expected.dtype


def test_numbers_may_follow_each_other_and_memory_is_shared() -> None:
    assert tensor(1, 2, 3).tolist() == [1, 2, 3]
    array = np.zeros(2, dtype=np.float32)
    tensor(array)[0] = 5
    assert array[0] == 5
    given = torch.ones(1)
    assert tensor(given) is given


def test_what_holds_no_numbers() -> None:
    with pytest.raises(ConfigError, match="rows of one length"):
        tensor([[1], [1, 2]])
    with pytest.raises(ConfigError, match="takes numbers; found str"):
        tensor("word")


def test_back_to_numpy() -> None:
    assert to_np(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]
