"""A trained model as a folder: `model.safetensors` for the weights, `model.json` for all that rebuilds it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastlearn.arch.models import ArchSpec
from fastlearn.errors import CheckpointError, DataError
from fastlearn.export.preprocess import Preprocess

FORMAT = 1
_WEIGHTS, _CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Prediction:
    """One picture's answer: the label, its index in the vocabulary, and the probability of every class."""

    label: str
    index: int
    probabilities: torch.Tensor


@dataclass(frozen=True)
class TrainedModel:
    """A model that predicts, without the code that trained it."""

    model: nn.Module
    vocab: tuple[str, ...]
    preprocess: Preprocess

    def predict(self, source: Any) -> Prediction:
        """The answer for one picture: a path, bytes, a Pillow image or an array."""
        return self.predict_batch([source])[0]

    @torch.inference_mode()
    def predict_batch(self, sources: Sequence[Any]) -> list[Prediction]:
        """The answers for several pictures, in their order; ImageError names one that cannot be read."""
        if not sources:
            raise DataError("There is no picture to predict.")
        probabilities = self.model(self.preprocess.batch(list(sources))).softmax(1)
        best = probabilities.argmax(1).tolist()
        return [Prediction(self.vocab[i], i, row) for i, row in zip(best, probabilities, strict=True)]


def write_model_folder(
    folder: str | os.PathLike[str], model: nn.Module, spec: ArchSpec, vocab: Sequence[Any], preprocess: Preprocess,
    training: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write a classifier; `training` is any JSON that tells how it came about. Returns the folder."""
    from safetensors.torch import save_file

    folder = Path(folder)
    card = {
        "format": FORMAT,
        "task": "classification",
        "architecture": spec.to_json(),
        "vocab": [str(label) for label in vocab],
        "preprocess": preprocess.to_json(),
        "training": training or {},
    }
    text = json.dumps(card, indent=2, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        # The card goes last: a folder with a card is a whole one.
        _replace(folder / _WEIGHTS, lambda temp: save_file(weights, temp))
        _replace(folder / _CARD, lambda temp: temp.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"Cannot write the model to {folder}: {error.strerror or error}.") from error
    return folder


def load_model_folder(folder: str | os.PathLike[str]) -> TrainedModel:
    """The model that `write_model_folder` wrote; nothing in the folder is run. Raises CheckpointError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / _CARD).is_file() or not (folder / _WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder} is no model folder: it should hold {_CARD} and {_WEIGHTS}. `fastlearn train PATH` writes one."
        )
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        weights = load_file(folder / _WEIGHTS)
    except (ValueError, OSError, SafetensorError) as error:
        raise CheckpointError(f"The model in {folder} is damaged: {error}.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise CheckpointError(f"{folder / _CARD} has format {found!r}; this fastlearn reads {FORMAT}.")
    try:
        spec, vocab = ArchSpec.from_json(card["architecture"]), tuple(str(label) for label in card["vocab"])
        preprocess = Preprocess.from_json(card["preprocess"])
        model = spec.build(pretrained=False)
        model.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"The model in {folder} does not fit its description: {error}.") from error
    return TrainedModel(model.eval(), vocab, preprocess)


def _replace(path: Path, write: Any) -> None:
    """Write beside `path`, then put it in place at once."""
    temp = path.with_name(f".{path.name}.tmp")
    try:
        write(temp)
        os.replace(temp, path)
    finally:
        temp.unlink(missing_ok=True)
