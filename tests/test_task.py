from __future__ import annotations

import pytest
import torch

from fastlearn.errors import ConfigError, DataError
from fastlearn.task import Classification, MultiLabel, Regression, check_n_out

PETS = Classification(["cat", "dog", "mouse"])
TAGS = MultiLabel(["red", "round", "big"], thresh=0.4)


def test_what_a_task_knows():
    assert [task.name for task in (PETS, TAGS, Regression())] == ["classification", "multilabel", "regression"]
    assert [task.n_out for task in (PETS, TAGS, Regression(2))] == [3, 3, 2]
    assert PETS.decode(torch.tensor(1)) == "dog"
    assert PETS.decode(torch.tensor([0.1, 0.2, 0.7])) == "mouse"
    assert TAGS.decode(torch.tensor([0.5, 0.1, 0.45])) == ["red", "big"]
    assert TAGS.decode(torch.tensor([False, True, False])) == ["round"]
    assert Regression().decode(torch.tensor([2.5])) == 2.5
    assert Regression(2).decode(torch.tensor([2.5, 1.0])) == [2.5, 1.0]
    assert TAGS.loss().decodes(torch.tensor([0.45])).tolist() == [True]
    for task, logits, targets in (
        (PETS, torch.randn(4, 3), torch.tensor([0, 1, 2, 0])),
        (TAGS, torch.randn(4, 3), torch.ones(4, 3)),
        (Regression(), torch.randn(4, 1), torch.ones(4)),
    ):
        task.check_targets(targets)
        assert task.loss()(logits, targets).isfinite()


@pytest.mark.parametrize(
    ("task", "targets", "message"),
    [
        (
            PETS,
            torch.tensor([0, 3, 7]),
            r"found 3, 7, expected class numbers from 0 to 2 for 3 classes \(cat, dog, mouse\)",
        ),
        (PETS, torch.tensor([-1, 0]), "found -1.*counted from 1"),
        (PETS, torch.tensor([1.0, float("nan")]), "torch.float32 with NaN among them, expected class numbers"),
        (PETS, torch.tensor([]), r"shape \(0,\)"),
        (TAGS, torch.tensor([0, 1]), r"shape \(2,\), expected \(batch, 3\)"),
        (TAGS, torch.tensor([[0, 1, 2.0]]), "found 2.0, expected 0 or 1"),
        (TAGS, torch.tensor([[0, 1, float("nan")]]), "1 of 1 targets are NaN"),
        (
            Regression(),
            torch.tensor([1.0, float("nan"), float("inf")]),
            "2 of 3 targets are NaN or infinite, first at place 1",
        ),
        (Regression(), torch.tensor([1, 2]), "torch.int64, expected floating-point"),
        (Regression(), torch.ones(3, 2), r"2 numbers a sample, expected 1. Use RegressionBlock\(n_out=2\)"),
    ],
)
def test_targets_that_cannot_be_trained_on(task, targets, message):
    with pytest.raises(DataError, match=message):
        task.check_targets(targets)


def test_the_models_outputs_must_fit():
    check_n_out(3, PETS)
    with pytest.raises(
        ConfigError, match=r"The model has 10 outputs, but the data have 3 classes \(cat, dog, mouse\). Give n_out=3"
    ):
        check_n_out(10, PETS)
    with pytest.raises(ConfigError, match="data have 2 numbers a sample"):
        check_n_out(1, Regression(2))


def test_tasks_are_frozen():
    with pytest.raises(AttributeError):
        PETS.vocab = []


@pytest.mark.parametrize("vocab", [None, 3, "cat", {"cat": 0}, list])
def test_a_vocab_is_a_list_of_classes(vocab):
    for task in (Classification, MultiLabel):
        with pytest.raises(ConfigError, match="vocab is a list of classes, such as"):
            task(vocab)
