"""One part of a sample, from its raw value to an object."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch

from fastlearn.data.block import DataBlock, RegressionBlock, TransformBlock
from fastlearn.data.part import as_block
from fastlearn.data.split import IndexSplitter
from fastlearn.errors import ConfigError, DataError


def test_a_missing_path(tmp_path: pathlib.Path) -> None:
    made = DataBlock((TransformBlock(np.load), RegressionBlock), get_y=lambda p: 1.0, splitter=IndexSplitter([0]))
    with pytest.raises(DataError, match=r"TransformBlock failed on .*b\.npy: FileNotFoundError"):
        made.dataloaders([str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]).one_batch()


def test_values_pass_through_the_functions_in_order() -> None:
    made = TransformBlock((str.strip, int), item_tfms=len, batch_tfms=[len, max])
    assert made.create(" 7 ") == 7
    assert made.item_tfms == (len,) and made.batch_tfms == (len, max)
    assert int(made.encode(torch.tensor(3))) == 3 and made.encode([1, 2]).tolist() == [1, 2]


def test_each_data_set_gets_a_block_of_its_own() -> None:
    given = TransformBlock()
    assert as_block(given) is not given and type(as_block(TransformBlock)) is TransformBlock
    with pytest.raises(ConfigError, match="blocks takes blocks such as ImageBlock and CategoryBlock, not 3"):
        as_block(3)
