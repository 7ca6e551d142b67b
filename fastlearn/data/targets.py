"""Target blocks: one class, several classes, or numbers; what is wrong with labels is found before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fastlearn.data.label import ColReader, is_hashable, row_of
from fastlearn.data.label import is_nan as is_nan
from fastlearn.data.part import Kind, TransformBlock
from fastlearn.errors import ConfigError, DataError, near
from fastlearn.lists import L, Vocab
from fastlearn.options import checked_flag, checked_list, found, named_options

if TYPE_CHECKING:
    from fastlearn.task import Task

NA = "#na#"


class Category(TransformBlock):
    """One class of several; see `CategoryBlock`."""

    kind: Kind = "category"

    def __init__(self, vocab: Iterable[Any] | None = None, sort: bool = True, add_na: bool = False) -> None:
        super().__init__()
        self.sort, self.add_na = checked_flag(sort, "sort"), checked_flag(add_na, "add_na")
        self.given = None if vocab is None else _classes(vocab)
        self.vocab = None if self.given is None else self._vocab(self.given)

    def _vocab(self, classes: list[Any]) -> Vocab:
        known = [c for c in classes if c != NA] if self.add_na else classes
        return Vocab([*([NA] if self.add_na else []), *(in_order(known) if self.sort else known)])

    def setup(self, values: Sequence[Any]) -> None:
        """The classes are those of the training side, sorted, unless they were given."""
        counts = self._counts(values)
        if self.given is None:
            self.vocab = self._vocab(list(counts))
        if self.vocab is not None and len(self.vocab) < 2:
            raise DataError(
                f"All {len(values)} training items are of one class, {next(iter(self.vocab), None)!r}: there is "
                "nothing to tell apart. Check get_y and the splitter, or type CategoryBlock(vocab=[…])."
            )
        self._refuse_unknown(counts, "train", None)
        self.n_train = counts

    def check(self, values: Sequence[Any], split: str) -> None:
        """Every class must be known from the training side."""
        self._refuse_unknown(self._counts(values), split, getattr(self, "n_train", None))

    def _counts(self, values: Sequence[Any]) -> Counter[Any]:
        listed = list(values)
        try:
            counts = Counter(listed)
            if not all(map(_is_class, counts)):  # a tensor of several numbers can be counted, by its identity
                raise TypeError
            if not self.add_na and any(map(is_nan, counts)):
                refuse_nan(listed, values, "CategoryBlock(add_na=True) makes a class of them")
            merged: Counter[Any] = Counter()
            for value, n in counts.items():
                merged[NA if is_nan(value) else _plain(value)] += n
            return merged
        except TypeError as error:
            bad = next(i for i, value in enumerate(listed) if not _is_class(value))
            raise DataError(
                f"The label of {_where(values, bad)} is {found(listed[bad])}, of type {type(listed[bad]).__name__}, "
                "not one class. For several labels an item use MultiCategoryBlock."
            ) from error

    def _refuse_unknown(self, counts: Counter[Any], split: str, n_train: Counter[Any] | None) -> None:
        assert self.vocab is not None
        unknown = {c: n for c, n in counts.items() if c not in self.vocab.o2i and not (self.add_na and c == NA)}
        if unknown:
            raise DataError(unknown_classes(unknown, self.vocab, split, given=self.given is not None))

    def create(self, raw: Any) -> Tensor:
        """The class's code as a tensor without dimensions."""
        return torch.tensor(self.code(raw))

    def code(self, raw: Any) -> int:
        """The position of a class in the vocabulary."""
        if self.vocab is None:
            raise DataError("CategoryBlock has no classes yet: make the DataLoaders from a DataBlock.")
        if self.add_na and is_nan(raw):
            return 0
        try:
            return self.vocab.o2i[_plain(raw)]
        except (KeyError, TypeError):
            if self.add_na:
                return 0
            raise DataError(unknown_classes({raw: 1}, self.vocab, "data", self.given is not None)) from None

    def encode(self, obj: Any) -> np.int64:
        """The code as a NumPy number."""
        return np.int64(int(obj))

    def as_numbers(self, raw: Any) -> np.int64:
        """The code of a class, without the tensor that a person may look at."""
        return np.int64(self.code(raw))

    def decode(self, part: Tensor) -> Any:
        """The class."""
        assert self.vocab is not None
        return self.vocab[int(part)]

    def task(self) -> Task | None:
        """Classification among the vocabulary."""
        from fastlearn.task import Classification

        return Classification(self.vocab or ())

    def __repr__(self) -> str:
        return "CategoryBlock"


