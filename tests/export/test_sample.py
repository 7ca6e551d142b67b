"""The sample that a model checks itself by."""

from __future__ import annotations

import pytest
import torch

from fastlearn.errors import CheckpointError, DamagedFileError
from fastlearn.export.answers import Answers
from fastlearn.export.sample import Sample, drawn_pictures, drawn_sample
from fastlearn.runtime.tensor_bytes import save_tensors

PIXELS, EXPECTED = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.tensor([[0.25, 0.75]])


def test_pictures_are_always_the_same_and_differ() -> None:
    state = torch.random.get_rng_state()
    one, other = drawn_pictures(3, (20, 30)), drawn_pictures(3, (20, 30))
    assert torch.equal(one, other) and one.shape == (8, 3, 20, 30) and one.dtype == torch.uint8
    assert len({picture.numpy().tobytes() for picture in one}) == 8 and one.float().std() > 20
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_least_sure_answer_is_taken() -> None:
    probabilities = torch.tensor([[0.99, 0.01], [0.6, 0.4], [0.9, 0.1]])
    pictures = drawn_pictures(1, (4, 4))[:3]
    answers = Answers("classification", "softmax", 2, ("a", "b"))
    sample = drawn_sample(lambda pixels: probabilities, answers, pictures)
    assert torch.equal(sample.pixels, pictures[1:2]) and torch.equal(sample.expected, probabilities[1:2])


def test_there_and_back() -> None:
    found = Sample.from_bytes(Sample(PIXELS, EXPECTED).to_bytes(), "it")
    assert torch.equal(found.pixels, PIXELS) and torch.equal(found.expected, EXPECTED)


def test_the_difference() -> None:
    sample = Sample(PIXELS, EXPECTED)
    assert sample.difference(EXPECTED + torch.tensor([[0.0, 0.125]])) == 0.125
    assert sample.difference(EXPECTED * float("nan")) == sample.difference(EXPECTED[:, :1]) == float("inf")
    assert Sample(PIXELS, EXPECTED * 1000).difference(EXPECTED * 1000 + 75) == pytest.approx(0.1)  # 75 of 750


@pytest.mark.parametrize(
    "tensors",
    [
        {"pixels": PIXELS},
        {"pixels": PIXELS, "expected": EXPECTED, "more": EXPECTED},
        {"pixels": PIXELS[0], "expected": EXPECTED},
        {"pixels": PIXELS, "expected": EXPECTED.double()},
        {"pixels": PIXELS.float(), "expected": EXPECTED},
        {"pixels": PIXELS[:0], "expected": EXPECTED[:0]},
        {"pixels": torch.tensor(1), "expected": torch.tensor(1.0)},
    ],
)
def test_another_thing_is_refused(tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(CheckpointError, match="^it "):
        Sample.from_bytes(save_tensors(tensors), "it")


def test_no_tensors_at_all() -> None:
    with pytest.raises(DamagedFileError, match="^it is damaged"):
        Sample.from_bytes(b"nonsense that is no header", "it")
