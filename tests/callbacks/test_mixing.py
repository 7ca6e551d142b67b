from __future__ import annotations

import pytest
import torch
from callback_fits import batches, fit
from torch import nn

from fastlearn.callbacks.cutmix import CutMix
from fastlearn.callbacks.mixup import MixedLoss, MixUp
from fastlearn.errors import ConfigError, TrainingError
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState


class Spy(Callback):
    order = 100

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, float, float]] = []

    def before_batch(self, state: TrainState) -> None:
        if state.training:
            self.original = state.batch

    def after_batch(self, state: TrainState) -> None:
        if state.training:
            assert isinstance(state.loss_func, MixedLoss)
            assert state.loss is not None
            self.seen.append((state.inputs[0].clone(), state.loss_func.lam, state.loss.item()))


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


def pictures(n: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    # Each sample one value of its own, so that every pixel tells where it came from.
    return [(torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 2, 10, 8).clone(), torch.arange(6)) for _ in range(n)]


def test_cutmix_pastes_one_rectangle_and_weighs_by_area() -> None:
    class Check(Callback):
        order = 100

        def after_batch(self, state: TrainState) -> None:
            mixed = state.loss_func
            assert isinstance(mixed, MixedLoss) and mixed.partners is not None
            x, partners = state.inputs[0], mixed.partners[0]
            for i in range(6):
                if partners[i] == i:
                    continue
                pasted = x[i, 0] != i
                assert torch.equal(pasted, x[i, 1] != i)
                assert (x[i, 0][pasted] == partners[i]).all()
                assert mixed.lam == pytest.approx(1 - pasted.float().mean().item())
                rows, columns = pasted.any(1), pasted.any(0)
                assert torch.equal(pasted, rows[:, None] & columns[None])
            assert torch.equal(state.batch[0], pictures(1)[0][0])

    model = nn.Sequential(nn.Flatten(), nn.Linear(160, 6))
    fit(model, pictures(12), [CutMix(), Check()], loss_func=nn.functional.cross_entropy)


def test_both_take_turns_whatever_their_order() -> None:
    def run(*callbacks: Callback) -> list[tuple[torch.Tensor, float, float]]:
        spy = Spy()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(160, 6))
        fit(model, pictures(16), [*callbacks, spy], loss_func=nn.functional.cross_entropy)
        return spy.seen

    a, b = run(MixUp(), CutMix()), run(CutMix(), MixUp())
    assert all(torch.equal(x, y) and p == q for (x, _, p), (y, _, q) in zip(a, b, strict=True))
    cut = [bool((x == x.round()).all()) for x, _, _ in a]
    assert 0 < sum(cut) < 16
    with pytest.raises(ConfigError, match="MixUp is there twice"):
        run(MixUp(), MixUp())


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
    with pytest.raises(TrainingError, match=r"CutMix needs pictures .* found \(4, 3\)"):
        fit(nn.Linear(3, 1), batches([4]), [CutMix()])
    for alpha in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="alpha"):
            MixUp(alpha)
