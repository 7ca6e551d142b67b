"""Wishes are carried out between two batches, noted, and can be replayed to the same bits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastlearn.callbacks.replay import Replay
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.learner import Learner
from fastlearn.metrics import accuracy
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState
from fastlearn.training.steering import Intervention, Steering


def make_learner(**options) -> Learner:
    rng = torch.Generator().manual_seed(0)
    batches = [(torch.randn(8, 4, generator=rng), torch.randint(3, (8,), generator=rng)) for _ in range(6)]
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.2), nn.Linear(5, 3))
    return Learner(
        DataLoaders(batches, batches[:3], device="cpu"), model, F.cross_entropy, metrics=accuracy, seed=7, **options
    )


class Hands(Callback):
    """Does something to a steering at chosen (phase, batch) places, as a person with a mouse would."""

    order = 46

    def __init__(self, deeds) -> None:
        self.steering, self.deeds, self.done = Steering(), deeds, []

    def before_fit(self, state: TrainState) -> None:
        self.steering.begin(state)

    def before_batch(self, state: TrainState) -> None:
        self.steering.before_batch(state)

    def after_batch(self, state: TrainState) -> None:
        for deed in self.deeds.get((state.epoch, state.phase, state.batch_index), []):
            deed(self.steering)
        self.done += self.steering.act(state)

    def after_fit(self, state: TrainState) -> None:
        self.steering.end(state)


def halve(steering: Steering) -> None:
    steering.ask_lr_factor(0.5)


def stop(steering: Steering) -> None:
    steering.ask("stop")


def fit(learn: Learner, cbs, n: int = 2) -> Learner:
    with learn.no_bar():
        learn.fit_one_cycle(n, 1e-2, cbs=cbs)
    return learn


def weights(learn: Learner) -> list[torch.Tensor]:
    return list(learn.model.state_dict().values())


def test_a_factor_scales_the_rest_of_the_schedule():
    plain, steered = fit(make_learner(), None), fit(make_learner(), Hands({(0, "train", 3): [halve]}))
    expected = [lr if i < 4 else lr / 2 for i, lr in enumerate(plain.recorder.lrs)]
    assert steered.recorder.lrs == expected
    [one] = steered.recorder.interventions
    assert (one.step, one.what, one.factor) == (4, "lr", 0.5)
    assert one.new == one.old / 2 == plain.recorder.lrs[3] / 2


def test_a_typed_rate_holds_now_and_scales_what_follows():
    plain = fit(make_learner(), None)
    steered = fit(make_learner(), Hands({(0, "train", 3): [lambda s: s.ask_lr("3e-4")]}))
    factor = 3e-4 / plain.recorder.lrs[3]
    assert steered.recorder.interventions[0].new == pytest.approx(3e-4)
    assert steered.recorder.lrs[4:] == pytest.approx([lr * factor for lr in plain.recorder.lrs[4:]])


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "abc", "", None, True, "0", "nan"])
def test_a_rate_that_is_none_is_refused_and_asks_for_nothing(bad):
    steering = Steering()
    with pytest.raises(ConfigError, match="number above 0"):
        steering.ask_lr(bad)
    with pytest.raises(ConfigError, match="number above 0"):
        steering.ask_lr_factor(bad)
    assert not fit(make_learner(), Hands({(0, "train", 0): [lambda s: None]})).recorder.interventions


def test_stop_ends_after_the_batch_and_validates():
    learn = fit(make_learner(), Hands({(0, "train", 2): [stop] * 10}))
    assert len(learn.recorder.lrs) == 3
    assert [one.what for one in learn.recorder.interventions] == ["stop"]
    assert math.isfinite(learn.recorder.final_value("valid_loss"))
    fit(learn, None, 1)
    assert len(learn.recorder.lrs) == 6


def test_stop_in_the_frozen_part_leaves_out_the_unfrozen_one():
    learn = make_learner(splitter=lambda model: [list(model[0].parameters()), list(model[2].parameters())])
    with learn.no_bar():
        learn.fine_tune(3, cbs=Hands({(0, "train", 1): [stop]}))
    assert len(learn.recorder.epochs) == 1
    with learn.no_bar():
        learn.fine_tune(1)
    assert len(learn.recorder.epochs) == 3


def test_skipping_the_validation_gives_nan():
    skip = {(0, "train", 2): [stop], (0, "valid", 0): [lambda s: s.ask("skip_validation")]}
    learn = fit(make_learner(), Hands(skip))
    assert math.isnan(learn.recorder.final_value("valid_loss")) and math.isnan(learn.recorder.final_value("accuracy"))
    assert math.isfinite(learn.recorder.final_value("train_loss"))
    assert [(one.what, one.step, one.new) for one in learn.recorder.interventions] == [
        ("stop", 3, None),
        ("skip_validation", 3, 1.0),
    ]


def test_skip_validation_while_training_does_nothing():
    learn = fit(make_learner(), Hands({(0, "train", 2): [lambda s: s.ask("skip_validation")]}))
    assert learn.recorder.interventions == []
    assert math.isfinite(learn.recorder.final_value("valid_loss"))


def test_pause_and_resume_are_noted_once():
    places = {(0, "train", 1): [lambda s: s.ask("pause")] * 2, (0, "train", 2): [lambda s: s.ask("resume")] * 2}
    learn = fit(make_learner(), Hands(places))
    assert [(one.what, one.step) for one in learn.recorder.interventions] == [("pause", 2), ("resume", 3)]


def test_a_pause_while_the_training_stops_is_refused_with_a_sentence():
    class Early(Callback):
        def after_batch(self, state: TrainState) -> None:
            if state.training and state.batch_index == 1:
                state.request_stop()

    hands = Hands({(0, "train", 1): [lambda s: s.ask("pause")]})
    learn = fit(make_learner(), [Early(), hands])
    assert learn.recorder.interventions == [] and not hands.steering.paused
    assert hands.steering.take_refusals() == ["The training is stopping already, so there is nothing to pause."]


def test_a_resumed_fit_keeps_the_scale_of_what_it_resumes():
    hands, resumed = Hands({(0, "train", 3): [halve]}), Hands({})
    whole = fit(make_learner(), hands)
    resumed.steering.load_state_dict(hands.steering.state_dict())
    learn = make_learner()
    with learn.no_bar():
        learn.fit_one_cycle(2, 1e-2, cbs=resumed, start_epoch=1)
    assert learn.recorder.lrs == whole.recorder.lrs[6:]
    assert fit(learn, resumed).recorder.lrs == fit(make_learner(), None).recorder.lrs  # a fit of its own has none


def test_a_new_fit_starts_unscaled():
    hands = Hands({(0, "train", 3): [halve]})
    learn = fit(make_learner(), hands)
    fit(learn, hands, 1)
    assert max(learn.recorder.lrs) == pytest.approx(1e-2, rel=0.2)


@pytest.mark.parametrize("as_dicts", [False, True])
def test_replay_gives_the_same_bits(as_dicts):
    places = {
        (0, "train", 1): [halve, lambda s: s.ask_lr(0.123)],
        (0, "valid", 1): [lambda s: s.ask_lr_factor(1 / 3)],
        (1, "train", 3): [stop],
        (1, "valid", 1): [lambda s: s.ask("skip_validation")],
    }
    steered = fit(make_learner(), Hands(places), 3)
    noted = steered.recorder.state_dict()["interventions"] if as_dicts else steered.recorder.interventions
    again, plain = fit(make_learner(), Replay(noted), 3), fit(make_learner(), None, 3)
    assert all(map(torch.equal, weights(steered), weights(again)))
    assert not all(map(torch.equal, weights(steered), weights(plain)))
    assert again.recorder.lrs == steered.recorder.lrs
    assert again.recorder.interventions == steered.recorder.interventions


def test_interventions_are_saved_with_the_history():
    learn = fit(make_learner(), Hands({(0, "train", 3): [halve]}))
    other = make_learner()
    other.recorder.load_state_dict(learn.recorder.state_dict())
    assert other.recorder.interventions == learn.recorder.interventions
    assert isinstance(other.recorder.interventions[0], Intervention)


@pytest.mark.parametrize("lr", ["1e300", 1e-300, "5000"])
def test_a_rate_that_would_ruin_the_weights_is_refused_with_a_sentence(lr):
    hands = Hands({(0, "train", 1): [lambda s: s.ask_lr(lr)]})
    learn = fit(make_learner(), hands)
    assert learn.recorder.interventions == []
    [sentence] = hands.steering.take_refusals()
    assert "was ignored" in sentence and hands.steering.take_refusals() == []


def test_factors_in_a_row_come_to_an_end():
    learn = fit(make_learner(), Hands({(0, "train", 1): [halve] * 200}))
    assert min(one.new for one in learn.recorder.interventions) >= 1e-20 and min(learn.recorder.lrs) > 0


def test_wishes_between_two_batches_follow_one_another():
    plain = fit(make_learner(), None)
    steered = fit(make_learner(), Hands({(0, "train", 3): [halve, lambda s: s.ask_lr("3e-4")]}))
    first, second = steered.recorder.interventions
    assert second.old == first.new and second.new == pytest.approx(3e-4)
    factor = 3e-4 / plain.recorder.lrs[3]
    assert steered.recorder.lrs[4:] == pytest.approx([lr * factor for lr in plain.recorder.lrs[4:]])
    again = fit(make_learner(), Replay(steered.recorder.interventions))
    assert all(map(torch.equal, weights(steered), weights(again)))
    assert again.recorder.interventions == steered.recorder.interventions


@pytest.mark.parametrize("deed", [halve, lambda s: s.ask_lr(1e-3)])
def test_a_rate_of_zero_cannot_be_scaled(deed):
    class Zero(Callback):
        order = 47

        def before_batch(self, state: TrainState) -> None:
            for group in state.optimizer.param_groups:
                group["lr"] = 0.0

    hands = Hands({(0, "train", 1): [deed]})
    assert fit(make_learner(), [hands, Zero()]).recorder.interventions == []
    assert "cannot be scaled" in hands.steering.take_refusals()[0]
