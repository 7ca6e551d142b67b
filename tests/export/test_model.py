"""A loaded model: batches, and answers that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import PICTURE
from torch import Tensor

from fastlearn.errors import CheckpointError, ConfigError, DataError, ImageError
from fastlearn.export import TrainedModel, load_learner
from fastlearn.export.answers import Answers
from fastlearn.export.card import Card
from fastlearn.export.preprocess import Preprocess


def of(run: object) -> TrainedModel:
    answers = Answers("classification", "softmax", 2, ("cat", "dog"))
    card = Card(answers=answers, architecture=None, preprocess={})
    return TrainedModel(run, Preprocess(size=(8, 8)), answers, card)  # type: ignore[arg-type]


def test_several_at_a_time_answer_as_one_by_one(bundle: Path) -> None:
    model = load_learner(bundle)
    pictures = [np.roll(PICTURE, 7 * k, 1) for k in range(5)]
    together = model.predict_batch(pictures, bs=2)
    for picture, answer in zip(pictures, together, strict=True):
        torch.testing.assert_close(answer.probabilities, model.predict(picture).probabilities, rtol=0, atol=1e-6)
        assert not answer.probabilities.requires_grad


def test_the_size_of_a_batch_is_kept() -> None:
    sizes = []

    def run(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return torch.zeros(len(batch), 2)

    assert len(of(run).predict_batch([PICTURE] * 5, bs=2)) == 5 and sizes == [2, 2, 1]


def test_no_picture(bundle: Path) -> None:
    with pytest.raises(DataError, match="no picture to predict"):
        load_learner(bundle).predict_batch([])
    with pytest.raises(ConfigError, match="sources is a list of pictures"):
        load_learner(bundle).predict_batch("cat.jpg")
    with pytest.raises(ImageError, match="There is no file"):
        load_learner(bundle).predict(bundle.with_name("cat.jpg"))
    with pytest.raises(ConfigError, match="bs"):
        load_learner(bundle).predict_batch([PICTURE], bs=0)


def test_spoiled_weights_give_no_answer() -> None:
    model = of(lambda batch: torch.full((len(batch), 2), float("nan")))
    with pytest.raises(CheckpointError, match="answers with NaN"):
        model.predict(np.zeros((8, 8, 3), np.uint8))


def test_outputs_that_fit_no_labels() -> None:
    model = of(lambda batch: torch.zeros(len(batch), 5))
    with pytest.raises(CheckpointError, match=r"gives \(1, 5\), expected \(1, 2\)"):
        model.predict(np.zeros((8, 8, 3), np.uint8))
