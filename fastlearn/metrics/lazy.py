"""Metrics computed by torchmetrics, which is imported at the first update: it costs 2.4 s and 290 MiB.

Names and parameters are fast.ai's. The number of classes is read off the first outputs. Values are scikit-learn's.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor

from fastlearn.errors import ConfigError, DataError
from fastlearn.metrics.base import Metric, TaskName, snake, wide
from fastlearn.metrics.plain import needs_two
from fastlearn.options import checked_number, checked_whole, named_options

Average = Literal["binary", "macro", "micro", "weighted"]


class Lazy(Metric):
    """The common half: build on the first update, feed `prepare`d pairs, finish.

    A subclass has `build(n)`, a torchmetrics metric for n classes, and may change the other two.
    """

    @named_options
    def __init__(self) -> None:
        self.name = snake(type(self).__name__)
        self.metric: Any = None
        self._seen = False

    def build(self, n: int) -> Any:
        raise NotImplementedError

    def prepare(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return outputs, targets

    def finish(self, value: Tensor) -> Tensor:
        return value

    def classes(self, outputs: Tensor) -> int:
        return outputs.shape[-1] if outputs.dim() > 1 else 1

    def reset(self) -> None:
        self._seen = False
        if self.metric is not None:
            self.metric.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        outputs, targets = outputs.detach(), targets.detach()
        if self.metric is None:
            self.metric = self.build(self.classes(outputs))
        if not self._seen:
            self.metric.to(outputs.device)
            self._seen = True
        self.metric.update(*self.prepare(outputs, targets))

    def compute(self) -> float:
        return float(self.finish(self.metric.compute())) if self._seen else float("nan")


class _Classes(Lazy):
    """One class a position: the class of the largest output along `axis` against the target."""

    suits: tuple[TaskName, ...] | None = ("classification",)

    @named_options
    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = checked_whole(axis, "axis")

    def classes(self, outputs: Tensor) -> int:
        return outputs.shape[self.axis]

    def prepare(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        found = outputs.argmax(self.axis).reshape(-1)
        if found.numel() != targets.numel():
            raise DataError(
                f"{self.name} needs one class number a prediction: outputs are {tuple(outputs.shape)}, targets "
                f"{tuple(targets.shape)}. Several labels a sample? Use the metric whose name ends in Multi."
            )
        return found, targets.reshape(-1)


class _Averaged(_Classes):
    """Scores by class, of which `average` makes one: 'binary' takes class `pos_label` of two."""

    @named_options
    def __init__(self, axis: int = -1, pos_label: int = 1, average: Average = "binary") -> None:
        super().__init__(axis)
        check_average(type(self).__name__, average, get_args(Average))
        self.pos_label, self.average = checked_whole(pos_label, "pos_label"), average

    def problem(self, task: Any) -> str | None:
        if self.average != "binary" or task.n_out == 2:
            return None
        return (
            f"average='binary' is for 2 classes and the data have {task.n_out}; "
            f"type {type(self).__name__}(average='macro')"
        )

    def finish(self, value: Tensor) -> Tensor:
        if self.average != "binary":
            return value
        if len(value) != 2:
            raise ConfigError(
                f"{type(self).__name__}(average='binary') is for 2 classes, found {len(value)}. "
                f"Type {type(self).__name__}(average='macro')."
            )
        return value[self.pos_label]

    def _options(self, n: int) -> dict[str, Any]:
        average = "none" if self.average == "binary" else self.average
        return {"num_classes": n, "average": average, "validate_args": False}


class F1Score(_Averaged):
    """The harmonic mean of precision and recall."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassF1Score

        return MulticlassF1Score(**self._options(n))


class FBeta(_Averaged):
    """The weighted harmonic mean of precision and recall, recall `beta` times as important."""

    @named_options
    def __init__(self, beta: float, axis: int = -1, pos_label: int = 1, average: Average = "binary") -> None:
        super().__init__(axis, pos_label, average)
        self.beta = float(checked_number(beta, "beta", 2))

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassFBetaScore

        return MulticlassFBetaScore(beta=self.beta, **self._options(n))


