"""Random outputs and targets of every sort, and a metric's value over batches of them."""

from __future__ import annotations

import math

import pytest
import torch

from fastlearn import metrics as m

RNG = torch.Generator().manual_seed(0)


LOGITS = torch.randn(53, 4, generator=RNG)


CLASSES = torch.randint(0, 4, (53,), generator=RNG)


TWO, TWO_CLASSES = torch.randn(53, 2, generator=RNG), torch.randint(0, 2, (53,), generator=RNG)


LABELS = torch.randint(0, 2, (53, 4), generator=RNG).float()


NUMBERS = torch.rand(53, 1, generator=RNG) * 3


TRUE = NUMBERS[:, 0] + 0.3 * torch.rand(53, generator=RNG)


def over_batches(metric, outputs, targets, bs=16):
    metric = m.as_metric(metric)
    assert math.isnan(metric.value)
    metric.update(outputs[:5], targets[:5])
    metric.reset()
    for start in range(0, len(outputs), bs):
        metric.update(outputs[start : start + bs], targets[start : start + bs])
    return metric.value


def np_(*tensors):
    return [tensor.numpy() for tensor in tensors]


FOUND, SURE = LOGITS.argmax(1).numpy(), LOGITS.double().softmax(1).numpy()


FOUND_TWO, SURE_TWO = TWO.argmax(1).numpy(), TWO.double().softmax(1)[:, 1].numpy()


Y, Y2, YM = CLASSES.numpy(), TWO_CLASSES.numpy(), LABELS.numpy()


TAGGED, SURE_TAGS = (LOGITS.sigmoid() > 0.4).numpy(), LOGITS.double().sigmoid().numpy()


P, T = np_(NUMBERS[:, 0].double(), TRUE.double())


def assert_metric_is(metric, expected, outputs, targets):
    assert over_batches(metric, outputs, targets) == pytest.approx(float(expected), abs=2e-6)
