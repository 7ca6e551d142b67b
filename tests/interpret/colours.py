"""Three colours with noise, and a network that tells them apart by their means."""

import torch
from torch import nn

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def network(n_out=3):
    torch.manual_seed(2)
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3, n_out))
