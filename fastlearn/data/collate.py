"""Samples become batches: one allocation a part, one copy a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlearn.errors import DataError


def stack_samples(
    samples: Sequence[tuple[Any, ...]],
    kinds: Sequence[str],
    source: Callable[[int], str],
    pin: bool = False,
) -> tuple[Tensor, ...]:
    """The parts of the samples stacked into tensors; `source(k)` names sample `k` in errors.

    With `pin`, the memory is page-locked, so that the copy to a CUDA device need not be waited for.
    """
    return tuple(_stack_part([sample[p] for sample in samples], kinds[p], source, pin) for p in range(len(samples[0])))


def _stack_part(parts: list[Any], kind: str, source: Callable[[int], str], pin: bool) -> Tensor:
    arrays = [np.asarray(part) for part in parts]
    first = arrays[0]
    for k, array in enumerate(arrays):
        if array.shape != first.shape:
            raise DataError(_shapes_differ(kind, first.shape, array.shape, source(0), source(k)))
    dtype = _torch_dtype(np.result_type(*{array.dtype for array in arrays}), kind, source(0), first)
    made = torch.empty((len(arrays), *first.shape), dtype=dtype, pin_memory=pin)
    np.stack(arrays, out=made.numpy(), casting="same_kind")
    return made


def _torch_dtype(dtype: np.dtype[Any], kind: str, where: str, value: np.ndarray) -> torch.dtype:
    try:
        return torch.from_numpy(np.empty(0, dtype)).dtype
    except TypeError:
        name = type(value.item() if value.ndim == 0 else value.flat[0]).__name__
        raise DataError(
            f"{where} gives a {name}, which cannot become a tensor. Use a block that encodes it "
            f"(ImageBlock, CategoryBlock, RegressionBlock…) in place of the one of kind {kind!r}."
        ) from None


def _shapes_differ(kind: str, one: tuple[int, ...], other: tuple[int, ...], where: str, there: str) -> str:
    if kind in ("image", "mask") and one[1:] != other[1:] or kind == "mask":
        return (
            f"Pictures of different sizes cannot form a batch: {where} is {_size(one)} and {there} is {_size(other)} "
            "(height × width). Type item_tfms=Resize(224)."
        )
    if kind == "image":
        return (
            f"Pictures with different numbers of channels cannot form a batch: {where} has {one[0]} and {there} has "
            f"{other[0]}. Open them all in one mode with ImageBlock(PILImage) or ImageBlock(PILImageBW)."
        )
    return (
        f"Values of different shapes cannot form a batch: {where} gives {list(one)} and {there} gives {list(other)} "
        f"(kind {kind!r}). Make them equal in get_x, get_y or item_tfms."
    )


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in shape[-2:])
