from __future__ import annotations

import inspect

import pytest

from fastlearn import errors
from fastlearn.errors import (
    CallError,
    CheckpointError,
    ConfigError,
    DamagedFileError,
    DataError,
    DeviceMemoryError,
    FastlearnError,
    ImageError,
    MissingExtraError,
    NonFiniteError,
    TrainingError,
    UnknownNameError,
    WorkerError,
    damaged,
    near,
    no_attribute,
)


def test_every_error_can_be_caught_as_ours_and_says_what_it_is():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert len(classes) >= 10
    for cls in classes:
        assert issubclass(cls, FastlearnError) and cls.__doc__, cls


@pytest.mark.parametrize(
    ("ours", "pythons"),
    [
        (ConfigError, ValueError),
        (CallError, ConfigError),
        (CallError, TypeError),
        (DataError, ValueError),
        (ImageError, DataError),
        (WorkerError, DataError),
        (TrainingError, RuntimeError),
        (NonFiniteError, ArithmeticError),
        (DeviceMemoryError, MemoryError),
        (CheckpointError, RuntimeError),
        (DamagedFileError, CheckpointError),
        (MissingExtraError, ImportError),
    ],
)
def test_code_that_catches_python_s_own_errors_catches_ours(ours, pythons):
    assert issubclass(ours, pythons)


def test_errors_carry_what_a_caller_needs():
    assert ImageError("broken", path="a.png").path == "a.png" and str(ImageError("broken")) == "broken"
    error = NonFiniteError("NaN", step=7, layer="0.conv")
    assert (error.step, error.layer, str(error)) == (7, "0.conv", "NaN")


def test_a_damaged_file_is_named_and_quoted_no_longer_than_one_reads():
    assert str(damaged("a.json", "its end is missing")) == (
        "a.json is damaged: its end is missing. Copy it again from where it came, or use an earlier one."
    )
    said = str(damaged("a.json", "\33[2J\n" + "x" * 10_000))
    assert said.startswith(r"a.json is damaged: \x1b[2J\nxxx") and "xxx…. Copy" in said and len(said) < 400


def test_near_names_what_was_probably_meant():
    assert near("resnt18", ["resnet18", "vgg16"]) == " Did you mean 'resnet18'?"
    both = near("resnet1", ["resnet18", "resnet10", "vgg16"])
    assert both.startswith(" Did you mean '") and "' or '" in both and "vgg" not in both
    assert near("zzz", ["resnet18"]) == near("x", []) == ""


class Shelf:
    def books(self):
        return 3

    @property
    def title(self):
        return self.titel  # a slip of its own

    def __getattr__(self, name):
        raise no_attribute(self, name)


def test_an_attribute_that_is_not_there_gets_the_nearest():
    with pytest.raises(UnknownNameError, match=r"^A Shelf has no 'boks'\. Did you mean 'books'\?$"):
        _ = Shelf().boks
    with pytest.raises(UnknownNameError, match=r"^A Shelf has no '_books'\.$"):
        _ = Shelf()._books
    with pytest.raises(UnknownNameError, match="^A Box has no 'boks'"):
        raise no_attribute(Shelf(), "boks", "Box")
    assert not hasattr(Shelf(), "_repr_html_")


def test_a_property_that_fails_is_not_taken_for_a_missing_one():
    with pytest.raises(UnknownNameError, match=r"A Shelf has no 'titel'\. Did you mean 'title'"):
        _ = Shelf().title
