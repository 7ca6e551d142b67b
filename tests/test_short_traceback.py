from __future__ import annotations

import re
import traceback

import pytest

from fastlearn.data.files import get_image_files
from fastlearn.errors import DataError, FastlearnError


@pytest.fixture
def shell():
    """IPython's own shell, which is how a cell runs in a notebook."""
    from IPython.core.interactiveshell import InteractiveShell

    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def shown(shell, capsys, cell: str) -> str:
    shell.run_cell(cell)
    return re.sub(r"\x1b\[[\d;]*m", "", "".join(capsys.readouterr()))


def test_a_cell_shows_its_own_line_and_the_message_but_no_call_inside_the_package(shell, capsys):
    text = shown(shell, capsys, "from fastlearn.vision.all import *\nx = 1\nImageDataLoaders.from_folder('no/such')")
    assert "----> 3 ImageDataLoaders.from_folder('no/such')" in text
    assert "DataError" in text and "no/such" in text
    assert "dataloaders.py" not in text and "files.py" not in text and "IPython" not in text
    assert len(text.splitlines()) < 15


def test_functions_of_the_reader_stay_in_sight(shell, capsys):
    cell = "from fastlearn.vision.all import *\ndef load(name):\n    return get_image_files(name)\nload('no/such')"
    text = shown(shell, capsys, cell)
    assert "load('no/such')" in text and "return get_image_files(name)" in text


def test_the_causes_are_left_out_and_the_whole_stays_at_hand(shell, capsys):
    cell = "from fastlearn.errors import DataError\ntry: 1 / 0\nexcept Exception as e: raise DataError('x') from e"
    assert "ZeroDivisionError: division" not in shown(shell, capsys, cell)
    shell.run_cell("import traceback; traceback.print_last()")
    assert "ZeroDivisionError: division" in "".join(capsys.readouterr())


def test_other_errors_are_shown_as_ever(shell, capsys):
    assert "ZeroDivisionError: division by zero" in shown(shell, capsys, "1 / 0")


def test_every_error_of_ours_can_be_shown():
    classes = [FastlearnError]
    for cls in classes:
        classes += cls.__subclasses__()
    for cls in classes:
        assert cls("what was found").args == ("what was found",)
        assert cls("what was found")._render_traceback_() == [f"{cls.__name__}: what was found"]


def test_outside_a_notebook_python_shows_all_calls():
    with pytest.raises(DataError) as caught:
        get_image_files("no/such")
    assert "files.py" in "".join(traceback.format_exception(caught.value))
