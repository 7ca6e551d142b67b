"""A training as tensors and JSON values, and back."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Chaining, assert_same, make_learner, shuffled
from torch import nn

from fastlearn.callbacks.accumulate import GradientAccumulation
from fastlearn.errors import CheckpointError
from fastlearn.runtime.json_bytes import read_json, write_json
from fastlearn.training import capture
from fastlearn.training.callback import Callback
from fastlearn.training.optimizer import SGD
from fastlearn.training.recorder import Recorder
from fastlearn.training.state import Call, Position, Run, TrainState


class Taken(Callback):
    """What is captured after the batch with that number."""

    order = 1000

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.tensors: capture.Tensors = {}
        self.meta: dict[str, Any] = {}
        self.gradients: list[Any] = []

    def after_batch(self, state: TrainState) -> None:
        if state.training and state.fit_step + 1 == self.batch:
            tensors, meta = capture.capture(state, Position(batch=state.batch_index + 1))
            self.own = all(
                tensors[f"model/{name}"].data_ptr() == one.data_ptr() for name, one in state.model.named_parameters()
            )
            self.tensors, self.meta = capture.copied(tensors), read_json(write_json(meta), dict[str, Any], "it")
            self.gradients = [None if p.grad is None else p.grad.clone() for p in state.model.parameters()]


def taken(batch: int = 4, *others: Callback) -> tuple[Taken, Chaining]:
    learn, taking = make_learner(dls=shuffled()), Taken(batch)
    learn.fit(1, 0.01, cbs=[taking, *others])
    return taking, learn


def state_of(learn: Chaining) -> TrainState:
    """The state of a fit that has not begun."""
    learn.create_opt()
    plan = dataclasses.replace(learn._plan(1, None), run=Run(Call("fit", {})))
    return learn._state(plan, learn.cbs, learn.recorder)


def test_what_is_captured_is_where_it_lies_and_copies_do_not_change() -> None:
    taking, learn = taken(2)
    assert taking.own
    now = learn.model.state_dict()
    assert all(not torch.equal(taking.tensors[f"model/{name}"], now[name]) for name in ("0.weight", "4.bias"))


def test_a_fit_gets_all_of_it_back() -> None:
    taking, _ = taken(4, GradientAccumulation(48))  # three batches a step, so that the fourth has gathered something
    assert taking.meta["position"]["batch"] == 4 and taking.meta["step"] == 3
    other = make_learner(nn.Sequential(*make_learner().model), dls=shuffled())
    for parameter in other.model.parameters():
        parameter.data.add_(1)
    state = state_of(other)
    capture.restore_fit(state, taking.tensors, taking.meta)
    assert_same(
        dict(other.model.state_dict()), {name: taking.tensors[f"model/{name}"] for name in other.model.state_dict()}
    )
    assert any(one is not None and one.any() for one in taking.gradients)
    assert_same([p.grad for p in other.model.parameters()], taking.gradients)
    assert state.recorder.n_batches == 4 and state.recorder.fits == 1 and state.recorder.epochs == []
    steps = {float(entry["step"]) for entry in state.optimizer.state.values()}
    assert steps == {1.0}


def test_another_optimizer_is_refused_or_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    taking, _ = taken()
    state = state_of(make_learner(dls=shuffled(), opt_func=SGD))
    with pytest.raises(CheckpointError, match="the state of Adam, and the optimizer is SGD. Make the learner with"):
        capture.restore_fit(state, taking.tensors, taking.meta)
    capture.restore_fit(state, taking.tensors, taking.meta, strict=False)
    assert "the optimizer begins anew" in capsys.readouterr().out
    assert not state.optimizer.state and all(p.grad is None for p in state.model.parameters())
    assert state.recorder.n_batches == 4


def test_every_generator_comes_back() -> None:
    random.gauss(0, 1), np.random.normal()  # each keeps a second number for the next time
    before = [torch.get_rng_state()]
    tensors = capture.copied(capture.capture_generators(before))
    wanted = random.gauss(0, 1), random.random(), np.random.normal(), np.random.rand(), float(torch.rand(()))
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    capture.set_generators(tensors, torch.device("cpu"))
    assert (random.gauss(0, 1), random.random(), np.random.normal(), np.random.rand(), float(torch.rand(()))) == wanted


def test_buffers_that_a_state_dict_leaves_out() -> None:
    class Holding(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.register_buffer("seen", torch.tensor([value]))
            self.register_buffer("hidden", torch.tensor([value]), persistent=False)

    tensors = capture.capture_model(Holding(2.0))
    assert set(tensors) == {"model/seen", "unsaved/hidden"}
    other = Holding(3.0)
    capture.restore_unsaved(other, tensors)
    assert other.hidden.item() == 2.0 and other.seen.item() == 3.0


@pytest.mark.parametrize("part", ["call", "position", "epoch", "seed", "optimizer", "identity", "recorder", "notes"])
def test_a_state_that_lacks_a_part_is_told(part: str) -> None:
    taking, _ = taken()
    capture.check_whole(taking.meta, "here")
    for broken in ({k: v for k, v in taking.meta.items() if k != part}, taking.meta | {part: None}):
        with pytest.raises(CheckpointError, match="here is no whole training .*Was it written by another version"):
            capture.check_whole(broken, "here")


def test_call_position_and_recorder() -> None:
    taking, learn = taken()
    assert capture.call_of(taking.meta).method == "fit" and capture.position_of(taking.meta).batch == 4
    recorder = Recorder()
    capture.restore_recorder(recorder, taking.tensors, taking.meta)
    assert recorder.raw_losses == learn.recorder.raw_losses[:4] and recorder.lrs == learn.recorder.lrs[:4]
