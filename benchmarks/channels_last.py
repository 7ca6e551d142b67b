"""What channels-last memory format gives each family of networks: a training step in both formats, fp32 and bf16.

    .venv/bin/python benchmarks/channels_last.py                       # a quarter of an hour on one quiet core
    .venv/bin/python benchmarks/channels_last.py --only resnet18 vgg11_bn --bs 8

A step is forward, cross-entropy and backward over one batch of pictures, of the network that `vision_learner` makes,
with random weights. One process, one network after the other, so that only one of them is in memory; the formats take
turns within a round, and a first round is not counted. Times are CPU seconds. `gain` is the contiguous step's time over
the channels-last step's, so above 1 it pays; `chosen` is 1 where `vision_learner` uses it by itself on a CPU. `bf16
both` is the gain of bf16 and channels-last together over the contiguous fp32 step. A processor that has no arithmetic
for bf16 has no such columns: there a step takes many times as long as in fp32.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from report import installed_versions, machine, now, summarise, table
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # this checkout's fastlearn

from fastlearn.arch import models  # noqa: E402
from fastlearn.arch.spec import create_vision_model  # noqa: E402
from fastlearn.runtime.memory_format import prefers_channels_last  # noqa: E402
from fastlearn.runtime.precision import has_fast_bf16  # noqa: E402

CPU = torch.device("cpu")
N_CLASSES = 10
FAMILIES = {
    "resnet18": models.resnet18,
    "densenet121": models.densenet121,
    "vgg11_bn": models.vgg11_bn,
    "squeezenet1_1": models.squeezenet1_1,
    "mobilenet_v3_large": models.mobilenet_v3_large,
    "shufflenet_v2_x1_0": models.shufflenet_v2_x1_0,
    "regnet_y_400mf": models.regnet_y_400mf,
    "tf_efficientnet_lite0": "tf_efficientnet_lite0",
    "convnext_tiny": "convnext_tiny",
    "vit_tiny_patch16_224": "vit_tiny_patch16_224",
    "resnet50": models.resnet50,
    "resnext50_32x4d": models.resnext50_32x4d,
}
UNITS = {
    "fp32 contiguous": "s",
    "fp32 last": "s",
    "fp32 gain": "×",
    "bf16 contiguous": "s",
    "bf16 last": "s",
    "bf16 gain": "×",
    "bf16 both": "×",
    "chosen": "1 is yes",
}
TITLE = "Channels-last memory format: one training step, by family of networks"

RoundsOf = Callable[[object, argparse.Namespace], list[dict[str, float]]]


def rounds_of(arch: object, options: argparse.Namespace) -> list[dict[str, float]]:
    """The counted rounds of one network."""
    torch.manual_seed(0)
    plain = create_vision_model(arch, N_CLASSES, False)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    chosen = float(prefers_channels_last(plain, CPU, "fp32"))
    x = torch.randn(options.bs, 3, options.size, options.size)
    y = torch.arange(options.bs) % N_CLASSES
    x_last = x.contiguous(memory_format=torch.channels_last)
    found: list[dict[str, float]] = []
    for _ in range(1 + options.rounds):
        figures: dict[str, float] = {}
        for name in ("fp32", "bf16")[: 1 + has_fast_bf16(CPU)]:
            half = name == "bf16"
            contiguous, changed = seconds(step(plain, x, y, half)), seconds(step(last, x_last, y, half))
            figures |= {f"{name} contiguous": contiguous, f"{name} last": changed, f"{name} gain": contiguous / changed}
        if "bf16 last" in figures:
            figures["bf16 both"] = figures["fp32 contiguous"] / figures["bf16 last"]
        found.append(figures | {"chosen": chosen})
    return found[1:]


def step(model: nn.Module, x: Tensor, y: Tensor, half: bool) -> Callable[[], None]:
    """One training step without the optimizer's part."""

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        model.zero_grad()

    return run


def seconds(work: Callable[[], None]) -> float:
    """CPU seconds of all threads of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def run_families(measure: str, title: str, units: Mapping[str, str], rounds_of: RoundsOf) -> None:
    """The command line of a measure of one network after the other: runs it, writes its JSON and prints its table."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default %(default)s)")
    parser.add_argument("--bs", type=int, default=32, help="pictures in a batch (default %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="pixels of a picture's side (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(FAMILIES), help="leave the other families out")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rounds: dict[str, list[dict[str, float]]] = {}
    for name in options.only or FAMILIES:
        print(f"{measure}: {name}", file=sys.stderr, flush=True)
        rounds[name] = rounds_of(FAMILIES[name], options)
        there = {unit: units[unit] for unit in units if any(unit in values[0] for values in rounds.values())}
        report = summarise(there, next(iter(rounds)), (), rounds, tuple(there)) | {
            "measure": measure,
            "title": f"{title} (batch of {options.bs} pictures of {options.size} px)",
            "settings": {name: getattr(options, name) for name in ("rounds", "threads", "bs", "size")},
            "machine": machine(),
            "versions": installed_versions(),
            "date": now(),
            "rounds": rounds,
        }
        # After each network, so that a run that is stopped keeps those before.
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / f"{measure}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))


if __name__ == "__main__":
    run_families("channels_last", TITLE, UNITS, rounds_of)
