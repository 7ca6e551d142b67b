"""A training that goes on from a checkpoint ends with the same bits as one that was never stopped."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastlearn.callbacks.accumulate import GradientAccumulation
from fastlearn.callbacks.checkpoint import Checkpoint
from fastlearn.callbacks.csv_log import CSVLogger
from fastlearn.callbacks.early_stopping import EarlyStoppingCallback
from fastlearn.callbacks.ema import EMA
from fastlearn.callbacks.keep_state import KeepState
from fastlearn.callbacks.mixup import MixUp
from fastlearn.callbacks.reduce_on_plateau import ReduceLROnPlateau
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.loaders import DataLoader
from fastlearn.errors import CheckpointError, ConfigError, NonFiniteError
from fastlearn.learner import Learner
from fastlearn.losses import CrossEntropyLossFlat
from fastlearn.metrics import accuracy
from fastlearn.training.callback import Callback
from fastlearn.training.loop import default_step
from fastlearn.training.optimizer import SGD
from fastlearn.training.runs import names_in, read_run, remove
from fastlearn.training.state import TrainState

STEPS = 5  # of an epoch


class Killed(BaseException):
    """Ends a training as suddenly as a signal would, with no time to save anything."""


class Killer(Callback):
    """Kills at the n-th training batch, or in the validation of the n-th epoch."""

    order = 2000
    only_watches = True

    def __init__(self, batch: int = 0, valid: int = 0) -> None:
        self.batch, self.valid, self.n, self.epochs = batch, valid, 0, 0

    def after_batch(self, state: TrainState) -> None:
        self.n += state.training
        self.epochs += not state.training and state.batch_index == 0
        if (state.training and self.n == self.batch) or (not state.training and self.epochs == self.valid):
            raise Killed


def samples(n: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return list(zip(x, (x[:, 0] + x[:, 1] > 0).long(), strict=True))


def made(folder: Path, lr: float = 1e-2, bs: int = 8, width: int = 12, **options: Any) -> Learner:
    """The same learner each time, as a script that is run again makes it."""
    dls = DataLoaders(
        DataLoader(samples(8 * STEPS, 0), bs, shuffle=True, seed=3), DataLoader(samples(12, 1), 8, seed=4)
    )
    torch.manual_seed(1)
    body = nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3))
    chosen = {"loss_func": CrossEntropyLossFlat(), "metrics": accuracy, "seed": 7} | options
    return Learner(
        dls,
        nn.Sequential(body, nn.Linear(width, 2)),
        lr=lr,
        path=folder,
        splitter=lambda model: [list(model[0].parameters()), list(model[1].parameters())],
        **chosen,
    )


def quiet(learn: Learner, train: Callable[..., None], seed: int = 9, **options: Any) -> None:
    torch.manual_seed(seed)  # as whatever has come before in the script left it
    with learn.no_bar():
        train(learn, **options)


def killed(learn: Learner, train: Callable[..., None], **options: Any) -> None:
    with pytest.raises(Killed):
        quiet(learn, train, **options)


def look(learn: Learner) -> dict[str, Any]:
    """All that the training has made, and the next batches."""
    assert learn.opt is not None
    history = learn.recorder.state_dict()
    history["epochs"] = [{name: v for name, v in row.items() if name != "time"} for row in history["epochs"]]
    return {
        "weights": learn.model.state_dict(),
        "optimizer": learn.opt.state_dict(),
        "history": history,
        "counters": (learn.epoch, learn.global_step, learn.seed),
        "generator": torch.get_rng_state(),
        "batches": list(itertools.islice(learn.dls.train, 10)),
        "frozen": [parameter.requires_grad for parameter in learn.model.parameters()],
    }


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_equal(one[name], other[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other or (one != one and other != other)


CALLS: dict[str, Callable[..., None]] = {
    "one_cycle": lambda learn, **more: learn.fit_one_cycle(3, 1e-2, **more),
    "sgdr": lambda learn, **more: learn.fit_sgdr(2, 1, slice(1e-3, 1e-2), **more),
    "fine_tune": lambda learn, **more: learn.fine_tune(2, freeze_epochs=1, **more),
    "fine_tune, best": lambda learn, **more: learn.fine_tune(2, keep_best=True, **more),
    "fine_tune, pictures": lambda learn, **more: learn.fine_tune(2, cached_head=False, **more),
    "fit_head": lambda learn, **more: learn.fit_head(4, 1e-2, **more),
}
WITH: dict[str, Callable[[], list[Callback]]] = {
    "nothing": list,
    "EMA": lambda: [EMA(0.9)],
    "accumulation": lambda: [GradientAccumulation(24)],
    "MixUp": lambda: [MixUp(0.4)],
    "trackers": lambda: [EarlyStoppingCallback(patience=5), ReduceLROnPlateau(patience=1)],
}
KILLS = [Killer(batch=1), Killer(batch=4), Killer(batch=5), Killer(batch=8), Killer(batch=13), Killer(valid=1)]


@pytest.mark.parametrize("every", ["epoch", 1, 3])
@pytest.mark.parametrize(("call", "cbs"), [*((c, "nothing") for c in CALLS), *(("one_cycle", w) for w in [*WITH][1:]),
                                            ("fine_tune", "EMA"), ("fine_tune, pictures", "accumulation")])  # fmt: skip
def test_killed_and_resumed_is_never_stopped(tmp_path: Path, call: str, cbs: str, every: Any) -> None:
    train, straight = CALLS[call], made(tmp_path / "straight")
    quiet(straight, train, cbs=WITH[cbs]())
    expected = look(straight)
    for number, killer in enumerate(KILLS):
        folder = tmp_path / str(number)
        killed(made(folder), train, cbs=[*WITH[cbs](), Checkpoint(every=every), copy.copy(killer)], resume=True)
        again, seed = made(folder), 10 if names_in(folder / "models" / "checkpoints") else 9
        quiet(again, train, seed, cbs=[*WITH[cbs](), Checkpoint(every=every)], resume=True)
        assert_equal(look(again), expected)
        assert not [path for path in (folder / "models" / "checkpoints").iterdir() if path.name.startswith(".")]


def test_killed_again_and_again(tmp_path: Path) -> None:
    straight = made(tmp_path / "straight")
    quiet(straight, CALLS["fine_tune, pictures"], cbs=EMA(0.9))
    for batches in (2, 3, 1, 4, 2):
        killed(
            made(tmp_path), CALLS["fine_tune, pictures"], resume=True,
            cbs=[EMA(0.9), Checkpoint(every=1), Killer(batch=batches)],
        )  # fmt: skip
    again = made(tmp_path)
    quiet(again, CALLS["fine_tune, pictures"], cbs=[EMA(0.9), Checkpoint(every=1)], resume=True)
    assert_equal(look(again), look(straight))


def test_resume_makes_the_call_again(tmp_path: Path) -> None:
    straight = made(tmp_path / "straight")
    quiet(straight, CALLS["sgdr"], cbs=MixUp())
    expected = look(straight)
    killed(made(tmp_path), CALLS["sgdr"], cbs=[MixUp(), Checkpoint(every=2), Killer(batch=9)])
    newest = names_in(tmp_path / "models" / "checkpoints")[0]
    assert newest.name.endswith("step8")
    for folder in (None, newest, tmp_path / "models" / "checkpoints"):
        again = made(tmp_path)
        with again.no_bar():
            assert again.resume(folder, cbs=[MixUp(), Checkpoint(keep=99)]) is again
        assert_equal(look(again), expected)
        for path in names_in(tmp_path / "models" / "checkpoints"):
            if path.name > newest.name:
                remove(path)


def test_a_stop_stays_a_stop(tmp_path: Path) -> None:
    class Stop(Callback):
        def after_batch(self, state: TrainState) -> None:
            if state.step == 6 and state.training:
                state.request_stop()

    straight = made(tmp_path / "straight")
    quiet(straight, CALLS["one_cycle"], cbs=Stop())
    killed(made(tmp_path), CALLS["one_cycle"], cbs=[Stop(), Checkpoint(every=1), Killer(valid=2)])
    again = made(tmp_path)
    quiet(again, CALLS["one_cycle"], cbs=[Stop(), Checkpoint(every=1)], resume=True)
    assert_equal(look(again), look(straight))
    assert again.epoch == 2


def test_a_finished_training_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    straight = made(tmp_path)
    quiet(straight, CALLS["fine_tune"], resume=True)
    assert "There is no checkpoint of this training in" in capsys.readouterr().out
    again = made(tmp_path)
    quiet(again, CALLS["fine_tune"], resume=True)
    assert "This training is finished" in capsys.readouterr().out
    assert_equal(look(again), look(straight))


def test_another_training_is_refused_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed(made(tmp_path), CALLS["one_cycle"], cbs=[Checkpoint(every=1), Killer(batch=7)])

    def refused(learn: Learner, message: str, train: Callable[..., None] = CALLS["one_cycle"], **more: Any) -> None:
        before = copy.deepcopy(learn.model.state_dict())
        with pytest.raises(CheckpointError, match=message):
            quiet(learn, train, resume=True, **more)
        assert_equal(learn.model.state_dict(), before)

    refused(made(tmp_path, bs=4), "batch size of the training set: 8, now 4")
    refused(made(tmp_path, width=10), "shapes of the weights")
    refused(made(tmp_path, wd=0.1), "wd: none, now 0.1")
    refused(made(tmp_path), r"callbacks: ProgressCallback|callbacks: .*MixUp\(alpha=0.4\)", cbs=MixUp())
    call = r"the call: fit_one_cycle\(n_epoch=3, .*lr_max=0.01.*now fit_one_cycle\(n_epoch=4"
    refused(made(tmp_path), call, lambda learn, **more: learn.fit_one_cycle(4, 1e-2, **more))
    other = made(tmp_path, wd=0.1)
    with other.no_bar():
        other.resume(strict=False)
    assert "Going on all the same" in capsys.readouterr().out and other.epoch == 3


@pytest.mark.parametrize("every", ["epoch", 1])
def test_another_optimizer_is_refused_or_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], every: Any
) -> None:
    killed(made(tmp_path), CALLS["fine_tune"], cbs=[Checkpoint(every=every), Killer(batch=13)])
    other = made(tmp_path, opt_func=SGD)
    with pytest.raises(CheckpointError, match="opt_func: Adam, now SGD"):
        quiet(other, CALLS["fine_tune"], resume=True)
    with other.no_bar():
        other.resume(strict=False)
    said = capsys.readouterr().out
    assert "the state of Adam, and the optimizer is SGD" in said and "the optimizer begins anew" in said
    assert other.epoch == 3 and type(other.opt) is type(SGD([nn.Parameter(torch.ones(1))]))


def test_what_a_step_of_ones_own_uses_is_kept(tmp_path: Path) -> None:
    """A second network with an optimizer of its own, which `learn.step` trains."""

    def with_critic() -> tuple[Learner, nn.Module, torch.optim.Optimizer]:
        learn = made(tmp_path)
        torch.manual_seed(2)
        critic = nn.Linear(8, 1)
        critic_opt = torch.optim.Adam(critic.parameters(), 0.1)

        def both(state: TrainState) -> None:
            default_step(state)
            if state.training:
                critic_opt.zero_grad()
                (critic(state.inputs[0]).mean() - state.loss.item()).square().backward()
                critic_opt.step()

        learn.step = both
        return learn, critic, critic_opt

    def seen(critic: nn.Module, critic_opt: torch.optim.Optimizer) -> dict[str, Any]:
        return {"critic": copy.deepcopy(critic.state_dict()), "critic_opt": copy.deepcopy(critic_opt.state_dict())}

    learn, *pair = with_critic()
    quiet(learn, CALLS["one_cycle"])
    whole = look(learn) | seen(*pair)
    learn, *pair = with_critic()
    cbs = [KeepState(critic=pair[0], critic_opt=pair[1])]
    killed(learn, CALLS["one_cycle"], cbs=[Checkpoint(every=3), Killer(batch=8), *cbs])
    learn, *pair = with_critic()
    with pytest.raises(CheckpointError, match=r"callbacks: .*KeepState\(objects=\['critic', 'critic_opt'\]\), now"):
        quiet(learn, CALLS["one_cycle"], resume=True)
    quiet(learn, CALLS["one_cycle"], resume=True, cbs=[KeepState(critic=pair[0], critic_opt=pair[1])])
    assert_equal(look(learn) | seen(*pair), whole)


def test_another_machine_is_told_and_no_reason_to_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed(made(tmp_path), CALLS["one_cycle"], cbs=[Checkpoint(every=1), Killer(batch=7)])
    again = made(tmp_path).to_bf16()
    quiet(again, CALLS["one_cycle"], resume=True)
    assert "precision: fp32, now bf16" in capsys.readouterr().out and again.epoch == 3


def test_a_checkpoint_by_hand(tmp_path: Path) -> None:
    learn = made(tmp_path)
    quiet(learn, CALLS["one_cycle"])
    path = learn.save_checkpoint()
    other = made(tmp_path)
    with other.no_bar():
        other.resume(path)
    assert_equal(look(other), look(learn))
    quiet(learn, CALLS["sgdr"])
    quiet(other, CALLS["sgdr"])
    assert_equal(look(other), look(learn))


def test_recovery_goes_back_with_lower_rates(tmp_path: Path) -> None:
    class Spoil(Callback):
        order = -10
        only_watches = True

        def after_backward(self, state: TrainState) -> None:
            if state.step == 7:
                next(state.model.parameters()).grad.fill_(float("nan"))

    learn = made(tmp_path)
    with pytest.raises(NonFiniteError) as caught:
        quiet(learn, CALLS["one_cycle"], cbs=[Checkpoint(every=1), Spoil()])
    assert "learn.recover(lr_scale=0.5)" in "".join(caught.value.__notes__)
    straight = made(tmp_path / "straight")
    quiet(straight, CALLS["one_cycle"])
    with learn.no_bar():
        assert learn.recover(lr_scale=0.5) is learn
    usual, lower = straight.recorder.lrs, learn.recorder.lrs
    assert lower[:7] == usual[:7] and lower[7:] == [rate * 0.5 for rate in usual[7:]]
    newest = read_run(names_in(tmp_path / "models" / "checkpoints")[0])
    assert newest.state["lr_scale"] == 0.5 and newest.manifest.finished
    with pytest.raises(ConfigError, match="lr_scale=-1 multiplies the learning rates: a number above 0"):
        learn.recover(lr_scale=-1)
    with pytest.raises(CheckpointError, match="There is no checkpoint .*nothing was saved there yet"):
        made(tmp_path / "nowhere").recover()


def test_a_method_that_does_not_train_is_not_called(tmp_path: Path) -> None:
    learn = made(tmp_path)
    quiet(learn, CALLS["one_cycle"])
    saved = read_run(learn.save_checkpoint())
    for name in ("no_bar", "__init__", "save", "nothing"):
        saved.state["call"] = {"method": name, "arguments": {}}
        with pytest.raises(CheckpointError, match=f"call of '{name}', which is no method that trains"):
            learn._go_on_from(saved, [], True)


def test_two_trainings_of_one_notebook_go_on_each_for_itself(tmp_path: Path) -> None:
    """As a notebook is run again from its top after a kill, and as a cell is run again after an interrupt."""

    def cells(learn: Learner, *more: Callback) -> None:
        quiet(learn, CALLS["one_cycle"], cbs=Checkpoint(every=1), resume=True)
        quiet(learn, CALLS["one_cycle"], cbs=[Checkpoint(every=1), *more], resume=True)
        quiet(learn, CALLS["sgdr"], cbs=Checkpoint(every=1), resume=True)

    straight = made(tmp_path / "straight")
    cells(straight)
    expected = look(straight)
    learn = made(tmp_path)
    with pytest.raises(Killed):
        cells(learn, Killer(batch=4))
    quiet(learn, CALLS["one_cycle"], cbs=Checkpoint(every=1), resume=True)  # the second cell, on the same learner
    quiet(learn, CALLS["sgdr"], cbs=Checkpoint(every=1), resume=True)
    assert_equal(look(learn), expected)


def test_checkpoints_by_hand_are_neither_taken_nor_removed(tmp_path: Path) -> None:
    learn = made(tmp_path)
    killed(learn, CALLS["one_cycle"], cbs=[Checkpoint(every=1), Killer(batch=7)])
    by_hand = learn.save_checkpoint()
    quiet(learn, CALLS["one_cycle"], resume=True)
    assert learn.epoch == 3 and by_hand in names_in(tmp_path / "models" / "checkpoints")


def test_a_training_of_another_call_that_is_not_finished_is_not_passed_over(tmp_path: Path) -> None:
    killed(made(tmp_path), CALLS["one_cycle"], cbs=[Checkpoint(every=1), Killer(batch=7)])
    with pytest.raises(CheckpointError, match=r"the call: fit_one_cycle.*now fit_sgdr.*Checkpoint\(folder=…\)"):
        quiet(made(tmp_path), CALLS["sgdr"], resume=True)


def test_a_second_recovery_is_slower_still(tmp_path: Path) -> None:
    class Spoil(Callback):
        order = -10
        only_watches = True
        times = 0

        def after_backward(self, state: TrainState) -> None:
            if state.step == 7 and Spoil.times < 2:
                Spoil.times += 1
                next(state.model.parameters()).grad.fill_(float("nan"))

    learn = made(tmp_path)
    for train in (
        lambda: CALLS["one_cycle"](learn, cbs=[Checkpoint(every=1), Spoil()]),
        lambda: learn.recover(cbs=Spoil()),
    ):
        with pytest.raises(NonFiniteError), learn.no_bar():
            train()
    with learn.no_bar():
        learn.recover(cbs=Spoil())
    assert read_run(names_in(tmp_path / "models" / "checkpoints")[0]).state["lr_scale"] == 0.25


def test_draws_from_the_global_generator_are_the_same(tmp_path: Path) -> None:
    class Noise(Callback):
        def before_epoch(self, state: TrainState) -> None:
            with torch.no_grad():
                for parameter in state.model.parameters():
                    parameter += 1e-3 * torch.randn_like(parameter)

    straight = made(tmp_path / "straight")
    quiet(straight, CALLS["one_cycle"], cbs=Noise())
    for number, every in enumerate(["epoch", 5]):
        killed(
            made(tmp_path / str(number)), CALLS["one_cycle"], cbs=[Noise(), Checkpoint(every=every), Killer(batch=7)]
        )
        again = made(tmp_path / str(number))
        quiet(again, CALLS["one_cycle"], cbs=[Noise(), Checkpoint(every=every)], resume=True)
        assert_equal(again.model.state_dict(), straight.model.state_dict())


def test_a_table_of_epochs_has_each_epoch_once(tmp_path: Path) -> None:
    killed(made(tmp_path), CALLS["one_cycle"], cbs=[CSVLogger(), Checkpoint(every=3), Killer(valid=2)])
    again, log = made(tmp_path), CSVLogger()
    quiet(again, CALLS["one_cycle"], cbs=[log, Checkpoint(every=3)], resume=True)
    assert log.read_log()["epoch"].tolist() == [0, 1, 2]


def test_what_has_no_form_is_told_before_the_training(tmp_path: Path) -> None:
    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"x": object()}

    learn = made(tmp_path)
    with pytest.raises(CheckpointError):
        quiet(learn, CALLS["one_cycle"], cbs=[Odd(), Checkpoint()])
    assert learn.global_step == 0
    with pytest.raises(ConfigError, match="Two Checkpoints would write in"):
        quiet(learn, CALLS["one_cycle"], cbs=[Checkpoint(), Checkpoint()])
    with pytest.raises(CheckpointError, match="cannot be a checkpoint: File name too long"):
        learn.resume("a" * 300)


def two_calls(folder: Path, kill: Killer | None = None, second: str = "one_cycle") -> Learner:
    """A script with two calls that keep checkpoints."""
    learn = made(folder)
    kills = [] if kill is None else [kill]
    quiet(learn, CALLS["one_cycle"], cbs=[Checkpoint(every=2, keep=1), *kills], resume=True)
    quiet(learn, CALLS[second], cbs=[Checkpoint(every=2, keep=1), *kills], resume=True)
    return learn


@pytest.mark.parametrize("second", ["one_cycle", "fine_tune", "sgdr"])
@pytest.mark.parametrize("kills", [[4], [16], [19], [4, 17, 26]])
def test_a_script_of_two_calls_is_started_again_from_its_top(tmp_path: Path, second: str, kills: list[int]) -> None:
    whole = look(two_calls(tmp_path / "whole", second=second))
    for batch in kills:
        done = [int(path.name.partition("step")[2]) for path in names_in(tmp_path / "models" / "checkpoints")]
        with pytest.raises(Killed):
            two_calls(tmp_path, Killer(batch=batch - max(done, default=0)), second)
    assert_equal(look(two_calls(tmp_path, second=second)), whole)
    assert_equal(look(two_calls(tmp_path, second=second)), whole)  # and once more, when all of it is done
    assert len(names_in(tmp_path / "models" / "checkpoints")) <= 2 + 2  # the end of each, one more and the best


def test_a_call_that_began_later_is_not_taken_for_this_one(tmp_path: Path) -> None:
    first = made(tmp_path)
    quiet(first, CALLS["one_cycle"])  # keeps no checkpoint
    killed(first, CALLS["one_cycle"], cbs=[Checkpoint(every=1), Killer(batch=3)])
    with pytest.raises(
        CheckpointError, match="same call that began when the learner had done 15 steps, and it has done 0"
    ):
        quiet(made(tmp_path), CALLS["one_cycle"], resume=True)


def test_what_a_call_does_last_is_in_its_last_checkpoint(tmp_path: Path) -> None:
    """`keep_best` puts other weights back when the last fit is over."""

    def train(learn: Learner, **more: Any) -> None:
        learn.fine_tune(2, 5.0, freeze_epochs=1, keep_best=True, cached_head=False, **more)  # far too high a rate

    learn = made(tmp_path)
    quiet(learn, train, cbs=Checkpoint())
    newest = read_run(names_in(tmp_path / "models" / "checkpoints")[0])
    assert newest.manifest.finished
    for name, tensor in learn.model.state_dict().items():
        assert torch.equal(tensor, newest.tensors[f"model/{name}"])
    again = made(tmp_path)
    quiet(again, train, resume=True)
    assert_equal(again.model.state_dict(), learn.model.state_dict())


def test_a_failure_at_the_end_of_a_fit_is_not_its_end(tmp_path: Path) -> None:
    class Fails(Callback):
        order = 55

        def after_fit(self, state: TrainState) -> None:
            raise OSError("no room")

    learn = made(tmp_path)
    with pytest.raises(OSError, match="no room"):
        quiet(learn, CALLS["one_cycle"], cbs=[Checkpoint(), Fails()])
    assert not any(read_run(path).manifest.finished for path in names_in(tmp_path / "models" / "checkpoints"))


def test_generators_that_a_beginning_uses_are_put_back(tmp_path: Path) -> None:
    class Draws(Callback):
        """Draws from every generator when a fit and an epoch begin, and keeps what each step drew."""

        def __init__(self) -> None:
            self.drawn: list[float] = []

        def _draw(self) -> list[float]:
            return [np.random.rand(), random.random(), float(torch.rand(()))]

        def before_fit(self, state: TrainState) -> None:
            self._draw()

        def before_epoch(self, state: TrainState) -> None:
            self._draw()

        def before_batch(self, state: TrainState) -> None:
            self.drawn += self._draw()

        def state_dict(self) -> dict[str, Any]:
            return {"drawn": self.drawn}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.drawn = list(state["drawn"])

    def drawn(*others: Callback, **more: Any) -> list[float]:
        np.random.seed(1), random.seed(1)
        draws = Draws()
        quiet(made(tmp_path), CALLS["one_cycle"], cbs=[draws, *others], **more)
        return draws.drawn

    whole = drawn()
    for kill in (Killer(batch=7), Killer(batch=10), Killer(valid=2)):
        folder = tmp_path / f"{kill.batch}-{kill.valid}"
        with pytest.raises(Killed):
            drawn(Checkpoint(every=3, folder=folder), kill)
        assert drawn(Checkpoint(every=3, folder=folder), resume=True) == whole


def test_another_history_does_not_stay_in_the_next_checkpoint(tmp_path: Path) -> None:
    learn = made(tmp_path)
    quiet(learn, CALLS["one_cycle"])
    learn.save("first")
    learn.save_checkpoint(tmp_path / "by hand")
    other = made(tmp_path)
    quiet(other, lambda one: one.fit(4, 1e-3))
    other.load("first")
    found = read_run(other.save_checkpoint(tmp_path / "by hand"))
    assert found.tensors["recorder/epoch_numbers"].tolist() == [
        v for row in learn.recorder.epochs for v in row.values()
    ]


def test_features_that_can_no_longer_be_kept_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = made(tmp_path, bn="eval")
    killed(learn, lambda one, **more: one.fit_head(**more), cbs=[Checkpoint(every=1), Killer(batch=8)])
    monkeypatch.setattr("fastlearn.training.features.free_memory", lambda: 100)
    with pytest.raises(
        CheckpointError, match="was trained on kept features, which now cannot be: the body's features take"
    ):
        quiet(made(tmp_path, bn="eval"), lambda one, **more: one.fit_head(**more), resume=True)


def test_what_a_missing_callback_knew_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed(made(tmp_path), CALLS["one_cycle"], cbs=[Checkpoint(every=1), Killer(batch=8), EMA(0.9)])
    other = made(tmp_path)
    with other.no_bar():
        other.resume(strict=False)
    said = capsys.readouterr().out
    assert "What these callbacks knew is left out, as they are not there or are others now: EMA" in said


def test_metrics_and_the_validation_set_may_be_taken_away(tmp_path: Path) -> None:
    killed(made(tmp_path), CALLS["one_cycle"], cbs=[Checkpoint(every=1), Killer(batch=8)])
    other = made(tmp_path, metrics=None)
    with other.no_bar():
        other.resume(strict=False)
    assert (
        other.recorder.metric_names == ["epoch", "train_loss", "valid_loss", "time"] and len(other.recorder.values) == 3
    )


def test_rates_of_numpy_go_into_a_checkpoint(tmp_path: Path) -> None:
    rates = np.array([1e-3, 1e-2])

    whole = made(tmp_path / "whole")
    quiet(whole, lambda one, **more: one.fit_one_cycle(3, rates, **more))
    killed(
        made(tmp_path),
        lambda one, **more: one.fit_one_cycle(3, rates, **more),
        cbs=[Checkpoint(every=1), Killer(batch=8)],
    )
    learn = made(tmp_path)
    torch.manual_seed(9)
    with learn.no_bar():
        learn.resume()
    assert_equal(look(learn)["weights"], look(whole)["weights"])


def test_a_second_start_in_the_frozen_part_keeps_the_table_of_csv(tmp_path: Path) -> None:
    quiet(made(tmp_path / "whole"), CALLS["fine_tune, pictures"], cbs=CSVLogger())
    killed(made(tmp_path), CALLS["fine_tune, pictures"], cbs=[Checkpoint(every=5), CSVLogger(), Killer(batch=6)])
    quiet(made(tmp_path), CALLS["fine_tune, pictures"], resume=True, cbs=[Checkpoint(every=5), CSVLogger()])
    tables = [(folder / "history.csv").read_text().splitlines() for folder in (tmp_path, tmp_path / "whole")]
    assert [row.rpartition(",")[0] for row in tables[0]] == [row.rpartition(",")[0] for row in tables[1]]


def test_the_best_checkpoint_holds_what_was_measured(tmp_path: Path) -> None:
    class Spoils(Callback):
        """From the second epoch on everything gets worse."""

        def after_validate(self, state: TrainState) -> None:
            state.values["valid_loss"] += state.fit_epoch

    class Seen(Callback):
        order = 900
        only_watches = True

        def after_epoch(self, state: TrainState) -> None:
            self.weights = copy.deepcopy(state.model.state_dict()) if state.fit_epoch == 0 else self.weights

    seen = Seen()
    quiet(made(tmp_path), CALLS["one_cycle"], cbs=[Checkpoint(every=4, keep=1), Spoils(), seen])
    found = [read_run(path) for path in names_in(tmp_path / "models" / "checkpoints")]
    (best,) = (one for one in found if one.manifest.score is not None)
    assert best.state["step"] == STEPS and len(found) == 2
    for name, tensor in seen.weights.items():
        assert torch.equal(best.tensors[f"model/{name}"], tensor)


class Drawing(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Samples that are changed at random, by torch's own loader in this process."""

    def __init__(self) -> None:
        self.samples = samples(8 * STEPS, 0)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x, y = self.samples[i]
        return x + 0.1 * torch.randn(8) + 0.1 * float(np.random.rand()) + 0.1 * random.random(), y


