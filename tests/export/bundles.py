"""Small bundles to load, and to damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from fastlearn.arch.spec import ArchSpec, VisionModel
from fastlearn.export.answers import Answers
from fastlearn.export.bundle import CARD, SAMPLE, WEIGHTS, write_bundle
from fastlearn.export.card import Card
from fastlearn.export.load import model_of
from fastlearn.export.preprocess import Preprocess
from fastlearn.export.sample import drawn_pictures, drawn_sample
from fastlearn.runtime.json_bytes import write_json
from fastlearn.runtime.tensor_bytes import save_tensors

SPEC = ArchSpec("torchvision", "squeezenet1_1", n_out=3, lin_ftrs=())
VOCAB = ("chat", "猫", "c\nat")
PREPROCESS = Preprocess((64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
ANSWERS = Answers("classification", "softmax", 3, VOCAB)
PICTURE = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def small_network() -> VisionModel:
    """SPEC, always with the same weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SPEC.build().eval()


def members_of(network: torch.nn.Module, answers: Answers = ANSWERS, **changes: Any) -> dict[str, bytes]:
    """A bundle's members; `changes` are fields of the card."""
    fields = {"answers": answers, "architecture": SPEC.to_json(), "preprocess": PREPROCESS.to_json(), **changes}
    members = {CARD: write_json(Card(**fields)), WEIGHTS: save_tensors(network.state_dict())}
    pictures = drawn_pictures(3, (64, 64))
    sample = drawn_sample(model_of(members, "it").probabilities, answers, pictures)
    return members | {SAMPLE: sample.to_bytes()}


def with_card(members: Mapping[str, bytes], **changes: Any) -> dict[str, bytes]:
    """The members with other fields in their card; "drop" leaves one out."""
    card = {key: value for key, value in (json.loads(members[CARD]) | changes).items() if value != "drop"}
    return {**members, CARD: json.dumps(card).encode()}


def written(folder: Path, members: Mapping[str, bytes]) -> Path:
    """The members as a file that is sound as a file."""
    write_bundle(folder / "model.fl", members)
    return folder / "model.fl"


def written_folder(folder: Path, network: torch.nn.Module, **changes: Any) -> Path:
    """A model folder of format 1, as `fastlearn train` wrote it once."""
    weights = save(network.state_dict())
    card = {
        "format": 1,
        "task": "classification",
        "architecture": SPEC.to_json(),
        "vocab": list(VOCAB),
        "preprocess": PREPROCESS.to_json(),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "training": {"epochs": 3},
    }
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CARD).write_text(json.dumps(card | changes), encoding="utf-8")
    return folder
