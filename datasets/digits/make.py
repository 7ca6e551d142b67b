"""Writes train/<digit>/ and valid/<digit>/ beside this file from scikit-learn's copy of the UCI handwritten digits.

pip install scikit-learn && python datasets/digits/make.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
VALID_SHARE = 0.2
SEED = 42


def main() -> None:
    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8): 0 to 16 becomes 0 to 255
    shuffled = np.random.RandomState(SEED).permutation(len(grey))  # its stream is frozen, unlike default_rng's
    for split in ("train", "valid"):
        shutil.rmtree(HERE / split, ignore_errors=True)
    for digit in range(10):
        of_digit = [int(i) for i in shuffled if digits.target[i] == digit]
        n_valid = round(VALID_SHARE * len(of_digit))
        for split, chosen in (("valid", of_digit[:n_valid]), ("train", of_digit[n_valid:])):
            folder = HERE / split / str(digit)
            folder.mkdir(parents=True)
            for i in chosen:
                Image.fromarray(grey[i]).save(folder / f"{i:04}.png", optimize=True)


if __name__ == "__main__":
    main()
