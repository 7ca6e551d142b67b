"""State dicts in files: read without running code from them, checked, and loaded into a network whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastlearn.errors import WeightsError


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
            f"Cannot read the weights in {path}: {reason_of(error)}. A download cut short? "
            "Then delete it and try again."
        ) from None
    state = found.get("state_dict", found.get("model", found)) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors, as torch.save(model.state_dict(), path) makes one.")
    return state


def check_hash(path: Path) -> None:
    """torch checks the hash in a file's name after a download only; a file cut short later would get past it."""
    expected = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if expected is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected[1]):
        raise WeightsError(f"{path} is damaged: its SHA-256 begins with {found[:8]}, not {expected[1]}. Delete it.")


def load_into(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load `state` into `network`; WeightsError with the first faults if they do not fit each other."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        faults = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise WeightsError(f"The weights do not fit {name}: {faults[:300]}") from None


def is_weights_file(weights: Any) -> bool:
    """Whether `weights` means a file: a path object, or a string with a weights suffix or a folder in it."""
    if isinstance(weights, os.PathLike):
        return True
    return isinstance(weights, str) and (weights.endswith((".pth", ".pt", ".bin", ".safetensors")) or os.sep in weights)


def reason_of(error: BaseException) -> str:
    """The first line of what went wrong, for use inside a longer message."""
    inner = getattr(error, "reason", None)  # urllib wraps what happened
    text = str(inner if isinstance(inner, BaseException) else error).strip()
    return text.splitlines()[0] if text else type(error).__name__
