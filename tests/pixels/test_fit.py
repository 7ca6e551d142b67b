"""Which part of a picture is taken, and what fills the rest."""

import numpy as np
import pytest
from drawn import RED, corners
from PIL import Image

from fastlearn.errors import ConfigError
from fastlearn.pixels import Fixed, PadMode, ResizeMethod, fit_box, resample


@pytest.mark.parametrize(
    ("method", "at", "box"),
    [
        ("crop", (0.5, 0.5), (4, 0, 20, 16)),
        ("crop", (0.5, 0.0), (0, 0, 16, 16)),
        ("crop", (0.5, 1.0), (8, 0, 24, 16)),
        ("pad", (0.5, 0.5), (0, -4, 24, 20)),
        ("squish", (0.5, 0.5), (0, 0, 24, 16)),
    ],
)
def test_fit_box(method, at, box):
    assert fit_box((16, 24), (8, 8), ResizeMethod.of(method), at) == box


def test_resample_is_pillows_resize():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    expected = np.asarray(image.crop((10, 0, 50, 40)).resize((20, 20), Image.Resampling.BILINEAR))
    part = np.asarray(resample(image, (10, 0, 50, 40), (20, 20)))
    assert np.array_equal(part[:, 1:-1], expected[:, 1:-1])  # at its edges the part sees what lies beside it


@pytest.mark.parametrize(("mode", "numpy_mode"), [("zeros", "constant"), ("border", "edge"), ("reflection", "reflect")])
def test_what_lies_outside_is_filled(mode, numpy_mode):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)
    padded = resample(Image.fromarray(pixels), (-2, -4, 14, 12), (16, 16), PadMode.of(mode))
    assert np.array_equal(np.asarray(padded), np.pad(pixels, [(4, 4), (2, 2), (0, 0)], mode=numpy_mode))


def test_nothing_to_do_gives_the_same_picture():
    image = corners()
    assert resample(image, (0, 0, 24, 16), (16, 24)) is image


def test_extreme_shapes_survive():
    thin = Image.new("RGB", (500, 1), RED)
    for method in ResizeMethod:
        for size in [(1, 1), (7, 3), (64, 64)]:
            box = fit_box((1, 500), size, method)
            assert resample(thin, box, size).size == size[::-1]


def test_misspelt_choices_name_near_ones():
    assert ResizeMethod.of("SQUISH") is ResizeMethod.Squish and PadMode.of(PadMode.Border) is PadMode.Border
    with pytest.raises(ConfigError, match="ResizeMethod has no 'squich'. Did you mean 'squish'"):
        ResizeMethod.of("squich")
    with pytest.raises(ConfigError, match="'zeros', 'border', 'reflection'"):
        PadMode.of(3)


@pytest.mark.parametrize("method", list(ResizeMethod))
def test_a_fixed_size_covers_or_fits_into_the_size_that_is_cut_from_it(method):
    rng = np.random.default_rng(0)
    for source in [(375, 500), (500, 333), (1, 7), (31, 32), *map(tuple, rng.integers(20, 300, (200, 2)).tolist())]:
        fixed = Fixed((48, 64), method)
        height, width = fixed.of(source)
        assert fixed.of((height, width)) == (height, width)  # resizing a second time changes nothing
        if method is ResizeMethod.Crop:
            assert (height == 48 and width >= 64) or (width == 64 and height >= 48)
        elif method is ResizeMethod.Pad:
            assert (height == 48 and width <= 64) or (width == 64 and height <= 48)
        else:
            assert (height, width) == (48, 64)
        left, top, right, bottom = fixed.box((height, width), (0.3, 0.8))
        assert (bottom - top, right - left) == (48, 64) and left == round(left) and top == round(top)


def test_a_very_long_picture_is_never_resized_as_a_whole():
    assert Fixed((224, 224)).of((1, 5000)) is None
    assert Fixed((224, 224)).box((1, 5000)) == fit_box((1, 5000), (224, 224), ResizeMethod.Crop)
    assert Fixed((224, 224)).of((10, 160)) == (224, 3584)


def test_a_part_in_whole_pixels_is_cut_and_not_resampled():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    part = resample(Image.fromarray(pixels), (7, 3, 37, 23), (20, 30))
    assert np.array_equal(np.asarray(part), pixels[3:23, 7:37])
