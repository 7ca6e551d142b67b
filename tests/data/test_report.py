"""The report: the gravest first, short, and safe as HTML."""

from __future__ import annotations

from pathlib import Path

from faulty_pictures import picture

from fastlearn.data.checks import check_folder


def test_many_findings_stay_short_and_html_is_escaped(pets: Path) -> None:
    for i in range(12):
        (pets / "train" / "cat" / f"<b>{i}.png").write_bytes(b"")
    report = check_folder(pets)
    assert "… and 7 more" in str(report)
    page = report._repr_html_()
    assert "&lt;b&gt;0.png" in page
    assert "<b>0.png" not in page


def test_the_gravest_comes_first(pets: Path) -> None:
    (pets / "train" / "cat" / "a.txt").write_text("")
    picture(pets / "train" / "cat" / "x.jpg", format="PNG")
    (pets / "train" / "cat" / "empty.png").write_bytes(b"")
    report = check_folder(pets, wrong_name="warn")
    assert [finding.severity for finding in report.findings] == ["error", "warning", "note"]
    assert [len(report.errors), len(report.warnings)] == [1, 1]
    assert "1 error, 1 warning, 1 note" in str(report)
