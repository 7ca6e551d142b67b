from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest
import torch
from tiny import assert_same, everything, make_learner, small_net

from fastlearn.runtime.precision import Precision
from fastlearn.training.snapshot import preserved


def wreck(learner) -> None:
    """Change all that training changes."""
    with torch.no_grad():
        for tensor in [*learner.model.parameters(), *learner.model.buffers()]:
            tensor.zero_()
    learner.model[1].running_mean = torch.ones(12)
    learner.model.eval()
    learner.model[0].requires_grad_(False)
    learner.opt.param_groups[0]["lr"] = 5.0
    learner.opt.state.clear()
    torch.rand(3), np.random.rand(3), random.random()


def test_everything_is_put_back():
    learner = make_learner(small_net(0.2))
    learner.fit(1, 0.01)
    before, mean = everything(learner), learner.model[1].running_mean
    with preserved(learner.model, learner.opt, learner.precision):
        wreck(learner)
    assert_same(everything(learner), before)
    assert learner.model[1].running_mean is mean  # whoever holds the buffer still holds the module's


def test_also_after_an_error():
    learner = make_learner()
    learner.fit(1, 0.01)
    before = everything(learner)
    with pytest.raises(ZeroDivisionError), preserved(learner.model, learner.opt, learner.precision):
        wreck(learner)
        raise ZeroDivisionError
    assert_same(everything(learner), before)


def test_a_ctrl_c_while_it_puts_back_comes_afterwards():
    learner = make_learner()
    learner.fit(1, 0.01)
    before = everything(learner)

    class Interrupts(Precision):
        def load_state_dict(self, state):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), preserved(learner.model, learner.opt, Interrupts()):
        wreck(learner)
    assert_same(everything(learner), before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_half_made_gradients_are_dropped():
    learner = make_learner()
    learner.fit(1, 0.01)
    with preserved(learner.model, learner.opt, learner.precision):
        learner.model(torch.randn(4, 6)).sum().backward()
    assert all(parameter.grad is None for parameter in learner.model.parameters())
