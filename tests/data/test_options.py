"""Options that a function does not have."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastlearn.data.block import DataBlock
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.dataset import Datasets
from fastlearn.data.foreign import ForeignLoader
from fastlearn.data.options import (
    checked_flag,
    checked_function,
    checked_list,
    checked_path,
    found,
    named_options,
)
from fastlearn.errors import ConfigError


@named_options
def bake(flour: int, /, heat: int = 200, *, minutes: int = 40) -> tuple[int, int, int]:
    """A loaf."""
    return flour, heat, minutes


def test_known_options_arrive() -> None:
    assert bake(1, 180, minutes=5) == (1, 180, 5)
    assert list(inspect.signature(bake).parameters) == ["flour", "heat", "minutes"]
    assert bake.__doc__ == "A loaf."


@pytest.mark.parametrize("name", ["minute", "flour"])
def test_an_unknown_option_names_the_call(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"bake has no option '{name}'.* It takes heat, minutes\.") as caught:
        bake(1, **{name: 3})  # type: ignore[arg-type]
    assert ("Did you mean 'minutes'?" in str(caught.value)) == (name == "minute")
    assert len(traceback.extract_tb(caught.value.__traceback__)) == 2  # the reader's line, and ours


LOADING = {"bs", "val_bs", "path", "device", "shuffle", "drop_last", "num_workers", "workers", "seed"}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (DataBlock.dataloaders, {*LOADING, "source", "weights", "verbose"}),
        (DataBlock.weighted_dataloaders, {*LOADING, "source", "wgts"}),
        (Datasets.dataloaders, {*LOADING, "batch_tfms", "weights"}),
        (DataLoaders.from_dsets, {*LOADING, "batch_tfms", "weights"}),
        (ForeignLoader.show_batch, {"b", "max_n", "nrows", "ncols", "figsize", "unique", "show"}),
    ],
)
def test_every_option_can_be_completed(call: object, expected: set[str]) -> None:
    parameters = inspect.signature(call).parameters  # type: ignore[arg-type]
    assert not any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    assert expected <= set(parameters)


def test_what_other_libraries_call_it() -> None:
    with pytest.raises(ConfigError, match=r"DataBlock\.dataloaders has no option 'dl_type'\. It takes source, path"):
        DataBlock().dataloaders([1, 2], dl_type=list)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"weighted_dataloaders has no option 'weights'.*Did you mean 'wgts'"):
        DataBlock().weighted_dataloaders([1, 2], weights=[1, 2])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checked_path(3, "folder"), "folder is a path such as 'pets' or Path('pets'), not 3."),
        (lambda: checked_flag("yes", "shuffle"), "shuffle is True or False, not 'yes'."),
        (lambda: checked_list("abc", "labels", "classes"), "labels is a list of classes, not 'abc'."),
        (lambda: checked_list(np.zeros(()), "labels", "classes"), "labels is a list of classes, not array(0.)."),
        (lambda: checked_function(np.zeros(99), "func"), "func is a function, not a ndarray."),
    ],
)
def test_values_of_a_wrong_sort(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


def test_values_of_the_right_sort() -> None:
    assert checked_flag(np.bool_(True), "x") is True and checked_flag(0, "x") is False
    assert checked_list((i for i in "ab"), "x", "y") == ["a", "b"] and checked_list(np.arange(2), "x", "y") == [0, 1]
    assert checked_path(Path("a"), "x") == Path("a") and checked_function(len, "x") is len
    assert found("two\nlines") == "'two\\nlines'"
