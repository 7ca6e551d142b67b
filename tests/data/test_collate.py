"""Samples stacked into batches, and those that do not fit together."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from blocks_of import block

from fastlearn.data.block import DataBlock
from fastlearn.data.label import ItemGetter
from fastlearn.data.split import IndexSplitter
from fastlearn.errors import DataError


def test_different_sizes_name_both_files(folder: pathlib.Path) -> None:
    np.save(folder / "valid" / "cat" / "1.npy", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(DataError, match=r"cat/0\.npy is 2×2 and .*cat/1\.npy is 4×5.*item_tfms=Resize\(224\)"):
        block().dataloaders(folder).valid.one_batch()
    np.save(folder / "valid" / "cat" / "1.npy", np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(DataError, match=r"different numbers of channels.*has 3 and .*cat/1\.npy has 1"):
        block().dataloaders(folder).valid.one_batch()


def test_raw_values_that_are_no_numbers() -> None:
    made = DataBlock(get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter([0]))
    with pytest.raises(DataError, match="gives a str, which cannot become a tensor"):
        made.dataloaders([("x", 1), ("y", 2)]).one_batch()
