from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from tiny import batches, make_learner

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import TrainingError
from fastlearn.training.lr_find import LRFinderResult
from fastlearn.training.lr_suggest import Suggestion
from fastlearn.training.plots import plot_lr_find
from fastlearn.training.recorder import Recorder


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def trained():
    learner = make_learner()
    learner.fit_one_cycle(4, 0.01)
    learner.lr_find(show_plot=False, suggest_funcs=("valley", "slide"))
    return learner.recorder


def curves(ax: Axes) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines}


def test_losses(trained):
    ax = trained.plot_loss(skip_start=2)
    lines = curves(ax)
    assert lines["train (smoothed)"] == trained.losses[2:] and lines["valid"] == [row[1] for row in trained.values]
    assert list(ax.lines[-1].get_xdata()) == trained.iters == [5, 10, 15, 20]
    assert ax.get_xlabel() == "batch" and ax.get_yscale() == "linear"


def test_losses_on_given_axes_logarithmic_and_without_validation(trained):
    ax = plt.subplots()[1]
    assert trained.plot_loss(ax=ax, log=True, with_valid=False) is ax
    assert ax.get_yscale() == "log" and "valid" not in curves(ax)


def test_a_short_fit_is_drawn_whole():
    learner = make_learner(dls=DataLoaders(batches(3), device="cpu"))
    learner.fit(1, 0.01)
    assert len(curves(learner.recorder.plot_loss())["train (smoothed)"]) == 3


def test_batches_are_whole_numbers(trained):
    for ax in (trained.plot_loss(), *trained.plot_sched()):
        assert all(tick == int(tick) for tick in ax.get_xticks())


def test_schedule(trained):
    lr, mom = trained.plot_sched()
    assert list(lr.lines[0].get_ydata()) == trained.lrs and list(mom.lines[0].get_ydata()) == trained.moms
    assert (lr.get_ylabel(), mom.get_ylabel()) == ("learning rate", "momentum")
    (only,) = trained.plot_sched(keys=["lr"], figsize=(3, 2))
    assert only.figure.get_size_inches().tolist() == [3, 2]
    with pytest.raises(TrainingError, match=r"No hyperparameter 'moms'.*Did you mean 'mom'"):
        trained.plot_sched(keys=["moms"])


def test_the_curve_of_the_finder_marks_its_suggestions(trained):
    ax = trained.plot_lr_find()
    assert ax.get_xscale() == "log"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [label.split()[0] for label in labels] == ["valley", "slide"]
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    assert [mark.get_xdata()[0] for mark in marks] == [s.lr for s in trained.lr_finder.suggestions.values()]


@pytest.mark.parametrize("tail", [[float("inf")], [float("nan")], [float("inf")] * 30, []])
def test_a_curve_that_ends_in_infinity_is_drawn(tail):
    losses = [2.0 - 0.01 * i for i in range(40)] + tail
    lrs = [1e-5 * 1.2**i for i in range(len(losses))]
    result = LRFinderResult(lrs, losses, losses, {"valley": Suggestion(lrs[20], losses[20])}, 100, "early")
    low, high = plot_lr_find(result).get_ylim()
    assert low < 1.61 and 2 < high < 3


def test_all_losses_infinite():
    result = LRFinderResult([1e-5, 1e-4], [float("inf")] * 2, [float("inf")] * 2)
    assert plot_lr_find(result).get_xlabel() == "learning rate"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        ("plot_loss", "nothing to plot yet. Train first"),
        ("plot_sched", "no schedule yet. Train first"),
        ("plot_lr_find", r"no learning-rate curve yet. Type learn.lr_find\(\)"),
    ],
)
def test_nothing_to_draw_yet(draw, message):
    with pytest.raises(TrainingError, match=message):
        getattr(Recorder(), draw)()
