"""Where files go, and what is refused, decided without touching one."""

import os
from types import SimpleNamespace

import pytest

from fastlearn.data.download import untar_data
from fastlearn.data.label import RegexLabeller, parent_label
from fastlearn.data.urls import URLs
from fastlearn.errors import ConfigError, DataError
from fastlearn.paths import Path
from fastlearn.vision.cleaner_journal import Journal
from fastlearn.vision.cleaner_plan import DELETE, Choice, data_root, place_of_class, refuse_unmovable, step_of


def choice(file, what=DELETE, label="cat"):
    return Choice(Path(file), "train", label, what)


def dataset(get_y=parent_label):
    """A data set of files whose labels come from a function, as far as a plan looks at one."""
    return SimpleNamespace(getters=[None, get_y], n_inp=1)


class Files:
    """A data set that is no list of paths: it is asked for each file."""

    items = "a table"

    def __init__(self, *files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def read(self, i, k):
        return self.files[i]


def test_the_new_class_is_the_folder_beside_the_old_one():
    assert place_of_class(choice("/data/train/cat/1.png", "dog"), dataset()) == os.path.abspath("/data/train/dog/1.png")


@pytest.mark.parametrize("name", [".hidden", "..", "a/b"])
def test_a_class_that_no_folder_can_be_called(name):
    with pytest.raises(ConfigError, match="cannot be the name of a class's folder. Nothing was moved"):
        place_of_class(choice("/data/cat/1.png", name), dataset())


@pytest.mark.parametrize("get_y", [None, RegexLabeller(r"([a-z]+)_\d")])
def test_a_label_that_a_move_would_not_change_is_refused(get_y):
    with pytest.raises(ConfigError, match="cannot be relabelled as 'dog' by moving it"):
        place_of_class(choice("/data/cat/cat_1.png", "dog"), dataset(get_y=get_y))


def test_the_root_is_what_the_data_were_made_of_if_it_holds_the_files():
    todo = [choice("/data/train/cat/1.png")]
    sets = [Files("/data/train/cat/1.png", "/data/train/dog/1.png"), Files("/data/valid/cat/1.png")]
    assert data_root(todo, "/data", sets) == Path("/data")
    assert data_root(todo, "/", sets) == Path("/")
    for other in ("/elsewhere", "."):  # "." is what DataLoaders say that know no folder
        assert data_root(todo, other, sets) == Path("/data")
    assert data_root(todo, ".", sets[:1]) == Path("/data/train")


def test_a_file_to_delete_keeps_its_folders_in_the_trash():
    journal = Journal(Path("/data/.trash/1"), Path("/data"))
    step = step_of(choice("/data/train/cat/1.png"), None, journal)
    assert (step.source, step.target, step.why) == (
        "/data/train/cat/1.png",
        "/data/.trash/1/files/train/cat/1.png",
        "delete",
    )
    outside = step_of(choice("/other/cat/1.png"), None, journal)
    assert outside.target == "/data/.trash/1/files/1.png"
    moved = step_of(choice("/data/train/cat/1.png", "dog"), "/data/train/dog/1.png", journal)
    assert (moved.target, moved.why) == ("/data/train/dog/1.png", "relabel")


def test_the_packages_own_pictures_are_named_before_anything_else():
    shipped = next(Path(untar_data(URLs.DIGITS)).rglob("*.png"))
    with pytest.raises(ConfigError, match="fastlearn's own pictures, which stay as they are"):
        refuse_unmovable([choice("/data/cat/1.png"), choice(shipped)])


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    open_, locked = tmp_path / "a", tmp_path / "b"
    open_.mkdir(), locked.mkdir()
    monkeypatch.setattr(os, "access", lambda folder, mode: str(folder) != str(locked))
    refuse_unmovable([choice(open_ / "1.png")])
    with pytest.raises(DataError, match=f"out of {locked}: you may not write to that folder"):
        refuse_unmovable([choice(open_ / "1.png"), choice(locked / "1.png")])
    refuse_unmovable([choice(tmp_path / "not there" / "1.png")])  # a file that is gone is left out later
