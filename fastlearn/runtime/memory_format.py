"""Channels-last memory format: which models are faster in it, and putting models, batches and optimizers into it.

A tensor's format is the order of its numbers in memory; its values and its shape are the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fastlearn.runtime.precision import PrecisionName

# Of the layers with weights. Most networks of convolutions have 0.9 and more, VGG with its classifier 0.7; ConvNeXt,
# whose work is in linear layers and which gains nothing, has 0.4, a transformer of pictures 0.02: it cuts the patches.
_CONV_SHARE = 0.5


def prefers_channels_last(model: nn.Module, device: torch.device, precision: PrecisionName) -> bool:
    """Whether `model` trains faster in channels-last: convolutional networks, on a CPU, and on CUDA in 16 bits.

    On the CPU this is measured (benchmarks/channels_last.py), with oneDNN's kernels, which most builds of torch have:
    networks of small or depthwise filters gain a quarter and more, ResNet18 as much with AVX-512 and a tenth with AVX2.
    CUDA's tensor cores read pictures channels-last and would turn every layer's input round; in fp32 cuDNN is as fast
    in either. On MPS nothing is known to gain from it.
    """
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and _is_convolutional(model)
    return device.type == "cuda" and precision != "fp32" and _is_convolutional(model)


def _is_convolutional(model: nn.Module) -> bool:
    convs = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    dense = sum(isinstance(module, (nn.Linear, nn.MultiheadAttention)) for module in model.modules())
    return convs > 0 and convs >= _CONV_SHARE * (convs + dense)


def set_memory_format(model: nn.Module, channels_last: bool) -> None:
    """Put the four-dimensional weights of `model` into channels-last, or into the usual format; the same parameters."""
    model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def as_channels_last(part: object) -> object:
    """Pictures (batch, channels, height, width) in channels-last memory format; anything else as it is."""
    if isinstance(part, Tensor) and part.ndim == 4:
        return part.contiguous(memory_format=torch.channels_last)
    return part


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay each parameter's optimizer state out in memory as the parameter is.

    torch's fused kernels on the CPU walk through parameter and moments side by side, whatever the format of each: once
    a model has changed its format, they would pair numbers that do not belong together, and say nothing.
    """
    for param, name, value in _states(optimizer):
        if value.shape == param.shape and value.stride() != param.stride():
            optimizer.state[param][name] = torch.empty_like(param, dtype=value.dtype, device=value.device).copy_(value)


def _states(optimizer: torch.optim.Optimizer) -> Iterator[tuple[Tensor, str, Tensor]]:
    for group in optimizer.param_groups:
        for param in group["params"]:
            for name, value in list(optimizer.state.get(param, {}).items()):
                if isinstance(value, Tensor):
                    yield param, name, value
