"""Losses for one target an output."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastlearn.errors import ConfigError, DataError
from fastlearn.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    MSELossFlat,
)

LOGITS = torch.tensor([[1.0, 2.0, -1.0], [0.5, -0.3, 2.0], [0.0, 1.0, 0.0], [2.0, -2.0, 1.0]])


TARGETS = torch.tensor([0, 2, 1, 1])


def test_column_and_vector_are_the_same_shape():
    x, y = torch.randn(6, 1), torch.randn(6)
    assert torch.equal(MSELossFlat()(x, y), F.mse_loss(x[:, 0], y))
    assert torch.equal(MSELossFlat()(x[:, 0], y[:, None].int()), F.mse_loss(x[:, 0], y.int().float()))


def test_mismatches_say_both_shapes():
    with pytest.raises(DataError, match=r"\(4,\) positions with 3 classes, but the targets have shape \(3,\)"):
        CrossEntropyLossFlat()(LOGITS, TARGETS[:3])
    with pytest.raises(DataError, match=r"whole numbers of shape \(4,\), found torch.float32"):
        CrossEntropyLossFlat()(LOGITS, TARGETS.float())
    with pytest.raises(DataError, match=r"the model gave \(4, 3\), the targets are \(4,\)"):
        MSELossFlat()(LOGITS, torch.randn(4))
    with pytest.raises(DataError, match="BCEWithLogitsLossFlat needs one target"):
        BCEWithLogitsLossFlat()(LOGITS, LOGITS.T)
    with pytest.raises(ConfigError, match="found 'average'"):
        MSELossFlat(reduction="average")
