"""A small training that ends where a test wants it to, and then writes down all that it has become.

`python victim.py job.json` runs one job. `python victim.py --serve` imports everything once and then forks a process
for each job that stands, one a line, on its input; it answers each with a line of JSON (see `killing.Victims`).
"""

from __future__ import annotations

import builtins
import importlib
import io
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import nn

from fastlearn.callbacks.checkpoint import Checkpoint
from fastlearn.training import runs
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState
from fastlearn.vision.all import (
    EMA,
    CrossEntropyLossFlat,
    GradientAccumulation,
    ImageDataLoaders,
    Learner,
    MixUp,
    accuracy,
    aug_transforms,
)

BS, EPOCHS, FROZEN_EPOCHS = 8, 3, 2
SAVES: dict[str, dict[str, Any]] = {
    "step": {"every": 1},  # in the background, so that a kill meets one that is being written
    "step, waited for": {"every": 1, "background": False},
    "epoch": {"every": "epoch"},
}


@dataclass
class Job:
    """One training in `folder`, and where it ends.

    `place` is [part of the call, epoch, batch, phase], where batch -1 is the last one; there the process sends itself
    `signal`. `save` and `call_number` are the number of a save, and of a call to the system within it, before which
    the process kills itself. `commands` are run before the training batches of these numbers. `limit` is the most
    bytes of a file.
    """

    folder: str
    pictures: str
    result: str = ""
    what: str = "plain"
    workers: int = 0
    cache: Any = False
    call: str = "fit_one_cycle"
    saves: str = "step, waited for"
    resume: bool = True
    place: list[Any] | None = None
    signal: int = signal.SIGKILL
    again: bool = False
    own_handler: bool = False
    save: int | None = None
    call_number: int = 0
    log: str = ""
    commands: dict[str, list[list[str]]] = field(default_factory=dict)
    epochs: int = EPOCHS
    limit: int = resource.RLIM_INFINITY
    environment: dict[str, str] = field(default_factory=dict)


def make_learner(job: Job) -> Learner:
    """The same learner for the same job, in whatever process."""
    augmented = aug_transforms(max_rotate=20.0, max_zoom=1.2) if job.what == "augmentation" else None
    dls = ImageDataLoaders.from_folder(
        job.pictures, bs=BS, val_bs=BS, seed=3, num_workers=job.workers, cache=job.cache, batch_tfms=augmented
    )
    for loader in dls.loaders:
        loader.seed = 5
    torch.manual_seed(1)
    dropout = [nn.Dropout(0.3)] if job.what == "dropout" else []
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), *dropout, nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )
    learn = Learner(
        dls,
        nn.Sequential(body, nn.Linear(32, 3)),
        loss_func=CrossEntropyLossFlat(),
        metrics=accuracy,
        path=job.folder,
        seed=7,
        splitter=lambda model: [list(model[0].parameters()), list(model[1].parameters())],
    )
    return learn.to_bf16() if job.what == "bf16" else learn


def callbacks_of(job: Job) -> list[Callback]:
    """What the training is given beside the checkpoints."""
    made: dict[str, Callback] = {"MixUp": MixUp(0.4), "EMA": EMA(0.9)}
    made["GradientAccumulation"] = GradientAccumulation(3 * BS)
    return [made[job.what]] if job.what in made else []


def train(learn: Learner, job: Job, cbs: list[Callback]) -> None:
    """The call that the job is of."""
    with learn.no_bar():
        if job.call == "fit_one_cycle":
            learn.fit_one_cycle(job.epochs, 1e-2, cbs=cbs, resume=job.resume)
        else:
            kept = job.call == "fine_tune on kept features"
            learn.fine_tune(job.epochs, 1e-2, freeze_epochs=FROZEN_EPOCHS, cached_head=kept, cbs=cbs, resume=job.resume)


def outcome(learn: Learner, cbs: list[Callback]) -> dict[str, Any]:
    """All that a training leaves, but how long it took."""
    assert learn.opt is not None
    history = learn.recorder.state_dict()
    history["epochs"] = [{name: value for name, value in row.items() if name != "time"} for row in history["epochs"]]
    passes = itertools.chain.from_iterable(learn.dls.train for _ in range(3))
    return {
        "weights": learn.model.state_dict(),
        "optimizer": learn.opt.state_dict()["state"],
        "average": [one.state_dict() for one in cbs if isinstance(one, EMA)],
        "history": history,
        "columns": {n: one for n, one in learn.recorder.column_tensors().items() if n != "epoch_numbers"},  # with times
        "counters": [learn.global_step, learn.epoch],
        "generator": torch.get_rng_state(),
        "batches": [list(batch) for batch in itertools.islice(passes, 10)],
    }


