"""What is said without a network, and of a download that fails."""

from __future__ import annotations

import errno
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision

from fastlearn.arch import download, from_timm, models
from fastlearn.arch.download import unreachable
from fastlearn.arch.spec import create_vision_model
from fastlearn.errors import WeightsError


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
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: time.sleep(0.5))
    assert unreachable("https://example.org", timeout_s=0.05) == "no answer in 0.05 s"


def test_http_error_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: Any, **__: Any) -> Any:
        raise urllib.error.HTTPError("https://example.org", 403, "Forbidden", None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(urllib.request, "urlopen", forbid)
    assert unreachable("https://example.org") is None


def test_failed_download_is_a_weights_error(monkeypatch: pytest.MonkeyPatch, no_network: Path) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00")')

    monkeypatch.setattr(download, "unreachable", lambda _: None)
    monkeypatch.setattr(from_timm, "unreachable", lambda _: None)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(WeightsError, match="invalid hash value"):
        create_vision_model(models.resnet18, 3)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match="invalid hash value"):
        create_vision_model("resnet18", 3)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, no_network: Path, code: int) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(download, "unreachable", lambda _: None)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(WeightsError, match=rf"resnet18 in .*checkpoints: {os.strerror(code)}.* TORCH_HOME"):
        create_vision_model(models.resnet18, 3)
