"""Path and PathList."""

from __future__ import annotations

import os
import pathlib
import pickle
from collections.abc import Iterator

import numpy as np
import pytest

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


def test_unlink_by_map(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").touch()
    PathList([tmp_path / "a"]).map(Path.unlink)
    assert not os.listdir(tmp_path)
