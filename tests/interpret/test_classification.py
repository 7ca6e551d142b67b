import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from colours import network
from sklearn.metrics import confusion_matrix
from torch import nn
from torch.utils.data import TensorDataset

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.interpret.base import Interpretation
from fastlearn.interpret.classification import ClassificationInterpretation
from fastlearn.learner import Learner


def test_the_matrix_is_that_of_scikit_learn(learn):
    interp = ClassificationInterpretation.from_learner(learn)
    truth = [f.parent.name for f in learn.dls.valid.items]
    said = [learn.dls.vocab[int(i)] for i in learn.get_preds()[0].argmax(1)]
    expected = confusion_matrix(truth, said, labels=list(learn.dls.vocab))
    np.testing.assert_array_equal(interp.confusion_matrix(), expected)
    assert interp.confusion_matrix().sum() == len(interp) == 15


def test_most_confused_comes_worst_first(learn):
    interp = ClassificationInterpretation.from_learner(learn)
    interp.targs, interp.decoded = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]), torch.tensor([1, 1, 0, 2, 1, 0, 0, 0])
    assert list(learn.dls.vocab) == ["blue", "green", "red"]
    assert interp.most_confused() == [("red", "blue", 3), ("blue", "green", 2), ("green", "red", 1)]
    assert interp.most_confused(min_val=2) == [("red", "blue", 3), ("blue", "green", 2)]


def test_captions_tell_answer_truth_loss_and_probability(learn):
    interp = ClassificationInterpretation.from_learner(learn)
    (axes,) = interp.plot_top_losses(1)
    losses, positions = interp.top_losses(1)
    i = int(positions[0])
    vocab = learn.dls.vocab
    lines = axes.get_title().splitlines()
    assert lines[0] == f"predicted {vocab[int(interp.decoded[i])]}"
    assert lines[1] == f"actual {vocab[int(interp.targs[i])]}"
    assert lines[2] == f"loss {float(losses[0]):.2f}, p {float(interp.preds[i].max()):.2f}"


def test_the_training_set_comes_whole_and_in_order(learn):
    interp = ClassificationInterpretation.from_learner(learn, ds_idx=0)
    assert [learn.dls.vocab[int(t)] for t in interp.targs] == [f.parent.name for f in learn.dls.train.items]


def test_plots_and_report(learn, capsys):
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix(normalize=True, title="Mine", figsize=(4, 4), dpi=50, norm_dec=1)
    axes = plt.gca()
    assert axes.get_title() == "Mine" and axes.figure.dpi == 50
    interp.print_classification_report()
    shown = capsys.readouterr().out
    assert "weighted avg" in shown and "green" in shown
    assert interp.scores()["red"].support == 5


def test_classes_that_are_not_words(learn, capsys):
    interp = ClassificationInterpretation.from_learner(learn)
    interp.vocab = [False, True, 3]
    interp.plot_confusion_matrix()
    assert [label.get_text() for label in plt.gca().get_xticklabels()] == ["False", "True", "3"]
    interp.print_classification_report()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:5]] == ["False", "True", "3"]


def loaders(targets, n=8):
    data = TensorDataset(torch.randn(n, 3, 16, 16), targets)
    return DataLoaders(*[torch.utils.data.DataLoader(data, 4)] * 2)


def test_loaders_of_torch():
    torch.manual_seed(0)
    learn = Learner(loaders(torch.randint(3, (8,))), network(), nn.CrossEntropyLoss(), default_cbs=False, seed=0)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.classes == [0, 1, 2] and interp.confusion_matrix().sum() == 8
    with pytest.raises(ConfigError, match="cannot be drawn"):
        interp.plot_top_losses(2)
    with pytest.raises(ConfigError, match="cannot be listed"):
        interp.top_losses(2, items=True)
    assert len(Interpretation.from_learner(learn, dl=[learn.dls.one_batch()])) == 4


def test_several_labels_have_a_report_but_no_matrix(capsys):
    targets = (torch.arange(24).reshape(8, 3) % 2).float()
    learn = Learner(loaders(targets), network(), nn.BCEWithLogitsLoss(), default_cbs=False, seed=0)
    interp = ClassificationInterpretation.from_learner(learn)
    interp.print_classification_report()
    assert "samples avg" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="one class a sample"):
        interp.plot_confusion_matrix()
    with pytest.raises(ConfigError, match="one class a sample"):
        interp.most_confused()


def test_numbers_have_top_losses_but_no_classes():
    learn = Learner(loaders(torch.randn(8, 1)), network(1), nn.MSELoss(), default_cbs=False, seed=0)
    assert len(Interpretation.from_learner(learn).top_losses(3)[0]) == 3
    with pytest.raises(ConfigError, match="no classes to confuse"):
        ClassificationInterpretation.from_learner(learn)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda interp: interp.top_losses(3, largest="yes"), "largest is True or False, not 'yes'"),
        (lambda interp: interp.top_losses(True), "a whole number of samples from 1, not k=True"),
        (lambda interp: interp.from_learner(Learner, act=3), "act is a function, not 3"),
        (lambda interp: interp.most_confused("2"), "min_val is a number such as 2, not '2'"),
        (lambda interp: interp.plot_confusion_matrix(figsize=12), r"Type figsize=\(12, 12\)"),
        (lambda interp: interp.plot_confusion_matrix(dpi="x"), "dpi is a number such as 100, not 'x'"),
        (lambda interp: interp.plot_confusion_matrix(normalize=True, norm_dec=-1), "how many digits .* from 0, not -1"),
        (lambda interp: interp.show_results("x"), r"positions of samples, such as range\(9\), not 'x'"),
    ],
)
def test_options_of_a_wrong_sort(learn, call, message):
    with pytest.raises(ConfigError, match=message):
        call(ClassificationInterpretation.from_learner(learn))
