"""Whole trainings: precision, formats, interrupts, workers, phases."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import Chaining, assert_same, batches, everything, halves, make_learner, shuffled, small_net, weights
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.files import get_image_files
from fastlearn.data.label import parent_label
from fastlearn.errors import ConfigError, FastlearnError
from fastlearn.learner import Learner
from fastlearn.metrics import accuracy
from fastlearn.training.callback import Callback
from fastlearn.training.optimizer import SGD
from fastlearn.vision.augment import Normalize, aug_transforms
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.image import PILImageBW
from fastlearn.vision.transforms import RandomResizedCrop

DIGITS = Path(__file__).parents[2] / "datasets" / "digits"


# Pictures


def picture_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 10),
    )  # fmt: skip


def digits(num_workers: int, workers: str = "thread") -> DataLoaders:
    files = sorted(get_image_files(DIGITS / "train"))[::20]
    dls = ImageDataLoaders.from_path_func(
        DIGITS, files, parent_label, valid_pct=0.2, seed=3, bs=16, img_cls=PILImageBW, device="cpu",
        item_tfms=RandomResizedCrop(16, min_scale=0.5),
        batch_tfms=[*aug_transforms(do_flip=False), Normalize((0.5,), (0.25,))],
        num_workers=num_workers,
    )  # fmt: skip
    return dls if workers == "thread" else dls.new(workers=workers)


def digit_learner(dls: DataLoaders, **options) -> Chaining:
    return Chaining(dls, picture_net(), metrics=accuracy, seed=1, default_cbs=False, **options)


def history_of(learner: Learner) -> dict:
    return {"weights": weights(learner), "recorder": learner.recorder.state_dict(), "preds": learner.get_preds()[0]}


@pytest.fixture(scope="module")
def alone() -> dict:
    return history_of(digit_learner(digits(0)).fit_one_cycle(2, 0.02))


@pytest.mark.parametrize(("num_workers", "workers"), [(0, "thread"), (2, "thread"), (2, "process")])
def test_the_same_seed_gives_the_same_bits_with_any_workers(alone, num_workers, workers):
    learner = digit_learner(digits(num_workers, workers))
    for seed in (random.seed, np.random.seed, torch.manual_seed):  # nothing depends on these
        seed(num_workers + 10)
    assert_same(history_of(learner.fit_one_cycle(2, 0.02)), alone)


def test_another_seed_gives_other_bits(alone):
    learner = digit_learner(digits(0))
    learner.seed = 2
    learner.fit_one_cycle(2, 0.02)
    assert not torch.equal(learner.model[0].weight, alone["weights"]["0.weight"])


def test_lr_find_on_pictures_changes_nothing(alone):
    learner = digit_learner(digits(2))
    learner.lr_find(num_it=12, show_plot=False)
    assert_same(history_of(learner.fit_one_cycle(2, 0.02)), alone)


def test_predict_answers_for_one_picture():
    learner = digit_learner(digits(0)).fit(1, 0.01)
    path = learner.dls.valid_ds.items[0]
    label, index, probabilities = learner.predict(path)
    assert label == learner.dls.vocab[int(index)] and probabilities.shape == (10,)
    expected, _ = learner.get_preds()
    assert torch.allclose(probabilities, expected[0], atol=1e-5) and float(probabilities.sum()) == pytest.approx(1)


def test_outputs_that_disagree_with_the_classes():
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 7))
    with pytest.raises(ConfigError, match=r"The model has 7 outputs, but the data have 10 classes.*n_out=10"):
        Learner(digits(0), model, default_cbs=False).fit(1)


def test_a_metric_for_another_task_is_refused_with_the_learner():
    from fastlearn.metrics import accuracy_multi

    with pytest.raises(ConfigError, match="accuracy"):
        Learner(digits(0), picture_net(), metrics=accuracy_multi)


# Precision and memory format


def conv_learner(**options) -> Chaining:
    generator = torch.Generator().manual_seed(0)
    pairs = [(torch.randn(8, 1, 12, 12, generator=generator), torch.arange(8) % 10) for _ in range(4)]
    dls = DataLoaders(pairs, pairs[:1], device="cpu")
    return Chaining(dls, picture_net(), F.cross_entropy, seed=1, default_cbs=False, **options)


def test_channels_last_trains_to_the_same_weights():
    # SGD, because Adam blows the rounding of a bias before a batch norm up to its full rate.
    plain, last = conv_learner(opt_func=SGD).fit(3, 0.01), conv_learner(opt_func=SGD).to_channelslast()
    given = []
    last.on("before_batch")(lambda state: given.append(state.inputs[0]))
    last.fit(3, 0.01)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in given)
    assert last.model[3].weight.is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(last.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    back = last.to_channelslast(False)
    assert back.model[3].weight.is_contiguous() and back.channels_last is False


def test_bf16_trains_every_parameter_and_keeps_them_in_fp32():
    learner, seen = conv_learner().to_bf16(), []
    before = weights(learner)
    learner.on("after_batch")(lambda state: seen.append((state.phase, state.outputs.dtype, state.loss.dtype)))
    learner.fit(1, 0.01)
    assert seen[0] == ("train", torch.bfloat16, torch.float32) and seen[-1] == ("valid", torch.float32, torch.float32)
    for name, parameter in learner.model.named_parameters():
        assert parameter.dtype == torch.float32 and not torch.equal(parameter, before[name]), name
    full = conv_learner().fit(1, 0.01)
    assert learner.recorder.losses == pytest.approx(full.recorder.losses, rel=0.02)


@pytest.mark.parametrize("event", ["before_batch", "after_backward", "after_batch"])
def test_an_error_in_the_middle_of_a_bf16_fit_leaks_no_autocast(event):
    learner = make_learner().to_bf16()

    class Fails(Callback):
        pass

    setattr(Fails, event, lambda self, state: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learner.fit(1, 0.01, cbs=Fails())
    assert not torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
    assert (torch.randn(2, 2) @ torch.randn(2, 2)).dtype == torch.float32
    learner.loss_func = lambda outputs, targets: 1 / 0
    with pytest.raises(ZeroDivisionError):
        learner.fit(1, 0.01)
    assert not torch.is_autocast_enabled("cpu")
    learner.loss_func = F.cross_entropy
    learner.fit(1, 0.01)


# Interrupts


class Press(Callback):
    """Presses Ctrl-C at an event when a test of the state holds."""

    def __init__(self, event: str, when=lambda state: True) -> None:
        self.event, self.when = event, when

    def _press(self, event, state):
        if event == self.event and self.when(state):
            os.kill(os.getpid(), signal.SIGINT)

    def before_batch(self, state):
        self._press("before_batch", state)

    def after_validate(self, state):
        self._press("after_validate", state)

    def after_epoch(self, state):
        self._press("after_epoch", state)

    def after_fit(self, state):
        self._press("after_fit", state)


def usable(learner: Learner) -> None:
    """The learner trains, validates and predicts as one that was never interrupted."""
    epoch = learner.epoch
    learner.fit(1, 0.01)
    assert learner.epoch == epoch + 1 and np.isfinite(learner.validate()).all() and len(learner.get_preds()[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_validation():
    learner = make_learner(metrics=accuracy, dls=shuffled())
    with pytest.raises(KeyboardInterrupt):
        learner.fit(3, 0.01, cbs=Press("before_batch", lambda state: not state.training))
    assert learner.global_step == len(learner.recorder.losses) == 5 and learner.recorder.values == []
    trained = make_learner(dls=shuffled()).fit(1, 0.01)
    assert_same(weights(learner), weights(trained))
    usable(learner)


@pytest.mark.parametrize("event", ["after_validate", "after_epoch", "after_fit"])
def test_ctrl_c_while_the_last_epoch_ends_is_not_lost(event):
    learner = make_learner()
    with pytest.raises(KeyboardInterrupt):
        learner.fit(1, 0.01, cbs=Press(event))
    assert (learner.epoch, len(learner.recorder.values)) == (1, 1)
    usable(learner)


def test_ctrl_c_between_the_phases_of_fine_tune():
    learner = make_learner(splitter=halves)
    with pytest.raises(KeyboardInterrupt):
        learner.fine_tune(2, cbs=Press("after_epoch"))
    assert learner.epoch == 1
    usable(learner)
    learner.fit(1, 0.01)
    assert learner.recorder.history()["fit"].nunique() == 3  # the story of the fine-tuning is over


def test_ctrl_c_in_validate_leaves_modes():
    learner = make_learner()
    learner.fit(1, 0.01)
    learner.model.train()
    with pytest.raises(KeyboardInterrupt):
        learner.validate(cbs=Press("before_batch"))
    assert learner.model.training
    usable(learner)


def test_the_original_error_is_raised_though_on_exception_fails_too():
    class Fails(Callback):
        def on_exception(self, state):
            raise ValueError("in the handler")

    class Sees(Callback):
        seen = None

        def on_exception(self, state):
            self.seen = state.error

    sees, error = Sees(), ZeroDivisionError("first")

    class Raises(Callback):
        def after_batch(self, state):
            raise error

    with pytest.raises(ZeroDivisionError, match="first") as caught:
        make_learner().fit(1, 0.01, cbs=[Fails(), sees, Raises()])
    assert sees.seen is error
    assert "Fails.on_exception failed with ValueError: in the handler" in caught.value.__notes__[0]


# Phases


def test_fine_tune_with_a_rate_that_makes_no_sense_changes_nothing():
    learner = make_learner(splitter=halves)
    learner.create_opt()
    before = everything(learner)
    bad = [{"base_lr": -1.0}, {"base_lr": float("nan")}, {"freeze_epochs": -1}, {"lr_mult": 0}, {"pct_start": 2}]
    for options in bad:
        with pytest.raises(FastlearnError):
            learner.fine_tune(1, **options)
        assert_same(everything(learner), before)
    with pytest.raises(FastlearnError):
        learner.fine_tune(-1)
    assert_same(everything(learner), before)


def test_keeping_the_better_phase(capsys):
    learner = make_learner(splitter=halves)
    head = {}
    learner.on("after_fit")(lambda state: head.setdefault("weights", weights(learner)))
    learner.fine_tune(1, base_lr=1e-4, lr_mult=1e-6, keep_best=True)  # the second phase leaps away
    assert_same(weights(learner), head["weights"])
    assert "Kept the weights of the frozen phase" in capsys.readouterr().out


def test_keeping_the_better_phase_needs_a_validation_set():
    learner = make_learner(splitter=halves, dls=DataLoaders(batches(), device="cpu"))
    with pytest.raises(ConfigError, match="validation"):
        learner.fine_tune(1, keep_best=True)


def test_starting_at_a_later_epoch_goes_on_with_the_schedule():
    whole, rest = make_learner(), make_learner()
    whole.fit_one_cycle(4, 0.01)
    rest.fit_one_cycle(4, 0.01, start_epoch=2)
    assert rest.recorder.lrs == whole.recorder.lrs[10:] and rest.global_step == 10


def test_lr_find_looks_before_it_trains():
    given = batches()
    given[0][1][0] = 9
    with pytest.raises(FastlearnError, match="out of range"):
        make_learner(dls=DataLoaders(given, device="cpu")).lr_find()
    with pytest.raises(ConfigError, match="no batch"):
        make_learner(dls=DataLoaders([], device="cpu")).lr_find()


def test_dropout_of_small_net_takes_part():
    with_dropout, without = (make_learner(small_net(p)).fit(1, 0.01) for p in (0.5, 0.0))
    assert not torch.equal(with_dropout.model[0].weight, without.model[0].weight)
