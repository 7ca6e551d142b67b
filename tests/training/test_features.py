"""Kept features: what is fixed of a model, what forbids to keep it, and that the batches are those of the pictures."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest
import torch
from tiny import samples
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from fastlearn.arch.head import Features as BodyFeatures
from fastlearn.arch.head import create_head
from fastlearn.callbacks.accumulate import GradientAccumulation
from fastlearn.callbacks.ema import EMA
from fastlearn.callbacks.mixup import MixUp
from fastlearn.callbacks.progress import ProgressCallback
from fastlearn.callbacks.reduce_on_plateau import ReduceLROnPlateau
from fastlearn.data.foreign import ForeignLoader
from fastlearn.data.loaders import DataLoader, Loader
from fastlearn.runtime.precision import Precision
from fastlearn.runtime.seed import RunKey
from fastlearn.training import features
from fastlearn.training.callback import Callback, FunctionCallback
from fastlearn.training.features import (
    FeatureLoader,
    FeatureReader,
    Features,
    NotKept,
    check_callbacks,
    check_loaders,
    keep_features,
    parts_of,
)

KEY = RunKey(1, "train", 3)


def frozen_conv_model(head: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    body.requires_grad_(False)
    body[1].running_mean.uniform_(-1, 1)
    return nn.Sequential(body, create_head(BodyFeatures(4), 3) if head is None else head)


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model[0].modules() if isinstance(module, nn.BatchNorm2d)]


def loader(n: int = 10, bs: int = 4, **options: Any) -> DataLoader:
    return DataLoader(samples(n), bs, device="cpu", seed=5, num_workers=0, **options)


def of_numbers(n: int) -> Features:
    """Features that are their own position, with a target of ten times that."""
    return Features(torch.arange(n).float()[:, None], (10 * torch.arange(n),))


def positions(batches: Any) -> list[list[int]]:
    found = []
    for x, y in batches:
        assert torch.equal(10 * x[:, 0].long(), y)
        found.append(x[:, 0].long().tolist())
    return found


# The two parts


def test_pooling_and_flattening_are_fixed_with_the_body():
    model = frozen_conv_model()
    parts = parts_of(model, norms(model))
    assert [type(layer).__name__ for layer in parts.fixed[1:]] == ["AdaptiveConcatPool2d", "Flatten"]
    assert list(parts.rest) == list(model[1])[2:] and list(parts.fixed)[0] is model[0]
    x = torch.randn(3, 1, 8, 8)
    model.eval()
    assert parts.fixed(x).shape == (3, 8) and torch.equal(parts.rest(parts.fixed(x)), model(x))


@pytest.mark.parametrize(
    "first", [nn.Dropout(0.1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False), nn.FractionalMaxPool2d(2, 3)]
)
def test_what_draws_learns_or_counts_is_not_fixed(first):
    model = frozen_conv_model(nn.Sequential(first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))
    parts = parts_of(model, norms(model))
    assert list(parts.fixed) == [model[0]] and len(parts.rest) == 4


def test_a_head_of_another_kind_is_trained_whole():
    class Head(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 2)

    model = frozen_conv_model(Head(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))
    assert list(parts_of(model, norms(model)).rest) == [model[1]]


def test_models_of_other_shapes():
    class Own(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return x

    for model in (nn.Linear(2, 2), nn.Sequential(nn.ReLU()), Own(nn.ReLU(), nn.ReLU())):
        with pytest.raises(NotKept, match="not a Sequential of two, a body and a head"):
            parts_of(model, [])


def test_a_body_that_changes():
    model = frozen_conv_model()
    with pytest.raises(NotKept, match="with bn='train' the body's batch norms follow the batches"):
        parts_of(model, [])
    model[0][0].bias.requires_grad_(True)
    with pytest.raises(NotKept, match="the body is not frozen: its 0.bias is trained"):
        parts_of(model, norms(model))


@pytest.mark.parametrize("where", ["", "0", "0.2", "1", "1.0"])
def test_somebody_who_watches_the_fixed_part(where):
    model = frozen_conv_model()
    handle = model.get_submodule(where).register_forward_hook(lambda *_: None)
    with pytest.raises(NotKept, match=f"{where or 'the model'} has a hook"):
        parts_of(model, norms(model))
    handle.remove()
    parts_of(model, norms(model))


def test_a_hook_on_a_head_of_which_nothing_is_fixed():
    model = frozen_conv_model(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten()))
    model[1].register_forward_pre_hook(lambda *_: None)
    with pytest.raises(NotKept, match="1 has a hook"):
        parts_of(model, norms(model))


def test_a_hook_on_the_rest_is_no_hindrance():
    model = frozen_conv_model()
    model[1][-1].register_forward_hook(lambda *_: None)
    parts_of(model, norms(model))


# Callbacks


class Replaces(Callback):
    def before_batch(self, state):
        state.inputs = ()


class Looks(Replaces):
    needs_inputs = False


class Draws(Callback):
    needs_inputs = True


@pytest.mark.parametrize("callback", [MixUp(), Replaces(), Draws(), FunctionCallback("before_batch", print)])
def test_callbacks_that_need_the_pictures(callback):
    with pytest.raises(NotKept, match="works on the pictures of each batch"):
        check_callbacks([Looks(), callback])


def test_callbacks_that_do_not():
    check_callbacks([Looks(), EMA(), ProgressCallback(), GradientAccumulation(8), ReduceLROnPlateau()])
    check_callbacks([FunctionCallback("after_batch", print)])


# Loaders


class Draw(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return torch.rand(2), 0


def test_loaders_that_cannot_be_read_unchanged():
    plain = loader()
    foreign = ForeignLoader([(torch.zeros(2, 6), torch.zeros(2))])
    two = DataLoader([(torch.zeros(2), torch.zeros(2), 0)], 1, n_inp=2, device="cpu")
    check_loaders(plain, None)
    check_loaders(plain, DataLoader(TensorDataset(torch.zeros(2, 2), torch.zeros(2)), 1, device="cpu"))
    for train, valid, message in (
        (foreign, plain, "the training one is not"),
        (plain, foreign, "the validation one is not"),
        (DataLoader(Draw(), 2, device="cpu"), plain, "a Draw may give another sample"),
        (two, plain, "the training samples have 2 inputs"),
        (plain, loader(train=True), "the validation pictures are changed at random"),
    ):
        with pytest.raises(NotKept, match=message):
            check_loaders(train, valid)


# Reading


def test_features_are_those_of_evaluation_in_the_order_of_the_set():
    body = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    body[1].running_mean.normal_()
    seen = []
    given = loader(10, 4, shuffle=True, drop_last=True, train=True)
    kept = FeatureReader(body, Precision(), progress=seen.append).read(given, [(False, KEY)])
    assert body.training and body[2].training and seen == [4, 4, 2]
    x, y = (torch.stack(column) for column in zip(*samples(10), strict=True))
    body.eval()
    torch.testing.assert_close(kept.inputs, body(x).detach(), rtol=1e-5, atol=1e-6)
    assert torch.equal(kept.targets[0], y) and not kept.inputs.requires_grad and not kept.inputs.is_inference()


def test_half_precision_is_the_learners():
    kept = FeatureReader(nn.Linear(6, 4), Precision("bf16", "cpu")).read(loader(), [(False, KEY)])
    assert kept.inputs.dtype == torch.bfloat16


def test_too_many_features_for_the_memory(monkeypatch):
    monkeypatch.setattr(features, "free_memory", lambda: 4 * 30 * (16 + 8) - 1)
    reader = FeatureReader(nn.Linear(6, 4), Precision())
    with pytest.raises(NotKept, match=r"features take [\d,]+ bytes.*a quarter of the free memory"):
        reader.read(loader(10), [(False, KEY), (True, KEY)], n_others=10)
    reader.read(loader(10), [(False, KEY)], n_others=19)


def test_no_memory_for_a_batch():
    class Full(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(NotKept, match="no memory to compute them"):
        FeatureReader(Full(), Precision()).read(loader(), [(False, KEY)])


def test_features_without_a_common_shape():
    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : len(x)]

    with pytest.raises(NotKept, match="several sizes"):
        FeatureReader(Cut(), Precision()).read(loader(6, 4), [(False, KEY)])

    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(NotKept, match="the body gives a tuple, not a tensor"):
        FeatureReader(Two(), Precision()).read(loader(6, 4), [(False, KEY)])


def test_inputs_of_another_kind():
    named = DataLoader([({"a": torch.zeros(2)}, 0)] * 2, 2, device="cpu")
    with pytest.raises(NotKept, match="the inputs are a dict, not a tensor"):
        FeatureReader(nn.Identity(), Precision()).read(named, [(False, KEY)])


def test_targets_of_another_kind():
    named = DataLoader([(torch.zeros(2), {"a": 1}), (torch.zeros(2), {"a": 2})], 2, device="cpu")
    with pytest.raises(NotKept, match="the targets are not one tensor row for each picture"):
        FeatureReader(nn.Identity(), Precision()).read(named, [(False, KEY)])


# Batches


@pytest.mark.parametrize(
    "options",
    [{}, {"shuffle": True}, {"shuffle": True, "drop_last": True}, {"weights": np.arange(11.0), "train": True}],
)
def test_the_same_samples_in_the_same_order_as_the_pictures(options):
    source = loader(11, 4, **options)
    kept = FeatureLoader(source, of_numbers(11))
    assert isinstance(kept, Loader) and len(kept) == len(source) and (kept.bs, kept.n_inp) == (4, 1)
    expected = [source.indices(KEY, i) for i in range(len(source))]
    assert positions(kept.batches(KEY)) == expected == [kept.indices(KEY, i) for i in range(len(kept))]
    assert positions(kept.batches(KEY, 1)) == expected[1:]


def test_several_passes_are_one_epoch():
    source = loader(11, 4, shuffle=True, drop_last=True, train=True)
    kept = FeatureLoader(source, of_numbers(11)).with_passes(3)
    found = positions(kept.batches(KEY))
    assert len(found) == len(kept) == 6 and found == [kept.indices(KEY, i) for i in range(6)]
    assert found[:2] == [source.indices(KEY, 0), source.indices(KEY, 1)] and found[2:4] != found[:2]
    for start in range(7):
        assert positions(kept.batches(KEY, start)) == found[start:]
    assert positions(kept.batches(RunKey(1, "train", 4)))[:2] != found[:2]


def test_a_last_batch_of_one_joins_the_one_before():
    kept = FeatureLoader(loader(9, 4), of_numbers(9), 2, joined=True)
    assert [len(batch) for batch in positions(kept.batches(KEY))] == [4, 5, 4, 5] and len(kept) == 4
    assert kept.indices(KEY, 1) == [4, 5, 6, 7, 8]
    assert [len(batch) for batch in positions(FeatureLoader(loader(9, 4), of_numbers(9)).batches(KEY))] == [4, 4, 1]
    ones = FeatureLoader(loader(3, 1), of_numbers(3), joined=True)
    assert [len(batch) for batch in positions(ones.batches(KEY))] == [1, 1, 1] and len(ones) == 3


def test_fewer_samples_than_a_batch():
    kept = FeatureLoader(loader(3, 8), of_numbers(3)).with_passes(2)
    assert [len(batch) for batch in positions(kept.batches(KEY))] == [3, 3]


def test_a_view_is_drawn_for_each_sample_anew():
    source = loader(40, 40, shuffle=True)
    kept = FeatureLoader(source, Features(torch.arange(120.0)[:, None], (torch.arange(120) % 40,), 3))
    epochs = [next(kept.batches(RunKey(1, "train", epoch))) for epoch in range(2)]
    for epoch, (x, y) in enumerate(epochs):
        assert y.tolist() == source.indices(RunKey(1, "train", epoch), 0)
        assert torch.equal(x[:, 0] % 40, y.float()) and set((x[:, 0] // 40).tolist()) == {0.0, 1.0, 2.0}
    again = next(kept.batches(RunKey(1, "train", 0)))
    assert torch.equal(again[0], epochs[0][0])


def test_views_are_changed_as_in_training_and_the_first_is_not():
    class Shaky:
        """Samples of fastlearn's kind: in training their numbers are moved."""

        kinds, n_inp = ("raw", "raw"), 1

        def __len__(self) -> int:
            return 6

        def sample(self, index: int, rng: np.random.Generator, train: bool) -> tuple[np.ndarray, np.ndarray]:
            moved = rng.random() if train else 0.0
            return np.float32([index + moved]), np.int64(index)

        def __getitem__(self, index: int) -> Any:
            raise AssertionError

    source = DataLoader(Shaky(), 2, shuffle=True, train=True, device="cpu", num_workers=0, seed=1)
    head = [
        keep_features(
            features.Parts(nn.Sequential(nn.Identity()), nn.Sequential(nn.Linear(1, 2))),
            source,
            source.new(train=False, shuffle=False),
            seed=seed,
            n_views=3,
            precision=Precision(),
        )
        for seed in (1, 1, 2)
    ]
    kept = head[0].train.features
    assert kept.n_views == 3 and torch.equal(kept.inputs[:6, 0], torch.arange(6.0))
    moved = kept.inputs[6:, 0].view(2, 6) - torch.arange(6.0)
    assert ((moved > 0) & (moved < 1)).all() and len(moved.unique()) == 12
    assert torch.equal(kept.targets[0], torch.arange(6).repeat(3))
    assert torch.equal(kept.inputs, head[1].train.features.inputs)
    assert not torch.equal(kept.inputs, head[2].train.features.inputs)
    assert head[0].valid is not None and torch.equal(head[0].valid.features.inputs, kept.inputs[:6])


def test_an_interrupt_while_reading_leaves_the_modes():
    body = nn.Sequential(nn.Linear(6, 4), nn.Dropout())

    def press(n: int) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        FeatureReader(body, Precision(), progress=press).read(loader(), [(False, KEY)])
    assert body.training and body[1].training
