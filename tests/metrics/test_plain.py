"""Metrics that are plain sums, against scikit-learn."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import sklearn.metrics as skm
import torch
import torch.nn.functional as F
from predictions import (
    CLASSES,
    FOUND,
    LABELS,
    LOGITS,
    NUMBERS,
    SURE,
    SURE_TWO,
    TAGGED,
    TRUE,
    TWO,
    TWO_CLASSES,
    Y2,
    YM,
    P,
    T,
    Y,
    assert_metric_is,
    over_batches,
)

from fastlearn import metrics as m

ONE_CLASS = {
    "accuracy": (m.accuracy, skm.accuracy_score(Y, FOUND)),
    "error_rate": (m.error_rate, 1 - skm.accuracy_score(Y, FOUND)),
    "top_k": (partial(m.top_k_accuracy, k=2), skm.top_k_accuracy_score(Y, SURE, k=2)),
    "perplexity": (m.Perplexity(), math.exp(skm.log_loss(Y, SURE))),
    "hamming": (m.HammingLoss(), skm.hamming_loss(Y, FOUND)),
}


TWO_CLASS = {
    "brier": (m.BrierScore(), skm.brier_score_loss(Y2, SURE_TWO)),
}


MULTI = {
    "accuracy": (partial(m.accuracy_multi, thresh=0.4), (YM == TAGGED).mean()),
    "hamming": (m.HammingLossMulti(0.4), skm.hamming_loss(YM, TAGGED)),
}


REGRESSION = {
    "mse": (m.mse, skm.mean_squared_error(T, P)),
    "rmse": (m.rmse, skm.root_mean_squared_error(T, P)),
    "mae": (m.mae, skm.mean_absolute_error(T, P)),
    "msle": (m.msle, skm.mean_squared_log_error(T, P)),
    "exp_rmspe": (m.exp_rmspe, np.sqrt(np.mean(((np.exp(T) - np.exp(P)) / np.exp(T)) ** 2))),
}


def test_plain_functions_give_one_batch():
    assert float(m.accuracy(LOGITS, CLASSES)) == pytest.approx(skm.accuracy_score(Y, FOUND))
    assert float(m.rmse(NUMBERS, TRUE)) == pytest.approx(skm.root_mean_squared_error(T, P), abs=1e-6)
    pixels = torch.randn(2, 3, 4, 4)
    mask = torch.randint(0, 3, (2, 4, 4))
    assert float(m.accuracy(pixels, mask, axis=1)) == pytest.approx(float((pixels.argmax(1) == mask).float().mean()))
    assert float(m.top_k_accuracy(pixels, mask, k=3, axis=1)) == 1


def test_dice_is_f1_of_the_foreground():
    pixels = torch.randn(5, 3, 8, 8)
    mask = torch.randint(0, 3, (5, 8, 8))
    expected = skm.f1_score(mask.flatten() > 0, pixels.argmax(1).flatten() > 0)
    assert over_batches(m.Dice(), pixels, mask, bs=2) == pytest.approx(expected)


def test_perplexity_ignores_padding():
    logits, targets = torch.randn(4, 5, 7), torch.randint(0, 7, (4, 5))
    targets[1, 2:] = -100
    expected = float(F.cross_entropy(logits.view(-1, 7), targets.view(-1)).exp())
    assert over_batches(m.Perplexity(), logits, targets, bs=3) == pytest.approx(expected, rel=1e-5)


def test_half_precision_outputs_count_exactly():
    outputs = torch.zeros(5000, 2, dtype=torch.bfloat16)
    outputs[:4999, 1] = 1
    assert over_batches(m.accuracy, outputs, torch.ones(5000, dtype=torch.long), bs=5000) == 4999 / 5000


@pytest.mark.parametrize("name", ONE_CLASS)
def test_one_class_a_sample(name):
    assert_metric_is(*ONE_CLASS[name], LOGITS, CLASSES)


@pytest.mark.parametrize("name", TWO_CLASS)
def test_two_classes(name):
    assert_metric_is(*TWO_CLASS[name], TWO, TWO_CLASSES)


@pytest.mark.parametrize("name", MULTI)
def test_several_labels(name):
    assert_metric_is(*MULTI[name], LOGITS, LABELS)


@pytest.mark.parametrize("name", REGRESSION)
def test_numbers(name):
    assert_metric_is(*REGRESSION[name], NUMBERS, TRUE)


def test_a_threshold_may_be_one_of_a_tensor_s_numbers():
    inp, targ = torch.tensor([[2.0, -2.0, -1.0]]), torch.tensor([[1, 0, 1]])
    values = [m.accuracy_multi(inp, targ, thresh=thresh).item() for thresh in torch.tensor([0.2, 0.5])]
    assert values == [1.0, pytest.approx(2 / 3)]
