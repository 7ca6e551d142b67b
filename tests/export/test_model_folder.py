"""A model folder: what is written is what is read, and nothing else is accepted."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fastlearn.arch.spec import ArchSpec, VisionModel
from fastlearn.errors import CheckpointError, DataError
from fastlearn.export.model_folder import (
    CARD,
    WEIGHTS,
    TrainedModel,
    is_model_folder,
    load_model_folder,
    write_model_folder,
)
from fastlearn.export.preprocess import Preprocess

SPEC = ArchSpec("torchvision", "squeezenet1_1", n_out=3)
VOCAB = ["chat", "猫", "c\nat"]
PREPROCESS = Preprocess((64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
PICTURE = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> VisionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SPEC.build().eval()


@pytest.fixture
def folder(model: VisionModel, tmp_path: Path) -> Path:
    return write_model_folder(tmp_path / "odd 名 'n\name", model, SPEC, VOCAB, PREPROCESS, {"epochs": 3})


def rewrite(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    card = {key: value for key, value in (card | changes).items() if value != "drop"}
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def test_predictions_are_those_of_the_model(model: VisionModel, folder: Path) -> None:
    loaded = load_model_folder(folder)
    assert loaded.vocab == tuple(VOCAB) and loaded.preprocess == PREPROCESS
    with torch.inference_mode():
        wanted = torch.nn.functional.softmax(model(PREPROCESS.batch([PICTURE])), 1)[0]
    answer = loaded.predict(PICTURE)
    torch.testing.assert_close(answer.probabilities, wanted, rtol=0, atol=0)
    assert answer.index == int(wanted.argmax()) and answer.label == VOCAB[answer.index]
    assert answer.probability == float(wanted.max())
    several = loaded.predict_batch([PICTURE, PICTURE[:, ::-1]])
    torch.testing.assert_close(several[0].probabilities, wanted, rtol=0, atol=1e-6)


def test_what_lies_on_the_disk(model: VisionModel, folder: Path) -> None:
    assert sorted(os.listdir(folder)) == [CARD, WEIGHTS]
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    assert card["vocab"] == VOCAB and card["training"] == {"epochs": 3}
    assert card["architecture"]["name"] == "squeezenet1_1"
    weights = load_file(folder / WEIGHTS)
    assert weights.keys() == model.state_dict().keys()
    umask = os.umask(0o022)
    os.umask(umask)
    assert (folder / CARD).stat().st_mode & 0o777 == 0o666 & ~umask


def test_loading_draws_nothing_from_the_generator(folder: Path) -> None:
    before = torch.random.get_rng_state()
    load_model_folder(folder)
    assert torch.equal(before, torch.random.get_rng_state())


def test_writing_again_replaces(model: VisionModel, folder: Path) -> None:
    write_model_folder(folder, model, SPEC, ["a", "b", "c"], PREPROCESS)
    assert load_model_folder(folder).vocab == ("a", "b", "c")
    assert sorted(os.listdir(folder)) == [CARD, WEIGHTS]


def test_weights_of_another_writing_are_refused(model: VisionModel, folder: Path) -> None:
    old = (folder / CARD).read_bytes()
    with torch.no_grad():
        next(model.parameters()).add_(1)
    write_model_folder(folder, model, SPEC, VOCAB, PREPROCESS)
    (folder / CARD).write_bytes(old)  # as if the writing had been cut short between the files
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} is not the file that {CARD} was written with"):
        load_model_folder(folder)


def test_one_flipped_byte_is_found(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged, or of another model"):
        load_model_folder(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 99}, "has format 99; this fastlearn reads 1"),
        ({"vocab": "drop"}, "'vocab' is missing"),
        ({"vocab": ["a"]}, "3 outputs, and 1 labels"),
        ({"vocab": 3}, "does not fit its description"),
        ({"task": "poetry"}, "its task is 'poetry'"),
        ({"preprocess": {"size": [1]}}, "has a size that cannot be"),
        ({"architecture": {"library": "timm", "name": "os.system", "n_out": 3}}, "cannot be built"),
        ({"architecture": {**SPEC.to_json(), "n_out": 4}}, "4 outputs"),
        ({"architecture": {**SPEC.to_json(), "name": "squeezenet1_0"}}, "does not fit its description"),
        ({"architecture": {**SPEC.to_json(), "head": "none"}}, "Unknown head"),
        ({"architecture": None}, "does not fit its description"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(CheckpointError, match=said):
        load_model_folder(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, "\udcff"])
def test_a_damaged_card_is_refused(folder: Path, text: str) -> None:
    (folder / CARD).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=CARD):
        load_model_folder(folder)


def test_what_is_no_model_folder(tmp_path: Path) -> None:
    assert not is_model_folder(tmp_path)
    with pytest.raises(CheckpointError, match="it should hold model.json and model.safetensors. `fastlearn train"):
        load_model_folder(tmp_path)
    with pytest.raises(CheckpointError, match="There is no such folder"):
        load_model_folder(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="It is a file"):
        load_model_folder(tmp_path / "file")


def test_a_place_that_cannot_be_written(model: VisionModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="Cannot write the model to .*file"):
        write_model_folder(tmp_path / "file", model, SPEC, VOCAB, PREPROCESS)


def test_no_picture(folder: Path) -> None:
    with pytest.raises(DataError, match="no picture to predict"):
        load_model_folder(folder).predict_batch([])


def test_spoiled_weights_give_no_answer():
    class Spoiled(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 2), float("nan"))

    model = TrainedModel(Spoiled(), ("cat", "dog"), Preprocess(size=(8, 8)))
    with pytest.raises(CheckpointError, match="answers with NaN"):
        model.predict(np.zeros((8, 8, 3), np.uint8))


def test_a_full_disk_leaves_the_older_model_whole(
    model: VisionModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_after_the_weights(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    calls: list[int] = []
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(os, "fsync", full_after_the_weights)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=10**9, free=100))
    said = r"(?s)No space left on device\. It takes .*, and 100 bytes are free in .* untouched\. Free some space"
    with pytest.raises(CheckpointError, match=said):
        write_model_folder(folder, model, SPEC, VOCAB, PREPROCESS, {"epochs": 9})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
