"""What the widget says to the page and takes from it, with a page that is a list of messages."""

import io
import sys
import threading

import numpy as np
import pytest
from colour_folders import FAST, colour_learner, make
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from traitlets.config import Config

from fastlearn.vision import cleaner_widget
from fastlearn.vision.cleaner import ImageClassifierCleaner
from fastlearn.vision.cleaner_widget import CleanerWidget, a_cell_runs, still, thumbnail
from fastlearn.vision.data import ImageDataLoaders


@pytest.fixture
def cleaner(tmp_path):
    make(tmp_path / "train", 5)
    make(tmp_path / "valid", 2)
    cleaner = ImageClassifierCleaner(colour_learner(ImageDataLoaders.from_folder(tmp_path, **FAST)))
    cleaner.look("red", "valid")
    return cleaner


class Page:
    """Collects what is sent and displayed."""

    def __init__(self, cleaner, monkeypatch):
        self.messages, self.displays = [], {}
        self.widget = CleanerWidget(cleaner)
        cleaner._face = self.widget
        monkeypatch.setattr(self.widget, "send", lambda content, buffers=(): self.messages.append((content, buffers)))
        monkeypatch.setattr("IPython.display.display", self.display)
        monkeypatch.setattr("IPython.display.update_display", self.update)

    def display(self, bundle, raw, display_id):
        name = f"display-{len(self.displays)}"
        self.displays[name] = bundle
        return type("Handle", (), {"display_id": name})

    def update(self, bundle, display_id, raw):
        self.displays[display_id] = bundle

    def says(self, **content):
        """Send a message as the page would; gives what came back."""
        before = len(self.messages)
        self.widget._handle_custom_msg(content, [])
        return [message for message, _ in self.messages[before:]]


@pytest.fixture
def page(cleaner, monkeypatch):
    return Page(cleaner, monkeypatch)


