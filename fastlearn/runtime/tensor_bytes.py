"""Tensors as safetensors bytes in memory: a header that lies is found before the memory that it asks for is taken.

Files are not mapped: one that is cut short while it is mapped kills the process.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from fastlearn.errors import CheckpointError, damaged
from fastlearn.runtime.json_bytes import read_json

MOST_HEADER = 32 << 20  # bytes
MOST_TENSORS = 100_000
MOST_NAME = 1024  # characters
_METADATA = "__metadata__"
_DTYPES = {  # in the order in which safetensors puts them into a file, so that wide numbers come first
    "U64": torch.uint64, "I64": torch.int64, "F64": torch.float64, "C64": torch.complex64,
    "F32": torch.float32, "U32": torch.uint32, "I32": torch.int32, "BF16": torch.bfloat16, "F16": torch.float16,
    "U16": torch.uint16, "I16": torch.int16, "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_RANK = {dtype: rank for rank, dtype in enumerate(_NAMES)}
Piece = bytes | memoryview

Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Entry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a header says of one tensor; the offsets count from the end of the header."""

    dtype: str
    shape: Annotated[tuple[Size, ...], msgspec.Meta(max_length=64)]  # torch has no more dimensions
    data_offsets: tuple[Size, Size]


def load_tensors(data: bytes, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors in safetensors bytes, on the CPU and in the order of the header, and the metadata.

    The header is checked first, and against the length of `data`, so that it can ask for no memory beyond that.
    A changed value is no fault of the format: only a digest tells. Raises DamagedFileError, which names `what`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    entries, metadata, n_bytes = _read_header(data, what)
    _check_entries(entries, n_bytes, what)
    try:
        loaded = load(data)
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise damaged(what, f"safetensors cannot read it ({error})") from error
    tensors = {name: loaded[name] for name in entries}
    for name, tensor in tensors.items():
        if tensor.dtype == torch.bool and tensor.numel() and tensor.view(torch.uint8).amax() > 1:
            raise damaged(what, f"the flags in {name!r} are neither 0 nor 1")
    return tensors, metadata


def save_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Tensors and metadata as safetensors bytes that `load_tensors` takes back; tied weights are written twice.

    The same content always gives the same bytes. Raises CheckpointError for what the format has no form for.
    """
    return b"".join(tensor_pieces(tensors, metadata))


def tensor_pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> list[Piece]:
    """The bytes of `save_tensors` one piece after the other, the first with all metadata: each tensor's own memory.

    Nothing is copied but what lies on a GPU or in another order, so the tensors must stay as they are meanwhile.
    """
    check_savable(tensors)
    texts = dict(sorted((metadata or {}).items()))
    if wrong := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise CheckpointError(f"The metadata {wrong[0]!r} is no text. Put other values into it as JSON.")
    ordered = sorted(tensors.items(), key=lambda item: (_RANK[item[1].dtype], item[0]))  # as safetensors has them
    try:
        header = _header(ordered, texts)
    except ValueError as error:
        raise CheckpointError(f"The names or metadata of the tensors have no form in safetensors: {error}") from error
    if len(header) > MOST_HEADER or len(tensors) > MOST_TENSORS:
        raise CheckpointError(
            f"{len(tensors):,} tensors with {len(header):,} bytes of names and metadata are more than the "
            f"{MOST_TENSORS:,} and {MOST_HEADER:,} that are read back. Put them into several files."
        )
    return [len(header).to_bytes(8, "little") + header, *(_memory(tensor) for _, tensor in ordered)]


def _header(ordered: Sequence[tuple[str, Tensor]], texts: dict[str, str]) -> bytes:
    entries: dict[str, Any] = {_METADATA: texts} if texts else {}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)  # so that the numbers lie on multiples of their size


def _memory(tensor: Tensor) -> memoryview:
    """A tensor's numbers in their order, where they lie if they lie so."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    flat = plain.as_strided((plain.numel(),), (1,))  # a single number may have any stride
    return flat.view(torch.uint8).numpy().data


def _read_header(data: bytes, what: str) -> tuple[dict[str, Entry], dict[str, str], int]:
    """The entries, the metadata, and how many bytes follow the header."""
    n_header, n_left = int.from_bytes(data[:8], "little"), len(data) - 8
    if n_left < 2:
        raise damaged(what, f"it ends after {len(data)} bytes")
    if n_header > min(MOST_HEADER, n_left):
        most = min(MOST_HEADER, n_left)
        raise damaged(what, f"its header should have {n_header:,} bytes, and at most {most:,} can be read")
    header = read_json(data[8 : 8 + n_header], dict[str, dict[str, Any]], f"The header of {what}")
    metadata = header.pop(_METADATA, {})
    if len(header) > MOST_TENSORS:
        raise damaged(what, f"it lists {len(header):,} tensors, and at most {MOST_TENSORS:,} are read")
    entries = {name: _converted(entry, Entry, name, what) for name, entry in header.items()}
    return entries, _converted(metadata, dict[str, str], _METADATA, what), n_left - n_header


def _converted(value: Any, kind: Any, name: str, what: str) -> Any:
    if len(name) > MOST_NAME:
        raise damaged(what, f"it has a name of {len(name):,} characters, and at most {MOST_NAME} are read")
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise damaged(what, f"in its header, {name!r}: {error}") from error


def _check_entries(entries: dict[str, Entry], n_bytes: int, what: str) -> None:
    """Raises DamagedFileError unless each tensor has the bytes that its shape takes, and each byte belongs to one."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        if entry.dtype not in _DTYPES:
            raise damaged(what, f"{name!r} is of the unknown type {entry.dtype!r}")
        item, (start, stop) = _DTYPES[entry.dtype].itemsize, entry.data_offsets
        if math.prod(entry.shape) * item != stop - start or math.prod(map(_or_one, entry.shape)) * item >= 2**63:
            raise damaged(what, f"{name!r} has {stop - start:,} bytes, which are not {entry.dtype} of {entry.shape}")
        if start != end:
            raise damaged(what, f"{name!r} begins at byte {start:,} of the data, and the one before it ends at {end:,}")
        end = stop
    if end != n_bytes:
        raise damaged(what, f"its tensors take {end:,} bytes, and {n_bytes:,} are there")


def _or_one(size: int) -> int:
    return size or 1


def check_savable(tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for a name or a tensor that safetensors has no form for."""
    for name, tensor in tensors.items():
        _check_savable(name, tensor)


def _check_savable(name: str, tensor: Tensor) -> None:
    if name == _METADATA or len(name) > MOST_NAME:
        raise CheckpointError(f"A tensor cannot be saved under the name {name[:50]!r}. Give it another one.")
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in _DTYPES.values():
        kind = "has no values (device='meta')" if tensor.is_meta else f"is {tensor.layout} of {tensor.dtype}"
        raise CheckpointError(
            f"The tensor {name!r} {kind}, for which safetensors has no form. Save it as a dense tensor of a plain type."
        )
