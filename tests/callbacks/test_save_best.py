"""The best weights, kept in a file and brought back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from callback_fits import Sequence, fit
from monitored import TRAIN, VALID, run
from torch import nn

from fastlearn.callbacks.save_best import SaveModelCallback
from fastlearn.training.callback import Callback
from fastlearn.training.checkpoint import read_checkpoint
from fastlearn.training.state import TrainState


class Weights(Callback):
    order = 1000

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def after_epoch(self, state: TrainState) -> None:
        self.kept.append(next(state.model.parameters()).detach().clone())


def test_best_weights_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = Weights()
    state = run([3, 1, math.nan, 2], SaveModelCallback(fname="best"), weights, path=tmp_path)
    torch.testing.assert_close(state.model.weight.detach(), weights.kept[1], rtol=0, atol=0)  # type: ignore[union-attr]
    assert "Best epoch: 1, valid_loss 1." in capsys.readouterr().out
    tensors, meta = read_checkpoint(tmp_path / "models/best.safetensors")
    assert torch.equal(tensors["model/weight"], weights.kept[1])
    assert meta["learner"]["epoch"] == 2


def test_every_epoch_and_at_end_keep_the_last_weights(tmp_path: Path) -> None:
    weights = Weights()
    state = run([1, 2, 3], SaveModelCallback(every_epoch=2, at_end=True), weights, path=tmp_path)
    names = sorted(file.name for file in (tmp_path / "models").iterdir())
    assert names == ["model.safetensors", "model_0.safetensors", "model_2.safetensors"]
    assert torch.equal(state.model.weight, weights.kept[2])  # type: ignore[arg-type]


def test_with_opt_brings_the_optimizer_back(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters())
    fit(model, TRAIN, [SaveModelCallback(with_opt=True), Sequence([1, 2])],
        valid=VALID, n_epochs=2, optimizer=optimizer, path=tmp_path)  # fmt: skip
    assert optimizer.state[model.weight]["step"] == 2  # two steps in the best epoch, four in all


def test_an_error_keeps_the_weights_of_the_last_step(tmp_path: Path) -> None:
    class Fail(Callback):
        def after_batch(self, state: TrainState) -> None:
            if state.training and state.step == 3:
                raise KeyboardInterrupt

    weights, model = Weights(), nn.Linear(3, 1)
    with pytest.raises(KeyboardInterrupt):
        callbacks = [SaveModelCallback(), weights, Fail(), Sequence([1, 2])]
        fit(model, TRAIN, callbacks, valid=VALID, n_epochs=2, path=tmp_path)
    assert not torch.equal(model.weight, weights.kept[0])
