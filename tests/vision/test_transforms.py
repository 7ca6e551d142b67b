import numpy as np
import pytest
import torch
from PIL import Image

from fastlearn.errors import ConfigError
from fastlearn.vision.image import PILImage
from fastlearn.vision.transforms import (
    CropPad,
    DihedralItem,
    FlipItem,
    PadMode,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ResizeMethod,
)


def wide() -> PILImage:
    """40x20: the red channel counts columns, the green one rows."""
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(40), np.arange(20)[:, None]
    return PILImage.create(pixels)


def run(tfm, image=None, train=True, seed=0):
    sample = (wide() if image is None else image, np.int64(3))
    done, label = tfm(sample, ("image", "category"), np.random.default_rng(seed), train)
    assert label == 3
    return done


def test_crop_takes_the_centre_in_validation_and_any_place_along_the_long_side_in_training():
    centre = np.asarray(run(Resize(20), train=False))
    assert np.array_equal(centre, np.asarray(wide())[:, 10:30])
    starts = {int(np.asarray(run(Resize(20), seed=seed))[0, 0, 0]) for seed in range(60)}
    assert len(starts) > 12 and min(starts) <= 2 and max(starts) >= 18
    assert isinstance(run(Resize(20)), PILImage)


def test_the_same_generator_gives_the_same_crop():
    for tfm in (Resize(9), RandomResizedCrop(9), RandomCrop(9), FlipItem(), DihedralItem()):
        assert np.array_equal(np.asarray(run(tfm, seed=5)), np.asarray(run(tfm, seed=5)))
        assert np.array_equal(np.asarray(run(tfm, train=False, seed=5)), np.asarray(run(tfm, train=False, seed=6)))


def test_squish_and_pad():
    squished = run(Resize((10, 10), method="Squish"), train=False)
    assert np.array_equal(np.asarray(squished), np.asarray(wide().resize((10, 10), Image.Resampling.BILINEAR)))
    padded = np.asarray(run(Resize(40, ResizeMethod.Pad, pad_mode="zeros"), train=False))
    assert padded.shape == (40, 40, 3)
    assert not padded[:10].any() and not padded[30:].any() and np.array_equal(padded[10:30], np.asarray(wide()))
    mirrored = np.asarray(run(Resize(40, "pad", PadMode.Reflection), train=False))
    assert np.array_equal(mirrored[9], mirrored[11])


@pytest.mark.parametrize("size", [16, (16, 24), [8, 30], (50, 3)])
@pytest.mark.parametrize("method", list(ResizeMethod))
def test_sizes_are_height_by_width(size, method):
    expected = (size, size) if isinstance(size, int) else tuple(size)
    for train in (True, False):
        assert run(Resize(size, method), train=train).shape == expected
        assert run(RandomResizedCrop(size), train=train).shape == expected


def test_random_resized_crop_draws_areas_and_shapes_from_the_ranges():
    tfm, rng = RandomResizedCrop(8, min_scale=0.3, ratio=(0.5, 2)), np.random.default_rng(0)
    boxes = np.array([tfm.crop(400, 400, rng, True).box for _ in range(2000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas, ratios = width * height / 160_000, width / height
    assert 0.295 < areas.min() < 0.32 and areas.max() <= 1 and ratios.min() + 0.01 > 0.5 and ratios.max() < 2.01
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 400 and boxes[:, 3].max() <= 400
    small = areas < 0.45  # those that always fit are uniform in area and log-uniform in shape
    assert abs(np.median(areas[small]) - 0.375) < 0.01 and abs(np.log(ratios[small]).mean()) < 0.05


def test_random_resized_crop_shows_the_centre_in_validation():
    box = RandomResizedCrop(8).crop(100, 300, np.random.default_rng(0), False).box
    assert np.allclose(box, (150 - 66.6667 / 1.14, 50 - 50 / 1.14, 150 + 66.6667 / 1.14, 50 + 50 / 1.14), atol=1e-3)


def test_crop_pad_keeps_the_scale():
    assert np.array_equal(np.asarray(run(CropPad(10))), np.asarray(wide())[5:15, 15:25])
    assert np.asarray(run(CropPad((24, 40))))[:2].sum() == 0
    corners = {tuple(np.asarray(run(RandomCrop(10), seed=seed))[0, 0, :2]) for seed in range(40)}
    assert len(corners) > 20
    assert np.array_equal(np.asarray(run(RandomCrop(10), train=False)), np.asarray(wide())[5:15, 15:25])


def test_flips():
    assert np.array_equal(np.asarray(run(FlipItem(p=1.0))), np.asarray(wide())[:, ::-1])
    assert np.array_equal(np.asarray(run(FlipItem(p=1.0), train=False)), np.asarray(wide()))
    assert {run(DihedralItem(), seed=seed).size for seed in range(30)} == {(40, 20), (20, 40)}


def test_masks_and_points_are_placed_with_the_picture():
    mask = Image.fromarray((np.arange(40) // 10 * np.ones((20, 1))).astype(np.uint8))
    sample = (wide(), mask, np.array([[20.0, 10.0]]))
    image, placed, points = Resize(20)(sample, ("image", "mask", "points"), np.random.default_rng(1), True)
    columns = np.asarray(image)[0, :, 0]
    assert np.array_equal(np.asarray(placed)[0], columns // 10)
    assert abs(points[0, 0] - (20 - columns[0])) < 1e-6 + 1


def test_plain_pillow_images_and_samples_without_pictures_pass():
    assert run(Resize(8), image=Image.new("RGB", (20, 20))).size == (8, 8)
    sample = (torch.ones(3), 1)
    assert Resize(8)(sample, ("raw", "category"), np.random.default_rng(0), True) is sample


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resize("big"), "size='big' is not a size"),
        (lambda: Resize(0), "size=0 is not a size"),
        (lambda: Resize((3, 4, 5)), "Type a number such as 224"),
        (lambda: Resize(8, method="squich"), "Did you mean 'squish'"),
        (lambda: Resize(8, pad_mode="reflect"), "Did you mean 'reflection'"),
        (lambda: RandomResizedCrop(8, min_scale=0), "expected 0 < min_scale"),
        (lambda: RandomResizedCrop(8, min_scale=2.0), "min_scale <= max_scale"),
        (lambda: FlipItem(p=3), "not a probability"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_reprs_say_what_is_done():
    assert repr(Resize(224)) == "Resize(224x224, crop)"
    assert repr(RandomResizedCrop((8, 9), 0.35)) == "RandomResizedCrop(8x9, area 0.35 to 1)"
