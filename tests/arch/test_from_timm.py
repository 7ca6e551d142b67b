"""timm's networks: the hub's cache and switch, and architectures without weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from fastlearn.arch.from_timm import check_timm_name
from fastlearn.arch.spec import create_vision_model
from fastlearn.errors import ConfigError, WeightsError

SMALL = "mobilenetv3_small_050"


def test_offline_switch_of_the_hub_is_respected(monkeypatch: pytest.MonkeyPatch, no_network: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        create_vision_model("resnet18", 3)


def test_timm_network_without_any_weights() -> None:
    with pytest.raises(WeightsError, match=r"No pretrained weights exist for mixer_s32_224. Try \['mixer_"):
        create_vision_model("mixer_s32_224", 3)


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


def test_what_an_unknown_name_is_told_to_type_lists_names() -> None:
    with pytest.raises(ConfigError, match="To list them: ") as told:
        check_timm_name("rezznot")
    imported, listing = str(told.value).partition("To list them: ")[2].removesuffix(".").split("; ")
    names: dict[str, object] = {}
    exec(imported, names)
    assert "resnet18" in eval(listing, names)
