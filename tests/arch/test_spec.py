"""Specs that survive JSON, and what create_vision_model makes and refuses."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from fastlearn.arch import models
from fastlearn.arch.body import default_split
from fastlearn.arch.spec import ArchSpec, VisionModel, create_vision_model, vision_splitter
from fastlearn.errors import CheckpointError, ConfigError

SMALL = "mobilenetv3_small_050"


def small_net(pretrained: bool = False) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("arch", [models.squeezenet1_1, torchvision.models.squeezenet1_1, SMALL, small_net])
@pytest.mark.parametrize("n_in", [1, 3])
def test_model_from_every_kind_of_arch(arch: Any, n_in: int) -> None:
    model = create_vision_model(arch, 5, pretrained=False, n_in=n_in, lin_ftrs=[16])
    assert isinstance(model, VisionModel) and len(model) == 2 and model.body is model[0] and model.head is model[1]
    assert model(torch.rand(2, n_in, 64, 64)).shape == (2, 5)
    groups = vision_splitter(model)
    assert sorted(map(id, model.parameters())) == sorted(id(p) for group in groups for p in group)
    assert len(groups) == (3 if "squeezenet" in str(arch) else 2)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("vit_tiny_patch16_224", "TokenPool"), ("swin_tiny_patch4_window7_224", "ChannelsLastPool")],
)
def test_transformers_are_pooled_by_their_layout(name: str, layout: str) -> None:
    model = create_vision_model(name, 5, pretrained=False, head="linear").eval()
    assert type(model.head[0]).__name__ == layout  # type: ignore[index]
    size = 96 if layout == "TokenPool" else 224  # a plain transformer is told to take any size
    with torch.no_grad():
        assert model(torch.rand(1, 3, size, size)).shape == (1, 5)


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        (models.squeezenet1_1, {"cut": -1, "ps": [0.1, 0.2], "lin_ftrs": [9], "bn_final": True}),
        (SMALL, {"n_in": 1, "head": "linear", "y_range": (0, 1), "concat_pool": False}),
    ],
)
def test_spec_rebuilds_the_model_from_json(arch: Any, options: dict[str, Any]) -> None:
    model = create_vision_model(arch, 4, pretrained=False, **options).eval()
    assert model.spec is not None
    spec = ArchSpec.from_json(json.loads(json.dumps(model.spec.to_json())))
    assert spec == model.spec
    rebuilt = spec.build().eval()
    assert not all(torch.equal(a, b) for a, b in zip(rebuilt.parameters(), model.parameters(), strict=True))
    rebuilt.load_state_dict(model.state_dict())
    x = torch.rand(2, options.get("n_in", 3), 64, 64)
    assert torch.equal(rebuilt(x), model(x)) and str(rebuilt) == str(model)
    assert spec.build() is not spec.build() and hash(spec) == hash(model.spec)


def test_what_has_no_name_has_no_spec() -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model = create_vision_model(small_net, 3, pretrained=False, custom_head=head)
    assert model.spec is None and model.head is head and vision_splitter(model) == default_split(model)
    assert create_vision_model(partial(small_net), 3).spec is None  # takes `pretrained`, so it may be asked for it
    keep_stem = create_vision_model(models.squeezenet1_1, 3, False, cut=lambda network: network.features[:3])
    assert keep_stem.spec is None and keep_stem(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_slices_and_copies_of_a_model() -> None:
    model = create_vision_model(small_net, 3, pretrained=False)
    assert len(model[:1]) == 1
    assert [key.split(".")[0] for key in model.state_dict()][0] == "0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nout": 3}, "Unknown entry 'nout'.*Did you mean 'n_out'"),
        ({"name": "resnet19"}, "cannot be built: Unknown architecture 'resnet19'"),
        ({"library": "pickle"}, "Unknown architecture 'resnet18' of 'pickle'"),
        ({"library": "timm", "name": "hf-hub:someone/model"}, "Unknown arch 'hf-hub:someone/model'"),
        ({"n_out": "many"}, "n_out='many'"),
    ],
)
def test_spec_that_cannot_be_built(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ArchSpec.from_json({"library": "torchvision", "name": "resnet18", "n_out": 2, **changes})


def test_spec_that_lacks_entries() -> None:
    with pytest.raises(CheckpointError, match=r"lacks \['name', 'n_out'\]"):
        ArchSpec.from_json({"library": "timm"})


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("resnet181", {}, "Unknown arch 'resnet181'.*Did you mean 'resnet18'"),
        ("resnet18.a1", {}, "Unknown weights 'a1' of resnet18. Expected one of resnet18.a1_in1k"),
        (None, {}, "Unknown arch None"),
        (nn.Linear(2, 2), {}, r"a finished Linear.*Learner\(dls, model\)"),
        (lambda: small_net(), {"pretrained": True}, "takes no argument `pretrained`"),
        (lambda: 3, {}, "gave a int. Expected an nn.Module"),
        (small_net, {"n_out": 0}, "n_out=0. Expected a whole number"),
        (small_net, {"n_in": 1.5}, "n_in=1.5"),
        (small_net, {"weights": "a.pth"}, "weights='a.pth' and pretrained=False contradict"),
    ],
)
def test_wrong_arguments_are_named(arch: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_vision_model(arch, **{"n_out": 2, "pretrained": False, **options})


def test_string_is_timms_network() -> None:
    model = create_vision_model(SMALL, 2, pretrained=False)
    theirs = timm.create_model(SMALL, num_classes=0, global_pool="").eval()
    theirs.load_state_dict(model.body.state_dict())
    x: Tensor = torch.rand(1, 3, 64, 64)
    assert torch.equal(model.eval().body(x), theirs(x))
