"""What the tests here share: processes that train and are killed, and what a killed one has left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import torch
from victim import Job

from fastlearn.errors import CheckpointError
from fastlearn.training.runs import newest_whole, read_run

VICTIM = Path(__file__).with_name("victim.py")
REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONWARNINGS": "error"}


def environment() -> dict[str, str]:
    """That of a process of the tests: one thread, and this very fastlearn."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}


@dataclass(frozen=True)
class Ended:
    """How a process ended: `code` is that of `subprocess`, `told` what it printed."""

    code: int
    seconds: float
    told: str


@dataclass
class Counts:
    """What the kills of a module came to."""

    kills: int = 0
    lost: int = 0
    damaged: int = 0
    litter: int = 0
    more: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        numbers = {"kills": self.kills, "lost": self.lost, "damaged": self.damaged, "litter": self.litter} | self.more
        return ", ".join(f"{number} {name}" for name, number in numbers.items())

    def check(self) -> None:
        """Show the counts, and assert that nothing was lost."""
        print(f"\n{self.line()}")
        assert self.kills and not self.lost and not self.damaged and not self.litter, self.line()


class Victims:
    """Runs jobs, each in a process of its own that is a fork of one that has everything imported."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, VICTIM, "--serve"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._answer() == "ready"
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe(self._server.stdin).close()
        self._server.wait(timeout=60)
        self._pipe(self._server.stdout).close()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe

    def _answer(self) -> str:
        return self._pipe(self._server.stdout).readline().strip()

    def run(self, job: Job, signals: Iterable[tuple[float, int]] = ()) -> Ended:
        """Run a job to its end, with `signals` sent from outside after so many seconds."""
        told = Path(job.folder) / "told.txt"
        already = told.stat().st_size if told.exists() else 0
        self._pipe(self._server.stdin).write(json.dumps({"job": asdict(job), "signals": list(signals)}) + "\n")
        answer = json.loads(self._answer())
        with open(told, "rb") as file:
            file.seek(already)
            return Ended(answer["code"], answer["seconds"], file.read().decode())


def folder_of(job: Job) -> Path:
    """Where the checkpoints of a job are."""
    return Path(job.folder) / "models" / "checkpoints"


def result_of(job: Job) -> dict[str, Any]:
    """What a job that came to its end has written."""
    found: dict[str, Any] = torch.load(job.result, weights_only=True)
    return found


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal to the last bit, whatever they consist of."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), f"{where}: {list(one)} and {list(other)}"
        for name in one:
            assert_same(one[name], other[name], f"{where}/{name}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), f"{where}: {len(one)} and {len(other)}"
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}/{k}")
    else:
        assert one == other or one != one, f"{where}: {one} and {other}"


def newest_number(folder: Path) -> int:
    """The number of the newest whole checkpoint; 0 without one."""
    saved = newest_whole(folder)
    return 0 if saved is None else int(saved.path.name.partition("-")[0])


def damaged_in(folder: Path) -> int:
    """How many checkpoints in a folder are there by name, and not whole."""
    damaged = 0
    for path in sorted(folder.glob("[0-9]*")):
        try:
            read_run(path)
        except CheckpointError:
            damaged += 1
    return damaged


def litter_in(folder: Path) -> list[str]:
    """What lies in a folder of checkpoints and is none."""
    return [path.name for path in folder.iterdir() if not path.name[0].isdigit()]
