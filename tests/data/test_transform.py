"""Item and batch transforms: their order, and each in its place."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from blocks_of import block
from column_loaders import dls

from fastlearn.data.transform import BatchTransform, ItemTransform, as_batch_tfm, as_item_tfm, as_tuple
from fastlearn.errors import ConfigError, DataError


class Order(ItemTransform):
    """Writes its name into a log, to see the order."""

    def __init__(self, name: str, order: int, log: list[str]) -> None:
        self.name, self.order, self.log = name, order, log

    def __call__(self, sample: Any, kinds: Any, rng: Any, train: bool) -> Any:
        self.log.append(self.name)
        return sample


def test_item_transforms_run_by_order_and_new_replaces_them(folder: pathlib.Path) -> None:
    log: list[str] = []
    first = block(item_tfms=[Order("b", 1, log), Order("c", 1, log), Order("a", 0, log)])
    first.dataloaders(folder, bs=12, num_workers=0).one_batch()
    assert log[:3] == ["a", "b", "c"]
    other = first.new(item_tfms=lambda a: a + 100)
    assert other.dataloaders(folder, bs=12).one_batch()[0].min() >= 100
    assert len(first.item_tfms) == 3 and len(other.item_tfms) == 1


def test_wrong_kinds_of_transforms(folder: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="pass it in batch_tfms, not in item_tfms"):
        block(item_tfms=BatchTransform).datasets(folder)
    with pytest.raises(ConfigError, match="pass it in item_tfms, not in batch_tfms"):
        block(batch_tfms=ItemTransform()).dataloaders(folder)
    with pytest.raises(ConfigError, match="takes transforms or functions, not 3"):
        block(item_tfms=[3]).datasets(folder)


class Plus(BatchTransform):
    """Adds a number."""

    def __init__(self, n: float, order: int) -> None:
        self.n, self.order = n, order

    def __call__(self, batch: Any, kinds: Any, rng: Any, train: bool) -> Any:
        return ((batch[0] + 1) * self.n, *batch[1:])

    def decode(self, batch: Any, kinds: Any) -> Any:
        return (batch[0] / self.n - 1, *batch[1:])

    def merge(self, other: BatchTransform) -> BatchTransform | None:
        return Plus(self.n * 10, self.order) if isinstance(other, Plus) and other.order == self.order else None


def test_batch_transforms_by_order_and_merged() -> None:
    found = dls(bs=4, num_workers=0)
    made = found.add_batch_tfms([Plus(3, 5), Plus(2, 1)])
    assert [tfm.order for tfm in made.train.after_batch.tfms] == [1, 5] and not found.train.after_batch
    batch = made.valid.one_batch()
    assert batch[0].tolist() == [3 * (2 * 11 + 1), 3 * (2 * 12 + 1)]
    assert made.valid.decode_batch(batch) == [(10.0, "a"), (11.0, "b")]
    assert [tfm.n for tfm in found.add_batch_tfms([Plus(3, 5), Plus(2, 5)]).train.after_batch.tfms] == [30]


def test_a_batch_transform_that_fails_is_named(folder: pathlib.Path) -> None:
    dls = block(batch_tfms=lambda x: 1 / 0).dataloaders(folder, bs=2)
    with pytest.raises(DataError, match=r"The batch transform <lambda> failed on tensors of shapes .*: ZeroDivision"):
        dls.one_batch()


def test_texts_and_classes_are_no_transforms() -> None:
    assert as_tuple("Resize") == ("Resize",)
    with pytest.raises(ConfigError, match=r"not 'Resize'\. Without quotes: item_tfms=Resize\(224\)"):
        as_item_tfm("Resize")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not the class dict itself"):
        as_batch_tfm(dict)
