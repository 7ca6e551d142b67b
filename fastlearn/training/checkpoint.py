"""Saving and loading: safetensors with JSON in the same file; nothing that is loaded can run code."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastlearn.errors import CheckpointError, damaged, near
from fastlearn.runtime.disk import is_full, lacking, write_whole
from fastlearn.runtime.file_bytes import NO_DIGEST, is_sealed, read_bounded, sealed
from fastlearn.runtime.json_bytes import read_json
from fastlearn.runtime.memory import free_memory
from fastlearn.runtime.tensor_bytes import load_tensors, tensor_pieces
from fastlearn.training.callback import Callback
from fastlearn.training.recorder import Recorder

FORMAT = 3
# What brings the metadata of an earlier format to the next one.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda meta: {**meta, "format": 2},  # it had no digest
    2: lambda meta: {**meta, "format": 3},  # its history was JSON, as it still may be
}
_SUFFIX = ".safetensors"


def checkpoint_path(folder: Path, file: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint called `file`: inside `folder` unless it is absolute, with the suffix added."""
    if not isinstance(file, (str, os.PathLike)):
        raise CheckpointError(f"Expected the name of a file, such as 'stage-1', found {file!r}.")
    path = Path(file)
    if not path.name or "\0" in str(path):
        raise CheckpointError(f"{str(file)!r} cannot name a file. Give a name such as 'stage-1'.")
    if path.suffix != _SUFFIX:
        path = path.with_name(path.name + _SUFFIX)
    return path if path.is_absolute() else folder / path


def write_checkpoint(path: Path, tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> Path:
    """Write tensors and JSON metadata as one file, whole or not at all, with a digest of all of its bytes."""
    try:
        text = json.dumps({"format": FORMAT, **meta}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"Cannot save {path}: part of it has no form in JSON ({error}).") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write in {path.parent}: {error.strerror}. Give a folder with path= or model_dir=."
        ) from error
    try:
        header, *rest = tensor_pieces(tensors, {"fastlearn": text, "sha256": NO_DIGEST})
        write_whole({path: [sealed(header, *rest), *rest]})
    except (OSError, MemoryError) as error:
        missing = lacking(path.parent, sum(tensor.nbytes for tensor in tensors.values()) + len(text))
        way_out = " Free some space, or save under an absolute path on another disk." if is_full(error) else ""
        raise CheckpointError(
            f"Could not save {path}: {error}.{f' {missing}' if missing else ''} What was there before is untouched."
            f"{way_out}"
        ) from error
    return path


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the metadata of a file that `write_checkpoint` made.

    Raises CheckpointError for a file that is missing, foreign, or of a newer format, DamagedFileError for one of which
    a byte has changed.
    """
    if not os.path.isfile(path):  # and not path.is_file(), which raises for a name that is too long
        raise CheckpointError(_missing(path))
    data = read_bounded(path, free_memory(), str(path))
    tensors, metadata = load_tensors(data, str(path))
    if "fastlearn" not in metadata:
        raise CheckpointError(f"{path} holds tensors, but was not written by fastlearn's save.")
    said = metadata.get("sha256")
    if said is not None and not is_sealed(data, said):
        raise damaged(str(path), "its bytes are not those that were written")
    meta = read_json(metadata["fastlearn"].encode(), dict[str, Any], f"{path}'s metadata")
    if not isinstance(meta.get("format"), int) or not 1 <= meta["format"] <= FORMAT:
        raise CheckpointError(
            f"{path} has format {meta.get('format')!r}; this fastlearn reads 1 to {FORMAT}. Update fastlearn."
        )
    if (meta["format"] > 1) != (said is not None):
        raise damaged(str(path), "its digest and its format do not belong together")
    for number in range(meta["format"], FORMAT):
        meta = MIGRATIONS[number](meta)
    return tensors, meta


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors (`optimizer/<parameter>/<name>`) and JSON."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, entry in state["state"].items():
        plain[str(index)] = {n: json_safe(v) for n, v in entry.items() if not isinstance(v, torch.Tensor)}
        tensors |= {f"optimizer/{index}/{n}": v for n, v in entry.items() if isinstance(v, torch.Tensor)}
    groups = json_safe(state["param_groups"])
    meta = {"type": type(optimizer).__name__, "state": plain, "param_groups": groups}
    try:
        json.dumps(meta)
    except TypeError as error:
        raise CheckpointError(
            f"The state of {type(optimizer).__name__} cannot be saved without pickle ({error}). "
            "Use save(..., with_opt=False)."
        ) from error
    return tensors, meta


def unpack_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    meta: dict[str, Any],
    way_out: str = "Make the learner with the same opt_func and splitter, or load(..., with_opt=False).",
) -> None:
    """Give an optimizer the state that `pack_optimizer` took.

    Raises CheckpointError, which ends with `way_out`, when its type or its groups differ.
    """
    if meta.get("type") != type(optimizer).__name__:
        kind = type(optimizer).__name__
        raise CheckpointError(
            f"What was saved is the state of {meta.get('type')}, and the optimizer is {kind}. {way_out}"
        )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        state: dict[int, dict[str, Any]] = {int(i): from_json(entry) for i, entry in meta["state"].items()}
        for key, tensor in tensors.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/", 2)
                state.setdefault(int(index), {})[name] = _laid_out(tensor, parameters[int(index)])
        pairs = zip(optimizer.param_groups, from_json(meta["param_groups"]), strict=True)
        groups = [{k: _like(own.get(k), v) for k, v in group.items()} for own, group in pairs]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"The optimizer's groups of parameters differ from those that were saved ({error}). {way_out}"
        ) from error


def _laid_out(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """`tensor` in the memory format of its parameter (channels-last, say), which foreach kernels need for speed."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device="cpu").copy_(tensor)


