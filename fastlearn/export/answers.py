"""What a model's raw outputs mean: probabilities, and the label, labels or numbers that they stand for."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor

Label = bool | int | float | str
TaskName = Literal["classification", "multilabel", "regression"]
Activation = Literal["softmax", "sigmoid", "exp", "none"]


class Prediction(NamedTuple):
    """One picture's answer, as `learn.predict` gives it.

    `label`: the label, or the list of labels, or the number or numbers. `index`: its place in the vocabulary (int64 of
    shape ()), or a mask of the vocabulary, or the numbers. `probabilities`: float32 (outputs,), those of every label,
    or the numbers once more.
    """

    label: Any
    index: Tensor  # type: ignore[assignment]  # tuple has a method of that name
    probabilities: Tensor


class Answers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The task, and how an answer is read from outputs (batch, `n_out`), or (batch,) where `n_out` is 1.

    `activation` makes probabilities of them; of several labels those above `thresh` are named.
    """

    task: TaskName
    activation: Activation
    n_out: int
    vocab: tuple[Label, ...] = ()
    thresh: float = 0.5

    def __post_init__(self) -> None:
        if self.n_out != (len(self.vocab) or self.n_out) or self.n_out < 1:
            raise ValueError(f"{self.n_out} outputs do not fit {len(self.vocab)} labels")
        if bool(self.vocab) == (self.task == "regression"):
            raise ValueError(f"a model for {self.task} has {'no ' if self.vocab else ''}labels")

    def activate(self, outputs: Tensor) -> Tensor:
        """Probabilities, or the numbers themselves, float32 (batch, n_out)."""
        outputs = outputs.float().reshape(len(outputs), -1)
        if self.activation == "softmax":
            return outputs.softmax(1)
        if self.activation == "sigmoid":
            return outputs.sigmoid()
        return outputs.exp() if self.activation == "exp" else outputs

    def decode(self, probabilities: Tensor) -> Prediction:
        """The answer of one picture, from its row of what `activate` gave."""
        if self.task == "classification":
            index = probabilities.argmax()
            return Prediction(self.vocab[int(index)], index, probabilities)
        if self.task == "multilabel":
            mask = probabilities > self.thresh
            labels = [label for label, on in zip(self.vocab, mask.tolist(), strict=True) if on]
            return Prediction(labels, mask, probabilities)
        numbers = probabilities.tolist()
        return Prediction(numbers[0] if self.n_out == 1 else numbers, probabilities, probabilities)

    def said(self, answer: Prediction) -> str:
        """An answer on one line, with its probabilities.

        >>> model.answers.said(model.predict("cat.jpg"))
        'cat   98.2%'
        """
        if self.task == "regression":
            return "  ".join(f"{number:.6g}" for number in answer.probabilities.tolist())
        if self.task == "multilabel":
            chances = answer.probabilities[answer.index].tolist()
            named = [f"{_shown(label)} {chance:.1%}" for label, chance in zip(answer.label, chances, strict=True)]
            return ", ".join(named) or "(no label)"
        width = max(len(_shown(label)) for label in self.vocab)
        return f"{_shown(answer.label):{width}}  {float(answer.probabilities[answer.index]):6.1%}"

    def __str__(self) -> str:
        if self.task == "regression":
            return f"regression of {self.n_out} number{'s' if self.n_out > 1 else ''}"
        shown = ", ".join(_shown(label) for label in self.vocab[:4]) + (", …" if len(self.vocab) > 4 else "")
        return f"{self.task} of {len(self.vocab)} labels ({shown})"


def _shown(label: Label) -> str:
    """A label on one line, without signs that a terminal would obey."""
    return str(label) if str(label).isprintable() else repr(label)


def as_labels(vocab: Any) -> tuple[Label, ...]:
    """A vocabulary as JSON can hold it: texts and numbers stay what they are, anything else becomes its text."""
    return tuple(label if isinstance(label, (bool, int)) or _is_finite(label) else _text(label) for label in vocab)


def _is_finite(label: Any) -> bool:
    return isinstance(label, float) and bool(torch.tensor(label).isfinite())


def _text(label: Any) -> str:
    return str(label).encode("utf-8", "backslashreplace").decode()
