"""Peak memory: against the number of epochs, where it must not grow, and against the number of files.

    python benchmarks/memory.py                     # both
    python benchmarks/memory.py --part epochs       # or resident, or files

Every figure is the peak resident size of a fresh process over what it was after the imports. What a library imports
only when it needs it is in the figure, and drops out of `growth` and `a file`.

- `epochs`: a small network trained for 1, 8 and 32 epochs on the JPEGs of `loading.py`; `growth` is what an epoch more
  takes, (32 epochs − 8 epochs) / 24: how far two readers are ahead differs from epoch to epoch, and of more epochs one
  is the fullest. fastlearn without a cache, and with one in memory, which is filled in the first
  epoch. Loaders of fastai and torch read in worker processes, whose memory is not counted here, fastlearn's in threads,
  whose memory is: `no workers` lets all of them read in the main process.
- `resident`: the same training for 200 epochs, without a cache; what is resident at the end of the 25th, 100th and
  200th. Unlike a peak, it does not depend on how often one looks: a leak shows, the fullest moment does not.
- `files`: `ImageDataLoaders.from_folder` over 10³ to 10⁶ pictures; `a file` is bytes, taken between the smallest and
  the largest number, so that what the first of them costs drops out.
"""

from __future__ import annotations

import argparse

from harness import OURS, PEERS, Build, Contestant, Measure, Round, main_parts, run_fresh
from jpegs import jpegs_after, jpegs_before
from many_files import SIZES, add_options, from_folder_figures, make_trees, remove_trees

EPOCHS = {"1 epoch": 1, "8 epochs": 8, "32 epochs": 32}

# ── epochs ───────────────────────────────────────────────────────────────────────────────────────────────────────────

NETWORK = """
import argparse, json, pathlib, resource, sys
from torch import nn
from torch.nn import functional as F
import loading
def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
options, n_epochs, workers = argparse.Namespace(folder=pathlib.Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
def network():
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
"""
PROGRAMS = {
    "fastlearn": """
from fastlearn.vision.all import Learner
before = peak_mib()
dls = loading.fastlearn_loaders(options, {cache!r}, num_workers=workers)
learn = Learner(dls, network(), loss_func=nn.CrossEntropyLoss())
with learn.no_bar():
    learn.fit(n_epochs)
""",
    "fastai": """
from fastai.vision.all import Learner
before = peak_mib()
dls = loading.fastai_loaders(options, num_workers=workers)
learn = Learner(dls, network(), loss_func=nn.CrossEntropyLoss())
with learn.no_bar(), learn.no_logging():
    learn.fit(n_epochs)
""",
    "torch": """
import torch, torchvision
from torchvision.transforms import v2
before = peak_mib()
more = dict(num_workers=workers, persistent_workers=workers > 0)
loader = loading.torch_loader(options, **more)
valid = loading.torch_loader(options, train=False, **more)
model = network()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
for _ in range(n_epochs):
    for x, y in loader:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        for x, y in valid:
            F.cross_entropy(model(x), y)
""",
}
LAST_LINE = 'print(json.dumps({"mib": peak_mib() - before}))'


def by_epochs(library: str, workers: int, cache: str | bool = False) -> Build:
    program = NETWORK + PROGRAMS[library].format(cache=cache) + LAST_LINE

    def build(options: argparse.Namespace) -> Round:
        def one_round() -> dict[str, float]:
            argv = {name: (str(options.folder), str(n), str(workers)) for name, n in EPOCHS.items()}
            peaks = {name: run_fresh(program, *argv[name])["mib"] for name in EPOCHS}
            return peaks | {"growth": (peaks["32 epochs"] - peaks["8 epochs"]) / 24}

        return one_round

    return build


# ── resident ─────────────────────────────────────────────────────────────────────────────────────────────────────────

