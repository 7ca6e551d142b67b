"""Orientation, transparency, depth: upright 8-bit pixels."""

import numpy as np
import pytest
from drawn import GREEN, RED, corners, saved
from PIL import Image

from fastlearn.pixels import image_size, open_image, to_array


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_the_orientation_that_a_camera_stores_is_applied(orientation, undo, tmp_path):
    upright = corners()
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    stored.save(path, exif=exif)
    opened = open_image(path)
    assert opened.size == (24, 16)
    assert np.array_equal(np.asarray(opened), np.asarray(upright))
    assert image_size(path) == (16, 24)
    assert np.array_equal(np.asarray(open_image(opened)), np.asarray(upright))  # not applied twice


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    grey = Image.new("LA", (4, 4), (0, 0))
    for image, level in [(clear, 255), (half, 127), (grey, 255)]:
        assert open_image(saved(image, "PNG")).getpixel((1, 1)) == (level, level, level)
        assert open_image(saved(image, "PNG"), "L").getpixel((1, 1)) == level
    assert open_image(clear, "RGBA").getpixel((0, 0)) == (0, 0, 0, 0)


def test_palettes_with_and_without_transparency():
    palette = corners().quantize(4)
    assert open_image(saved(palette, "PNG")).getpixel((0, 0)) == RED
    index = palette.getpixel((0, 0))
    seen = open_image(saved(palette, "PNG", transparency=index))
    assert seen.getpixel((0, 0)) == (255, 255, 255) and seen.getpixel((20, 2)) == GREEN
    seen = open_image(saved(palette, "PNG", transparency=bytes([255 if i != index else 0 for i in range(4)])))
    assert seen.getpixel((0, 0)) == (255, 255, 255) and seen.getpixel((20, 2)) == GREEN
    keyed = open_image(saved(corners(), "PNG", transparency=RED))
    assert keyed.getpixel((0, 0)) == (255, 255, 255) and keyed.getpixel((20, 2)) == GREEN


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    opened = open_image(saved(Image.fromarray(ramp), "PNG"), "L")
    assert np.array_equal(np.asarray(opened).ravel(), np.arange(256))
    big_endian = open_image(saved(Image.fromarray(ramp.astype(">u2")), "TIFF"), "L")
    assert np.array_equal(np.asarray(big_endian).ravel(), np.arange(256))
    assert np.array_equal(np.asarray(open_image(ramp, "L")), np.asarray(opened))


def test_float_and_bilevel_and_print_colours():
    unit = Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16))
    assert np.array_equal(np.asarray(open_image(saved(unit, "TIFF"), "L")).ravel(), np.arange(256))
    wide = open_image(np.array([[-1.0, 0.0, 1.0]]), "L")
    assert np.asarray(wide).tolist() == [[0, 128, 255]]
    bits = Image.new("1", (4, 4), 1)
    assert open_image(saved(bits, "PNG")).getpixel((0, 0)) == (255, 255, 255)
    assert np.asarray(open_image(np.eye(3, dtype=bool), "L")).tolist() == (np.eye(3) * 255).tolist()
    cmyk = open_image(saved(corners().convert("CMYK"), "JPEG", quality=95))
    assert cmyk.mode == "RGB" and np.abs(np.subtract(cmyk.getpixel((2, 2)), RED)).max() < 12


def test_to_array_puts_channels_first():
    array = to_array(corners())
    assert array.shape == (3, 16, 24) and array.dtype == np.uint8 and array.flags.c_contiguous
    assert array[:, 0, 0].tolist() == list(RED)
    grey = to_array(corners().convert("L"))
    assert grey.shape == (1, 16, 24) and grey.flags.writeable
