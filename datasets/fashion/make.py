"""Writes train/<garment>/ and valid/<garment>/ beside this file from Debian's package `dataset-fashion-mnist`.

apt-get install dataset-fashion-mnist && python datasets/fashion/make.py

The first 200 training and the first 100 test pictures of each class, in the order of the original files.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

SOURCE = Path("/usr/share/datasets/fashion-mnist")
HERE = Path(__file__).parent
GARMENTS = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]


def read(name: str, header: int) -> np.ndarray:
    """The bytes of one IDX file after its header."""
    return np.frombuffer(gzip.decompress((SOURCE / name).read_bytes()), np.uint8, offset=header)


def main() -> None:
    for split, prefix, most in (("train", "train", 200), ("valid", "t10k", 100)):
        shutil.rmtree(HERE / split, ignore_errors=True)
        pictures = read(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = read(f"{prefix}-labels-idx1-ubyte.gz", 8)
        for number, garment in enumerate(GARMENTS):
            folder = HERE / split / garment
            folder.mkdir(parents=True)
            for i in np.flatnonzero(labels == number)[:most]:
                Image.fromarray(pictures[i]).save(folder / f"{i:05}.png", optimize=True)


if __name__ == "__main__":
    main()
