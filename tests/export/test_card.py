"""The card: read in today's format and in older ones, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import SPEC, VOCAB, written_folder

from fastlearn.arch.spec import VisionModel
from fastlearn.errors import CheckpointError, DamagedFileError
from fastlearn.export.answers import Answers
from fastlearn.export.bundle import CARD
from fastlearn.export.card import FORMAT, Card, read_card, versions
from fastlearn.runtime.json_bytes import write_json


def test_there_and_back() -> None:
    answers = Answers("multilabel", "sigmoid", 2, (1, "猫"), 0.3)
    card = Card(answers=answers, architecture=None, preprocess={"size": None}, licence="MIT", versions=versions())
    assert read_card(write_json(card), "it") == card


def test_a_card_of_format_1_becomes_todays(network: VisionModel, tmp_path: Path) -> None:
    folder = written_folder(tmp_path / "model", network)
    card = read_card((folder / CARD).read_bytes(), "it")
    assert (
        card.format == FORMAT
        and card.training == {"epochs": 3}
        and card.architecture == json.loads(write_json(SPEC.to_json()))
    )
    assert card.answers == Answers("classification", "softmax", 3, VOCAB)


@pytest.mark.parametrize("found", [0, 3, 99, -1])
def test_another_format_says_which_are_read(found: int) -> None:
    with pytest.raises(CheckpointError, match=f"it has format {found}; this fastlearn reads 1 to 2. Update fastlearn"):
        read_card(json.dumps({"format": found}).encode(), "it")


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, "null", '{"format": "2"}', '{"format": 2}', "\udcff"])
def test_what_is_no_card_is_damaged(text: str) -> None:
    with pytest.raises(DamagedFileError, match="model.json of pets.fl is damaged"):
        read_card(text.encode("utf-8", "surrogateescape"), "model.json of pets.fl")


def test_the_versions_are_those_of_the_libraries() -> None:
    import torch

    assert torch.__version__.startswith(versions()["torch"]) and "timm" in versions()
