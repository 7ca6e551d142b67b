import contextlib
import io
import struct
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from fastlearn.errors import ConfigError, ImageError
from fastlearn.pixels import PadMode, ResizeMethod, fit_box, image_size, open_image, resample, to_array

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def corners() -> Image.Image:
    """24x16, a different colour in each quarter."""
    image = Image.new("RGB", (24, 16), RED)
    image.paste(GREEN, (12, 0, 24, 8))
    image.paste(BLUE, (0, 8, 12, 16))
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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


def test_what_is_no_picture_is_named_with_its_reason(tmp_path):
    empty, text, page = tmp_path / "empty.jpg", tmp_path / "notes.png", tmp_path / "page.jpg"
    empty.touch()
    text.write_text("hello there")
    page.write_text("<html><body>404")
    for path, reason in [
        (empty, r"empty\.jpg is empty \(0 bytes\)"),
        (text, r"notes\.png is not a picture .*starts with b'hello there'"),
        (page, r"perhaps a failed download"),
        (tmp_path, r"is a folder"),
        (tmp_path / "note.png", r"There is no file .*note\.png\. Did you mean 'notes\.png'"),
        (tmp_path / "no" / "x.png", r"Its folder .* does not exist"),
    ]:
        with pytest.raises(ImageError, match=reason):
            open_image(path)
        with pytest.raises(ImageError, match=reason):
            image_size(path)
    for source, reason in [(b"", "0 bytes"), (b"abc", "not a picture"), (3.5, "float 3.5"), ("a\0b", "null")]:
        with pytest.raises(ImageError, match=reason):
            open_image(source)
    with pytest.raises(ImageError, match=r"shape \(2, 3, 5, 7\)"):
        open_image(np.zeros((2, 3, 5, 7)))
    with pytest.raises(ImageError, match="NaN"):
        open_image(np.full((2, 2), np.nan))


def test_no_permission(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match="No permission to read /x.png"):
        open_image("/x.png")


@pytest.mark.parametrize("factor", [1.5, 4])
def test_decompression_bombs_are_refused_from_the_limit_on(factor, monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(24 * 16 / factor))
    path = tmp_path / "bomb.png"
    corners().save(path)
    with pytest.raises(ImageError, match="decompression bomb"):
        open_image(path)
    with pytest.raises(ImageError, match="decompression bomb"):
        image_size(path)


def test_damaged_exif_neither_warns_nor_refuses(tmp_path, recwarn):
    path = tmp_path / "odd.jpg"
    corners().save(path, exif=b"Exif\0\0MM\0*" + struct.pack(">I", 8) + b"\xff\xff\x01\x12\x00\x03")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert open_image(path).size == (24, 16)
    assert not recwarn.list


def test_threads_leave_the_warning_filters_alone(tmp_path):
    path = tmp_path / "a.png"
    corners().save(path)
    open_image(path)
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [open_image(path) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_text_beside_the_pixels_is_dropped():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "secret")
    assert open_image(saved(corners(), "PNG", pnginfo=info)).info == {}


def test_to_array_puts_channels_first():
    array = to_array(corners())
    assert array.shape == (3, 16, 24) and array.dtype == np.uint8 and array.flags.c_contiguous
    assert array[:, 0, 0].tolist() == list(RED)
    grey = to_array(corners().convert("L"))
    assert grey.shape == (1, 16, 24) and grey.flags.writeable


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
