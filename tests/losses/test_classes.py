"""Losses for one class out of n, against closed forms and plain torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastlearn.losses import (
    BCELossFlat,
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLoss,
    FocalLossFlat,
    L1LossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
    MSELossFlat,
)

LOGITS = torch.tensor([[1.0, 2.0, -1.0], [0.5, -0.3, 2.0], [0.0, 1.0, 0.0], [2.0, -2.0, 1.0]])


TARGETS = torch.tensor([0, 2, 1, 1])


WEIGHT = torch.tensor([1.0, 2.0, 0.5])


@pytest.mark.parametrize(
    ("loss_func", "expected"),
    [
        (CrossEntropyLossFlat(weight=WEIGHT), 2.04456830),
        (LabelSmoothingCrossEntropy(), 1.62513721),
        (LabelSmoothingCrossEntropy(eps=0.2, weight=WEIGHT), 1.95768213),
        (LabelSmoothingCrossEntropy(eps=0.2, weight=WEIGHT, reduction="sum"), 10.28421021),
        (FocalLoss(), 1.26713097),
        (FocalLossFlat(gamma=1.0), 1.39264083),
    ],
)
def test_golden_values(loss_func, expected):
    assert float(loss_func(LOGITS, TARGETS)) == pytest.approx(expected, abs=1e-6)


def test_label_smoothing_without_weights_is_torch():
    for eps in (0.0, 0.1, 0.5):
        ours = LabelSmoothingCrossEntropy(eps)(LOGITS, TARGETS)
        torch.testing.assert_close(ours, F.cross_entropy(LOGITS, TARGETS, label_smoothing=eps))


def test_focal_loss_by_the_papers_equation():
    p = LOGITS.softmax(1).gather(1, TARGETS[:, None])[:, 0]
    expected = (WEIGHT[TARGETS] * (1 - p) ** 1.5 * -p.log()).mean()
    torch.testing.assert_close(FocalLoss(gamma=1.5, weight=WEIGHT)(LOGITS, TARGETS), expected)
    sure = torch.tensor([[200.0, 0.0]], requires_grad=True)
    FocalLoss(gamma=0.5)(sure, torch.tensor([0])).backward()
    assert sure.grad is not None


CLASS_LOSSES = [
    CrossEntropyLossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
    FocalLoss,
    FocalLossFlat,
]


@pytest.mark.parametrize("cls", CLASS_LOSSES)
def test_class_axis_soft_targets_and_reductions(cls):
    plain = cls()(LOGITS, TARGETS)
    torch.testing.assert_close(cls()(LOGITS.view(2, 2, 3), TARGETS.view(2, 2)), plain)
    torch.testing.assert_close(cls(axis=1)(LOGITS.view(2, 2, 3).movedim(-1, 1), TARGETS.view(2, 2)), plain)
    torch.testing.assert_close(cls()(LOGITS, TARGETS[:, None]), plain)
    torch.testing.assert_close(cls()(LOGITS, TARGETS.to(torch.uint8)), plain)
    torch.testing.assert_close(cls()(LOGITS, F.one_hot(TARGETS, 3).float()), plain)
    single = cls(reduction="none")(LOGITS.view(2, 2, 3), TARGETS.view(2, 2))
    assert single.shape == (2, 2)
    torch.testing.assert_close(single.mean(), plain)
    assert cls()(LOGITS.bfloat16(), TARGETS).dtype == torch.float32
    assert cls(weight=[1, 2, 3])(LOGITS.double(), TARGETS).dtype == torch.float64
    torch.testing.assert_close(cls().activation(LOGITS), LOGITS.softmax(-1))
    assert cls().decodes(LOGITS).tolist() == [1, 2, 1, 0]


def test_bit_equal_to_plain_torch():
    assert torch.equal(CrossEntropyLossFlat()(LOGITS, TARGETS), F.cross_entropy(LOGITS, TARGETS))
    mixed = 0.3 * F.one_hot(TARGETS, 3) + 0.7 * F.one_hot(TARGETS.flip(0), 3)
    ours = CrossEntropyLossFlat(weight=WEIGHT)(LOGITS, mixed)
    assert torch.equal(ours, F.cross_entropy(LOGITS, mixed, WEIGHT))
    ignored = torch.tensor([0, -100, 1, 1])
    assert torch.equal(CrossEntropyLossFlat()(LOGITS, ignored), F.cross_entropy(LOGITS, ignored))
    x, y = torch.randn(5, 2), torch.rand(5, 2)
    assert torch.equal(MSELossFlat()(x, y), F.mse_loss(x, y))
    assert torch.equal(L1LossFlat()(x, y), F.l1_loss(x, y))
    assert torch.equal(BCELossFlat()(x.sigmoid(), y), F.binary_cross_entropy(x.sigmoid(), y))
    pos = torch.tensor([1.0, 5.0])
    assert torch.equal(
        BCEWithLogitsLossFlat(pos_weight=pos)(x, y.double()), F.binary_cross_entropy_with_logits(x, y, pos_weight=pos)
    )
