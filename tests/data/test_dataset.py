"""Data sets: errors that name the file and the step, and blocks of their own."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from blocks_of import block, column_block, table

from fastlearn.data.block import CategoryBlock, DataBlock, TransformBlock
from fastlearn.data.files import get_files
from fastlearn.data.label import parent_label
from fastlearn.data.split import GrandparentSplitter
from fastlearn.errors import DataError, ImageError


def test_no_blocks_at_all() -> None:
    df = table(list("abcde"))
    datasets = DataBlock().datasets(df)
    x, y = datasets.train[0]
    assert len(datasets.train) == 4 and len(datasets.valid) == 1 and x["y"] == y["y"]
    datasets = DataBlock(get_x=lambda r: r["x"], get_y=lambda r: r["y"]).datasets(df)
    x, y = datasets.train[0]
    assert list("abcde")[x] == y and datasets.vocab is None


def test_each_data_set_has_blocks_of_its_own() -> None:
    made = column_block(CategoryBlock())
    one, two = made.datasets(table(["a", "b", "a"])), made.datasets(table(["c", "d", "c"]))
    assert one.vocab == ["a", "b"] and two.vocab == ["c", "d"]


def test_errors_name_the_file_and_the_step(folder: pathlib.Path) -> None:
    (folder / "train" / "cat" / "0.npy").write_bytes(b"not an array")
    dls = block().dataloaders(folder, bs=12)
    with pytest.raises(DataError, match=r"ArrayBlock failed on .*train/cat/0\.npy: ValueError"):
        dls.one_batch()
    with pytest.raises(DataError, match=r"The item transform <lambda> failed on .*\.npy: ZeroDivisionError"):
        block(item_tfms=lambda a: 1 / 0).dataloaders(folder, bs=1).valid.one_batch()

    def refuse(path: Any) -> Any:
        raise ImageError("too dark", path)

    with pytest.raises(ImageError, match="too dark") as raised:
        DataBlock(
            (TransformBlock(refuse), CategoryBlock), get_files, GrandparentSplitter(), get_y=parent_label
        ).dataloaders(folder).one_batch()
    assert "cat/0.npy" in raised.value.__notes__[0] or "npy" in raised.value.__notes__[0]
