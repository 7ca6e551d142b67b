"""Sums over batches and processes, functions of one's own, torchmetrics objects."""

from __future__ import annotations

import pytest
import sklearn.metrics as skm
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
from fastlearn.errors import DataError


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
