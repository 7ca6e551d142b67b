"""Folders with very many pictures, and what `ImageDataLoaders.from_folder` costs over them, for other measures.

The files are hard links to one small JPEG in a hundred class folders, a new one every thirty thousand links, since a
file system allows a file so many; where it allows none, copies.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness import run_fresh
from jpegs import add_jpeg_options

SIZES = (1_000, 10_000, 100_000, 1_000_000)
N_CLASSES, LINKS_PER_FILE = 100, 30_000  # ext4 allows 65,000

PROBE = """
import gc, json, resource, sys, time
from {library}.vision.all import ImageDataLoaders, Resize
def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
folder, n = sys.argv[1], int(sys.argv[2])
gc.collect()
before, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
dls = ImageDataLoaders.from_folder(folder, valid_pct=.2, seed=42, item_tfms=Resize(32), bs=64, num_workers=0)
cpu, wall, peak = time.process_time() - cpu, time.perf_counter() - wall, peak_mib() - before
found = len(dls.train_ds) + len(dls.valid_ds)
assert found == n, f"{{found}} of {{n}} files were found."
print(json.dumps({{"cpu": cpu, "wall": wall, "mib": peak}}))
"""


def from_folder_figures(library: str, folder: Path, n: int) -> dict[str, float]:
    """Seconds (`cpu`, `wall`) and peak memory over that of the imports (`mib`), in a fresh process."""
    return run_fresh(PROBE.format(library=library), str(folder / str(n)), str(n))


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--sizes`, and those of `jpegs.py`, `--folder` among them: every part of a measure takes all its options."""
    add_jpeg_options(parser, 512)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, choices=SIZES, help="numbers of files")


def make_trees(options: argparse.Namespace) -> Sequence[str]:
    """A folder of each size, and the option that names them to the workers."""
    options.trees, start = Path(tempfile.mkdtemp(prefix="fastlearn-many-")), time.perf_counter()
    for n in options.sizes:
        make_tree(options.trees / str(n), n)
    print(f"Made {sum(options.sizes):,} files in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return ["--folder", str(options.trees)]


def make_tree(folder: Path, n: int) -> None:
    """`n` pictures in `folder/class_<k>/`."""
    content = small_jpeg()
    names = [folder / f"class_{k:03}" for k in range(N_CLASSES)]
    for index in range(n):
        target = names[index % N_CLASSES] / f"{index // N_CLASSES:05}.jpg"
        if index < N_CLASSES:
            target.parent.mkdir(parents=True)
        if index % LINKS_PER_FILE == 0:
            source = target
            source.write_bytes(content)
            continue
        try:
            target.hardlink_to(source)
        except OSError:
            target.write_bytes(content)


def small_jpeg() -> bytes:
    """A grey picture of 40 × 40 pixels."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (40, 40), "grey").save(file, "JPEG")
    return file.getvalue()


def remove_trees(options: argparse.Namespace) -> None:
    """Remove what `make_trees` made."""
    if getattr(options, "trees", None):
        shutil.rmtree(options.trees, ignore_errors=True)
