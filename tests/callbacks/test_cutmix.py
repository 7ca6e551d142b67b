"""A rectangle of one picture in another."""

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


def test_what_has_no_area_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"CutMix needs pictures .* found \(4, 3\)"):
        fit(nn.Linear(3, 1), batches([4]), [CutMix()])
