"""Architectures by name, their pretrained weights, and the statistics that their pictures were normalised with.

Weights come from a file that the user names, from the installed Lite0 package, from the caches of torch and of the
Hugging Face hub, and else from the network, in this order. Files are read without running code from them. If none can
be had, a `WeightsError` says what was tried; a network never starts from random weights in silence.
Imports no training code, so that a saved model can be rebuilt where only it is needed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from fastlearn.arch.from_timm import check_timm_name, timm_config, timm_network
from fastlearn.arch.from_torchvision import is_torchvision, torchvision_entry, torchvision_network
from fastlearn.arch.weights_file import is_weights_file, load_into, read_state_dict
from fastlearn.errors import ConfigError
from fastlearn.options import found

Library = Literal["torchvision", "timm", "callable"]
Arch = str | Callable[..., nn.Module]


@dataclass(frozen=True)
class ArchRef:
    """An architecture by name, or a user's own function (`library="callable"`)."""

    library: Library
    name: str
    factory: Callable[..., nn.Module] | None = None


@dataclass(frozen=True)
class PretrainedStats:
    """How the pictures of pretraining were made: `mean` and `std` for each channel of pictures in 0..1, `size` in
    pixels of the square network input, cropped from a picture resized to `resize` by `interpolation`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    resize: int
    interpolation: str

    def for_channels(self, n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) for `n` channels: each channel beyond red, green, blue, and a grey one, gets their average."""
        if n == len(self.mean):
            return self.mean, self.std
        mean, std = sum(self.mean) / len(self.mean), sum(self.std) / len(self.std)
        keep = 3 if n > 3 else 0
        return (*self.mean[:keep], *[mean] * (n - keep)), (*self.std[:keep], *[std] * (n - keep))


def resolve_arch(arch: Arch | ArchRef) -> ArchRef:
    """What `arch` names: a string is a timm name ("resnet18", "resnet18.a1_in1k"), a function of torchvision's or of
    fastlearn's `models` is a torchvision name, and any other callable is the user's own.

    >>> resolve_arch("resnet18").library
    'timm'
    """
    if isinstance(arch, ArchRef):
        return arch
    if isinstance(arch, str):
        check_timm_name(arch)
        return ArchRef("timm", arch)
    if isinstance(arch, nn.Module):
        raise ConfigError(
            f"arch is a finished {type(arch).__name__}. Expected a function that makes one, without brackets, such as "
            "resnet18, or a timm name. For a network of your own use Learner(dls, model)."
        )
    if not callable(arch):
        raise ConfigError(
            f'Unknown arch {found(arch)}. Expected a function such as resnet18, or a timm name ("resnet18").'
        )
    name, module = getattr(arch, "__name__", type(arch).__name__), getattr(arch, "__module__", "") or ""
    if (module.startswith("torchvision.models.") or module == f"{__package__}.models") and is_torchvision(name):
        return ArchRef("torchvision", name)
    return ArchRef("callable", name, arch)


def build_network(
    arch: Arch | ArchRef, pretrained: bool = True, weights: Any = None, n_in: int = 3, options: Any = None
) -> nn.Module:
    """The whole network of `arch` on the CPU; of timm's without pooling and classifier, so that it gives features.

    `weights` picks others than the default: an entry or name of torchvision's weights enum (default its first, the
    one that fast.ai uses), or the path of a .pth or .safetensors file. For timm the name itself picks them
    ("resnet18.a1_in1k"). `n_in` is used for random weights only: pretrained ones read three channels.
    `options` are keyword arguments for the torchvision function.
    """
    ref = resolve_arch(arch)
    if weights is not None and not pretrained:
        raise ConfigError(f"weights={str(weights)!r} and pretrained=False contradict each other. Drop one of them.")
    if ref.library == "timm":
        return timm_network(ref.name, pretrained, weights, n_in)
    if ref.library == "torchvision":
        return torchvision_network(ref.name, pretrained, weights, dict(options or {}))
    return _own_network(ref, pretrained, weights)


def pretrained_stats(arch: Arch | ArchRef, weights: Any = None) -> PretrainedStats | None:
    """The picture statistics of `arch`'s pretrained weights, without loading them; None for a user's own function.

    >>> pretrained_stats("tf_efficientnet_lite0").mean
    (0.5, 0.5, 0.5)
    """
    ref = resolve_arch(arch)
    if ref.library == "timm":
        cfg = timm_config(ref.name)
        size = cfg.input_size[1]
        return PretrainedStats(tuple(cfg.mean), tuple(cfg.std), size, round(size / cfg.crop_pct), cfg.interpolation)
    if ref.library == "torchvision":
        entry = torchvision_entry(ref.name, None if is_weights_file(weights) else weights)
        rule = entry.transforms()
        return PretrainedStats(
            tuple(rule.mean), tuple(rule.std), rule.crop_size[0], rule.resize_size[0], rule.interpolation.value
        )
    return None


def _own_network(ref: ArchRef, pretrained: bool, weights: Any) -> nn.Module:
    assert ref.factory is not None
    try:
        takes_pretrained = "pretrained" in inspect.signature(ref.factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        takes_pretrained = False
    wants_file = pretrained and is_weights_file(weights)
    if pretrained and not wants_file and not takes_pretrained:
        raise ConfigError(
            f"{ref.name} takes no argument `pretrained`, so it would start from random weights. "
            'Pass pretrained=False, or weights="<path of a .pth or .safetensors file>".'
        )
    try:
        network = ref.factory(pretrained=pretrained and not wants_file) if takes_pretrained else ref.factory()
    except TypeError as error:
        raise ConfigError(
            f"{ref.name} could not be called without arguments: {error}. Give a function of none (or of `pretrained`), "
            "such as partial(MyNet, width=64)."
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{ref.name} gave a {type(network).__name__}. Expected an nn.Module.")
    if wants_file:
        load_into(network, read_state_dict(weights), ref.name)
    return network
