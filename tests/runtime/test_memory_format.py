"""Which models go channels-last by themselves, and that they compute the same there."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastlearn.arch import models
from fastlearn.arch.spec import create_vision_model
from fastlearn.runtime.memory_format import as_channels_last, match_layout, prefers_channels_last, set_memory_format
from fastlearn.training.optimizer import SGD, Adam

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
FAMILIES = [
    models.resnet18,
    models.densenet121,
    models.vgg11_bn,
    models.squeezenet1_1,
    models.mobilenet_v3_small,
    models.shufflenet_v2_x1_0,
    models.regnet_y_400mf,
    "tf_efficientnet_lite0",
    "convnext_atto",
    "vit_tiny_patch16_224",
]


def outputs_and_gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    """All outputs, and all gradients, as one vector each."""
    model.zero_grad()
    outputs = model(x)
    F.cross_entropy(outputs, torch.arange(len(x)) % 3).backward()
    return [outputs.detach().flatten(), torch.cat([p.grad.flatten() for p in model.parameters()])]


def differences(model: nn.Module) -> list[float]:
    """|channels-last − contiguous| / |contiguous|, by norms, of the outputs and of the gradients."""
    first = next(model.parameters())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(first.dtype)
    last = copy.deepcopy(model)
    set_memory_format(last, True)
    plain = outputs_and_gradients(model, x)
    changed = outputs_and_gradients(last, x.contiguous(memory_format=torch.channels_last))
    return [float((a - b).norm() / a.norm()) for a, b in zip(plain, changed, strict=True)]


@pytest.mark.parametrize("arch", FAMILIES, ids=lambda arch: getattr(arch, "__name__", arch))
def test_a_family_computes_the_same_in_channels_last(arch):
    torch.manual_seed(0)
    model = create_vision_model(arch, 3, False, ps=0.0).eval()  # without dropout, and with fixed statistics
    outputs, gradients = differences(model)
    # A rounding that crosses a ReLU's kink, or changes which pixel is the largest, moves a gradient by more than
    # rounding, in either format: VGG's by 0.4 %. In float64 no number comes so near to a kink.
    assert outputs < 1e-5 and gradients < 1e-2
    assert max(differences(model.double())) < 1e-10


def conv(**options) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, **options), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("arch", "prefers"), [("resnet18", True), ("vgg11", True), ("convnext_tiny", False), ("swin_t", False)]
)
def test_whole_networks(arch, prefers):
    with torch.device("meta"):
        assert prefers_channels_last(getattr(models, arch)(), CPU, "fp32") is prefers


def vision_transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    return nn.Sequential(
        nn.Conv2d(3, 8, 16, 16), nn.Flatten(2), nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    )


def test_convolutional_networks_prefer_it_where_it_pays(monkeypatch):
    assert prefers_channels_last(conv(), CPU, "fp32") and prefers_channels_last(conv(), CPU, "bf16")
    assert prefers_channels_last(conv(), CUDA, "fp16") and prefers_channels_last(conv(), CUDA, "bf16")
    assert not prefers_channels_last(conv(), CUDA, "fp32")
    assert not prefers_channels_last(conv(), MPS, "fp16")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not prefers_channels_last(conv(), CPU, "fp32")


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(3, 2),
        vision_transformer(),
        nn.Sequential(nn.Conv1d(3, 4, 3)),
        nn.Sequential(nn.Conv3d(3, 4, 3)),
        nn.ReLU(),
    ],
)
def test_other_networks_do_not(model):
    assert not prefers_channels_last(model, CPU, "fp32") and not prefers_channels_last(model, CUDA, "fp16")


def test_only_pictures_change_and_parameters_stay_the_same_objects():
    model = conv()
    parameters = list(model.parameters())
    set_memory_format(model, True)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    set_memory_format(model, False)
    assert model[0].weight.is_contiguous()
    assert as_channels_last(torch.zeros(2, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)
    table, text = torch.zeros(2, 3), "a"
    assert as_channels_last(table) is table and as_channels_last(text) is text


@pytest.mark.parametrize(
    "make",
    [Adam, lambda p: SGD(p, mom=0.9), lambda p: torch.optim.Adam(p, fused=True), lambda p: torch.optim.Adam(p)],
    ids=["Adam", "SGD", "torch, fused", "torch"],
)
def test_moments_follow_their_weights_into_another_format(make):
    def trained(switch: bool) -> Tensor:
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 3, dtype=torch.float64)
        optimizer = make(model.parameters())
        for step in range(6):
            if switch and step == 3:
                set_memory_format(model, True)
                match_layout(optimizer)
            model(torch.randn(2, 3, 8, 8, dtype=torch.float64)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        states = [
            value for state in optimizer.state.values() for value in state.values() if value.shape == (4, 3, 3, 3)
        ]
        assert states and all(value.stride() == model.weight.stride() for value in states)
        return model.weight.detach()

    assert torch.allclose(trained(True), trained(False), rtol=1e-10, atol=0)
