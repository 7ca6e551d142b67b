"""Preprocess: the pixels of validation, from plain values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastlearn.errors import CheckpointError, DataError, ImageError
from fastlearn.export.preprocess import Preprocess


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_formula() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    found = Preprocess(mean=mean, std=std).batch([noise(6, 5), noise(6, 5)])
    pixels = torch.from_numpy(noise(6, 5)).permute(2, 0, 1).double() / 255
    wanted = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert found.shape == (2, 3, 6, 5) and found.dtype == torch.float32
    torch.testing.assert_close(found[1].double(), wanted, rtol=0, atol=1e-6)


def test_cropping_equals_pillow() -> None:
    # A 40x20 picture at 10x10: the middle 20x20 of it, made smaller.
    picture = Image.fromarray(noise(20, 40))
    wanted = picture.resize((10, 10), Image.Resampling.BILINEAR, box=(10, 0, 30, 20))
    found = Preprocess(size=(10, 10)).pixels(noise(20, 40))
    np.testing.assert_array_equal(found, np.asarray(wanted).transpose(2, 0, 1))


@pytest.mark.parametrize("method", ["crop", "pad", "squish"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_json_there_and_back(method: str, mode: str) -> None:
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    made = Preprocess((8, 12), method, "zeros", mode, (0.5,) * channels, (0.25,) * channels)
    again = Preprocess.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made
    assert again.batch([noise(9, 30)]).shape == (1, channels, 8, 12)


def test_pictures_of_several_sizes_without_a_size_are_refused() -> None:
    with pytest.raises(DataError, match=r"differ \(5x4, 7x6\): predict them one by one"):
        Preprocess().batch([noise(4, 5), noise(6, 7)])


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match="a.jpg is empty"):
        Preprocess().batch([tmp_path / "a.jpg"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": [0, 8]}, "size"),
        ({"size": 8}, "size"),
        ({"size": [8, True]}, "size"),
        ({"size": [10**9, 10**9]}, "size"),
        ({"method": "melt"}, "method"),
        ({"pad_mode": None}, "pad_mode"),
        ({"mode": "CMYK"}, "mode"),
        ({"mode": ["RGB"]}, "mode"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"mean": None}, "mean"),
        ({"std": [1.0, 0.0, 1.0]}, "std"),
        ({"std": ["a", "b", "c"]}, "std"),
    ],
)
def test_values_that_cannot_be_are_refused(change: dict[str, object], said: str) -> None:
    good = Preprocess((8, 8), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).to_json()
    with pytest.raises(CheckpointError, match=f"has a {said} that cannot be"):
        Preprocess.from_json(good | change)


@pytest.mark.parametrize("found", [None, [], "RGB", {"colour": "RGB"}])
def test_something_else_is_refused(found: object) -> None:
    with pytest.raises(CheckpointError, match="not one that this fastlearn knows"):
        Preprocess.from_json(found)
