"""Splitters."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fastlearn.data import split as S
from fastlearn.errors import ConfigError, DataError
from fastlearn.paths import PathList

ITEMS = list(range(50))


def test_random_is_the_seeded_torch_permutation() -> None:
    torch.manual_seed(42)
    order = torch.randperm(50).numpy()
    before = torch.get_rng_state()
    train, valid = S.RandomSplitter(0.2, seed=42)(ITEMS)
    assert valid.tolist() == order[:10].tolist() and train.tolist() == order[10:].tolist()
    assert torch.equal(before, torch.get_rng_state())


def test_random_without_a_seed_follows_torchs_generator() -> None:
    torch.manual_seed(3)
    one = S.RandomSplitter()(ITEMS)
    torch.manual_seed(3)
    assert np.array_equal(one[0], S.RandomSplitter()(ITEMS)[0])
    assert not np.array_equal(one[0], S.RandomSplitter()(ITEMS)[0])


def test_parts_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"valid_pct is a part between 0 and 1, not 20\. Did you mean 0\.2\?"):
        S.RandomSplitter(20)
    with pytest.raises(DataError, match=r"valid_pct=0\.2 of 3 items leaves none"):
        S.RandomSplitter()([1, 2, 3])
    with pytest.raises(ConfigError, match="more than 1"):
        S.RandomSubsetSplitter(0.6, 0.5)


def test_stratified_keeps_the_shares() -> None:
    items = PathList([f"x/{c}/{i}.jpg" for c, n in (("a", 80), ("b", 20), ("c", 2), ("d", 1)) for i in range(n)])
    train, valid = S.StratifiedSplitter(0.2, seed=1)(items)
    assert sorted([*train, *valid]) == list(range(103))
    share = pd.Series([items[i].parent.name for i in valid]).value_counts().to_dict()
    assert share == {"a": 16, "b": 4, "c": 1}
    assert np.array_equal(train, S.StratifiedSplitter(0.2, seed=1)(items)[0])
    assert not np.array_equal(train, S.StratifiedSplitter(0.2, seed=2)(items)[0])


def test_groups_are_never_divided() -> None:
    items = [f"p{i % 7}_{i}" for i in range(100)]
    train, valid = S.GroupSplitter(lambda o: o.split("_")[0], 0.3, seed=0)(items)
    groups = [{items[i].split("_")[0] for i in side} for side in (train, valid)]
    assert not groups[0] & groups[1] and len(groups[0] | groups[1]) == 7 and len(valid) >= 30
    with pytest.raises(DataError, match="belong to one group"):
        S.GroupSplitter(lambda o: 0)(items)


def test_grandparent() -> None:
    items = PathList(["d/train/a/1", "d/val/a/2", "d/train/b/3", "d/test/a/4", "loose"])
    train, valid = S.GrandparentSplitter(valid_name=("val", "test"))(items)
    assert train.tolist() == [0, 2] and valid.tolist() == [1, 3]
    with pytest.raises(
        DataError, match=r"expected a folder named 'valid'.*found '', 'test', 'train', 'val'\. Did you mean 'val'"
    ):
        S.GrandparentSplitter()(items)
    assert S.GrandparentSplitter(valid_name="val")(list(items))[1].tolist() == [1]


def test_by_function_mask_index_and_end() -> None:
    assert S.FuncSplitter(lambda o: o >= 48)(ITEMS)[1].tolist() == [48, 49]
    assert S.MaskSplitter([True] + [False] * 49)(ITEMS)[1].tolist() == [0]
    train, valid = S.IndexSplitter([3, 1])(ITEMS)
    assert valid.tolist() == [3, 1] and len(train) == 48
    assert S.EndSplitter(0.1)(ITEMS)[1].tolist() == [45, 46, 47, 48, 49]
    assert S.EndSplitter(0.1, valid_last=False)(ITEMS)[1].tolist() == [0, 1, 2, 3, 4]
    train, valid = S.RandomSubsetSplitter(0.5, 0.1, seed=0)(ITEMS)
    assert len(train) == 25 and len(valid) == 5 and not set(train) & set(valid)
    with pytest.raises(DataError, match="position 50, but there are 50 items"):
        S.IndexSplitter([50])(ITEMS)
    with pytest.raises(DataError, match="2 flags for 50 items"):
        S.MaskSplitter([True, False])(ITEMS)
    with pytest.raises(DataError, match=r"func failed for 'x'|func failed for x: ZeroDivisionError"):
        S.FuncSplitter(lambda o: 1 / 0)(["x"])


def test_by_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "valid.txt").write_text("b.jpg\nc.jpg\n")
    assert S.FileSplitter(tmp_path / "valid.txt")(PathList(["x/a.jpg", "x/b.jpg"]))[1].tolist() == [1]
    with pytest.raises(DataError, match=r"None of the 2 names.*'b\.jpg'.*'z\.jpg'"):
        S.FileSplitter(tmp_path / "valid.txt")(["x/z.jpg"])
    with pytest.raises(DataError, match="cannot be read: No such file"):
        S.FileSplitter(tmp_path / "none.txt")(["x/z.jpg"])


def test_by_column() -> None:
    df = pd.DataFrame({"f": list("abc"), "is_valid": [False, True, False], "part": ["tr", "va", "te"]})
    assert S.ColSplitter()(df)[1].tolist() == [1] and S.ColSplitter(1)(df)[1].tolist() == [1]
    assert S.ColSplitter("part", on="va")(df)[1].tolist() == [1] and S.ColSplitter("part", on=["va", "te"])(df)[
        1
    ].tolist() == [1, 2]
    with pytest.raises(
        DataError, match=r"no column 'is_vali'; the columns are 'f', 'is_valid', 'part'\. Did you mean 'is_valid'"
    ):
        S.ColSplitter("is_vali")(df)
    with pytest.raises(DataError, match="puts all of the 3 rows into validation"):
        S.ColSplitter("part")(df)
    with pytest.raises(DataError, match="needs a pandas DataFrame, not list"):
        S.ColSplitter()([1])
    with pytest.raises(DataError, match=r"says nothing \(NaN\) in row 1"):
        S.ColSplitter()(df.assign(is_valid=[True, None, False]))


def test_a_part_that_is_text():
    with pytest.raises(ConfigError, match="valid_pct is a part between 0 and 1, not 'x'"):
        S.RandomSplitter("x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: S.FuncSplitter(3), "func is a function, not 3"),
        (lambda: S.MaskSplitter(None), "mask is a list of True and False, one an item, not None"),
        (lambda: S.MaskSplitter([[True], [False]]), "mask is a list of True and False"),
        (lambda: S.MaskSplitter(["a", "b"]), "mask is a list of True and False"),
        (lambda: S.IndexSplitter(None), "valid_idx is a list of positions"),
        (lambda: S.IndexSplitter([0.5]), "valid_idx holds 0.5: expected positions"),
        (lambda: S.IndexSplitter([10**30]), "valid_idx holds 1000000"),
        (lambda: S.IndexSplitter([True, False]), "valid_idx holds True: .* For True and False: MaskSplitter"),
        (lambda: S.GrandparentSplitter(None), "The folder of a side is a list of names, not None"),
        (lambda: S.GrandparentSplitter([]), "told by its name, or by several, not by"),
        (lambda: S.FileSplitter(3), "fname is a path"),
        (lambda: S.RandomSplitter(True), "valid_pct is a part between 0 and 1, not True\\.$"),
        (lambda: S.ColSplitter([1])(pd.DataFrame({"a": [1]})), r"told by its name or number, not by \[1\]"),
    ],
)
def test_what_a_splitter_cannot_be_made_of(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("splitter", "message"),
    [
        (
            S.FuncSplitter(lambda o: np.zeros(3)),
            r"func gives array\(.*\) for a: expected True \(validation\)",
        ),
        (
            S.StratifiedSplitter(get_y=lambda o: [o]),
            r"get_y gives \['a'\] of type list for a: not one class.*MultiC",
        ),
        (S.StratifiedSplitter(get_y=lambda o: (o, [])), r"get_y gives \('a', \[\]\) of type tuple for a"),
        (S.GroupSplitter(lambda o: {o}), r"get_group gives \{'a'\} of type set for a: not one group"),
        (S.FileSplitter("a\0b"), "cannot be read: embedded null byte"),
    ],
)
def test_what_a_splitter_cannot_split(splitter: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        splitter(["a", "b"])


def test_positions_of_any_sort() -> None:
    for chosen in ([1], (1,), {1}, np.array([1]), torch.tensor([1]), [torch.tensor(1)], pd.Series([1], index=[9])):
        train, valid = S.IndexSplitter(chosen)(["a", "b", "c"])
        assert (list(train), list(valid)) == ([0, 2], [1])


def test_a_side_that_is_neither_first_nor_last() -> None:
    with pytest.raises(ConfigError, match="valid_last is True or False, not 'x'"):
        S.EndSplitter(valid_last="x")  # type: ignore[arg-type]
