"""A drawn picture and the answer that is expected for it, by which a loaded model checks itself.

It is drawn and not taken from the data: a model is given away more freely than the pictures that it learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastlearn.errors import CheckpointError
from fastlearn.export.answers import Answers
from fastlearn.runtime.tensor_bytes import load_tensors, save_tensors

TOLERANCE = 1e-4  # of a probability, or of the largest of larger numbers; other processors differ by some 1e-6
_CANDIDATES = 8


@dataclass(frozen=True)
class Sample:
    """`pixels`: uint8 (1, channels, height, width), resized already. `expected`: probabilities, float32 (1, n_out)."""

    pixels: Tensor
    expected: Tensor

    def to_bytes(self) -> bytes:
        """Both as safetensors."""
        return save_tensors({"pixels": self.pixels, "expected": self.expected}, {})

    @classmethod
    def from_bytes(cls, data: bytes, what: str) -> Sample:
        """What `to_bytes` wrote. Raises CheckpointError for anything else."""
        tensors, _ = load_tensors(data, what)
        pixels, expected = tensors.get("pixels"), tensors.get("expected")
        if pixels is None or expected is None or len(tensors) != 2:
            raise CheckpointError(f"{what} holds {', '.join(sorted(tensors))}. Expected pixels and expected.")
        shapes = (pixels.ndim, expected.ndim, len(pixels) if pixels.ndim else 0, len(expected) if expected.ndim else 0)
        if shapes != (4, 2, 1, 1) or (pixels.dtype, expected.dtype) != (torch.uint8, torch.float32):
            raise CheckpointError(f"{what} is no picture with an answer: {_told(pixels)} and {_told(expected)}.")
        return cls(pixels, expected)

    def difference(self, found: Tensor) -> float:
        """How far an answer (1, n_out) is from the expected one, where 1e-4 is close; infinite if it is NaN."""
        if found.shape != self.expected.shape:
            return float("inf")
        far = (found - self.expected).abs().max() / self.expected.abs().max().clamp(min=1)
        return float(far) if bool(far.isfinite()) else float("inf")


def drawn_pictures(n_channels: int, size: tuple[int, int]) -> Tensor:
    """Some soft patches of colour, always the same: uint8 (8, channels, height, width)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(_CANDIDATES, n_channels, 5, 5, generator=generator)
    return F.interpolate(coarse, size, mode="bicubic").clamp_(0, 1).mul_(255).round_().byte()


def drawn_sample(predict: Callable[[Tensor], Tensor], answers: Answers, pictures: Tensor) -> Sample:
    """The picture whose answer is the least sure, as a sure one would hide a difference, with that answer.

    `predict` takes pixels (n, channels, height, width) and gives probabilities (n, n_out).
    """
    found = predict(pictures)
    unsure = (found * (1 - found)).sum(1) if answers.task != "regression" else found.new_zeros(len(found))
    chosen = int(unsure.argmax())
    return Sample(pictures[chosen : chosen + 1].clone(), found[chosen : chosen + 1].clone())


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
