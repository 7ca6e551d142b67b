"""DataLoader: order, reproducibility, sizes, weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from number_loaders import KEY, N, dataset, loader, same
from torch import Tensor
from torch.utils.data import TensorDataset

from fastlearn.data.loaders import DataLoader, Loader
from fastlearn.data.transform import BatchPipeline
from fastlearn.errors import ConfigError, DataError
from fastlearn.runtime.seed import RunKey, numpy_rng

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_order_is_a_function_of_the_key() -> None:
    dl = loader()
    expected = numpy_rng(7, "train", 3, "order").permutation(N)
    assert dl.order(KEY).tolist() == expected.tolist() == loader(num_workers=2).order(KEY).tolist()
    assert dl.indices(KEY, 1) == expected[4:8].tolist() and dl.indices(KEY, -1) == expected[20:].tolist()
    others = [RunKey(8, "train", 3), RunKey(7, "lr_find", 3), RunKey(7, "train", 4)]
    assert all(dl.order(key).tolist() != expected.tolist() for key in others)
    assert loader(shuffle=False).order(KEY).tolist() == list(range(N))
    targets = torch.cat([b[1] for b in dl.batches(KEY)])
    assert targets.tolist() == (expected % 2).tolist()


def test_samples_draw_from_generators_of_their_own() -> None:
    data, dl = dataset(), loader(after_batch=BatchPipeline())
    (batch, *_) = dl.batches(KEY)
    for row, index in zip(batch[0], dl.indices(KEY, 0), strict=True):
        rng = numpy_rng(7, "train", 3, "sample", index)
        assert torch.equal(row, torch.from_numpy(data.sample(index, rng, True)[0]))
    plain = loader(shuffle=False, train=False)
    assert torch.equal(torch.cat([b[0] for b in plain.batches(KEY)])[:, 0], torch.arange(N).float())


def test_passes_have_counters_of_their_own() -> None:
    dl, again = loader(seed=1), loader(seed=1)
    first, second = list(dl), list(dl)
    assert not same(first, second) and same(first, list(again)) and same(second, list(again))
    training = list(dl.batches(KEY))
    state = torch.get_rng_state()
    assert not torch.equal(dl.one_batch()[0], dl.one_batch()[0])
    dl.show_batch(show=False)
    assert same(training, list(dl.batches(KEY))) and torch.equal(state, torch.get_rng_state())


def test_the_seed_follows_torch_and_does_not_advance_it() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = loader(), loader()
    assert torch.equal(state, torch.get_rng_state()) and one.seed == two.seed
    torch.manual_seed(6)
    assert loader().seed != one.seed


def test_sizes() -> None:
    assert (loader().n, len(loader()), len(loader(drop_last=True)), loader().bs) == (N, 6, 5, 4)
    assert [len(b[0]) for b in loader(drop_last=True).batches(KEY)] == [4] * 5
    assert loader(bs=None).bs == N and DataLoader(list(range(100)), device="cpu").bs == 64
    assert DataLoader([(1.0, 2)], batch_size=1, device="cpu").bs == 1 and len(loader(bs=N)) == 1
    assert DataLoader([1, 2], 64, device="cpu").one_batch().tolist() == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bs": 0}, r"bs=0 for a set of 22 samples.*Type bs=22"),
        ({"bs": -1}, "bs=-1"),
        ({"bs": 2.5}, "bs=2.5"),
        ({"bs": 23}, r"bs=23 is larger than the training set, which has 22 samples\. Type bs=22 or less"),
        ({"bs": 4, "batch_size": 5}, "two names for one thing"),
        ({"num_workers": -1}, "num_workers=-1"),
        ({"workers": "threads"}, "workers='threads': choose 'auto', 'thread' or 'process'"),
        ({"weights": [1.0]}, "1 weights for 22 training samples"),
        ({"weights": "balance"}, "expected 'balanced'"),
        ({"weights": [-1.0] * N}, "finite numbers from 0"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loader(**options)


def test_new_keeps_options_and_names_unknown_ones() -> None:
    dl = loader(seed=3).new(bs=2, shuffle=False)
    assert (dl.bs, dl.shuffle, dl.seed, dl.train) == (2, False, 3, True)
    assert loader(seed=3).new(dataset(range(3))).bs == 3
    with pytest.raises(ConfigError, match=r"no option 'num_worker'\. Did you mean 'num_workers'"):
        loader().new(num_worker=2)
    with pytest.raises(ConfigError, match="has no length or index"):
        DataLoader(iter([1]))
    assert isinstance(loader(), Loader)


def test_other_data_sets_use_torchs_collation() -> None:
    x, y = torch.arange(10.0), torch.arange(10)
    for workers in (0, 2):
        dl = DataLoader(TensorDataset(x, y), bs=4, num_workers=workers, device="cpu")
        assert torch.equal(torch.cat([b[0] for b in dl]), x) and dl.n_inp == 1 and dl.vocab is None
    assert DataLoader(TensorDataset(x, y), device="cpu").num_workers == 0
    dl = DataLoader([{"a": i} for i in range(4)], bs=2, collate=lambda rows: [r["a"] for r in rows], device="cpu")
    assert list(dl) == [[0, 1], [2, 3]]
    with pytest.raises(DataError, match="cannot form a batch"):
        DataLoader([torch.ones(2), torch.ones(3)], bs=2, device="cpu").one_batch()
    assert DataLoader(list(zip(x, y, strict=True)), bs=5, device="cpu").one_batch()[1].tolist() == [0, 1, 2, 3, 4]


class Broken:
    """A data set of somebody else's, with a fault."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Tensor:
        if i == 2:
            raise KeyError("no such thing")
        return torch.zeros(1)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_in_other_data_sets_name_the_item(workers: int) -> None:
    with pytest.raises(KeyError) as raised:
        list(DataLoader(Broken(), bs=2, num_workers=workers, device="cpu"))
    assert raised.value.__notes__ == ["while reading item 2 of Broken"]
    del raised


