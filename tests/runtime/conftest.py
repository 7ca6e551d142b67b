from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import configuration

configuration.set_hypothesis_home_dir(
    Path(tempfile.gettempdir()) / "hypothesis-of-fastlearn"
)  # and not beside the code


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Tells the most memory that Python and NumPy have held at once since the test began, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
