"""A trained model as a folder: `model.safetensors` for the weights, `model.json` for all that rebuilds it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastlearn.arch.spec import ArchSpec
from fastlearn.errors import CheckpointError, DataError, FastlearnError
from fastlearn.export.preprocess import Preprocess
from fastlearn.paths import printable
from fastlearn.runtime.disk import is_full, lacking, write_whole

FORMAT = 1
WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Prediction:
    """One picture's answer: the label, its index in the vocabulary, and the probability of every class."""

    label: str
    index: int
    probabilities: torch.Tensor

    @property
    def probability(self) -> float:
        """The probability of the label."""
        return float(self.probabilities[self.index])


@dataclass(frozen=True)
class TrainedModel:
    """A classifier that predicts, without the code that trained it.

    >>> load_model_folder("pets-model").predict("cat.jpg").label
    """

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
        probabilities = self.model(self.preprocess.batch(sources)).softmax(1)
        if not probabilities.isfinite().all():
            raise CheckpointError("The model answers with NaN: its weights are spoiled. Train again.")
        best = probabilities.argmax(1).tolist()
        return [Prediction(self.vocab[i], i, row) for i, row in zip(best, probabilities, strict=True)]


def write_model_folder(
    folder: str | os.PathLike[str],
    model: nn.Module,
    spec: ArchSpec,
    vocab: Sequence[Any],
    preprocess: Preprocess,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write a classifier; `training` is any JSON that tells how it came about. Returns the folder.

    Both files are written whole before either is put in place, so an error or Ctrl-C leaves an older model intact. The
    card names the weights by their SHA-256: a folder with the files of two different writings (of which the second was
    killed between the two renames) is refused and not misread. Raises CheckpointError.
    """
    from safetensors.torch import save

    folder = Path(folder)
    weights = save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()})
    card = {
        "format": FORMAT,
        "task": "classification",
        "architecture": spec.to_json(),
        "vocab": [str(label) for label in vocab],
        "preprocess": preprocess.to_json(),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "training": training or {},
    }
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole({folder / WEIGHTS: weights, folder / CARD: text + b"\n"})
    except OSError as error:
        raise CheckpointError(_not_written(folder, error, len(weights) + len(text))) from error
    return folder


def _not_written(folder: Path, error: OSError, n_bytes: int) -> str:
    missing = lacking(folder, n_bytes)
    why = f"{error.strerror or error}.{f' {missing}' if missing else ''}"
    way_out = "Free some space, or name a folder on another disk" if is_full(error) else "Name another folder"
    return f"Cannot write the model to {printable(folder)}: {why} What was there before is untouched. {way_out}."


def is_model_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether both files are there."""
    return (Path(folder) / CARD).is_file() and (Path(folder) / WEIGHTS).is_file()


def load_model_folder(folder: str | os.PathLike[str]) -> TrainedModel:
    """The model that `write_model_folder` wrote, on the CPU; nothing in the folder is run. Raises CheckpointError."""
    folder = Path(folder)
    name = printable(folder)
    if not is_model_folder(folder):
        there = "" if folder.is_dir() else " There is no such folder." if not folder.exists() else " It is a file."
        raise CheckpointError(
            f"{name} is no model folder: it should hold {CARD} and {WEIGHTS}.{there} `fastlearn train PATH` writes one."
        )
    card, weights = _read(folder)
    try:
        return _build(card, weights)
    except KeyError as error:
        missing = error.args[0]
        raise CheckpointError(f"The model in {name} does not fit its description: {missing!r} is missing.") from error
    except (FastlearnError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"The model in {name} does not fit its description: {error}") from error


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    name = printable(folder)
    try:
        card, data = json.loads((folder / CARD).read_bytes()), (folder / WEIGHTS).read_bytes()
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}/{CARD} is damaged: {error}.") from error
    except OSError as error:
        raise CheckpointError(f"The model in {name} cannot be read: {error.strerror or error}.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise CheckpointError(f"{name}/{CARD} has format {found!r}; this fastlearn reads {FORMAT}. Update fastlearn.")
    if hashlib.sha256(data).hexdigest() != card.get("weights_sha256"):
        raise CheckpointError(
            f"{name}/{WEIGHTS} is not the file that {CARD} was written with: it is damaged, or of another model. "
            "Copy the whole folder again, or train again."
        )
    try:
        return card, load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{name}/{WEIGHTS} is damaged: {error}.") from error


def _build(card: dict[str, Any], weights: dict[str, torch.Tensor]) -> TrainedModel:
    if card["task"] != "classification":
        raise CheckpointError(f"its task is {card['task']!r}, and this fastlearn reads 'classification' only.")
    spec, vocab = ArchSpec.from_json(card["architecture"]), tuple(str(label) for label in card["vocab"])
    preprocess = Preprocess.from_json(card["preprocess"])
    if len(vocab) != spec.n_out:
        raise CheckpointError(f"it has {spec.n_out} outputs, and {len(vocab)} labels.")
    with torch.random.fork_rng(devices=[]):  # the layers are drawn at random first: leave the user's generator alone
        model = spec.build(pretrained=False, init=None)
    model.load_state_dict(weights)
    return TrainedModel(model.eval().requires_grad_(False), vocab, preprocess)
