from __future__ import annotations

import os
import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.learner import Learner
from fastlearn.training.callback import EVENTS, Callback
from fastlearn.training.hypers import set_hypers
from fastlearn.training.schedule import one_cycle


def make_batches(n: int = 10, size: int = 16, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    xs = [torch.randn(size, 6, generator=generator) for _ in range(n)]
    return [(x, (x[:, 0] + x[:, 1] > 0).long() + (x[:, 2] > 1).long()) for x in xs]


def make_model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def make_learner(model: nn.Module | None = None, **kwargs) -> Learner:
    dls = DataLoaders(make_batches(), make_batches(3, seed=1), device="cpu")
    options = {"loss_func": F.cross_entropy, "seed": 1, "default_cbs": False} | kwargs
    return Learner(dls, make_model() if model is None else model, **options)


def quiet(learner: Learner, n: int = 1, lr: float = 0.01, **kwargs) -> Learner:
    with learner.no_bar():
        learner.fit(n, lr, **kwargs)
    return learner


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_fifty_steps_are_bit_identical_to_a_plain_loop(optimizer):
    plain, batches = make_model(), make_batches()
    opt, curve = optimizer(plain.parameters(), lr=0.01), one_cycle([0.01])
    plain.train()
    for step in range(50):
        x, y = batches[step % 10]
        set_hypers(opt, **curve.hypers(step / 50))
        loss = F.cross_entropy(plain(x), y)
        loss.backward()
        opt.step()
        opt.zero_grad()
    learner = make_learner(opt_func=optimizer)
    with learner.no_bar():
        learner.fit_one_cycle(5, 0.01)
    assert learner.global_step == 50
    for (name, ours), theirs in zip(learner.model.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


class Diary(Callback):
    """Notes every event."""

    def __init__(self) -> None:
        self.events: list[str] = []


for _event in EVENTS:
    setattr(Diary, _event, lambda self, state, _event=_event: self.events.append(f"{_event}:{state.phase}"))


def test_the_events_come_in_their_order():
    diary = Diary()
    batches = make_batches(2)
    learner = Learner(
        DataLoaders(batches, batches[:1], device="cpu"), make_model(), F.cross_entropy, cbs=diary, default_cbs=False
    )
    quiet(learner)
    step = ["before_batch:train", "after_backward:train", "after_step:train", "after_batch:train"]
    assert diary.events == [
        "before_fit:train", "before_epoch:train", *step, *step, "before_batch:valid", "after_batch:valid",
        "after_validate:train", "after_epoch:train", "after_fit:train",
    ]  # fmt: skip


class FailAt(Callback):
    """Raises at one training batch."""

    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error, self.seen = step, error, []

    def before_batch(self, state):
        if state.training and state.step == self.step:
            raise self.error

    def on_exception(self, state):
        self.seen.append(state.error)

    def after_fit(self, state):
        self.seen.append("after_fit")


def test_an_error_is_seen_raised_again_and_the_next_fit_starts_cleanly():
    learner = make_learner()
    callback = FailAt(3, ValueError("planted"))
    with pytest.raises(ValueError, match="planted"):
        quiet(learner, cbs=callback)
    assert callback.seen == [callback.error, "after_fit"]
    assert learner.global_step == 3 and len(learner.recorder.losses) == 3
    assert learner.epoch == 1  # its number is used up, so the next epoch has an order of its own
    assert all(p.grad is None for p in learner.model.parameters())
    quiet(learner)
    assert (learner.epoch, learner.global_step, len(learner.recorder.values)) == (2, 13, 1)


def test_after_fit_of_every_callback_runs_though_one_fails():
    class Fails(Callback):
        def after_fit(self, state):
            raise ValueError("first")

    diary = Diary()
    with pytest.raises(ValueError, match="first"):
        quiet(make_learner(), cbs=[Fails(), diary])
    assert diary.events[-1] == "after_fit:train"


class PressCtrlC(Callback):
    """Sends this process SIGINT in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_backward(self, state):
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_leaves_the_learner_as_of_the_last_finished_step():
    learner = make_learner()
    with pytest.raises(KeyboardInterrupt):
        quiet(learner, 2, cbs=PressCtrlC(14))
    assert learner.global_step == 15 and len(learner.recorder.losses) == 15 and len(learner.recorder.values) == 1
    twin = make_learner()
    twin_batches = [*make_batches(), *make_batches()[:5]]
    opt = twin.create_opt()
    twin.model.train()
    for x, y in twin_batches:
        F.cross_entropy(twin.model(x), y).backward()
        set_hypers(opt, lr=0.01)
        opt.step()
        opt.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(learner.model.parameters(), twin.model.parameters(), strict=True))
    quiet(learner)
    assert learner.epoch == 3 and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_dropout_depends_on_the_seed_and_the_step_alone():
    def weights(seed: int, disturb: bool) -> torch.Tensor:
        learner = make_learner(make_model(dropout=0.5), seed=seed)
        if disturb:
            learner.on("before_epoch")(lambda state: torch.rand(100))
            torch.manual_seed(99)
        quiet(learner, 2)
        return learner.model[0].weight.detach()

    assert torch.equal(weights(1, False), weights(1, True))
    assert not torch.equal(weights(1, False), weights(2, False))


def test_the_users_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    learner = make_learner(make_model(dropout=0.5))
    torch.manual_seed(5)
    quiet(learner)
    assert torch.equal(torch.rand(4), expected)


def test_two_fits_are_not_the_same_draws():
    learner = make_learner(make_model(dropout=0.5))
    seeds = []
    learner.on("before_batch")(
        lambda state: seeds.append(torch.default_generator.initial_seed()) if state.training else 0
    )
    quiet(learner)
    quiet(learner)
    assert len(set(seeds)) == 20


def test_validation_loss_weighs_a_short_last_batch_by_its_samples():
    x, y = make_batches(1, 40)[0]
    learner = Learner(
        DataLoaders([(x, y)], [(x[:32], y[:32]), (x[32:], y[32:])], device="cpu"),
        make_model(),
        F.cross_entropy,
        default_cbs=False,
    )
    with torch.no_grad():
        learner.model.eval()
        expected = F.cross_entropy(learner.model(x), y).item()
    assert learner.validate()[0] == pytest.approx(expected, rel=1e-6)


def test_a_replaced_step_owns_forward_backward_and_optimizer():
    learner, plain = make_learner(), make_learner()

    def step(state):
        (x,), (y,) = state.inputs, state.targets
        state.outputs = state.model(x)
        state.loss = F.cross_entropy(state.outputs, y)
        if state.training:
            state.backward(state.loss)
            state.optimizer_step()

    learner.step = step
    quiet(learner)
    quiet(plain)
    assert torch.equal(learner.model[0].weight, plain.model[0].weight)
    assert learner.recorder.losses == plain.recorder.losses
