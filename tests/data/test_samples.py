"""Weights for uneven classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from column_loaders import dls
from sklearn.utils.class_weight import compute_class_weight

from fastlearn.data.block import DataBlock, RegressionBlock
from fastlearn.data.samples import class_weights
from fastlearn.data.split import IndexSplitter
from fastlearn.errors import ConfigError, DataError


def test_class_weights() -> None:
    labels = list("aaaaaaaabb")
    expected = compute_class_weight("balanced", classes=np.array(["a", "b"]), y=labels)
    for source in (dls(), dls().train_ds, labels):
        assert np.allclose(class_weights(source).numpy(), expected)
    assert class_weights(torch.tensor([0, 0, 2]), range(3)).tolist() == [0.75, 0.0, 1.5]
    with pytest.raises(ConfigError, match="need one class a sample"):
        class_weights(DataBlock((RegressionBlock, RegressionBlock), splitter=IndexSplitter([0])).dataloaders([1, 2]))
    with pytest.raises(DataError, match="None of the 2 labels is one of the classes"):
        class_weights(["a", "b"], ["c"])


def test_a_vocab_that_is_no_list() -> None:
    with pytest.raises(ConfigError, match="vocab is a list of classes, such as .*, not 3"):
        class_weights(["a", "b"], 3)  # type: ignore[arg-type]
