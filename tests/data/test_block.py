"""DataBlock: what it puts together, and what it cannot."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
import torch
from blocks_of import block

from fastlearn.data.block import CategoryBlock, DataBlock, RegressionBlock, TransformBlock
from fastlearn.data.label import ItemGetter
from fastlearn.data.split import IndexSplitter, RandomSplitter
from fastlearn.errors import ConfigError, DataError
from fastlearn.lists import Vocab


def test_from_folders(folder: pathlib.Path) -> None:
    datasets = block().datasets(folder)
    assert len(datasets.train) == 12 and len(datasets.valid) == 4 and len(datasets) == 16
    x, y = datasets.train[0]
    assert x.shape == (3, 2, 2) and y == torch.tensor(0) and y.dtype == torch.int64
    assert datasets.vocab == ["cat", "dog"] and type(datasets.vocab) is Vocab and datasets.train[-1][1] == 1
    assert datasets.train.items[0] == folder / "train" / "cat" / "0.npy" and datasets[15][1] == 1
    dls = block().dataloaders(folder, bs=4)
    assert (dls.c, dls.bs, len(dls.train), len(dls.valid), dls.vocab) == (2, 4, 3, 1, ["cat", "dog"])
    inputs, targets = dls.one_batch()
    assert inputs.shape == (4, 3, 2, 2) and inputs.dtype == torch.uint8 and targets.dtype == torch.int64
    assert torch.equal(inputs[:, 0, 0, 0] // 10, targets.to(torch.uint8))


def test_what_cannot_be_put_together(folder: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="blocks takes blocks such as ImageBlock"):
        DataBlock((3, CategoryBlock))
    with pytest.raises(ConfigError, match="1 getters for 2 blocks"):
        DataBlock(getters=[None])
    with pytest.raises(ConfigError, match="get_x gives 2 functions for 1 blocks"):
        DataBlock(get_x=[len, len])
    with pytest.raises(ConfigError, match=r"not 'x'\. For a column: ColReader"):
        DataBlock(get_x="x")
    with pytest.raises(ConfigError, match="getters, or get_x and get_y, not both"):
        DataBlock(getters=[None, None], get_x=len)
    with pytest.raises(ConfigError, match="n_inp=3 for 2 blocks"):
        DataBlock(n_inp=3)
    with pytest.raises(DataError, match="sides of 0, 2 of the 2 items"):
        DataBlock(splitter=IndexSplitter([0, 1])).datasets([1, 2])
    with pytest.raises(DataError, match="df.reset_index"):
        DataBlock(splitter=lambda o: ([0], [7])).datasets([1, 2])
    with pytest.raises(DataError, match="The splitter failed: TypeError"):
        DataBlock(splitter=lambda: None).datasets([1, 2])  # type: ignore[arg-type,misc]
    with pytest.raises(DataError, match="There are no items"):
        DataBlock().datasets([])
    with pytest.raises(DataError, match="There is no folder"):
        block().datasets(folder / "nowhere")


def test_a_folder_without_get_items_and_paths_without_get_y(folder: pathlib.Path) -> None:
    for source in (folder, str(folder)):
        with pytest.raises(ConfigError, match=r"is a folder, .* no get_items .*get_items=get_image_files"):
            block(get_items=None).datasets(source)
    files = block().items(folder)
    for items in (files, [str(file) for file in files]):
        with pytest.raises(ConfigError, match=r"no get_y, .*0\.npy would be the path itself: give get_y=parent_label"):
            block(get_items=None, get_y=None).datasets(items)
    texts = DataBlock((TransformBlock(len), CategoryBlock), splitter=IndexSplitter([2]))
    assert texts.datasets(["a", "b", "a"]).vocab == ["a", "b"]  # texts may well be their own labels


def test_tuples_with_item_getters() -> None:
    pairs = [(i, "ab"[i % 2]) for i in range(10)]
    made = DataBlock(
        (RegressionBlock, CategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=RandomSplitter(seed=0)
    )
    assert made.dataloaders(pairs).vocab == ["a", "b"]


def test_two_inputs() -> None:
    made = DataBlock(
        (RegressionBlock, RegressionBlock, CategoryBlock),
        n_inp=2,
        get_x=[ItemGetter(0), ItemGetter(1)],
        get_y=ItemGetter(2),
        splitter=RandomSplitter(seed=0),
    )
    dls = made.dataloaders([(i, -i, "ab"[i % 2]) for i in range(10)], bs=4)
    one, two, _ = dls.one_batch()
    assert torch.equal(one, -two) and dls.n_inp == 2 and len(dls.test_dl([(1, 2, "a")]).one_batch()) == 2


def fails(*_: object) -> None:
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataBlock(get_items="pets"), "get_items is a function, not 'pets'"),  # type: ignore[arg-type]
        (lambda: DataBlock(splitter=0.2), "splitter is a function, not 0.2"),  # type: ignore[arg-type]
        (lambda: DataBlock(n_inp="1"), "n_inp='1' for 2 blocks"),  # type: ignore[arg-type]
        (lambda: DataBlock("ImageBlock"), "blocks takes blocks such as .*, not 'ImageBlock'"),
        (lambda: DataBlock((CategoryBlock, fails)), r"The block fails cannot be made by fails\(\): ZeroDivisionError"),
        (lambda: DataBlock(getters=3), "getters is a list of functions"),  # type: ignore[arg-type]
        (lambda: DataBlock().datasets([1, 2], verbose="yes"), "verbose is True or False"),  # type: ignore[arg-type]
        (lambda: DataBlock().dataloaders([*range(9)], seed=1.5), "seed needs a whole number"),  # type: ignore[arg-type]
        (lambda: DataBlock().dataloaders([*range(9)], weights={1}), "weights are 'balanced' or one number a sample"),
        (lambda: DataBlock(get_items=fails).datasets("pets"), "get_items failed on pets: ZeroDivisionError: by zero"),
    ],
)
def test_arguments_of_a_wrong_sort(make: Callable[[], object], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        make()
