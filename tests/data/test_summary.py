"""The summary: each step, and where it breaks."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from blocks_of import block

from fastlearn.data.split import FuncSplitter
from fastlearn.errors import DataError


def test_summary_tells_each_step(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    block(item_tfms=lambda a: a, batch_tfms=lambda t: t.float()).summary(folder)
    said = capsys.readouterr().out
    for part in (
        "Found 16 items",
        "12, 4",
        "2 classes",
        "ArrayBlock creates",
        "ndarray [3, 2, 2] uint8",
        "get_y = parent_label",
        "Tensor [] int64 = 0",
        "item transform <lambda>",
        "stacked",
        "Tensor [4, 3, 2, 2] uint8",
        "Tensor [4, 3, 2, 2] float32",
    ):
        assert part in said


def test_summary_says_where_it_breaks(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(folder / "train" / "cat" / "1.npy", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(DataError, match="different sizes"):
        block().summary(folder)
    assert "A batch of 4 samples\n  FAILED here: DataError: Pictures of different sizes" in capsys.readouterr().out
    with pytest.raises(DataError):
        block(splitter=FuncSplitter(lambda o: True)).summary(folder)
    assert "Items, split and labels\n" in (said := capsys.readouterr().out) and "FAILED here" in said
