from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import batches, make_learner

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import TrainingError
from fastlearn.metrics import accuracy
from fastlearn.training.callback import Callback
from fastlearn.training.state import count_samples


def test_counters_count_from_where_they_say():
    learner = make_learner()
    learner.fit(1, 0.01)
    rows = []
    names = ("epoch", "step", "fit_epoch", "fit_step", "batch_index", "n_batches", "last_batch", "batch_size")
    learner.on("after_batch")(lambda state: rows.append([state.phase, *(getattr(state, name) for name in names)]))
    learner.fit(2, 0.01)
    trained = [row[1:] for row in rows if row[0] == "train"]
    assert trained[0] == [1, 5, 0, 0, 0, 5, False, 16] and trained[-1] == [2, 14, 1, 9, 4, 5, True, 16]
    assert [row[5:] for row in rows if row[0] == "valid"][:2] == [[0, 2, False, 16], [1, 2, True, 16]]


def test_the_plan_says_how_long_a_fit_is():
    plans = []
    learner = make_learner()
    learner.on("before_fit")(lambda state: plans.append(state.plan))
    learner.fit(3, 0.01)
    assert (plans[0].steps_per_epoch, plans[0].n_steps, plans[0].n_epochs) == (5, 15, 3)


def test_request_stop_ends_the_fit_after_the_batch_and_still_validates():
    learner = make_learner(metrics=accuracy)
    learner.on("after_batch")(lambda state: state.request_stop() if state.training and state.step == 6 else None)
    learner.fit(5, 0.01)
    assert (learner.epoch, learner.global_step) == (2, 7)
    assert len(learner.recorder.values) == 2 and learner.recorder.values[1][1:] == pytest.approx(learner.validate())


def test_losses_can_be_weighed_and_steps_held_back():
    # Two half batches, half-weighted, make the gradient of the whole one.
    class Halves(Callback):
        def before_batch(self, state):
            if state.training:
                state.grad_weight, state.will_step = 0.5, state.batch_index % 2 == 1

    (x, y), linear = batches(1, 32)[0], lambda: torch.nn.Linear(6, 3)
    torch.manual_seed(0)
    whole = make_learner(linear(), DataLoaders([(x, y)], device="cpu"))
    torch.manual_seed(0)
    parts = make_learner(linear(), DataLoaders([(x[:16], y[:16]), (x[16:], y[16:])], device="cpu"), cbs=Halves())
    steps = []
    parts.on("after_step")(lambda state: steps.append(state.step))
    whole.fit(1, 0.01)
    parts.fit(1, 0.01)
    assert steps == [1] and torch.allclose(parts.model.weight, whole.model.weight, atol=1e-7)


def test_a_step_that_forgets_its_outputs_is_told():
    def step(state):
        state.loss = F.cross_entropy(state.model(*state.inputs), *state.targets)
        if state.training:
            state.backward(state.loss)
            state.optimizer_step()

    learner = make_learner(metrics=accuracy)
    learner.step = step
    with pytest.raises(TrainingError, match=r"learn\.step must set state\.outputs"):
        learner.fit(1, 0.01)


def test_samples_are_counted_in_any_nesting():
    x = torch.zeros(4, 2)
    assert count_samples((x,)) == count_samples(([x, x],)) == count_samples(({"a": x},)) == 4
    assert count_samples(("text", torch.tensor(1.0))) == count_samples(()) == count_samples(([],)) == 1
