"""From a picture to a model's input, the same at prediction as in validation while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlearn.errors import CheckpointError, DataError
from fastlearn.pixels import Fixed, PadMode, ResizeMethod, open_image, resample, to_array

_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_KEYS = ("size", "method", "pad_mode", "mode", "mean", "std")


@dataclass(frozen=True)
class Preprocess:
    """Decode, resize to `size` (height, width) and normalise: everything before the model, as plain values.

    `mean` and `std` are those of each channel for pictures in 0..1; None leaves the pictures in 0..1.
    """

    size: tuple[int, int] | None = None
    method: str = "crop"
    pad_mode: str = "reflection"
    mode: str = "RGB"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def n_channels(self) -> int:
        """The channels of a picture: 1, 3 or 4."""
        return _CHANNELS[self.mode]

    def pixels(self, source: Any) -> np.ndarray:
        """The resized picture as uint8 (channels, height, width). Raises ImageError for what cannot be read."""
        if self.size is None:
            return to_array(open_image(source, self.mode))
        fixed = Fixed(self.size, ResizeMethod.of(self.method))
        image = open_image(source, self.mode, fixed)
        return to_array(resample(image, fixed.box((image.height, image.width)), self.size, PadMode.of(self.pad_mode)))

    def batch(self, sources: Sequence[Any]) -> Tensor:
        """A float batch (batch, channels, height, width), ready for the model."""
        pixels = [self.pixels(source) for source in sources]
        sizes = sorted({picture.shape[1:] for picture in pixels})
        if len(sizes) > 1:
            found = ", ".join(f"{width}x{height}" for height, width in sizes[:5])
            raise DataError(
                f"This model takes pictures in their own size, and these differ ({found}): predict them one by one."
            )
        return self.normalised(torch.from_numpy(np.stack(pixels)))

    def normalised(self, pixels: Tensor) -> Tensor:
        """The model's input for uint8 pixels (batch, channels, height, width) of the right size."""
        scaled = pixels.float().div_(255)
        if self.mean is None or self.std is None:
            return scaled
        shape = (1, -1, 1, 1)
        return scaled.sub_(torch.tensor(self.mean).view(shape)).div_(torch.tensor(self.std).view(shape))

    def to_json(self) -> dict[str, Any]:
        """A dict that `json.dumps` takes."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, found: Any) -> Preprocess:
        """What `to_json` wrote. Raises CheckpointError for anything else."""
        if not isinstance(found, dict) or not set(found) <= set(_KEYS):
            raise CheckpointError(f"The saved preprocessing is not one that this fastlearn knows: {found!r}.")
        values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in found.items()}
        made = cls(**values)
        wrong = made._wrong()
        if wrong:
            raise CheckpointError(f"The saved preprocessing has a {wrong} that cannot be: {getattr(made, wrong)!r}.")
        return made

    def __str__(self) -> str:
        size = "their own size" if self.size is None else f"{self.size[1]}x{self.size[0]}"
        return f"{self.mode} pictures of {size}"

    def _wrong(self) -> str:
        """The name of a value that makes no sense, or nothing."""
        sized = self.size is None or (
            isinstance(self.size, tuple) and len(self.size) == 2 and all(map(_side, self.size))
        )
        channels = _CHANNELS.get(self.mode, 0) if isinstance(self.mode, str) else 0
        tests = {
            "size": sized,
            "method": self.method in [method.value for method in ResizeMethod],
            "pad_mode": self.pad_mode in [mode.value for mode in PadMode],
            "mode": channels > 0,
            "mean": _stats(self.mean, channels) and (self.mean is None) == (self.std is None),
            "std": _stats(self.std, channels) and all(value > 0 for value in self.std or ()),
        }
        return next((name for name, right in tests.items() if not right), "")


def _side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 14


def _stats(values: object, channels: int) -> bool:
    """One number a channel, or one for all, or nothing at all."""
    if values is None:
        return True
    numbers = isinstance(values, tuple) and all(isinstance(value, (int, float)) for value in values)
    return numbers and len(values) in (1, channels)  # type: ignore[arg-type]
