"""Metrics of several labels a sample and of numbers, computed by torchmetrics like those in `lazy`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fastlearn.errors import DataError
from fastlearn.metrics.base import TaskName, wide
from fastlearn.metrics.lazy import Lazy, check_average
from fastlearn.options import checked_number, named_options

MultiAverage = Literal["macro", "micro", "weighted", "samples"]


class _Labels(Lazy):
    """Several labels a sample, outputs and targets (batch, n): present above the probability `thresh`."""

    suits: tuple[TaskName, ...] | None = ("multilabel",)
    averages: tuple[str, ...] = ("macro", "micro", "weighted")

    @named_options
    def __init__(self, thresh: float = 0.5, sigmoid: bool = True, average: MultiAverage = "macro") -> None:
        super().__init__()
        check_average(type(self).__name__, average, self.averages)
        self.thresh = checked_number(thresh, "thresh", 0.5)
        self.sigmoid, self.average = sigmoid, average

    def prepare(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.shape != targets.shape:
            raise DataError(
                f"{self.name} needs a 0 or 1 for every output: outputs are {tuple(outputs.shape)}, "
                f"targets {tuple(targets.shape)}."
            )
        probs = outputs.sigmoid() if self.sigmoid else outputs
        return (probs > self.thresh).long(), targets.long()

    def _options(self, n: int) -> dict[str, Any]:
        return {"num_labels": n, "average": self.average, "validate_args": False}


class _SampleMean:
    """The mean over samples of `score(both, said, there)`, three counts of each sample's labels."""

    def __init__(self, score: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        self.score = score
        self.reset()

    def reset(self) -> None:
        self.total: Tensor | float = 0.0
        self.count = 0

    def to(self, device: torch.device) -> None:
        """Nothing: the sum is where the outputs are."""

    def update(self, said: Tensor, there: Tensor) -> None:
        both, said_n, there_n = (wide(part.sum(1).float()) for part in (said & there, said, there))
        self.total = self.total + self.score(both, said_n, there_n).sum()
        self.count += len(said)

    def compute(self) -> Tensor:
        return torch.as_tensor(self.total) / max(1, self.count)


class _Found(_Labels):
    """How well labels are found: over labels, or with `average="samples"` the mean of each sample's own score.

    A share of nothing counts as 0.
    """

    averages = get_args(MultiAverage)

    def build(self, n: int) -> Any:
        return _SampleMean(self.of_sample) if self.average == "samples" else self.over_labels(n)

    def over_labels(self, n: int) -> Any:
        raise NotImplementedError

    def of_sample(self, both: Tensor, said: Tensor, there: Tensor) -> Tensor:
        """The score of each sample from the numbers of its labels: rightly said, said, and there."""
        raise NotImplementedError


class F1ScoreMulti(_Found):
    """`F1Score` of several labels a sample."""

    def over_labels(self, n: int) -> Any:
        from torchmetrics.classification import MultilabelF1Score

        return MultilabelF1Score(**self._options(n))

    def of_sample(self, both: Tensor, said: Tensor, there: Tensor) -> Tensor:
        return 2 * both / (said + there).clamp(min=1)


class FBetaMulti(_Found):
    """`FBeta` of several labels a sample."""

    @named_options
    def __init__(self, beta: float, thresh: float = 0.5, sigmoid: bool = True, average: MultiAverage = "macro") -> None:
        super().__init__(thresh, sigmoid, average)
        self.beta = float(checked_number(beta, "beta", 2))

    def over_labels(self, n: int) -> Any:
        from torchmetrics.classification import MultilabelFBetaScore

        return MultilabelFBetaScore(beta=self.beta, **self._options(n))

    def of_sample(self, both: Tensor, said: Tensor, there: Tensor) -> Tensor:
        square = self.beta**2
        return (1 + square) * both / (square * there + said).clamp(min=min(1.0, square))


class PrecisionMulti(_Found):
    """`Precision` of several labels a sample."""

    def over_labels(self, n: int) -> Any:
        from torchmetrics.classification import MultilabelPrecision

        return MultilabelPrecision(**self._options(n))

    def of_sample(self, both: Tensor, said: Tensor, there: Tensor) -> Tensor:
        return both / said.clamp(min=1)


class RecallMulti(_Found):
    """`Recall` of several labels a sample."""

    def over_labels(self, n: int) -> Any:
        from torchmetrics.classification import MultilabelRecall

        return MultilabelRecall(**self._options(n))

    def of_sample(self, both: Tensor, said: Tensor, there: Tensor) -> Tensor:
        return both / there.clamp(min=1)


class JaccardMulti(_Found):
    """`Jaccard` of several labels a sample."""

    def over_labels(self, n: int) -> Any:
        from torchmetrics.classification import MultilabelJaccardIndex

        return MultilabelJaccardIndex(**self._options(n))

    def of_sample(self, both: Tensor, said: Tensor, there: Tensor) -> Tensor:
        return both / (said + there - both).clamp(min=1)


class _LabelCurve(_Labels):
    """Probabilities of several labels a sample. Keeps every output."""

    @named_options
    def __init__(self, sigmoid: bool = True, average: MultiAverage = "macro") -> None:
        super().__init__(sigmoid=sigmoid, average=average)

    def prepare(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        super().prepare(outputs, targets)  # for its check
        return wide(outputs).sigmoid() if self.sigmoid else outputs, targets.long()


class RocAucMulti(_LabelCurve):
    """The area under the ROC curve, over labels."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MultilabelAUROC

        return MultilabelAUROC(**self._options(n))


class APScoreMulti(_LabelCurve):
    """The average precision, over labels."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MultilabelAveragePrecision

        return MultilabelAveragePrecision(**self._options(n))


class _Numbers(Lazy):
    """Predicted and true numbers, flattened, in float64: their squares lose digits in float32."""

    suits: tuple[TaskName, ...] | None = ("regression",)

    def prepare(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.numel() != targets.numel():
            raise DataError(
                f"{self.name} needs one target for each output: outputs are {tuple(outputs.shape)}, "
                f"targets {tuple(targets.shape)}."
            )
        return wide(outputs).reshape(-1), wide(targets).reshape(-1)

    def update(self, outputs: Any, targets: Any) -> None:
        if self.metric is None:
            self.metric = self.build(1).set_dtype(torch.float32 if outputs.device.type == "mps" else torch.float64)
        super().update(outputs, targets)


class R2Score(_Numbers):
    """The share of the targets' variance that is explained, mean error included."""

    def build(self, n: int) -> Any:
        from torchmetrics.regression import R2Score as Torchmetric

        return Torchmetric()


class ExplainedVariance(_Numbers):
    """The share of the targets' variance that is explained, a constant error forgiven."""

    def build(self, n: int) -> Any:
        from torchmetrics.regression import ExplainedVariance as Torchmetric

        return Torchmetric()


class PearsonCorrCoef(_Numbers):
    """The linear correlation of predictions and targets."""

    def build(self, n: int) -> Any:
        from torchmetrics.regression import PearsonCorrCoef as Torchmetric

        return Torchmetric()


class SpearmanCorrCoef(_Numbers):
    """The correlation of the ranks of predictions and targets. Keeps every output."""

    def build(self, n: int) -> Any:
        from torchmetrics.regression import SpearmanCorrCoef as Torchmetric

        with warnings.catch_warnings():  # it warns that it keeps every output; so does our docstring
            warnings.simplefilter("ignore", UserWarning)
            return Torchmetric()
