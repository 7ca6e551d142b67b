"""What any loss means by a model's output."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastlearn.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    MSELossFlat,
    activation_of,
    decodes_of,
    per_sample,
)

LOGITS = torch.tensor([[1.0, 2.0, -1.0], [0.5, -0.3, 2.0], [0.0, 1.0, 0.0], [2.0, -2.0, 1.0]])


TARGETS = torch.tensor([0, 2, 1, 1])


PROBS = torch.tensor([0.2, 0.5, 0.6])


@pytest.mark.parametrize(
    ("loss_func", "activation", "answer"),
    [
        (F.cross_entropy, torch.tensor([0.25, 0.75]), 1),
        (nn.CrossEntropyLoss(), torch.tensor([0.25, 0.75]), 1),
        (partial(partial(F.cross_entropy), label_smoothing=0.1), torch.tensor([0.25, 0.75]), 1),
        (nn.CrossEntropyLoss, torch.tensor([0.25, 0.75]), 1),
        (CrossEntropyLossFlat(), torch.tensor([0.25, 0.75]), 1),
        (nn.NLLLoss(), torch.tensor([1.0, 3.0]), 1),
        (F.binary_cross_entropy_with_logits, torch.tensor([0.5, 0.75]), [False, True]),
        (nn.BCEWithLogitsLoss(), torch.tensor([0.5, 0.75]), [False, True]),
        (BCEWithLogitsLossFlat(thresh=0.3), torch.tensor([0.5, 0.75]), [True, True]),
        (nn.BCELoss(), torch.tensor([0.0, 3.0]).log(), [False, True]),
        (F.mse_loss, torch.tensor([0.0, 3.0]).log(), None),
        (lambda outputs, targets: outputs.sum(), torch.tensor([0.0, 3.0]).log(), None),
    ],
)
def test_activation_and_decodes_of_any_loss(loss_func, activation, answer):
    logits = torch.tensor([[1.0, 3.0]]).log()
    probs = activation_of(loss_func)(logits)
    if not activation.isinf().any():
        torch.testing.assert_close(probs, activation[None])
    else:
        assert torch.equal(probs, logits)
    found = decodes_of(loss_func)(probs)
    assert torch.equal(found, probs) if answer is None else found.tolist() == [answer]


def test_torch_losses_have_their_classes_second():
    logits = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(activation_of(F.cross_entropy)(logits), logits.softmax(1))
    assert decodes_of(F.cross_entropy)(logits).shape == (2, 4, 4)


@pytest.mark.parametrize(
    "loss_func",
    [
        F.cross_entropy,
        nn.CrossEntropyLoss(),
        partial(F.cross_entropy, reduction="sum"),
        CrossEntropyLossFlat(),
        lambda outputs, targets: F.cross_entropy(outputs, targets),
    ],
)
def test_losses_by_sample(loss_func):
    single = per_sample(loss_func)(LOGITS, TARGETS)
    torch.testing.assert_close(single, F.cross_entropy(LOGITS, TARGETS, reduction="none"))
    if isinstance(loss_func, nn.Module):
        assert loss_func.reduction == "mean"


def test_losses_by_sample_average_the_rest():
    x, y = torch.randn(4, 2, 5), torch.randn(4, 2, 5)
    torch.testing.assert_close(per_sample(MSELossFlat())(x, y), (x - y).square().mean((1, 2)))
