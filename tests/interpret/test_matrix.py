import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fastlearn.interpret.matrix import FAINT, LONGEST_NAME, draw_matrix


def matrix(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (n, n)) * (rng.random((n, n)) < 0.3) + 20 * np.eye(n, dtype=int)


def drawn(ax):
    ax.figure.canvas.draw()
    renderer = ax.figure.canvas.get_renderer()
    page = ax.figure.bbox
    return renderer, page


def overlap(labels, renderer):
    boxes = [label.get_window_extent(renderer) for label in labels]
    return any(a.x1 > b.x0 + 1 and b.x1 > a.x0 + 1 for a, b in zip(boxes, boxes[1:], strict=False))


def test_rows_are_actual_and_columns_predicted():
    ax = draw_matrix(np.array([[5, 1], [0, 4]]), ["cat", "dog"], title="Who is who")
    texts = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    assert texts == {(0, 0): "5", (1, 0): "1", (0, 1): "0", (1, 1): "4"}
    assert ax.get_ylabel() == "actual" and ax.get_xlabel() == "predicted" and ax.get_title() == "Who is who"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]


def test_shares_are_written_with_the_digits_asked_for():
    ax = draw_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], digits=2)
    assert [text.get_text() for text in ax.texts] == ["0.75", "0.25", "0", "0"]


@pytest.mark.parametrize("n", [2, 8, 37])
def test_everything_is_on_the_page(n):
    ax = draw_matrix(matrix(n), [f"staffordshire_bull_terrier_{i}" for i in range(n)], title="Confusion matrix")
    renderer, page = drawn(ax)
    for part in [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title, ax.xaxis.label, ax.yaxis.label]:
        box = part.get_window_extent(renderer)
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
    assert all(len(label.get_text()) <= LONGEST_NAME for label in ax.get_xticklabels())


def test_short_names_stand_level_and_apart():
    ax = draw_matrix(matrix(3), ["cat", "dog", "cow"])
    renderer, _ = drawn(ax)
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {0.0}
    assert not overlap(ax.get_xticklabels(), renderer)


def test_numbers_fit_their_cells():
    ax = draw_matrix(matrix(12) * 12345, [str(i) for i in range(12)])
    renderer, _ = drawn(ax)
    cell = ax.get_window_extent(renderer).width / 12
    assert max(text.get_window_extent(renderer).width for text in ax.texts) <= cell


def test_text_can_be_read_on_every_shade():
    ax = draw_matrix(np.diag([1, 2]) + np.array([[99, 50], [40, 0]]), ["a", "b"])
    image = ax.images[0]
    for text in ax.texts:
        if text.get_text() == "0":
            assert to_rgb(text.get_color()) == to_rgb(FAINT)
            continue
        j, i = text.get_position()
        cell = image.cmap(image.norm(image.get_array()[i, j]))[:3]
        assert contrast(cell, to_rgb(text.get_color())) >= 3


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("level", range(0, 101, 5))
@pytest.mark.parametrize("cmap", ["Blues", "viridis", "Greens"])
def test_contrast_on_other_colour_maps(level, cmap):
    ax = draw_matrix(np.array([[level, 100 - level], [0, 1]]), ["a", "b"], cmap=cmap)
    image = ax.images[0]
    for text in ax.texts:
        if text.get_text() != "0":
            j, i = text.get_position()
            cell = image.cmap(image.norm(image.get_array()[i, j]))[:3]
            assert contrast(cell, to_rgb(text.get_color())) >= 4


def test_many_classes_leave_empty_cells_empty_and_stay_on_a_screen():
    counts = matrix(40)
    ax = draw_matrix(counts, [f"class {i}" for i in range(40)])
    assert len(ax.texts) == (counts > 0).sum()
    assert max(draw_matrix(matrix(200), [f"class {i}" for i in range(200)]).figure.get_size_inches()) < 18


def test_names_in_any_script_draw_without_a_warning():
    names = ["犬", "кот", "🐱 cat", "cost $5 and $6"]
    ax = draw_matrix(matrix(4), names)
    ax.figure.canvas.draw()
    assert len(ax.get_yticklabels()) == len(names)


def test_into_given_axes_and_without_numbers():
    _, axes = plt.subplots(1, 2, figsize=(8, 4))
    assert draw_matrix(matrix(3), ["a", "b", "c"], with_numbers=False, ax=axes[1]) is axes[1]
    assert not axes[1].texts


def test_a_thousand_classes_have_no_lines():
    ax = draw_matrix(np.eye(1000, dtype=int), [str(k) for k in range(1000)])
    assert not len(ax.get_xticks(minor=True))
