"""Weights from files, and files that hold none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from fastlearn.arch import models
from fastlearn.arch.spec import create_vision_model
from fastlearn.arch.weights_file import read_state_dict
from fastlearn.errors import WeightsError

SMALL = "mobilenetv3_small_050"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("arch", [models.squeezenet1_1, SMALL])
def test_weights_from_a_file(no_network: Path, tmp_path: Path, arch: Any, suffix: str) -> None:
    network = timm.create_model(SMALL) if arch == SMALL else torchvision.models.squeezenet1_1()
    path = tmp_path / f"mine{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(network.state_dict(), path)
    for given in (path, str(path)):
        model = create_vision_model(arch, 3, weights=given)
        first = next(network.parameters())
        assert torch.equal(next(model.parameters()), first)


def test_weights_from_a_file_for_ones_own_network(tmp_path: Path) -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    made = net()
    torch.save({"state_dict": made.state_dict()}, tmp_path / "net.pth")
    assert torch.equal(create_vision_model(net, 3, weights=tmp_path / "net.pth").body[0].weight, made[0].weight)  # type: ignore[index]
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"do not fit net: Missing key.*0.weight"):
        create_vision_model(net, 3, weights=tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"do not fit mobilenetv3.* are missing, such as conv_stem.weight"):
        create_vision_model(SMALL, 3, weights=tmp_path / "other.pth")


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save(Evil(), tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"12")
    for name, message in (
        ("evil.pth", "Cannot read the weights"),
        ("list.pth", "holds no state dict"),
        ("cut.safetensors", "Cannot read the weights"),
        ("none.pth", "No weights file at"),
    ):
        with pytest.raises(WeightsError, match=message):
            read_state_dict(tmp_path / name)
    assert not (tmp_path / "ran").exists()
