"""From a network to a body: where it is cut, what features it gives, how many channels it reads, its layer groups.

Imports torch alone, so that a saved model can be rebuilt without the training code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fastlearn.arch.head import Features, Layout
from fastlearn.errors import ConfigError
from fastlearn.options import found, named_options
from fastlearn.runtime.modes import kept_modes

Cut = int | Callable[[nn.Module], nn.Module]
_GLOBAL_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
# Sizes to try for the dry run: small ones are cheap, but windows and inception-like strides need more pixels.
_PROBE_SIZES = (64, 128, 224, 256, 299)


@named_options
def create_body(network: nn.Module, cut: Cut | None = None) -> nn.Sequential:
    """`network` without its classifier: its top-level children up to the global pooling, or up to `cut`.

    `cut` is a number of children to keep (negative: to leave out), or a function from the network to a body. What the
    network does between its children, such as DenseNet's last ReLU, is left out, as in fast.ai.

    Raises ConfigError for what is no network or no cut, and where the network shows no place to cut.

    >>> create_body(torchvision.models.resnet18())
    """
    if not isinstance(network, nn.Module):
        raise ConfigError(f"create_body takes a network, not {found(network)}. Type create_body(resnet18()).")
    if isinstance(cut, type) or not (cut is None or callable(cut) or (isinstance(cut, int) and cut is not True)):
        raise ConfigError(f"cut is a number of children to keep or a function from network to body, not {found(cut)}.")
    if callable(cut):
        body = cut(network)
        return body if isinstance(body, nn.Sequential) else nn.Sequential(body)
    children = list(network.children())
    if not children:
        raise ConfigError(f"{type(network).__name__} has no layers inside it to cut. Use Learner(dls, model) for it.")
    return nn.Sequential(*children[: find_cut(network) if cut is None else cut])


def find_cut(network: nn.Module) -> int:
    """How many top-level children come before the classifier.

    The last child with a global pooling inside starts the classifier; where pooling is a function call and no child,
    the last child with a linear layer does. (Squeeze-and-excite blocks pool too, but a later child does so as well.)
    """
    children = list(network.children())
    for kinds in (_GLOBAL_POOLS, (nn.Linear,)):
        found = [i for i, child in enumerate(children) if any(isinstance(m, kinds) for m in child.modules())]
        if found and found[-1] > 0:
            return found[-1]
    raise ConfigError(
        f"Cannot tell where the body of {type(network).__name__} ends: no pooling or linear layer after its first "
        f"child ({', '.join(name for name, _ in network.named_children())}). Pass cut=<number of children to keep>."
    )


def body_features(body: nn.Module, n_in: int = 3) -> Features:
    """What `body` gives for pictures of `n_in` channels, by a dry run that leaves no trace in it or in the RNG."""
    problem: Exception | None = None
    for size in _sizes(body):
        try:
            with _dry(body):
                out = body(_zeros(body, n_in, size))
            return _describe(body, out)
        except ConfigError:
            raise
        except Exception as error:  # whatever a foreign network raises for a size that it cannot take
            problem = error
    reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    raise ConfigError(
        f"The body {type(body).__name__} cannot be run on a picture of {n_in} channels ({reason}). If the network "
        "does more in its forward than call its children in turn, pass cut=<function from network to body>, or take "
        'a timm architecture by name, such as "vit_tiny_patch16_224".'
    ) from None


def adapt_input(network: nn.Module, n_in: int, pretrained: bool) -> None:
    """Make the first convolution read `n_in` channels, in place.

    Pretrained on three channels: for 1 they are summed (a grey picture then gives what its RGB copy gave); for 2 the
    first two are kept, times 1.5; for more the first three are kept and the new ones start at zero, so the network
    begins as it was. Without pretrained weights the layer is drawn anew.
    """
    for conv in _first_convs(network):
        if conv.in_channels == n_in:
            continue
        weight = conv.weight.detach()  # (out, 3, height, width)
        if conv.groups != 1 or (pretrained and weight.shape[1] != 3):
            raise ConfigError(f"The first layer of this network cannot be made to read {n_in} channels: {conv}.")
        conv.weight = nn.Parameter(_adapted(weight, n_in) if pretrained else _drawn(weight, n_in))
        conv.in_channels = n_in


def default_split(model: nn.Module) -> list[list[nn.Parameter]]:
    """Two layer groups: the body, and the head. `model` is a Sequential of the two."""
    return _groups([[model[0]], [model[1]]])  # type: ignore[index]


def split_body(model: nn.Module, at: int) -> list[list[nn.Parameter]]:
    """Three layer groups: the body's stem and early layers, the rest of the body from child `at` on, and the head."""
    children = list(model[0].children())  # type: ignore[index]
    if len(children) == 1:  # torchvision's VGG, DenseNet and the like keep all layers in one child
        children = list(children[0].children())
    if len(children) <= at:
        return default_split(model)
    return _groups([children[:at], children[at:], [model[1]]])  # type: ignore[index]


