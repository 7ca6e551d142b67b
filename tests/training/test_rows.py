"""Rows of numbers as flat tensors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fastlearn.training.rows import PackedRows, unpack_rows

ROWS: list[dict[str, Any]] = [
    {"fit": 1, "loss": 0.1},
    {"fit": 1, "loss": math.inf},
    {"fit": 2, "loss": -0.0, "accuracy": 1.0},
    {"fit": 2, "note": "good", "accuracy": None},
    {"fit": 3, "loss": 2**-1074},
]


def unpacked(packed: PackedRows) -> list[dict[str, Any]]:
    return unpack_rows(packed.kinds, packed.others, *packed.tensors())


def test_rows_come_back_with_their_names_order_and_kinds_of_numbers() -> None:
    packed = PackedRows()
    assert unpacked(packed) == [] and len(packed) == 0
    packed.append(ROWS[0])
    before = packed.tensors()
    for row in ROWS[1:]:
        packed.append(row)
    found = unpacked(packed)
    assert found == ROWS and [list(row) for row in found] == [list(row) for row in ROWS]
    assert all(type(row["fit"]) is int for row in found) and type(found[0]["loss"]) is float
    assert len(packed.kinds) == 2 and len(before[0]) == 1  # what was given is a copy
    assert packed.others == [ROWS[3]] and len(packed) == 5


def test_a_row_that_fails_leaves_no_part_of_it() -> None:
    packed = PackedRows()
    with pytest.raises(OverflowError):
        packed.append({"loss": 1.0, "large": 10**400})
    packed.append(ROWS[0])
    assert unpacked(packed) == ROWS[:1]


@pytest.mark.parametrize(
    ("kind_of", "numbers"), [([0, 1], [1.0, 2.0]), ([-2], [1.0]), ([0], []), ([0, 0], [1.0]), ([-1], [])]
)
def test_parts_that_do_not_belong_together(kind_of: list[int], numbers: list[float]) -> None:
    with pytest.raises(ValueError, match="of the kind|middle of a row"):
        unpack_rows([[["loss", False]]], [], torch.tensor(kind_of), torch.tensor(numbers))
