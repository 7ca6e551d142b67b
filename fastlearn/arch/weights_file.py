"""State dicts in files: read without running code from them, checked, and loaded into a network whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastlearn.arch.pickle_scan import PickleFault, scan_pickle
from fastlearn.errors import CheckpointError, WeightsError
from fastlearn.runtime.file_bytes import open_regular, read_bounded
from fastlearn.runtime.memory import free_memory
from fastlearn.runtime.tensor_bytes import load_tensors
from fastlearn.runtime.zip_bytes import member_bytes, open_zip

_ZIP, _BEFORE_ZIP = b"PK\x03\x04", pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # how torch.save begins a file
_N_PICKLES = 5  # in a file of the time before zip: a number, the version, the machine, the object, the storages
_MOST_PICKLE = 64 << 20  # bytes of names and shapes, before or beside the values
_MOST_DIRECTORY = 32 << 20  # bytes; torch keeps each tensor as a member of its zip


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors in a .safetensors, .pth or .bin file, on the CPU. Nothing in the file is run (`weights_only`).

    A pickle that asks for more than tensors, and a file that takes more than the free memory, are refused before they
    are loaded. Raises WeightsError.
    """
    path = Path(path).expanduser()
    if not os.path.isfile(path):  # and not path.is_file(), which raises for a name that is too long
        raise WeightsError(f"No weights file at {path}. Expected a .pth or .safetensors file.")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        found, n_bytes = _read_torch_file(path)
    except (CheckpointError, PickleFault) as error:
        raise WeightsError(
            f"Cannot read the weights in {path}: {reason_of(error)}. A download cut short? "
            "Then delete it and try again."
        ) from None
    state = found.get("state_dict", found.get("model", found)) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise WeightsError(f"{path} holds no state dict of tensors, as torch.save(model.state_dict(), path) makes one.")
    _check_tensors(path, state, n_bytes)
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    _check_room(path, 2 * size)  # the bytes, and the tensors made of them
    return load_tensors(read_bounded(path, size, "the file"), "the file")[0]


def _read_torch_file(path: Path) -> tuple[Any, int]:
    """What torch.save wrote, and how many bytes it unpacks to."""
    with open_regular(path, "the file") as (file, size):
        head = file.read(len(_BEFORE_ZIP))
    if head.startswith(_ZIP):
        n_bytes, names = _look_into_zip(path)
    elif head == _BEFORE_ZIP:
        n_bytes, names = size, _look_into_pickles(path)
    else:
        raise _of_something_else(path, head)
    _check_room(path, n_bytes)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=False), n_bytes
    except pickle.UnpicklingError:  # its text tells how to go on without weights_only
        if names:
            raise _is_a_program(path, f"it would run {', '.join(sorted(names)[:3])}") from None
        raise PickleFault("its pickle holds what torch.load(…, weights_only=True) does not take") from None
    except Exception as error:  # a damaged file comes as any of a dozen
        raise PickleFault(reason_of(error)) from error


def _look_into_zip(path: Path) -> tuple[int, set[str]]:
    """How many bytes the members unpack to, and which names, beyond those of tensors, the pickle would import."""
    names: set[str] = set()
    with open_zip(path, "the file", _MOST_DIRECTORY) as zipped:
        members = zipped.infolist()
        for info in members:
            if info.filename.lower().endswith("data.pkl"):  # torch looks it up without regard to case
                if info.file_size > _MOST_PICKLE:
                    raise PickleFault(f"it lists {info.file_size:,} bytes of names, and {_MOST_PICKLE:,} are read")
                names |= scan_pickle(io.BytesIO(member_bytes(zipped, info, "the file")))
        return sum(info.file_size for info in members), names


def _look_into_pickles(path: Path) -> set[str]:
    with open_regular(path, "the file") as (file, _):
        stream = io.BytesIO(file.read(_MOST_PICKLE))
    return set().union(*(scan_pickle(stream) for _ in range(_N_PICKLES)))


def _check_room(path: Path, n_bytes: int) -> None:
    free = free_memory()
    if n_bytes > free:
        raise WeightsError(
            f"Cannot read the weights in {path}: that takes {n_bytes / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} "
            "are free. Shut down other notebooks, or use a smaller network."
        )


def _check_tensors(path: Path, state: dict[str, Tensor], n_bytes: int) -> None:
    """Raises WeightsError for a tensor without values of its own: a shape alone can ask for any amount of memory."""
    for name, tensor in state.items():
        if tensor.is_meta or tensor.layout != torch.strided or tensor.nbytes > n_bytes:
            raise WeightsError(
                f"Cannot read the weights in {path}: the file does not hold the values of {name!r}, a tensor of shape "
                f"{str(tuple(tensor.shape)):.100}. Save them again with torch.save(model.state_dict(), path)."
            )


def _of_something_else(path: Path, head: bytes) -> WeightsError:
    if head.startswith(b"\x80") or path.suffix in (".pkl", ".pickle"):
        return _is_a_program(path, "it was made by pickle and not by torch.save")
    begins = f"it begins with {head[:8]!r}, as no file of torch.save does" if head else "it is empty"
    return WeightsError(
        f"Cannot read the weights in {path}: {begins}. A download cut short? Then delete it and try again."
    )


def _is_a_program(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"Cannot read the weights in {path}: it is not only weights but a program ({why}), and nothing that is loaded "
        "here is run. If it is an export.pkl of fast.ai, or another learner or model saved whole, load it where you "
        'trust it, type torch.save(learn.model.state_dict(), "weights.pth") there, and pass weights="weights.pth" here.'
    )


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
