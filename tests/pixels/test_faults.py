"""What is wrong with a file is said in a reader's words."""

import struct
import threading
import warnings

import numpy as np
import pytest
from drawn import corners
from PIL import Image

from fastlearn.errors import ImageError
from fastlearn.pixels import image_size, open_image


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
