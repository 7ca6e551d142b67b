"""The tests here share fixtures, and a few modules beside them."""

from __future__ import annotations

import gc
import multiprocessing
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faulty_pictures import picture  # beside this file
from local_server import Server

from fastlearn.data import fetch


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Cats and dogs: three of each to train on, two to validate."""
    for side, n in (("train", 3), ("valid", 2)):
        for name in ("cat", "dog"):
            for i in range(n):
                picture(tmp_path / "pets" / side / name / f"{i}.png")
    return tmp_path / "pets"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same as small arrays: six of each to train on, two to validate."""
    for side, n in (("train", 6), ("valid", 2)):
        for c, name in enumerate(("cat", "dog")):
            (tmp_path / side / name).mkdir(parents=True)
            for i in range(n):
                np.save(tmp_path / side / name / f"{i}.npy", np.full((3, 2, 2), 10 * c + i, dtype=np.uint8))
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server, reached without proxy or pauses."""
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(fetch, "PAUSE_S", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FASTLEARN_HOME that is not there yet."""
    monkeypatch.setenv("FASTLEARN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """Asserts that a test leaves no thread and no process behind."""
    threads = threading.active_count()
    yield
    if threading.active_count() != threads:
        gc.collect()  # an error's traceback may hold an iterator
    assert not multiprocessing.active_children()
    assert threading.active_count() == threads
