"""Uneven classes: weights for the loss and for drawing samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlearn.errors import ConfigError, DataError
from fastlearn.options import checked_list, found, named_options


@named_options
def class_weights(source: Any, vocab: Iterable[Any] | None = None) -> Tensor:
    """A weight for each class, for `CrossEntropyLossFlat(weight=…)`: n / (classes × the class's count), float32.

    `source` is DataLoaders, a data set, or a list of labels; a class without any item gets the weight 0.

    >>> class_weights(["a", "a", "a", "b"], ["a", "b"])
    tensor([0.6667, 2.0000])
    """
    labels, classes = _labels_of(source)
    if vocab is not None:
        classes = checked_list(vocab, "vocab", "classes, such as ['cat', 'dog']")
    known = list(classes if classes is not None else sorted(set(labels)))
    counts = Counter(labels)
    per_class = np.array([counts.get(c, 0) for c in known], dtype=np.float64)
    if not per_class.sum():
        raise DataError(f"None of the {len(labels)} labels is one of the classes {known[:8]!r}.")
    present = per_class > 0
    weights = np.where(present, per_class.sum() / (present.sum() * np.maximum(per_class, 1)), 0)
    return torch.from_numpy(weights.astype(np.float32))


def sample_weights(weights: Any, dataset: Any) -> np.ndarray:
    """The probability of each sample of a data set from weights, one a sample, or from "balanced": (n,), sum 1."""
    if isinstance(weights, str):
        if weights != "balanced":
            raise ConfigError(f"weights={weights!r}: expected 'balanced' or one number a sample.")
        labels, _ = _labels_of(dataset)
        counts = Counter(labels)
        weights = [1 / counts[label] for label in labels]
    array = as_weights(weights)
    if len(array) != len(dataset):
        raise ConfigError(f"There are {len(array)} weights for {len(dataset)} training samples: expected one each.")
    if not np.all(np.isfinite(array)) or array.min(initial=0) < 0 or not array.sum():
        raise ConfigError("Weights are finite numbers from 0, not all 0.")
    return array / array.sum()


def as_weights(weights: Any) -> np.ndarray:
    """Weights as an array of numbers: (n,)."""
    try:
        given = weights.detach().cpu().numpy() if isinstance(weights, Tensor) else weights
        return np.asarray(given, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"weights are 'balanced' or one number a sample, not {found(weights)}.") from error


def _labels_of(source: Any) -> tuple[list[Any], Iterable[Any] | None]:
    """The labels of every sample, and the classes where they are known."""
    dataset = getattr(source, "train_ds", source)
    dataset = getattr(dataset, "dataset", dataset)
    if hasattr(dataset, "labels") and hasattr(dataset, "blocks"):
        block = dataset.blocks[-1]
        if block.kind != "category" or len(dataset.blocks) <= dataset.n_inp:
            raise ConfigError(f"Class weights need one class a sample (CategoryBlock); the target is {block!r}.")
        return [block.vocab[block.code(label)] for label in dataset.labels()], block.vocab
    if not isinstance(source, Iterable):
        raise ConfigError(f"Class weights need DataLoaders, a data set or labels, not a {type(source).__name__}.")
    return [label.item() if isinstance(label, (np.generic, Tensor)) else label for label in source], None
