"""A body that takes a batch some pictures at a time: the same outputs and gradients, and when it does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastlearn.runtime import pieces
from fastlearn.runtime.pieces import in_pieces, joined, split


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "AT_ONCE", 3 * 3 * 8 * 8)  # three of the pictures below


class Sizes(nn.Module):
    """Notes how many samples it is given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x


def network() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(Sizes(), nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2))
    body[2].running_mean.normal_()
    body[2].eval()
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return nn.Sequential(body, head)


def pictures(n: int = 8) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def gradients(model: nn.Module, outputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(outputs.square().mean(), list(model.parameters())))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_gradients_and_the_heads_statistics_are_those_of_the_whole_batch(memory_format: Any) -> None:
    model, x = network().to(memory_format=memory_format), pictures().contiguous(memory_format=memory_format)
    other = copy.deepcopy(model)
    ours, whole = in_pieces(model, (x,)), other(x)
    torch.testing.assert_close(ours, whole)
    for found, expected in zip(gradients(model, ours), gradients(other, whole), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # a bias before a batch norm has none
    torch.testing.assert_close(model[1][2].running_mean, other[1][2].running_mean)
    assert model[0][0].seen == [3, 3, 2] and other[0][0].seen == [8]


def learning_norm(model: nn.Sequential) -> None:
    model[0][2].train()


def norm_without_statistics(model: nn.Sequential) -> None:
    model[0][2] = nn.BatchNorm2d(6, track_running_stats=False).eval()


def hook(model: nn.Sequential) -> None:
    model[0][3].register_forward_hook(lambda *_: None)


def hook_of_the_whole(model: nn.Sequential) -> None:
    model.register_forward_pre_hook(lambda *_: None)


def gradient_hook(model: nn.Sequential) -> None:
    model[0].register_full_backward_hook(lambda *_: None)


@pytest.mark.parametrize("change", [learning_norm, norm_without_statistics, hook, hook_of_the_whole, gradient_hook])
def test_whole_batches_where_pieces_would_differ_or_be_seen(change: Any) -> None:
    model = network()
    change(model)
    in_pieces(model, (pictures(),))
    assert model[0][0].seen == [8]


def test_whole_batches_of_other_inputs_and_models() -> None:
    model = network()
    in_pieces(model, (pictures(3),))
    assert model[0][0].seen == [3]
    three = nn.Sequential(*network(), nn.Identity())
    in_pieces(three, (pictures(),))
    assert three[0][0].seen == [8]
    two = nn.Bilinear(2, 2, 1)
    x = torch.ones(9, 2)
    assert torch.equal(in_pieces(two, (x, x)), two(x, x))
    assert split("text") == ("text",)
    assert len(split(torch.ones(100, 500))) == 1


def test_bodies_that_give_several_maps() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
            return x.mean((2, 3)), [x.amax((2, 3))]

    class Last(nn.Module):
        def forward(self, maps: Any) -> Tensor:
            return maps[0] + maps[1][0]

    x = pictures()
    torch.testing.assert_close(in_pieces(nn.Sequential(Two(), Last()), (x,)), x.mean((2, 3)) + x.amax((2, 3)))
    assert torch.equal(joined([x[:1]]), x[:1])
