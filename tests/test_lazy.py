"""Modules that wait until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastlearn.lazy import LazyModule


def test_it_is_imported_on_first_use_and_not_before() -> None:
    code = (
        "import sys; from fastlearn.lazy import LazyModule; wave = LazyModule('wave'); repr(wave); "
        "before = 'wave' in sys.modules; wave.open; print(before, 'wave' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "True"]


def test_it_stands_for_the_module() -> None:
    import textwrap

    lazy = LazyModule("textwrap")
    assert lazy.dedent is textwrap.dedent and set(dir(lazy)) == set(dir(textwrap))
    assert repr(lazy) == "<module 'textwrap', imported on first use>"
    lazy.mark = 1
    assert textwrap.mark == 1  # type: ignore[attr-defined]
    del lazy.mark
    assert not hasattr(textwrap, "mark")
    with pytest.raises(AttributeError, match="dedebt"):
        _ = lazy.dedebt
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = LazyModule("no_such_module").anything
