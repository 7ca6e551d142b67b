import math
import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from fastlearn.data.transform import BatchPipeline
from fastlearn.errors import ConfigError
from fastlearn.runtime.seed import torch_rng
from fastlearn.vision.affine import MergedGeometry
from fastlearn.vision.augment import (
    Brightness,
    Contrast,
    Dihedral,
    Flip,
    Hue,
    IntToFloatTensor,
    Normalize,
    RandomErasing,
    RandomResizedCropGPU,
    Rotate,
    Saturation,
    Warp,
    Zoom,
    aug_transforms,
    cifar_stats,
    imagenet_stats,
)
from fastlearn.vision.light import MergedLight, relight, turn_hue

KINDS = ("image", "category")


def bytes_batch(n=4, h=16, w=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, h, w), dtype=torch.uint8, generator=generator), torch.arange(n)


def run(tfms, batch=None, train=True, seed=0):
    pipeline = BatchPipeline([IntToFloatTensor(), *(tfms if isinstance(tfms, list) else [tfms])], KINDS)
    batch = bytes_batch() if batch is None else batch
    images, labels = pipeline(batch, torch_rng(seed, "batch"), train)
    assert torch.equal(labels, batch[1])
    return images


def plain(batch=None):
    return (bytes_batch() if batch is None else batch)[0].float() / 255


def test_bytes_become_floats_first_and_only_once():
    images = run([])
    assert images.dtype == torch.float32 and torch.equal(images, plain())
    floats = torch.rand(2, 3, 4, 4)
    assert run([], (floats, torch.arange(2))) is floats
    (mask,) = IntToFloatTensor()((torch.ones(1, 2, 2, dtype=torch.uint8),), ("mask",), torch_rng(0), True)
    assert mask.dtype == torch.int64


def test_validation_changes_nothing():
    tfms = [*aug_transforms(), Saturation(), Hue(), RandomErasing(p=1), Dihedral(p=1)]
    assert torch.equal(run(tfms, train=False), plain())


def test_the_users_tensors_are_never_written_to():
    floats = torch.rand(4, 3, 8, 8)
    before = floats.clone()
    tfms = [*aug_transforms(), Hue(), RandomErasing(p=1.0), Normalize.from_stats(*imagenet_stats)]
    run(tfms, (floats, torch.arange(4)))
    assert torch.equal(floats, before)


def test_neighbours_are_merged():
    pipeline = BatchPipeline([IntToFloatTensor(), *aug_transforms(size=8, min_scale=0.5), Saturation(), Hue()], KINDS)
    kinds = [type(tfm) for tfm in pipeline.tfms]
    assert kinds == [IntToFloatTensor, MergedGeometry, MergedLight, Hue]
    assert len(pipeline.tfms[1].parts) == 5 and len(pipeline.tfms[2].parts) == 3
    separate = BatchPipeline([Flip(), Rotate(mode="nearest")], KINDS)
    assert len(separate.tfms) == 2


def test_merged_light_equals_one_after_the_other():
    parts = [Saturation(0.5, p=1.0), Brightness(0.4, p=1.0), Contrast(0.5, p=0.5)]
    together = run(parts, seed=3)
    images, generator = plain(), torch_rng(3, "batch")
    for part in parts:
        images, _ = part((images, None), KINDS, generator, True)
    torch.testing.assert_close(together, images, atol=2e-5, rtol=0)


def test_each_sample_has_its_own_draw_and_the_generator_decides():
    same = (bytes_batch(1)[0].expand(6, -1, -1, -1).contiguous(), torch.arange(6))
    images = run(aug_transforms(p_affine=1.0, p_lighting=1.0), same)
    assert all(not torch.equal(images[0], images[i]) for i in range(1, 6))
    assert torch.equal(images, run(aug_transforms(p_affine=1.0, p_lighting=1.0), same))
    assert not torch.equal(images, run(aug_transforms(p_affine=1.0, p_lighting=1.0), same, seed=1))
    together = run(aug_transforms(p_affine=1.0, p_lighting=1.0, batch=True), same)
    torch.testing.assert_close(together, together[:1].expand_as(together))


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


def parameters(tfm, n=4000, size=(32, 32)):
    return tfm.matrices(n, size, torch_rng(0))


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


@pytest.mark.parametrize("train", [True, False])
def test_sizes_of_the_result(train):
    for tfms in (aug_transforms(size=8), aug_transforms(size=(8, 12), min_scale=0.5), [Rotate(size=(5, 7))]):
        size = (8, 8) if tfms[0].size == (8, 8) else tfms[0].size
        assert run(tfms, train=train).shape == (4, 3, *size)
    nothing_else = aug_transforms(do_flip=False, max_rotate=0, max_warp=0, max_zoom=1, max_lighting=0, size=8)
    assert run(nothing_else, train=train).shape == (4, 3, 8, 8)


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


def test_normalize_and_back():
    normalize = Normalize.from_stats(*imagenet_stats)
    images = run([normalize])
    mean, std = (torch.tensor(stat).view(1, 3, 1, 1) for stat in imagenet_stats)
    torch.testing.assert_close(images, (plain() - mean) / std)
    pipeline = BatchPipeline([IntToFloatTensor(), normalize], KINDS)
    torch.testing.assert_close(pipeline.decode((images, torch.arange(4)))[0], plain(), atol=1e-6, rtol=0)
    again = pickle.loads(pickle.dumps(normalize))
    assert torch.equal(again.mean, normalize.mean) and repr(again) == repr(normalize)
    assert repr(normalize) == "Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(p=1.5), "p is a probability"),
        (lambda: Rotate(pad_mode="reflect"), "Did you mean 'reflection'"),
        (lambda: Rotate(mode="linear"), "choose 'bilinear'"),
        (lambda: Zoom(2.0, 1.0), "min_zoom=2.0"),
        (lambda: Warp(1.5), "magnitude=1.5"),
        (lambda: Brightness(1.0), "max_lighting=1.0"),
        (lambda: RandomErasing(sl=0.5, sh=0.1), "sl <= sh"),
        (lambda: Normalize([0.5], [0.0]), "all above 0"),
        (lambda: aug_transforms(min_scale=0.5), "needs a size"),
        (lambda: run(Normalize.from_stats(*cifar_stats), (torch.rand(1, 2, 4, 4), torch.arange(1))), "have 2"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_half_precision_stays_half():
    images = torch.rand(2, 3, 8, 8).bfloat16()
    done = run(aug_transforms(p_affine=1.0, p_lighting=1.0), (images, torch.arange(2)))
    assert done.dtype == torch.bfloat16 and bool(torch.isfinite(done).all())


def test_relight_of_nothing_is_the_same_tensor():
    images = plain()
    eye = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1)
    assert relight(images, eye, torch.zeros(4, dtype=torch.float64)) is images
    assert np.isfinite(run([Contrast(p=1.0)]).numpy()).all()
