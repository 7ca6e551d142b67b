"""Every fault of a data set, made on purpose in a temporary folder, is found and named, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from faulty_pictures import bomb, cut, picture, the
from PIL import Image

from fastlearn.data.checks import check_dataloaders, check_folder, check_images, verify_images
from fastlearn.errors import ConfigError, DataError


def test_a_good_folder_has_nothing_to_complain_of(pets: Path) -> None:
    report = check_folder(pets)
    assert report.findings == ()
    assert report.ok
    assert report.n_checked == 10
    assert "10 pictures checked" in str(report)
    assert "nothing to complain of" in str(report)
    report.raise_for_errors()


FAULTS: dict[str, Callable[[Path], object]] = {
    "empty": lambda p: p.write_bytes(b""),
    "not_an_image": lambda p: p.write_text("<html>Not found</html>"),
    "damaged": lambda p: cut(picture(p, (64, 64))),
    "bomb": bomb,
    "missing": lambda p: p.symlink_to("nowhere"),
}


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", ["plain.png", "with space é 🐈.png", "two\nlines.png"])
def test_each_fault_of_a_file_is_named(pets: Path, kind: str, name: str, thorough: bool) -> None:
    bad = pets / "train" / "cat" / name
    FAULTS[kind](bad)
    report = check_folder(pets, thorough=thorough)
    assert the(report, kind).severity == "error"
    assert the(report, kind).paths == (bad,)
    assert report.unreadable == [bad]
    assert 'on_error="skip"' in the(report, kind).fix
    assert len(str(report).splitlines()) <= 5
    with pytest.raises(DataError, match="1 file is"):
        report.raise_for_errors()
    assert verify_images([bad, pets / "train/cat/0.png"]) == [bad]


def test_files_that_may_not_be_read(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = pets / "train" / "cat" / "0.png"
    real_open = open

    def guarded(path: object, *args: object, **options: object) -> object:
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", guarded)  # chmod does not stop root
    finding = the(check_folder(pets), "no_permission")
    assert finding.paths == (locked,)
    assert "not readable for you" in finding.message


def test_a_folder_that_may_not_be_read(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def guarded(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", guarded)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        check_folder(pets)


def test_a_folder_or_nothing_in_a_list_of_files(tmp_path: Path) -> None:
    report = check_images([tmp_path, tmp_path / "gone.png", "nul\0byte.png"])
    assert report.paths("folder") == [tmp_path]
    assert len(report.paths("missing")) == 2


def test_a_wrong_ending_is_an_error_with_three_ways_out(pets: Path) -> None:
    bad = picture(pets / "train" / "cat" / "x.jpg", format="PNG")
    good = picture(pets / "train" / "cat" / "y.jpeg", format="JPEG")
    report = check_folder(pets)
    finding = the(report, "wrong_name")
    assert finding.severity == "error"
    assert finding.details == (f"{bad} is PNG",)
    assert all(way in finding.fix for way in ("Rename", 'on_error="skip"', 'on_error="warn"', "wrong_name="))
    assert report.unreadable == []  # it opens, so no one shall delete it for being broken
    with pytest.raises(DataError, match=r"x\.jpg is PNG"):
        report.raise_for_unreadable()
    assert verify_images([bad, good]) == [bad]
    with pytest.raises(ConfigError, match="choose 'raise' or 'warn'"):
        check_images([bad, good], wrong_name="ignore").raise_for_errors()  # type: ignore[arg-type]


def test_a_wrong_ending_can_be_a_warning(pets: Path) -> None:
    bad = picture(pets / "train" / "cat" / "x.jpg", format="PNG")
    report = check_folder(pets, wrong_name="warn")
    assert report.ok
    assert the(report, "wrong_name").severity == "warning"
    assert the(report, "wrong_name").paths == (bad,)
    assert check_images([bad], wrong_name="warn").ok
    assert verify_images([bad], wrong_name="warn") == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: verify_images("a.png"), r"get_image_files\('a.png'\)"),
        (lambda: verify_images(None), "a list of files, not None"),  # type: ignore[arg-type]
        (lambda: check_images([b"a.png", 3]), "of type bytes"),  # type: ignore[list-item]
        (lambda: check_folder(None), "the path of a folder, not None"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_list_of_files(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()


@pytest.mark.parametrize("thorough", [True, False])
def test_the_same_picture_in_train_and_valid(pets: Path, thorough: bool) -> None:
    shutil.copy(pets / "train/cat/1.png", pets / "valid/cat/other name.png")
    report = check_folder(pets, thorough=thorough)
    leak = the(report, "leak")
    assert leak.severity == "error"
    assert leak.paths == (pets / "valid/cat/other name.png",)
    assert leak.details == (f"{pets / 'train/cat/1.png'} = {pets / 'valid/cat/other name.png'}",)
    for path in report.paths("leak"):  # what the fix says
        path.unlink()
    assert check_folder(pets).findings == ()


def test_the_same_pixels_in_another_file(pets: Path) -> None:
    with Image.open(pets / "train/cat/1.png") as image:
        image.save(pets / "valid/cat/again.png", compress_level=0)
        image.save(pets / "valid/cat/again.bmp")
    report = check_folder(pets)
    assert set(the(report, "leak").paths) == {pets / "valid/cat/again.png", pets / "valid/cat/again.bmp"}
    assert check_folder(pets, thorough=False).ok


def test_the_same_jpeg_with_other_metadata(tmp_path: Path) -> None:
    a = picture(tmp_path / "a.jpg", (40, 40))
    b = tmp_path / "b.jpg"
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 5) + b"hello"
    b.write_bytes(a.read_bytes()[:2] + comment + a.read_bytes()[2:])
    assert check_images([a, b]).paths("duplicate") == [b]


def test_repetition_and_two_labels(pets: Path) -> None:
    shutil.copy(pets / "train/cat/0.png", pets / "train/cat/9.png")
    shutil.copy(pets / "train/dog/0.png", pets / "train/cat/8.png")
    report = check_folder(pets)
    assert report.ok
    assert set(the(report, "duplicate").paths) == {pets / "train/cat/9.png", pets / "train/dog/0.png"}
    assert set(the(report, "two_labels").paths) == {pets / "train/cat/8.png", pets / "train/dog/0.png"}


def test_one_class_only(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "0.png")
    finding = the(check_folder(tmp_path), "one_class")
    assert "'cat'" in finding.message
    assert "from_csv" in finding.fix


def test_links_to_themselves(pets: Path) -> None:
    for name in ("self", "train/self", "train/cat/self", "train/cat/self.png"):
        (pets / name).symlink_to(pets / name)
    report = check_folder(pets)
    assert report.unreadable == [pets / "train/cat/self.png"]
    assert the(report, "missing").severity == "error"
    assert [finding.kind for finding in report.findings if finding.severity == "error"] == ["missing"]


def test_no_class_folders(pets: Path, tmp_path: Path) -> None:
    finding = the(check_folder(pets / "train" / "cat"), "no_classes")
    assert finding.severity == "error"
    assert "There are no class folders in" in finding.message
    assert f"{pets / 'train' / 'cat'}/<class>/*.jpg" in finding.fix
    picture(tmp_path / "flat" / "train" / "0.png")
    assert "flat/train/<class>/*.jpg" in the(check_folder(tmp_path / "flat"), "no_classes").fix


def test_classes_on_one_side_only(pets: Path) -> None:
    shutil.move(pets / "train" / "dog", pets / "train" / "cow")
    report = check_folder(pets)
    assert the(report, "class_not_in_train").severity == "error"
    assert "1 class for validation but not for training: 'dog'" in the(report, "class_not_in_train").message
    assert the(report, "class_not_in_valid").severity == "warning"
    assert "'cow'" in the(report, "class_not_in_valid").message


def test_an_empty_class_folder(pets: Path) -> None:
    (pets / "train" / "cow").mkdir()
    (pets / "train" / "pig").mkdir()
    (pets / "train" / "pig" / "notes.txt").write_text("")
    report = check_folder(pets)
    assert the(report, "empty_class").paths == (pets / "train" / "cow", pets / "train" / "pig")
    assert "2 class folders without a picture" in the(report, "empty_class").message
    assert "1 .txt" in the(report, "other_files").message


def test_uneven_classes(tmp_path: Path) -> None:
    for i in range(20):
        picture(tmp_path / "cat" / f"{i}.png", (4, 4))
    picture(tmp_path / "dog" / "0.png", (4, 4))
    finding = the(check_folder(tmp_path), "uneven")
    assert finding.severity == "warning"
    assert "20 of 'cat', 1 of 'dog'" in finding.message
    assert "dls.weighted()" in finding.fix


def test_sizes(pets: Path) -> None:
    picture(pets / "train" / "cat" / "dot.png", (1, 1))
    report = check_folder(pets)
    assert the(report, "tiny").paths == (pets / "train" / "cat" / "dot.png",)
    assert "1 to 12 high and 1 to 16 wide" in the(report, "sizes").message
    assert the(report, "sizes").severity == "note"


@pytest.mark.parametrize("name", ["val", "validation", "test", "Valid"])
def test_names_of_the_validation_folder(pets: Path, name: str) -> None:
    os.rename(pets / "valid", pets / name)
    shutil.copy(pets / "train/cat/1.png", pets / name / "cat" / "1b.png")
    assert check_folder(pets).paths("leak") == [pets / name / "cat" / "1b.png"]


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    with pytest.raises(DataError, match="Did you mean 'pets'"):
        check_folder(tmp_path / "petz")
    with pytest.raises(DataError, match="the folder is empty"):
        check_folder(tmp_path / "pets")
    (tmp_path / "pets" / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"No images .*found 1 \.txt file"):
        check_folder(tmp_path / "pets")
    with pytest.raises(DataError, match="is a file, not a folder"):
        check_folder(tmp_path / "pets" / "a.txt")


def test_a_loop_of_links_ends(pets: Path) -> None:
    (pets / "train" / "cat" / "loop").symlink_to(pets / "train")
    assert check_folder(pets).n_checked == 10


def test_nothing_is_changed(pets: Path) -> None:
    FAULTS["damaged"](pets / "train" / "cat" / "bad.png")
    shutil.copy(pets / "train/cat/1.png", pets / "valid/cat/leak.png")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in pets.rglob("*")}
    check_folder(pets)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in pets.rglob("*")} == before


def test_loaders_of_items(pets: Path) -> None:
    def side(name: str) -> SimpleNamespace:
        files = sorted((pets / name).rglob("*.png"))
        raw = (files, [file.parent.name for file in files])
        dataset = type("Items", (), {"__len__": lambda _: len(files), "read": lambda _, i, part: raw[part][i]})()
        dataset.kinds, dataset.raw, dataset.split = ("image", "category"), raw, name
        return SimpleNamespace(dataset=dataset)

    shutil.copy(pets / "train/cat/1.png", pets / "valid/dog/leak.png")
    (pets / "train" / "cat" / "empty.png").write_bytes(b"")
    foreign = SimpleNamespace(dataset=[1, 2])
    report = check_dataloaders(SimpleNamespace(loaders=[side("train"), side("valid"), foreign]))  # type: ignore[arg-type]
    assert report.n_checked == 12
    assert report.paths("leak") == [pets / "valid/dog/leak.png"]
    assert report.unreadable == [pets / "train/cat/empty.png"]
    assert "The valid loader holds list" in the(report, "foreign").message


def test_a_number_of_workers_that_is_none(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="max_workers is how many threads read files, a whole number, not '2'"):
        check_images([tmp_path / "a.png"], max_workers="2", progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="check_folder has no option 'workers'.*Did you mean 'max_workers'"):
        check_folder(tmp_path, workers=2)  # type: ignore[call-arg]
