"""Sums up rounds of figures: medians, quartiles, ratios, a Markdown table; and names machine, versions and date.

Neighbours on a shared machine disturb single figures, so a contestant is compared with the reference **in the same
round**: what is reported is the median over rounds of that ratio (and of the difference, where it is asked for), with
the quartiles in brackets. Beside it stands the difference of the two minima, since what neighbours do to a figure only
ever adds to it.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ["torch", "numpy", "fastlearn", "fastai", "lightning", "pytorch-ignite", "keras", "torchvision", "timm"]

Rounds = dict[str, list[dict[str, float]]]  # contestant -> one dictionary of figures a round


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def to_json(self) -> dict[str, float]:
        return {"median": self.median, "q25": self.low, "q75": self.high}


def summarise(
    units: Mapping[str, str], reference: str, differences: Sequence[str], rounds: Rounds, alone: Sequence[str] = ()
) -> dict[str, Any]:
    """Medians and quartiles of each figure, of its ratio to the reference, and of the differences asked for."""
    base = rounds.get(reference)
    contestants: dict[str, Any] = {}
    for name, values in rounds.items():
        figures: dict[str, Any] = {}
        for figure in units:
            own = [row[figure] for row in values if figure in row]  # a contestant may leave a figure out
            if not own:
                continue
            entry: dict[str, Any] = Spread.of(own).to_json() | {"min": min(own)}
            if base and name != reference and figure not in alone:
                other = [row[figure] for row in base[: len(own)]]
                if all(other):
                    entry["ratio"] = Spread.of([a / b for a, b in zip(own, other, strict=True)]).to_json()
                if figure in differences:
                    entry["difference"] = Spread.of([a - b for a, b in zip(own, other, strict=True)]).to_json()
                    entry["difference"]["of_minima"] = min(own) - min(other)
            figures[figure] = entry
        contestants[name] = figures
    return {
        "reference": reference,
        "units": dict(units),
        "differences": list(differences),
        "alone": list(alone),
        "contestants": contestants,
    }


def table(report: Mapping[str, Any]) -> str:
    """The report as a Markdown table: one line a contestant, and for each figure median, ratio and difference."""
    reference, differences, alone = report["reference"], report["differences"], report.get("alone", [])
    rows = [["contestant"]]
    for figure, unit in report["units"].items():
        rows[0] += [f"{figure}, {unit}"] + ([] if figure in alone else [f"× {reference}"])
        rows[0] += [f"over {reference}, {unit}"] if figure in differences else []
    for name, figures in report["contestants"].items():
        rows.append([name])
        for figure in report["units"]:
            found = cells(figures.get(figure, {}), figure in differences)
            rows[-1] += found[:1] if figure in alone else found
    return "\n".join(markdown(rows))


def cells(entry: Mapping[str, Any], with_difference: bool) -> list[str]:
    """The table cells of one figure."""
    found = [brief(entry) if entry else "–", brief(entry["ratio"]) if "ratio" in entry else "–"]
    if with_difference:
        difference = entry.get("difference")
        found.append(f"{brief(difference)}, of minima {short(difference['of_minima'])}" if difference else "–")
    return found


def brief(spread: Mapping[str, float]) -> str:
    """Median, and the quartiles in brackets."""
    return f"{short(spread['median'])} ({short(spread['q25'])}–{short(spread['q75'])})"


def short(value: float) -> str:
    """Three significant digits or all before the point, never in exponent form, at most four after it."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(digits, 0), 4)}f}"


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, padded so that it reads well in a terminal too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def now() -> str:
    """The time in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that matter here, where this interpreter has them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": cpu_name(), "cores": usable_cores(), "system": platform.platform(), "load": load}


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's model name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


# ── measures that keep a row a run, and go on where they were ────────────────────────────────────────────────────────


def load_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that are there."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def save_rows(path: Path, rows: Sequence[Mapping[str, Any]], title: str, **more: Any) -> None:
    """All rows and what they were made on, by a temporary file, so that a kill loses nothing."""
    report = {"measure": path.stem, "title": title, **more}
    report |= {"machine": machine(), "versions": installed_versions(), "date": now()}
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    draft = path.with_suffix(".part")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(json.dumps(report, indent=1)[:-2] + f',\n "rows": [\n  {lines}\n ]\n}}\n')
    os.replace(draft, path)
