"""Threads, unless a measurement shows that a user's own code holds Python's lock."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from fastlearn.data import choose_workers as module
from fastlearn.data.block import CategoryBlock, DataBlock
from fastlearn.data.choose_workers import choose_workers, has_own_code
from fastlearn.data.part import TransformBlock
from fastlearn.data.transform import ItemTransform
from fastlearn.data.workers import Reader
from fastlearn.runtime.seed import RunKey

KEY = RunKey(1, "look", 0)
N = 40


def halved(value: Any) -> Any:
    """A user's function, in a module."""
    return value / 2


class Doubled(ItemTransform):
    """A user's class, in a module."""

    def __call__(self, sample: Any, kinds: Any, rng: Any, train: bool) -> Any:
        return (sample[0] * 2, *sample[1:])


def loaders(*item_tfms: Any, **options: Any) -> Any:
    block = DataBlock((TransformBlock, CategoryBlock), get_y=lambda i: str(i % 2), item_tfms=list(item_tfms))
    return block.dataloaders(list(range(N)), bs=8, device="cpu", num_workers=2, **options)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that a thread takes for its samples alone, and that two of them take together."""
    seconds = {"alone": 5.0, "together": 10.0}
    ticks = iter(range(10**6))
    monkeypatch.setattr(module, "_seconds", lambda *_: seconds["alone"])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks) * seconds["together"])
    return seconds


def chosen(*item_tfms: Any, n: int = N, n_workers: int = 2) -> str:
    return choose_workers(Reader(loaders(*item_tfms).train_ds), KEY, n, n_workers)


def test_whose_code_it_is() -> None:
    assert has_own_code(loaders(halved).train_ds) and has_own_code(loaders(Doubled).train_ds)
    assert not has_own_code(loaders().train_ds) and not has_own_code(list(range(5)))


def test_code_that_frees_the_lock_stays_in_threads(clock: dict[str, float]) -> None:
    clock["together"] = 2 * clock["alone"] / 1.5
    assert chosen(halved) == "thread"


def test_code_that_holds_the_lock_goes_to_processes(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)  # as in a notebook
    reader = Reader(loaders(halved).train_ds)
    reader.dataset.getters = (None, None)  # a lambda cannot be sent
    assert choose_workers(reader, KEY, N, 2) == "process"
    assert "halved holds Python's lock: pictures are read by 2 processes" in capsys.readouterr().out


@pytest.mark.parametrize("why", ["script", "cell", "lambda"])
def test_what_no_process_could_do_is_said(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", "train.py", raising=False)
    if why != "script":
        monkeypatch.delattr(main, "__file__")
    if why == "cell":
        monkeypatch.setattr(halved, "__module__", "__main__")
    assert chosen(halved) == "thread"
    assert "Put it in a module and type workers='process'" in capsys.readouterr().out


def test_little_reading_is_not_worth_a_process(clock: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    clock["alone"] = 0.1
    assert chosen(halved) == "thread"
    clock["alone"] = 5.0
    assert [chosen(halved, n=11), chosen(halved, n_workers=1), chosen()] == ["thread"] * 3
    assert capsys.readouterr().out == ""


def test_a_loader_asks_once_and_gives_the_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("fastlearn.data.loaders.choose_workers", lambda *_: asked.append("once") or "thread")
    dls = loaders(halved, seed=3)
    assert dls.train.workers == "auto"
    first, again = ([batch[0].numpy() for batch in dls.train.batches(KEY)] for _ in range(2))
    assert asked == ["once"] and dls.train.workers == "thread"
    assert all(map(np.array_equal, first, again))