# Where fast.ai starts the second group of the torchvision families; all others have two groups.
_GROUP_STARTS = {"resnet": 6, "resnext": 6, "wide_resnet": 6, "squeezenet": 5, "densenet": 7, "vgg": 22, "alexnet": 6}


def family_split(library: str | None, name: str | None) -> Callable[[nn.Module], list[list[nn.Parameter]]]:
    """The splitter for an architecture: fast.ai's three groups where it has them, else body and head."""
    for family, at in _GROUP_STARTS.items():
        if library == "torchvision" and name is not None and name.startswith(family):
            return lambda model, at=at: split_body(model, at)  # type: ignore[misc]
    return default_split


def _groups(parts: list[list[nn.Module]]) -> list[list[nn.Parameter]]:
    seen: set[nn.Parameter] = set()
    groups: list[list[nn.Parameter]] = []
    for part in parts:
        own = dict.fromkeys(p for module in part for p in module.parameters() if p not in seen)  # tied weights: once
        seen.update(own)
        groups.append(list(own))
    return groups


@contextmanager
def _dry(body: nn.Module) -> Iterator[None]:
    with kept_modes(body), torch.random.fork_rng(devices=[]), torch.no_grad():
        body.eval()
        yield


def _sizes(body: nn.Module) -> tuple[int, ...]:
    config = getattr(body, "pretrained_cfg", None) or {}
    own = config.get("input_size", (3, _PROBE_SIZES[-1], 0))[1]
    return (*(size for size in _PROBE_SIZES if size < own), own)


def _zeros(body: nn.Module, n_in: int, size: int) -> Tensor:
    like = next(body.parameters(), torch.empty(0))
    return torch.zeros(1, n_in, size, size, device=like.device, dtype=like.dtype)


def _describe(body: nn.Module, out: object) -> Features:
    if not isinstance(out, Tensor) or out.dim() not in (2, 3, 4):
        found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ConfigError(f"The body {type(body).__name__} gives {found}. Expected (batch, channels, height, width).")
    if out.dim() == 3:
        n_prefix = getattr(body, "num_prefix_tokens", 0) or 0
        class_token = getattr(body, "cls_token", None) is not None and n_prefix > 0
        return Features(out.shape[2], "NLC", n_prefix, class_token)
    if out.dim() == 4 and str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC"):
        return Features(out.shape[3], "NHWC")
    layout: Layout = "NCHW" if out.dim() == 4 else "NC"
    return Features(out.shape[1], layout)


def _first_convs(network: nn.Module) -> list[nn.Conv2d]:
    """timm names the layers that read the picture (a stem of branches has several); else the first convolution."""
    named = (getattr(network, "pretrained_cfg", None) or {}).get("first_conv") or ()
    names = (named,) if isinstance(named, str) else tuple(named)
    found = [m for m in (network.get_submodule(name) for name in names) if isinstance(m, nn.Conv2d)]
    found = found or [m for m in network.modules() if isinstance(m, nn.Conv2d)][:1]
    if not found:
        raise ConfigError(f"{type(network).__name__} has no convolution to adapt to another number of channels.")
    return found


def _adapted(weight: Tensor, n_in: int) -> Tensor:
    if n_in == 1:
        return weight.sum(1, keepdim=True)
    if n_in == 2:
        return weight[:, :2] * 1.5
    extra = weight.new_zeros(weight.shape[0], n_in - 3, *weight.shape[2:])
    return torch.cat([weight, extra], 1)


def _drawn(weight: Tensor, n_in: int) -> Tensor:
    new = weight.new_empty(weight.shape[0], n_in, *weight.shape[2:])
    return nn.init.kaiming_normal_(new, mode="fan_out", nonlinearity="relu")
