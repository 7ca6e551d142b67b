"""`ClassificationInterpretation`: which classes a model takes for which, as a matrix, a list and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.errors import ConfigError
from fastlearn.interpret.base import Interpretation
from fastlearn.interpret.matrix import draw_matrix
from fastlearn.interpret.report import Score, report_text, scores_of_classes, scores_of_labels
from fastlearn.options import checked_figsize, checked_number, found, named_options

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ClassificationInterpretation(Interpretation):
    """Which classes a classifier takes for which.

    For several labels a sample, the report says how well each label is found; the matrix is for one class a sample.

    >>> interp = ClassificationInterpretation.from_learner(learn)
    >>> interp.plot_confusion_matrix()
    >>> interp.most_confused(min_val=2)
    """

    def _refuse(self) -> None:
        if self.kind == "regression":
            raise ConfigError(
                "These targets are numbers, which have no classes to confuse. Use Interpretation.from_learner(learn) "
                "for its top losses."
            )

    @property
    def classes(self) -> list[Any]:
        """The classes, by number."""
        return list(self.vocab if self.vocab is not None else range(self.preds.shape[1]))

    def confusion_matrix(self) -> np.ndarray:
        """How many samples of each class (row) were taken for each class (column), int64 (n_classes, n_classes)."""
        self._one_class_a_sample()
        n = len(self.classes)
        pairs = self.targs.long().reshape(-1) * n + self.decoded.long().reshape(-1)
        return np.bincount(pairs.numpy(), minlength=n * n).reshape(n, n)

    @named_options
    def most_confused(self, min_val: int = 1) -> list[tuple[Any, Any, int]]:
        """(actual, predicted, number of samples) of each kind of mistake made at least `min_val` times, worst first."""
        matrix, classes = self.confusion_matrix(), self.classes
        np.fill_diagonal(matrix, 0)
        least = max(1, checked_number(min_val, "min_val", 2))
        mistakes = [(classes[i], classes[j], int(matrix[i, j])) for i, j in np.argwhere(matrix >= least)]
        return sorted(mistakes, key=lambda mistake: -mistake[2])

    @named_options
    def plot_confusion_matrix(
        self,
        normalize: bool = False,
        title: str = "Confusion matrix",
        cmap: Any = "Blues",
        norm_dec: int = 2,
        plot_txt: bool = True,
        figsize: tuple[float, float] | None = None,
        dpi: float | None = None,
        ax: Axes | None = None,
    ) -> None:
        """Draw the matrix, actual classes as rows: how many samples, or with `normalize` the share of their row.

        The shade is the share of the row in both, so that a rare class shows its mistakes as a common one does.
        `norm_dec` digits are written of a share; `plot_txt=False` writes none. Draws into `ax` when given.
        """
        if normalize and (not isinstance(norm_dec, int) or norm_dec < 0):
            raise ConfigError(f"norm_dec is how many digits are written of a share, from 0, not {found(norm_dec)}.")
        draw_matrix(
            self.confusion_matrix(),
            [str(name) for name in self.classes],
            digits=norm_dec if normalize else None,
            title=title,
            cmap=cmap,
            with_numbers=plot_txt,
            figsize=checked_figsize(figsize),
            dpi=None if dpi is None else checked_number(dpi, "dpi", 100),
            ax=ax,
        )

    def scores(self) -> dict[Any, Score]:
        """Precision, recall, F1 and number of samples (support) of each class or label."""
        return dict(zip(self.classes, self._scores()[0], strict=True))

    def print_classification_report(self) -> None:
        """Print precision, recall, F1 and number of samples of each class, and their means.

        A share of nothing (the precision of a class that was never predicted) counts as 0.
        """
        print(report_text([str(name) for name in self.classes], *self._scores()))

    def _scores(self) -> tuple[list[Score], dict[str, Score | float]]:
        if self.kind == "multilabel":
            return scores_of_labels(self.targs.numpy() > 0.5, self.decoded.numpy() > 0.5)
        return scores_of_classes(self.confusion_matrix())

    def _one_class_a_sample(self) -> None:
        if self.kind != "classification":
            raise ConfigError(
                "A confusion matrix needs one class a sample, and these have several labels. "
                "print_classification_report() shows how well each label is found."
            )
