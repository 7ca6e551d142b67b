"""Where tensors live: the device that a newcomer would want, and moving whole batches there."""

from __future__ import annotations

from typing import Any

import torch

from fastlearn.errors import ConfigError


def default_device() -> torch.device:
    """The first CUDA GPU, else Apple's MPS, else the CPU. Only asks when called: importing never touches a GPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def as_device(device: Any = None) -> torch.device:
    """A device that can be computed on, from its name (default: `default_device()`); ConfigError if it is not there."""
    if device is None:
        return default_device()
    chosen = _present(device)
    if chosen.type == "meta":
        raise _unusable(device, "it holds no numbers")
    return chosen


def _present(device: Any) -> torch.device:
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
        return chosen
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise _unusable(device, str(error).partition("\n")[0].rstrip(".")) from None


def _unusable(device: Any, why: str) -> ConfigError:
    return ConfigError(f"device={device!r} cannot be used: {why}. Leave device out for {str(default_device())!r}.")


def to_device(nested: Any, device: torch.device | str | None = None, non_blocking: bool = False) -> Any:
    """The same nesting of tuples, lists and dicts with every tensor on `device` (default: `default_device()`).

    Raises ConfigError for a device that is not there; a number is that of a GPU.
    """
    if not isinstance(device, torch.device):  # a device asked for by its name is tried; one of torch's own is trusted
        device = default_device() if device is None else _present(device)
    return _map_tensors(nested, device, non_blocking)


def to_cpu(nested: Any) -> Any:
    """The same nesting with every tensor detached and on the CPU."""
    if isinstance(nested, torch.Tensor):
        return nested.detach().cpu()
    return _rebuild(nested, to_cpu)


def _map_tensors(nested: Any, device: torch.device, non_blocking: bool) -> Any:
    if isinstance(nested, torch.Tensor):
        # to() asks the dispatcher, half a microsecond a tensor, even where there is nothing to move
        return nested if nested.device == device else nested.to(device, non_blocking=non_blocking)
    if type(nested) is tuple:  # what a batch most often is
        return tuple([_map_tensors(part, device, non_blocking) for part in nested])
    return _rebuild(nested, lambda part: _map_tensors(part, device, non_blocking))


def _rebuild(nested: Any, change: Any) -> Any:
    if isinstance(nested, tuple) and hasattr(nested, "_fields"):  # a named tuple takes its fields one by one
        return type(nested)(*(change(part) for part in nested))
    if isinstance(nested, (tuple, list)):
        return type(nested)(change(part) for part in nested)
    if isinstance(nested, dict):
        return type(nested)((key, change(part)) for key, part in nested.items())
    return nested