class MultiCategory(TransformBlock):
    """Any number of classes at once; see `MultiCategoryBlock`."""

    kind: Kind = "multicategory"

    def __init__(self, encoded: bool = False, vocab: Iterable[Any] | None = None, add_na: bool = False) -> None:
        super().__init__()
        self.encoded, self.add_na = encoded, add_na
        self.given = None if vocab is None else _classes(vocab)
        self.vocab = None if self.given is None else self._vocab(self.given)

    def _vocab(self, classes: list[Any]) -> Vocab:
        if self.encoded:  # the columns come in the order in which they were named
            return Vocab(classes)
        return Vocab([*([NA] if self.add_na else []), *in_order([c for c in classes if c != NA])])

    def setup(self, values: Sequence[Any]) -> None:
        """The classes are all that any training item has, sorted, unless they were given."""
        if self.encoded:
            self._setup_encoded(values)
            return
        counts = self._counts(values)
        if self.given is None:
            if not counts:
                raise DataError(f"None of the {len(values)} training items has a label. Check get_y.")
            self.vocab = self._vocab(list(counts))
        self._refuse_unknown(counts, "train")

    def _setup_encoded(self, values: Sequence[Any]) -> None:
        first = np.asarray(values[0])
        if self.vocab is None:
            self.vocab = Vocab(range(first.size))
        for i, value in enumerate(values):
            if np.size(value) != len(self.vocab):
                raise DataError(
                    f"The labels of {_where(values, i)} are {np.size(value)} numbers; expected one for each of the "
                    f"{len(self.vocab)} classes."
                )

    def check(self, values: Sequence[Any], split: str) -> None:
        """Every class must be known from the training side."""
        if not self.encoded:
            self._refuse_unknown(self._counts(values), split)

    def _counts(self, values: Sequence[Any]) -> Counter[Any]:
        counts: Counter[Any] = Counter()
        for i, labels in enumerate(values):
            if is_nan(labels) and self.add_na:
                continue
            if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable):
                hint = "Fill it in" if is_nan(labels) else "Type get_y=ColReader(…, label_delim=' '), or split the text"
                raise DataError(f"The label of {_where(values, i)} is {labels!r}, not a list of classes. {hint}.")
            for label in labels:
                if not _is_class(label):
                    raise DataError(f"The labels of {_where(values, i)} hold {found(label)}, not a class.")
                counts[_plain(label)] += 1
        return counts

    def _refuse_unknown(self, counts: Counter[Any], split: str) -> None:
        assert self.vocab is not None
        unknown = {c: n for c, n in counts.items() if c not in self.vocab.o2i}
        if unknown and not self.add_na:
            raise DataError(unknown_classes(unknown, self.vocab, split, given=self.given is not None))

    def create(self, raw: Any) -> Tensor:
        """A float tensor with a 1 for each class that the item has: (n classes,)."""
        if self.vocab is None:
            raise DataError("MultiCategoryBlock has no classes yet: make the DataLoaders from a DataBlock.")
        if self.encoded:
            return torch.from_numpy(np.array(raw, dtype=np.float32).reshape(-1))
        flags = np.zeros(len(self.vocab), dtype=np.float32)
        for label in () if is_nan(raw) else raw:
            code = self.vocab.o2i.get(_plain(label), 0 if self.add_na else None)
            if code is None:
                raise DataError(unknown_classes({label: 1}, self.vocab, "data", self.given is not None))
            flags[code] = 1
        return torch.from_numpy(flags)

    def decode(self, part: Tensor) -> L[Any]:
        """The classes that the item has."""
        assert self.vocab is not None
        return L([c for c, flag in zip(self.vocab, part.tolist(), strict=True) if flag > 0.5])

    def task(self) -> Task | None:
        """Every class of the vocabulary on its own."""
        from fastlearn.task import MultiLabel

        return MultiLabel(self.vocab or ())

    def __repr__(self) -> str:
        return "MultiCategoryBlock"


class Numbers(TransformBlock):
    """One or more real numbers; see `RegressionBlock`."""

    kind: Kind = "regression"

    def __init__(self, n_out: int | None = None) -> None:
        super().__init__()
        if n_out is not None and (not isinstance(n_out, (int, np.integer)) or n_out < 1):
            raise ConfigError(f"n_out is how many numbers an item has, a whole number from 1, not {found(n_out)}.")
        self.n_out = n_out

    def setup(self, values: Sequence[Any]) -> None:
        """The number of outputs is that of the first item, unless it was given; all must have as many."""
        if self.n_out is None and len(values):
            self.n_out = np.size(self._array(values[0], _where(values, 0)))
        self.check(values, "train")

    def check(self, values: Sequence[Any], split: str) -> None:
        """As many numbers for each item, none of them missing."""
        listed = list(values)
        refuse_nan(listed, values)
        for i, value in enumerate(listed):
            array = value if isinstance(value, float) else self._array(value, _where(values, i))
            if np.size(array) != self.n_out:
                raise DataError(f"The target of {_where(values, i)} has {np.size(array)} numbers, others {self.n_out}.")
            if not np.all(np.isfinite(array)):
                raise DataError(f"The target of {_where(values, i)} is {value!r}: expected finite numbers.")

    def _array(self, value: Any, where: str) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):  # too large a number becomes infinite, which `check` refuses
                return np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"The target of {where} is {value!r}, not a number. For classes use y_block=CategoryBlock."
            ) from error

    def create(self, raw: Any) -> Tensor:
        """A float tensor: without dimensions for one number, else (n_out,)."""
        return torch.tensor(self._array(raw, "an item"))

    def decode(self, part: Tensor) -> Any:
        """A float, or a list of floats."""
        return part.tolist()

    def task(self) -> Task | None:
        """Regression of `n_out` numbers."""
        from fastlearn.task import Regression

        return Regression(self.n_out or 1)

    def __repr__(self) -> str:
        return "RegressionBlock"