def test_weights() -> None:
    dl = loader(range(1000), weights=[9.0] * 500 + [1.0] * 500, bs=1000, after_batch=BatchPipeline())
    order = dl.order(KEY)
    assert len(order) == 1000 and abs((order < 500).mean() - 0.9) < 0.04 and dl.order(KEY).tolist() == order.tolist()
    balanced = dataset([*range(90)], ())
    balanced.items = [(k, "a" if k < 81 else "b") for k in range(90)]
    drawn = DataLoader(balanced, bs=90, weights="balanced", device="cpu").order(KEY)
    assert 0.35 < (drawn >= 81).mean() < 0.65
    only = loader(range(3), weights=[0, 1.0, 0], bs=3, after_batch=BatchPipeline()).one_batch()[0]
    assert len(set(only[:, 0].tolist())) == 3  # one item three times, each time changed differently


def test_looking() -> None:
    dl = loader(train=False, shuffle=False)
    samples = dl.show_batch(max_n=3, show=False)
    assert [(s[0].tolist(), s[1]) for s in samples] == [([0, 0], "a"), ([1, 1], "b"), ([2, 2], "a")]
    unique = loader().show_batch(max_n=3, unique=True, show=False)
    assert len({s[1] for s in unique}) == 1 and len({s[0][0].item() for s in unique}) == 3
    with pytest.raises(ConfigError, match="kinds raw, category cannot be drawn"):
        dl.show_batch()
    with pytest.raises(DataError, match="There is no batch"):
        DataLoader([], device="cpu").one_batch()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataLoader(pd.DataFrame({"a": [1]})), "A DataFrame is no data set.*DataBlock"),
        (lambda: DataLoader(list), "has no length or index"),
        (lambda: DataLoader([1], shuffle="yes"), "shuffle is True or False, not 'yes'"),
        (lambda: DataLoader([1], seed="a"), "seed needs a whole number"),
        (lambda: DataLoader([1], np.zeros((30, 30))), "bs=a ndarray for a set of 1 samples"),
        (lambda: DataLoader([1], after_batch=[len]), "after_batch is a BatchPipeline, not .*batch_tfms="),
        (lambda: DataLoader([1], collate=3), "collate is a function, not 3"),
        (lambda: DataLoader([1], n_inp="x"), "n_inp='x': expected how many parts of a sample are inputs"),
    ],
)
def test_options_of_a_wrong_sort(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
