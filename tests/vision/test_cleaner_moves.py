"""Moves that write over nothing, their journal, and taking them back after a kill."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastlearn.data.files import get_files
from fastlearn.errors import DataError
from fastlearn.vision.cleaner_journal import Journal
from fastlearn.vision.cleaner_moves import Step, carry_out, find_last, new_trash, undo


@pytest.fixture
def root(tmp_path):
    """Two classes with a file each, and one name in both."""
    return write(tmp_path / "data", {"a/1.png": "one", "a/2.png": "two", "b/2.png": "other"})


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def held(root):
    return {str(path.relative_to(root)): path.read_text() for path in get_files(root)}


def start(root, *moves):
    """A new journal, and steps that delete (no second name) or move files below `root`."""
    journal = new_trash(root / ".trash", root)
    steps = [
        Step(
            str(root / name),
            str(root / to[0] if to else journal.folder / "files" / name),
            "relabel" if to else "delete",
        )
        for name, *to in moves
    ]
    return journal, steps


def apply(root, *moves):
    journal, steps = start(root, *moves)
    return journal, list(carry_out(steps, journal))


def test_a_kill_before_any_file_operation_of_apply_and_undo_loses_nothing(tmp_path):
    script = Path(__file__).parent / "kill_anywhere.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (_, applied), (_, undone) = (line.split() for line in done.stdout.splitlines())
    assert int(applied) > 20 and int(undone) > 20  # the kills did happen


def test_files_go_to_the_trash_with_their_folders_and_come_back(root):
    before = held(root)
    journal, done = apply(root, ("a/1.png",), ("b/2.png",))
    assert held(root) == {"a/2.png": "two"}
    assert held(journal.folder / "files") == {"a/1.png": "one", "b/2.png": "other"}
    assert [target for _, target in done] == [str(journal.folder / "files" / name) for name in ("a/1.png", "b/2.png")]
    result = undo(find_last(root))
    assert held(root) == before and sorted(map(str, result.back)) == [str(root / "a/1.png"), str(root / "b/2.png")]
    assert os.listdir(journal.folder) == ["journal.jsonl"]  # no empty folders stay


def test_a_taken_name_gets_a_number_in_the_journal_too(root):
    write(root, {"b/2-2.png": "third"})
    journal, done = apply(root, ("a/2.png", "b/2.png"))
    assert held(root) == {"a/1.png": "one", "b/2.png": "other", "b/2-2.png": "third", "b/2-3.png": "two"}
    assert done[0][1] == str(root / "b/2-3.png")
    assert [record["to"] for record in journal.records() if record["do"] == "move"] == ["b/2-3.png"]
    undo(journal)
    assert held(root)["a/2.png"] == "two" and "b/2-3.png" not in held(root)


def test_a_name_taken_in_the_last_instant_is_not_written_over(root, monkeypatch):
    real = os.open

    def rival(path, flags, *mode):
        if flags & os.O_EXCL and str(path) == str(root / "b/1.png") and not (root / "b/1.png").exists():
            (root / "b/1.png").write_text("rival")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", rival)
    journal, done = apply(root, ("a/1.png", "b/1.png"))
    assert (root / "b/1.png").read_text() == "rival" and (root / "b/1-2.png").read_text() == "one"
    undo(journal)
    assert (root / "b/1.png").read_text() == "rival" and (root / "a/1.png").read_text() == "one"


def test_another_file_system_keeps_bytes_and_times(root, monkeypatch):
    os.utime(root / "a/1.png", (1_000_000_000, 1_000_000_000))
    real = os.replace

    def crossing(source, target):
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", crossing)
    journal, _ = apply(root, ("a/1.png",))
    moved = journal.folder / "files/a/1.png"
    assert moved.read_text() == "one" and moved.stat().st_mtime == 1_000_000_000
    assert not (root / "a/1.png").exists() and os.listdir(moved.parent) == ["1.png"]
    undo(journal)
    assert (root / "a/1.png").read_text() == "one" and (root / "a/1.png").stat().st_mtime == 1_000_000_000


def test_a_full_disk_leaves_the_file_and_names_it(root, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = held(root)
    journal, steps = start(root, ("a/1.png", "b/1.png"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(DataError, match=r"1\.png cannot be moved to .*No space left.*0 files had been moved"):
            list(carry_out(steps, journal))
    assert held(root) == before
    assert undo(journal).back == (root / "a/1.png",)


def test_a_file_that_is_gone_is_left_out(root):
    (root / "a/1.png").unlink()
    journal, done = apply(root, ("a/1.png",), ("a/2.png",))
    assert [target is None for _, target in done] == [True, False]
    result = undo(journal)
    assert result.back == (root / "a/2.png",) and result.lost == ()


def test_what_left_the_trash_is_reported_lost(root):
    journal, _ = apply(root, ("a/1.png",), ("a/2.png",))
    (journal.folder / "files/a/1.png").unlink()
    result = undo(journal)
    assert result.lost == (root / "a/1.png",) and "1 file could not be found" in repr(result)


def test_a_new_file_at_the_old_place_is_not_written_over_by_undo(root):
    journal, _ = apply(root, ("a/1.png",))
    write(root, {"a/1.png": "new"})
    result = undo(journal)
    assert held(root) == {"a/1.png": "new", "a/1-2.png": "one", "a/2.png": "two", "b/2.png": "other"}
    assert result.renamed == ((root / "a/1.png", root / "a/1-2.png"),) and "is now 1-2.png" in repr(result)


@pytest.mark.parametrize(
    "name", ["new\nline.png", "ünïcode 名.png", "-rf.png", b"\xff\xfe.png", "x" * 251 + ".png", "a.b"]
)
def test_odd_names_there_and_back(root, name):
    name = os.fsdecode(name)
    write(root, {f"a/{name}": "odd", f"b/{name}": "taken"})
    before = held(root)
    journal, done = apply(root, (f"a/{name}", f"b/{name}"), (f"b/{name}",))
    assert Path(done[0][1]).read_text() == "odd" and not (root / "a" / name).exists()
    undo(find_last(root))
    assert held(root) == before


def test_a_relative_link_still_leads_to_its_file(root):
    (root / "a/link.png").symlink_to("2.png")
    journal, done = apply(root, ("a/link.png",))
    assert Path(done[0][1]).read_text() == "two" and not os.path.lexists(root / "a/link.png")
    undo(journal)
    assert os.readlink(root / "a/link.png") == "2.png"


def test_the_last_of_several_applies_is_found_and_each_is_undone_once(root):
    first, _ = apply(root, ("a/1.png",))
    second, _ = apply(root, ("a/2.png",))
    assert first.folder != second.folder
    assert find_last(root).folder == second.folder
    undo(second)
    assert find_last(root).folder == find_last(root / ".trash").folder == find_last(first.folder).folder == first.folder
    undo(find_last(root))
    with pytest.raises(DataError, match="2 apply there, undone already"):
        find_last(root)
    with pytest.raises(DataError, match="undone already"):
        undo(first)


def test_nothing_to_undo(tmp_path):
    with pytest.raises(DataError, match=r"no \.trash/<date>/journal\.jsonl there.*Expected the folder of the data"):
        find_last(tmp_path)


def test_a_data_set_that_was_moved_can_still_be_undone(root, tmp_path):
    apply(root, ("a/1.png",), ("a/2.png", "b/2.png"))
    elsewhere = tmp_path / "elsewhere"
    root.rename(elsewhere)
    undo(find_last(elsewhere))
    assert held(elsewhere) == {"a/1.png": "one", "a/2.png": "two", "b/2.png": "other"}


def test_a_trash_folder_outside_the_data(root, tmp_path):
    journal = new_trash(tmp_path / "bin", root)
    list(carry_out([Step(str(root / "a/1.png"), str(journal.folder / "files/a/1.png"), "delete")], journal))
    undo(find_last(tmp_path / "bin"))
    assert held(root)["a/1.png"] == "one"
    assert Journal.open(journal.folder).root == root


def test_a_trash_folder_that_cannot_be_made(root):
    (root / ".trash").write_text("in the way")
    with pytest.raises(DataError, match=r"trash folder .*cannot be made.*cleaner\.apply\(trash="):
        new_trash(root / ".trash", root)