@named_options
def CategoryBlock(vocab: Iterable[Any] | None = None, sort: bool = True, add_na: bool = False) -> Category:
    """One class an item. The vocabulary is that of the training side, or `vocab`; sorted unless `sort=False`.

    With `add_na`, missing and unknown labels become the class "#na#", which comes first.
    """
    return Category(vocab, sort, add_na)


@named_options
def MultiCategoryBlock(
    encoded: bool = False, vocab: Iterable[Any] | None = None, add_na: bool = False
) -> MultiCategory:
    """A list of classes an item; `encoded` when the labels are already a row of zeros and ones."""
    return MultiCategory(encoded, vocab, add_na)


@named_options
def RegressionBlock(n_out: int | None = None) -> Numbers:
    """One or more real numbers an item; `n_out` is found from the first one."""
    return Numbers(n_out)


def in_order(classes: list[Any]) -> list[Any]:
    """Sorted; classes that cannot be compared are sorted by type, then by text."""
    try:
        return sorted(classes)
    except TypeError:
        return sorted(classes, key=lambda c: (type(c).__name__, str(c)))


def refuse_nan(listed: list[Any], values: Sequence[Any], otherwise: str = "") -> None:
    """Raise `DataError` naming the first items whose label is missing; `otherwise` is one more way out."""
    rows = [i for i, value in enumerate(listed) if is_nan(value)]
    if rows:
        named = "; ".join(_where(values, i) for i in rows[:3]) + ("; …" if len(rows) > 3 else "")
        way = _way_out_of_nan(values, listed[rows[0]])
        raise DataError(
            f"{len(rows)} of {len(listed)} {_side(values)}labels are missing (NaN): {named}. {way}"
            f"{f'; or {otherwise}' if otherwise else ''}."
        )


def _way_out_of_nan(values: Any, missing: Any) -> str:
    """What to do about missing labels: mend the function that gave them, or leave out the rows that lack them."""
    dataset = getattr(values, "dataset", None)
    getter = None if dataset is None else dataset.getters[values.part]
    if dataset is not None and hasattr(dataset.items, "iloc"):
        names = [row_of(dataset.items, col).name for col in getter.cols] if isinstance(getter, ColReader) else "[…]"
        return f"Leave them out with df.dropna(subset={names})"
    if getter is None:
        return "Leave these items out"
    function = getattr(getter, "f", getter)  # the user's own, within `using_attr`
    name = getattr(function, "__name__", type(function).__name__)
    named = "The labelling function" if name == "<lambda>" else f"The labelling function {name}"
    return f"{named} returned {missing} for them: let it return a label for each, or leave these items out"


def _side(values: Any) -> str:
    """ "training ", where it is known which side of the split the labels are of."""
    split = getattr(getattr(values, "dataset", None), "split", "")
    return {"train": "training ", "valid": "validation ", "test": "test "}.get(split, "")


def unknown_classes(unknown: dict[Any, int], vocab: Vocab, split: str, given: bool) -> str:
    """The message for classes that the vocabulary lacks, with their counts."""
    named = ", ".join(f"{c!r} ({n} item{'s' if n > 1 else ''})" for c, n in list(unknown.items())[:5])
    first = str(next(iter(unknown)))
    known = ", ".join(repr(c) for c in list(vocab)[:8]) + (", …" if len(vocab) > 8 else "")
    whose = "the vocab that was given" if given else "the training set"
    way = "Add them to it" if given else "Move some of its items to the training side, or leave it out of the other"
    return f"The {split} set has classes that {whose} lacks: {named}. Known: {known}.{near(first, vocab)} {way}."


def _classes(vocab: Any) -> list[Any]:
    """The classes of a vocabulary that was given, each once."""
    listed = checked_list(vocab, "vocab", "classes, such as ['cat', 'dog']")
    for one in listed:
        if not _is_class(one):
            raise ConfigError(f"vocab holds {found(one)}, which is not one class. Expected texts or numbers.")
    return list(dict.fromkeys(map(_plain, listed)))


def _is_class(value: Any) -> bool:
    return is_hashable(value) and not (isinstance(value, Tensor) and value.ndim > 0)


def _plain(value: Any) -> Any:
    """Python's own number for a NumPy or torch one, so that vocabularies can be written as JSON."""
    if isinstance(value, (np.generic, Tensor)) and getattr(value, "ndim", 0) == 0:
        return value.item()
    return value


def _where(values: Any, i: int) -> str:
    source: Callable[[int], str] | None = getattr(values, "source", None)
    return source(i) if source is not None else f"item {i}"
