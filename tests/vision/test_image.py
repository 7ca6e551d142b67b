import pickle

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from fastlearn.errors import ConfigError, ImageError
from fastlearn.vision.image import PILImage, PILImageBW


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_it_is_a_pillow_image_that_says_what_it_is():
    image = PILImage.create(np.zeros((375, 500, 3), dtype=np.uint8))
    assert isinstance(image, Image.Image) and repr(image) == "PILImage mode=RGB size=500x375"
    assert image.shape == (375, 500) and image.size == (500, 375)
    grey = PILImageBW.create(image)
    assert repr(grey) == "PILImageBW mode=L size=500x375" and isinstance(grey, PILImage)
    assert type(PILImage.create(grey)) is PILImage and PILImage.create(grey).mode == "RGB"


def test_pillow_s_own_methods_work_and_so_does_pickle():
    image = PILImage.create(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    assert image.rotate(90).size == (4, 4) and image.crop((0, 0, 2, 2)).size == (2, 2)
    again = pickle.loads(pickle.dumps(image))
    assert type(again) is PILImage and again.tobytes() == image.tobytes()
    assert image._repr_png_()[:4] == b"\x89PNG"


def test_thumbnails_keep_the_shape_and_the_original():
    image = PILImage.create(np.zeros((300, 400, 3), dtype=np.uint8))
    assert image.to_thumb(128).size == (128, 96) and image.to_thumb(30, 400).size == (40, 30)
    assert image.to_thumb(1000).size == (400, 300) and image.size == (400, 300)
    assert type(image.to_thumb(9)) is PILImage
    with pytest.raises(ConfigError, match="A thumbnail fits into a pixel or more, not 0 by 0"):
        image.to_thumb(0)
    with pytest.raises(ConfigError, match="h is a number such as 128, not 'x'"):
        image.to_thumb("x")


def test_show_draws_where_it_is_told():
    image = PILImage.create(np.zeros((30, 40, 3), dtype=np.uint8))
    _, axes = plt.subplots(1, 2)
    assert image.show(ax=axes[1], title="a $b$") is axes[1] and axes[1].get_title() == "a $b$"
    assert image.show(ctx=axes[0]) is axes[0]
    alone = image.show(figsize=(3, 2))
    assert tuple(alone.figure.get_size_inches()) == (3, 2)


def test_the_fault_of_a_file_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        PILImage.create(path)
