"""What the notebook's first cell costs: time and memory of the star import's module, over `import torch`.

Every round starts a fresh process that imports torch first, and then the module; what the second import takes is
reported. Files are in the page cache and byte-compiled (the warm-up round sees to it), as in daily use.
"""

from __future__ import annotations

import argparse

from harness import PEERS, Contestant, Measure, Round, main, run_fresh

PROBE = """
import importlib, json, os, resource, sys, time
def rss_mib():
    try:
        pages = int(open("/proc/self/statm").read().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
import torch
wall, cpu, before = time.perf_counter(), time.process_time(), rss_mib()
if sys.argv[1] != "torch":
    importlib.import_module(sys.argv[1])
print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "rss": rss_mib() - before,
                  "modules": len(sys.modules)}))
"""
TORCH_PROBE = """
import json, os, time
wall, cpu = time.perf_counter(), time.process_time()
import torch, sys
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
pages = int(open("/proc/self/statm").read().split()[1]) if os.path.exists("/proc/self/statm") else 0
rss = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
print(json.dumps({"cpu": cpu, "wall": wall, "rss": rss, "modules": len(sys.modules)}))
"""


def importing(module: str) -> Round:
    """The round that imports `module` in a fresh process."""
    return lambda: run_fresh(PROBE, module)


def torch_itself(options: argparse.Namespace) -> Round:
    return lambda: run_fresh(TORCH_PROBE)


def fastlearn(options: argparse.Namespace) -> Round:
    return importing("fastlearn.vision.all")


def torchvision(options: argparse.Namespace) -> Round:
    return importing("torchvision")


def fastai(options: argparse.Namespace) -> Round:
    return importing("fastai.vision.all")


MEASURE = Measure(
    name="import_cost",
    title="Import: torch itself, and what each module costs on top of it",
    contestants={
        "torch": Contestant(torch_itself),
        "fastlearn": Contestant(fastlearn),
        "torchvision": Contestant(torchvision),
        "fastai": Contestant(fastai, PEERS),
    },
    units={"cpu": "s", "wall": "s", "rss": "MiB", "modules": "count"},
    reference="torch",
    rounds=7,
)

if __name__ == "__main__":
    main(MEASURE)
