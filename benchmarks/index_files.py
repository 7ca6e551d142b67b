"""From a folder with a million files to the list of images, and to DataLoaders.

The files stand in class folders, `class_000/00000.png` and so on, in a temporary folder that is removed at the end,
also after an error. They are hard links to a one-pixel picture, a new one every thirty thousand links, because a
library may open the first sample to find its type; on a file system without hard links they are small copies.

Every round measures both steps in fresh processes, since a process keeps its peak memory: `list` is the call that
lists the images (`get_image_files`), `loaders` is `ImageDataLoaders.from_folder` with a random split of a fifth. Peak
memory is that of the process over what it held after the imports; `loaders each` is the peak of `loaders` over that of
the same step on a thousand files, a file. `scandir` is the shortest walk by hand, to plain strings.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness import PEERS, Contestant, Measure, Round, main, run_fresh

# The smallest PNG: one grey pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
LINKS_PER_FILE = 30_000  # ext4 allows 65,000
FEW = 1000  # files of the folder whose memory stands for what does not grow with their number
FEW_CLASSES = 10

PROBE = """
import gc, json, resource, sys, time
{imports}
def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
folder = sys.argv[1]
before, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
found = {call}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
print(json.dumps({{"cpu": cpu, "wall": wall, "mib": peak_mib() - before, "n": {count}}}))
"""
SCANDIR = """
import os
def walk(folder, found):
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                walk(entry.path, found)
            elif entry.name.endswith(".png"):
                found.append(entry.path)
    return found
"""
TYPICAL = "item_tfms=Resize(32), valid_pct=.2, seed=42, bs=64, num_workers=0"
LOADERS = f"ImageDataLoaders.from_folder(folder, {TYPICAL})"
COUNT_LOADERS = "len(found.train_ds) + len(found.valid_ds)"


def indexing(options: argparse.Namespace, imports: str, list_call: str, loaders_call: str | None) -> Round:
    """The round that runs both steps, each in a fresh process, and checks that no file is lost."""
    if options.n <= FEW:
        raise ValueError(f"--n {options.n}: expected more than {FEW} files, which memory is compared with.")
    code = {"list": PROBE.format(imports=imports, call=list_call, count="len(found)")}
    if loaders_call:
        code["loaders"] = PROBE.format(imports=imports, call=loaders_call, count=COUNT_LOADERS)

    def one_round() -> dict[str, float]:
        figures: dict[str, float] = {}
        for step, program in code.items():
            found = counted_run(step, program, options.folder, options.n)
            figures |= {f"{step} cpu": found["cpu"], f"{step} wall": found["wall"], f"{step} peak": found["mib"]}
        if loaders_call:
            few = counted_run("loaders", code["loaders"], few_files(options.folder), FEW)
            grown_mib = figures["loaders peak"] - few["mib"]
            figures["loaders each"] = grown_mib * 2**20 / (options.n - FEW)
        return figures

    return one_round


def counted_run(step: str, program: str, folder: Path, n: int) -> dict[str, float]:
    """The figures of a fresh process that must have found `n` files."""
    found = run_fresh(program, str(folder))
    if found["n"] != n:
        raise RuntimeError(f"{step} found {found['n']} of {n} files.")
    return found


def scandir(options: argparse.Namespace) -> Round:
    return indexing(options, SCANDIR, "walk(folder, [])", None)


def fastlearn(options: argparse.Namespace) -> Round:
    imports = "from fastlearn.vision.all import ImageDataLoaders, Resize, get_image_files"
    return indexing(options, imports, "get_image_files(folder)", LOADERS)


def fastai(options: argparse.Namespace) -> Round:
    imports = "from fastai.vision.all import ImageDataLoaders, Resize, get_image_files"
    return indexing(options, imports, "get_image_files(folder)", LOADERS)


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────────────────


def make_folder(options: argparse.Namespace) -> Sequence[str]:
    """Make the files, and give the workers the option that names their folder."""
    options.folder = Path(tempfile.mkdtemp(prefix="fastlearn-index-", dir=options.dir))
    start = time.perf_counter()
    options.root, options.folder = options.folder, options.folder / "images"
    fill(options.folder, options.n, options.classes)
    fill(few_files(options.folder), FEW, FEW_CLASSES)
    print(f"Made {options.n:,} files in {time.perf_counter() - start:.0f} s")
    return ["--folder", str(options.folder)]


def few_files(folder: Path) -> Path:
    """The folder of a thousand files beside that of a million."""
    return folder.with_name("few")


def fill(root: Path, n: int, classes: int) -> None:
    source = root
    for index in range(n):
        folder = root / f"class_{index % classes:03}"
        if index < classes:
            folder.mkdir(parents=True)
        if index % LINKS_PER_FILE == 0:
            source = root.with_name(f"{root.name}_source_{index}.png")
            source.write_bytes(PIXEL)
        link_or_copy(source, folder / f"{index // classes:05}.png")


def link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        target.write_bytes(PIXEL)


def remove_folder(options: argparse.Namespace) -> None:
    root = getattr(options, "root", options.folder)
    if root:
        shutil.rmtree(root)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n", type=int, default=1_000_000, help="number of files (default %(default)s)")
    parser.add_argument("--classes", type=int, default=100, help="number of class folders (default %(default)s)")
    parser.add_argument("--dir", default=None, help="where to make the temporary folder (default the system's)")
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)


MEASURE = Measure(
    name="index_files",
    title="Indexing a folder of image files: listing them, and DataLoaders over them",
    contestants={
        "fastlearn": Contestant(fastlearn),
        "scandir": Contestant(scandir),
        "fastai": Contestant(fastai, PEERS),
    },
    units={
        "list cpu": "s",
        "list wall": "s",
        "list peak": "MiB",
        "loaders cpu": "s",
        "loaders wall": "s",
        "loaders peak": "MiB",
        "loaders each": "B",
    },
    reference="fastai",
    rounds=3,
    warmup=0,
    add_options=add_options,
    before=make_folder,
    after=remove_folder,
)

if __name__ == "__main__":
    main(MEASURE)
