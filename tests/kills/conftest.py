"""Trainings in processes of their own, on a few generated pictures."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this file

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # they fork, mount and read /proc
else:
    from killing import Victims, result_of
    from victim import EPOCHS, Job


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 pictures to train on and 20 to validate with, of three classes."""
    from PIL import Image

    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for k in range(80):
        folder = root / ("train" if k < 60 else "valid") / "abc"[k % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 160, (12, 12, 3)) + 40 * (k % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.png")
    return root


@pytest.fixture(scope="session")
def victims(own_cache: None) -> Iterator[Victims]:
    """Runs jobs."""
    with Victims() as victims:
        yield victims


@pytest.fixture
def job_in(pictures: Path, tmp_path: Path) -> Callable[..., Job]:
    """Makes jobs in folders of the names they are given."""

    def job_in(name: str, **options: Any) -> Job:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        options = {"environment": {"FASTLEARN_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}} | options
        return Job(str(folder), str(pictures), str(tmp_path / f"{name}.pt"), **options)

    return job_in


@pytest.fixture(scope="session")
def uninterrupted(
    victims: Victims, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, Any]]:
    """What a training without checkpoints and kills, workers and cache comes to; each is run once."""

    @functools.cache
    def uninterrupted(what: str = "plain", call: str = "fit_one_cycle", epochs: int = EPOCHS) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("uninterrupted")
        options: dict[str, Any] = {"what": what, "call": call, "epochs": epochs, "resume": False}
        job = Job(str(folder), str(pictures), str(folder / "result.pt"), **options)
        ended = victims.run(job)
        assert ended.code == 0, ended.told
        return result_of(job)

    return uninterrupted
