"""DataBlock, the target blocks and the data sets they make."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fastlearn.data.block import CategoryBlock, DataBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from fastlearn.data.files import get_files
from fastlearn.data.label import ColReader, ItemGetter, parent_label
from fastlearn.data.split import ColSplitter, FuncSplitter, GrandparentSplitter, IndexSplitter, RandomSplitter
from fastlearn.data.transform import BatchTransform, ItemTransform
from fastlearn.errors import ConfigError, DataError, ImageError
from fastlearn.lists import Vocab


class ArrayBlock(TransformBlock):
    """Arrays in .npy files, as pictures would be."""

    kind = "image"

    def create(self, raw: Any) -> np.ndarray:
        return np.load(raw)

    def accepts(self, item: Any) -> bool:
        return isinstance(item, (str, pathlib.Path))


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for side, n in (("train", 6), ("valid", 2)):
        for c, name in enumerate(("cat", "dog")):
            (tmp_path / side / name).mkdir(parents=True)
            for i in range(n):
                np.save(tmp_path / side / name / f"{i}.npy", np.full((3, 2, 2), 10 * c + i, dtype=np.uint8))
    return tmp_path


def block(**changes: Any) -> DataBlock:
    options: dict[str, Any] = {"get_items": get_files, "get_y": parent_label, "splitter": GrandparentSplitter()}
    return DataBlock((ArrayBlock, CategoryBlock), **(options | changes))


def table(labels: list[Any], is_valid: list[bool] | None = None) -> pd.DataFrame:
    valid = is_valid or [False] * (len(labels) - 1) + [True]
    return pd.DataFrame({"x": range(len(labels)), "y": labels, "is_valid": valid})


def column_block(target: Any) -> DataBlock:
    return DataBlock((RegressionBlock, target), get_x=ColReader("x"), get_y=ColReader("y"), splitter=ColSplitter())


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


def test_no_blocks_at_all() -> None:
    df = table(list("abcde"))
    datasets = DataBlock().datasets(df)
    x, y = datasets.train[0]
    assert len(datasets.train) == 4 and len(datasets.valid) == 1 and x["y"] == y["y"]
    datasets = DataBlock(get_x=lambda r: r["x"], get_y=lambda r: r["y"]).datasets(df)
    x, y = datasets.train[0]
    assert list("abcde")[x] == y and datasets.vocab is None


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
    with pytest.raises(DataError, match=r"2 of 4 labels are missing \(NaN\): row 1 .*; row 2 .*dropna"):
        column_block(CategoryBlock).datasets(df)
    datasets = column_block(CategoryBlock(add_na=True)).datasets(df)
    assert datasets.vocab == ["#na#", "a", "b"] and [int(y) for _, y in datasets.train] == [2, 0, 0, 1]
    with pytest.raises(DataError, match=r"row 1 .* is nan, not a list of classes\. Fill it in"):
        column_block(MultiCategoryBlock).datasets(table([["a"], float("nan"), ["b"]]))
    with pytest.raises(DataError, match=r"1 of 2 labels are missing"):
        column_block(RegressionBlock).datasets(table([1.0, float("nan"), 2.0]))


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


def test_each_data_set_has_blocks_of_its_own() -> None:
    made = column_block(CategoryBlock())
    one, two = made.datasets(table(["a", "b", "a"])), made.datasets(table(["c", "d", "c"]))
    assert one.vocab == ["a", "b"] and two.vocab == ["c", "d"]


class Order(ItemTransform):
    """Writes its name into a log, to see the order."""

    def __init__(self, name: str, order: int, log: list[str]) -> None:
        self.name, self.order, self.log = name, order, log

    def __call__(self, sample: Any, kinds: Any, rng: Any, train: bool) -> Any:
        self.log.append(self.name)
        return sample


def test_item_transforms_run_by_order_and_new_replaces_them(folder: pathlib.Path) -> None:
    log: list[str] = []
    first = block(item_tfms=[Order("b", 1, log), Order("c", 1, log), Order("a", 0, log)])
    first.dataloaders(folder, bs=12, num_workers=0).one_batch()
    assert log[:3] == ["a", "b", "c"]
    other = first.new(item_tfms=lambda a: a + 100)
    assert other.dataloaders(folder, bs=12).one_batch()[0].min() >= 100
    assert len(first.item_tfms) == 3 and len(other.item_tfms) == 1


def test_wrong_kinds_of_transforms(folder: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="pass it in batch_tfms, not in item_tfms"):
        block(item_tfms=BatchTransform).datasets(folder)
    with pytest.raises(ConfigError, match="pass it in item_tfms, not in batch_tfms"):
        block(batch_tfms=ItemTransform()).dataloaders(folder)
    with pytest.raises(ConfigError, match="takes transforms or functions, not 3"):
        block(item_tfms=[3]).datasets(folder)


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


def test_different_sizes_name_both_files(folder: pathlib.Path) -> None:
    np.save(folder / "valid" / "cat" / "1.npy", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(DataError, match=r"cat/0\.npy is 2×2 and .*cat/1\.npy is 4×5.*item_tfms=Resize\(224\)"):
        block().dataloaders(folder).valid.one_batch()
    np.save(folder / "valid" / "cat" / "1.npy", np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(DataError, match=r"different numbers of channels.*has 3 and .*cat/1\.npy has 1"):
        block().dataloaders(folder).valid.one_batch()


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


def test_tuples_with_item_getters() -> None:
    pairs = [(i, "ab"[i % 2]) for i in range(10)]
    made = DataBlock(
        (RegressionBlock, CategoryBlock), getters=[ItemGetter(0), ItemGetter(1)], splitter=RandomSplitter(seed=0)
    )
    assert made.dataloaders(pairs).vocab == ["a", "b"]


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