@pytest.fixture
def shell(monkeypatch):
    """A true IPython shell, without its history; it would stay the main module."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    return InteractiveShell(config=Config(HistoryManager={"enabled": False}))


def test_hello_is_answered_with_the_pictures_in_buffers(page):
    (listing,) = page.says(do="hello")
    assert (listing["cls"], listing["split"], listing["of"]) == ("red", "valid", 2)
    assert [row["name"] for row in listing["rows"]] == ["red_0.png", "red_1.png"]
    assert [row["thumb"] for row in listing["rows"]] == [0, 1]
    _, buffers = page.messages[-1]
    assert [Image.open(io.BytesIO(data)).getpixel((0, 0)) for data in buffers] == [(255, 0, 0)] * 2
    assert not any("png" in str(value).lower() for value in page.widget.get_state(["summary"]).values())


def test_a_click_is_a_choice_and_every_view_hears_of_it(cleaner, page):
    (listing,) = page.says(do="hello")
    first = listing["rows"][0]["id"]
    (answer,) = page.says(do="choose", id=first, split="valid", choice="<Delete>")
    assert answer["kind"] == "choices" and answer["choices"][str(first)] == "<Delete>"
    assert answer["counts"] == {"delete": 1, "relabel": 0} and cleaner.delete() == [0]
    assert page.widget.summary == "1 to delete, 0 to relabel"


def test_turning_computes_with_progress_and_keeps_choices(cleaner, page):
    page.says(do="hello")
    page.says(do="choose", id=page.messages[0][0]["rows"][0]["id"], split="valid", choice="blue")
    busy, *_, listing = page.says(do="look", cls="blue", split="train")
    assert busy == {"kind": "busy", "split": "train", "done": 1, "total": 4}
    assert (listing["cls"], listing["split"], len(listing["rows"])) == ("blue", "train", 5)
    assert listing["counts"] == {"delete": 0, "relabel": 1}
    (listing,) = page.says(do="look", cls="red", split="valid")  # without computing again
    assert [row["choice"] for row in listing["rows"]] == ["blue", "<Keep>"]


def test_what_is_done_in_a_cell_shows_on_the_page(cleaner, page):
    page.says(do="hello")
    cleaner.choose(1, "green")
    assert page.messages[-1][0]["kind"] == "choices"
    cleaner.show("blue", "valid")
    assert page.messages[-1][0]["kind"] == "listing" and page.messages[-1][0]["cls"] == "blue"
    cleaner.look("red", "valid")
    cleaner.apply()
    assert page.messages[-1][0]["kind"] == "listing" and len(page.messages[-1][0]["rows"]) == 1
    cleaner.undo()
    assert len(page.messages[-1][0]["rows"]) == 2


def test_no_model_runs_in_the_middle_of_a_cell(cleaner, page, shell):
    page.says(do="hello")
    answers = []
    shell.user_ns["ask"] = lambda: answers.extend(page.says(do="look", cls="red", split="train"))
    shell.run_cell("ask()")
    assert [answer["kind"] for answer in answers] == ["listing", "notice"] and cleaner.known == ("valid",)
    assert "computed when no cell runs" in answers[1]["message"] and answers[0]["split"] == "valid"
    assert not a_cell_runs()


def test_a_cell_is_seen_from_another_thread(shell):
    seen = []

    def ask():
        thread = threading.Thread(target=lambda: seen.append(a_cell_runs()))
        thread.start()
        thread.join()

    shell.user_ns["ask"] = ask
    shell.run_cell("ask()")
    ask()
    assert seen == [True, False]


def test_as_the_last_line_of_a_cell(cleaner, page, monkeypatch):
    monkeypatch.setattr("fastlearn.vision.cleaner.in_notebook", lambda: True)
    cleaner._losses.clear()
    cleaner._ipython_display_()
    assert len(page.displays) == 2  # before the losses, whose progress the page shows
    kinds = [message["kind"] for message, _ in page.messages]
    assert kinds[0] == "busy" and kinds[-1] == "listing" and set(kinds) == {"busy", "listing"}


def test_a_wrong_message_becomes_a_notice(page):
    (notice,) = page.says(do="look", cls="purple", split="valid")
    assert notice["kind"] == "notice" and "no class 'purple'" in notice["message"]


def test_a_picture_that_cannot_be_read_is_named(cleaner, page):
    gone, broken = cleaner.fns
    gone.unlink()
    broken.write_bytes(b"no picture")
    (listing,) = page.says(do="hello")
    assert [row["thumb"] for row in listing["rows"]] == [None, None]
    assert listing["rows"][0]["problem"] == "not there any more" and "red_1.png" in listing["rows"][1]["problem"]


def test_numbers_that_json_does_not_have(cleaner, page):
    cleaner._losses["valid"].losses[:] = np.nan
    (listing,) = page.says(do="hello")
    assert [row["loss"] for row in listing["rows"]] == [None, None]


def test_the_still_table_under_the_widget_follows_the_choices(cleaner, page):
    page.widget.show()
    place, table = page.displays.values()
    assert place["text/plain"] == "Pictures with high losses, of 3 classes." and page.widget.place in place["text/html"]
    assert set(place) == set(table) == {"text/html", "text/plain"}  # a widget's view would be lost with the kernel
    assert "No picture was chosen yet." in table["text/plain"]
    cleaner.choose(0, "<Delete>")
    table = page.displays["display-1"]
    assert "1 to delete, 0 to relabel" in table["text/html"] and "valid/red/red_0.png" in table["text/html"]
    assert table["text/plain"].splitlines()[1] == "  valid/red/red_0.png (valid, red): <Delete>"
    cleaner.close()
    assert page.displays["display-0"]["text/plain"] == "" and page.displays["display-1"] == table


def test_a_page_that_was_reloaded_is_sent_the_table(cleaner, page):
    page.widget.show()
    page.widget.reloaded = True
    cleaner.choose(0, "<Delete>")
    message = page.messages[-1][0]
    assert message == {"kind": "still", "data": page.displays["display-1"]}
    assert "1 to delete" in message["data"]["text/plain"]


def test_the_still_table_escapes_names_and_is_short(cleaner, monkeypatch):
    monkeypatch.setattr(cleaner_widget, "MOST_LISTED", 1)
    cleaner.choose(0, "<Delete>")
    cleaner.choose(1, "<Delete>")
    table = still(cleaner)
    assert "<Delete>" not in table["text/html"] and "&lt;Delete&gt;" in table["text/html"]
    assert "and 1 more" in table["text/html"] and "and 1 more" in table["text/plain"]


def test_a_large_picture_becomes_a_small_one(tmp_path):
    Image.new("RGB", (1000, 500)).save(tmp_path / "large.png")
    Image.new("RGB", (28, 28)).save(tmp_path / "small.png")
    data, sharp = thumbnail(tmp_path / "large.png")
    assert Image.open(io.BytesIO(data)).size == (320, 160) and data[:2] == b"\xff\xd8" and not sharp
    data, sharp = thumbnail(tmp_path / "small.png")
    assert Image.open(io.BytesIO(data)).size == (28, 28) and sharp


def test_the_widget_says_what_it_shows(page):
    assert repr(page.widget) == "CleanerWidget(ImageClassifierCleaner(3 classes, 0 to delete, 0 to relabel))"
