from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

from fastlearn.training.fold import BOUND, folded

SIZE = (2, 3, 32, 32)


def filled(module: nn.Module) -> nn.Module:
    """The module in training mode, its norms with statistics and weights that do something."""
    rng = torch.Generator().manual_seed(0)
    for one in module.modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.running_mean is not None:
            one.running_mean.copy_(torch.randn(one.num_features, generator=rng))
            one.running_var.copy_(torch.rand(one.num_features, generator=rng) + 0.2)
            if one.affine:
                nn.init.uniform_(one.weight, 0.5, 1.5, generator=rng)
                nn.init.normal_(one.bias, generator=rng)
    return module.train()


def pictures(seed: int = 1, n: int = 2) -> torch.Tensor:
    return torch.randn(n, *SIZE[1:], generator=torch.Generator().manual_seed(seed))


def n_norms(module: nn.Module) -> int:
    return sum(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in module.modules())


def check(module: nn.Module, left: int, x: torch.Tensor | None = None) -> nn.Module:
    """The folded module: it has `left` norms, agrees on inputs that it was not made with, and changed nothing."""
    x = pictures() if x is None else x
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes, generator = [one.training for one in module.modules()], torch.get_rng_state()
    made = folded(module, (x,))
    assert [one.training for one in module.modules()] == modes and torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in (*module.modules(), *made.modules()))
    assert n_norms(made) == left and (made is module) == (left == n_norms(module))
    other = torch.randn(5, *x.shape[1:], generator=torch.Generator().manual_seed(2)).to(x.dtype)
    module.eval()
    with torch.no_grad():
        expected, found = module(other), made(other)
    if made is not module:
        assert not any(one.training for one in made.modules())
        assert (found - expected).norm() <= (1e-5 if x.dtype == torch.float32 else 1e-10) * expected.norm()
    return made


def convs(**options) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, **options), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"padding": "same"},
        {"padding": 2, "padding_mode": "circular"},
        {"stride": 2, "dilation": 2},
    ],
)
def test_a_norm_after_a_convolution(options):
    check(filled(convs(**options)), 0)


def test_the_formula():
    layer, norm = nn.Conv2d(3, 4, 1, groups=1), nn.BatchNorm2d(4, eps=1e-3)
    made = folded(filled(nn.Sequential(layer, norm)), (pictures(),))
    scale = norm.weight / (norm.running_var + 1e-3).sqrt()
    assert torch.allclose(made[0].weight, layer.weight * scale.view(-1, 1, 1, 1), rtol=1e-6)
    assert torch.allclose(made[0].bias, (layer.bias - norm.running_mean) * scale + norm.bias, rtol=1e-6, atol=1e-7)
    assert not made[0].weight.requires_grad


def test_groups_norms_without_weights_and_double_precision():
    net = nn.Sequential(nn.Conv2d(3, 9, 3, groups=3), nn.BatchNorm2d(9, affine=False), nn.Conv2d(9, 4, 1))
    check(filled(net), 0)
    made = folded(filled(net).double(), (pictures().double(),))
    assert made[0].weight.dtype == torch.float64


def test_a_norm_after_a_linear_layer_counts_the_same_channels():
    check(filled(nn.Sequential(nn.Flatten(), nn.Linear(3072, 5), nn.BatchNorm1d(5), nn.ReLU())), 0)
    # of three dimensions it normalises the second, and the layer makes the third
    check(filled(nn.Sequential(nn.Flatten(2), nn.Linear(1024, 3), nn.BatchNorm1d(3))), 1)


def test_what_did_not_change_is_shared():
    net = filled(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.LazyLinear(2))
    )
    net(pictures())
    made = folded(filled(net), (pictures(),))
    assert made[2].weight is net[2].weight and made[4].weight is net[4].weight and made[0].weight is not net[0].weight


def test_channels_last_is_kept():
    net = filled(convs()).to(memory_format=torch.channels_last)
    assert folded(net, (pictures(),))[0].weight.is_contiguous(memory_format=torch.channels_last)


