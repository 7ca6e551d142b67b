"""What is no bundle: it is named, and never opened."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from fastlearn.errors import CheckpointError
from fastlearn.export import load_learner


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.place,)


@pytest.mark.parametrize("name", ["export.pkl", "model.fl"])
@pytest.mark.parametrize("way", ["pickle", "torch", "old torch"])
def test_a_pickle_is_explained_and_not_run(tmp_path: Path, name: str, way: str) -> None:
    file = tmp_path / name
    if way == "pickle":
        file.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    else:
        torch.save(Trap(tmp_path / "sprung"), file, _use_new_zipfile_serialization=way == "torch")
    with pytest.raises(CheckpointError, match="(?s)is a pickle, as fast.ai's.*a program.*does not run it") as error:
        load_learner(file)
    assert str(file) in str(error.value) and f"load_learner({name!r}).model.state_dict()" in str(error.value)
    assert "load_state_dict" in str(error.value) and "weights.safetensors" in str(error.value)
    assert not (tmp_path / "sprung").exists()


def test_the_way_over_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines in the message, with a network in place of fast.ai's learner."""
    from types import SimpleNamespace

    network = torch.nn.Conv2d(1, 1, 1)
    learn = SimpleNamespace(model=torch.nn.Conv2d(1, 1, 1), export=lambda name: None)
    (tmp_path / "export.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError) as error:
        load_learner(tmp_path / "export.pkl")
    lines = [line.strip() for line in str(error.value).splitlines() if line.startswith("    ")]
    names = {
        "load_learner": lambda file: SimpleNamespace(model=network),
        "vision_learner": lambda dls, arch, pretrained: learn,
        "dls": None,
        "resnet18": None,
    }
    monkeypatch.chdir(tmp_path)
    exec("\n".join(line for line in lines if "fastai" not in line), names)
    assert torch.equal(learn.model.weight, network.weight)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("model.fl", b"", r"is empty \(0 bytes\)"),
        ("model.onnx", b"\x08\x0a", "no model that learn.export.* wrote, but an ONNX program"),
        ("w.safetensors", b"\x02" + b"\0" * 7 + b"{}", "but a file of weights alone"),
        ("model.fl", b"<html>", r"something else \(it starts with b'<html>'\)"),
        ("model.fl", b"PK\x03\x04", "is damaged: it is no whole zip file"),
    ],
)
def test_something_else_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=said):
        load_learner(tmp_path / name)
