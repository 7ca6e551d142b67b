"""What Shift-Tab shows a notebook's user: a first line that is a sentence, and examples that are Python."""

from __future__ import annotations

import ast
import doctest
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from fastlearn.paths import Path
from fastlearn.vision import all as everything
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.learner import Learner


def _published() -> dict[str, Any]:
    """The classes and functions of fastlearn in `fastlearn.vision.all`, by name."""
    found = {name: getattr(everything, name) for name in everything.__all__}
    return {
        name: one
        for name, one in found.items()
        if (inspect.isclass(one) or inspect.isfunction(one)) and one.__module__.startswith("fastlearn")
    }


def _methods(cls: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a class, those of its bases in fastlearn too; properties are no methods."""
    names = [name for name in dir(cls) if not name.startswith("_")]
    found = {f"{cls.__name__}.{name}": getattr(cls, name) for name in names}
    return {
        name: one
        for name, one in found.items()
        if inspect.isroutine(one) and (one.__module__ or "").startswith("fastlearn")
    }


PUBLISHED = _published()
METHODS = {**_methods(Learner), **_methods(ImageDataLoaders)}


def _examples(documented: dict[str, Any]) -> Iterator[tuple[str, doctest.Example]]:
    for name, one in documented.items():
        for example in doctest.DocTestParser().get_examples(inspect.getdoc(one) or "", name):
            yield name, example


def test_the_collections_hold_what_they_should() -> None:
    assert {"Learner", "ImageDataLoaders", "vision_learner", "accuracy", "RandomSplitter"} <= set(PUBLISHED)
    assert {"Learner.fine_tune", "Learner.predict", "Learner.save", "Learner.freeze", "Learner.on"} <= set(METHODS)
    assert {"ImageDataLoaders.from_folder", "ImageDataLoaders.from_df"} <= set(METHODS)
    assert "ImageDataLoaders.test_dl" in METHODS and "ImageDataLoaders.vocab" not in METHODS


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_an_example(name: str) -> None:
    doc = inspect.getdoc(METHODS[name])
    assert doc, f"{name} has no docstring"
    assert doctest.DocTestParser().get_examples(doc, name), f"{name} shows no example (>>>)"


@pytest.mark.parametrize("name", PUBLISHED | METHODS)
def test_the_first_line_is_a_sentence(name: str) -> None:
    one = PUBLISHED[name] if name in PUBLISHED else METHODS[name]
    lines = (one.__doc__ or "").strip().splitlines()  # not getdoc, which would take that of a base class
    assert lines, f"{name} has no docstring"
    assert lines[0].endswith((".", ":", ";", "?", "!")), f"the first line of {name} stops in the middle: {lines[0]!r}"


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def test_examples_are_python() -> None:
    assert _is_python("learn.fit(1)") and not _is_python("learn fit(1)")
    examples = [(name, example.source) for name, example in _examples(PUBLISHED | METHODS)]
    assert len(examples) > len(METHODS)
    assert [(name, source) for name, source in examples if not _is_python(source)] == []


# Their examples need no data: what they print is the answer that stands below them.
PLAIN = {
    name: one
    for name, one in PUBLISHED.items()
    if one.__module__ in ("fastlearn.data.label", "fastlearn.data.split", "fastlearn.metrics.plain")
}
ANSWERED = [pytest.param(example, id=name) for name, example in _examples(PLAIN) if example.want]


def test_there_are_answers_to_look_at() -> None:
    assert {"accuracy", "rmse", "EndSplitter", "ColReader", "parent_label"} <= {param.id for param in ANSWERED}


@pytest.mark.parametrize("example", ANSWERED)
def test_an_example_gives_the_answer_below_it(example: doctest.Example) -> None:
    names = {name: getattr(everything, name) for name in PLAIN} | {"torch": torch, "Path": Path}
    assert f"{eval(example.source, names)!r}\n" == example.want
