"""What changes samples and batches: item transforms on the CPU, batch transforms on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlearn.errors import ConfigError, DataError, FastlearnError

Sample = tuple[Any, ...]
Batch = tuple[Any, ...]
RowChange = Callable[[Batch, slice], Batch]
# How many values go through all transforms together on a CPU: five pictures of 128 by 128, or fewer larger ones. Fewer
# values would stay in the cache of one core, but threads wait for each other at every operation.
PIECE = 1 << 18
_EXAMPLES = {"item_tfms": "Resize(224)", "batch_tfms": "aug_transforms()"}


class ItemTransform:
    """Changes one sample before it is encoded; transforms run by rising `order`, equal ones as they were given.

    `sample` holds the objects that the blocks created (a picture, a label…), `kinds` names them ("image",
    "category"…), `rng` is this sample's own generator: all randomness must come from it. What a transform does first,
    and in the same way each time, it may say as `fixed` (see `pixels.Fixed`): the pictures may then come to it with
    that done, from a cache perhaps.
    """

    order: int = 0
    fixed: Any = None

    def cut(self, pixels: np.ndarray, rng: np.random.Generator, train: bool) -> np.ndarray | None:
        """What a call makes of a picture at its fixed size, where that is a view of `pixels` (channels, height, width).

        None, before anything is drawn, where it is more than that.
        """
        return None

    def __call__(self, sample: Sample, kinds: tuple[str, ...], rng: np.random.Generator, train: bool) -> Sample:
        raise NotImplementedError


class BatchTransform:
    """Changes a whole batch on its device; `rng` is this batch's own generator, on the CPU.

    `decode` undoes for display what a person should not see (a normalisation), and returns other batches as they are.
    `merge` may return one transform that does the work of `self` followed by `other`, or None.
    """

    order: int = 0

    def __call__(self, batch: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> Batch:
        raise NotImplementedError

    def by_rows(
        self, n: int, part: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool
    ) -> RowChange | None:
        """What a call does to a batch of `n`, as a function of some of its rows and which they are.

        All that is random is drawn here, for the whole batch; `part` are its first rows. None: only as a whole.
        """
        return None

    def decode(self, batch: Batch, kinds: tuple[str, ...]) -> Batch:
        """The batch as it was before this transform, as far as display needs it."""
        return batch

    def merge(self, other: BatchTransform) -> BatchTransform | None:
        """One transform for both, where that is possible."""
        return None


class RowTransform(BatchTransform):
    """A batch transform that changes each row by itself: it has `by_rows`, and a call is that for all rows."""

    def __call__(self, batch: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> Batch:
        n = next((len(part) for part in batch if isinstance(part, Tensor) and part.ndim), 0)
        change = self.by_rows(n, batch, kinds, rng, train)
        assert change is not None
        return change(batch, slice(0, n))


class _EachInput(ItemTransform):
    """A plain function, applied to each input object of a sample."""

    def __init__(self, f: Callable[[Any], Any], n_inp: int = 1) -> None:
        self.f, self.n_inp = f, n_inp
        self.order = int(getattr(f, "order", 0))

    def __call__(self, sample: Sample, kinds: tuple[str, ...], rng: np.random.Generator, train: bool) -> Sample:
        return (*(self.f(part) for part in sample[: self.n_inp]), *sample[self.n_inp :])

    def __repr__(self) -> str:
        return getattr(self.f, "__name__", repr(self.f))


class _EachInputBatch(BatchTransform):
    """A plain function of a tensor, applied to each input of a batch."""

    def __init__(self, f: Callable[[Tensor], Tensor], n_inp: int = 1) -> None:
        self.f, self.n_inp = f, n_inp
        self.order = int(getattr(f, "order", 0))

    def __call__(self, batch: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool) -> Batch:
        return (*(self.f(part) for part in batch[: self.n_inp]), *batch[self.n_inp :])

    def __repr__(self) -> str:
        return getattr(self.f, "__name__", repr(self.f))


def _made(kind: type[Any]) -> Any:
    """A transform of a class that was given without being called."""
    try:
        return kind()
    except TypeError as error:
        raise ConfigError(f"{kind.__name__} needs arguments: type {kind.__name__}(…). {error}") from error


def _no_transform(option: str, found: Any) -> str:
    if isinstance(found, type):
        return f"{option} takes a transform, not the class {found.__name__} itself: type {found.__name__}(…)."
    quoted = isinstance(found, str) and found.strip()[:1].isalpha()
    hint = "Without quotes" if quoted else "One or a list of them"
    return f"{option} takes transforms or functions, not {found!r}. {hint}: {option}={_EXAMPLES[option]}."


def as_item_tfm(f: ItemTransform | type[ItemTransform] | Callable[[Any], Any], n_inp: int = 1) -> ItemTransform:
    """`f` itself when it is an item transform; a plain function becomes one that changes each input object."""
    made = _made(f) if isinstance(f, type) and issubclass(f, ItemTransform) else f
    if isinstance(made, BatchTransform) or (isinstance(made, type) and issubclass(made, BatchTransform)):
        raise ConfigError(f"{made!r} works on whole batches: pass it in batch_tfms, not in item_tfms.")
    if isinstance(made, ItemTransform):
        return made
    if not callable(made) or isinstance(made, type):
        raise ConfigError(_no_transform("item_tfms", made))
    return _EachInput(made, n_inp)


def as_batch_tfm(
    f: BatchTransform | type[BatchTransform] | Callable[[Tensor], Tensor], n_inp: int = 1
) -> BatchTransform:
    """`f` itself when it is a batch transform; a plain function becomes one that changes each input tensor."""
    made = _made(f) if isinstance(f, type) and issubclass(f, BatchTransform) else f
    if isinstance(made, ItemTransform) or (isinstance(made, type) and issubclass(made, ItemTransform)):
        raise ConfigError(f"{made!r} works on single samples: pass it in item_tfms, not in batch_tfms.")
    if isinstance(made, BatchTransform):
        return made
    if not callable(made) or isinstance(made, type):
        raise ConfigError(_no_transform("batch_tfms", made))
    return _EachInputBatch(made, n_inp)  # type: ignore[arg-type]


def own_code(tfm: ItemTransform) -> str | None:
    """The name of the user's own function or class behind an item transform; None for fastlearn's."""
    code = tfm.f if isinstance(tfm, _EachInput) else type(tfm)
    return None if _in_fastlearn(code) else getattr(code, "__qualname__", repr(code))


def is_ours(tfm: BatchTransform) -> bool:
    """Whether a batch transform is fastlearn's own, through and through."""
    ours = _in_fastlearn(type(tfm)) and not isinstance(tfm, _EachInputBatch)
    return ours and all(map(is_ours, getattr(tfm, "parts", ())))


