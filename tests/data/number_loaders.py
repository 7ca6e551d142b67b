"""Loaders of numbers, some of which misbehave."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
import torch

from fastlearn.data.block import CategoryBlock, TransformBlock
from fastlearn.data.dataset import ItemDataset
from fastlearn.data.label import ItemGetter
from fastlearn.data.loaders import DataLoader
from fastlearn.data.transform import BatchPipeline, BatchTransform, ItemTransform
from fastlearn.runtime.seed import RunKey

KEY = RunKey(7, "train", 3)


N = 22


class Jitter(ItemTransform):
    """Adds a random number in training."""

    def __call__(self, sample: Any, kinds: Any, rng: np.random.Generator, train: bool) -> Any:
        return (sample[0] + (rng.normal() if train else 0), *sample[1:])


class Scale(BatchTransform):
    """Multiplies each sample by a random number in training."""

    def __call__(self, batch: Any, kinds: Any, rng: torch.Generator, train: bool) -> Any:
        factors = torch.rand(len(batch[0]), 1, generator=rng) if train else 1
        return (batch[0] * factors, *batch[1:])


class Row(TransformBlock):
    """A number as an array of two; some numbers misbehave."""

    def create(self, raw: int) -> np.ndarray:
        if raw == -1:
            raise RuntimeError("broken")
        if raw == -9:
            os.kill(os.getpid(), signal.SIGKILL)
        if raw == -5:
            time.sleep(0.05)
        return np.full(2, raw, dtype=np.float32)


def dataset(values: Any = range(N), item_tfms: Any = (Jitter,)) -> ItemDataset:
    target = CategoryBlock(vocab=["a", "b"])
    items = [(value, "ab"[k % 2]) for k, value in enumerate(values)]
    return ItemDataset(items, (Row(), target), (ItemGetter(0), ItemGetter(1)), item_tfms=item_tfms, split="train")


def loader(values: Any = range(N), **options: Any) -> DataLoader:
    data = dataset(values)
    pipeline = BatchPipeline(Scale(), data.kinds)
    defaults = {"bs": 4, "shuffle": True, "train": True, "after_batch": pipeline, "num_workers": 0, "device": "cpu"}
    return DataLoader(data, **(defaults | options))


def same(one: list[Any], other: list[Any]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))
