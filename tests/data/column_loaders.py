"""Loaders over the columns of a table."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from fastlearn.data.block import CategoryBlock, DataBlock, RegressionBlock
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.label import ColReader
from fastlearn.data.split import ColSplitter

X, Y = torch.arange(20.0), torch.arange(20) % 3


DF = pd.DataFrame({"x": range(12), "y": list("aaaaaaaabbab"), "is_valid": [False] * 10 + [True] * 2})


def dls(**options: Any) -> DataLoaders:
    made = DataBlock(
        (RegressionBlock, CategoryBlock), get_x=ColReader("x"), get_y=ColReader("y"), splitter=ColSplitter()
    )
    return made.dataloaders(DF, **({"bs": 4, "device": "cpu"} | options))
