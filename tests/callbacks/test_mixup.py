"""Mixed samples and mixed losses."""

from __future__ import annotations

import pytest
import torch
from callback_fits import batches, fit
from mixing_spy import Spy
from torch import nn

from fastlearn.callbacks.cutmix import CutMix
from fastlearn.callbacks.mixup import MixedLoss, MixUp
from fastlearn.errors import ConfigError, TrainingError
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState


def test_mixup_is_the_mean_of_two_samples_and_of_two_losses() -> None:
    checked = []

    class Check(Callback):
        order = 100

        def after_batch(self, state: TrainState) -> None:
            x, y = state.batch
            mixed = state.loss_func
            assert isinstance(mixed, MixedLoss) and mixed.partners is not None and state.loss is not None
            lam, (partner_y,) = mixed.lam, mixed.partners
            assert 0.5 <= lam <= 1
            partner = [int((y == one).nonzero()[0, 0]) for one in partner_y]
            assert sorted(partner) == list(range(8))
            torch.testing.assert_close(state.inputs[0], lam * x + (1 - lam) * x[partner])
            loss = nn.functional.mse_loss
            wanted = lam * loss(state.outputs, y) + (1 - lam) * loss(state.outputs, y[partner])
            torch.testing.assert_close(state.loss, wanted)
            checked.append(lam)

    fit(nn.Linear(3, 1), batches([8] * 5), [MixUp(), Check()])
    assert len(set(checked)) == 5


@pytest.mark.parametrize("kind", ["indices", "one-hot"])
def test_class_targets(kind: str) -> None:
    data = batches([8] * 3, classes=4)
    if kind == "one-hot":
        data = [(x, nn.functional.one_hot(y, 4).float()) for x, y in data]
    spies = Spy()
    fit(nn.Linear(3, 4), data, [spies, MixUp()], loss_func=nn.functional.cross_entropy)
    assert len(spies.seen) == 3


def test_mixed_one_hot_equals_mixed_indices() -> None:
    indices = batches([8] * 3, classes=4)
    one_hot = [(x, nn.functional.one_hot(y, 4).float()) for x, y in indices]
    a, b = Spy(), Spy()
    for spy, data in ((a, indices), (b, one_hot)):
        torch.manual_seed(0)
        fit(nn.Linear(3, 4), data, [MixUp(), spy], loss_func=nn.functional.cross_entropy)
    for (x, _, loss), (y, _, other) in zip(a.seen, b.seen, strict=True):
        assert torch.equal(x, y)
        assert loss == pytest.approx(other, rel=1e-5)


def test_validation_is_plain_and_the_loss_is_put_back() -> None:
    losses: list[float] = []

    class Valid(Callback):
        def after_batch(self, state: TrainState) -> None:
            if not state.training:
                assert state.loss is not None
                losses.append(float(state.loss - nn.functional.mse_loss(state.outputs, state.batch[1])))

    state = fit(nn.Linear(3, 1), batches([8] * 2), [MixUp(), Valid()], valid=batches([8]))
    assert losses == [0.0]
    assert state.loss_func is nn.functional.mse_loss
    assert MixUp.in_lr_find and CutMix.in_lr_find


def test_what_cannot_be_mixed() -> None:
    tokens = [(torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, 1))]
    with pytest.raises(TrainingError, match="MixUp mixes inputs of floating point, found torch.int64"):
        fit(nn.Linear(3, 1), tokens, [MixUp()])
    for alpha in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="alpha"):
            MixUp(alpha)
