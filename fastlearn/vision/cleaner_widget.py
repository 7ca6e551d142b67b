"""The cleaner's face in a notebook: pictures to look at and buttons to choose with; all else is the cleaner's."""

from __future__ import annotations

import html
import io
import math
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import traitlets

from fastlearn.errors import FastlearnError, ImageError
from fastlearn.live.placed_widget import PlacedWidget
from fastlearn.paths import Path, printable
from fastlearn.pixels import open_image
from fastlearn.vision.cleaner_plan import DELETE, KEEP

if TYPE_CHECKING:
    from fastlearn.vision.cleaner import ImageClassifierCleaner
    from fastlearn.vision.cleaner_losses import Judged, OnBatch

STATIC = Path(__file__).parents[1] / "live" / "static"
THUMB_PX = 320  # twice the 160 of the page: sharp on fine screens
SHARP_PX = 64  # pictures up to this size are sent as they are, and shown with their pixels as squares
MOST_LISTED = 200  # choices in the still table
BUSY_EVERY_S = 0.25


class CleanerWidget(PlacedWidget):
    """Shows the pictures that `cleaner` looks at, and puts what is clicked into it.

    Pictures go to the page in the buffers of messages, so that a saved notebook does not hold them.
    """

    _esm = STATIC / "cleaner.js"
    _css = STATIC / "cleaner.css"
    summary = traitlets.Unicode("").tag(sync=True)  # what the page shows until the pictures come

    def __init__(self, cleaner: ImageClassifierCleaner) -> None:
        super().__init__(summary=still_text(cleaner))
        self._cleaner = cleaner
        self._alone = threading.RLock()  # newer kernels handle a page's messages on a thread of their own
        self._sent: tuple[Any, ...] | None = None
        self._busy_at = 0.0
        self._views: list[str] = []
        self._stills: list[str] = []
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        return f"CleanerWidget({self._cleaner!r})"

    def show(self) -> None:
        """Display the widget's place, and under it the still table, which a saved notebook keeps."""
        from IPython.display import display

        words = f"Pictures with high losses, of {len(self._cleaner.vocab)} classes."
        for ids, shown in ((self._views, self.live_bundle(words)), (self._stills, still(self._cleaner))):
            handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            if handle is not None:
                ids.append(handle.display_id)

    def watch(self, split: str) -> OnBatch:
        """A function that tells the page how far the losses of a split are."""

        def say(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self._busy_at >= BUSY_EVERY_S or done == total:
                self._busy_at = now
                self.send({"kind": "busy", "split": split, "done": done, "total": total})

        return say

    def tell(self) -> None:
        """Bring the page up to date: the choices alone, or everything where other pictures are shown."""
        with self._alone:
            cleaner = self._cleaner
            rows = cleaner.look()
            if self._sent != _key(cleaner, rows):
                self._send_listing(rows)
            else:
                choices = {str(one.index): cleaner.choice_of(one.file) for one in rows}
                self.send({"kind": "choices", "choices": choices, "counts": _counts(cleaner)})
            self.summary = still_text(cleaner)
            self._update_still()

    def end(self) -> None:
        """Leave the still table alone on the page."""
        self._update(self._views, {"text/plain": "", "text/html": ""})
        self._update_still()
        self.close()

    def _update_still(self) -> None:
        table = still(self._cleaner)
        self._update(self._stills, table)
        self.follow(table)

    def _update(self, ids: list[str], bundle: dict[str, str]) -> None:
        from IPython.display import update_display

        for display_id in ids:
            update_display(bundle, display_id=display_id, raw=True)  # type: ignore[no-untyped-call]

    # The page's messages

    def _on_message(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        with self._alone:
            try:
                self._do(content)
            except FastlearnError as error:
                self.send({"kind": "notice", "message": str(error)})
            except Exception as error:  # in a message's handler nobody would see it
                self.send({"kind": "notice", "message": f"{type(error).__name__}: {error}"})
                raise

    def _do(self, content: dict[str, Any]) -> None:
        cleaner = self._cleaner
        if content.get("do") == "hello":
            self._send_listing(cleaner.look())
        elif content.get("do") == "look":
            self._look(content.get("cls"), content.get("split"))
        elif content.get("do") == "choose":
            cleaner.put(cleaner.judged(int(content["id"]), content["split"]), content["choice"])

    def _look(self, cls: str | None, split: str | None) -> None:
        if split not in self._cleaner.known and a_cell_runs():
            self._send_listing(self._cleaner.look())
            message = f"The losses of {split} are computed when no cell runs. Choose {split} again then."
            self.send({"kind": "notice", "message": message})
            return
        self._send_listing(self._cleaner.look(cls, split))

    def _send_listing(self, rows: list[Judged]) -> None:
        cleaner = self._cleaner
        listed: list[dict[str, Any]] = []
        buffers: list[bytes] = []
        for one in rows:
            row = _row(one, cleaner.choice_of(one.file))
            try:
                data, row["sharp"] = thumbnail(one.file)
                row["thumb"] = len(buffers)
                buffers.append(data)
            except ImageError as error:
                row["problem"] = "not there any more" if not os.path.lexists(one.file) else str(error)
            listed.append(row)
        self.send(
            {
                "kind": "listing",
                "cls": cleaner.cls,
                "split": cleaner.split,
                "vocab": cleaner.vocab,
                "classes": list(cleaner.classes),
                "splits": list(cleaner.splits),
                "of": cleaner.n_shown_of(),
                "keep": KEEP,
                "delete": DELETE,
                "rows": listed,
                "counts": _counts(cleaner),
            },
            buffers,
        )
        self._sent = _key(cleaner, rows)


def thumbnail(file: str | os.PathLike[str]) -> tuple[bytes, bool]:
    """A small JPEG of a picture, or a PNG as it is for one so small that its pixels should be seen (then also True)."""
    image = open_image(file)
    sharp = max(image.size) <= SHARP_PX
    image.thumbnail((THUMB_PX, THUMB_PX))
    stream = io.BytesIO()
    if sharp:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=80)
    return stream.getvalue(), sharp


def still_text(cleaner: ImageClassifierCleaner) -> str:
    """The choices in one line."""
    delete, relabel = cleaner.counts()
    return f"{delete} to delete, {relabel} to relabel" if delete or relabel else "No picture was chosen yet"


def still(cleaner: ImageClassifierCleaner) -> dict[str, str]:
    """The choices as HTML and as text, without a widget."""
    chosen, title = cleaner.chosen(), still_text(cleaner)
    rows = [(cleaner.short(one.file), one.split, one.label, one.choice) for one in chosen[:MOST_LISTED]]
    more = f"and {len(chosen) - MOST_LISTED} more" if len(chosen) > MOST_LISTED else ""
    lines = [f"{title}."] + [f"  {file} ({split}, {label}): {choice}" for file, split, label, choice in rows]
    if not chosen:
        return {"text/plain": f"{title}.", "text/html": f"<small>{html.escape(title)}.</small>"}
    style = "text-align:left;padding:2px 12px 2px 0"
    head = "".join(f'<th style="{style}">{name}</th>' for name in ("file", "split", "class", "choice"))
    body = "".join(
        "<tr>" + "".join(f'<td style="{style}">{html.escape(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return {
        "text/plain": "\n".join([*lines, *([f"  {more}"] if more else [])]),
        "text/html": f"<details><summary>{html.escape(title)}</summary><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{more}</details>",
    }


def a_cell_runs() -> bool:
    """True while the main thread runs a cell: the model may be training, so it must not be used meanwhile."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "run_code" and frame.f_code.co_filename.endswith("interactiveshell.py"):
            return True
        frame = frame.f_back
    return False


def _row(one: Judged, choice: str) -> dict[str, Any]:
    return {
        "id": one.index,
        "name": printable(one.file.name),
        "path": printable(one.file),
        "predicted": one.predicted,
        "wrong": one.predicted != one.label,
        "probability": one.probability if math.isfinite(one.probability) else None,
        "loss": one.loss if math.isfinite(one.loss) else None,
        "choice": choice,
        "thumb": None,
        "sharp": False,
        "problem": None,
    }


def _counts(cleaner: ImageClassifierCleaner) -> dict[str, int]:
    delete, relabel = cleaner.counts()
    return {"delete": delete, "relabel": relabel}


def _key(cleaner: ImageClassifierCleaner, rows: list[Judged]) -> tuple[Any, ...]:
    return cleaner.cls, cleaner.split, tuple(one.index for one in rows)
