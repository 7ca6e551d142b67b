"""The tests here share a module beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bundles import members_of, small_network, written  # beside this file

from fastlearn.arch.spec import VisionModel


@pytest.fixture(scope="session")
def network() -> VisionModel:
    """A small network by name."""
    return small_network()


@pytest.fixture(scope="session")
def members(network: VisionModel) -> dict[str, bytes]:
    """A sound bundle of it."""
    return members_of(network)


@pytest.fixture
def bundle(members: dict[str, bytes], tmp_path: Path) -> Path:
    """The same as a file."""
    return written(tmp_path, members)
