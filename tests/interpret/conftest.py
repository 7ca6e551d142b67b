"""The tests here share fixtures, and `colours`, a module beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from colours import COLOURS, network  # beside this file

from fastlearn.learner import Learner
from fastlearn.vision.data import ImageDataLoaders


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noisy pictures of three colours."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for split, n in (("train", 6), ("valid", 5)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                noisy = np.clip(np.array(colour) + rng.normal(0, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(noisy).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def learn(folder):
    """A learner over them, not trained."""
    return Learner(ImageDataLoaders.from_folder(folder, bs=4, num_workers=0), network(), seed=1, default_cbs=False)
