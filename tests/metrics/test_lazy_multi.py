"""Metrics of several labels and of numbers by torchmetrics, against scikit-learn and scipy."""

from __future__ import annotations

import pytest
import sklearn.metrics as skm
import torch
from predictions import (
    LABELS,
    LOGITS,
    NUMBERS,
    SURE_TAGS,
    TAGGED,
    TRUE,
    YM,
    P,
    T,
    assert_metric_is,
    over_batches,
)
from scipy.stats import pearsonr, spearmanr

from fastlearn import metrics as m
from fastlearn.errors import ConfigError

MULTI = {
    "f1": (m.F1ScoreMulti(0.4), skm.f1_score(YM, TAGGED, average="macro")),
    "f1 micro": (m.F1ScoreMulti(0.4, average="micro"), skm.f1_score(YM, TAGGED, average="micro")),
    "fbeta": (m.FBetaMulti(0.5, 0.4), skm.fbeta_score(YM, TAGGED, beta=0.5, average="macro")),
    "precision": (m.PrecisionMulti(0.4), skm.precision_score(YM, TAGGED, average="macro")),
    "recall": (m.RecallMulti(0.4, average="weighted"), skm.recall_score(YM, TAGGED, average="weighted")),
    "jaccard": (m.JaccardMulti(0.4), skm.jaccard_score(YM, TAGGED, average="macro")),
    "roc": (m.RocAucMulti(), skm.roc_auc_score(YM, SURE_TAGS)),
    "ap": (m.APScoreMulti(), skm.average_precision_score(YM, SURE_TAGS)),
}


REGRESSION = {
    "r2": (m.R2Score(), skm.r2_score(T, P)),
    "explained": (m.ExplainedVariance(), skm.explained_variance_score(T, P)),
    "pearson": (m.PearsonCorrCoef(), pearsonr(P, T).statistic),
    "spearman": (m.SpearmanCorrCoef(), spearmanr(P, T).statistic),
}


@pytest.mark.parametrize("name", MULTI)
def test_several_labels(name):
    assert_metric_is(*MULTI[name], LOGITS, LABELS)


@pytest.mark.parametrize("name", REGRESSION)
def test_numbers(name):
    assert_metric_is(*REGRESSION[name], NUMBERS, TRUE)


def test_numbers_far_from_zero_keep_their_digits():
    years, guess = TRUE + 20_000, NUMBERS + 20_000
    assert over_batches(m.R2Score(), guess, years) == pytest.approx(
        skm.r2_score(years.double().numpy(), guess.double().numpy()), abs=1e-6
    )


def test_labels_averaged_over_samples_are_those_of_scikit_learn():
    torch.manual_seed(3)
    outputs, targets = torch.randn(40, 4), (torch.rand(40, 4) < 0.4).long()
    outputs[0], targets[0], targets[1] = -9.0, 0, 0
    said, there = (outputs.sigmoid() > 0.5).numpy(), targets.numpy()
    options = {"average": "samples", "zero_division": 0}
    for metric, expected in [
        (m.F1ScoreMulti(average="samples"), skm.f1_score(there, said, **options)),
        (m.FBetaMulti(beta=0.5, average="samples"), skm.fbeta_score(there, said, beta=0.5, **options)),
        (m.FBetaMulti(beta=2, average="samples"), skm.fbeta_score(there, said, beta=2, **options)),
        (m.PrecisionMulti(average="samples"), skm.precision_score(there, said, **options)),
        (m.RecallMulti(average="samples"), skm.recall_score(there, said, **options)),
        (m.JaccardMulti(average="samples"), skm.jaccard_score(there, said, **options)),
    ]:
        for _ in range(2):
            metric.reset()
            for part in (slice(0, 7), slice(7, 40)):
                metric.update(outputs[part], targets[part].float())
            assert metric.compute() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ConfigError, match="takes average= 'macro', 'micro', 'weighted'; found 'samples'"):
        m.RocAucMulti(average="samples")
