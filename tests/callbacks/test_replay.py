"""What was done to a training by hand, done again from its record."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn

from fastlearn.callbacks.replay import Replay
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.learner import Learner
from fastlearn.training.steering import Intervention

HALVED = Intervention(2, "lr", 0.1, 0.05, 0.5)
STOPPED = Intervention(5, "stop")
STEPS = 4  # an epoch


def fit(replay: Replay | None, n: int = 2, learn: Learner | None = None, **options: Any) -> Learner:
    batches = [(torch.full((2, 1), float(k)), torch.ones(2, 1)) for k in range(STEPS)]
    torch.manual_seed(0)
    dls = DataLoaders(batches, batches[:3], device="cpu")
    learn = learn or Learner(dls, nn.Linear(1, 1), nn.MSELoss(), seed=1, default_cbs=False)
    learn.fit_one_cycle(n, 0.1, cbs=replay, **options)
    return learn


@pytest.mark.parametrize("given", [lambda one: one, dataclasses.asdict], ids=["interventions", "dictionaries"])
def test_rates_and_stops_are_repeated_at_their_steps_and_noted(given):
    plain = fit(None)
    learn = fit(Replay([given(one) for one in (HALVED, STOPPED)]))
    expected = [rate if step < 2 else rate / 2 for step, rate in enumerate(plain.recorder.lrs)]
    assert learn.recorder.lrs == expected[:5]
    rate = plain.recorder.lrs[1]  # what the schedule had set when the wish was carried out
    assert learn.recorder.interventions == [Intervention(2, "lr", rate, rate / 2, 0.5), STOPPED]


def test_a_validation_is_skipped_at_the_same_batch():
    learn = fit(Replay([Intervention(4, "skip_validation", None, 2.0)]), n=1)
    assert math.isnan(learn.recorder.final_value("valid_loss"))
    assert learn.recorder.interventions == [Intervention(4, "skip_validation", None, 2.0)]


def test_a_pause_is_left_out():
    learn = fit(Replay([Intervention(1, "pause"), Intervention(1, "resume")]))
    assert learn.recorder.interventions == [] and learn.recorder.n_batches == 2 * STEPS


def test_what_lies_before_the_fit_is_not_repeated_and_each_fit_begins_anew():
    replay = Replay([HALVED, Intervention(STEPS + 1, "lr", factor=0.25)])
    learn = fit(replay, n=1)
    assert [one.factor for one in learn.recorder.interventions] == [0.5]
    first = list(learn.recorder.lrs)
    fit(replay, n=1, learn=learn)
    assert learn.recorder.lrs == [first[0], *(rate / 4 for rate in fit(None, n=1).recorder.lrs[1:])]
    assert fit(replay, n=1).recorder.lrs == first  # on another learner all of it comes again


def test_a_resumed_fit_goes_on_at_the_rate_that_was_set():
    replay, resumed = Replay([HALVED]), Replay([HALVED])
    whole = fit(replay)
    resumed.load_state_dict(replay.state_dict())
    learn = fit(None, n=1)
    assert fit(resumed, learn=learn, start_epoch=1).recorder.lrs == whole.recorder.lrs[STEPS:]


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (None, "Replay takes"),
        (5, "Replay takes"),
        ({"step": 1, "what": "stop"}, "a list"),
        (["stop"], "Replay takes"),
        ([{"when": 3}], "recorder.interventions"),
        ([{"step": 1, "what": "stopp"}], "Did you mean 'stop'"),
        ([{"step": 1, "what": "lr", "factor": 0.0}], "above 0"),
        ([{"step": 1, "what": "lr", "factor": math.nan}], "above 0"),
    ],
)
def test_a_replay_of_something_else_says_what_it_takes(bad, match):
    with pytest.raises(ConfigError, match=match):
        Replay(bad)