class Block(nn.Module):
    """A layer and a norm, joined by `join(self, x)`."""

    def __init__(self, join, layer: nn.Module | None = None, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1) if layer is None else layer
        self.bn = nn.BatchNorm2d(3) if norm is None else norm
        self.join, self.kept = join, None

    def forward(self, *inputs):
        return self.join(self, *inputs)


def residual(self, x):
    y = self.conv(x)
    return self.bn(y) + y


def viewed(self, x):
    y = self.conv(x)
    return self.bn(y) + y.flatten(1).mean(1).view(-1, 1, 1, 1)


def in_a_list(self, x):
    y = self.conv(x)
    return torch.cat([self.bn(y), y])


def changed_before(self, x):
    return self.bn(self.conv(x).add_(1))


def layer_twice(self, x):
    return self.bn(self.conv(x)) + self.conv(x)


def norm_twice(self, x):
    y = self.conv(x)
    return self.bn(y) + self.bn(x)


def kept(self, x):
    self.kept = self.conv(x)
    return self.bn(self.kept)


def with_the_weight(self, x):
    return self.bn(self.conv(x)) + self.conv.weight.sum()


def by_function(self, x):
    return self.bn(F.conv2d(x, self.conv.weight, self.conv.bias, padding=1))


def norm_of_the_input(self, x):
    return self.conv(self.bn(x))


def as_an_array(self, x):
    y = self.conv(x)
    return self.bn(y) * float(y.numpy().mean())


class Tripled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 3


def unseen(self, x):
    y = self.conv(x)
    return self.bn(y) + Tripled.apply(y)  # no function of torch is called: only the comparison finds it


@pytest.mark.parametrize(
    "join",
    [
        residual, unseen, viewed, in_a_list, changed_before, layer_twice, norm_twice, kept, with_the_weight,
        by_function, norm_of_the_input, as_an_array,
    ],
)  # fmt: skip
def test_a_layer_that_others_read_too_is_left(join):
    check(filled(Block(join)), 1)


def test_outputs_that_hold_what_the_layer_gave():
    net = filled(Block(lambda self, x: (y := self.conv(x), self.bn(y))))
    assert folded(net, (pictures(),)) is net


