"""The cleaner in a notebook: choices by hand and by key, kept over classes and splits, applied and taken back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from notebook_page import Notebook

from fastlearn.data.download import untar_data
from fastlearn.data.urls import URLs

if TYPE_CHECKING:
    from playwright.sync_api import Locator

Open = Callable[..., Notebook]

CLASSES = ("bird", "bug", "fruit")
SETUP = """
import torch
from torch import nn
from fastlearn.vision.all import ImageClassifierCleaner, ImageDataLoaders, Learner, Resize
dls = ImageDataLoaders.from_folder({path!r}, item_tfms=Resize(32), bs=8, seed=1, num_workers=0, device="cpu")
torch.manual_seed(0)
learn = Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)), seed=1)
cleaner = ImageClassifierCleaner(learn)
"""
CHOSEN = "for one in cleaner.chosen(): print('chosen', one.split, one.label, one.choice, one.file.name)"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A few pictures of three classes: 4 each to train, 3 each to validate."""
    source = Path(untar_data(URLs.CLIPART))
    for split, n in (("train", 4), ("valid", 3)):
        for name in CLASSES:
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for file in sorted((source / split / name).iterdir())[:n]:
                shutil.copy(file, folder)
    return tmp_path / "pictures"


@pytest.fixture
def cleaner_page(notebook: Open, data: Path) -> Iterator[Open]:
    """`notebook` whose cell 1 shows a cleaner of `data`; nothing may be wrong in the page at the end."""
    pages: list[Notebook] = []

    def open_page(*cells: str, dark: bool = False) -> Notebook:
        page = notebook(SETUP.format(path=str(data)), "cleaner", *cells)
        pages.append(page)
        if dark:
            page.set_theme("JupyterLab Dark")
        assert page.run_cell(0) and page.run_cell(1)
        wait_for_look(page, "bird", "valid")
        return page

    yield open_page
    for page in pages:
        assert page.outside_requests == []
        assert page.console_errors == []


def face(page: Notebook) -> Locator:
    return page.output(1).locator(".fl-cleaner")


def card(page: Notebook, name: str) -> Locator:
    """The picture of a file."""
    return face(page).locator(".fl-card").filter(has=page.page.locator(f'.fl-name[title$="{name}"]'))


def names(page: Notebook) -> list[str]:
    """The files shown, in their order."""
    titles = face(page).locator(".fl-name").evaluate_all("all => all.map(one => one.title)")
    return [Path(title).name for title in titles]


def wait_for_look(page: Notebook, cls: str, split: str) -> None:
    """Wait until the pictures of a class and a split are there."""
    face(page).get_by_role("group", name=f"Pictures of {cls} in {split}").wait_for()
    face(page).locator(".fl-card img").first.wait_for()


def turn(page: Notebook, cls: str | None = None, split: str | None = None) -> None:
    if cls is not None:
        face(page).get_by_role("combobox", name="Class to look at").select_option(cls)
    if split is not None:
        face(page).locator(".fl-split", has_text=split).click()


def wait_for_counts(page: Notebook, delete: int, relabel: int) -> None:
    """Wait until Python has heard: the table below the widget is its answer, the page's own count only a promise."""
    counts = f"{delete} to delete, {relabel} to relabel"
    text = counts if delete or relabel else "No picture was chosen yet"
    face(page).get_by_role("status").get_by_text(counts).wait_for()
    page.output(1).locator(".jp-RenderedHTMLCommon").last.get_by_text(text).first.wait_for()


def wait_for_choices(page: Notebook, wanted: dict[str, str]) -> None:
    """Wait until these pictures say so: the kernel's answer to an earlier key may come between."""
    for name, what in wanted.items():
        card(page, name).and_(page.page.locator(f'[aria-label$="Choice: {what}"]')).wait_for()


def files(data: Path) -> dict[str, bytes]:
    """Every picture below the data, the trash left out."""
    found = (file for file in data.rglob("*") if file.is_file() and ".trash" not in file.parts)
    return {str(file.relative_to(data)): file.read_bytes() for file in found}


def has_focus(place: Locator) -> bool:
    return place.evaluate("place => document.activeElement === place")


def n_cells(page: Notebook) -> int:
    return page.page.evaluate("() => window.harness.panel().content.widgets.length")


