"""`L`, a list that notebooks can query, and `Vocab`, the classes of a data set in their fixed order."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain
from operator import attrgetter, itemgetter
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import torch

from fastlearn.errors import ConfigError, near
from fastlearn.options import checked_list, found

T = TypeVar("T")
_SHOWN = 10


def is_single(value: object) -> bool:
    """Whether `L(value)` should hold `value` itself rather than what iterating over it gives."""
    return isinstance(value, (str, bytes, PathLike)) or not isinstance(value, Iterable) or _is_scalar(value)


def _is_scalar(value: object) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim == 0


def positions(index: object, length: int) -> list[int] | None:
    """The positions that a list, mask, array or tensor names; None when `index` is a plain index or slice."""
    if isinstance(index, torch.Tensor):
        index = index.detach().cpu().numpy()
    if isinstance(index, np.ndarray):
        if index.ndim == 0:
            return None
        if np.issubdtype(index.dtype, np.integer):
            return index.tolist()
        index = index.tolist()
    if not isinstance(index, (list, tuple, range)):
        return None
    if index and all(isinstance(flag, (bool, np.bool_)) for flag in index):
        if len(index) != length:
            raise IndexError(f"A mask of {len(index)} flags cannot select from {length} items.")
        return [i for i, flag in enumerate(index) if flag]
    return [int(i) for i in index]


class L(list[T]):
    """A list with a short repr that can also be indexed by a list, a mask, an array or a tensor.

    `L(None)` is empty, `L("a")` and `L(3)` hold one item, `L(iterable)` holds its items, `L(1, 2)` its arguments.

    >>> L(3, 1, 2)[[0, 2]]
    (#2) [3, 2]
    """

    def __init__(self, *items: Any) -> None:
        if len(items) == 1:
            items = () if items[0] is None else (items[0],) if is_single(items[0]) else items[0]
        super().__init__(items)

    def _new(self, items: Iterable[Any]) -> L[Any]:
        """What selections and maps return."""
        made: L[Any] = L()
        made.extend(items)
        return made

    def _pick(self, chosen: Iterable[int]) -> L[Any]:
        return self._new([super(L, self).__getitem__(i) for i in chosen])

    def __getitem__(self, index: Any) -> Any:
        if type(index) is int:
            return super().__getitem__(index)
        if isinstance(index, slice):
            return self._new(super().__getitem__(index))
        chosen = positions(index, len(self))
        if chosen is not None:
            return self._pick(chosen)
        return super().__getitem__(int(index) if _is_scalar(index) else index)

    def __repr__(self) -> str:
        shown = ", ".join(repr(self[i]) for i in range(min(len(self), _SHOWN)))
        return f"(#{len(self)}) [{shown}{', ...' if len(self) > _SHOWN else ''}]"

    __str__ = __repr__

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """IPython prints list subclasses item by item otherwise."""
        printer.text("L(...)" if cycle else repr(self))

    def __add__(self, other: Iterable[Any]) -> L[Any]:  # type: ignore[override]
        return L([*self, *L(other)])

    def __radd__(self, other: Iterable[Any]) -> L[Any]:
        return L([*L(other), *self])

    def __mul__(self, times: Any) -> L[Any]:
        return L(list(self) * times)

    def copy(self) -> L[T]:
        """The same items in a new list of the same class."""
        return self._new(self)

    def map(self, f: Callable[..., Any] | str | dict[Any, Any], *args: Any, **kwargs: Any) -> L[Any]:
        """`f` of each item; a string is used as a format, a dict is looked up."""
        if isinstance(f, str):
            return L([f.format(item, *args, **kwargs) for item in self])
        call = f.__getitem__ if isinstance(f, dict) else f
        return L([call(item, *args, **kwargs) for item in self])

    def starmap(self, f: Callable[..., Any]) -> L[Any]:
        """`f(*item)` of each item."""
        return L([f(*item) for item in self])  # type: ignore[misc]

    def filter(self, f: Callable[[T], object] = bool, negate: bool = False) -> L[T]:
        """The items for which `f` is true (false with `negate`)."""
        return self[self.argwhere(f, negate)]

    def argwhere(self, f: Callable[[T], object], negate: bool = False) -> L[int]:
        """The positions of the items for which `f` is true (false with `negate`)."""
        return L([i for i, item in enumerate(self) if bool(f(item)) != negate])

    def attrgot(self, name: str, default: Any = None) -> L[Any]:
        """The attribute `name` of each item, or what a dict holds under that key."""
        return L([i.get(name, default) if isinstance(i, dict) else getattr(i, name, default) for i in self])

    def itemgot(self, *keys: Any) -> L[Any]:
        """`item[key]` of each item; more keys go deeper."""
        found: list[Any] = list(self)
        for key in keys:
            found = [item[key] for item in found]
        return L(found)

    def unique(self, sort: bool = False) -> L[T]:
        """Each value once, in order of first appearance, or sorted."""
        seen = list(dict.fromkeys(self)) if all(isinstance(i, Hashable) for i in self) else _unique_slowly(self)
        return L(seen).sorted() if sort else L(seen)

    def sorted(self, key: Callable[[T], Any] | str | int | None = None, reverse: bool = False) -> L[T]:
        """The items in order; a string `key` is an attribute, a number an index."""
        by: Any = attrgetter(key) if isinstance(key, str) else itemgetter(key) if isinstance(key, int) else key
        return self._new(sorted(self, key=by, reverse=reverse))

    def val2idx(self) -> dict[T, int]:
        """The position of each value (the last, where a value comes more than once)."""
        return {value: i for i, value in enumerate(self)}

    def enumerate(self) -> L[tuple[int, T]]:
        """Pairs of position and item."""
        return L(list(enumerate(self)))

    def zip(self) -> L[Any]:
        """Columns become rows: `L([1, 2], [3, 4]).zip()` is `(#2) [(1, 3), (2, 4)]`."""
        return L(list(zip(*self, strict=False)))

    def concat(self) -> L[Any]:
        """The items of the items, one after another."""
        return L(list(chain.from_iterable(L(item) for item in self)))

    def shuffle(self, seed: int | None = None) -> L[T]:
        """The items in a random order (a new list); the same order for the same `seed`."""
        order = list(range(len(self)))
        (random.Random(seed) if seed is not None else random).shuffle(order)
        return self[order]

    @classmethod
    def range(cls, stop: int | Iterable[Any]) -> L[int]:
        """0, 1, … below `stop`, or below the length of `stop`."""
        return L(range(stop if isinstance(stop, int) else len(list(stop))))


def _unique_slowly(items: Iterable[T]) -> list[T]:
    found: list[T] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


class Vocab(L[Any]):
    """The classes in the order of their codes; `o2i` gives the code of a class.

    >>> Vocab(["cat", "dog"]).o2i["dog"]
    1
    """

    def __init__(self, classes: Iterable[Any] = ()) -> None:
        super().__init__(checked_list(classes, "classes", "classes, such as ['cat', 'dog']"))
        self.o2i: dict[Any, int] = self.val2idx()

    def __iter__(self) -> Iterator[Any]:
        return super().__iter__()

    def __getitem__(self, index: Any) -> Any:
        """The class of a code; ConfigError for a code that none has, and for a class in place of its code."""
        try:
            return super().__getitem__(index)
        except (IndexError, TypeError, ValueError) as error:
            raise ConfigError(_no_class(self, index)) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return Vocab, (list(self),)


def _no_class(vocab: Vocab, index: object) -> str:
    if index in list(vocab):
        return f"vocab[…] gives the class of a number, and {index!r} is a class. Its number is vocab.o2i[{index!r}]."
    wish = f"There is no class {found(index)}: {len(vocab)} classes have the numbers 0 to {len(vocab) - 1}, such as"
    return f"{wish} vocab[0], and vocab.o2i gives the number of each.{near(str(index), vocab)}"