@pytest.mark.parametrize("batch", [1, 3, 5, 7, 10])
def test_a_loader_of_torch_that_draws_goes_on_with_its_next_batch(tmp_path: Path, batch: int) -> None:
    def train(folder: Path, **more: Any) -> dict[str, Any]:
        learn = made(folder)
        loader = torch.utils.data.DataLoader(Drawing(), batch_size=8, shuffle=True)
        learn.dls = DataLoaders(loader, learn.dls.valid, device="cpu")
        np.random.seed(1), random.seed(1)
        quiet(learn, CALLS["one_cycle"], **more)
        seen = look(learn)
        del seen["batches"]
        return seen

    whole = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path, cbs=[Checkpoint(every=1), Killer(batch=batch)])
    np.random.rand(3), random.random()
    assert_equal(train(tmp_path, resume=True), whole)


def test_a_table_of_the_learner_begins_anew_after_a_resumed_call(tmp_path: Path) -> None:
    def three(folder: Path, kill: Killer | None = None) -> None:
        learn = made(folder, cbs=[CSVLogger()])
        for _ in range(3):
            kills = [] if kill is None else [kill]
            quiet(
                learn, lambda one, **more: one.fit_one_cycle(2, **more), cbs=[Checkpoint(every=1), *kills], resume=True
            )

    three(tmp_path / "whole")
    with pytest.raises(Killed):
        three(tmp_path, Killer(batch=18))
    three(tmp_path)
    tables = [(folder / "history.csv").read_text().splitlines() for folder in (tmp_path, tmp_path / "whole")]
    assert [row.rpartition(",")[0] for row in tables[0]] == [row.rpartition(",")[0] for row in tables[1]]
    assert len(tables[0]) == 1 + 2


def test_going_back_says_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learn = made(tmp_path)
    killed(learn, CALLS["one_cycle"], cbs=[Checkpoint(every=1), Killer(batch=7)])
    quiet(learn, lambda one: one.fit(1, 1e-3))
    quiet(learn, CALLS["one_cycle"], resume=True)
    said = capsys.readouterr().out  # the step that was killed is not counted
    assert "Going back to 000008-step7: what the learner did since then, 4 steps, is left out." in said


def test_trainings_from_the_same_start_need_a_folder_each(tmp_path: Path) -> None:
    killed(made(tmp_path), CALLS["sgdr"], cbs=[Checkpoint(every=1), Killer(batch=2)])
    with pytest.raises(
        CheckpointError, match="the call: fit_sgdr.*Trainings that begin at the same step need a folder"
    ):
        quiet(made(tmp_path), CALLS["one_cycle"], resume=True)