def test_choices_are_kept_applied_and_taken_back(
    cleaner_page: Open, data: Path, record_property: Callable[[str, object], None]
) -> None:
    page = cleaner_page(CHOSEN, "cleaner.apply()", "cleaner.undo()")
    before = files(data)
    gone, wrong, _ = names(page)
    card(page, gone).get_by_role("button", name="Delete").click()
    card(page, wrong).get_by_role("combobox").select_option("bug")
    wait_for_counts(page, 1, 1)

    turn(page, split="train")
    wait_for_look(page, "bird", "train")
    turn(page, cls="fruit")
    wait_for_look(page, "fruit", "train")
    assert len(names(page)) == 4
    third = names(page)[2]
    card(page, third).get_by_role("button", name="Delete").click()
    wait_for_counts(page, 2, 1)
    turn(page, cls="bird")
    wait_for_look(page, "bird", "train")
    turn(page, split="valid")
    wait_for_look(page, "bird", "valid")
    wait_for_choices(page, {gone: "delete", wrong: "relabel as bug"})
    record_property("cleaner", str(page.screenshot("cleaner-light")))

    assert page.run_cell(2)
    page.wait_for_text(f"chosen valid bird <Delete> {gone}", cell=2)
    assert re.findall("chosen (.*)", page.output(2).inner_text()) == [
        f"valid bird <Delete> {gone}",
        f"valid bird bug {wrong}",
        f"train fruit <Delete> {third}",
    ]
    assert files(data) == before  # nothing is touched before apply
    assert page.run_cell(3)
    page.wait_for_text("2 deleted, 1 relabelled.", cell=3)
    wait_for_counts(page, 0, 0)
    after = files(data)
    taken = {f"valid/bird/{gone}", f"valid/bird/{wrong}", f"train/fruit/{third}"}
    assert before.keys() - after.keys() == taken and after.keys() - before.keys() == {f"valid/bug/{wrong}"}
    assert after[f"valid/bug/{wrong}"] == before[f"valid/bird/{wrong}"]
    page.wait_for_text("The one picture of class bird in valid", cell=1)
    assert page.run_cell(4)
    page.wait_for_text("3 files moved back.", cell=4)
    page.wait_for_text("All 3 pictures of class bird in valid", cell=1)
    assert files(data) == before


def test_in_a_dark_page_every_choice_has_a_key_and_stays_in_a_table(
    cleaner_page: Open, record_property: Callable[[str, object], None]
) -> None:
    page = cleaner_page(dark=True)
    assert face(page).get_attribute("data-dark") == "true"
    n, (first, second, third) = n_cells(page), names(page)
    card(page, first).focus()
    for key in ("d", "d", "x", "a", "b", "v", "ArrowRight", "2", "End", "Delete", "Home", "ArrowRight"):
        page.page.keyboard.press(key)
    assert has_focus(card(page, second))
    wait_for_counts(page, 2, 1)
    wait_for_choices(page, {first: "delete", second: "relabel as bug", third: "delete"})
    page.page.keyboard.press("k")
    wait_for_counts(page, 2, 0)
    page.page.keyboard.press("3")
    wait_for_counts(page, 2, 1)
    page.page.keyboard.press("c")
    assert has_focus(card(page, second).get_by_role("combobox"))
    page.page.keyboard.press("Escape")  # closes the list
    buttons = [card(page, second).get_by_role("button", name=name) for name in ("Keep", "Delete")]
    head = [face(page).get_by_role("combobox", name="Class to look at"), face(page).get_by_role("radio").last]
    for place in (*buttons, *head):
        place.focus()
        for key in ("x", "z", "z"):
            page.page.keyboard.press(key)
        assert has_focus(place)
        # A JupyterLab that takes keys on their way down asks the element itself, and hears it first.
        assert place.get_attribute("data-lm-suppress-shortcuts") == "true"
    assert card(page, first).get_attribute("data-lm-suppress-shortcuts") == "true"
    assert n_cells(page) == n  # "x" cuts a cell and "d d" deletes it where nothing keeps the keys

    card(page, second).focus()
    for width in (640, 1280):
        page.page.set_viewport_size({"width": width, "height": 900})
        assert face(page).evaluate("root => root.scrollWidth <= root.clientWidth + 1")
        record_property(f"cleaner {width}", str(page.screenshot(f"cleaner-dark-{width}")))
    page.save()
    words, table = page.saved_outputs(1)
    assert words["data"]["text/plain"] == "Pictures with high losses, of 3 classes."
    assert set(words["data"]) == set(table["data"]) == {"text/html", "text/plain"}  # no widget
    assert "2 to delete, 1 to relabel" in table["data"]["text/html"]
    assert f"{second} (valid, bird): fruit" in table["data"]["text/plain"]
    assert len(page.path.read_bytes()) < 20_000  # without the pictures


def test_it_comes_back_after_a_reload_and_leaves_a_table_without_a_kernel(cleaner_page: Open) -> None:
    page = cleaner_page("cleaner.choose(1, 'bug')")
    page.save()
    page.reload()
    wait_for_look(page, "bird", "valid")
    first, second, _ = names(page)
    card(page, first).get_by_role("button", name="Delete").click()
    wait_for_counts(page, 1, 0)
    assert page.run_cell(2)
    wait_for_counts(page, 1, 1)
    page.save()
    _, table = page.saved_outputs(1)
    assert f"{first} (valid, bird): <Delete>" in table["data"]["text/plain"]
    assert f"{second} (valid, bird): bug" in table["data"]["text/plain"]

    page.lab.end_kernels()
    page.reload()
    page.output(1).get_by_text("1 to delete, 1 to relabel").wait_for()
    assert face(page).count() == 0
    said = page.output(1).inner_text()
    assert said.startswith("Pictures with high losses, of 3 classes.")
    assert "not found" not in said and "Loading" not in said
