from __future__ import annotations

import copy
import json
import math
import pickle

import pytest
import torch
from tiny import assert_same, batches, halves, make_learner
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import UnknownNameError
from fastlearn.metrics import accuracy, error_rate
from fastlearn.training.recorder import Recorder


def test_one_entry_a_batch_and_one_row_an_epoch():
    learner = make_learner(metrics=[accuracy, error_rate], moms=(0.9, 0.8, 0.95))
    raw = []
    learner.on("after_batch")(lambda state: raw.append(float(state.loss.detach())) if state.training else None)
    learner.fit_one_cycle(2, 0.01)
    recorder = learner.recorder
    assert recorder.raw_losses == raw and len(raw) == 10
    smooth, mean = [], 0.0
    for step, loss in enumerate(raw, 1):
        mean = 0.98 * mean + 0.02 * loss
        smooth.append(mean / (1 - 0.98**step))
    assert recorder.losses == pytest.approx(smooth, rel=1e-6)
    assert recorder.lrs[0] == pytest.approx(0.01 / 25) and len(recorder.lrs) == 10
    assert recorder.moms[0] == pytest.approx(0.9) and min(recorder.moms) == pytest.approx(0.8, abs=0.02)
    assert recorder.metric_names == ["epoch", "train_loss", "valid_loss", "accuracy", "error_rate", "time"]
    assert recorder.iters == [5, 10] and [len(row) for row in recorder.values] == [4, 4]
    assert recorder.values[-1][0] == pytest.approx(smooth[-1], rel=1e-6)
    assert recorder.values[-1][1:] == pytest.approx(learner.validate())
    assert recorder.hps == {"lr": recorder.lrs, "mom": recorder.moms}


def test_without_validation_there_are_no_columns_for_it():
    learner = make_learner(dls=DataLoaders(batches(), device="cpu"), metrics=accuracy)
    learner.fit(1, 0.01)
    assert learner.recorder.metric_names == ["epoch", "train_loss", "time"]
    assert len(learner.recorder.values[0]) == 1 and math.isnan(learner.recorder.final_value("valid_loss"))


def test_each_fit_starts_its_columns_anew_and_history_keeps_all():
    learner = make_learner(metrics=accuracy)
    learner.fit(2, 0.01)
    learner.fit(1, 0.02)
    assert learner.recorder.lrs == [0.02] * 5 and len(learner.recorder.values) == 1
    table = learner.recorder.history()
    assert list(table.columns) == ["fit", "epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert table["fit"].tolist() == [1, 1, 2] and table["epoch"].tolist() == [0, 1, 2]
    assert table["valid_loss"].iloc[-1] == learner.recorder.final_value("valid_loss")


def test_fine_tune_is_one_story():
    learner = make_learner(splitter=halves)
    learner.fit(1, 0.01)
    learner.fine_tune(2, 0.01)
    recorder = learner.recorder
    assert recorder.fits == 2 and len(recorder.losses) == len(recorder.lrs) == 15 and recorder.iters == [5, 10, 15]
    assert recorder.history()["fit"].tolist() == [1, 2, 2, 2]
    # Each phase smooths its own losses, as a fit of its own would.
    assert recorder.losses[5] == pytest.approx(recorder.raw_losses[5], rel=1e-6)
    learner.fit(1, 0.01)
    assert learner.recorder.fits == 3 and len(learner.recorder.losses) == 5


def test_a_frame_of_batches():
    learner = make_learner()
    learner.fit(1, 0.01)
    table = learner.recorder.to_frame()
    assert list(table.columns) == ["loss", "smooth_loss", "lr", "mom"] and table.index.name == "batch"
    assert table["loss"].tolist() == learner.recorder.raw_losses and len(table) == 5


def test_momentum_is_nan_where_there_is_none():
    learner = make_learner(opt_func=lambda groups, lr: torch.optim.Adagrad(groups, lr=lr))
    learner.fit(1, 0.01)
    assert all(math.isnan(mom) for mom in learner.recorder.moms)


def test_losses_are_read_in_blocks_and_in_order():
    learner = make_learner(nn.Linear(6, 3), DataLoaders(batches(1) * 1100, device="cpu"))
    losses = []
    learner.on("after_batch")(lambda state: losses.append(float(state.loss.detach())))
    learner.fit(1, 1e-4)
    assert learner.recorder.raw_losses == pytest.approx(losses, rel=1e-7)
    assert len(learner.recorder.losses) == 1100


def test_a_step_without_a_loss_is_recorded_as_nan():
    learner = make_learner()

    def step(state):
        state.outputs = state.model(*state.inputs)
        state.loss = (
            state.loss_func(state.outputs, *state.targets) if state.training and not state.batch_index else None
        )

    learner.step = step
    learner.fit(1, 0.01)
    assert [math.isnan(loss) for loss in learner.recorder.raw_losses] == [False, True, True, True, True]
    assert math.isnan(learner.recorder.values[0][1])


def test_its_state_is_json_and_comes_back():
    learner = make_learner(metrics=accuracy)
    learner.fit(2, 0.01)
    state = learner.recorder.state_dict()
    other = Recorder()
    other.load_state_dict(json.loads(json.dumps(state)))
    assert_same(other.state_dict(), state)
    assert other.smooth_loss() == learner.recorder.smooth_loss()
    assert other.history().equals(learner.recorder.history())


def test_an_empty_recorder_answers_too():
    recorder = Recorder()
    assert recorder.losses == recorder.lrs == recorder.values == [] and math.isnan(recorder.smooth_loss())
    assert len(recorder.history()) == 0 and len(recorder.to_frame()) == 0


def test_it_says_what_it_holds():
    recorder = Recorder()
    assert repr(recorder).startswith("Recorder(0 epochs of train_loss, valid_loss;")
    recorder.metric_names = ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    recorder.epochs.append({})
    assert repr(recorder).startswith("Recorder(1 epochs of train_loss, valid_loss, accuracy;")


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="A Recorder has no 'plot_losses'. Did you mean 'plot_loss'"):
        _ = Recorder().plot_losses
    assert not hasattr(Recorder(), "_repr_html_")
    assert pickle.loads(pickle.dumps(Recorder())).fits == copy.deepcopy(Recorder()).fits == 0
