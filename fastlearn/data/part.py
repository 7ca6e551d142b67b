"""`TransformBlock`: what one part of a sample is, from its raw value to numbers and back to something to look at."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from fastlearn.errors import ConfigError, FastlearnError
from fastlearn.lists import Vocab
from fastlearn.options import found, named_options

if TYPE_CHECKING:
    from fastlearn.task import Task

Kind = Literal["image", "mask", "points", "category", "multicategory", "regression", "raw"]
WrongName = Literal["raise", "warn"]  # what is done about a picture of another format than its file's name says


class TransformBlock:
    """One part of a sample: how a raw value (a path, a label) becomes an object, and the object numbers.

    `create(raw)` gives the object that item transforms see; `encode(object)` the array that batches are stacked from;
    `decode(tensor)` what a person should see of a batch's tensor. `setup` learns from the training side's raw values,
    `check` looks at another side's. `display` draws batches (see `fastlearn.data.loaders.Display`).
    Used by itself, its objects are what the functions `type_tfms` make of the raw value, one after another.
    """

    kind: Kind = "raw"
    vocab: Vocab | None = None
    n_out: int | None = None
    display: Any = None

    @named_options
    def __init__(self, type_tfms: Any = None, item_tfms: Any = None, batch_tfms: Any = None) -> None:
        self.type_tfms, self.item_tfms, self.batch_tfms = _tuple(type_tfms), _tuple(item_tfms), _tuple(batch_tfms)

    def create(self, raw: Any) -> Any:
        """The object for a raw value."""
        for f in self.type_tfms:
            raw = f(raw)
        return raw

    def recipe(self, fixed: Any) -> str | None:
        """What makes the pixels of a picture at the fixed size of the first item transform, in words.

        None where there are none: `create` alone makes the object.
        """
        return None

    def pixels(self, raw: Any, fixed: Any) -> np.ndarray:
        """A picture at its fixed size, uint8 (channels, height, width), for a block with a `recipe`."""
        raise NotImplementedError

    def n_bytes(self, raw: Any, fixed: Any) -> int:
        """How many bytes `pixels` gives, told without decoding."""
        raise NotImplementedError

    def from_pixels(self, pixels: np.ndarray) -> Any:
        """The object that item transforms see, of what `pixels` gave."""
        raise NotImplementedError

    def setup(self, values: Sequence[Any]) -> None:
        """Learn what the training side's raw values tell (the classes, the number of outputs)."""

    def check(self, values: Sequence[Any], split: str) -> None:
        """Raise `DataError` when another side's raw values cannot be used."""

    def encode(self, obj: Any) -> Any:
        """The object as a NumPy array or number."""
        return obj.numpy() if isinstance(obj, Tensor) else np.asarray(obj)

    def as_numbers(self, raw: Any) -> Any:
        """What `encode` gives of what `create` gives."""
        return self.encode(self.create(raw))

    def decode(self, part: Tensor) -> Any:
        """One element of a batch, on the CPU, as an object that a person can read."""
        return part

    def accepts(self, item: Any) -> bool:
        """Whether an item is itself a raw value that `create` understands."""
        return False

    def task(self) -> Task | None:
        """What there is to learn when this is the target."""
        return None

    def __repr__(self) -> str:
        return type(self).__name__


def as_block(block: Any) -> TransformBlock:
    """A block of its own for one data set, from a block, its class or a function that makes one."""
    made = copy.copy(block) if isinstance(block, TransformBlock) else _called(block) if callable(block) else block
    if not isinstance(made, TransformBlock):
        raise ConfigError(f"blocks takes blocks such as ImageBlock and CategoryBlock, not {found(block)}.")
    return made


def _called(block: Any) -> Any:
    try:
        return block()
    except FastlearnError:
        raise
    except Exception as error:
        name = getattr(block, "__name__", found(block))
        raise ConfigError(f"The block {name} cannot be made by {name}(): {type(error).__name__}: {error}.") from error


def check_wrong_name(wrong_name: Any) -> None:
    """Raise `ConfigError` unless it says what to do about a wrong name."""
    if not isinstance(wrong_name, str) or wrong_name not in ("raise", "warn"):
        raise ConfigError(f"wrong_name={found(wrong_name)}: choose 'raise' or 'warn'.")


def _tuple(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
