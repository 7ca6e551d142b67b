"""Labellers."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fastlearn.data.label import (
    AttrGetter,
    ColReader,
    ItemGetter,
    RegexLabeller,
    parent_label,
    read_all,
    row_of,
    using_attr,
)
from fastlearn.errors import ConfigError, DataError
from fastlearn.paths import Path, PathList

DF = pd.DataFrame({"fname": ["1", "2"], "labels": ["a b", "c"], "n": [1, 2]})


def test_parent_label() -> None:
    assert parent_label("x/cat/1.jpg") == parent_label(Path("x/cat/1.jpg")) == "cat" and parent_label("1.jpg") == ""
    paths = PathList(["x/cat/1.jpg", "x/dog/2.jpg", "3.jpg", "/4.jpg"])
    assert read_all(parent_label, paths, "get_y") == [parent_label(p) for p in paths]


def test_regex() -> None:
    label = RegexLabeller(r"(.+)_\d+.jpg$")
    assert label("great_pyrenees_173.jpg") == "great_pyrenees"
    assert using_attr(label, "name")(Path("images/Abyssinian_1.jpg")) == "Abyssinian"
    with pytest.raises(DataError, match=r"pattern '\(\\\\d\)' does not match 'x\.jpg'"):
        RegexLabeller(r"(\d)")("x.jpg")
    with pytest.raises(DataError, match="does not match"):
        RegexLabeller(r"(b)", match=True)("ab")
    with pytest.raises(DataError, match=r"has no \(group\)"):
        RegexLabeller("abc")
    with pytest.raises(DataError, match="is not a regular expression"):
        RegexLabeller("(")


def test_columns() -> None:
    row = DF.iloc[0]
    assert ColReader("fname", pref="img/", suff=".jpg")(row) == "img/1.jpg"
    assert ColReader("fname", pref=Path("img"), suff=".jpg")(row) == "img/1.jpg"
    assert ColReader("labels", label_delim=" ")(row) == ["a", "b"] and ColReader(2)(row) == 1
    assert ColReader(["fname", "n"])(row) == ["1", 1]
    assert ColReader("n")(next(DF.itertuples())) == 1 and ColReader("n")({"n": 4}) == 4 and ColReader(1)((5, 6)) == 6
    for reader in (
        ColReader("n"),
        ColReader("labels", label_delim=" "),
        ColReader(["fname", "n"]),
        ColReader(0, "p", "s"),
    ):
        assert reader.column(DF) == [reader(DF.iloc[i]) for i in range(2)]
    with pytest.raises(
        DataError, match=r"no column 'label'; the columns are 'fname', 'labels', 'n'\. Did you mean 'labels'"
    ):
        ColReader("label")(row)
    with pytest.raises(DataError, match="no column 'label'"):
        read_all(ColReader("label"), DF, "get_y")
    with pytest.raises(DataError, match="not text to split"):
        ColReader("n", label_delim=" ")(row)


def test_item_and_attribute_getters() -> None:
    assert ItemGetter(1)("ab") == "b" and AttrGetter("stem")(Path("a.b")) == "a" and AttrGetter("no", 0)(1) == 0


def test_errors_in_a_users_function_name_the_item() -> None:
    with pytest.raises(
        DataError, match=r"get_y failed for row 0 \(fname='1'.*KeyError: 'lables'.*Did you mean 'labels'"
    ):
        read_all(lambda r: r["lables"], DF, "get_y")
    with pytest.raises(DataError, match=r"get_y failed for a/1\.jpg: IndexError"):
        read_all(lambda o: [][0], PathList(["a/1.jpg"]), "get_y")
    with pytest.raises(DataError, match=r"does not match 'b\.jpg'.*get_y of a/b\.jpg"):
        read_all(using_attr(RegexLabeller(r"(\d)"), "name"), PathList(["a/b.jpg"]), "get_y")


@pytest.mark.parametrize("delim", ["", 3])
def test_a_delimiter_that_splits_nothing(delim):
    with pytest.raises(ConfigError, match="label_delim is the text between labels"):
        ColReader("labels", label_delim=delim)


def test_two_columns_of_one_name():
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="There are 2 columns 'a'"):
        row_of(frame, "a")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parent_label(None), "parent_label takes the path of a file, not None"),
        (lambda: RegexLabeller(b"(a)"), "The pattern b'\\(a\\)' is of bytes"),
        (lambda: RegexLabeller(3), "3 is not a regular expression"),
        (lambda: ColReader(None), "The column to read is a list of names or numbers, not None"),
        (lambda: ColReader([]), "No column is named"),
        (lambda: ColReader([["a"]]), r"told by its name or number, not by \['a'\]"),
        (lambda: ColReader("a", suff=3), "suff is a text that is put around a name, not 3"),
        (lambda: using_attr(3, "name"), "f is a function, not 3"),
        (lambda: using_attr(str, None), "attr is the name of an attribute, such as 'name' or 'stem', not None"),
        (lambda: AttrGetter(3), "nm is the name of an attribute, such as 'name' or 'stem', not 3"),
    ],
)
def test_labellers_of_a_wrong_sort(call: Any, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        call()
