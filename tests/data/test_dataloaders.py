"""DataLoaders: attributes, sizes, devices, new items."""

from __future__ import annotations

import copy
import pathlib

import numpy as np
import pytest
import torch
from blocks_of import block
from column_loaders import DF, X, Y, dls

from fastlearn.data.block import CategoryBlock, DataBlock, RegressionBlock
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.label import ColReader
from fastlearn.data.loaders import DataLoader
from fastlearn.data.split import ColSplitter
from fastlearn.errors import ConfigError, DataError, ImageError, UnknownNameError
from fastlearn.runtime.device import to_cpu


def test_attributes() -> None:
    found = dls(val_bs=1, path="models")
    assert (len(found), found.c, found.bs, found.n_inp, found.valid.bs, str(found.path)) == (2, 2, 4, 1, 1, "models")
    assert found[0] is found.train is found.loaders[0] and found[-1] is found.valid and list(found) == found.loaders
    assert found.train.shuffle and found.train.drop_last and found.train.train and len(found.train) == 2
    assert not found.valid.shuffle and not found.valid.drop_last and len(found.valid) == 2
    assert found.valid_ds.items["x"].tolist() == [10, 11] and len(found.train_ds) == 10
    assert [part.device.type for part in to_cpu(found.train.one_batch())] == ["cpu", "cpu"]
    assert found.task is not None and found.task.name == "classification" and found.display is None
    with pytest.raises(ConfigError, match="There is no loader 2: there are 2"):
        found[2]


def test_batch_sizes_are_checked() -> None:
    assert dls(bs=None).bs == 10 and len(dls(bs=None).train) == 1
    with pytest.raises(ConfigError, match="bs=11 is larger than the training set, which has 10"):
        dls(bs=11)
    with pytest.raises(ConfigError, match="bs=0"):
        dls(bs=0)


def test_new_device_and_weighted() -> None:
    found = dls()
    assert found.new(bs=2).valid.bs == 2 and found.bs == 4 and found.cpu() is found
    assert found.to("cpu:0").device == torch.device("cpu:0") == found.valid.device
    weighted = dls(weights="balanced")
    assert weighted.train.weights is not None and weighted.valid.weights is None
    assert np.allclose(dls().weighted().train.weights, [1 / 16] * 8 + [1 / 4] * 2)
    made = DataBlock(
        (RegressionBlock, CategoryBlock), get_x=ColReader("x"), get_y=ColReader("y"), splitter=ColSplitter()
    )
    by_all = made.weighted_dataloaders(DF, list(range(12)), bs=4)
    assert np.allclose(by_all.train.weights, np.arange(10) / 45)
    assert np.allclose(made.weighted_dataloaders(DF, np.arange(10), bs=4).train.weights, by_all.train.weights)


def test_new_items() -> None:
    found = dls()
    loader = found.test_dl(DF[:3])
    (inputs,) = loader.one_batch()
    assert inputs.tolist() == [0, 1, 2] and loader.n == 3 and loader.decode_batch((inputs,))[0] == (0.0,)
    assert found.test_dl(DF, with_labels=True, bs=12).one_batch()[1].tolist() == [0] * 8 + [1, 1, 0, 1]
    assert len(found.test_dl(DF, bs=5)) == 3 and found.test_dl(DF, num_workers=0).num_workers == 0
    with pytest.raises(DataError, match=r"The test set has classes.*'z'"):
        found.test_dl(DF.assign(y="z"), with_labels=True)
    with pytest.raises(DataError, match="There are no items"):
        found.test_dl(DF[:0])
    with pytest.raises(DataError, match=r"no items to make a test_dl of: found None\. Type dls\.test_dl"):
        found.test_dl(None)
    with pytest.raises(ConfigError, match="with_labels is True or False, not 'y'"):
        found.test_dl(DF, with_labels="y")


def test_new_items_that_are_no_file_are_told_at_once(folder: pathlib.Path) -> None:
    dls = block().dataloaders(folder, device="cpu")
    cats = folder / "valid" / "cat"
    with pytest.raises(ImageError, match=r"There is no file .*cat/00\.npy\. Did you mean '0\.npy'") as told:
        dls.test_dl(str(cats / "00.npy"))
    assert told.value.path == str(cats / "00.npy")
    for items in (cats, str(cats), [cats]):
        with pytest.raises(ImageError, match=r"cat is a folder, .*test_dl\(get_image_files\('.*cat'\)\)"):
            dls.test_dl(items)
    assert len(dls.test_dl(cats / "0.npy")) == len(dls.test_dl([cats / "0.npy", cats / "1.npy"])) == 1


def test_our_loaders_over_plain_data() -> None:
    pairs = list(zip(X, Y, strict=True))
    found = DataLoaders(DataLoader(pairs, batch_size=8, device="cpu"), DataLoader(pairs, batch_size=8, device="cpu"))
    assert found.device.type == "cpu" and found.one_batch()[0].shape == (8,) and found.c is None
    made = DataLoaders.from_dsets(pairs, pairs, bs=8, device="cpu", batch_tfms=lambda t: t + 1)
    assert made.valid.one_batch()[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    with pytest.raises(DataError, match="no training samples"):
        DataLoaders.from_dsets([], pairs)


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="A DataLoaders has no 'trian'. Did you mean 'train'"):
        _ = dls().trian
    assert not hasattr(dls(), "_repr_html_")
    assert copy.copy(found := dls()).loaders is found.loaders
    with pytest.raises(AttributeError, match="'ForeignLoader' object has no attribute 'nothing'"):
        _ = Broken([1], [2]).about


class Broken(DataLoaders):
    @property
    def about(self) -> object:
        return self.train.nothing
