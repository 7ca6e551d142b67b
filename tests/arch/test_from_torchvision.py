"""torchvision's networks: the cache, names of weights, and files from older versions."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from fastlearn.arch import from_torchvision, models
from fastlearn.arch.from_torchvision import torchvision_entry
from fastlearn.arch.spec import create_vision_model
from fastlearn.arch.weights import build_network
from fastlearn.errors import ConfigError, WeightsError


def test_cached_torchvision_file_is_used_and_a_damaged_one_named(no_network: Path, monkeypatch: Any) -> None:
    network = torchvision.models.squeezenet1_1()
    no_network.mkdir(parents=True)
    torch.save(network.state_dict(), no_network / "tmp.pth")
    digest = hashlib.sha256((no_network / "tmp.pth").read_bytes()).hexdigest()[:8]
    path = (no_network / "tmp.pth").rename(no_network / f"squeezenet1_1-{digest}.pth")
    entry = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    monkeypatch.setattr(
        from_torchvision, "torchvision_entry", lambda *_: type("Entry", (), {"url": f"https://x/{path.name}"})
    )
    model = create_vision_model(models.squeezenet1_1, 3, weights=entry)
    assert torch.equal(model.body[0][0].weight, network.features[0].weight)  # type: ignore[index]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"is damaged: its SHA-256 begins with .* Delete it"):
        create_vision_model(models.squeezenet1_1, 3)


def test_old_densenet_names_are_read() -> None:
    with torch.device("meta"):
        expected = set(torchvision.models.densenet121().state_dict())
    old = {re.sub(r"(denselayer.*(norm|conv))([12])", r"\1.\3", key) for key in expected}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert {from_torchvision._torchvision_key(key) for key in old} == expected


def test_names_of_weights() -> None:
    both = [torchvision_entry("resnet50", name) for name in (None, "IMAGENET1K_V2", "DEFAULT")]
    assert [entry.name for entry in both] == ["IMAGENET1K_V1", "IMAGENET1K_V2", "IMAGENET1K_V2"]
    entry = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    assert torchvision_entry("resnet50", entry) is torchvision_entry("resnet50", str(entry)) is entry
    with pytest.raises(ConfigError, match="Unknown weights 'IMAGENET1K_V3' for resnet50.*Did you mean"):
        build_network(models.resnet50, weights="IMAGENET1K_V3")
    with pytest.raises(ConfigError, match=r"weights='a1_in1k' is no file.*the name itself picks"):
        build_network("resnet18", weights="a1_in1k")


def test_an_architecture_that_was_called_in_place_of_being_named() -> None:
    with pytest.raises(ConfigError, match=r"vision_learner\(dls, resnet18, pretrained=False\)"):
        models.resnet18(pretrained=False)
    with pytest.raises(ConfigError, match="arch is a finished ResNet.*without brackets, such as resnet18"):
        create_vision_model(models.resnet18(), 2)  # type: ignore[arg-type]


def test_functions_with_weights_fetch_them(no_network: Path) -> None:
    with pytest.raises(WeightsError, match="squeezenet1_1"):
        models.squeezenet1_1(weights="DEFAULT")
