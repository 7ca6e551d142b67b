"""What tells one training from another, and how a difference reads."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_learner
from torch import nn
from torch.nn.functional import cross_entropy

from fastlearn.callbacks.accumulate import GradientAccumulation
from fastlearn.callbacks.checkpoint import Checkpoint
from fastlearn.callbacks.ema import EMA
from fastlearn.learner.identity import MACHINE, described, differences, identity_of
from fastlearn.losses import CrossEntropyLossFlat
from fastlearn.runtime.json_bytes import read_json, write_json
from fastlearn.training.callback import Callback


class Scaled(Callback):
    """Has an argument, and something that it was not made with."""

    def __init__(self, factor: Any) -> None:
        self.factor, self.seen = factor, object()


def named(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, True),
        (np.float32(0.5), 0.5),
        (slice(1e-3, 1e-2), "slice(0.001, 0.01)"),
        ({3, 1}, ["1", "3"]),
        ((1, [2.5]), [1, [2.5]]),
        ({"a": slice(None, 1)}, {"a": "slice(None, 1)"}),
        (cross_entropy, "cross_entropy"),
        (named, "named"),
        (nn.Linear, "Linear"),
        (functools.partial(named, x=2), "named(x=2)"),
        (functools.partial(named, 1), "named(1)"),
        (
            nn.CrossEntropyLoss(ignore_index=3, reduction="sum"),
            "CrossEntropyLoss(ignore_index=3, reduction=sum, label_smoothing=0.0)",
        ),
        (Scaled(2), "Scaled(factor=2)"),
        (Scaled(factor=[named, 1]), "Scaled(factor=['named', 1])"),
    ],
)
def test_what_things_are_called(value: Any, text: Any) -> None:
    assert described(value) == text


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_arrays_are_told_apart_by_their_values(make: Any) -> None:
    one, same, other = make([1.0, 2.0]), make([1.0, 2.0]), make([1.0, 3.0])
    assert described(one) == described(same) != described(other)
    assert described(Scaled(one)) == described(Scaled(same)) != described(Scaled(other))


def test_a_loss_is_told_by_the_weights_of_its_classes() -> None:
    for made in (nn.CrossEntropyLoss, CrossEntropyLossFlat):
        one, same, other = (described(made(weight=torch.tensor([1.0, k]))) for k in (3.0, 3.0, 9.0))
        assert one == same != other


def test_functions_are_told_by_what_they_enclose_and_their_constants() -> None:
    def scaled(factor: Any, power: float = 2.0) -> Any:
        def curve(x: float) -> float:
            """It rises."""
            return factor * x**power + 1.5

        return curve

    assert described(scaled(1.0)) == described(scaled(1.0)) != described(scaled(2.0))
    assert described(scaled(1.0)) != described(scaled(1.0, 3.0))
    assert described(lambda x: x + 1) == described(lambda x: x + 1) != described(lambda x: x + 2)
    assert described(scaled(object())) == described(scaled(object()))  # what has no plain form is not looked into
    assert described(cross_entropy) == "cross_entropy"


def test_the_same_learner_has_the_same_identity_and_it_has_a_form_in_json() -> None:
    one, other = identity_of(make_learner(), [EMA(0.9)]), identity_of(make_learner(), [EMA(0.9)])
    assert one == other and set(one) == {"data", "model", "hyperparameters", MACHINE}
    assert read_json(write_json(one), dict[str, Any], "it") == one


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda learn: setattr(learn, "wd", 0.1), "wd: none, now 0.1"),
        (lambda learn: setattr(learn, "moms", (0.9, 0.8, 0.9)), "moms: 0.95, 0.85, 0.95, now 0.9, 0.8, 0.9"),
        (lambda learn: setattr(learn, "loss_func", nn.CrossEntropyLoss()), "now CrossEntropyLoss("),
        (lambda learn: learn.model.append(nn.ReLU()), "layers: "),
        (lambda learn: learn.model.append(nn.Linear(3, 3)), "shapes of the weights: "),
        (lambda learn: setattr(learn, "step", named), "step: default_step, now named"),
    ],
)
def test_a_change_is_named(change: Any, line: str) -> None:
    before, learn = identity_of(make_learner(), []), make_learner()
    change(learn)
    found = differences(before, identity_of(learn, []), lambda part: part != MACHINE)
    assert any(line in one for one in found), found


def test_callbacks_that_only_watch_make_no_difference() -> None:
    learn = make_learner()
    before = identity_of(learn, [EMA(0.9)])
    assert identity_of(learn, [EMA(0.9), Checkpoint(every=5)]) == before
    found = differences(before, identity_of(learn, [EMA(0.99), GradientAccumulation(32)]), lambda part: True)
    (line,) = found
    assert "decay=0.9," in line and "now EMA(decay=0.99," in line and "GradientAccumulation(" in line


def test_the_machine_is_a_part_of_its_own() -> None:
    learn = make_learner()
    before = identity_of(learn, [])
    learn.to_bf16()
    now = identity_of(learn, [])
    assert differences(before, now, lambda part: part != MACHINE) == []
    assert differences(before, now, lambda part: part == MACHINE) == ["precision: fp32, now bf16"]


def test_differences_say_what_came_and_went_and_are_short() -> None:
    then, now = {"data": {"set": {"size": 3, "gone": 1}}}, {"data": {"set": {"size": 4, "new": "x" * 500}}}
    found = differences(then, now, lambda part: True)
    assert found[0] == "gone of the set: 1, now none" and found[2] == "size of the set: 3, now 4"
    assert found[1].startswith("new of the set: none, now xxx") and found[1].endswith("…") and len(found[1]) < 200
