"""What it gives each family of networks to take a batch through its body some pictures at a time, on one core.

    .venv/bin/python benchmarks/body_in_pieces.py                       # ten minutes on one quiet core
    .venv/bin/python benchmarks/body_in_pieces.py --only resnet18 --bs 64

The networks are those of `channels_last.py`, each in the memory format that `vision_learner` chooses, their batch norms
with kept statistics. `forward` is a pass in evaluation mode without gradients; `step` is forward, cross-entropy and
backward; both in CPU milliseconds a picture, whole batches and pieces in turn. `gain` is the whole batch's time over
the pieces'.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch  # after channels_last, which says how OpenMP waits
import torch.nn.functional as F
from channels_last import CPU, N_CLASSES, create_vision_model, prefers_channels_last, run_families, seconds
from torch import Tensor, nn

from fastlearn.runtime.pieces import in_pieces

UNITS = {
    "forward whole": "ms",
    "forward pieces": "ms",
    "forward gain": "×",
    "step whole": "ms",
    "step pieces": "ms",
    "step gain": "×",
}
TITLE = "The body some pictures at a time, by family of networks"

Forward = Callable[[nn.Module, Tensor], Tensor]


def whole(model: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = model(x)
    return output


def pieces(model: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = in_pieces(model, (x,))
    return output


def rounds_of(arch: object, options: argparse.Namespace) -> list[dict[str, float]]:
    """The counted rounds of one network."""
    torch.manual_seed(0)
    model = create_vision_model(arch, N_CLASSES, False).eval()
    last = prefers_channels_last(model, CPU, "fp32")
    model = model.to(memory_format=torch.channels_last) if last else model
    x = torch.randn(options.bs, 3, options.size, options.size)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    y = torch.arange(options.bs) % N_CLASSES
    found: list[dict[str, float]] = []
    for _ in range(1 + options.rounds):
        figures: dict[str, float] = {}
        for name, work in (("forward", forward), ("step", step)):
            times = {
                way: seconds(work(model, x, y, run)) * 1e3 / len(x)
                for way, run in (("whole", whole), ("pieces", pieces))
            }
            figures |= {f"{name} {way}": ms for way, ms in times.items()}
            figures[f"{name} gain"] = times["whole"] / times["pieces"]
        found.append(figures)
    return found[1:]


def forward(model: nn.Module, x: Tensor, y: Tensor, run: Forward) -> Callable[[], None]:
    def work() -> None:
        with torch.no_grad():
            run(model, x)

    return work


def step(model: nn.Module, x: Tensor, y: Tensor, run: Forward) -> Callable[[], None]:
    def work() -> None:
        F.cross_entropy(run(model, x), y).backward()
        model.zero_grad()

    return work


if __name__ == "__main__":
    run_families("body_in_pieces", TITLE, UNITS, rounds_of)
