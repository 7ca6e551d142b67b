"""Every kind of source, and what is refused."""

import contextlib
import io

import numpy as np
import pytest
import torch
from drawn import GREEN, RED, corners, saved
from PIL import Image, PngImagePlugin

from fastlearn.errors import ImageError
from fastlearn.pixels import Fixed, ResizeMethod, image_size, open_image, opening, resample
from fastlearn.pixels.convert import ORIENTATION_TAG


def test_sources_give_the_same_pixels(tmp_path):
    image = corners()
    path = tmp_path / "a b é 猫 🐈\n.png"
    image.save(path)
    pixels = np.asarray(image)
    sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), image, pixels]
    sources += [pixels.transpose(2, 0, 1), torch.tensor(pixels), torch.tensor(pixels).permute(2, 0, 1)]
    sources += [pixels.astype(np.float32) / 255, pixels.astype(np.int64), pixels.astype(np.uint16) * 257]
    for source in sources:
        opened = open_image(source)
        assert type(opened) is Image.Image and opened.mode == "RGB"
        assert np.array_equal(np.asarray(opened), pixels)
    assert open_image(image) is not image


def test_animations_give_their_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    for kind in ("GIF", "PNG", "WEBP"):
        exact = {"lossless": True} if kind == "WEBP" else {}
        moving = saved(frames[0], kind, save_all=True, append_images=frames[1:], **exact)
        assert open_image(moving).getpixel((4, 4)) == RED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_refused(kind, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = saved(Image.fromarray(noise), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"cut\.\w+ (is damaged or cut off|is not a picture)") as caught:
        open_image(path)
    assert caught.value.path == str(path)


def test_damaged_bytes_never_raise_anything_else():
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"):
        whole = bytearray(saved(corners(), kind))
        for _ in range(30):
            damaged = bytearray(whole)
            for _ in range(4):
                damaged[rng.integers(len(damaged))] = rng.integers(256)
            with contextlib.suppress(ImageError):
                assert open_image(bytes(damaged)).mode == "RGB"


def test_text_beside_the_pixels_is_dropped():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "secret")
    assert open_image(saved(corners(), "PNG", pnginfo=info)).info == {}


def test_postscript_is_never_run_whatever_it_is_called(tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(ran) =\nshowpage\n%%EOF\n")
    for read in (open_image, image_size, lambda file: open_image(file.read_bytes())):
        with pytest.raises(ImageError, match=r"PostScript \(EPS\), a program"):
            read(path)


def photos():
    """Real photographs, uint8 (h, w, 3)."""
    import skimage.data

    return [skimage.data.chelsea(), skimage.data.coffee(), skimage.data.astronaut()]


def differences(width, height, fixed, **options):
    """Mean difference in grey levels, a photo each, of a JPEG opened at its fixed size and one resized when decoded."""
    found = []
    for photo in photos():
        data = saved(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS), "JPEG", **options)
        whole = open_image(data)
        goal = fixed.of((whole.height, whole.width))
        slow = resample(whole, (0, 0, whole.width, whole.height), goal, method=fixed.filter)
        fast = open_image(data, fixed=fixed)
        assert fast.size == slow.size == goal[::-1]
        found.append(np.abs(np.asarray(fast, dtype=int) - np.asarray(slow, dtype=int)).mean())
    return np.array(found)


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (1000, 750), (1999, 1333), (640, 480), (261, 263)])
@pytest.mark.parametrize("pixels", [64, 128, 160, 224])
def test_a_scaled_decode_is_within_a_grey_level_of_a_full_one(size, pixels):
    found = differences(*size, Fixed((pixels, pixels)), quality=90)
    assert found.mean() <= 1, found


def test_a_scaled_decode_reads_less(monkeypatch):
    sizes = []
    resample = opening.resample
    monkeypatch.setattr(
        opening, "resample", lambda image, *how, **more: sizes.append(image.size) or resample(image, *how, **more)
    )
    data = saved(Image.fromarray(photos()[0]).resize((1000, 750)), "JPEG")
    open_image(data, fixed=Fixed((128, 128)))
    open_image(saved(corners(), "JPEG"), fixed=Fixed((128, 128)))
    assert sizes == [(250, 188), (24, 16)]


@pytest.mark.parametrize("at_once", [1, 1 << 24])
def test_a_file_gives_the_same_pixels_read_at_once_or_in_parts(at_once, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "AT_ONCE", at_once)
    data = saved(Image.fromarray(photos()[0]), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    fixed = Fixed((64, 64))
    assert np.array_equal(
        np.asarray(open_image(tmp_path / "a.jpg", fixed=fixed)), np.asarray(open_image(data, fixed=fixed))
    )


@pytest.mark.parametrize("fixed", [None, Fixed((24, 16)), Fixed((16, 24)), Fixed((8, 8))])
def test_an_opened_jpeg_is_free_of_its_file(fixed, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 1
    (tmp_path / "a.jpg").write_bytes(saved(corners(), "JPEG", exif=exif))
    picture = open_image(tmp_path / "a.jpg", fixed=fixed)
    assert type(picture) is Image.Image and picture.info == {}


@pytest.mark.parametrize("way", range(1, 9))
def test_a_scaled_decode_keeps_the_camera_s_orientation(way):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = way
    assert differences(501, 377, Fixed((96, 128)), quality=90, exif=exif).max() <= 1.3


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_other_formats_are_resized_from_the_whole_picture(kind):
    data = saved(corners(), kind)
    whole, fixed = open_image(data), Fixed((8, 8), ResizeMethod.Pad)
    expected = resample(whole, (0, 0, 24, 16), (5, 8))
    assert np.array_equal(np.asarray(open_image(data, fixed=fixed)), np.asarray(expected))
