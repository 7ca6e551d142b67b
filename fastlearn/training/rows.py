"""A table of numbers whose rows may have different columns, as flat tensors: the history of many epochs."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Row = Mapping[str, Any]


class PackedRows:
    """Rows of numbers by name, packed as they come, so that packing a long table again costs nothing.

    `kinds` are the sets of columns that rows have: names in their order, each with whether its number is an int.
    `others` are the rows with something that is no number, as they are; their kind is -1.
    """

    def __init__(self) -> None:
        self.kinds: list[list[tuple[str, bool]]] = []
        self.others: list[dict[str, Any]] = []
        self._kind_of, self._numbers = array("q"), array("d")

    def __len__(self) -> int:
        return len(self._kind_of)

    def append(self, row: Row) -> None:
        """Pack one more row."""
        if not all(isinstance(value, (int, float)) for value in row.values()):
            self.others.append(dict(row))
            self._kind_of.append(-1)
            return
        numbers = array("d", row.values())  # first, as it may fail: an int may be too large
        kind = [(name, isinstance(number, int)) for name, number in row.items()]
        if kind not in self.kinds:
            self.kinds.append(kind)
        self._numbers.extend(numbers)
        self._kind_of.append(self.kinds.index(kind))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Copies: each row's number in `kinds` (rows,), and all numbers, row after row."""
        return torch.tensor(self._kind_of, dtype=torch.int64), torch.tensor(self._numbers, dtype=torch.float64)


def unpack_rows(
    kinds: Sequence[Any], others: Sequence[dict[str, Any]], kind_of: Tensor, numbers: Tensor
) -> list[dict[str, Any]]:
    """The rows that were packed. Raises ValueError where the parts do not belong together."""
    found: list[dict[str, Any]] = []
    flat, at, odd = numbers.tolist(), 0, iter(others)
    for index in kind_of.tolist():
        if not -1 <= index < len(kinds):
            raise ValueError(f"a row is of the kind {index}, and there are {len(kinds)}")
        if index < 0:
            row = next(odd, None)
        else:
            part = flat[at : at + len(kinds[index])]
            at += len(kinds[index])
            row = {
                name: int(number) if whole else number
                for (name, whole), number in zip(kinds[index], part, strict=False)
            }
        if row is None or at > len(flat):
            raise ValueError("the table of epochs ends in the middle of a row")
        found.append(dict(row))
    return found
