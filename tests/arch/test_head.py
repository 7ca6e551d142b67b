"""Heads: fast.ai's layers, the linear head, and pooling for each layout."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from fastlearn.arch.head import (
    AdaptiveConcatPool2d,
    ChannelsLastPool,
    Features,
    SigmoidRange,
    TokenPool,
    create_head,
    init_head,
)
from fastlearn.errors import ConfigError


def layers_of(head: nn.Module) -> list[str]:
    """Each layer in one short word: BN16, Drop.25, Lin16-512, and a + for a bias."""
    words = []
    for layer in head.children():
        if isinstance(layer, nn.Linear):
            words.append(f"Lin{layer.in_features}-{layer.out_features}" + "+" * (layer.bias is not None))
        elif isinstance(layer, nn.BatchNorm1d):
            words.append(f"BN{layer.num_features}")
        elif isinstance(layer, nn.Dropout):
            words.append(f"Drop{layer.p:g}")
        else:
            words.append(type(layer).__name__)
    return words


# Read off the heads that fast.ai 2.8.12 makes for 8 features and 3 outputs.
POOL = ["AdaptiveConcatPool2d", "Flatten"]
HIDDEN = ["Lin16-512", "ReLU", "BN512", "Drop0.5", "Lin512-3"]
GOLDEN: list[tuple[dict[str, Any], list[str]]] = [
    ({}, [*POOL, "BN16", "Drop0.25", *HIDDEN]),
    ({"concat_pool": False}, ["AdaptiveAvgPool2d", "Flatten", "BN8", "Drop0.25", "Lin8-512", *HIDDEN[1:]]),
    ({"pool": False}, ["BN8", "Drop0.25", "Lin8-512", *HIDDEN[1:]]),
    ({"lin_ftrs": []}, [*POOL, "BN16", "Drop0.5", "Lin16-3"]),
    (
        {"lin_ftrs": [256, 128], "ps": 0.4},
        [*POOL, "BN16", "Drop0.2", "Lin16-256", "ReLU", "BN256", "Drop0.2", "Lin256-128", "ReLU", "BN128", "Drop0.4"]
        + ["Lin128-3"],
    ),
    ({"ps": [0, 0.5]}, [*POOL, "BN16", *HIDDEN]),
    ({"bn_final": True}, [*POOL, "BN16", "Drop0.25", *HIDDEN, "BN3"]),
    ({"first_bn": False}, [*POOL, "Drop0.25", "Lin16-512+", *HIDDEN[1:]]),
    ({"y_range": (0, 5)}, [*POOL, "BN16", "Drop0.25", *HIDDEN, "SigmoidRange"]),
    ({"lin_first": True}, [*POOL, "Drop0.25", "Lin16-512", "ReLU", "BN512", "Drop0.5", "Lin512-3+"]),
    ({"lin_first": True, "first_bn": False}, [*POOL, "Drop0.25", "Lin16-512+", "ReLU", "Drop0.5", "Lin512-3+"]),
    (
        {"lin_first": True, "lin_ftrs": [32, 16]},
        [*POOL, "Drop0.25", "Lin16-32", "ReLU", "BN32", "Drop0.25", "Lin32-16", "ReLU", "BN16", "Drop0.5", "Lin16-3+"],
    ),
    ({"lin_first": True, "ps": 0.0}, [*POOL, "Drop0", "Lin16-512", "ReLU", "BN512", "Lin512-3+"]),
]


@pytest.mark.parametrize(("options", "expected"), GOLDEN, ids=[str(options) for options, _ in GOLDEN])
def test_layers_are_those_of_fastai(options: dict[str, Any], expected: list[str]) -> None:
    assert layers_of(create_head(8, 3, **options)) == expected


def test_start_values_are_those_of_fastai() -> None:
    torch.manual_seed(0)
    head = create_head(512, 10)
    init_head(head)
    assert isinstance(head[2], nn.BatchNorm1d) and isinstance(head[4], nn.Linear) and isinstance(head[8], nn.Linear)
    assert torch.all(head[2].weight == 1) and torch.all(head[2].bias == 1e-3)
    for layer in (head[4], head[8]):  # kaiming: variance 2 / fan-in
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / layer.in_features), rel=0.03)


def test_init_none_keeps_torchs_weights_and_biases_become_zero() -> None:
    head = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    before = {key: value.clone() for key, value in head.state_dict().items()}
    init_head(head, None)
    assert all(torch.equal(before[key], value) for key, value in head.state_dict().items())
    init_head(head, nn.init.ones_)
    assert torch.all(head[0].weight == 1) and torch.all(head[0].bias == 0)
    assert torch.equal(head[1].weight, before["1.weight"])


def test_concat_pool_gives_maxima_then_averages() -> None:
    x = torch.rand(2, 3, 5, 4)
    expected = torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
    assert torch.allclose(AdaptiveConcatPool2d()(x).flatten(1), expected)
    assert torch.allclose(ChannelsLastPool()(x.permute(0, 2, 3, 1)).flatten(1), expected)
    assert torch.allclose(ChannelsLastPool(False)(x.permute(0, 2, 3, 1)).flatten(1), x.mean((2, 3)))


def test_token_pool_reads_the_class_token_and_the_patches() -> None:
    x = torch.rand(2, 7, 3)
    assert torch.allclose(TokenPool(2, True)(x), torch.cat([x[:, 0], x[:, 2:].mean(1)], 1))
    assert torch.allclose(TokenPool()(x), torch.cat([x.amax(1), x.mean(1)], 1))
    assert torch.equal(TokenPool(1, True, concat=False)(x), x[:, 0])
    assert torch.allclose(TokenPool(1, False, concat=False)(x), x[:, 1:].mean(1))


@pytest.mark.parametrize("kind", ["mlp", "linear"])
@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize(
    ("features", "shape"),
    [
        (Features(8), (2, 8, 3, 4)),
        (Features(8, "NHWC"), (2, 3, 4, 8)),
        (Features(8, "NLC", 1, True), (2, 5, 8)),
        (Features(8, "NC"), (2, 8)),
    ],
)
def test_every_layout_gives_logits(features: Features, shape: tuple[int, ...], concat: bool, kind: Any) -> None:
    head = create_head(features, 3, concat_pool=concat, kind=kind).eval()
    assert head(torch.rand(shape)).shape == (2, 3)


def test_linear_head_is_a_linear_layer_on_standardised_features() -> None:
    head = create_head(4, 3, kind="linear")
    assert layers_of(head) == ["AdaptiveConcatPool2d", "Flatten", "BN8", "Lin8-3+"]
    x = torch.randn(6, 4, 2, 2)
    pooled = torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
    standard = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(head(x), standard @ head[3].weight.T + head[3].bias, atol=1e-5)  # type: ignore[operator]


def test_sigmoid_range() -> None:
    x = torch.tensor([-100.0, 0.0, 100.0])
    assert torch.allclose(SigmoidRange(-1, 5)(x), torch.tensor([-1.0, 2.0, 5.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ps": [0.1, 0.2, 0.3]}, "3 dropout rates for 2 linear layers"),
        ({"ps": 1.5}, "outside 0 to 1"),
        ({"kind": "liner"}, "Unknown head 'liner'"),
        ({"kind": "linear", "lin_ftrs": [9]}, r"lin_ftrs=\[9\] needs hidden layers"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_head(8, 3, **options)
