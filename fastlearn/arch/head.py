"""What stands on a pretrained body: pooling, a small classifier, and its initialisation. Imports torch alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fastlearn.errors import ConfigError
from fastlearn.options import checked_function, checked_list, checked_number, checked_pair, found, named_options

Layout = Literal["NCHW", "NHWC", "NLC", "NC"]
HeadKind = Literal["mlp", "linear"]
DROPS = "dropout rates, or one number"


@dataclass(frozen=True)
class Features:
    """The shape of what a body gives.

    `n`: channels. `layout`: (batch, channels, height, width), (batch, height, width, channels), tokens (batch, length,
    channels), or already pooled (batch, channels). Of the tokens, the first `n_prefix` are no patches; `class_token`
    says that the very first of them is trained to stand for the whole picture.
    """

    n: int
    layout: Layout = "NCHW"
    n_prefix: int = 0
    class_token: bool = False


class AdaptiveConcatPool2d(nn.Module):
    """The maxima, then the averages, of each channel: (batch, channels, h, w) -> (batch, 2 * channels, size, size)."""

    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.ap = nn.AdaptiveAvgPool2d(size)
        self.mp = nn.AdaptiveMaxPool2d(size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.mp(x), self.ap(x)], 1)


class ChannelsLastPool(nn.Module):
    """The same pooling for a body that gives (batch, height, width, channels), as Swin does."""

    def __init__(self, concat: bool = True) -> None:
        super().__init__()
        self.pool: nn.Module = AdaptiveConcatPool2d() if concat else nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x.permute(0, 3, 1, 2))


class TokenPool(nn.Module):
    """One vector for the tokens of a transformer: (batch, length, channels) -> (batch, channels or 2 * channels).

    With `concat`: the class token (or the maxima, if the model has none) beside the average of the patches. Without:
    the class token alone, or else the average. The class token is what such a model was pretrained to be read from.
    """

    def __init__(self, n_prefix: int = 0, class_token: bool = False, concat: bool = True) -> None:
        super().__init__()
        self.n_prefix, self.class_token, self.concat = n_prefix, class_token, concat

    def forward(self, x: Tensor) -> Tensor:
        patches = x[:, self.n_prefix :]
        if self.concat:
            return torch.cat([x[:, 0] if self.class_token else patches.amax(1), patches.mean(1)], 1)
        return x[:, 0] if self.class_token else patches.mean(1)

    def extra_repr(self) -> str:
        return f"n_prefix={self.n_prefix}, class_token={self.class_token}, concat={self.concat}"


class SigmoidRange(nn.Module):
    """Outputs between `low` and `high`, by a sigmoid."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x) * (self.high - self.low) + self.low

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}"


@named_options
def create_head(
    nf: int | Features,
    n_out: int,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    pool: bool = True,
    *,
    concat_pool: bool = True,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
    kind: HeadKind = "mlp",
) -> nn.Sequential:
    """The layers from a body's features to `n_out` logits: (batch, n_out).

    `nf` is the body's channel count (of feature maps), or its `Features`. `lin_ftrs` are the widths of the hidden
    layers (default one of 512), `ps` the dropout before each linear layer: one number stands for itself before the
    last and for its half before the others. `lin_first` puts each linear layer before its batch norm. `y_range` bounds
    the outputs. Shapes and order are fast.ai's, so that its weights fit; note that with batch norm before it a linear
    layer has no bias, the last included.

    `kind="linear"` is one linear layer on standardised (batch-normed) features: it has nothing to drop or to hide, so
    `ps` and `lin_first` are not used and `lin_ftrs` is refused.

    >>> create_head(512, 10)
    """
    features = nf if isinstance(nf, Features) else Features(_width(nf, "nf"))
    n_out = _width(n_out, "n_out")
    if lin_ftrs is not None:
        lin_ftrs = [_width(width, "lin_ftrs") for width in checked_list(lin_ftrs, "lin_ftrs", "layer widths")]
    concat = concat_pool and pool and features.layout != "NC"
    width = features.n * (2 if concat else 1)
    layers: list[nn.Module] = _pooling(features, concat) if pool and features.layout != "NC" else []
    if kind == "linear":
        if lin_ftrs:
            raise ConfigError(f'lin_ftrs={list(lin_ftrs)} needs hidden layers, but head="linear" has none. Drop one.')
        layers += [nn.BatchNorm1d(width), nn.Linear(width, n_out)]
    elif kind == "mlp":
        widths = [width, *([512] if lin_ftrs is None else lin_ftrs), n_out]
        drops = _dropouts(ps, len(widths) - 1)
        layers += _linear_first(widths, drops, first_bn) if lin_first else _norm_first(widths, drops, first_bn)
    else:
        raise ConfigError(f'Unknown head {kind!r}. Expected "mlp" (fast.ai\'s) or "linear".')
    if bn_final:
        layers.append(nn.BatchNorm1d(n_out, momentum=0.01))
    if y_range is not None:
        layers.append(SigmoidRange(*check_bounds(y_range)))
    return nn.Sequential(*layers)


