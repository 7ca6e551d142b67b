"""One file at a time: what is wrong with it, found without decoding more than needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faulty_pictures import cut, picture
from PIL import Image

from fastlearn.data import examine as examine_module
from fastlearn.data.checks import check_images
from fastlearn.data.examine import examine, in_threads


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("part", [0.3, 0.9, 0.99])
def test_truncated_jpegs_are_found_without_decoding_all(tmp_path: Path, thorough: bool, part: float) -> None:
    good, bad = picture(tmp_path / "good.jpg", (200, 200)), picture(tmp_path / "bad.jpg", (200, 200))
    cut(bad, part)
    assert check_images([good, bad], thorough=thorough).paths("damaged") == [bad]


def test_a_jpeg_with_something_after_its_end_is_good(tmp_path: Path) -> None:
    path = picture(tmp_path / "phone.jpg", (64, 64))
    path.write_bytes(path.read_bytes() + b"trailer" * 100)
    assert examine(path, thorough=False).fault is None


@pytest.mark.parametrize(
    ("name", "kind", "wrong"),
    [
        *[(name, "JPEG", "") for name in ("a.jpg", "a.JPG", "a.jpeg", "a.jfif", "a.jpe", "a", "a.data")],
        *[(name, "TIFF", "") for name in ("a.tif", "a.TIFF")],
        ("a.mpo", "JPEG", ""),
        ("a.jpg", "MPO", ""),
        ("a.bmp", "BMP", ""),
        ("a.jpg", "PNG", "PNG"),
        ("a.png", "JPEG", "JPEG"),
        ("a.png", "WEBP", "WEBP"),
        ("a.HEIC", "JPEG", "JPEG"),
        ("a.jpg", "JPEG2000", "JPEG2000"),
    ],
)
@pytest.mark.parametrize("thorough", [True, False])
def test_names_that_promise_another_format(tmp_path: Path, name: str, kind: str, wrong: str, thorough: bool) -> None:
    two = {"save_all": True, "append_images": [Image.new("RGB", (12, 16))]} if kind == "MPO" else {}
    seen = examine(picture(tmp_path / name, format=kind, **two), thorough)
    assert (seen.fault, seen.wrong_name) == (None, wrong)


def test_a_bomb_is_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(examine_module, "_digest", lambda _: pytest.fail("decoded"))
    for size in ((11, 10), (30, 30)):  # Pillow itself warns of the first and refuses the second
        assert check_images([picture(tmp_path / "large.png", size)]).paths("bomb") == [tmp_path / "large.png"]


def test_only_files_of_one_length_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [picture(tmp_path / f"{i}.bmp", (8, 8 + i // 2)) for i in range(6)]
    paths += [picture(tmp_path / f"{i}.bmp", (8, 40)) for i in (6, 7)]
    for path in paths[6:]:
        path.write_bytes(path.read_bytes())
    read = []
    real = examine_module._head_digest
    monkeypatch.setattr(examine_module, "_head_digest", lambda path: read.append(path) or real(path))
    shutil.copy(paths[7], paths[6])
    assert check_images(paths[:1] + paths[2:3] + paths[6:], thorough=False).paths("duplicate") == [paths[7]]
    assert read == paths[6:]


def test_an_interrupt_stops_the_threads() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise KeyboardInterrupt
        return i

    with pytest.raises(KeyboardInterrupt):
        in_threads(work, list(range(1000)), "", max_workers=2)
    assert in_threads(lambda i: i * 2, list(range(100)), "", max_workers=2) == list(range(0, 200, 2))
