"""Labels of every type as targets, and those that cannot be."""

from __future__ import annotations

import pathlib
from typing import Any

import pandas as pd
import pytest
import torch
from blocks_of import ArrayBlock, block, column_block, table

from fastlearn.data.block import CategoryBlock, DataBlock, MultiCategoryBlock, RegressionBlock
from fastlearn.data.label import ColReader
from fastlearn.errors import ConfigError, DataError


def test_several_labels_from_a_table() -> None:
    df = pd.DataFrame({"x": [1, 2, 3], "y": ["b a", "c", "a"], "is_valid": [False, False, True]})

    def splitter(frame: pd.DataFrame) -> tuple[list[int], list[int]]:
        return frame.index[~frame["is_valid"]].tolist(), frame.index[frame["is_valid"]].tolist()

    made = DataBlock(
        (RegressionBlock, MultiCategoryBlock),
        get_x=lambda r: r["x"],
        get_y=lambda r: r["y"].split(" "),
        splitter=splitter,
    )
    datasets = made.datasets(df)
    target = datasets.train[0][1]
    assert datasets.train.vocab[torch.where(target == 1.0)[0]] == ["a", "b"] and target.dtype == torch.float32
    dls = made.dataloaders(df, bs=2)
    assert dls.valid.one_batch()[1].tolist() == [[1, 0, 0]] and dls.c == 3
    assert dls.valid.decode_batch(dls.valid.one_batch()) == [(3.0, ["a"])]


@pytest.mark.parametrize(
    ("labels", "vocab"), [([True, False, True], [False, True]), ([3, 1, 3], [1, 3]), (["b", "a", "b"], ["a", "b"])]
)
def test_label_types(labels: list[Any], vocab: list[Any]) -> None:
    dls = column_block(CategoryBlock).dataloaders(table(labels))
    assert dls.vocab == vocab and [type(c) for c in dls.vocab] == [type(c) for c in vocab]
    ((_, label),) = dls.valid.decode_batch(dls.valid.one_batch())
    assert label == labels[-1]


def test_given_vocabularies() -> None:
    df = table(["b", "a", "b"])
    assert column_block(CategoryBlock(vocab=["b", "a", "z"])).datasets(df).vocab == ["a", "b", "z"]
    assert column_block(CategoryBlock(vocab=["b", "a"], sort=False)).datasets(df).vocab == ["b", "a"]
    assert column_block(CategoryBlock(sort=False)).datasets(df).vocab == ["b", "a"]
    with pytest.raises(DataError, match=r"the vocab that was given lacks: 'b' \(1 item\)\. Known: 'a', 'c'\."):
        column_block(CategoryBlock(vocab=["a", "c"])).datasets(df)


def test_missing_labels() -> None:
    df = table(["b", None, float("nan"), "a", "b"])
    with pytest.raises(
        DataError,
        match=r"2 of 4 training labels are missing \(NaN\): row 1 .*; row 2 .*dropna\(subset=\['y'\]\); or .*add_na",
    ):
        column_block(CategoryBlock).datasets(df)
    datasets = column_block(CategoryBlock(add_na=True)).datasets(df)
    assert datasets.vocab == ["#na#", "a", "b"] and [int(y) for _, y in datasets.train] == [2, 0, 0, 1]
    with pytest.raises(DataError, match=r"row 1 .* is nan, not a list of classes\. Fill it in"):
        column_block(MultiCategoryBlock).datasets(table([["a"], float("nan"), ["b"]]))
    with pytest.raises(DataError, match=r"1 of 2 training labels are missing .*dropna\(subset=\['y'\]\)\.$"):
        column_block(RegressionBlock).datasets(table([1.0, float("nan"), 2.0]))
    by_position = DataBlock((RegressionBlock, RegressionBlock), get_x=ColReader(0), get_y=ColReader(1))
    with pytest.raises(DataError, match=r"dropna\(subset=\['y'\]\)"):
        by_position.datasets(table([float("nan")] * 6))
    with pytest.raises(DataError, match=r"1 of 1 validation labels are missing"):
        column_block(RegressionBlock).datasets(table([1.0, 3.0, float("nan")]))


