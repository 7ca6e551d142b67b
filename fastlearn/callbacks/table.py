"""The epochs' table as text and as HTML, and the numbers in it."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlearn.training.recorder import Recorder

_FIRST_ROWS = 10
_ROWS = 60  # a notebook's file stays small, and a table that is drawn anew stays quick


def number(value: float) -> str:
    """Six decimals, or four digits for what is tiny or huge."""
    if value != value or value in (math.inf, -math.inf):
        return str(value)
    return f"{value:.6f}" if value == 0 or 1e-4 <= abs(value) < 1e5 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def cell_text(name: str, value: Any) -> str:
    """The value of column `name` as the table shows it."""
    if value is None:
        return ""
    if name == "time":
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s" if value < 59.5 else duration(value)
    return str(value) if isinstance(value, int) else number(float(value))


def story_rows(recorder: Recorder) -> tuple[list[str], list[list[str]]]:
    """(column names, cells) of the epochs' table of the last story; a long one keeps its beginning and its end."""
    names = recorder.metric_names
    rows = [row for row in recorder.epochs if row["fit"] == recorder.fits]
    shown = rows if len(rows) <= _ROWS else [*rows[:_FIRST_ROWS], *rows[_FIRST_ROWS - _ROWS :]]
    cells = [[cell_text(name, row.get(name)) for name in names] for row in shown]
    if len(rows) > _ROWS:
        cells.insert(_FIRST_ROWS, ["…"] * len(names))
    return names, cells


def text_row(names: list[str], cells: list[str]) -> str:
    """Cells under their names, right-aligned."""
    widths = [max(len(name), 5 if name == "epoch" else 8) for name in names]
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def text_table(names: list[str], rows: list[list[str]], line: str) -> str:
    """The table in a fixed-width font, with a line below it."""
    lines = [text_row(names, cells) for cells in [names, *rows]]
    return "\n".join([*lines, line] if line else lines)


def html_table(names: list[str], rows: list[list[str]], line: str, share: float | None = None) -> str:
    """The table, with a line below it (behind a bar when there is a share to show)."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>" for cells in rows)
    table = f'<table style="text-align: right"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f"<div>{table}{f'<div>{html_line(line, share)}</div>' if line else ''}</div>"


def html_line(line: str, share: float | None) -> str:
    """The line, behind a bar when there is a share to show."""
    style = "width: 16em; vertical-align: middle"
    bar = "" if share is None else f'<progress value="{share:.3f}" max="1" style="{style}"></progress> '
    return bar + html.escape(line)
