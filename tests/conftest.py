"""One process, no window, quiet threads: the same for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning OpenMP threads starve a neighbour; read when torch loads

import matplotlib
import pytest

matplotlib.use("Agg")

# A shell starts its background jobs with Ctrl-C ignored, and the tests that press it would press in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test keeps pictures among those of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTLEARN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
