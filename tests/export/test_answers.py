"""What outputs mean: compared with torch's own functions, and with the tasks of training."""

from __future__ import annotations

import msgspec
import pytest
import torch

from fastlearn.export.answers import Answers, as_labels
from fastlearn.task import Classification, MultiLabel, Regression

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.1, 9.0]])


def test_one_label_of_several() -> None:
    answers = Answers("classification", "softmax", 3, ("a", 2, True))
    probabilities = answers.activate(LOGITS)
    torch.testing.assert_close(probabilities, torch.softmax(LOGITS, 1))
    label, index, row = answers.decode(probabilities[1])
    assert (label, int(index)) == (True, 2) and index.dtype == torch.int64 and index.shape == ()
    assert label == Classification(["a", 2, True]).decode(row)


def test_several_labels() -> None:
    answers = Answers("multilabel", "sigmoid", 3, ("a", "b", "c"), thresh=0.6)
    for row in answers.activate(LOGITS):
        labels, mask, probabilities = answers.decode(row)
        assert labels == MultiLabel(["a", "b", "c"], thresh=0.6).decode(probabilities)
        assert mask.dtype == torch.bool and mask.tolist() == (row > 0.6).tolist()
    torch.testing.assert_close(answers.activate(LOGITS), torch.sigmoid(LOGITS))


@pytest.mark.parametrize("n_out", [1, 3])
def test_numbers(n_out: int) -> None:
    answers = Answers("regression", "none", n_out)
    row = answers.activate(LOGITS[:, :n_out])[0]
    value, index, numbers = answers.decode(row)
    assert value == Regression(n_out).decode(row) and torch.equal(index, row) and torch.equal(numbers, row)


def test_one_number_a_sample_without_a_dimension_of_its_own() -> None:
    assert Answers("regression", "none", 1).activate(torch.tensor([1.0, 2.0])).tolist() == [[1], [2]]


def test_log_probabilities_and_half_precision() -> None:
    answers = Answers("classification", "exp", 3, ("a", "b", "c"))
    found = answers.activate(LOGITS.log_softmax(1).bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, LOGITS.softmax(1), rtol=0.02, atol=0.02)


def test_what_is_said() -> None:
    one = Answers("classification", "softmax", 2, ("cat", "a dog"))
    assert one.said(one.decode(torch.tensor([0.75, 0.25]))) == "cat     75.0%"
    several = Answers("multilabel", "sigmoid", 2, ("cat", "dog"))
    assert several.said(several.decode(torch.tensor([0.9, 0.8]))) == "cat 90.0%, dog 80.0%"
    assert several.said(several.decode(torch.tensor([0.1, 0.2]))) == "(no label)"
    numbers = Answers("regression", "none", 2)
    assert numbers.said(numbers.decode(torch.tensor([1.25, -3.0]))) == "1.25  -3"
    assert [str(one), str(numbers)] == ["classification of 2 labels (cat, a dog)", "regression of 2 numbers"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (("classification", "softmax", 3, ("a", "b")), "3 outputs do not fit 2 labels"),
        (("classification", "softmax", 3), "a model for classification has labels"),
        (("regression", "none", 2, ("a", "b")), "a model for regression has no labels"),
        (("regression", "none", 0), "0 outputs"),
        (("poetry", "none", 1), "poetry"),
        (("regression", "dance", 1), "dance"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: tuple[object, ...], said: str) -> None:
    names = ("task", "activation", "n_out", "vocab")
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(dict(zip(names, fields, strict=False)), Answers)


def test_labels_that_json_can_hold() -> None:
    nan = float("nan")
    assert as_labels(["a", 1, 2.5, True, nan, None, "\udcff"]) == ("a", 1, 2.5, True, "nan", "None", "\\udcff")
