"""Sums over batches and processes, functions of one's own, torchmetrics objects."""

from __future__ import annotations

from functools import partial

import pytest
import sklearn.metrics as skm
import torch
from predictions import (
    CLASSES,
    FOUND,
    FOUND_TWO,
    LABELS,
    LOGITS,
    NUMBERS,
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
    over_batches,
)

from fastlearn import metrics as m
from fastlearn.errors import DataError, FastlearnError


def test_other_functions_are_weighted_by_batch_size():
    def mean_output(outputs, targets):
        return outputs.mean()

    assert over_batches(mean_output, LOGITS, CLASSES) == pytest.approx(float(LOGITS.mean()), abs=1e-6)
    assert over_batches(lambda outputs, targets: float(outputs.mean()), LOGITS, CLASSES) == pytest.approx(
        float(LOGITS.mean()), abs=1e-6
    )
    with pytest.raises(DataError, match=r"gave a tensor of shape \(53,\)"):
        m.as_metric(lambda outputs, targets: outputs[:, 0]).update(LOGITS, CLASSES)


def test_accum_metric_sees_everything_at_once():
    metric = m.AccumMetric(skm.f1_score, dim_argmax=-1, to_np=True, invert_arg=True)
    assert metric.name == "f1_score"
    expected = skm.f1_score(Y2, FOUND_TWO)
    assert over_batches(metric, TWO, TWO_CLASSES) == pytest.approx(expected)
    assert metric(TWO[:9], TWO_CLASSES[:9]) == pytest.approx(skm.f1_score(Y2[:9], FOUND_TWO[:9]))
    assert metric.value == pytest.approx(expected)  # the call left it alone
    curve = m.AccumMetric(skm.roc_auc_score, activation="binarysoftmax", to_np=True, invert_arg=True)
    assert over_batches(curve, TWO, TWO_CLASSES) == pytest.approx(skm.roc_auc_score(Y2, SURE_TWO))
    tags = m.AccumMetric(lambda p, t: (p == t).float().mean(), activation="sigmoid", thresh=0.4)
    assert over_batches(tags, LOGITS, LABELS) == pytest.approx((YM == TAGGED).mean())


def test_torchmetrics_objects_pass_through():
    import torchmetrics

    metric = torchmetrics.classification.MulticlassAccuracy(4, average="micro")
    assert over_batches(metric, LOGITS, CLASSES) == pytest.approx(skm.accuracy_score(Y, FOUND))
    with pytest.raises(DataError, match="expected one number"):
        over_batches(torchmetrics.classification.MulticlassAccuracy(4, average="none"), LOGITS, CLASSES)


def test_sums_of_two_processes_give_the_metric_of_all():
    parts = [m.as_metric(m.rmse) for _ in range(2)]
    parts[0].update(NUMBERS[:10], TRUE[:10])
    parts[1].update(NUMBERS[10:], TRUE[10:])
    total, count = (a + b for a, b in zip(parts[0].sums, parts[1].sums, strict=True))
    whole = m.as_metric(m.rmse)
    whole.load_state_dict({"total": total, "count": count})
    assert whole.value == pytest.approx(skm.root_mean_squared_error(T, P), abs=1e-6)
    assert m.as_metric(m.rmse).sums[1] == 0
    assert m.RocAuc().sums is None


class Half(m.Metric):
    name = "half"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: m.BatchMean(lambda o, t: o), r"The metric gave a tensor of shape \(2, 2\), expected one number"),
        (lambda: m.BatchMean(lambda o, t: None), "The metric gave None, expected one number"),
        (lambda: m.AccumMetric(lambda o, t: "x", name="mine"), "The metric mine gave 'x', expected one number"),
        (lambda: m.AccumMetric(lambda o, t: o["x"]), "The metric failed: TypeError: "),
        (lambda: m.AccumMetric(3), "func is a function, not 3"),
        (lambda: m.AccumMetric(len, activation="softmx"), "activation='softmx': choose 'no', 'sigmoid'"),
        (lambda: m.AccumMetric(len, thresh="x"), "thresh is a number such as 0.5, not 'x'"),
        (Half, r"The metric Half has no update\(outputs, targets\)\. A Metric of your own has reset\(\)"),
        (lambda: m.F1Score(axis="x"), "axis is a whole number such as -1 or 1, not 'x'"),
        (lambda: m.Dice(axis=None), "axis is a whole number such as -1 or 1, not None"),
        (lambda: m.FBeta("x"), "beta is a number such as 2, not 'x'"),
        (lambda: m.F1ScoreMulti(thresh="x"), "thresh is a number such as 0.5, not 'x'"),
        (lambda: m.accuracy([0.1, 0.9], torch.tensor([1])), r"inp is a tensor, not \[0.1, 0.9\]\. To make one"),
        (lambda: m.mse(torch.zeros(2), None), r"targ is a tensor, not None"),
        (lambda: m.as_metric(partial(m.top_k_accuracy, k="a")), "k is a whole number from 1, not 'a'"),
    ],
)
def test_what_is_no_metric_is_said_in_one_sentence(make, message):
    with pytest.raises(FastlearnError, match=message):
        metric = make()
        metric.update(torch.rand(2, 2), torch.tensor([0, 1]))
        metric.compute()
