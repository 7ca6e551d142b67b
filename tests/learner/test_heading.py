"""A head that is trained on kept features: the same training, faster; and when it is not, and why."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import assert_same, batches, samples, shuffled, weights
from torch import Tensor, nn

from fastlearn.callbacks.early_stopping import EarlyStoppingCallback
from fastlearn.callbacks.ema import EMA
from fastlearn.callbacks.mixup import MixUp
from fastlearn.callbacks.save_best import SaveModelCallback
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.files import get_image_files
from fastlearn.data.label import parent_label
from fastlearn.data.loaders import DataLoader
from fastlearn.errors import ConfigError, FastlearnError, TrainingError
from fastlearn.learner import Learner
from fastlearn.learner.heading import HEAD_LR, HEAD_STEPS, default_passes
from fastlearn.metrics import accuracy
from fastlearn.runtime.seed import RunKey
from fastlearn.training import features
from fastlearn.training.callback import Callback
from fastlearn.training.features import FeatureLoader
from fastlearn.training.hypers import set_hypers
from fastlearn.training.loop import default_step
from fastlearn.training.optimizer import Adam
from fastlearn.training.schedule import one_cycle
from fastlearn.vision.augment import aug_transforms
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.image import PILImageBW
from fastlearn.vision.learner import vision_learner
from fastlearn.vision.transforms import RandomResizedCrop

DIGITS = Path(__file__).parents[2] / "datasets" / "digits"


def two_parts(model: nn.Sequential) -> list[list[nn.Parameter]]:
    return [list(model[0].parameters()), list(model[1].parameters())]


def body_and_head(dropout: float = 0.3) -> nn.Sequential:
    torch.manual_seed(3)
    body = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU())
    body[1].running_mean.normal_()
    return nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout(dropout), nn.Linear(12, 3)))


def head_learner(dls: Any = None, model: nn.Module | None = None, **options: Any) -> Learner:
    chosen = {"bn": "eval", "seed": 1, "default_cbs": False, "metrics": accuracy, "splitter": two_parts} | options
    model = body_and_head() if model is None else model
    return Learner(shuffled() if dls is None else dls, model, F.cross_entropy, **chosen)


def values(learner: Learner) -> np.ndarray:
    return np.array(learner.recorder.values)


def used(learner: Learner) -> list[Any]:
    """The training loader of each fit from now on."""
    found: list[Any] = []
    learner.on("before_fit")(lambda state: found.append(state.plan.train))
    return found


# The same training


def test_it_is_the_training_that_the_pictures_would_have_given():
    kept, usual = head_learner(), head_learner()
    loaders = used(kept)
    kept.fit_head(3, 0.02)
    usual.freeze()
    usual.fit_one_cycle(3, 0.02)
    assert isinstance(loaders[0], FeatureLoader)
    assert kept.recorder.raw_losses == pytest.approx(usual.recorder.raw_losses, rel=1e-4)
    assert kept.recorder.lrs == usual.recorder.lrs and kept.recorder.metric_names == usual.recorder.metric_names
    assert np.allclose(values(kept), values(usual), rtol=1e-4)
    assert (kept.epoch, kept.global_step) == (usual.epoch, usual.global_step) == (3, 15)


def test_it_is_a_plain_loop_over_features_made_by_hand():
    learner, model = head_learner(model=body_and_head(0.0)), body_and_head(0.0)
    model.eval()
    (x, y), head = (torch.stack(column) for column in zip(*samples(80), strict=True)), model[1]
    with torch.no_grad():
        x = model[0](x)
    head.train()
    norm, linear = head[1], head[3]
    optimizer = Adam([{"params": [norm.weight, norm.bias, linear.bias], "wd": 0.0}, {"params": [linear.weight]}])
    schedule, losses = one_cycle([0.02]), []
    for epoch in range(2):
        order = learner.dls.train.order(RunKey(1, "train", epoch))
        for k in range(5):
            hypers = schedule.hypers((5 * epoch + k) / 10)
            set_hypers(optimizer, lr=hypers["lr"] * 2, mom=hypers["mom"] * 2)
            rows = order[16 * k : 16 * (k + 1)]
            loss = F.cross_entropy(head(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    learner.fit_head(2, 0.02)
    assert learner.recorder.raw_losses == pytest.approx(losses, rel=1e-4)


def test_the_whole_model_is_as_good_as_its_head_was():
    learner = head_learner()
    before = {name: tensor for name, tensor in weights(learner).items() if name.startswith("0.")}
    learner.fit_head(4)
    assert learner.validate() == pytest.approx(learner.recorder.values[-1][1:], rel=1e-5)
    assert_same({name: tensor for name, tensor in weights(learner).items() if name in before}, before)
    assert not any(parameter.requires_grad for parameter in learner.model[0].parameters())
    learner.unfreeze()
    learner.fit(1, 1e-3)
    assert learner.epoch == 5


def test_left_out_it_makes_about_as_many_steps_as_are_enough():
    learner = head_learner()
    learner.fit_head()
    assert len(learner.recorder.losses) == HEAD_STEPS and max(learner.recorder.lrs) == pytest.approx(HEAD_LR, rel=0.01)
    learner.picked_lr = 0.5
    learner.fit_head(1)
    assert learner.epoch == HEAD_STEPS // 5 + 1 and max(learner.recorder.lrs) > 0.4


@pytest.mark.parametrize(("n", "passes"), [(16, 50), (32, 50), (160, 10), (16 * 200, 3)])
def test_passes_by_the_size_of_the_set(n, passes):
    source = DataLoader(range(n), 16, device="cpu")
    made = FeatureLoader(source, features.Features(torch.zeros(n, 1), ()))
    assert default_passes(made) == default_passes(made.with_passes(7)) == passes


def test_callbacks_see_an_ordinary_fit(tmp_path):
    learner = head_learner(path=tmp_path)
    learner.fit_head(30, cbs=[SaveModelCallback(), EarlyStoppingCallback(patience=2, min_delta=1.0)])
    assert learner.epoch == 3
    other = head_learner(path=tmp_path)
    other.load("model")
    assert learner.validate()[0] == pytest.approx(other.validate()[0]) and other.epoch > 0


class Explode(nn.Module):
    """Gives infinities from its tenth batch on."""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * (float("inf") if self.n > 9 else 1.0)


def test_a_layer_of_the_head_that_goes_wrong_is_named():
    model = body_and_head()
    model[1].append(Explode())
    with pytest.raises(TrainingError, match=r"the output of layer '1\.4' \(Explode\) is not finite"):
        head_learner(model=model, default_cbs=True).fit_head()


def test_without_a_validation_set():
    learner = head_learner(DataLoaders(shuffled().train))
    learner.fit_head(2)
    assert len(learner.recorder.values[0]) == 1


@pytest.mark.parametrize(("n", "bs"), [(5, 16), (16, 16), (17, 16), (2, 2)])
def test_small_sets(n, bs):
    dls = DataLoaders(
        DataLoader(samples(n), min(n, bs), shuffle=True, train=True, seed=5, device="cpu"),
        DataLoader(samples(1, seed=1), bs, seed=5, device="cpu"),
    )
    learner = head_learner(dls)
    learner.fit_head(2)
    assert learner.epoch == 2 and np.isfinite(values(learner)).all()


def test_bf16_is_that_of_the_learner():
    learner, seen = head_learner().to_bf16(), []
    learner.on("after_batch")(lambda state: seen.append((state.inputs[0].dtype, state.loss.dtype)))
    learner.fit_head(2, 0.02)
    assert set(seen) == {(torch.bfloat16, torch.float32)}
    assert learner.validate() == pytest.approx(learner.recorder.values[-1][1:], rel=1e-2)


# Pictures


class Stem(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())


def picture_learner(num_workers: int = 0, workers: str = "thread") -> Learner:
    files = sorted(get_image_files(DIGITS / "train"))[::20]
    dls: Any = ImageDataLoaders.from_path_func(
        DIGITS, files, parent_label, valid_pct=0.2, seed=3, bs=16, img_cls=PILImageBW, device="cpu",
        item_tfms=RandomResizedCrop(16, min_scale=0.5), batch_tfms=aug_transforms(do_flip=False),
        num_workers=num_workers,
    )  # fmt: skip
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 10))
    model = nn.Sequential(Stem(), head)
    return head_learner(dls if workers == "thread" else dls.new(workers=workers), model)


def small_net(pretrained: bool = False) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def test_a_pretrained_vision_learner_trains_its_head_so():
    learner = vision_learner(picture_learner().dls, small_net, n_in=1, seed=1, metrics=accuracy)
    loaders = used(learner)
    with learner.no_bar():
        learner.fine_tune(1)
    assert [type(loader) for loader in loaders] == [FeatureLoader, DataLoader]
    assert loaders[0].features.inputs.shape == (learner.dls.train.n, 8)  # maxima and means of four channels


def history_of(learner: Learner) -> dict[str, Any]:
    return {"weights": weights(learner), "recorder": learner.recorder.state_dict()}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    learner = picture_learner()
    learner.fit_head(2, 0.02, views=2)
    return history_of(learner)


@pytest.mark.parametrize(("num_workers", "workers"), [(2, "thread"), (2, "process")])
def test_the_same_seed_gives_the_same_bits_with_any_workers(alone, num_workers, workers):
    learner = picture_learner(num_workers, workers)
    torch.manual_seed(11)
    learner.fit_head(2, 0.02, views=2)
    assert_same(history_of(learner), alone)


def test_other_seeds_and_views_give_other_bits(alone):
    for seed, views in ((2, 2), (1, 1)):
        learner = picture_learner()
        learner.seed = seed
        learner.fit_head(2, 0.02, views=views)
        assert learner.recorder.raw_losses != alone["recorder"]["raw_losses"]


def test_channels_last():
    learner, last = picture_learner(), picture_learner().to_channelslast()
    learner.fit_head(2, 0.02)
    last.fit_head(2, 0.02)
    assert last.recorder.raw_losses == pytest.approx(learner.recorder.raw_losses, rel=1e-4)


# fine_tune


def stories(learner: Learner) -> list[Any]:
    found: list[Any] = []
    learner.on("before_fit")(lambda state: found.append((state.plan.story, len(state.plan.train))))
    return found


@pytest.mark.parametrize("freeze_epochs", [1, 2])
def test_the_frozen_part_of_fine_tune(freeze_epochs):
    learner = head_learner()
    told = stories(learner)
    learner.fine_tune(2, freeze_epochs=freeze_epochs)
    (first, steps), (second, later) = told
    assert first.title == second.title == "fine_tune" and (first.index, second.index) == (0, 1)
    assert first.parts == (("frozen", freeze_epochs), ("unfrozen", 2))
    assert (steps, later) == (HEAD_STEPS // freeze_epochs, 5)
    assert learner.recorder.fits == 1 and learner.epoch == len(learner.recorder.values) == freeze_epochs + 2
    assert learner.global_step == HEAD_STEPS + 10
    assert max(learner.recorder.lrs[:HEAD_STEPS]) == pytest.approx(HEAD_LR, rel=0.01)
    assert max(learner.recorder.lrs[HEAD_STEPS:]) == pytest.approx(1e-3, rel=0.2)


def test_a_rate_that_is_given_to_fine_tune_is_the_heads_too():
    learner = head_learner()
    learner.fine_tune(1, 0.03)
    assert max(learner.recorder.lrs) == pytest.approx(0.03, rel=0.01)


def test_fine_tune_without_a_frozen_part_or_with_the_usual_one():
    learner = head_learner()
    loaders = used(learner)
    learner.fine_tune(1, freeze_epochs=0)
    assert [len(loader) for loader in loaders] == [5, 5] and learner.epoch == 1
    learner, by_hand = head_learner(), head_learner()
    learner.fine_tune(1, cached_head=False)
    by_hand.freeze()
    by_hand.fit_one_cycle(1, slice(2e-3), pct_start=0.99)
    by_hand.unfreeze()
    by_hand.fit_one_cycle(1, slice(1e-5, 1e-3), 5.0, pct_start=0.3)
    assert_same(weights(learner), weights(by_hand))


def along_the_way(learner: Learner) -> list[dict[str, torch.Tensor]]:
    """The weights as each unfrozen training begins, and after each of its steps."""
    found: list[Any] = []

    def note(state: Any) -> None:
        if state.plan.story.index == 1:
            found.append({name: value.detach().clone() for name, value in learner.model.named_parameters()})

    learner.on("before_fit")(note)
    learner.on("after_step")(note)
    return found


def test_fine_tune_ends_with_the_mean_of_the_way_from_a_good_head():
    learner, alone, own = head_learner(), head_learner(), head_learner()
    way, end, owns = along_the_way(learner), along_the_way(alone), along_the_way(own)
    learner.fine_tune(2)
    alone.fine_tune(2, average=False)
    own.fine_tune(2, cbs=EMA(use_at_end=False))
    assert len(way) == 11
    for name, value in learner.model.named_parameters():
        torch.testing.assert_close(value, torch.stack([one[name] for one in way]).mean(0))
    assert_same(dict(alone.model.named_parameters()), end[-1])
    assert_same(dict(own.model.named_parameters()), owns[-1])
    last = learner.recorder.final_value("valid_loss")
    assert learner.validate()[0] == pytest.approx(last, rel=1e-5)  # what was measured is what stays


def test_the_average_can_be_had_without_kept_features_too():
    learner = head_learner()
    way = along_the_way(learner)
    learner.fine_tune(1, cached_head=False, average=True)
    for name, value in learner.model.named_parameters():
        torch.testing.assert_close(value, torch.stack([one[name] for one in way]).mean(0))


@pytest.mark.parametrize("cached_head", [True, False])
def test_depthwise_kernels_of_the_body_stay_on_a_cpu(cached_head):
    picture = nn.Unflatten(1, (1, 2, 3))
    body = nn.Sequential(picture, nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 4, 2, groups=4), nn.ReLU(), nn.Flatten())
    learner = head_learner(model=nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.Linear(8, 3))))
    before = weights(learner)
    learned: list[Any] = []
    learner.on("after_fit")(lambda state: learned.append(body[2].weight.requires_grad))
    learner.fine_tune(1, 0.1, cached_head=cached_head)
    changed = {name for name, value in weights(learner).items() if not torch.equal(value, before[name])}
    assert ("0.2.weight" in changed) is not cached_head and {"0.1.weight", "0.2.bias"} <= changed
    assert learned == [False, not cached_head] and body[2].weight.requires_grad


def test_keeping_the_head_of_a_fine_tune(capsys):
    learner = head_learner()
    heads: list[Any] = []
    learner.on("after_fit")(lambda state: heads.append(weights(learner)))
    learner.fine_tune(1, base_lr=1e-2, lr_mult=1e-5, keep_best=True)
    assert_same(weights(learner), heads[0])
    assert "Kept the weights of the frozen phase" in capsys.readouterr().out


# What is shown


@pytest.mark.parametrize("bar", [True, False])
def test_the_reading_is_shown_picture_by_picture(bar, monkeypatch):
    lines: list[Any] = []

    class Line:
        def __init__(self, total: int, label: str, unit: str, show: bool) -> None:
            self.total, self.show, self.done = total, show, 0
            lines.append(self)

        def __enter__(self) -> Line:
            return self

        def __exit__(self, *_: Any) -> None:
            self.closed = True

        def update(self, n: int) -> None:
            self.done += n

    monkeypatch.setattr("fastlearn.learner.heading.progress_line", Line)
    learner = head_learner()
    if bar:
        learner.fit_head(1, views=2)
    else:
        with learner.no_bar():
            learner.fit_head(1, views=2)
    (line,) = lines
    assert line.done == line.total == 2 * 80 + 40 and line.show is bar and line.closed


# When it is not


def test_a_body_whose_batch_norms_learn(capsys):
    learner = head_learner(bn="train")
    loaders = used(learner)
    learner.fine_tune(1)
    told = capsys.readouterr().out
    assert told == (
        "The head is trained through the whole network: with bn='train' the body's batch norms follow the batches.\n"
    )
    assert not isinstance(loaders[0], FeatureLoader) and learner.epoch == 2
    learner.fit_head()
    assert learner.epoch == 3 and len(learner.recorder.lrs) == 5


class Draws(Callback):
    needs_inputs = True


def hooked(learner: Learner) -> None:
    learner.model[0][0].register_forward_hook(lambda *_: None)


def stepping(learner: Learner) -> None:
    learner.step = lambda state: default_step(state)


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (hooked, {}, "0.0 has a hook, which wants to see every batch"),
        (stepping, {}, "learn.step is your own"),
        (None, {"cbs": MixUp(0.4)}, "MixUp works on the pictures of each batch"),
        (None, {"cbs": [Draws]}, "Draws works on the pictures of each batch"),
    ],
)
def test_what_needs_the_pictures_gets_them(change, options, reason, capsys):
    learner, usual = head_learner(), head_learner()
    for one in (learner, usual):
        if change is not None:
            change(one)
    loaders = used(learner)
    learner.fit_head(2, 0.02, **options)
    assert capsys.readouterr().out == f"The head is trained through the whole network: {reason}.\n"
    assert loaders == [learner.dls.train]
    usual.freeze()
    usual.fit_one_cycle(2, 0.02, **options)
    assert_same(weights(learner), weights(usual))


def test_loaders_of_ones_own(capsys):
    learner = head_learner(DataLoaders(batches(), batches(2, seed=1), device="cpu"))
    learner.fit_head(1)
    assert "only fastlearn's own loaders can be read without random changes" in capsys.readouterr().out


def test_no_room_for_the_features(capsys, monkeypatch):
    monkeypatch.setattr(features, "free_memory", lambda: 1000)
    learner = head_learner()
    learner.fit_head(1)
    assert "(a quarter of the free memory) are for them.\n" in capsys.readouterr().out and learner.epoch == 1


def test_a_model_of_another_shape(capsys):
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = body_and_head()

        def forward(self, x: Tensor) -> Tensor:
            return self.parts(x)

    learner = head_learner(model=Own(), splitter=lambda model: two_parts(model.parts))
    learner.fine_tune(1)
    assert capsys.readouterr().out == ""  # nothing was promised to it
    learner.fit_head(1)
    assert "the model is not a Sequential of two, a body and a head" in capsys.readouterr().out


def test_without_a_bar_nothing_is_said(capsys):
    learner = head_learner(bn="train")
    with learner.no_bar():
        learner.fit_head(1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, "whole number from 0"),
        ({"lr": slice(1e-3)}, "takes one learning rate, for the head"),
        ({"lr": 0.0}, "must be a number above 0"),
        ({"views": 0}, "views=0 of each picture"),
        ({"views": "two"}, "views is a whole number"),
        ({"wd": -1.0}, "wd is the weight decay"),
        ({"moms": (0.9,)}, "three momenta"),
    ],
)
def test_options_that_make_no_sense_change_nothing(options, message):
    learner = head_learner()
    with pytest.raises(FastlearnError, match=message):
        learner.fit_head(**options)
    assert all(parameter.requires_grad for parameter in learner.model.parameters()) and learner.epoch == 0


def test_a_learner_without_a_head():
    learner = Learner(shuffled(), body_and_head(), F.cross_entropy, default_cbs=False)
    with pytest.raises(ConfigError, match="here is one group only. Pass a splitter"):
        learner.fit_head()


class Pressed(nn.Module):
    """Presses Ctrl-C in the midst of the pictures, once."""

    left = 0

    def forward(self, x: Tensor) -> Tensor:
        Pressed.left -= 1
        if Pressed.left == 0:
            signal.raise_signal(signal.SIGINT)
        return x


def test_ctrl_c_while_the_features_are_computed():
    model = body_and_head()
    model[0].append(Pressed())
    learner = head_learner(model=model)
    Pressed.left = 5
    with pytest.raises(KeyboardInterrupt):
        learner.fit_head(2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert learner.epoch == learner.global_step == 0 and learner.recorder.values == []
    learner.fit_head(2, 0.02)
    again = head_learner(model=body_and_head())
    again.fit_head(2, 0.02)
    assert learner.recorder.raw_losses == pytest.approx(again.recorder.raw_losses, rel=1e-6)
