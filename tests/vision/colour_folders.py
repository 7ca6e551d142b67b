"""Folders of one-coloured pictures, a table of them, and a check that labels follow colours."""

import pandas as pd
import torch
from PIL import Image
from torch import nn

from fastlearn.data.files import get_image_files
from fastlearn.learner import Learner

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


FAST = {"num_workers": 0, "device": "cpu", "bs": 4}


def make(folder, per_class=5, sizes=((8, 8),)):
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for k in range(per_class):
            Image.new("RGB", sizes[k % len(sizes)], colour).save(folder / name / f"{name}_{k}.png")
    return folder


def colour_learner(dls):
    """A network that sees the mean colour, with the same weights each time."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    return Learner(dls, network, loss_func=nn.CrossEntropyLoss() if dls.task is None else None, default_cbs=False)


def assert_right_colours(dls):
    for loader in dls.loaders:
        for images, labels in loader:
            codes = images.mean((2, 3)).argmax(1)  # red 0, green 1, blue 2
            assert [dls.vocab[label] for label in labels] == [("red", "green", "blue")[c] for c in codes]


def table(flat):
    files = get_image_files(flat)
    return pd.DataFrame(
        {
            "name": [str(file.relative_to(flat)) for file in files],
            "label": [file.parent.name for file in files],
            "both": [f"{file.parent.name} {'even' if k % 2 else 'odd'}" for k, file in enumerate(files)],
            "held": [k % 5 == 0 for k in range(len(files))],
            "is_red": [int(file.parent.name == "red") for file in files],
            "is_blue": [int(file.parent.name == "blue") for file in files],
            "amount": [float(k) for k in range(len(files))],
        }
    )