def _like(own: Any, value: Any) -> Any:
    """A list from JSON as the tuple that it was."""
    return tuple(value) if isinstance(own, tuple) and isinstance(value, list) else value


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A model's weights and buffers by name. Raises CheckpointError for one that keeps other things in its state."""
    held = model.state_dict()
    if others := [name for name, one in held.items() if not isinstance(one, torch.Tensor)]:
        kind = type(held[others[0]]).__name__
        raise CheckpointError(
            f"The model keeps {others[0]!r} in its state, which is a {kind} and no tensor. Let its get_extra_state "
            "give a tensor, or keep that elsewhere: cbs=KeepState(…)."
        )
    return held


def fitting_weights(
    model: torch.nn.Module, tensors: dict[str, torch.Tensor], strict: bool, source: object
) -> dict[str, torch.Tensor]:
    """The `model/...` tensors by name; a CheckpointError names those that do not fit the model."""
    weights = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    own = model.state_dict()
    wrong = [f"{n}: {tuple(weights[n].shape)} in the file, {tuple(own[n].shape)} in the model"
             for n in own.keys() & weights.keys() if own[n].shape != weights[n].shape]  # fmt: skip
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if wrong or (strict and (missing or extra)):
        parts = [f"other shapes: {_some(sorted(wrong))}" if wrong else "",
                 f"not in the file: {_some(missing)}" if missing else "",
                 f"only in the file: {_some(extra)}" if extra else ""]  # fmt: skip
        raise CheckpointError(
            f"The weights in {source} are of another model ({'; '.join(part for part in parts if part)}). "
            "Make the learner with the same architecture and the same number of classes."
        )
    return weights


_MARKS = {"tensor", "dict"}  # what stands in JSON for a tensor, and for a dict with other names than texts


def pack_callbacks(callbacks: Sequence[Callback]) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """What the callbacks say of their state: tensors by name (`callbacks/<place>/...`), and the rest as JSON."""
    tensors: dict[str, torch.Tensor] = {}

    def plain(value: Any, key: str) -> Any:
        if isinstance(value, torch.Tensor):
            tensors[key] = value
            return {"tensor": key}
        if isinstance(value, dict) and (set(value) & _MARKS or not all(isinstance(name, str) for name in value)):
            return {"dict": [[name, plain(part, f"{key}/{name}")] for name, part in value.items()]}
        if isinstance(value, dict):
            return {name: plain(part, f"{key}/{name}") for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(part, f"{key}/{i}") for i, part in enumerate(value)]
        return value.item() if isinstance(value, np.generic) else value

    said = [(repr(callback), callback.state_dict()) for callback in callbacks]
    entries = [
        {"callback": name, "state": json_safe(plain(state, f"callbacks/{place}"))}
        for place, (name, state) in enumerate(said)
        if state
    ]
    return tensors, entries


