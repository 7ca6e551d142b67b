"""What is checked before any fit."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import make_learner

from fastlearn.errors import ConfigError
from fastlearn.learner.running import check_epochs


def test_numbers_of_epochs():
    assert check_epochs(0) == 0 and check_epochs(np.int64(3)) == 3 and type(check_epochs(np.int64(3))) is int
    for wrong in (-1, 1.0, True, "2", None):
        with pytest.raises(ConfigError, match=r"number of epochs is a whole number from 0"):
            check_epochs(wrong)


def test_a_fit_without_epochs_runs_no_batch():
    learner = make_learner()
    learner.fit(0)
    assert learner.epoch == learner.global_step == 0 and learner.recorder.fits == 1
