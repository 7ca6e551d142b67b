"""What batch transforms of pictures are built on: bytes to floats, normalisation, and random draws for each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fastlearn.data.transform import Batch, RowChange, RowTransform
from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, found, named_options

Draw = float | Sequence[float] | Callable[[int], Tensor] | None
Stats = tuple[Sequence[float], Sequence[float]]

imagenet_stats: Stats = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
cifar_stats: Stats = ([0.491, 0.482, 0.447], [0.247, 0.243, 0.261])
mnist_stats: Stats = ([0.131], [0.308])


def on_images(batch: Batch, kinds: tuple[str, ...], change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with `change` made to its pictures."""
    return tuple(
        change(part) if kind == "image" and isinstance(part, Tensor) else part
        for part, kind in zip(batch, kinds, strict=True)
    )


def first_picture(batch: Batch, kinds: tuple[str, ...], of: Sequence[str] = ("image", "mask")) -> Tensor | None:
    """The first picture or mask of the batch, for its size; None if there is none."""
    found = (part for part, kind in zip(batch, kinds, strict=True) if kind in of)
    return next((part for part in found if isinstance(part, Tensor)), None)


def as_floats(images: Tensor) -> Tensor:
    """Bytes as float32 from 0 to 1; floats as they are."""
    return images if images.is_floating_point() else images.float().div_(255)


class IntToFloatTensor(RowTransform):
    """uint8 pictures as float32 from 0 to 1, and uint8 masks as int64; floats stay as they are."""

    order = 10

    def by_rows(self, n: int, part: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> RowChange:
        """Nothing is random."""

        def change(batch: Batch, rows: slice) -> Batch:
            return tuple(
                part.long() if kind == "mask" and isinstance(part, Tensor) else part
                for part, kind in zip(on_images(batch, kinds, as_floats), kinds, strict=True)
            )

        return change

    def __repr__(self) -> str:
        return "IntToFloatTensor()"


class Normalize(RowTransform):
    """(x - mean) / std for each channel; `decode` undoes it for display.

    >>> Normalize.from_stats(*imagenet_stats)
    """

    order = 99

    @named_options
    def __init__(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> None:
        self.mean, self.std = _stats(mean, "mean"), _stats(std, "std")
        if len(self.mean) != len(self.std) or not bool((self.std > 0).all()):
            raise ConfigError(
                f"Normalize(mean={self.mean.tolist()}, std={self.std.tolist()}): expected as many standard deviations "
                "as means, all above 0. Type Normalize.from_stats(*imagenet_stats)."
            )
        self._placed: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @classmethod
    @named_options
    def from_stats(cls, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> Normalize:
        """From one mean and one standard deviation a channel, on the scale of 0 to 1."""
        return cls(mean, std)

    def by_rows(self, n: int, part: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> RowChange:
        """Nothing is random."""
        return lambda batch, rows: on_images(batch, kinds, self._encode)

    def decode(self, batch: Batch, kinds: tuple[str, ...]) -> Batch:
        """The batch with its pictures on the scale of 0 to 1 again."""
        return on_images(batch, kinds, self._decode)

    def _encode(self, images: Tensor) -> Tensor:
        mean, std = self._on(images)
        return images.sub(mean).div_(std)

    def _decode(self, images: Tensor) -> Tensor:
        mean, std = self._on(images)
        return images.mul(std).add_(mean)

    def _on(self, images: Tensor) -> tuple[Tensor, Tensor]:
        channels = len(self.mean)
        if channels not in (1, images.shape[1]):
            raise ConfigError(
                f"Normalize has statistics of {channels} channels, the pictures have {images.shape[1]}. Pass as many "
                "means and standard deviations as channels, or open them with img_cls=PILImage (3) or PILImageBW (1)."
            )
        if images.device not in self._placed:
            mean, std = (stat.to(images.device).view(1, -1, 1, 1) for stat in (self.mean, self.std))
            self._placed[images.device] = mean, std
        return self._placed[images.device]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_placed": {}}

    def __repr__(self) -> str:
        stats = (", ".join(f"{value:.3g}" for value in stat.tolist()) for stat in (self.mean, self.std))
        return "Normalize(mean=[{}], std=[{}])".format(*stats)


def _stats(given: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(given, dtype=torch.float32).reshape(-1).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{name} is a list with one number a channel, not {found(given)}. Type "
            "Normalize.from_stats(*imagenet_stats)."
        ) from error


class RandomTransform(RowTransform):
    """A batch transform that changes a sample with probability `p`, and in training only."""

    def __init__(self, p: float, batch: bool = False) -> None:
        """With `batch`, one draw is used for the whole batch."""
        if not 0 <= checked_number(p, "p", 0.5) <= 1:
            raise ConfigError(f"{type(self).__name__}(p={p!r}): p is a probability, a number from 0 to 1.")
        self.p, self.batch = p, batch

    def chosen(self, n: int, rng: torch.Generator) -> Tensor:
        """(n,) bools: which samples are changed."""
        return self._spread(torch.rand(self._count(n), generator=rng) < self.p, n)

    def uniform(self, n: int, low: float, high: float, rng: torch.Generator, draw: Draw = None) -> Tensor:
        """(n,) numbers between `low` and `high`, or what a user's `draw` says: a number, choices, a function of n."""
        count = self._count(n)
        numbers = torch.rand(count, generator=rng, dtype=torch.float64)
        if callable(draw):
            return torch.as_tensor(draw(n), dtype=torch.float64).expand(n)
        if isinstance(draw, Sequence):
            choices = torch.tensor(list(draw), dtype=torch.float64)
            return self._spread(choices[(numbers * len(choices)).long()], n)
        if draw is not None:
            return torch.full((n,), float(draw), dtype=torch.float64)
        return self._spread(low + (high - low) * numbers, n)

    def _count(self, n: int) -> int:
        return 1 if self.batch else n

    def _spread(self, values: Tensor, n: int) -> Tensor:
        return values.expand(n) if self.batch else values
