"""`DataBlock.summary`: what happens at each step to a real sample and to a batch, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from fastlearn.data.dataset import ItemDataset
from fastlearn.data.label import describe, item_at
from fastlearn.data.transform import BatchPipeline
from fastlearn.data.workers import Reader
from fastlearn.errors import DataError
from fastlearn.paths import printable
from fastlearn.runtime.seed import RunKey

if TYPE_CHECKING:
    from fastlearn.data.block import DataBlock

KEY = RunKey(0, "summary", 0)


def summarise(block: DataBlock, source: Any, bs: int, show_batch: bool) -> None:
    """Print the steps from `source` to a batch; the step that fails is named, and its error raised."""
    shown = printable(source) if not hasattr(source, "iloc") else f"a DataFrame of {len(source)} rows"
    print(f"Source: {shown if len(shown) < 200 else type(source).__name__}")
    with _step("items, split and labels"):
        datasets = block.datasets(source, verbose=True)
    train = datasets.train
    with _step("one sample"):
        _sample(train)
    n = min(bs, len(train))
    with _step(f"a batch of {n} samples"):
        batch = _batch(train, n)
    with _step("batch transforms"):
        _batch_tfms(batch, BatchPipeline(block.batch_tfms, train.kinds, train.n_inp))
    if show_batch:
        datasets.dataloaders(n, batch_tfms=block.batch_tfms, num_workers=0).show_batch(max_n=n)


@contextmanager
def _step(name: str) -> Iterator[None]:
    print(f"\n{name[0].upper()}{name[1:]}")
    try:
        yield
    except Exception as error:
        print(f"  FAILED here: {type(error).__name__}: {error}")
        raise


def _say(step: str, value: Any) -> None:
    print(f"  {step:<38} -> {seen(value)}")


def _sample(dataset: ItemDataset) -> None:
    _say("item", item_at(dataset.items, 0))
    parts = []
    for p, block in enumerate(dataset.blocks):
        getter = dataset.getters[p]
        raw = dataset.raw[p][0]
        if getter is not None:
            _say(f"{dataset.getter_name(p)} = {_name(getter)}", raw)
        parts.append(dataset._create(0, p))
        _say(f"{block!r} creates", parts[-1])
    sample: tuple[Any, ...] = tuple(parts)
    rng = KEY.numpy_rng("sample", 0)
    for tfm in dataset.item_tfms:
        try:
            sample = tfm(sample, dataset.kinds, rng, True)
        except Exception as error:
            raise DataError(f"{tfm!r} failed on {dataset.source(0)}: {type(error).__name__}: {error}") from error
        _say(f"item transform {_name(tfm)}", sample)
    _say("encoded", tuple(block.encode(part) for block, part in zip(dataset.blocks, sample, strict=True)))


def _batch(dataset: ItemDataset, n: int) -> tuple[Any, ...]:
    reader = Reader(dataset, train=True)
    indices = tuple(range(n))
    batch = reader.batch([reader.sample(KEY, i, i) for i in indices], indices)
    _say("stacked", batch)
    return batch


def _batch_tfms(batch: tuple[Any, ...], pipeline: BatchPipeline) -> None:
    if not pipeline:
        print("  none")
    rng = KEY.torch_rng("batch", 0)
    for tfm in pipeline.tfms:
        batch = tfm(batch, pipeline.kinds, rng, True)
        _say(_name(tfm), batch)


def seen(value: Any) -> str:
    """A value in one line: its type, and its shape, size or text."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "(" + ", ".join(seen(part) for part in value) + ")"
    if isinstance(value, (Tensor, np.ndarray)):
        dtype = str(value.dtype).removeprefix("torch.")
        shown = f" = {value.tolist()}" if value.ndim == 0 or (value.ndim == 1 and len(value) <= 8) else ""
        return f"{type(value).__name__} {list(value.shape)} {dtype}{shown}"
    if hasattr(value, "mode") and hasattr(value, "size"):
        return f"{type(value).__name__} {value.mode} {value.size[0]}×{value.size[1]} (width × height)"
    return f"{type(value).__name__} {describe(value)}"


def _name(f: Callable[..., Any]) -> str:
    plain = type(f).__repr__ is object.__repr__
    return getattr(f, "__name__", None) or (type(f).__name__ if plain else repr(f))