def _in_fastlearn(code: Any) -> bool:
    """Whether a class or function stands in one of fastlearn's modules."""
    return (getattr(code, "__module__", None) or "").partition(".")[0] == "fastlearn"


def as_tuple(tfms: Any) -> tuple[Any, ...]:
    """None, one transform, or several, as a tuple."""
    if tfms is None:
        return ()
    several = isinstance(tfms, Iterable) and not callable(tfms) and not isinstance(tfms, (str, bytes, dict))
    return tuple(tfms) if several else (tfms,)


def with_defaults(defaults: Sequence[Any], chosen: Sequence[Any]) -> tuple[Any, ...]:
    """`chosen` and those of the `defaults` that it does not replace: one of the same class stands in for a default."""
    classes = {tfm if isinstance(tfm, type) else type(tfm) for tfm in chosen}
    kept: list[Any] = []
    for default in defaults:
        cls = default if isinstance(default, type) else type(default)
        if cls not in classes:
            kept.append(default)
            classes.add(cls)
    return (*kept, *chosen)


class BatchPipeline:
    """Batch transforms in order, neighbours merged where they can be: `pipeline(batch, rng, train) -> batch`."""

    def __init__(self, tfms: Any = (), kinds: Sequence[str] = ("raw", "raw"), n_inp: int = 1) -> None:
        self.kinds, self.given = tuple(kinds), as_tuple(tfms)
        made = [as_batch_tfm(tfm, n_inp) for tfm in self.given]
        self.tfms = _merged(sorted(made, key=lambda tfm: tfm.order))

    def __call__(self, batch: Batch, rng: torch.Generator, train: bool) -> Batch:
        kinds, left = self.kinds[: len(batch)], list(self.tfms)
        while left:
            batch, n_done = _by_pieces(left, batch, kinds, rng, train)
            if not n_done:
                work = functools.partial(left[0], batch, kinds, rng, train)
                batch, n_done = _tried(left[0], batch, work), 1
            left = left[n_done:]
        return batch

    def decode(self, batch: Batch) -> Batch:
        """The batch as a person should see it: normalisation undone, last transform first."""
        for tfm in reversed(self.tfms):
            batch = tfm.decode(batch, self.kinds[: len(batch)])
        return batch

    def __bool__(self) -> bool:
        return bool(self.tfms)

    def __repr__(self) -> str:
        return f"BatchPipeline({', '.join(map(repr, self.tfms))})"