def init_head(head: nn.Module, init: Callable[[Tensor], object] | None = nn.init.kaiming_normal_) -> None:
    """Draw the weights of every layer but the norms with `init`, and set biases to zero. None keeps torch's own."""
    if init is None:
        return
    checked_function(init, "init")
    for module in head.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1:
            init(weight)
            if isinstance(getattr(module, "bias", None), nn.Parameter):
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def check_bounds(y_range: Any) -> tuple[float, float]:
    """(lowest, highest) if it is that, else ConfigError."""
    low, high = checked_pair(y_range, "y_range", "(lowest, highest)", (0, 5))
    if not low < high:
        raise ConfigError(f"y_range is (lowest, highest), such as (0, 5), found {y_range!r}.")
    return low, high


def _width(width: Any, name: str) -> int:
    """`width` if it is a whole number from 1, else ConfigError."""
    if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or width < 1:
        raise ConfigError(f"{name} is a whole number from 1, such as 512, not {found(width)}.")
    return int(width)


def _pooling(features: Features, concat: bool) -> list[nn.Module]:
    if features.layout == "NLC":
        return [TokenPool(features.n_prefix, features.class_token, concat), nn.Flatten()]
    if features.layout == "NHWC":
        return [ChannelsLastPool(concat), nn.Flatten()]
    return [AdaptiveConcatPool2d() if concat else nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _dropouts(ps: float | Sequence[float], n: int) -> list[float]:
    drops = [ps / 2] * (n - 1) + [ps] if isinstance(ps, (int, float)) else checked_list(ps, "ps", DROPS)
    if len(drops) != n:
        raise ConfigError(f"ps={drops} has {len(drops)} dropout rates for {n} linear layers. Give {n}, or one number.")
    if any(not 0 <= checked_number(p, "ps", 0.5) <= 1 for p in drops):
        raise ConfigError(f"ps={ps!r} holds a dropout rate outside 0 to 1.")
    return drops


def _norm_first(widths: list[int], drops: list[float], first_bn: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    last = len(drops) - 1
    for i, (n_in, n_out, p) in enumerate(zip(widths[:-1], widths[1:], drops, strict=True)):
        norm = first_bn or i > 0
        layers += [_batch_norm(n_in)] * norm + [nn.Dropout(p)] * (p > 0) + [nn.Linear(n_in, n_out, bias=not norm)]
        if i < last:
            layers.append(nn.ReLU(inplace=True))
    return layers


def _linear_first(widths: list[int], drops: list[float], first_bn: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Dropout(drops[0])]
    for i, (n_in, n_out, p) in enumerate(zip(widths[:-2], widths[1:-1], drops[1:], strict=True)):
        norm = first_bn or i > 0
        layers += [nn.Linear(n_in, n_out, bias=not norm), nn.ReLU(inplace=True)]
        layers += [_batch_norm(n_out)] * norm + [nn.Dropout(p)] * (p > 0)
    return [*layers, nn.Linear(widths[-2], widths[-1])]


def _batch_norm(n: int) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(n)
    nn.init.constant_(norm.bias, 1e-3)  # as fast.ai: a newborn ReLU after it is not exactly at its kink
    return norm
