from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastlearn.errors import ConfigError, DataError
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
    activation_of,
    decodes_of,
    per_sample,
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


def test_weights_follow_the_module():
    assert CrossEntropyLossFlat(weight=[1.0, 2.0]).to("meta").weight.is_meta
    assert CrossEntropyLossFlat(weight=[1.0, 2.0]).state_dict() == {}
    assert "reduction='mean'" in repr(CrossEntropyLossFlat())