def _by_pieces(
    tfms: Sequence[BatchTransform], batch: Batch, kinds: tuple[str, ...], rng: torch.Generator, train: bool
) -> tuple[Batch, int]:
    """The batch after as many of the transforms as work by rows, and how many these are.

    On a CPU a few rows go through all of them before the next few: they stay in its cache, and the memory of a whole
    batch is asked for once and not by every transform, which takes longer than filling it.
    """
    n = len(batch[0]) if isinstance(batch[0], Tensor) and batch[0].ndim else 0
    if not n or not all(isinstance(part, Tensor) and part.ndim and len(part) == n for part in batch):
        return batch, 0
    size = max(1, PIECE * n // max(1, batch[0].numel())) if batch[0].device.type == "cpu" else n
    changes: list[tuple[BatchTransform, RowChange]] = []

    def changed(rows: slice, given: Batch) -> Batch:
        for tfm, change in changes:
            given = _tried(tfm, given, functools.partial(change, given, rows))
        return given

    pieces = [batch] if n <= size else list(zip(*(whole.split(size) for whole in batch), strict=True))
    part = pieces[0]
    for tfm in tfms:
        change = _tried(tfm, part, functools.partial(tfm.by_rows, n, part, kinds, rng, train))
        if change is None:
            break
        changes.append((tfm, change))
        part = _tried(tfm, part, functools.partial(change, part, slice(0, size)))
    if n <= size:
        return part, len(changes)
    made: dict[int, Tensor] = {}
    places: dict[int, tuple[Tensor, ...]] = {}
    for k, given in enumerate(pieces):
        if k:
            part = changed(slice(k * size, (k + 1) * size), given)
        for p, (old, new) in enumerate(zip(given, part, strict=True)):
            if new is old and p not in made:
                continue
            if p not in made:  # the first that changes: those before it are as they came
                made[p] = new.new_empty((n, *new.shape[1:]))
                places[p] = made[p].split(size)
                for place, before in zip(places[p], pieces[:k], strict=False):
                    place.copy_(before[p])
            places[p][k].copy_(new)
    return tuple(made.get(p, whole) for p, whole in enumerate(batch)), len(changes)


def _tried(tfm: BatchTransform, batch: Batch, work: Callable[[], Any]) -> Any:
    """What `work` of a transform gives; its error tells the transform and what it was given."""
    try:
        return work()
    except (FastlearnError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(part.shape)) for part in batch if isinstance(part, Tensor))
        if isinstance(error, MemoryError) or "memory" in str(error):  # told with the batch's size by who trains
            raise
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"The batch transform {tfm!r} failed on tensors of shapes {shapes}: {why}.") from error


def _merged(tfms: Sequence[BatchTransform]) -> tuple[BatchTransform, ...]:
    done: list[BatchTransform] = []
    for tfm in tfms:
        joint = done[-1].merge(tfm) if done else None
        if joint is None:
            done.append(tfm)
        else:
            done[-1] = joint
    return tuple(done)
