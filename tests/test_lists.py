"""L and Vocab."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from fastlearn.errors import ConfigError
from fastlearn.lists import L, Vocab


def test_construction() -> None:
    assert L() == [] and L(None) == [] and L("abc") == ["abc"] and L(3) == [3]
    assert L(1, 2) == [1, 2] and L(range(3)) == [0, 1, 2] and L(torch.tensor(5)) == [torch.tensor(5)]


def test_repr_is_short() -> None:
    assert repr(L(1, "a")) == "(#2) [1, 'a']"
    assert repr(L(range(100))) == "(#100) [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ([0, 2], ["a", "c"]),
        ((2, 0), ["c", "a"]),
        (slice(1, None), ["b", "c"]),
        ([True, False, True], ["a", "c"]),
        (np.array([2, 1]), ["c", "b"]),
        (np.array([False, True, False]), ["b"]),
        (torch.tensor([0, 1]), ["a", "b"]),
        (torch.tensor([True, False, False]), ["a"]),
        ([], []),
    ],
)
def test_index_by_many(index: object, expected: list[str]) -> None:
    found = L("a", "b", "c")[index]
    assert type(found) is L and found == expected


@pytest.mark.parametrize("index", [1, np.int64(1), torch.tensor(1), np.array(1), -2])
def test_index_by_one(index: object) -> None:
    assert L("a", "b", "c")[index] == "b"


def test_mask_of_other_length_is_refused() -> None:
    with pytest.raises(IndexError, match="mask of 2 flags cannot select from 3 items"):
        L("a", "b", "c")[[True, False]]


def test_functional_methods() -> None:
    numbers = L(3, 1, 2, 3)
    assert numbers.map(lambda n: n * 2) == [6, 2, 4, 6] and numbers.map("{:02}") == ["03", "01", "02", "03"]
    assert L("a", "b").map({"a": 1, "b": 2}) == [1, 2]
    assert numbers.filter(lambda n: n > 2) == [3, 3] and numbers.filter(lambda n: n > 2, negate=True) == [1, 2]
    assert numbers.argwhere(lambda n: n == 3) == [0, 3] and numbers.unique() == [3, 1, 2]
    assert L([1], [2], [1]).unique() == [[1], [2]]
    assert numbers.unique(sort=True) == [1, 2, 3] and numbers.sorted(reverse=True) == [3, 3, 2, 1]
    assert L("a", "b").val2idx() == {"a": 0, "b": 1} and L(1 + 2j, 3j).attrgot("imag") == [2.0, 3.0]
    assert L((1, "x"), (2, "y")).itemgot(1) == ["x", "y"] and L((1, 2), (3, 4)).zip() == [(1, 3), (2, 4)]
    assert L([1, 2], [3]).concat() == [1, 2, 3] and L((1, 2), (3, 4)).starmap(max) == [2, 4]
    assert L({"k": 1}, {}).attrgot("k", 0) == [1, 0] and L("bb", "a").sorted(key=len) == ["a", "bb"]
    assert sorted(numbers.shuffle(1)) == [1, 2, 3, 3] and numbers.shuffle(1) == numbers.shuffle(1)


def test_sums_are_lists_too() -> None:
    assert type(L(1) + [2]) is L and L(1) + [2] == [1, 2] and [0] + L(1) == [0, 1] and L(1) * 2 == [1, 1]


def test_vocab() -> None:
    vocab = Vocab(["cat", "dog", "fox"])
    assert vocab.o2i == {"cat": 0, "dog": 1, "fox": 2} and len(vocab) == 3
    assert vocab[torch.where(torch.tensor([1.0, 0, 1]) == 1)[0]] == ["cat", "fox"] and vocab[torch.tensor(1)] == "dog"
    again = pickle.loads(pickle.dumps(vocab))
    assert type(again) is Vocab and again == vocab and again.o2i == vocab.o2i


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("fix", r"There is no class 'fix': 3 classes have the numbers 0 to 2, .*Did you mean 'fox'"),
        (3, "There is no class 3: 3 classes have the numbers 0 to 2"),
        ("dog", r"'dog' is a class. Its number is vocab\.o2i\['dog'\]"),
        (None, "There is no class None"),
        ([9], r"There is no class \[9\]"),
    ],
)
def test_no_class_of_that_number(index: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Vocab(["cat", "dog", "fox"])[index]


def test_classes_that_are_no_list() -> None:
    with pytest.raises(ConfigError, match="classes is a list of classes, such as .*, not 3"):
        Vocab(3)  # type: ignore[arg-type]
