"""What a check of the data found: `Finding`s in a `Report` that reads well in a terminal and in a notebook."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass, field
from typing import Literal

from fastlearn.errors import DataError
from fastlearn.lists import L
from fastlearn.paths import Path, printable

Severity = Literal["error", "warning", "note"]
SHOWN = 5
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
_COLOURS: dict[Severity, str] = {"error": "#c0392b", "warning": "#b9770e", "note": "#5d6d7e"}


@dataclass(frozen=True)
class Finding:
    """One fault: its `kind` ("damaged", "leak"…), what was found, the files concerned, and what to type.

    `details` are lines for a reader where the bare paths say too little, such as which picture equals which.
    """

    kind: str
    severity: Severity
    message: str
    paths: tuple[Path, ...] = ()
    fix: str = ""
    details: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The first few details or paths, and how many more there are."""
        texts = list(self.details) or [shown(path) for path in self.paths]
        more = [f"… and {len(texts) - SHOWN:,} more"] if len(texts) > SHOWN else []
        return texts[:SHOWN] + more


@dataclass(frozen=True)
class Report:
    """All findings of one check, gravest first. `print(report)`, or show it in a notebook.

    >>> report = dls.check()
    >>> report.ok, report.errors, report.paths("leak")
    """

    title: str
    findings: tuple[Finding, ...] = ()
    n_checked: int = 0
    seconds: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.findings, key=lambda finding: _ORDER[finding.severity])
        object.__setattr__(self, "findings", tuple(ordered))

    @property
    def errors(self) -> L[Finding]:
        """What makes training impossible or its result wrong."""
        return self._of("error")

    @property
    def warnings(self) -> L[Finding]:
        """What may be intended, but often is not."""
        return self._of("warning")

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    @property
    def unreadable(self) -> L[Path]:
        """The files that no training can use; those of a wrong name are not among them."""
        return L([path for finding in self.findings if finding.kind in UNREADABLE for path in finding.paths])

    def paths(self, kind: str) -> L[Path]:
        """The files that the findings of one kind name."""
        return L([path for finding in self.findings if finding.kind == kind for path in finding.paths])

    def raise_for_errors(self) -> None:
        """Raise `DataError` with the errors as its message, if there are any."""
        if not self.ok:
            raise DataError("\n".join([self._headline(), *(_as_text(finding) for finding in self.errors)]))

    def raise_for_unreadable(self) -> None:
        """Raise `DataError` for the files that training refuses, unreadable or wrongly named, and only for those."""
        faults = tuple(finding for finding in self.errors if finding.kind in REFUSED)
        Report(self.title, faults, self.n_checked, self.seconds).raise_for_errors()

    def _of(self, severity: Severity) -> L[Finding]:
        return L([finding for finding in self.findings if finding.severity == severity])

    def _headline(self) -> str:
        counts = [(len(self._of(severity)), severity) for severity in _ORDER]
        found = ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts if n) or "nothing to complain of"
        return f"{self.title}: {counted(self.n_checked, 'picture')} checked in {self.seconds:.1f} s, {found}."

    def __str__(self) -> str:
        return "\n".join([self._headline(), *map(_as_text, self.findings)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(map(_as_row, self.findings))
        table = f"<table style='text-align:left'>{rows}</table>" if rows else ""
        return f"<p><b>{html.escape(self._headline())}</b></p>{table}"


FILE_FAULTS: dict[str, str] = {  # in the order of the report; what is said of one or of several files
    "missing": "not there",
    "no_permission": "not readable for you",
    "folder": "a folder or another special file, not a picture",
    "empty": "empty (0 bytes)",
    "not_an_image": "not a picture",
    "damaged": "damaged or cut off",
    "bomb": "too large when unpacked (perhaps a decompression bomb)",
}
UNREADABLE = frozenset(FILE_FAULTS)
REFUSED = UNREADABLE | {"wrong_name"}


def counted(n: int, noun: str) -> str:
    """ "1 picture", "2,000 pictures"."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "es" if noun.endswith("ss") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"


def shown(path: str | os.PathLike[str]) -> str:
    """A path on one line, quoted where its name would break the line."""
    text = printable(path)
    return text if text.isprintable() else repr(text)


def _as_text(finding: Finding) -> str:
    lines = [f"  {finding.severity.upper():8}{finding.message}", *(f"          {line}" for line in finding.lines)]
    return "\n".join(lines + ([f"          → {finding.fix}"] if finding.fix else []))


def _as_row(finding: Finding) -> str:
    files = "".join(f"<br><code>{html.escape(line)}</code>" for line in finding.lines)
    colour = _COLOURS[finding.severity]
    style = "text-align:left;vertical-align:top"
    return (
        f"<tr><td style='{style};color:{colour}'><b>{finding.severity}</b></td>"
        f"<td style='{style}'>{html.escape(finding.message)}{files}</td>"
        f"<td style='{style}'>{html.escape(finding.fix)}</td></tr>"
    )
