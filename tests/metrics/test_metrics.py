"""What may stand in `metrics=`, and which metrics fit which task."""

from __future__ import annotations

from functools import partial

import pytest
from predictions import (
    CLASSES,
    LABELS,
    LOGITS,
)

from fastlearn import metrics as m
from fastlearn.errors import ConfigError, DataError
from fastlearn.task import Classification, MultiLabel, Regression


def test_names():
    import torchmetrics

    named = {
        "accuracy": m.accuracy,
        "accuracy_multi": partial(m.accuracy_multi, thresh=0.2),
        "f1_score": m.F1Score,
        "f1_score_multi": m.F1ScoreMulti(),
        "ap_score_binary": m.APScoreBinary(),
        "roc_auc": m.RocAuc(),
        "r2_score": m.R2Score(),
        "perplexity": m.Perplexity,
        "multiclass_accuracy": torchmetrics.classification.MulticlassAccuracy(4),
        "metric": lambda outputs, targets: 1.0,
        "largest": m.AccumMetric(lambda p, t: p.max(), name="largest"),
    }
    assert [m.as_metric(metric).name for metric in named.values()] == list(named)


PETS, PAIR, TAGS = Classification(list("abcd")), Classification(["no", "yes"]), MultiLabel(list("abcd"))


@pytest.mark.parametrize(
    ("metric", "task", "message"),
    [
        (
            m.accuracy,
            TAGS,
            "accuracy is for one class a sample, but the data have several labels a sample. Use accuracy_multi",
        ),
        (m.F1Score(), TAGS, r"Use F1ScoreMulti\(\)"),
        (m.accuracy_multi, PETS, "Use accuracy, error_rate"),
        (m.accuracy, Regression(), "but the data have numbers. Use mse, rmse, mae"),
        (m.mse, PETS, "mse is for numbers"),
        (m.F1Score(), PETS, r"data have 4; type F1Score\(average='macro'\)"),
        (m.RocAucBinary(), PETS, "for 2 classes and the data have 4"),
        (m.top_k_accuracy, PETS, "k=5 and the data have 4 classes"),
    ],
)
def test_metrics_that_do_not_fit_name_one_that_does(metric, task, message):
    with pytest.raises(ConfigError, match=message):
        m.check_metric(m.as_metric(metric), task)


def test_a_metric_by_its_name_in_quotes():
    with pytest.raises(ConfigError, match="found 'acuracy'. Did you mean 'accuracy'.* Without quotes."):
        m.as_metric("acuracy")


def test_metrics_that_fit():
    for metric, task in (
        (m.accuracy, PETS),
        (m.F1Score(), PAIR),
        (m.F1Score(average="macro"), PETS),
        (partial(m.top_k_accuracy, k=4), PETS),
        (m.R2Score(), Regression()),
        (lambda outputs, targets: 0.0, TAGS),
        (m.accuracy, None),
        (m.F1ScoreMulti(), TAGS),
    ):
        assert m.check_metric(m.as_metric(metric), task) is None


def test_arguments_that_cannot_work():
    with pytest.raises(ConfigError, match="takes average= 'binary', 'macro', 'micro', 'weighted'; found 'samples'"):
        m.F1Score(average="samples")
    with pytest.raises(ConfigError, match=r"FBeta needs arguments; give an instance, FBeta\(...\)"):
        m.as_metric(m.FBeta)
    with pytest.raises(ConfigError, match="found 'accuracy'"):
        m.as_metric("accuracy")
    with pytest.raises(DataError, match="needs 5 classes, found 4"):
        m.top_k_accuracy(LOGITS, CLASSES)
    with pytest.raises(DataError, match="one target for each of 53 predictions.*accuracy_multi"):
        m.accuracy(LOGITS, LABELS)
    with pytest.raises(DataError, match="ends in Multi"):
        m.F1Score(average="macro").update(LOGITS, LABELS)
    with pytest.raises(DataError, match="0 or 1 for every output"):
        m.F1ScoreMulti().update(LOGITS, CLASSES)
    metric = m.F1Score()
    metric.update(LOGITS, CLASSES)
    with pytest.raises(ConfigError, match="for 2 classes, found 4"):
        metric.compute()


def test_metrics_of_one_name_are_told_apart():
    def names(*given):
        return [metric.name for metric in m.as_metrics(given)]

    assert names(lambda o, t: 0.0, m.accuracy, lambda o, t: 1.0, lambda o, t: 2.0) == [
        "metric",
        "accuracy",
        "metric_2",
        "metric_3",
    ]
    assert names(partial(m.top_k_accuracy, k=1), partial(m.top_k_accuracy, k=2)) == [
        "top_k_accuracy",
        "top_k_accuracy_2",
    ]
    assert [metric.name for metric in m.as_metrics(m.accuracy)] == ["accuracy"] and m.as_metrics(None) == []
