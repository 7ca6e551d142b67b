"""A trained model in one file, loaded and asked without any training code."""

from __future__ import annotations

from fastlearn.export.answers import Prediction as Prediction
from fastlearn.export.load import load_learner as load_learner
from fastlearn.export.model import TrainedModel as TrainedModel
