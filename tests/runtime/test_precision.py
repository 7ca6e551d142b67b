from __future__ import annotations

import pytest
import torch
from torch import nn

from fastlearn.runtime.precision import Precision, has_fast_bf16


def test_fp32_is_plain():
    precision = Precision("fp32", "cpu")
    with precision.autocast():
        assert not torch.is_autocast_enabled("cpu")
    assert precision.scaler is None


def test_bf16_computes_in_bf16_and_leaks_no_autocast_after_an_error():
    precision, layer = Precision("bf16", "cpu"), nn.Linear(2, 2)
    with precision.autocast():
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="mid-step"), precision.autocast():
        raise ValueError("mid-step")
    assert not torch.is_autocast_enabled("cpu")
    assert layer(torch.ones(1, 2)).dtype == torch.float32


def test_imitated_bf16_is_known(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_fast_bf16(torch.device("cpu")) and has_fast_bf16(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not has_fast_bf16(torch.device("cuda"))


def test_fp16_becomes_bf16_on_the_cpu():
    precision = Precision("fp16", "cpu")
    assert precision.fell_back and precision.name == "bf16" and precision.scaler is None
    assert not Precision("bf16", "cpu").fell_back


def scaled(precision: Precision) -> tuple[nn.Linear, torch.optim.Optimizer]:
    """A precision with a CPU scaler, which stands in for a GPU's."""
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    layer = nn.Linear(2, 1, bias=False)
    nn.init.ones_(layer.weight)
    return layer, torch.optim.SGD(layer.parameters(), lr=0.5)


def test_gradients_are_unscaled_once_however_often_it_is_asked():
    precision = Precision("fp32", "cpu")
    layer, optimizer = scaled(precision)
    precision.backward(layer(torch.tensor([[1.0, 2.0]])).sum())
    assert layer.weight.grad.tolist() == [[1024.0, 2048.0]]
    precision.unscale(optimizer)
    precision.unscale(optimizer)
    assert layer.weight.grad.tolist() == [[1.0, 2.0]]
    precision.step(optimizer)
    assert layer.weight.tolist() == [[0.5, 0.0]]


def test_a_step_cut_in_two_does_not_spoil_the_next():
    precision = Precision("fp32", "cpu")
    layer, optimizer = scaled(precision)
    precision.backward(layer(torch.tensor([[1.0, 2.0]])).sum())
    precision.unscale(optimizer)
    optimizer.zero_grad()
    precision.reset()
    assert precision.scaler.get_scale() == 1024.0
    precision.backward(layer(torch.tensor([[1.0, 0.0]])).sum())
    precision.unscale(optimizer)
    precision.step(optimizer)
    assert layer.weight.tolist() == [[0.5, 1.0]]


def test_an_infinite_gradient_skips_the_step_and_lowers_the_scale():
    precision = Precision("fp32", "cpu")
    layer, optimizer = scaled(precision)
    precision.backward(layer(torch.tensor([[float("inf"), 0.0]])).sum())
    precision.step(optimizer)
    assert layer.weight.tolist() == [[1.0, 1.0]]
    assert precision.scaler.get_scale() == 512.0


def test_the_scaler_can_say_its_state_and_take_it_back():
    precision, other = Precision("fp32", "cpu"), Precision("fp32", "cpu")
    layer, _ = scaled(precision)
    scaled(other)
    precision.backward(layer(torch.ones(1, 2)).sum())
    precision.scaler.update(64.0)
    other.load_state_dict(precision.state_dict())
    assert other.scaler.get_scale() == precision.scaler.get_scale() == 64.0
