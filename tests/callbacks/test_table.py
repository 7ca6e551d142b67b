"""Cells of the epochs' table."""

from __future__ import annotations

from fastlearn.callbacks import table


def test_numbers_and_times() -> None:
    found = [table.number(value) for value in (0.0, 0.5, 1e-6, 123456.7, float("nan"), float("inf"))]
    assert found == ["0.000000", "0.500000", "1e-06", "1.235e+05", "nan", "inf"]
    assert [table.duration(s) for s in (0.4, 59.6, 754, 3723)] == ["0:00", "1:00", "12:34", "1:02:03"]
    assert [table.cell_text("time", s) for s in (1.23, 9.96, 59.6, 83)] == ["1.2 s", "10 s", "1:00", "1:23"]


def test_names_are_escaped() -> None:
    assert "<b>" not in table.html_table(["<b>"], [["1"]], "<b>", None)
