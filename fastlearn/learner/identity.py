"""What a training depends on beside its state: data, model, hyperparameters, and the machine that it runs on."""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fastlearn.data.identity import data_identity, short_digest
from fastlearn.training.callback import Callback

if TYPE_CHECKING:
    from fastlearn.learner.setup import LearnerSetup

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")
_OURS = ("fastlearn", "torch", "torchvision", "timm", "numpy")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
MACHINE = "environment"  # a difference here may change bits, and is told; the other parts must be equal


def identity_of(learn: LearnerSetup, callbacks: Iterable[Callback]) -> dict[str, Any]:
    """By name: `data`, `model`, `hyperparameters` and `environment`, as JSON values."""
    return {
        "data": data_identity(learn.dls),
        "model": _model(learn.model),
        "hyperparameters": _hyperparameters(learn, callbacks),
        MACHINE: _environment(learn),
    }


def _model(model: nn.Module) -> dict[str, Any]:
    held = {name: one for name, one in model.state_dict().items() if isinstance(one, torch.Tensor)}
    shapes = "".join(f"{name}{tuple(tensor.shape)}{tensor.dtype};" for name, tensor in held.items())
    spec = getattr(model, "spec", None)
    return {
        "architecture": type(model).__name__ if spec is None else repr(spec),
        "layers": short_digest(_ADDRESS.sub("", repr(model))),
        "shapes of the weights": short_digest(shapes),
    }


def _hyperparameters(learn: LearnerSetup, callbacks: Iterable[Callback]) -> dict[str, Any]:
    return {
        "loss_func": described(learn.loss_func),
        "opt_func": described(learn.opt_func),
        "lr": described(learn.lr),
        "picked_lr": learn.picked_lr,
        "wd": learn.wd,
        "wd_bn_bias": learn.wd_bn_bias,
        "train_bn": learn.train_bn,
        "moms": list(learn.moms),
        "bn": learn.bn,
        "seed": learn.given_seed,
        "metrics": [metric.name for metric in learn.metrics],
        "groups": [len(group) for group in learn.groups],
        "step": described(learn.step),
        "callbacks": [described(callback) for callback in callbacks if matters(callback)],
    }


def matters(callback: Callback) -> bool:
    """Whether a callback may change the training, or knows something about it: not one that only shows or saves it."""
    return not getattr(callback, "is_bar", False) and not getattr(callback, "only_watches", False)


def _environment(learn: LearnerSetup) -> dict[str, Any]:
    device = learn.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        **{package: _version(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "precision": learn.precision.name,
        "channels_last": learn.channels_last,
        "compiled": learn._compiled is not None,
    }


def _processor() -> str:
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def described(value: Any) -> Any:
    """A function by its name, an object by its class and what it was made with, plain values as such."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(name): described(part) for name, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, slice):
        return f"slice({value.start}, {value.stop})"
    if isinstance(value, (list, tuple)):
        return [described(part) for part in value]
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)} {short_digest(value.detach().cpu().float().numpy().tobytes())}"
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"array {value.shape} {short_digest(value.tobytes())}"
    if isinstance(value, functools.partial):
        given = [str(described(part)) for part in value.args] + ([_listed(value.keywords)] if value.keywords else [])
        return f"{described(value.func)}({', '.join(given)})"
    if isinstance(value, type) or inspect.isroutine(value):
        return str(getattr(value, "__qualname__", type(value).__name__)) + _inside(value)
    held = [_listed(dict(_arguments(value)))]
    if isinstance(value, nn.Module):  # a loss keeps its classes' weights there
        held += [f"{name}={described(buffer)}" for name, buffer in value.named_buffers()]
    return f"{_named(value)}({', '.join(filter(None, held))})"


def _inside(function: Any) -> str:
    """What tells functions of one name apart: their defaults, plain values that they enclose, and constants."""
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        return ""
    kept = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    if (function.__module__ or "").partition(".")[0] not in _OURS:  # the rest is the same for a version of a library
        kept += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        kept += [one for one in function.__code__.co_consts if one != function.__doc__]
    plain = [repr(one) for one in kept if _is_plain(one)]
    return f" [{short_digest(', '.join(plain))}]" if plain else ""


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:  # a name that is given its value later
        return True


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str))


def _named(value: Any) -> str:
    named = _ADDRESS.sub("", repr(value)) if isinstance(value, Callback) else ""
    return named if named and "(" not in named else type(value).__qualname__


def _arguments(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object was made with, as far as it keeps that under the names of its parameters."""
    try:
        parameters = inspect.signature(type(value).__init__).parameters
    except (TypeError, ValueError):
        return
    held = vars(value) if hasattr(value, "__dict__") else {}
    yield from ((name, held[name]) for name in parameters if name in held)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={described(value)}" for name, value in values.items())


def differences(saved: dict[str, Any], now: dict[str, Any], parts: Callable[[str], bool]) -> list[str]:
    """What is not as it was in the chosen parts, in words: `batch size of the training set: 32, now 64`."""
    return [line for part in now if parts(part) for line in _differences(saved.get(part, {}), now[part], "")]


def _differences(saved: Any, now: Any, where: str) -> Iterator[str]:
    if isinstance(saved, dict) and isinstance(now, dict):
        for name in sorted(saved.keys() | now.keys()):
            yield from _differences(saved.get(name), now.get(name), f"{name} of the {where}" if where else name)
    elif saved != now:
        yield f"{where}: {_shown(saved)}, now {_shown(now)}"


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    text = text or "none"
    return text if len(text) <= 160 else f"{text[:157]}…"
