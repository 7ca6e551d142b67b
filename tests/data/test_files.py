"""Finding files."""

from __future__ import annotations

import os
import pathlib

import pytest

from fastlearn.data.files import FileGetter, ImageGetter, get_files, get_image_files
from fastlearn.errors import ConfigError, DataError
from fastlearn.paths import Path

Folder = pathlib.Path


def make(root: Folder, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(found: list[Path], root: Folder) -> list[str]:
    return [p.relative_to(root).as_posix() for p in found]


def test_sorted_recursive_and_without_hidden(tmp_path: Folder) -> None:
    make(
        tmp_path,
        "b/2.jpg",
        "b/1.JPEG",
        "a/x.png",
        "a/notes.txt",
        "top.webp",
        ".hidden/z.jpg",
        "a/.y.jpg",
        "a/ space.jpg",
    )
    found = get_image_files(tmp_path)
    assert names(found, tmp_path) == ["top.webp", "a/ space.jpg", "a/x.png", "b/1.JPEG", "b/2.jpg"]
    assert found == get_image_files(str(tmp_path)) and all(type(p) is Path for p in found)
    assert names(get_files(tmp_path, "TXT"), tmp_path) == ["a/notes.txt"]
    assert names(get_files(tmp_path), tmp_path) == sorted(
        ["top.webp", "a/ space.jpg", "a/notes.txt", "a/x.png", "b/1.JPEG", "b/2.jpg"], key=lambda n: (n.count("/"), n)
    )


def test_leaf_folders_with_other_files_and_folders_named_like_pictures(tmp_path: Folder) -> None:
    make(tmp_path, "a/1.jpg", "a/readme", "b/odd.jpg/2.jpg", "b/3.jpg")
    assert names(get_image_files(tmp_path), tmp_path) == ["a/1.jpg", "b/3.jpg", "b/odd.jpg/2.jpg"]


@pytest.mark.parametrize("others", [(), ("3.txt",), ("3.jpg", "4.PNG"), ("png",), ("3.png.txt",), (".4.png",), ("5.",)])
def test_pictures_of_one_ending_and_what_lies_among_them(tmp_path: Folder, others: tuple[str, ...]) -> None:
    make(tmp_path, *(f"a/{name}" for name in ("1.png", "2.b.png", *others)))
    kept = [f"a/{name}" for name in ("1.png", "2.b.png", "3.jpg", "4.PNG") if name in ("1.png", "2.b.png", *others)]
    assert names(get_image_files(tmp_path), tmp_path) == kept


def test_texts_and_folders_of_a_listing(tmp_path: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "0.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/3.jpg")
    monkeypatch.chdir(tmp_path)
    parts = (["0.jpg"], ["a", "1.jpg"], ["a", "b", "2.jpg"], ["a", "b", "3.jpg"])
    for root in (".", "./", str(tmp_path)):
        found = get_image_files(root)
        assert list(found.text) == [os.path.join(root, *n) for n in parts]
        ids, folders = found.folders()
        assert [os.path.join(folders[i], p.name) for i, p in zip(ids, found, strict=True)] == list(found.text)


def test_folders_and_recurse(tmp_path: Folder) -> None:
    make(tmp_path, "0.jpg", "train/a/1.jpg", "valid/a/2.jpg", "other/train/3.jpg")
    assert names(get_image_files(tmp_path, recurse=False), tmp_path) == ["0.jpg"]
    assert names(get_image_files(tmp_path, folders=["train", "valid"]), tmp_path) == ["train/a/1.jpg", "valid/a/2.jpg"]
    assert names(get_image_files(tmp_path, folders=[".", "train"]), tmp_path) == ["0.jpg", "train/a/1.jpg"]
    assert names(ImageGetter("train")(tmp_path), tmp_path) == ["train/a/1.jpg"]
    assert len(FileGetter(extensions=".jpg", recurse=False)(tmp_path)) == 1


def test_names_in_any_script(tmp_path: Folder) -> None:
    odd = ["mit leer/ä ö.jpg", "日本/猫.jpg", "🐶/🐱\n2.jpg", "a'b\"c/%s{}.jpg"]
    make(tmp_path, *odd)
    assert set(names(get_image_files(tmp_path), tmp_path)) == set(odd)


@pytest.mark.skipif(os.name == "nt", reason="file names are bytes only on POSIX")
def test_names_that_are_not_valid_text(tmp_path: Folder) -> None:
    try:
        (tmp_path / os.fsdecode(b"bad\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system wants valid names")
    (found,) = get_image_files(tmp_path)
    assert found.exists() and os.fsencode(found.name) == b"bad\xff.jpg"
    with pytest.raises(DataError) as raised:
        (found / "x").ls()
    raised.value.args[0].encode()  # can be printed


def test_symbolic_link_loops_end(tmp_path: Folder) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "me").symlink_to(".")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    found = names(get_image_files(tmp_path), tmp_path)
    assert found == ["a/1.jpg", "a/to_b/2.jpg", "b/2.jpg", "b/to_a/1.jpg"]
    assert names(get_files(tmp_path, ".jpg", followlinks=False), tmp_path) == ["a/1.jpg", "b/2.jpg"]


def test_a_link_to_itself_is_no_folder(tmp_path: Folder) -> None:
    make(tmp_path, "b/1.jpg", "c/2.jpg")
    for name in ("self", "self.png"):
        (tmp_path / "b" / name).symlink_to(name)
    assert names(get_image_files(tmp_path), tmp_path) == ["b/1.jpg", "b/self.png", "c/2.jpg"]
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(DataError, match=r"no folder 'x'\. It holds b, c\."):
        get_image_files(tmp_path, folders="x")


def test_linked_data_are_followed(tmp_path: Folder) -> None:
    make(tmp_path, "store/cats/1.jpg", "data/keep.jpg")
    (tmp_path / "data" / "cats").symlink_to(tmp_path / "store" / "cats")
    assert names(get_image_files(tmp_path / "data"), tmp_path) == ["data/keep.jpg", "data/cats/1.jpg"]


def test_missing_folder_names_near_ones(tmp_path: Folder) -> None:
    make(tmp_path, "images/1.jpg")
    with pytest.raises(DataError, match=r"There is no folder .*imges\. Did you mean 'images'\?"):
        get_image_files(tmp_path / "imges")
    with pytest.raises(DataError, match=r"holds 'images'"):
        get_image_files(tmp_path / "zzz" / "deeper")


def test_file_instead_of_folder(tmp_path: Folder) -> None:
    make(tmp_path, "1.jpg")
    with pytest.raises(DataError, match=r"1\.jpg is a file, not a folder\. Its folder is"):
        get_image_files(tmp_path / "1.jpg")


def test_no_pictures_says_what_is_there(tmp_path: Folder) -> None:
    with pytest.raises(DataError, match="the folder is empty"):
        get_image_files(tmp_path)
    make(tmp_path, *(f"{i}.txt" for i in range(12)), "a.csv")
    with pytest.raises(DataError, match=r"found 12 \.txt files, 1 \.csv file.*<class>/\*\.jpg.*from_csv"):
        get_image_files(tmp_path)
    with pytest.raises(DataError, match=r"has no folder 'train'.*It holds no folder"):
        get_image_files(tmp_path, folders="train")


def test_unreadable_folder_is_named(tmp_path: Folder) -> None:
    make(tmp_path, "open/1.jpg", "shut/2.jpg")
    (tmp_path / "shut").chmod(0)
    try:
        if os.access(tmp_path / "shut", os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(DataError, match=r"shut cannot be read: Permission denied"):
            get_image_files(tmp_path)
    finally:
        (tmp_path / "shut").chmod(0o755)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extensions": 3}, "extensions is a list of endings, such as .*, not 3"),
        ({"extensions": [None]}, "extensions holds None: expected endings"),
        ({"folders": 3}, "folders is a list of names of folders, such as .*, not 3"),
        ({"recurse": "no"}, "recurse is True or False, not 'no'"),
        ({"extension": ".jpg"}, "get_files has no option 'extension'. Did you mean 'extensions'"),
    ],
)
def test_options_of_a_wrong_sort(tmp_path: Folder, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_files(tmp_path, **options)  # type: ignore[arg-type]


def test_a_suffix_that_is_no_path() -> None:
    with pytest.raises(ConfigError, match="suffix is a path such as"):
        FileGetter(suffix=None)  # type: ignore[arg-type]
