"""The learning-rate picker under `learn.lr_find()`: picked by hand in every way, used, and kept as a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from notebook_page import Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Locator

Open = Callable[..., Notebook]

SETUP = """
import torch, torch.nn.functional as F
from torch import nn
from fastlearn.vision.all import Learner, DataLoaders
rng = torch.Generator().manual_seed(0)
data = [(torch.randn(8, 4, generator=rng), torch.randint(3, (8,), generator=rng)) for _ in range(20)]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
learn = Learner(DataLoaders(data, data[:5], device="cpu"), model, F.cross_entropy, seed=1)
"""
FIND = "found = learn.lr_find()"
SHOW = 'print(f"rate {learn.lr:.2e} {found.lr:.2e}", "valley", found.lr == found.valley)'
TRAIN = 'learn.fit_one_cycle(1)\nprint(f"trained at {max(learn.recorder.lrs):.2e}")'


@pytest.fixture
def picker_page(notebook: Open) -> Iterator[Open]:
    """`notebook` whose cell 1 shows a picker; nothing may be wrong in the page at the end."""
    pages: list[Notebook] = []

    def open_page(*cells: str, dark: bool = False) -> Notebook:
        page = notebook(SETUP, FIND, *cells)
        pages.append(page)
        if dark:
            page.set_theme("JupyterLab Dark")
        assert page.run_all()
        picker(page).locator(".flp-curve").wait_for()
        return page

    yield open_page
    for page in pages:
        assert page.outside_requests == []
        assert page.console_errors == []


def picker(page: Notebook) -> Locator:
    return page.output(1).locator(".flp")


def slider(page: Notebook) -> Locator:
    return picker(page).get_by_role("slider")


def field(page: Notebook) -> Locator:
    return picker(page).get_by_role("textbox")


def chosen(page: Notebook) -> float:
    """The rate that the field shows, when Python has said that it holds it."""
    written = field(page).input_value()
    page.wait_for_text(f"Chosen: the next training uses {written}.", cell=1)
    return float(written)


def type_rate(page: Notebook, text: str) -> None:
    field(page).fill(text)
    field(page).press("Enter")


def still(page: Notebook) -> str:
    """The picture for the saved notebook, which the page hides while the picker is there."""
    return page.output(1).locator("img").get_attribute("src") or ""


def wait_for_a_new_still(page: Notebook, old: str) -> None:
    # The output is made anew with each picture, so it is looked for each time.
    page.page.wait_for_function("old => ![...document.images].some(image => image.src === old)", arg=old)


def has_focus(place: Locator) -> bool:
    return place.evaluate("place => document.activeElement === place")


def n_cells(page: Notebook) -> int:
    return page.page.evaluate("() => window.harness.panel().content.widgets.length")


def test_a_rate_is_picked_by_mouse_keys_suggestion_and_typing_and_then_used(
    picker_page: Open, record_property: Callable[[str, object], None]
) -> None:
    page = picker_page(SHOW, TRAIN)
    page.wait_for_text("valley True", cell=2)  # the first suggestion, before anything is picked
    page.wait_for_text("Suggested, not chosen yet.", cell=1)
    record_property("picker", str(page.screenshot("picker-light")))

    box = picker(page).locator("svg").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.click(x, y)
    clicked = chosen(page)
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(x + 60, y, steps=4)
    page.page.mouse.move(x + 90, y, steps=4)
    page.page.mouse.up()
    dragged = chosen(page)
    line = slider(page).locator("line").bounding_box()
    assert line is not None and abs(line["x"] - (x + 90)) < 3 and dragged > 1.5 * clicked
    assert page.run_cell(2)
    page.wait_for_text(f"rate {dragged:.2e} {dragged:.2e} valley False", cell=2)

    slider(page).focus()
    for _ in range(3):
        page.page.keyboard.press("ArrowLeft")
    assert chosen(page) == pytest.approx(dragged * 10 ** (-3 / 20), rel=0.01)

    picker(page).get_by_role("button", name="use valley").locator("text").click()
    suggested = chosen(page)
    assert page.run_cell(2)
    page.wait_for_text(f"rate {suggested:.2e} {suggested:.2e} valley True", cell=2)

    type_rate(page, "3e-4")
    assert chosen(page) == 3e-4
    type_rate(page, "quick")
    page.wait_for_text("A learning rate is a number above 0, such as 3e-4; 'quick' was ignored.", cell=1)
    assert field(page).get_attribute("aria-invalid") == "true"
    assert page.run_cell(2)
    page.wait_for_text("rate 3.00e-04 3.00e-04", cell=2)
    assert page.run_cell(3)
    page.wait_for_text("trained at 3.00e-04", cell=3)
    assert slider(page).get_attribute("aria-valuenow") == "0.0003"


def test_in_a_dark_page_it_keeps_its_keys_and_leaves_a_picture_without_a_kernel(
    picker_page: Open, record_property: Callable[[str, object], None]
) -> None:
    page = picker_page(dark=True)
    ink = picker(page).evaluate("root => getComputedStyle(root).color.match(/[\\d.]+/g).slice(0, 3).map(Number)")
    assert min(ink) > 128
    before = n_cells(page)
    # In command mode "x" cuts a cell and "d d" deletes it, unless what has the focus keeps its keys.
    for place in (slider(page), picker(page).get_by_role("button", name="use valley"), field(page)):
        place.focus()
        for key in ("x", "d", "d", "b"):
            place.press(key)
        assert has_focus(place)
        assert n_cells(page) == before
    slider(page).focus()
    page.page.keyboard.press("ArrowUp")
    assert chosen(page) > 0
    assert has_focus(slider(page))

    image = page.output(1).locator("img")
    assert not image.is_visible()
    first = still(page)
    type_rate(page, "3e-4")
    assert chosen(page) == 3e-4
    wait_for_a_new_still(page, first)
    for width in (640, 1280):
        page.page.set_viewport_size({"width": width, "height": 900})
        assert picker(page).evaluate("root => root.scrollWidth <= root.clientWidth + 1")
        record_property(f"picker {width}", str(page.screenshot(f"picker-dark-{width}")))
    page.save()
    words, picture = page.saved_outputs(1)
    assert set(picture["data"]) == {"image/png", "text/plain"}
    # No widget, which would be lost with the kernel.
    assert set(words["data"]) == {"text/html", "text/plain"}
    assert words["data"]["text/plain"].startswith("Suggested learning rates: valley ")
    assert picture["data"]["text/plain"].startswith("Learning rate 3.00e-04 chosen; suggested: valley ")
    page.lab.end_kernels()
    page.reload()
    image.wait_for()
    assert picker(page).count() == 0
    page.wait_for_text("Suggested learning rates: valley ", cell=1)
    assert "not found" not in page.output(1).inner_text()
    record_property("picker saved", str(page.screenshot("picker-saved")))


def test_after_a_reload_it_is_there_and_its_picture_follows(picker_page: Open) -> None:
    page = picker_page(SHOW)
    page.save()
    page.reload()
    picker(page).locator(".flp-curve").wait_for()
    for text in ("3e-4", "5e-3"):
        old = still(page)
        type_rate(page, text)
        assert chosen(page) == float(text)
        wait_for_a_new_still(page, old)
    assert "stays as it was" not in picker(page).inner_text()
    assert page.run_cell(2)
    page.wait_for_text("rate 5.00e-03 5.00e-03", cell=2)
    page.wait_idle()
    page.save()
    words, picture = page.saved_outputs(1)
    assert words["data"]["text/plain"].startswith("Suggested learning rates")
    assert picture["data"]["text/plain"].startswith("Learning rate 5.00e-03 chosen;")
    assert page.output(1).locator("img").count() == 1
