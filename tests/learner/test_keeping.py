"""What a learner keeps of itself (the file format has its own tests)."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file, save_file
from tiny import assert_same, everything, halves, make_learner, shuffled, small_net, weights

from fastlearn.callbacks.early_stopping import EarlyStoppingCallback
from fastlearn.callbacks.ema import EMA
from fastlearn.errors import CheckpointError
from fastlearn.metrics import accuracy


def test_state_dict_says_counters_and_history_and_takes_them_back():
    learner = make_learner(metrics=accuracy).fit(2, 0.01)
    other = make_learner(seed=50)
    other.load_state_dict(learner.state_dict())
    assert (other.epoch, other.global_step, other.seed) == (2, 10, 1)
    assert_same(other.recorder.state_dict(), learner.recorder.state_dict())


def test_in_the_middle_of_fine_tuning(tmp_path):
    def make():
        return make_learner(small_net(0.2), shuffled(), splitter=halves, path=tmp_path)

    straight = make().freeze().fit_one_cycle(1, slice(0.01))
    straight.save("frozen")
    straight.unfreeze().fit_one_cycle(1, slice(1e-4, 1e-2))
    detour = make().load("frozen").unfreeze().fit_one_cycle(1, slice(1e-4, 1e-2))
    assert_same(weights(detour), weights(straight))


@pytest.mark.parametrize("more", ["", ', "learner": {"epoch": 1}', ', "learner": 3'])
def test_a_file_without_a_learner_in_it_changes_nothing(tmp_path, more):
    learner = make_learner(path=tmp_path).fit(1, 0.01)
    path = make_learner(path=tmp_path).save("odd")
    save_file(load_file(path), path, metadata={"fastlearn": f'{{"format": 1{more}}}'})
    before = everything(learner)
    with pytest.raises(CheckpointError):
        learner.load("odd")
    assert_same(everything(learner), before)


def test_a_bad_optimizer_in_the_file_changes_nothing(tmp_path):
    make_learner(path=tmp_path, splitter=halves).fit(1, 0.01).save("halves")
    learner = make_learner(path=tmp_path).fit(1, 0.01)
    before = everything(learner)
    with pytest.raises(CheckpointError, match="groups of parameters differ"):
        learner.load("halves")
    assert_same(everything(learner), before)


def test_callbacks_say_their_state_and_take_it_back(tmp_path):
    def make():
        return make_learner(path=tmp_path, cbs=[EMA(decay=0.5), EarlyStoppingCallback(patience=9)])

    learner = make().fit(2, 0.01)
    learner.save("whole")
    other = make().load("whole")
    for ours, theirs in zip(other.cbs[-2:], learner.cbs[-2:], strict=True):
        assert_same(ours.state_dict(), theirs.state_dict())
    assert other.cbs[-2].n_steps == 10
    assert make_learner(path=tmp_path).load("whole").epoch == 2  # a learner without these callbacks takes the rest
