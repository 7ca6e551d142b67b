"""From a picture to a model's input, the same at prediction as in validation while training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fastlearn.errors import CheckpointError
from fastlearn.pixels import PadMode, ResizeMethod, fit_box, open_image, resample, to_array


@dataclass(frozen=True)
class Preprocess:
    """Decode, resize to `size` (height, width) and normalise: everything before the model, as plain values.

    `mean` and `std` are those of each channel for pixels in 0..1; None leaves the pixels in 0..1.
    """

    size: tuple[int, int] | None = None
    method: str = "crop"
    pad_mode: str = "reflection"
    mode: str = "RGB"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def pixels(self, source: Any) -> np.ndarray:
        """The resized picture as uint8 (channels, height, width). Raises ImageError for what cannot be read."""
        image = open_image(source, self.mode)
        if self.size is not None:
            box = fit_box((image.height, image.width), self.size, ResizeMethod.of(self.method))
            image = resample(image, box, self.size, PadMode.of(self.pad_mode))
        return to_array(image)

    def batch(self, sources: list[Any]) -> torch.Tensor:
        """A float batch (batch, channels, height, width), ready for the model."""
        stacked = torch.from_numpy(np.stack([self.pixels(source) for source in sources])).float().div_(255)
        if self.mean is None or self.std is None:
            return stacked
        shape = (1, -1, 1, 1)
        return (stacked - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)

    def to_json(self) -> dict[str, Any]:
        """A dict that `json.dumps` takes."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Preprocess:
        """What `to_json` wrote. Raises CheckpointError for anything else."""
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise CheckpointError(f"The saved preprocessing is not one that this fastlearn knows: {error}.") from error
