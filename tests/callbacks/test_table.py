"""Cells of the epochs' table."""

from __future__ import annotations

from types import SimpleNamespace

from fastlearn.callbacks import table
from fastlearn.training.recorder import Recorder


def test_numbers_and_times() -> None:
    found = [table.number(value) for value in (0.0, 0.5, 1e-6, 123456.7, float("nan"), float("inf"))]
    assert found == ["0.000000", "0.500000", "1e-06", "1.235e+05", "nan", "inf"]
    assert [table.duration(s) for s in (0.4, 59.6, 754, 3723)] == ["0:00", "1:00", "12:34", "1:02:03"]
    assert [table.cell_text("time", s) for s in (1.23, 9.96, 59.6, 83)] == ["1.2 s", "10 s", "1:00", "1:23"]


def test_names_are_escaped() -> None:
    assert "<b>" not in table.html_table(["<b>"], [["1"]], "<b>", None)


def told(n_epochs: int) -> Recorder:
    recorder = Recorder()
    recorder.start_fit(["accuracy"], True)
    for epoch in range(n_epochs):
        values = {"train_loss": 1.0, "valid_loss": 1.0 / (epoch + 1), "accuracy": 0.5}
        recorder.end_epoch(SimpleNamespace(epoch=epoch, values=values), 1.0)  # type: ignore[arg-type]
    return recorder


def test_rows_are_those_of_the_last_story() -> None:
    recorder = told(2)
    names, cells = table.story_rows(recorder)
    assert names == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert [row[0] for row in cells] == ["0", "1"] and cells[1][2:] == ["0.500000", "0.500000", "1.0 s"]
    recorder.start_fit(["accuracy"], True)
    assert table.story_rows(recorder)[1] == []


def test_a_long_story_keeps_a_short_table() -> None:
    _, cells = table.story_rows(told(500))
    assert len(cells) == 61 and [cells[k][0] for k in (0, 9, 10, 11, 60)] == ["0", "9", "…", "450", "499"]
    assert len(table.story_rows(told(60))[1]) == 60
