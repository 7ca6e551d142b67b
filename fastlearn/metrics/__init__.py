"""Metrics: what a person reads beside the loss. Functions, classes, torchmetrics objects; all become a `Metric`.

>>> learn = Learner(dls, model, metrics=[accuracy, F1Score(average="macro"), partial(top_k_accuracy, k=3)])
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

from fastlearn.errors import ConfigError, near
from fastlearn.metrics.base import AccumMetric, BatchMean, FromTorchmetrics, Metric, Ratio
from fastlearn.metrics.lazy import (
    APScoreBinary,
    BalancedAccuracy,
    CohenKappa,
    F1Score,
    FBeta,
    Jaccard,
    MatthewsCorrCoef,
    Precision,
    Recall,
    RocAuc,
    RocAucBinary,
)
from fastlearn.metrics.lazy_multi import (
    APScoreMulti,
    ExplainedVariance,
    F1ScoreMulti,
    FBetaMulti,
    JaccardMulti,
    PearsonCorrCoef,
    PrecisionMulti,
    R2Score,
    RecallMulti,
    RocAucMulti,
    SpearmanCorrCoef,
)
from fastlearn.metrics.plain import (
    BrierScore,
    Dice,
    HammingLoss,
    HammingLossMulti,
    Perplexity,
    accuracy,
    accuracy_multi,
    error_rate,
    exp_rmspe,
    mae,
    mse,
    msle,
    plain_metric,
    rmse,
    top_k_accuracy,
)
from fastlearn.options import found

__all__ = [
    "APScoreBinary",
    "APScoreMulti",
    "AccumMetric",
    "BalancedAccuracy",
    "BatchMean",
    "BrierScore",
    "CohenKappa",
    "Dice",
    "ExplainedVariance",
    "F1Score",
    "F1ScoreMulti",
    "FBeta",
    "FBetaMulti",
    "FromTorchmetrics",
    "HammingLoss",
    "HammingLossMulti",
    "Jaccard",
    "JaccardMulti",
    "MatthewsCorrCoef",
    "Metric",
    "PearsonCorrCoef",
    "Perplexity",
    "Precision",
    "PrecisionMulti",
    "R2Score",
    "Ratio",
    "Recall",
    "RecallMulti",
    "RocAuc",
    "RocAucBinary",
    "RocAucMulti",
    "SpearmanCorrCoef",
    "accuracy",
    "accuracy_multi",
    "as_metric",
    "as_metrics",
    "check_metric",
    "error_rate",
    "exp_rmspe",
    "mae",
    "mse",
    "msle",
    "rmse",
    "top_k_accuracy",
]

_FITTING = {
    "classification": "accuracy, error_rate or F1Score(average='macro')",
    "multilabel": "accuracy_multi or F1ScoreMulti()",
    "regression": "mse, rmse, mae or R2Score()",
}
_TARGETS = {"classification": "one class a sample", "multilabel": "several labels a sample", "regression": "numbers"}
_COUNTERPARTS = {"accuracy": "accuracy_multi", "error_rate": "accuracy_multi", "hamming_loss": "HammingLossMulti()"}


def as_metric(metric: Any) -> Metric:
    """A `Metric` from anything that may stand in `metrics=`.

    Our functions (and partials of them) are accumulated exactly; any other function gives the mean of a batch, which
    is weighted by the batch's size; a class is instantiated; a torchmetrics object is fed raw outputs and targets.
    """
    if isinstance(metric, type):
        try:
            metric = metric()
        except TypeError as error:
            name = metric.__name__
            raise ConfigError(f"The metric {name} needs arguments; give an instance, {name}(...). {error}") from error
    if isinstance(metric, Metric):
        return metric
    torchmetrics = sys.modules.get("torchmetrics")  # whoever made such a metric has imported it
    if torchmetrics is not None and isinstance(metric, torchmetrics.Metric):
        return FromTorchmetrics(metric)
    exact = plain_metric(metric)
    if exact is not None:
        return exact
    if callable(metric):
        return BatchMean(metric)
    hint = near(metric, __all__) + " Without quotes." if isinstance(metric, str) else ""
    raise ConfigError(
        f"A metric is a function of (outputs, targets) or a Metric such as F1Score(), found {found(metric)}.{hint}"
    )


def as_metrics(metrics: Any) -> list[Metric]:
    """A list of metrics of different names from what was given for `metrics=`: None, one, or several.

    A name that is there already gets a number: two functions without a name are "metric" and "metric_2".
    """
    given = [] if metrics is None else list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
    made = [as_metric(metric) for metric in given]
    taken = {metric.name for metric in made}
    seen: set[str] = set()
    for metric in made:
        if metric.name in seen:
            free = (f"{metric.name}_{k}" for k in itertools.count(2))
            metric.name = next(name for name in free if name not in taken)
        seen.add(metric.name)
        taken.add(metric.name)
    return made


def check_metric(metric: Metric, task: Any) -> None:
    """Nothing, if the metric fits the task (None: unknown, anything does); else ConfigError naming one that does."""
    if task is None or metric.suits is None:
        return
    if task.name not in metric.suits:
        instead = _FITTING.get(task.name, "another")
        if task.name == "multilabel":
            own_twin = f"{type(metric).__name__}Multi"
            instead = _COUNTERPARTS.get(metric.name) or (f"{own_twin}()" if own_twin in __all__ else instead)
        raise ConfigError(
            f"{metric.spoken} is for {' or '.join(_TARGETS[name] for name in metric.suits)}, but the data "
            f"have {_TARGETS.get(task.name, task.name)}. Use {instead}."
        )
    problem = metric.problem(task)
    if problem:
        raise ConfigError(f"{metric.spoken} does not fit: {problem}.")
