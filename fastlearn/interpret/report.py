"""Precision, recall and F1 of classes and of labels, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Score(NamedTuple):
    """How well one class is found; `support` is how many samples it has."""

    precision: float
    recall: float
    f1: float
    support: int


def scores_of_classes(matrix: np.ndarray) -> tuple[list[Score], dict[str, Score | float]]:
    """The scores of each class from a confusion matrix (rows are the truth), and their means by name."""
    right, total = np.diag(matrix), int(matrix.sum())
    scores = _scores(right, matrix.sum(0), matrix.sum(1))
    means: dict[str, Score | float] = {"accuracy": float(right.sum() / max(1, total))}
    return scores, means | _means(scores)


def scores_of_labels(truth: np.ndarray, said: np.ndarray) -> tuple[list[Score], dict[str, Score | float]]:
    """The scores of each label from booleans (samples, labels), and their means by name."""
    both = truth & said
    scores = _scores(both.sum(0), said.sum(0), truth.sum(0))
    (micro,) = _scores(np.array([both.sum()]), np.array([said.sum()]), np.array([truth.sum()]))
    of_samples = _scores(both.sum(1), said.sum(1), truth.sum(1))
    samples = _mean(of_samples, [1] * len(of_samples))._replace(support=micro.support)
    return scores, {"micro avg": micro, **_means(scores), "samples avg": samples}


def report_text(names: Sequence[str], scores: Sequence[Score], means: Mapping[str, Score | float]) -> str:
    """A table of names, their scores, and the means below."""
    width = max(map(len, [*names, *means]))
    support = next(mean.support for mean in means.values() if isinstance(mean, Score))
    lines = [f"{'':>{width}}  {'precision':>9} {'recall':>9} {'f1-score':>9} {'support':>9}", ""]
    lines += [_line(name, score, width) for name, score in zip(names, scores, strict=True)]
    lines.append("")
    for name, mean in means.items():
        if isinstance(mean, Score):
            lines.append(_line(name, mean, width))
        else:
            lines.append(f"{name:>{width}}  {'':>9} {'':>9} {mean:>9.2f} {support:>9}")
    return "\n".join(lines)


def _line(name: str, score: Score, width: int) -> str:
    numbers = " ".join(f"{value:>9.2f}" for value in score[:3])
    return f"{name:>{width}}  {numbers} {score.support:>9}"


def _scores(right: np.ndarray, said: np.ndarray, actual: np.ndarray) -> list[Score]:
    """Scores from three counts for each class: rightly said, said, and there."""
    precision = right / np.maximum(said, 1)
    recall = right / np.maximum(actual, 1)
    f1 = 2 * right / np.maximum(said + actual, 1)
    return [
        Score(float(p), float(r), float(f), int(n)) for p, r, f, n in zip(precision, recall, f1, actual, strict=True)
    ]


def _means(scores: Sequence[Score]) -> dict[str, Score | float]:
    return {
        "macro avg": _mean(scores, [1] * len(scores)),
        "weighted avg": _mean(scores, [score.support for score in scores]),
    }


def _mean(scores: Sequence[Score], weights: Sequence[int]) -> Score:
    total = max(1, sum(weights))
    precision, recall, f1 = (
        sum(score[k] * weight for score, weight in zip(scores, weights, strict=True)) / total for k in range(3)
    )
    return Score(precision, recall, f1, sum(score.support for score in scores))
