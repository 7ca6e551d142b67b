import warnings

import numpy as np
import pytest
from sklearn.metrics import classification_report, confusion_matrix, precision_recall_fscore_support

from fastlearn.interpret.report import report_text, scores_of_classes, scores_of_labels

RNG = np.random.default_rng(3)
NAMES = ["ant", "bee", "a longer name", "dog"]


def test_scores_of_classes_are_those_of_scikit_learn():
    truth, said = RNG.integers(0, 4, 60), RNG.integers(0, 4, 60)
    scores, means = scores_of_classes(confusion_matrix(truth, said, labels=range(4)))
    expected = precision_recall_fscore_support(truth, said, labels=range(4))
    np.testing.assert_allclose(np.array(scores).T, expected, atol=1e-12)
    assert means["accuracy"] == pytest.approx((truth == said).mean())


def test_a_class_that_is_never_there_or_never_said_counts_as_nought():
    truth, said = np.array([0, 0, 1]), np.array([0, 2, 0])
    scores, _ = scores_of_classes(confusion_matrix(truth, said, labels=range(4)))
    expected = precision_recall_fscore_support(truth, said, labels=range(4), zero_division=0)
    np.testing.assert_allclose(np.array(scores).T, expected)


def test_the_report_reads_as_that_of_scikit_learn():
    truth, said = RNG.integers(0, 4, 300), RNG.integers(0, 4, 300)
    ours = report_text(NAMES, *scores_of_classes(confusion_matrix(truth, said)))
    theirs = classification_report(truth, said, target_names=NAMES)
    assert ours.split() == theirs.split()


def test_the_report_of_labels_reads_as_that_of_scikit_learn():
    truth, said = RNG.random((50, 4)) < 0.4, RNG.random((50, 4)) < 0.3
    truth[0], said[0] = False, False
    ours = report_text(NAMES, *scores_of_labels(truth, said))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = classification_report(truth, said, target_names=NAMES, zero_division=0)
    assert ours.split() == theirs.split()


def test_an_empty_matrix_divides_by_nothing():
    scores, means = scores_of_classes(np.zeros((2, 2), np.int64))
    assert means["accuracy"] == 0 and [score.support for score in scores] == [0, 0]
