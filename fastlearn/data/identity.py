"""Which data these are: files, sizes, labels, transforms and batches, so that a training goes on with the same."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.paths import PathList

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SEEN = 1 << 26  # bytes of an array that are looked at


def data_identity(dls: DataLoaders) -> dict[str, Any]:
    """What tells these data from others, by name, as JSON values; for the loaders of training and validation.

    Files are told by their places below the common folder, their sizes and their labels, so a folder that was copied
    to another place or machine is the same. Of loaders of other libraries little can be told.
    """
    sides = zip(("training set", "validation set"), dls.loaders, strict=False)
    told: dict[str, Any] = {name: _set_identity(loader) for name, loader in sides}
    return told | {"classes": _digest(map(str, dls.vocab)) if getattr(dls, "vocab", None) is not None else None}


def _set_identity(loader: Any) -> dict[str, Any]:
    dataset = getattr(loader, "dataset", None)
    told: dict[str, Any] = {"batches": len(loader), "batch size": getattr(loader, "bs", None)}
    for what, name in (("shuffled", "shuffle"), ("drop_last", "drop_last")):
        if hasattr(loader, name):
            told[what] = bool(getattr(loader, name))
    weights = getattr(loader, "weights", None)
    if weights is not None:
        told["weights"] = _digest([np.asarray(weights).tobytes()])
    if dataset is None or not hasattr(dataset, "__len__"):
        return told
    told["samples"] = len(dataset)
    told["transforms"] = _named(getattr(dataset, "item_tfms", ()))
    told["batch transforms"] = _named(getattr(getattr(loader, "after_batch", None), "tfms", ()))
    told["samples' content"] = _digest(_contents(dataset))
    return told


def _named(tfms: Iterable[Any]) -> list[str]:
    return [_ADDRESS.sub("", repr(tfm)) for tfm in tfms]


def _contents(dataset: Any) -> Iterator[bytes]:
    """What the samples are, piece by piece."""
    items = getattr(dataset, "items", dataset)
    if isinstance(items, PathList):
        yield from _files(items)
    elif hasattr(items, "columns"):
        yield ",".join(map(str, items.columns)).encode()
        yield from (_bytes_of(list(row)) for row in items.itertuples())
    else:
        yield from _others(dataset, items)
    for part in range(getattr(dataset, "n_inp", 0), len(getattr(dataset, "raw", ()))):
        yield from (_bytes_of(label) for label in dataset.raw[part])


def _files(paths: PathList) -> Iterator[bytes]:
    texts = list(paths.text)
    common = os.path.commonpath(texts) if texts else ""
    for text in texts:
        yield os.fsencode(text[len(common) :])
        try:
            yield b"%d" % os.stat(text).st_size
        except OSError:  # reading it says better what is wrong
            yield b"gone"


def _others(dataset: Any, items: Any) -> Iterator[bytes]:
    """Arrays and tensors by their bytes, lists of plain values by these; of other objects the class alone is told."""
    if isinstance(items, (np.ndarray, torch.Tensor)):
        yield _bytes_of(items)
    elif isinstance(items, (list, tuple)):
        yield from (_bytes_of(item) for item in items)
    tensors = getattr(items, "tensors", None)  # of torch's TensorDataset
    if isinstance(tensors, (list, tuple)):
        yield from map(_bytes_of, tensors)
    yield type(items).__qualname__.encode()


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().float().numpy() if value.dtype == torch.bfloat16 else value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        head = value.reshape(-1)[: _SEEN // max(1, value.itemsize)]
        return f"{value.dtype} {value.shape} ".encode() + head.tobytes()
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return b"(" + b",".join(map(_bytes_of, value)) + b")"
    plain = isinstance(value, (str, bytes, int, float, bool, os.PathLike)) or value is None
    return (str(value) if plain else type(value).__qualname__).encode("utf-8", "backslashreplace")


def short_digest(data: bytes | str) -> str:
    """Sixteen hexadecimal digits that stand for bytes or a text."""
    return _digest([data])


def _digest(parts: Iterable[bytes | str]) -> str:
    """Sixteen hexadecimal digits that stand for these parts in this order."""
    made = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "little"))
        made.update(data)
    return made.hexdigest()[:16]
