"""The picture and the table that a story leaves: small, whole, and without a kernel."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fastlearn.live.still import STILL_WIDTH, still_png
from fastlearn.training.recorder import Recorder


def told(n_epochs: int = 3, steps: int = 40, metrics: tuple[str, ...] = ("accuracy",), valid: bool = True) -> Recorder:
    recorder, rng = Recorder(), np.random.default_rng(0)
    recorder.start_fit(list(metrics), valid)
    optimizer = SimpleNamespace(param_groups=[{"lr": 1e-3, "betas": (0.9, 0.99)}])
    for epoch in range(n_epochs):
        for step in range(steps):
            loss = torch.tensor(2 / (1 + epoch + step / steps) + 0.1 * rng.normal())
            recorder.batch(SimpleNamespace(optimizer=optimizer, loss=loss))  # type: ignore[arg-type]
        values = {"train_loss": recorder.smooth_loss()}
        values |= {"valid_loss": 1.0 / (epoch + 1), **dict.fromkeys(metrics, 0.5)} if valid else {}
        recorder.end_epoch(SimpleNamespace(epoch=epoch, values=values), 1.0)  # type: ignore[arg-type]
    return recorder


@pytest.mark.parametrize(
    "recorder", [told(), told(metrics=()), told(valid=False), told(1, 1), told(2, 3000, ("a", "b", "c"))]
)
def test_a_picture_without_a_background_of_its_own(recorder: Recorder):
    png = still_png(recorder, [0, 40], [{"at": 2, "what": "lr", "old": 1e-3, "new": 5e-4}])
    assert png is not None and len(png) < 100_000
    picture = Image.open(io.BytesIO(png))
    assert picture.width == pytest.approx(1.6 * STILL_WIDTH, abs=2)
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert (alpha == 0).mean() > 0.5 and (alpha == 255).any()


def test_a_loss_that_is_no_number_leaves_a_picture_too():
    recorder = told(1, 5)
    recorder.values[-1][1] = float("nan")
    assert still_png(recorder, [0], []) is not None


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1e300])
def test_losses_that_are_never_numbers_leave_a_picture_without_a_warning(loss: float):
    recorder = Recorder()
    recorder.start_fit([], False)
    for _ in range(4):
        optimizer = SimpleNamespace(param_groups=[{"lr": 1e300}])
        recorder.batch(SimpleNamespace(optimizer=optimizer, loss=torch.tensor(loss)))  # type: ignore[arg-type]
    assert still_png(recorder, [0], []) is not None


@pytest.mark.parametrize("name", ["<b>x</b>", "$x^{$", "指标", "\\frac", "_"])
def test_a_metric_may_have_any_name(name: str):
    assert still_png(told(metrics=(name,)), [0], []) is not None


def test_without_a_step_there_is_no_picture():
    assert still_png(Recorder(), [], []) is None
