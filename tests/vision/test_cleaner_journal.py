"""The journal of moved files: whole lines on the disk, whatever happens, and paths that travel with the data."""

import errno
import json
import os

import pytest

from fastlearn.errors import DataError
from fastlearn.vision.cleaner_journal import FORMAT, Journal


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data/.trash/1").mkdir(parents=True)
    return tmp_path / "data"


@pytest.fixture
def journal(root):
    return Journal.begin(root / ".trash/1", root)


def deeds(journal):
    return [record["do"] for record in journal.records()]


def test_it_begins_with_its_format_and_is_opened_again(root, journal):
    journal.write(do="move", n=1)
    (begin, move) = journal.records()
    assert (begin["do"], begin["format"], move) == ("begin", FORMAT, {"do": "move", "n": 1})
    assert Journal.open(journal.folder) == journal


def test_paths_below_the_data_are_written_relative_and_travel_with_it(root, journal):
    inside, outside = str(root / "cats" / "1.png"), "/elsewhere/1.png"
    assert (journal.spell(inside), journal.spell(outside)) == (os.path.join("cats", "1.png"), outside)
    assert journal.spell(f"{root}-more/1.png") == f"{root}-more/1.png"  # beside it, not below
    moved = root.rename(root.with_name("moved"))
    again = Journal.open(moved / ".trash/1")
    assert again.absolute(journal.spell(inside)) == str(moved / "cats" / "1.png")
    assert again.absolute(journal.spell(outside)) == outside


def test_a_journal_outside_the_data_says_where_they_are(root, tmp_path):
    folder = tmp_path / "bin" / "1"
    folder.mkdir(parents=True)
    Journal.begin(folder, root)
    assert Journal.open(folder).root == root


def test_a_name_that_is_no_text_comes_back(journal):
    name = os.fsdecode(b"caf\xe9 \xff.png")
    journal.write(do="move", **{"from": name})
    assert journal.records()[1]["from"] == name and journal.path.read_bytes().isascii()


def test_a_line_that_does_not_fit_is_taken_away(journal, monkeypatch):
    whole, real, written = journal.path.read_bytes(), os.write, []

    def some(handle, data):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(real(handle, data[:5]))
        return written[0]

    monkeypatch.setattr(os, "write", some)
    with pytest.raises(OSError, match="No space"):
        journal.write(do="move")
    assert written == [5] and journal.path.read_bytes() == whole


@pytest.mark.parametrize("cut", ['{"do": "mo', "x" * 10_000])
def test_a_line_cut_short_is_none_and_the_next_one_stands_alone(journal, cut):
    journal.write(do="move")
    with journal.path.open("a") as file:
        file.write(cut)
    assert deeds(journal) == ["begin", "move"]
    journal.write(do="end")
    assert [json.loads(line)["do"] for line in journal.path.read_text().splitlines()] == ["begin", "move", "end"]


def test_a_journal_that_a_kill_left_empty_can_be_opened(root):
    folder = root / ".trash/1"
    (folder / "journal.jsonl").write_text('{"do": "beg')
    assert Journal.open(folder) == Journal(folder, root) and deeds(Journal.open(folder)) == []


def test_a_damaged_line_is_named(journal):
    journal.write(do="move")
    journal.write(do="moved")
    journal.path.write_text(journal.path.read_text().replace('{"do": "moved"', '{"do": '))
    with pytest.raises(DataError, match="Line 3 of .*journal.jsonl is damaged"):
        journal.records()


def test_a_journal_of_a_later_format_is_refused(journal):
    journal.path.write_text(journal.path.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(DataError, match="format 9, and this fastlearn reads 1"):
        Journal.open(journal.folder)