class Precision(_Averaged):
    """The share of predictions of a class that are right."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassPrecision

        return MulticlassPrecision(**self._options(n))


class Recall(_Averaged):
    """The share of a class that is found."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassRecall

        return MulticlassRecall(**self._options(n))


class Jaccard(_Averaged):
    """Intersection over union of predicted and true members of a class."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassJaccardIndex

        return MulticlassJaccardIndex(**self._options(n))


class BalancedAccuracy(_Classes):
    """The mean recall of the classes that occur; `adjusted` scales chance to 0."""

    @named_options
    def __init__(self, axis: int = -1, adjusted: bool = False) -> None:
        super().__init__(axis)
        self.adjusted = adjusted

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassConfusionMatrix

        return MulticlassConfusionMatrix(n, validate_args=False)

    def finish(self, value: Tensor) -> Tensor:
        # From the confusion matrix: torchmetrics' macro recall also counts classes that were predicted but never occur.
        counts = wide(value)
        present = counts.sum(1) > 0
        score = (counts.diagonal()[present] / counts.sum(1)[present]).mean()
        if not self.adjusted:
            return score
        chance = 1 / present.sum()
        return (score - chance) / (1 - chance)


class MatthewsCorrCoef(_Classes):
    """The correlation of predicted and true classes (Gorodkin 2004 for more than two)."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassMatthewsCorrCoef

        return MulticlassMatthewsCorrCoef(n, validate_args=False)


class CohenKappa(_Classes):
    """Agreement beyond chance; `weights` is None, 'linear' or 'quadratic' for ordered classes."""

    @named_options
    def __init__(self, axis: int = -1, weights: Literal["linear", "quadratic"] | None = None) -> None:
        super().__init__(axis)
        self.weights = weights

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassCohenKappa

        return MulticlassCohenKappa(n, weights=self.weights, validate_args=False)


class RocAuc(_Classes):
    """The area under the ROC curve, each class against the rest, from softmax probabilities. Keeps every output."""

    @named_options
    def __init__(
        self, axis: int = -1, average: Literal["macro", "weighted"] = "macro", multi_class: Literal["ovr"] = "ovr"
    ) -> None:
        super().__init__(axis)
        check_average("RocAuc", average, ("macro", "weighted"))
        if multi_class != "ovr":
            raise ConfigError(f"RocAuc compares each class with the rest (multi_class='ovr'), found {multi_class!r}.")
        self.average = average

    def build(self, n: int) -> Any:
        from torchmetrics.classification import MulticlassAUROC

        return MulticlassAUROC(n, average=self.average, validate_args=False)

    def prepare(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        probs = wide(outputs).softmax(self.axis).movedim(self.axis, -1).flatten(0, -2)
        return probs, targets.reshape(-1)


class _BinaryCurve(_Classes):
    """The second class' probability against the target: softmax of two outputs, sigmoid of one. Keeps every output."""

    def problem(self, task: Any) -> str | None:
        return needs_two(task)

    def prepare(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs = wide(outputs)
        if outputs.shape[self.axis] > 2:
            raise ConfigError(f"{self.name} is for 2 classes, found {outputs.shape[self.axis]}. Use RocAuc().")
        single = outputs.shape[self.axis] == 1 or outputs.dim() == 1
        probs = outputs.sigmoid() if single else outputs.softmax(self.axis).select(self.axis, 1)
        return probs.reshape(-1), targets.reshape(-1).long()


class RocAucBinary(_BinaryCurve):
    """The area under the ROC curve of two classes."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import BinaryAUROC

        return BinaryAUROC(validate_args=False)


class APScoreBinary(_BinaryCurve):
    """The average precision of two classes."""

    def build(self, n: int) -> Any:
        from torchmetrics.classification import BinaryAveragePrecision

        return BinaryAveragePrecision(validate_args=False)


def check_average(name: str, average: str, allowed: tuple[str, ...]) -> None:
    """Nothing, if `average` is one of `allowed`; else ConfigError."""
    if average not in allowed:
        raise ConfigError(f"{name} takes average= {', '.join(map(repr, allowed))}; found {average!r}.")
