"""Metrics of one class a sample by torchmetrics, against scikit-learn."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sklearn.metrics as skm
import torch
from predictions import (
    CLASSES,
    FOUND,
    FOUND_TWO,
    LOGITS,
    SURE,
    SURE_TWO,
    TWO,
    TWO_CLASSES,
    Y2,
    Y,
    assert_metric_is,
    over_batches,
)

from fastlearn import metrics as m

ONE_CLASS = {
    "f1": (m.F1Score(average="macro"), skm.f1_score(Y, FOUND, average="macro")),
    "f1 weighted": (m.F1Score(average="weighted"), skm.f1_score(Y, FOUND, average="weighted")),
    "fbeta": (m.FBeta(2, average="macro"), skm.fbeta_score(Y, FOUND, beta=2, average="macro")),
    "precision": (m.Precision(average="micro"), skm.precision_score(Y, FOUND, average="micro")),
    "recall": (m.Recall(average="macro"), skm.recall_score(Y, FOUND, average="macro")),
    "jaccard": (m.Jaccard(average="macro"), skm.jaccard_score(Y, FOUND, average="macro")),
    "balanced": (m.BalancedAccuracy(), skm.balanced_accuracy_score(Y, FOUND)),
    "balanced adjusted": (m.BalancedAccuracy(adjusted=True), skm.balanced_accuracy_score(Y, FOUND, adjusted=True)),
    "matthews": (m.MatthewsCorrCoef(), skm.matthews_corrcoef(Y, FOUND)),
    "kappa": (m.CohenKappa(), skm.cohen_kappa_score(Y, FOUND)),
    "kappa weighted": (m.CohenKappa(weights="quadratic"), skm.cohen_kappa_score(Y, FOUND, weights="quadratic")),
    "roc": (m.RocAuc(), skm.roc_auc_score(Y, SURE, multi_class="ovr")),
    "roc weighted": (m.RocAuc(average="weighted"), skm.roc_auc_score(Y, SURE, multi_class="ovr", average="weighted")),
}


TWO_CLASS = {
    "f1": (m.F1Score(), skm.f1_score(Y2, FOUND_TWO)),
    "f1 class": (m.F1Score, skm.f1_score(Y2, FOUND_TWO)),
    "f1 of 0": (m.F1Score(pos_label=0), skm.f1_score(Y2, FOUND_TWO, pos_label=0)),
    "precision": (m.Precision(), skm.precision_score(Y2, FOUND_TWO)),
    "recall": (m.Recall(), skm.recall_score(Y2, FOUND_TWO)),
    "jaccard": (m.Jaccard(), skm.jaccard_score(Y2, FOUND_TWO)),
    "roc": (m.RocAucBinary(), skm.roc_auc_score(Y2, SURE_TWO)),
    "ap": (m.APScoreBinary(), skm.average_precision_score(Y2, SURE_TWO)),
}


@pytest.mark.parametrize("name", ONE_CLASS)
def test_one_class_a_sample(name):
    assert_metric_is(*ONE_CLASS[name], LOGITS, CLASSES)


@pytest.mark.parametrize("name", TWO_CLASS)
def test_two_classes(name):
    assert_metric_is(*TWO_CLASS[name], TWO, TWO_CLASSES)


def test_classes_that_do_not_occur():
    targets = torch.randint(0, 3, (53,), generator=torch.Generator().manual_seed(1))  # class 3 is only predicted
    for metric, theirs in (
        (m.BalancedAccuracy(), None),
        (m.F1Score(average="macro"), skm.f1_score(targets, FOUND, average="macro", zero_division=0)),
        (m.Recall(average="weighted"), skm.recall_score(targets, FOUND, average="weighted", zero_division=0)),
    ):
        if theirs is None:
            with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
                theirs = skm.balanced_accuracy_score(targets, FOUND)
        assert over_batches(metric, LOGITS, targets) == pytest.approx(theirs, abs=1e-6)


def test_importing_metrics_does_not_import_torchmetrics():
    code = (
        "import sys, fastlearn.metrics as m; m.as_metric(m.accuracy); m.F1Score(); "
        "sys.exit('torchmetrics' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
