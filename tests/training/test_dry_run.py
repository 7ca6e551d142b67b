from __future__ import annotations

import os

import pytest
from tiny import assert_same, batches, everything, halves, make_learner, shuffled, small_net
from torch import nn

from fastlearn.callbacks.ema import EMA
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.metrics import accuracy
from fastlearn.training.callback import Callback


def test_it_leaves_no_trace_and_reports_every_path(tmp_path, capsys):
    learner = make_learner(small_net(0.3), shuffled(), metrics=accuracy, path=tmp_path, splitter=halves, cbs=EMA(0.9))
    learner.freeze().fit(1, 0.01)
    before, average = everything(learner), [cb.state_dict() for cb in learner.cbs]
    seconds = learner.dry_run()
    assert_same(everything(learner), before)
    assert_same([cb.state_dict() for cb in learner.cbs], average)
    assert list(seconds) == ["training and validation", "prediction", "saving and loading"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"✓ {name}" for name in seconds]
    assert os.listdir(tmp_path) == []


def test_before_the_first_fit_and_without_validation():
    plain, tried = (make_learner(dls=DataLoaders(batches(), device="cpu")) for _ in range(2))
    tried.dry_run()
    assert (tried.epoch, tried.global_step, tried.recorder.losses) == (0, 0, [])
    assert_same(everything(tried.fit(1, 0.01))["weights"], everything(plain.fit(1, 0.01))["weights"])


def test_one_batch_of_each_phase_only():
    seen = []
    learner = make_learner()

    @learner.on("after_batch")
    def look(state):
        seen.append((state.phase, state.n_batches, state.last_batch))

    learner.cbs[-1].in_lr_find = True
    learner.dry_run()
    assert seen == [("train", 1, True), ("valid", 1, True)]


class FailsInEval(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, x):
        if not self.training and len(x) > 2:  # two samples are what is looked at before a training
            raise ValueError("no evaluation")
        return self.net(x)


def test_what_a_long_training_would_meet_at_its_end_is_met_now():
    learner = make_learner(FailsInEval())
    learner.create_opt()
    before = everything(learner)
    with pytest.raises(ValueError, match="no evaluation"):
        learner.dry_run()
    assert_same(everything(learner), before)


def test_callbacks_that_only_watch_are_not_called():
    called = []

    class Watches(Callback):
        def before_fit(self, state):
            called.append(state)

    make_learner(cbs=Watches()).dry_run()
    assert called == []
