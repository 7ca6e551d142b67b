"""Light and colour on the scale of logits, and erased boxes."""

import math

import numpy as np
import pytest
import torch
from byte_batches import KINDS, plain, run
from torchvision.transforms.v2 import functional as TF

from fastlearn.runtime.seed import torch_rng
from fastlearn.vision.augment import (
    Brightness,
    Contrast,
    Hue,
    RandomErasing,
    Saturation,
)
from fastlearn.vision.light import relight, turn_hue


def test_merged_light_equals_one_after_the_other():
    parts = [Saturation(0.5, p=1.0), Brightness(0.4, p=1.0), Contrast(0.5, p=0.5)]
    together = run(parts, seed=3)
    images, generator = plain(), torch_rng(3, "batch")
    for part in parts:
        images, _ = part((images, None), KINDS, generator, True)
    torch.testing.assert_close(together, images, atol=2e-5, rtol=0)


def test_light_draws_as_documented():
    _, offset = Brightness(0.2, p=1.0).affine(4000, 3, torch_rng(0))
    level = offset.sigmoid()
    assert 0.4 <= level.min() < 0.402 and 0.598 < level.max() <= 0.6 and abs(float(level.mean()) - 0.5) < 0.003
    factor = Contrast(0.2, p=1.0).factor(4000, torch_rng(0))
    assert 0.8 <= factor.min() < 0.802 and 1.245 < factor.max() <= 1.25 and abs(float(factor.log().mean())) < 0.01
    assert 0.72 < float((Contrast(0.2).factor(4000, torch_rng(0)) != 1).double().mean()) < 0.78


def test_brightness_and_contrast_act_on_logits():
    x = torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1)
    logit = torch.log(x / (1 - x))
    brighter = run(Brightness(p=1.0, draw=0.6), (x, torch.arange(1)))
    torch.testing.assert_close(brighter, torch.sigmoid(logit + math.log(0.6 / 0.4)))
    sharper = run(Contrast(p=1.0, draw=1.5), (x, torch.arange(1)))
    torch.testing.assert_close(sharper, torch.sigmoid(logit * 1.5))
    ends = torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1)
    lit = run(Contrast(p=1.0, draw=0.8), (ends, torch.arange(1)))
    assert bool(torch.isfinite(lit).all()) and 0 <= lit.min() < 1e-3 and 0.999 < lit.max() <= 1


def test_saturation_leaves_greys_and_their_light():
    grey = torch.full((1, 3, 2, 2), 0.3)
    torch.testing.assert_close(run(Saturation(p=1.0, draw=0.5), (grey, torch.arange(1))), grey)
    colour = torch.tensor([0.8, 0.4, 0.2]).view(1, 3, 1, 1)
    dull = run(Saturation(p=1.0, draw=0.0), (colour, torch.arange(1)))
    torch.testing.assert_close(dull[0, 0], dull[0, 2])
    one = torch.rand(2, 1, 4, 4)
    assert run([Saturation(p=1.0), Hue(p=1.0)], (one, torch.arange(2))) is one


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.05, 1 / 3])
def test_hue_is_torchvisions(turn):
    images = plain()
    ours = turn_hue(images, torch.full((4,), turn, dtype=torch.float64))
    theirs = TF.adjust_hue(images, turn if turn >= -0.5 else 0.5)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    grey = torch.full((1, 3, 2, 2), 0.4)
    torch.testing.assert_close(turn_hue(grey, torch.tensor([0.3])), grey)


def test_erasing_fills_boxes_of_the_documented_areas():
    tfm = RandomErasing(p=1.0, sl=0.05, sh=0.2, min_aspect=0.3)
    top, left, bottom, right = tfm.boxes(3000, 200, 200, torch_rng(0))[:, 0].unbind(1)
    areas = (bottom - top) * (right - left) / 40_000
    assert areas.min() > 0.045 and areas.max() < 0.205 and abs(float(areas.mean()) - 0.125) < 0.005
    ratios = (right - left) / (bottom - top)
    assert ratios.min() < 0.32 and ratios.max() > 3.1 and bool((bottom <= 200).all()) and bool((right <= 200).all())
    batch = (torch.full((8, 3, 20, 20), 0.5), torch.arange(8))
    batch[0][0, 0, 0, 0] = 1.0
    erased = run(RandomErasing(p=1.0, sl=0.2, sh=0.2), batch)
    assert erased.shape == (8, 3, 20, 20) and bool((erased != batch[0]).flatten(1).any(1).all())
    counts = [RandomErasing(p=0.5, max_count=3).boxes(2000, 50, 50, torch_rng(1))]
    used = (counts[0][..., 2] > counts[0][..., 0]).sum(1)
    assert 0.4 < float((used == 0).double().mean()) < 0.6 and int(used.max()) == 3


def test_relight_of_nothing_is_the_same_tensor():
    images = plain()
    eye = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1)
    assert relight(images, eye, torch.zeros(4, dtype=torch.float64)) is images
    assert np.isfinite(run([Contrast(p=1.0)]).numpy()).all()