class Ending(Callback):
    """Sends its process a signal at a place of the training, and runs commands at others."""

    order = 2000  # a checkpoint of this step comes first
    only_watches = True

    def __init__(self, job: Job) -> None:
        self.job, self.n_batches = job, 0

    def before_batch(self, state: TrainState) -> None:
        if not state.training:
            return
        for command in self.job.commands.get(str(state.step), ()):
            subprocess.run(command, check=True)
        if self.job.signal != signal.SIGKILL:
            self._signal(state)  # within the step, whose end it has to wait for

    def after_batch(self, state: TrainState) -> None:
        if self.job.signal == signal.SIGKILL or not state.training:
            self._signal(state)

    def _signal(self, state: TrainState) -> None:
        if self.job.place is None:
            return
        part, epoch, batch, phase = self.job.place
        here = [state.plan.story.index, state.fit_epoch, state.batch_index, state.phase]
        if here != [part, epoch, batch % state.n_batches, phase]:
            return
        os.kill(os.getpid(), self.job.signal)
        if self.job.again:
            threading.Timer(0.2, os.kill, (os.getpid(), self.job.signal)).start()
            time.sleep(60)


class TornFile(io.FileIO):
    """A file that is written in two halves."""

    def write(self, data: Any) -> int:
        half = len(data) // 2
        super().write(data[:half])
        calls.tell("write")
        return half + super().write(data[half:])


class Calls:
    """Counts what is asked of the system in each save, logs it, and kills the process before the one it is told."""

    def __init__(self) -> None:
        self.save, self.number = 0, 0
        self.target: tuple[int, int] | None = None
        self.log = -1

    def tell(self, name: str) -> None:
        self.number += 1
        if self.target == (self.save, self.number):
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self.log, f"{self.save} {self.number} {name}\n".encode())

    def begin(self, job: Job) -> None:
        """From now on; must come before the training."""
        self.log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.target = None if job.save is None else (job.save, job.call_number)
        checkpoints = str(Path(job.folder))
        patched: Any = os
        for name in ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir"):
            setattr(patched, name, self._told(name, getattr(os, name)))
        usual_open, write_run = builtins.open, runs.write_run

        def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if "b" not in mode or mode == "rb" or not str(file).startswith(checkpoints):
                return usual_open(file, mode, *args, **kwargs)
            self.tell("open")
            return io.BufferedWriter(TornFile(file, mode.replace("b", "")), 1 << 20)

        def write(*args: Any, **kwargs: Any) -> Any:
            self.save, self.number = self.save + 1, 0
            return write_run(*args, **kwargs)

        builtins.open = open_
        runs.write_run = write

    def _told(self, name: str, usual: Any) -> Any:
        def told(*args: Any, **kwargs: Any) -> Any:
            self.tell(name)
            return usual(*args, **kwargs)

        return told


calls = Calls()


def run(job: Job) -> None:
    """Train as the job says and, if it comes to an end, write the result."""
    os.environ.update(job.environment)
    if job.limit != resource.RLIM_INFINITY:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.limit, job.limit))
    if job.log:
        calls.begin(job)
    heard: list[int] = []
    if job.own_handler:
        signal.signal(job.signal, lambda number, frame: heard.append(number))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    learn, cbs = make_learner(job), callbacks_of(job)
    added = [Checkpoint(**SAVES[job.saves])] if job.resume else []
    try:
        train(learn, job, [*cbs, *added, Ending(job)])
    finally:
        restored = before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        print("handlers restored:", restored, flush=True)
    if job.result:
        torch.save(outcome(learn, cbs) | {"heard": heard}, job.result)
        sys.stdout.flush()
        os._exit(0)  # taking down what was imported would take longer than all of this


def serve() -> Job:
    """Fork a process for each job on the input, in which this returns; the first process answers how each ended."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("safetensors.torch", "threadpoolctl", "multiprocessing.synchronize", "numpy.ma"):
        importlib.import_module(name)  # what each of the children would import
    PIL.Image.init()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        job, start = Job(**asked["job"]), time.monotonic()
        assert len(os.listdir("/proc/self/task")) == 1, "a thread would not be there in the child"
        child = os.fork()
        if not child:
            _redirect(job)
            return job
        for after_s, number in asked["signals"]:
            time.sleep(max(0.0, start + after_s - time.monotonic()))
            os.kill(child, number)  # it is not waited for yet, so nobody else can have its number
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"code": code, "seconds": time.monotonic() - start}), flush=True)
    sys.exit()


def _redirect(job: Job) -> None:
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    told = os.open(Path(job.folder) / "told.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for new, old in ((nothing, 0), (told, 1), (told, 2)):
        os.dup2(new, old)
    os.close(nothing)
    os.close(told)


if __name__ == "__main__":
    run(serve() if sys.argv[1:] == ["--serve"] else Job(**json.loads(Path(sys.argv[1]).read_text())))
