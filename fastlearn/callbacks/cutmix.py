"""CutMix: a rectangle of one picture in another."""

from __future__ import annotations

import math

import numpy as np
import torch

from fastlearn.callbacks.mixup import MixCallback
from fastlearn.errors import TrainingError
from fastlearn.options import named_options


class CutMix(MixCallback):
    """Puts a rectangle of a partner's picture into each picture, and mixes the losses by area (Yun et al., 2019).

    The rectangle has the shape of the picture and the share 1 - lam of its area, lam ~ Beta(alpha, alpha), around a
    point drawn evenly; what lies outside is cut off, and lam becomes the share of the picture that is really left.

    >>> learn.fit_one_cycle(10, cbs=CutMix())
    """

    @named_options
    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)

    def mix(
        self, inputs: tuple[torch.Tensor, ...], partner: torch.Tensor, rng: np.random.Generator
    ) -> tuple[tuple[torch.Tensor, ...], float]:
        sizes = {tuple(part.shape[-2:]) for part in inputs if part.ndim >= 4}
        if len(sizes) != 1 or any(part.ndim < 4 for part in inputs):
            shapes = ", ".join(str(tuple(part.shape)) for part in inputs)
            raise TrainingError(
                f"CutMix needs pictures (batch, channels, height, width) of one size, found {shapes}. Try MixUp."
            )
        height, width = sizes.pop()
        rows, columns = _box(height, width, float(rng.beta(self.alpha, self.alpha)), rng)
        mixed = []
        for part in inputs:
            part, source = part.clone(), part
            part[..., rows, columns] = source[partner][..., rows, columns]
            mixed.append(part)
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return tuple(mixed), 1 - area / (height * width)


def _box(height: int, width: int, lam: float, rng: np.random.Generator) -> tuple[slice, slice]:
    side = math.sqrt(1 - lam)
    return _span(height, side, rng), _span(width, side, rng)


def _span(length: int, side: float, rng: np.random.Generator) -> slice:
    half = int(length * side) // 2
    centre = int(rng.integers(length))
    return slice(max(0, centre - half), min(length, centre + half))
