"""`model.json`: all about a saved model but its weights, as plain values, of this format and of older ones."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import msgspec

from fastlearn.errors import CheckpointError
from fastlearn.export.answers import Answers, Label
from fastlearn.runtime.json_bytes import read_json

FORMAT = 2
_TOLD = ("fastlearn", "torch", "torchvision", "timm")


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What rebuilds a model around its weights, and tells where it comes from.

    `architecture` is an `ArchSpec` as JSON, or None for a module of the user's own, which is an ONNX program.
    `preprocess` is a `Preprocess` as JSON; `training` and `versions` are for people to read.
    """

    format: int = FORMAT
    answers: Answers
    architecture: dict[str, Any] | None
    preprocess: dict[str, Any]
    licence: str = ""
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}


class FolderCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Format 1: a classifier as a folder; `weights_sha256` stands for the manifest that came later."""

    format: int
    task: str
    architecture: dict[str, Any]
    vocab: tuple[Label, ...]
    preprocess: dict[str, Any]
    weights_sha256: str
    training: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.task != "classification":
            raise ValueError(f"its task is {self.task!r}, expected 'classification'")

    def renewed(self) -> Card:
        """The same, in today's format."""
        return Card(
            answers=Answers("classification", "softmax", len(self.vocab), self.vocab),
            architecture=self.architecture,
            preprocess=self.preprocess,
            training=self.training,
        )


class _Dated(msgspec.Struct):
    format: int


# Of each older format: its card, and how that becomes today's.
_OLDER: dict[int, tuple[type[Any], Callable[[Any], Card]]] = {1: (FolderCard, FolderCard.renewed)}


def read_card(data: bytes, what: str) -> Card:
    """The card of any format up to today's. Raises CheckpointError for a newer one and for what is no card."""
    found = read_json(data, _Dated, what).format
    if found == FORMAT:
        return read_json(data, Card, what)
    if found not in _OLDER:
        raise CheckpointError(f"{what} has format {found}; this fastlearn reads 1 to {FORMAT}. Update fastlearn.")
    kind, renewed = _OLDER[found]
    return renewed(read_json(data, kind, what))


def versions() -> dict[str, str]:
    """The versions of what a model is rebuilt by, as far as they are installed."""
    found = {}
    for name in _TOLD:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a folder that is not installed
            continue
    return found
