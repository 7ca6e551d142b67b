"""The data sets that ship: complete, small, and with no picture on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastlearn.data.checks import check_folder

ROOT = Path(__file__).parents[1] / "datasets"
COUNTS = {"digits": (1438, 359, 10), "fashion": (2000, 1000, 10), "clipart": (337, 108, 8)}
SIZES = {"digits": (8, 8), "fashion": (28, 28), "clipart": (96, 96)}


def pixels(file: Path, mode: str = "L", size: tuple[int, int] | None = None) -> np.ndarray:
    with Image.open(file) as image:
        made = image.convert(mode)
        return np.asarray(made if size is None else made.resize(size), np.float32)


@pytest.mark.parametrize("name", COUNTS)
def test_nothing_is_wrong_with_it(name: str) -> None:
    report = check_folder(ROOT / name)
    assert report.findings == ()
    assert report.n_checked == sum(COUNTS[name][:2])


@pytest.mark.parametrize("name", COUNTS)
def test_counts_sizes_and_papers(name: str) -> None:
    for side, n in zip(("train", "valid"), COUNTS[name], strict=False):
        files = list((ROOT / name / side).glob("*/*.png"))
        assert len(files) == n
        assert len({file.parent.name for file in files}) == COUNTS[name][2]
        assert {pixels(file).shape for file in files} == {SIZES[name]}
    readme = (ROOT / name / "README.md").read_text(encoding="utf-8")
    for word in ("**Source**", "**Licence**", "**Made by** `make.py`"):
        assert word in readme
    assert (ROOT / name / "make.py").is_file()


def test_all_of_them_are_small() -> None:
    assert sum(file.stat().st_size for file in ROOT.rglob("*") if file.is_file()) < 8_000_000


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for file in (ROOT / "digits").glob("*/*/*.png"):
        i = int(file.stem)
        assert digits.target[i] == int(file.parent.name)
        assert np.abs(pixels(file) / 255 * 16 - digits.images[i]).max() < 0.5


def test_no_clipart_drawing_is_on_both_sides() -> None:
    """Coarse grey versions differ: neither the same drawing nor a slightly changed one is in train and in valid."""
    train, valid = (
        np.stack([pixels(file, size=(24, 24)).ravel() for file in sorted((ROOT / "clipart" / side).glob("*/*.png"))])
        for side in ("train", "valid")
    )
    assert np.abs(train[:, None] - valid[None]).mean(2).min() > 6  # of 255
