"""JPEGs like a camera's for the measures: cuts of the photographs that scikit-image, scikit-learn and matplotlib ship.

    python benchmarks/jpegs.py FOLDER [N]

No photographer's data set can be had without a download. A cut keeps at least six tenths of the largest window that
fits its photograph, so that little is invented by enlarging; some noise, as of a camera's sensor, gives the decoder the
work that it has with pictures as they come. All is drawn from `seed`: the same pictures wherever the photographs are
the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

# Photographs of things and people, by the package that has them; a class of pictures comes from every n-th of them.
PHOTOS = (
    ("skimage", "data/astronaut.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/rocket.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
SMALLEST = 0.6  # of the largest window's side
NOISE = 6.0  # grey levels, standard deviation, in the photograph; the scaling leaves about half
TEMP_PREFIX = "fastlearn-jpegs-"


@dataclass(frozen=True)
class Look:
    """Width and height in pixels, and the JPEG's quality."""

    size: tuple[int, int]
    quality: int


def make_jpegs(
    folder: Path,
    n: int = 1024,
    n_classes: int = 4,
    size: tuple[int, int] = (500, 375),
    quality: int = 90,
    seed: int = 0,
    *,
    n_valid: int | None = None,
) -> Path:
    """`n` JPEGs of `size` (width, height) in `folder/train/class_<k>/` and `n_valid` (a quarter) in `folder/valid/`.

    Gives `folder` back. 1280 of them take eight seconds of one core.
    """
    photos, look = find_photos(), Look(size, quality)
    if n_classes > len(photos):
        raise ValueError(f"{n_classes} classes, and {len(photos)} photographs to cut from: at most one class each.")
    jobs: list[tuple[Image, Path, np.random.Generator, Look]] = []
    for split, count in (("train", n), ("valid", n // 4 if n_valid is None else n_valid)):
        for index in range(count):
            k = index % n_classes
            rng = np.random.default_rng((seed, split == "valid", index))  # of its own: threads may come in any order
            mine = photos[k::n_classes]
            target = Path(folder) / split / f"class_{k}" / f"{index:05}.jpg"
            if index < n_classes:
                target.parent.mkdir(parents=True, exist_ok=True)
            jobs.append((mine[int(rng.integers(len(mine)))], target, rng, look))
    with ThreadPoolExecutor() as pool:  # Pillow and NumPy let other threads run meanwhile
        for _ in pool.map(lambda job: write_cut(*job), jobs):
            pass
    return Path(folder)


def find_photos() -> list[Image]:
    """The photographs that this Python has. Raises FileNotFoundError when it has fewer than four."""
    from PIL import Image as pil

    found = []
    for package, name in PHOTOS:
        spec = importlib.util.find_spec(package)
        path = Path(str(spec.origin)).parent / name if spec else None
        if path is not None and path.is_file():
            found.append(with_noise(pil.open(path).convert("RGB")))
    if len(found) < 4:
        raise FileNotFoundError(
            f"Only {len(found)} photographs to cut from. pip install -r benchmarks/requirements.txt brings the "
            "packages that have them: scikit-image, scikit-learn, matplotlib."
        )
    return found


def with_noise(photo: Image) -> Image:
    """The photograph with a sensor's noise, always the same."""
    from PIL import Image as pil

    noise = np.random.default_rng(0).standard_normal((photo.height, photo.width, 3), np.float32) * NOISE
    return pil.fromarray(np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8))


def write_cut(photo: Image, target: Path, rng: np.random.Generator, look: Look) -> None:
    """One window of the photograph, mirrored or not, as a JPEG."""
    from PIL import Image as pil

    width, height = look.size
    most = min(photo.width / width, photo.height / height)
    scale = most * rng.uniform(SMALLEST, 1)
    left = rng.uniform(0, photo.width - scale * width)
    top = rng.uniform(0, photo.height - scale * height)
    box = (left, top, left + scale * width, top + scale * height)
    cut = photo.resize(look.size, pil.Resampling.BICUBIC, box)
    if rng.random() < 0.5:
        cut = cut.transpose(pil.Transpose.FLIP_LEFT_RIGHT)
    cut.save(target, quality=look.quality)


# ── for a measure's `before` and `after` ─────────────────────────────────────────────────────────────────────────────


def add_jpeg_options(parser: argparse.ArgumentParser, n: int = 1024) -> None:
    """`--n` pictures, in `--folder`; made in a temporary folder where none is named."""
    parser.add_argument("--n", type=int, default=n, help="training pictures (default %(default)s)")
    parser.add_argument("--folder", type=Path, default=None, help="pictures of an earlier `jpegs.py FOLDER`")


def jpegs_before(options: argparse.Namespace) -> Sequence[str]:
    """Make the pictures unless a folder is named, and give the workers the option that names it."""
    options.made = None
    if options.folder is not None:
        return []
    options.made = options.folder = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX))
    make_jpegs(options.folder, options.n)
    print(f"Made {options.n} training JPEGs of {describe(options.folder)}", file=sys.stderr, flush=True)
    return ["--folder", str(options.folder)]


def jpegs_after(options: argparse.Namespace) -> None:
    """Remove what `jpegs_before` made."""
    if getattr(options, "made", None):
        shutil.rmtree(options.made, ignore_errors=True)


def train_files(folder: Path) -> list[Path]:
    """The training pictures, in the order of their names."""
    return sorted((folder / "train").rglob("*.jpg"))


def describe(folder: Path) -> str:
    """The mean size of the training files."""
    files = train_files(folder)
    return f"{sum(path.stat().st_size for path in files) / len(files) / 1000:.0f} kB each"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("n", type=int, nargs="?", default=1024)
    options = parser.parse_args()
    print(f"{make_jpegs(options.folder, options.n)}: {options.n} training JPEGs of {describe(options.folder)}")
