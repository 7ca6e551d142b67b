"""Blocks over arrays in files and over a table's columns."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd

from fastlearn.data.block import CategoryBlock, DataBlock, RegressionBlock, TransformBlock
from fastlearn.data.files import get_files
from fastlearn.data.label import ColReader, parent_label
from fastlearn.data.split import ColSplitter, GrandparentSplitter


class ArrayBlock(TransformBlock):
    """Arrays in .npy files, as pictures would be."""

    kind = "image"

    def create(self, raw: Any) -> np.ndarray:
        return np.load(raw)

    def accepts(self, item: Any) -> bool:
        return isinstance(item, (str, pathlib.Path))


def block(**changes: Any) -> DataBlock:
    options: dict[str, Any] = {"get_items": get_files, "get_y": parent_label, "splitter": GrandparentSplitter()}
    return DataBlock((ArrayBlock, CategoryBlock), **(options | changes))


def table(labels: list[Any], is_valid: list[bool] | None = None) -> pd.DataFrame:
    valid = is_valid or [False] * (len(labels) - 1) + [True]
    return pd.DataFrame({"x": range(len(labels)), "y": labels, "is_valid": valid})


def column_block(target: Any) -> DataBlock:
    return DataBlock((RegressionBlock, target), get_x=ColReader("x"), get_y=ColReader("y"), splitter=ColSplitter())
