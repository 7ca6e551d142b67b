"""Path and PathList."""

from __future__ import annotations

import copy
import os
import pathlib
import pickle
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import torch

from fastlearn.errors import DataError
from fastlearn.lists import L
from fastlearn.paths import Path, PathList


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Path:
    for name in ("b.txt", "a.JPG", "c.png"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    return Path(tmp_path)


@pytest.fixture
def no_base() -> Iterator[None]:
    yield
    Path.BASE_PATH = None


def test_derived_paths_keep_the_class(folder: Path) -> None:
    derived = [folder / "x", folder.parent, folder.with_name("y"), Path.home(), Path.cwd(), *folder.iterdir()]
    assert {type(p) for p in derived} == {Path} and isinstance(folder, pathlib.Path)
    assert pickle.loads(pickle.dumps(folder)) == folder == pathlib.Path(folder) and type(Path("a").resolve()) is Path
    assert hash(Path("a")) == hash(pathlib.Path("a"))


def test_ls(folder: Path) -> None:
    assert [p.name for p in folder.ls()] == ["a.JPG", "b.txt", "c.png", "sub"] and isinstance(folder.ls(), L)
    assert [p.name for p in folder.ls(2)] == ["a.JPG", "b.txt"]
    assert [p.name for p in folder.ls(file_type="image")] == ["a.JPG", "c.png"]
    assert [p.name for p in folder.ls(file_exts=".txt")] == ["b.txt"]


def test_ls_errors(folder: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder .*subb\. Did you mean 'sub'"):
        (folder / "subb").ls()
    with pytest.raises(DataError, match="is a file, not a folder"):
        (folder / "b.txt").ls()


def test_base_path_shortens_the_repr(folder: Path, no_base: None) -> None:
    Path.BASE_PATH = folder
    assert repr(folder / "sub") == "Path('sub')" and repr(Path("other")) == "Path('other')"
    assert repr((folder / "sub").ls()) == "(#0) []"


def test_pathlist_is_a_list_of_paths() -> None:
    paths = PathList(["d/a.png", "d/b.png", "e/c.png"])
    seen = [*paths, *reversed(paths), paths[0], *paths[1:], *paths[[0, 2]], *paths[np.array([1])]]
    assert {type(p) for p in seen} == {Path}
    assert type(paths[:2]) is PathList and repr(paths[:1]) == "(#1) [Path('d/a.png')]"
    assert paths == [Path(p) for p in ("d/a.png", "d/b.png", "e/c.png")] and paths != paths[:2] and paths != 3
    assert Path("d/b.png") in paths and "d/b.png" in paths and paths.index("d/b.png") == 1 and 3 not in paths
    assert paths.map(lambda p: p.name) == ["a.png", "b.png", "c.png"] and type(paths + paths) is PathList
    assert paths.filter(lambda p: p.parent.name == "e") == [Path("e/c.png")] and paths.attrgot("stem") == [
        "a",
        "b",
        "c",
    ]
    assert list(paths) == sorted(paths) and np.array(paths, dtype=object)[2] == Path("e/c.png")
    assert pickle.loads(pickle.dumps(paths)) == paths and paths + ["x"] == [*paths, "x"]


def test_pathlist_folders_follow_changes() -> None:
    paths = PathList(["d/a", "d/b", "e/c"])
    assert paths.folders()[0].tolist() == [0, 0, 1] and paths.folders()[1] == ["d", "e"]
    assert paths[[2, 0]].folders()[0].tolist() == [1, 0]
    paths.append(Path("f/x"))
    paths[0] = "g/y"
    paths.reverse()
    ids, names = paths.folders()
    assert [names[i] for i in ids] == ["f", "e", "d", "g"]
    paths.sort(key=lambda p: p.name)
    paths += ["h/z"]
    del paths[0]
    paths.insert(0, "i/i")
    paths.remove("h/z")
    assert paths == [Path(p) for p in ("i/i", "e/c", "f/x", "g/y")]
    assert paths.pop() == Path("g/y") and paths.count("f/x") == 1
    ids, names = paths.folders()
    assert [names[i] for i in ids] == [os.path.dirname(p) for p in paths]
    paths.clear()
    assert not paths and paths.folders()[1] == []


TEXTS = ["d/a.png", "d/b.png", "e/c.png", "x"]


def listed() -> PathList:
    """The paths of TEXTS, with names and folders stored apart."""
    return PathList.of_names(["a.png", "b.png", "c.png", "x"], np.array([0, 0, 1, 2], np.int32), ["d/", "e/", ""])


def test_names_apart_from_folders_read_like_whole_texts() -> None:
    paths, whole = listed(), PathList(TEXTS)
    assert list(paths.text) == TEXTS and paths == whole and whole == paths and paths == [Path(t) for t in TEXTS]
    assert [*reversed(paths)] == [*reversed(whole)] and paths[-1] == Path("x") and paths[np.int64(2)] == whole[2]
    assert paths[torch.tensor(1)] == paths[np.array(1)] == whole[1]
    for listing in (paths, whole):
        assert [listing.text_at(i) for i in (-1, 0, 2)] == ["x", "d/a.png", "e/c.png"]
    for chosen in (slice(1, None), slice(None, None, -2), [2, 0], np.array([3, -4]), [True, False, False, True], []):
        picked = paths[chosen]
        assert type(picked) is PathList and picked == whole[chosen]
        ids, folders = picked.folders()
        assert [folders[i] for i in ids] == [os.path.dirname(text) for text in picked.text]
    assert "e/c.png" in paths and "c.png" not in paths and 3 not in paths
    assert paths.index("d/b.png") == 1 and paths.count(Path("e/c.png")) == 1 and paths.count("c.png") == 0
    assert paths + ["y"] == whole + ["y"] and paths + paths == whole + whole and 2 * paths == paths * 2 == [*whole] * 2
    assert paths != listed()[:3] and paths != PathList(["d/a.png", "d/b.png", "d/c.png", "x"])
    with pytest.raises(ValueError, match="not in list"):
        paths.index("c.png")
    with pytest.raises(IndexError):
        paths[4]


def test_a_few_of_many_and_many_of_many() -> None:
    many = PathList.of_folders((f"{folder}/", [f"{i}.png" for i in range(10)]) for folder in "abc")
    texts = list(many.text)
    for chosen in (np.array([29, -30]), np.arange(30)[::-1], [7]):
        assert list(many[chosen].text) == [texts[i] for i in chosen] == [str(path) for path in many[chosen]]
        ids, folders = many[chosen].folders()
        assert [folders[i] for i in ids] == [str(path.parent) for path in many[chosen]]
    for outside in (np.array([30]), np.full(20, -31)):
        with pytest.raises(IndexError):
            many[outside]


def test_paths_are_ordered_by_their_folders_too() -> None:
    first = PathList.of_names(["b"], np.zeros(1, np.int32), ["d/"])
    second = PathList.of_names(["a"], np.zeros(1, np.int32), ["e/"])
    assert first < second and first <= second and second > first and second >= first


def test_names_apart_from_folders_survive_copies() -> None:
    for made in (pickle.loads(pickle.dumps(listed())), copy.copy(listed()), copy.deepcopy(listed()), listed().copy()):
        assert type(made) is PathList and list(made.text) == TEXTS
        made.append("y/z")
        assert list(made.text) == [*TEXTS, "y/z"] and len(listed()) == 4
    assert np.array(listed(), dtype=object).tolist() == [*listed()]
    assert pd.Series(listed()).tolist() == [*listed()] and pd.DataFrame({"file": listed()})["file"][2] == Path(TEXTS[2])


def change_item(paths: PathList) -> None:
    paths[1] = "new/item"


def change_slice(paths: PathList) -> None:
    paths[1:3] = [Path("new/1"), "new/2", "3"]


def delete(paths: PathList) -> None:
    del paths[0]


def repeat(paths: PathList) -> None:
    paths *= 2


@pytest.mark.parametrize(
    "change",
    [
        change_item,
        change_slice,
        delete,
        repeat,
        PathList.reverse,
        PathList.clear,
        PathList.pop,
        lambda paths: paths.append("new/z"),
        lambda paths: paths.extend(["new/z", Path("w")]),
        lambda paths: paths.extend(paths),
        lambda paths: paths.insert(1, "new/z"),
        lambda paths: paths.remove("e/c.png"),
        lambda paths: paths.sort(reverse=True),
        lambda paths: paths.sort(key=lambda path: path.name, reverse=True),
    ],
)
def test_changes_to_names_apart_from_folders(change: Callable[[PathList], object]) -> None:
    paths, whole = listed(), PathList(TEXTS)
    for one in (paths, whole):
        one.folders()  # what a list knew of its folders before a change must not outlive it
        change(one)
    assert list(paths.text) == list(whole.text) and paths == whole
    ids, folders = paths.folders()
    assert [folders[i] for i in ids] == [os.path.dirname(text) for text in paths.text]


def test_unlink_by_map(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").touch()
    PathList([tmp_path / "a"]).map(Path.unlink)
    assert not os.listdir(tmp_path)
