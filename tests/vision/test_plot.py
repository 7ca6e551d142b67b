import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from fastlearn.errors import FastlearnError
from fastlearn.vision.plot import (
    Caption,
    elide,
    get_grid,
    label_text,
    result_caption,
    show_grid,
    show_image,
    show_images,
    show_top_losses,
)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def pictures(n, size=(20, 30)):
    return [Image.new("RGB", size[::-1], (k * 20 % 256, 100, 200)) for k in range(n)]


def draw(axes):
    axes[0].figure.canvas.draw()


@pytest.mark.parametrize(("n", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (4, 2, 2), (9, 3, 3), (7, 2, 4)])
def test_grids_are_about_square(n, rows, columns):
    axes = get_grid(n)
    spec = axes[0].get_subplotspec().get_gridspec()
    assert len(axes) == n and (spec.nrows, spec.ncols) == (rows, columns)
    assert axes._ipython_display_() is None  # a cell that ends with it shows the figure only


def test_grids_take_rows_and_columns():
    for options, shape in [({"nrows": 1}, (1, 6)), ({"ncols": 2}, (3, 2)), ({"nrows": 2, "ncols": 5}, (2, 5))]:
        spec = get_grid(6, **options)[0].get_subplotspec().get_gridspec()
        assert (spec.nrows, spec.ncols) == shape
    assert len(show_grid(pictures(9), [Caption(("x",))] * 9, nrows=1, ncols=4)) == 4


def test_pictures_of_every_sort_are_drawn():
    sorts = [
        pictures(1)[0],
        torch.rand(3, 8, 8) * 1.2 - 0.1,
        torch.rand(1, 8, 8),
        torch.rand(8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        np.zeros((8, 8, 3), dtype=np.uint8),
        Image.new("P", (5, 5)),
    ]
    axes = show_images(sorts, titles=list("abcdefg"))
    draw(axes)
    assert [ax.get_title() for ax in axes] == list("abcdefg")
    assert show_image(torch.rand(4, 4), cmap="Greys").images[0].get_cmap().name == "Greys"


def test_small_pictures_keep_their_pixels_and_grey_its_range():
    small, large = show_images([Image.new("L", (8, 8), 100), Image.new("RGB", (300, 300))])
    assert small.images[0].get_interpolation() == "nearest" and large.images[0].get_interpolation() != "nearest"
    assert small.images[0].get_clim() == (0, 255)


def test_captions_tell_right_from_wrong_in_words():
    right, wrong = result_caption("cat", "cat"), result_caption("cat", "dog")
    assert right == Caption(("cat ✓",), "right")
    assert wrong == Caption(("predicted dog", "actual cat"), "wrong")
    assert result_caption(1.5, 2.25) == Caption(("predicted 2.25", "actual 1.5"))
    assert result_caption(None, "cat") == Caption(("cat",))
    assert result_caption(["a"], []).lines == ("predicted nothing", "actual a")
    axes = show_grid(pictures(2), [right, wrong])
    assert axes[0].title.get_color() != axes[1].title.get_color()


def test_labels_become_one_line():
    assert label_text("a\nb") == "a b" and label_text(["x", "y"]) == "x; y"
    assert label_text(torch.tensor([0.5, 1 / 3])) == "0.5, 0.333" and label_text(True) == "True"


def test_long_labels_lose_their_middle():
    assert elide("abcdefghij", 10) == "abcdefghij" and elide("abcdefghijk", 10) == "abcdef…ijk"
    (ax,) = show_grid(pictures(1), [Caption(("a very long label " * 10,))])
    draw([ax])
    assert "…" in ax.get_title()
    box, figure = ax.title.get_window_extent(), ax.figure.bbox
    assert box.x0 >= figure.x0 - 1 and box.x1 <= figure.x1 + 1


def test_any_sign_is_drawn_without_a_warning():
    labels = ["$price$ a_b", "猫 дом بيت", "🐈 cat", "\\frac{1}", "100%"]
    axes = show_grid(pictures(5), [Caption((label,)) for label in labels])
    draw(axes)
    assert axes[0].get_title() == "$price$ a_b" and axes[3].get_title() == "\\frac{1}"
    assert axes[2].get_title().endswith(" cat")


def test_top_losses_say_all_four_things():
    axes = show_top_losses(pictures(2), ["dog", "cat"], ["cat", "cat"], [2.345, 0.1], [0.9, 0.8])
    draw(axes)
    assert axes[0].get_title() == "predicted dog\nactual cat\nloss 2.35, p 0.90"
    assert axes[1].get_title() == "cat ✓\nloss 0.10, p 0.80"
    plain = show_top_losses(pictures(1), ["a"], ["b"], [1.0])
    assert plain[0].get_title().endswith("loss 1.00")


def test_dark_styles_stay_readable():
    with matplotlib.rc_context({"axes.titlecolor": "white"}):
        (ax,) = show_grid(pictures(1), [Caption(("x",))])
        assert ax.title.get_color() == "white"


def test_a_picture_by_its_path(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (4, 2), "red").save(path)
    for given in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(show_image(given).images[0].get_array()[1, 3], [255, 0, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: show_image("nowhere/a.jpg"), r"There is no file nowhere/a\.jpg"),
        (lambda: show_image(None), "Cannot make a picture of NoneType None. Pass a path"),
        (
            lambda: show_image(torch.rand(4, 4), ax=3),
            r"ax is the axes to draw into, not 3\. Type _, ax = plt",
        ),
        (lambda: show_image(torch.rand(4, 4), figsize=3), r"Type figsize=\(3, 3\)"),
        (lambda: show_images("a.jpg"), "ims is a list of pictures"),
        (lambda: show_images(pictures(2), ncols="x"), "ncols is a whole number from 1, not 'x'"),
        (lambda: get_grid(0), "n is a whole number from 1, not 0"),
        (lambda: get_grid(4, nrows=0), "nrows is a whole number from 1, not 0"),
    ],
)
def test_what_cannot_be_drawn(call, message):
    with pytest.raises(FastlearnError, match=message):
        call()
