"""DataLoaders, foreign loaders, and weights for uneven classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from fastlearn.data.block import CategoryBlock, DataBlock, RegressionBlock
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.foreign import ForeignLoader
from fastlearn.data.label import ColReader
from fastlearn.data.loaders import DataLoader, Loader
from fastlearn.data.samples import class_weights
from fastlearn.data.split import ColSplitter, IndexSplitter
from fastlearn.data.transform import BatchTransform
from fastlearn.errors import ConfigError, DataError
from fastlearn.runtime.device import to_cpu
from fastlearn.runtime.seed import RunKey

X, Y = torch.arange(20.0), torch.arange(20) % 3
DF = pd.DataFrame({"x": range(12), "y": list("aaaaaaaabbab"), "is_valid": [False] * 10 + [True] * 2})


def dls(**options: Any) -> DataLoaders:
    made = DataBlock(
        (RegressionBlock, CategoryBlock), get_x=ColReader("x"), get_y=ColReader("y"), splitter=ColSplitter()
    )
    return made.dataloaders(DF, **({"bs": 4, "device": "cpu"} | options))


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
    assert found.to("meta").device.type == "meta" and found.valid.device.type == "meta"
    weighted = dls(weights="balanced")
    assert weighted.train.weights is not None and weighted.valid.weights is None
    assert np.allclose(dls().weighted().train.weights, [1 / 16] * 8 + [1 / 4] * 2)
    made = DataBlock(
        (RegressionBlock, CategoryBlock), get_x=ColReader("x"), get_y=ColReader("y"), splitter=ColSplitter()
    )
    by_all = made.weighted_dataloaders(DF, list(range(12)), bs=4)
    assert np.allclose(by_all.train.weights, np.arange(10) / 45)
    assert np.allclose(made.weighted_dataloaders(DF, np.arange(10), bs=4).train.weights, by_all.train.weights)


class Plus(BatchTransform):
    """Adds a number."""

    def __init__(self, n: float, order: int) -> None:
        self.n, self.order = n, order

    def __call__(self, batch: Any, kinds: Any, rng: Any, train: bool) -> Any:
        return ((batch[0] + 1) * self.n, *batch[1:])

    def decode(self, batch: Any, kinds: Any) -> Any:
        return (batch[0] / self.n - 1, *batch[1:])

    def merge(self, other: BatchTransform) -> BatchTransform | None:
        return Plus(self.n * 10, self.order) if isinstance(other, Plus) and other.order == self.order else None


def test_batch_transforms_by_order_and_merged() -> None:
    found = dls(bs=4, num_workers=0)
    made = found.add_batch_tfms([Plus(3, 5), Plus(2, 1)])
    assert [tfm.order for tfm in made.train.after_batch.tfms] == [1, 5] and not found.train.after_batch
    batch = made.valid.one_batch()
    assert batch[0].tolist() == [3 * (2 * 11 + 1), 3 * (2 * 12 + 1)]
    assert made.valid.decode_batch(batch) == [(10.0, "a"), (11.0, "b")]
    assert [tfm.n for tfm in found.add_batch_tfms([Plus(3, 5), Plus(2, 5)]).train.after_batch.tfms] == [30]


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


def test_torch_loaders() -> None:
    data = TensorDataset(X, Y)
    found = DataLoaders(TorchLoader(data, batch_size=6, shuffle=True), TorchLoader(data, batch_size=6), device="cpu")
    assert (found.bs, found.n_inp, found.c, found.task, len(found.train), found.train.n) == (6, 1, None, None, 4, 20)
    assert isinstance(found.train, Loader) and found.train.loader.batch_size == 6 and found.train_ds is data
    state = torch.get_rng_state()
    one, again, other = (
        torch.cat([b[0] for b in found.train.batches(RunKey(1, "train", epoch))]) for epoch in (0, 0, 1)
    )
    assert torch.equal(one, again) and not torch.equal(one, other) and torch.equal(one.sort()[0], X)
    assert torch.equal(state, torch.get_rng_state())
    tail = torch.cat([b[0] for b in found.train.batches(RunKey(1, "train", 0), 2)])
    assert torch.equal(tail, one[12:])
    with pytest.raises(ConfigError, match="show_batch knows nothing"):
        found.show_batch()
    with pytest.raises(ConfigError, match="test_dl needs DataLoaders made by"):
        found.test_dl([1])
    with pytest.raises(ConfigError, match="takes no batch_tfms"):
        found.add_batch_tfms([])


def test_lists_of_batches() -> None:
    found = DataLoaders([(X, Y)], [(X, Y), (X, Y)], device="cpu")
    assert (len(found.train), len(found.valid), found.train.n, found.valid.n, found.bs) == (1, 2, 20, 40, 20)
    assert torch.equal(found.one_batch()[1], Y) and len(list(found.valid)) == 2
    assert len(found.train.decode_batch(found.one_batch(), 2)) == 2


def test_our_loaders_over_plain_data() -> None:
    pairs = list(zip(X, Y, strict=True))
    found = DataLoaders(DataLoader(pairs, batch_size=8, device="cpu"), DataLoader(pairs, batch_size=8, device="cpu"))
    assert found.device.type == "cpu" and found.one_batch()[0].shape == (8,) and found.c is None
    made = DataLoaders.from_dsets(pairs, pairs, bs=8, device="cpu", batch_tfms=lambda t: t + 1)
    assert made.valid.one_batch()[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    with pytest.raises(DataError, match="no training samples"):
        DataLoaders.from_dsets([], pairs)


def test_what_is_no_loader() -> None:
    with pytest.raises(ConfigError, match="cannot be iterated"):
        ForeignLoader(3)
    with pytest.raises(ConfigError, match=r"generator has no len\(\)"):
        ForeignLoader(i for i in range(3))


class Sampler:
    """Knows its epoch."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        return iter(range(self.epoch, 20))

    def __len__(self) -> int:
        return 20


def test_samplers_are_told_the_epoch() -> None:
    loader = ForeignLoader(TorchLoader(TensorDataset(X), batch_size=4, sampler=Sampler()), device="cpu")
    assert next(loader.batches(RunKey(0, "train", 5)))[0][0] == 5


def test_class_weights() -> None:
    labels = list("aaaaaaaabb")
    expected = compute_class_weight("balanced", classes=np.array(["a", "b"]), y=labels)
    for source in (dls(), dls().train_ds, labels):
        assert np.allclose(class_weights(source).numpy(), expected)
    assert class_weights(torch.tensor([0, 0, 2]), range(3)).tolist() == [0.75, 0.0, 1.5]
    with pytest.raises(ConfigError, match="need one class a sample"):
        class_weights(DataBlock((RegressionBlock, RegressionBlock), splitter=IndexSplitter([0])).dataloaders([1, 2]))
    with pytest.raises(DataError, match="None of the 2 labels is one of the classes"):
        class_weights(["a", "b"], ["c"])