class Doubled(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


class Standardized(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, padding=1)


class Padded(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


def test_layers_that_do_more_than_convolve():
    def plain(self, x):
        return self.bn(self.conv(x))

    for kind in (Doubled, Standardized):
        check(filled(Block(plain, kind(3, 3, 3, padding=1))), 1)
    check(filled(Block(plain, Padded(3, 3, 3))), 0)
    check(filled(Block(plain, parametrizations.weight_norm(nn.Conv2d(3, 3, 3)))), 1)


def test_norms_that_do_more_or_less_than_their_class():
    class Louder(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) * 2

    class Training(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(True)

    def plain(self, x):
        return self.bn(self.conv(x))

    check(filled(Block(plain, norm=Louder(3))), 1)
    check(filled(Block(plain, norm=nn.BatchNorm2d(3, track_running_stats=False))), 1)
    net = filled(Block(plain, norm=Training(3)))
    assert folded(net, (pictures(),)) is net


def test_a_module_at_two_places():
    conv, bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    check(filled(nn.Sequential(conv, bn, conv, bn)), 1)
    once = filled(Block(lambda self, x: self.again(self.conv(x))))
    once.again = once.bn
    made = check(once, 0)
    assert made.bn is made.again


def test_tied_weights_are_untied_in_the_copy_alone():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU())
    net[2].weight = net[0].weight
    check(filled(net), 1)
    assert net[2].weight is net[0].weight


def test_hooks_compilation_and_old_weight_norm_forbid_it():
    for change in (
        lambda net: net[2].register_forward_hook(lambda module, args, out: None),
        lambda net: net.register_forward_pre_hook(lambda module, args: None),
        lambda net: setattr(net, "_orig_mod", None),
    ):
        net = filled(convs())
        change(net)
        assert folded(net, (pictures(),)) is net
    with pytest.warns(FutureWarning, match="weight_norm"):
        net = filled(nn.Sequential(weight_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)))
    assert folded(net, (pictures(),)) is net
    with pytest.warns(FutureWarning, match="script"):
        scripted = torch.jit.script(filled(convs()))
    assert folded(scripted, (pictures(),)) is scripted


def test_a_norm_that_is_called_by_another_name_fails_the_comparison():
    net = filled(Block(lambda self, x: self.parts[1](self.parts[0](x))))
    net.parts = [net.conv, net.bn]  # a list that no module knows of
    assert folded(net, (pictures(),)) is net


def test_a_state_that_a_pass_changes_is_not_run_ahead():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("n", torch.zeros(()))

        def forward(self, x):
            self.n += 1
            return x + self.n

    net = filled(nn.Sequential(*convs(), Counting()))
    assert folded(net, (pictures(),)) is net and net[-1].n == 0


def test_what_cannot_be_copied_or_does_not_run():
    net = filled(convs())
    net.lock = threading.Lock()
    assert folded(net, (pictures(),)) is net
    net = filled(convs())
    assert folded(net, (torch.zeros(2, 4, 8, 8),)) is net and net.training
    assert folded(net, ("no picture",)) is net


def test_outputs_that_cannot_be_compared():
    net = filled(convs())
    with torch.no_grad():
        net[1].weight[0] = float("nan")
    assert folded(net, (pictures(),)) is net
    assert folded(filled(nn.Sequential(*convs(), nn.Dropout())), (pictures(),)) is not net
    drawn = filled(Block(lambda self, x: self.bn(self.conv(x)) + torch.randn(())))
    state = torch.get_rng_state()
    assert folded(drawn, (pictures(),)) is drawn and torch.equal(torch.get_rng_state(), state)


def test_inputs_are_left_as_they_are_and_may_be_several():
    def joined(self, x, extra):
        x.mul_(2)
        return {"a": (self.bn(self.conv(x)), extra["more"][0].sum()), "name": "b"}

    x, extra = pictures(), {"more": [torch.ones(2)]}
    net = filled(Block(joined))
    made = folded(net, (x, extra))
    assert made is not net and torch.equal(x, pictures())
    net.eval()
    with torch.no_grad():
        one, other = net(pictures(3), extra), made(pictures(3), extra)
    assert torch.allclose(one["a"][0], other["a"][0], atol=1e-5) and other["name"] == "b"


def test_the_bound_is_wider_than_rounding_and_narrower_than_a_mistake():
    net = filled(convs())
    made = folded(net, (pictures(),))
    with torch.no_grad():
        x, right = pictures(4), net.eval()(pictures(4))
        error = (made(x) - right).norm() / right.norm()
        made[0].bias += 0.01
        mistaken = (made(x) - right).norm() / right.norm()
    assert error < BOUND / 50 and mistaken > BOUND


def test_importing_it_loads_no_compiler():
    import subprocess
    import sys

    code = """
import sys, torch
from torch import nn
from fastlearn.training.fold import folded
net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
assert folded(net, (torch.randn(2, 3, 8, 8),)) is not net
sys.exit(any(name in sys.modules for name in ("torch._dynamo", "timm", "torchvision")))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def with_statistics(make) -> nn.Module:
    """A network at random, in double precision: in single, so many layers amplify what was rounded differently."""
    torch.manual_seed(0)
    net = make()
    with torch.no_grad():
        for one in net.modules():
            if isinstance(one, nn.modules.batchnorm._BatchNorm):
                one.momentum = 1.0
        net.train()(pictures(n=8))
    return net.double()


@pytest.mark.parametrize(("name", "left"), [("resnet18", 0), ("densenet121", 62), ("mobilenet_v3_small", 0)])
def test_networks_of_torchvision(name, left):
    import torchvision

    check(with_statistics(lambda: getattr(torchvision.models, name)(weights=None)), left, pictures().double())


@pytest.mark.parametrize(("name", "left"), [("tf_efficientnet_lite0", 0), ("regnety_002", 0), ("convnext_atto", 0)])
def test_networks_of_timm(name, left):
    import timm

    check(with_statistics(lambda: timm.create_model(name)), left, pictures().double())
