"""The tests here share fixtures, and two modules beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from colour_folders import make  # beside this file


@pytest.fixture
def split(tmp_path):
    """Folders for training and for validation."""
    make(tmp_path / "train", 5)
    make(tmp_path / "valid", 2)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    """Class folders alone."""
    return make(tmp_path / "all", 5)
