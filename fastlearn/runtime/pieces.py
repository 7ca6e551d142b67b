"""A body's pass over a batch, a few pictures at a time: what one layer gives is in the cache when the next reads it.

A network of depthwise convolutions moves more than it computes. On a CPU its maps of a whole batch do not fit the cache
of a core, those of some pictures do: a step of EfficientNet takes a fifth less, of others nothing, or more
(benchmarks/body_in_pieces.py). The result is the same but for rounding, as long as no layer of the body mixes the
samples of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

AT_ONCE = 800_000  # input values: sixteen pictures of 128 by 128; measured


def in_pieces(model: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """`model(*inputs)`, a Sequential of body and head, the body some pictures at a time where that is the same.

    So it is for one batch of pictures on a CPU, while the body's batch norms keep their statistics and nobody watches
    its layers by hooks.
    """
    if len(inputs) != 1 or not is_body_and_head(model) or has_hooks(model):
        return model(*inputs)
    body, head = model[0], model[1]  # type: ignore[index]
    pieces = split(inputs[0])
    if len(pieces) < 2 or not _by_sample(body):
        return model(*inputs)
    return head(joined([body(piece) for piece in pieces]))


def split(pictures: Any) -> tuple[Any, ...]:
    """Pictures (n, channels, height, width) on a CPU, as few at a time as suits its cache; anything else whole."""
    if not isinstance(pictures, Tensor) or pictures.ndim != 4 or pictures.device.type != "cpu":
        return (pictures,)
    return pictures.split(max(1, AT_ONCE * len(pictures) // max(1, pictures.numel())))


def joined(outputs: list[Any]) -> Any:
    """What the pieces gave as one: tensors, or lists and tuples of them."""
    first = outputs[0]
    if isinstance(first, (list, tuple)):
        return type(first)(joined(list(column)) for column in zip(*outputs, strict=True))
    return torch.cat(outputs) if len(outputs) > 1 else first


def is_body_and_head(model: nn.Module) -> bool:
    """True for a Sequential of exactly two modules."""
    return is_plain(model) and len(model) == 2  # type: ignore[arg-type]


def is_plain(module: nn.Module) -> bool:
    """A Sequential that calls its children in turn, and nothing else."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _by_sample(body: nn.Module) -> bool:
    """Whether no layer of the body learns from the batch or is watched."""
    return not any(has_hooks(module) or _follows(module) for module in body.modules())


def _follows(module: nn.Module) -> bool:
    """Whether it is a batch norm that takes its statistics from the batch, or learns them there."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody watches this very module, not those inside it, by hooks."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
