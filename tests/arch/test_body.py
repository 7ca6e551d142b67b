"""Where networks are cut, what their bodies give, other numbers of channels, and layer groups."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision.models as torchvision_models
from torch import Tensor, nn

from fastlearn.arch.body import (
    adapt_input,
    body_features,
    create_body,
    default_split,
    family_split,
    find_cut,
    split_body,
)
from fastlearn.arch.head import Features
from fastlearn.errors import ConfigError


class Tiny(nn.Module):
    """A network whose forward pools by a function call."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.fc = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.deep(self.stem(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "kept", "channels"),
    [("resnet18", 8, 512), ("squeezenet1_1", 1, 512), ("mobilenet_v3_small", 1, 576), ("shufflenet_v2_x0_5", 6, 1024)],
)
def test_cut_at_the_last_pooling(name: str, kept: int, channels: int) -> None:
    network = torchvision_models.get_model(name, weights=None)
    body = create_body(network)
    assert len(body) == find_cut(network) == kept
    assert body_features(body) == Features(channels)


def test_cut_where_pooling_is_no_layer_and_by_hand() -> None:
    network = Tiny()
    assert find_cut(network) == 2
    assert len(create_body(network, 1)) == len(create_body(network, -2)) == 1
    assert create_body(network, lambda model: model.stem)[0] is network.stem[0]
    assert isinstance(create_body(network, lambda model: model.fc), nn.Sequential)


def test_cut_that_cannot_be_found_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"Cannot tell where the body of Sequential ends.*\(0, 1\).*Pass cut="):
        find_cut(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    with pytest.raises(ConfigError, match="no layers inside"):
        create_body(nn.ReLU())


def test_dry_run_leaves_no_trace() -> None:
    body = create_body(Tiny())
    body.train()
    body[0][1].eval()  # a layer that the user froze stays in evaluation mode
    before = copy.deepcopy(body.state_dict())
    state = torch.get_rng_state()
    assert body_features(body) == Features(6)
    assert torch.equal(torch.get_rng_state(), state)
    assert body.training and body[0].training and not body[0][1].training
    assert all(torch.equal(before[key], value) for key, value in body.state_dict().items())


def test_dry_run_takes_larger_pictures_for_strides_that_need_them() -> None:
    body = nn.Sequential(nn.Conv2d(3, 5, 200))
    assert body_features(body) == Features(5)


def test_body_that_cannot_run_is_an_error() -> None:
    vit = torchvision_models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8
    )
    with pytest.raises(ConfigError, match="does more in its forward than call its children"):
        body_features(create_body(vit))

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(ConfigError, match="The body Pair gives tuple"):
        body_features(Pair())


@pytest.mark.parametrize("n_in", [1, 2, 4, 6])
def test_pretrained_first_layer_for_other_channels(n_in: int) -> None:
    network = Tiny()
    weight = network.stem[0].weight.detach().clone()  # type: ignore[union-attr, operator]
    adapt_input(network, n_in, pretrained=True)
    new = network.stem[0].weight  # type: ignore[union-attr]
    assert network(torch.rand(2, n_in, 8, 8)).shape == (2, 10)
    assert isinstance(new, nn.Parameter) and new.requires_grad and new.shape == (4, n_in, 3, 3)
    if n_in == 1:
        assert torch.allclose(new, weight.sum(1, keepdim=True))
    elif n_in == 2:
        assert torch.allclose(new, weight[:, :2] * 1.5)
    else:
        assert torch.equal(new[:, :3], weight) and not new[:, 3:].any()


def test_grey_picture_gives_what_its_rgb_copy_gave() -> None:
    network = Tiny().eval()
    grey = torch.rand(2, 1, 8, 8)
    expected = network(grey.expand(-1, 3, -1, -1))
    adapt_input(network, 1, pretrained=True)
    assert torch.allclose(network(grey), expected, atol=1e-6)


def test_random_first_layer_is_drawn_anew() -> None:
    network = Tiny()
    adapt_input(network, 5, pretrained=False)
    weight = network.stem[0].weight  # type: ignore[union-attr]
    assert weight.shape == (4, 5, 3, 3) and bool(weight.any(3).all())  # type: ignore[union-attr, operator]


def test_first_layer_that_cannot_be_adapted() -> None:
    with pytest.raises(ConfigError, match="cannot be made to read 4 channels"):
        adapt_input(nn.Sequential(nn.Conv2d(2, 4, 3)), 4, pretrained=True)
    with pytest.raises(ConfigError, match="Linear has no convolution"):
        adapt_input(nn.Linear(2, 2), 4, pretrained=True)


def ids(groups: list[list[nn.Parameter]]) -> list[list[int]]:
    return [[id(parameter) for parameter in group] for group in groups]


@pytest.mark.parametrize(
    ("name", "first_of_each"),
    [
        ("resnet18", ["0.0.weight", "0.6.0.conv1.weight", "1.weight"]),
        ("alexnet", ["0.0.0.weight", "0.0.6.weight", "1.weight"]),
        ("squeezenet1_0", ["0.0.0.weight", "0.0.5.squeeze.weight", "1.weight"]),
        ("densenet121", ["0.0.conv0.weight", "0.0.transition2.norm.weight", "1.weight"]),
        ("mobilenet_v2", ["0.0.0.0.weight", "1.weight"]),
    ],
)
def test_layer_groups_start_where_fastai_starts_them(name: str, first_of_each: list[str]) -> None:
    with torch.device("meta"):
        model = nn.Sequential(create_body(torchvision_models.get_model(name, weights=None)), nn.Linear(4, 2))
    groups = family_split("torchvision", name)(model)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    assert [names[id(group[0])] for group in groups] == first_of_each
    assert [i for group in ids(groups) for i in group] == [id(parameter) for parameter in model.parameters()]


def test_unknown_families_have_body_and_head_and_tied_weights_count_once() -> None:
    body, head = nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 3)
    head.weight = body[0].weight
    model = nn.Sequential(body, head)
    expected = [[id(body[0].weight), id(body[0].bias)], [id(head.bias)]]
    assert ids(default_split(model)) == expected
    assert ids(split_body(model, 6)) == expected  # fewer layers than the split asks for
    assert family_split(None, None) is family_split("timm", "resnet18") is default_split
