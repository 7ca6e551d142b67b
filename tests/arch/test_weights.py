"""What an architecture is, and the statistics of its pretrained weights."""

from __future__ import annotations

import pytest
import torchvision

from fastlearn.arch import models
from fastlearn.arch.weights import pretrained_stats, resolve_arch


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