def test_a_labelling_function_that_returns_nothing(folder: pathlib.Path) -> None:
    def of_dogs(path: pathlib.Path) -> str | None:
        return None if path.parent.name == "cat" else "dog"

    with pytest.raises(
        DataError, match=r"cat/0\.npy; .*function of_dogs returned None for them: .*; or .*add_na"
    ) as told:
        block(get_y=of_dogs).datasets(folder)
    assert "dropna" not in str(told.value)
    numbers = block(get_y=lambda path: float("nan"))
    numbers.blocks = (ArrayBlock, RegressionBlock)
    with pytest.raises(DataError, match=r"The labelling function returned nan for them: [^;]*$"):
        numbers.datasets(folder)


def test_wrong_labels() -> None:
    with pytest.raises(DataError, match=r"All 2 training items are of one class, 'a'"):
        column_block(CategoryBlock).datasets(table(["a", "a", "b"]))
    with pytest.raises(
        DataError, match=r"The valid set has classes that the training set lacks: 'dgo' \(2 items\).*Did you mean 'dog'"
    ):
        column_block(CategoryBlock).datasets(table(["cat", "dog", "dgo", "dgo"], [False, False, True, True]))
    with pytest.raises(DataError, match=r"row 0 .* is \['a'\], of type list, not one class.*MultiCategoryBlock"):
        column_block(CategoryBlock).datasets(table([["a"], ["b"], ["a"]]))
    with pytest.raises(DataError, match=r"row 0 .* is 'a b', not a list of classes\. Type get_y=ColReader"):
        column_block(MultiCategoryBlock).datasets(table(["a b", "a", "b"]))
    with pytest.raises(DataError, match=r"is 'a', not a number.*CategoryBlock"):
        column_block(RegressionBlock).datasets(table(["a", "b", "c"]))
    with pytest.raises(DataError, match=r"row 1 .* has 1 numbers, others 2"):
        column_block(RegressionBlock).datasets(table([[1, 2], [3], [4, 5]]))
    with pytest.raises(DataError, match="expected finite numbers"):
        column_block(RegressionBlock).datasets(table([1.0, float("inf"), 2.0]))


def test_regression_targets() -> None:
    dls = column_block(RegressionBlock).dataloaders(table([1.5, 2.5, 3.5]))
    assert dls.valid.one_batch()[1].tolist() == [3.5] and dls.c == 1 and dls.one_batch()[1].dtype == torch.float32
    dls = column_block(RegressionBlock).dataloaders(table([[1, 2], [3, 4], [5, 6]]))
    assert dls.valid.one_batch()[1].tolist() == [[5, 6]] and dls.c == 2


def test_encoded_multicategory() -> None:
    df = table([[0, 1], [1, 0], [1, 1]])
    dls = column_block(MultiCategoryBlock(encoded=True, vocab=["z", "a"])).dataloaders(df)
    assert dls.vocab == ["z", "a"] and dls.valid.one_batch()[1].tolist() == [[1, 1]]
    with pytest.raises(DataError, match="are 2 numbers; expected one for each of the 3 classes"):
        column_block(MultiCategoryBlock(encoded=True, vocab=["z", "a", "b"])).datasets(df)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CategoryBlock(vocab="abc"), "vocab is a list of classes, such as"),
        (lambda: MultiCategoryBlock(vocab=3), "vocab is a list of classes, such as"),
        (lambda: CategoryBlock(vocab=[["a"]]), r"vocab holds \['a'\], which is not one class"),
        (lambda: RegressionBlock(n_out="2"), "n_out is how many numbers an item has.*not '2'"),
        (lambda: CategoryBlock().setup([torch.zeros(2), "a"]), "of type Tensor, not one class.*MultiCategoryBlock"),
        (lambda: CategoryBlock().setup(["a", ("b", [])]), "of type tuple, not one class"),
        (lambda: MultiCategoryBlock().setup([["a"], [["b"]]]), r"The labels of item 1 hold \['b'\], not a class"),
    ],
)
def test_labels_and_options_of_a_wrong_sort(make: Any, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        make()


@pytest.mark.parametrize("option", ["sort", "add_na"])
def test_a_flag_that_is_none(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is True or False, not 'x'"):
        CategoryBlock(**{option: "x"})