def unpack_callbacks(
    callbacks: Sequence[Callback],
    tensors: dict[str, torch.Tensor],
    entries: list[dict[str, Any]],
    strict: bool = True,
) -> list[str]:
    """Give each callback the state that one of the same name said, in their order; others are left as they are.

    Gives the names of those that said something and are not there, or, unless `strict`, cannot take it.
    """

    def whole(value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"tensor"}:
            return tensors[value["tensor"]]
        if isinstance(value, dict) and set(value) == {"dict"}:
            return {name: whole(part) for name, part in value["dict"]}
        if isinstance(value, dict):
            return {name: whole(part) for name, part in value.items()}
        return [whole(part) for part in value] if isinstance(value, list) else value

    waiting, missing = list(callbacks), list[str]()
    for entry in entries:
        match = next((callback for callback in waiting if repr(callback) == entry["callback"]), None)
        if match is None:
            missing.append(entry["callback"])
        else:
            waiting = [callback for callback in waiting if callback is not match]
            try:
                match.load_state_dict(whole(from_json(entry["state"])))
            except (CheckpointError, KeyError, TypeError, ValueError, RuntimeError):
                if strict:
                    raise
                missing.append(entry["callback"])
    return missing


def check_learner_state(state: Any, tensors: dict[str, torch.Tensor], source: object) -> None:
    """Raise CheckpointError unless `state` is whole, so that loading it can no longer fail half-way."""
    try:
        int(state["epoch"]), int(state["step"]), int(state["seed"]), state["precision"].get("scaler")
        unpack_recorder(Recorder(), tensors, state["recorder"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{source} holds weights, but not a whole learner ({type(error).__name__}: {error})."
        ) from error


def _some(names: list[str], most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _missing(path: Path) -> str:
    if os.path.isfile(path.with_suffix(".pth")):
        return (
            f"{path} is not there, but {path.with_suffix('.pth').name} is: a pickle, which fastlearn does not load. "
            "Read it with torch.load(file, weights_only=True), give it to learn.model.load_state_dict, then learn.save."
        )
    if not path.parent.is_dir():
        return f"There is no folder {path.parent}, so nothing was saved there yet."
    saved = sorted(file.stem for file in path.parent.glob(f"*{_SUFFIX}"))
    there = f"It has: {_some(saved, 10)}." if saved else "It has no saved model."
    return f"There is no {path.name} in {path.parent}.{near(path.stem, saved)} {there}"


def pack_recorder(recorder: Recorder) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A history as tensors (`recorder/<column>`), which grow with it, and JSON."""
    tensors = {_HISTORY + name: column for name, column in recorder.column_tensors().items()}
    return tensors, json_safe(recorder.state_dict(columns=False))


def unpack_recorder(recorder: Recorder, tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
    """Give a recorder the history that `pack_recorder` took; in older files, all of it is JSON."""
    columns = {name.removeprefix(_HISTORY): one for name, one in tensors.items() if name.startswith(_HISTORY)}
    recorder.load_state_dict(from_json(meta) | columns)


_HISTORY = "recorder/"
_NOT_FINITE = {f"float:{value}": value for value in (math.nan, math.inf, -math.inf)}


def json_safe(value: Any) -> Any:
    """NaN and infinity as strings, which JSON has no numbers for."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float:{value}"
    if isinstance(value, dict):
        return {key: json_safe(part) for key, part in value.items()}
    return [json_safe(part) for part in value] if isinstance(value, (list, tuple)) else value


def from_json(value: Any) -> Any:
    """What `json_safe` was given."""
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: from_json(part) for key, part in value.items()}
    return [from_json(part) for part in value] if isinstance(value, list) else value