MOMENTS = (25, 100, 200)  # epochs
RESIDENT = """
from fastlearn.vision.all import Callback, Learner
def resident_mib():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
seen, before = {}, resident_mib()
class Watch(Callback):
    def after_epoch(self, state):
        seen[f"{state.fit_epoch + 1} epochs"] = resident_mib() - before
learn = Learner(loading.fastlearn_loaders(options, False, num_workers=workers), network(), nn.CrossEntropyLoss())
with learn.no_bar():
    learn.fit(n_epochs, cbs=Watch())
print(json.dumps(seen))
"""


def resident(workers: int) -> Build:
    def build(options: argparse.Namespace) -> Round:
        def one_round() -> dict[str, float]:
            seen = run_fresh(NETWORK + RESIDENT, str(options.folder), str(max(MOMENTS)), str(workers))
            found = {f"{n} epochs": seen[f"{n} epochs"] for n in MOMENTS}
            first, last = (found[f"{n} epochs"] for n in (MOMENTS[0], MOMENTS[-1]))
            return found | {"growth": (last - first) / (MOMENTS[-1] - MOMENTS[0])}

        return one_round

    return build


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def by_files(library: str) -> Build:
    def build(options: argparse.Namespace) -> Round:
        def one_round() -> dict[str, float]:
            peaks = {n: from_folder_figures(library, options.folder, n)["mib"] for n in options.sizes}
            few, many = min(peaks), max(peaks)
            each = {"a file": (peaks[many] - peaks[few]) * 2**20 / (many - few)} if many > few else {}
            return {str(n): peak for n, peak in peaks.items()} | each

        return one_round

    return build


PARTS = {
    "epochs": Measure(
        name="memory_epochs",
        title="Peak memory of training by number of epochs, over the imports (small network, batches of 64 at 128 px)",
        contestants={
            "fastai": Contestant(by_epochs("fastai", 2), PEERS),
            "torch": Contestant(by_epochs("torch", 2), OURS),
            "fastlearn": Contestant(by_epochs("fastlearn", 2), OURS),
            "fastlearn memory": Contestant(by_epochs("fastlearn", 2, "memory"), OURS),
            "no workers: fastai": Contestant(by_epochs("fastai", 0), PEERS),
            "no workers: torch": Contestant(by_epochs("torch", 0), OURS),
            "no workers: fastlearn": Contestant(by_epochs("fastlearn", 0), OURS),
        },
        units={**dict.fromkeys(EPOCHS, "MiB"), "growth": "MiB/epoch"},
        alone=[*EPOCHS, "growth"],
        reference="fastai",
        rounds=2,
        warmup=0,
        add_options=add_options,
        before=jpegs_before,
        after=jpegs_after,
    ),
    "resident": Measure(
        name="memory_resident",
        title="Resident memory at the end of an epoch, over the imports (small network, batches of 64 at 128 px)",
        contestants={"fastlearn": Contestant(resident(2), OURS), "no workers": Contestant(resident(0), OURS)},
        units={**dict.fromkeys((f"{n} epochs" for n in MOMENTS), "MiB"), "growth": "MiB/epoch"},
        alone=[*(f"{n} epochs" for n in MOMENTS), "growth"],
        reference="fastlearn",
        rounds=2,
        warmup=0,
        add_options=add_options,
        before=jpegs_before,
        after=jpegs_after,
    ),
    "files": Measure(
        name="memory_files",
        title="Peak memory of ImageDataLoaders.from_folder by number of files, over the imports",
        contestants={
            "fastai": Contestant(by_files("fastai"), PEERS),
            "fastlearn": Contestant(by_files("fastlearn"), OURS),
        },
        units={**{str(n): "MiB" for n in SIZES}, "a file": "bytes"},
        alone=[str(n) for n in SIZES],
        reference="fastai",
        rounds=2,
        warmup=0,
        add_options=add_options,
        before=make_trees,
        after=remove_trees,
    ),
}

if __name__ == "__main__":
    main_parts(PARTS)
