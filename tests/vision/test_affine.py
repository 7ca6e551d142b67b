"""Random geometry: what is drawn, and from which ranges."""

import math

import torch
from byte_batches import bytes_batch, parameters, plain, run

from fastlearn.vision.augment import (
    Dihedral,
    Flip,
    RandomResizedCropGPU,
    Rotate,
    Warp,
    Zoom,
)


def test_flip_mirrors_half_exactly():
    batch = bytes_batch(400, 4, 6)
    images, before = run(Flip(), batch), plain(batch)
    flipped = torch.tensor([torch.equal(a, b.flip(-1)) for a, b in zip(images, before, strict=True)])
    kept = torch.tensor([torch.equal(a, b) for a, b in zip(images, before, strict=True)])
    assert bool((flipped | kept).all()) and 160 < int(flipped.sum()) < 240
    assert torch.equal(run(Flip(p=1.0)), plain().flip(-1))
    assert torch.equal(run(Flip(p=1.0, draw=0)), plain())


def test_dihedral_uses_all_eight_ways():
    images = run(Dihedral(p=1.0), (bytes_batch(1)[0].expand(200, -1, -1, -1), torch.arange(200)))
    assert len({image.numpy().tobytes() for image in images}) == 8


def test_rotation_draws_uniform_degrees():
    matrices = parameters(Rotate(max_deg=20, p=0.6))
    degrees = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    changed = degrees[degrees != 0]
    assert 0.57 < len(changed) / 4000 < 0.63
    assert -20 <= changed.min() < -19.8 and 19.8 < changed.max() <= 20
    assert abs(float(changed.mean())) < 0.8 and abs(float(changed.std()) - 40 / math.sqrt(12)) < 0.3


def test_zoom_and_warp_draw_from_their_ranges():
    matrices = parameters(Zoom(1.0, 1.5, p=1.0))
    factor = 1 / matrices[:, 0, 0]
    assert 1 <= factor.min() < 1.01 and 1.49 < factor.max() <= 1.5 and abs(float(factor.mean()) - 1.25) < 0.01
    assert bool((matrices[:, :2, 2].abs().amax(1) + matrices[:, 0, 0] <= 1 + 1e-9).all())  # never looks outside
    corner = parameters(Warp(0.2, p=1.0)) @ torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)
    shift = corner[:, :2] / corner[:, 2:] + 1  # (-y, -x)
    assert shift.abs().max() <= 0.2 + 1e-9 and abs(float(shift.mean())) < 0.01
    assert abs(float(shift.std()) - 0.4 / math.sqrt(12)) < 0.005


def test_crop_on_the_device_draws_areas_and_shows_the_centre_in_validation():
    tfm = RandomResizedCropGPU(8, min_scale=0.25, ratio=(1, 1))
    matrices = parameters(tfm)
    areas = matrices[:, 0, 0] * matrices[:, 1, 1]
    assert 0.25 <= areas.min() < 0.26 and 0.99 < areas.max() <= 1 and abs(float(areas.mean()) - 0.625) < 0.01
    assert bool((matrices[:, :2, 2].abs() + matrices[:, [0, 1], [0, 1]] <= 1 + 1e-9).all())
    oblong = torch.zeros(1, 3, 8, 24)
    oblong[..., 8:16] = 1
    shown = run(RandomResizedCropGPU((8, 8), align_corners=False), (oblong, torch.arange(1)), train=False)
    torch.testing.assert_close(shown, torch.ones(1, 3, 8, 8), atol=1e-5, rtol=0)
    shapes = parameters(RandomResizedCropGPU(8, 0.1, (0.5, 2), max_scale=0.2), size=(30, 60))
    ratio = shapes[:, 0, 0] * 60 / (shapes[:, 1, 1] * 30)
    assert ratio.min() + 1e-9 >= 0.5 and ratio.max() <= 2 + 1e-9 and ratio.min() < 0.52 and ratio.max() > 1.95
