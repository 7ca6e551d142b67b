"""Which data these are: told by what is in them, and not by where they lie."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.identity import data_identity, short_digest
from fastlearn.data.loaders import DataLoader
from fastlearn.vision.all import Flip, ImageDataLoaders, Resize


def pictures(folder: Path, n: int = 4) -> Path:
    for split, label in (("train", "a"), ("train", "b"), ("valid", "a"), ("valid", "b")):
        (folder / split / label).mkdir(parents=True)
        for k in range(n):
            Image.fromarray(np.full((8, 8, 3), 20 * k, np.uint8)).save(folder / split / label / f"{k}.png")
    return folder


def told(folder: Path, **options: Any) -> dict[str, Any]:
    given = {"item_tfms": Resize(8), "bs": 4, "seed": 1, "device": "cpu", "cache": False} | options
    return data_identity(ImageDataLoaders.from_folder(folder, **given))


def test_a_copy_elsewhere_is_the_same(tmp_path: Path) -> None:
    first = told(pictures(tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "deep" / "two")
    assert told(tmp_path / "deep" / "two") == first and first["training set"]["samples"] == 8


def test_what_changes_is_told(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "one")
    first = told(folder)
    assert told(folder, bs=2)["training set"]["batch size"] == 2
    assert told(folder, item_tfms=Resize(16))["training set"]["transforms"] == ["Resize(16x16, crop)"]
    assert "Flip(p=0.5)" in told(folder, batch_tfms=Flip())["training set"]["batch transforms"]
    changed = folder / "train" / "a" / "0.png"
    changed.write_bytes(changed.read_bytes() + b"\0")
    second = told(folder)
    assert second["training set"] != first["training set"] and second["validation set"] == first["validation set"]
    (folder / "valid" / "b" / "9.png").write_bytes(changed.read_bytes())
    assert told(folder)["validation set"]["samples"] == 9


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(torch.ones(2), 1)], [(torch.zeros(2), 1)]),
        ([(np.ones(2), "a")], [(np.ones(2), "b")]),
        ([(1.0, None)], [(1.5, None)]),
        (TensorDataset(torch.ones(3, 2)), TensorDataset(torch.zeros(3, 2))),
    ],
)
def test_values_count(one: Any, other: Any) -> None:
    def content(dataset: Any) -> Any:
        return data_identity(DataLoaders(DataLoader(dataset, 1, device="cpu")))["training set"]["samples' content"]

    assert content(one) == content(one) and content(one) != content(other)


def test_loaders_of_others_are_told_by_what_can_be_known() -> None:
    told = data_identity(DataLoaders(TorchLoader(TensorDataset(torch.ones(6, 2), torch.ones(6)), 2), device="cpu"))
    assert told["training set"]["batches"] == 3
    assert data_identity(DataLoaders([(torch.ones(2, 2), torch.ones(2))], device="cpu"))["training set"]["batches"] == 1


def test_a_table_counts_with_its_columns() -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})

    class Rows:
        items = table

        def __len__(self) -> int:
            return 2

        def __getitem__(self, i: int) -> Any:
            return torch.tensor(i)

    def content() -> Any:
        return data_identity(DataLoaders(DataLoader(Rows(), 1, device="cpu")))["training set"]["samples' content"]

    before = content()
    Rows.items = table.assign(b=["x", "z"])
    assert content() != before
    assert short_digest("a") == short_digest(b"a") != short_digest("b")
