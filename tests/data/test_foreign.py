"""Loaders of torch and lists of batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from column_loaders import X, Y
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import SubsetRandomSampler, TensorDataset, WeightedRandomSampler

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.foreign import ForeignLoader
from fastlearn.data.loaders import Loader
from fastlearn.errors import ConfigError
from fastlearn.runtime.seed import RunKey


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


DATA = TensorDataset(X, Y)


@pytest.mark.parametrize(
    ("loader", "order"),
    [
        (TorchLoader(DATA, 6, shuffle=True, drop_last=True), range(20)),
        (TorchLoader(DATA, 6, sampler=SubsetRandomSampler([4, 2, 9])), [4, 2, 9]),
    ],
)
def test_a_shuffling_torch_loader_in_order(loader: Any, order: Any) -> None:
    found = ForeignLoader(loader, device="cpu").in_order()
    read = [torch.cat([batch[0] for batch in found.batches(RunKey(0, "predict", epoch))]) for epoch in (0, 1)]
    assert torch.equal(read[0], X[list(order)]) and torch.equal(read[0], read[1]) and found.bs == 6
    assert found.indices(RunKey(0, "x", 0), 0) == list(order)[:6]


@pytest.mark.parametrize(
    "loader",
    [
        TorchLoader(DATA, 6),
        TorchLoader(DATA, 6, sampler=WeightedRandomSampler([1.0] * 20, 20)),
        TorchLoader(DATA, batch_size=None),
        [(X, Y)],
    ],
)
def test_other_loaders_keep_their_order(loader: Any) -> None:
    found = ForeignLoader(loader, device="cpu")
    assert found.in_order() is found


def test_samples_are_known_only_without_shuffling() -> None:
    def samples(loader: Any, i: int = 3) -> list[int]:
        return ForeignLoader(loader, device="cpu").indices(RunKey(0, "train", 0), i)

    assert samples(TorchLoader(DATA, 6)) == [18, 19]
    assert samples(TorchLoader(DATA, 6, shuffle=True)) == samples([(X, Y)], 0) == []
    assert samples(TorchLoader(DATA, batch_size=None)) == samples(TorchLoader(DATA, batch_sampler=[[3, 1]]), 0) == []


class Odd(list[Any]):
    """A list whose index is none."""

    def __getitem__(self, i: Any) -> Any:
        raise IndexError(i)


def test_lists_that_are_indexed_in_their_own_way() -> None:
    found = ForeignLoader(Odd([(X, Y), (X, Y)]), device="cpu")
    assert (found.bs, found.n, len(list(found))) == (20, 40, 2)
    with pytest.raises(ConfigError, match="A loader gives batches, not file names"):
        ForeignLoader(Odd(["a.jpg"]))


@pytest.mark.parametrize("batch", [{"x": X}, X, [X]])
def test_the_size_of_batches(batch: Any) -> None:
    assert ForeignLoader([batch, batch], device="cpu").n == 40


@pytest.mark.parametrize("batch", [3, torch.tensor(1.0), {}, (), None])
def test_batches_without_a_size(batch: Any) -> None:
    found = ForeignLoader([batch], device="cpu")
    assert found.n is None and found.bs is None
