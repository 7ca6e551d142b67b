"""The committed files of the widgets: all there, small, self-contained, and made from sources that pass their tests."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import fastlearn.live

STATIC = Path(fastlearn.live.__file__).parent / "static"
SOURCES = STATIC.parent / "js"
NAMES = ("dashboard", "picker", "cleaner")
FILES = tuple(f"{name}.{kind}" for name in NAMES for kind in ("js", "css"))
LIMIT = 80_000  # bytes of the dashboard, which is in each page that trains

# What names a machine without asking it for anything: XML's namespaces.
NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml", "http://www.w3.org/1999/xlink")
# `import x from "…"`, `import "…"`, `import(…)`, `export * from "…"`: a bundle holds all that it needs.
IMPORTS = re.compile(
    r"""(?<![\w$.])(?:import\s*[("'{*]|import\s+[\w$]+\s*(?:,|from\b)|export[^;]{0,200}?from\s*["'])"""
)
ASKS = re.compile(
    r"(?<![\w$.])(?:fetch|importScripts)\s*\(|\b(?:XMLHttpRequest|WebSocket|EventSource|sendBeacon|Worker)\b"
)


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def addresses(text: str) -> list[str]:
    """What a page could load: addresses with a scheme, and `//host/…` in quotes or in url()."""
    found = re.findall(r"""\b(?:https?|wss?|ftp):(?:\\?/){2}[^\s"'`)]*|["'`(]//[\w.-]+\.[a-z]{2,}[^\s"'`)]*""", text)
    return [address for address in found if address not in NAMESPACES]


@pytest.mark.parametrize("name", FILES)
def test_a_bundle_is_there_and_asks_nobody_for_anything(name: str) -> None:
    text = without_comments((STATIC / name).read_text(encoding="utf-8"))
    assert len(text) > 500
    assert addresses(text) == []
    if name.endswith(".js"):
        assert not IMPORTS.search(text) and not ASKS.search(text)
    else:
        assert "@import" not in text and "url(" not in text


@pytest.mark.parametrize(
    "text",
    [
        'x="https://example.org/a.js"',
        'new WebSocket("wss:\\/\\/example.org")',
        'e.src="//example.org/a.png"',
        'import a from"./a.js"',
        'import"./a.js"',
        'await import("./a.js")',
        'export*from"./a.js"',
        "fetch(a)",
        "new XMLHttpRequest",
    ],
)
def test_these_would_be_found(text: str) -> None:
    assert addresses(text) or IMPORTS.search(text) or ASKS.search(text)


def test_the_dashboard_stays_small() -> None:
    size = sum((STATIC / f"dashboard.{kind}").stat().st_size for kind in ("js", "css"))
    assert size <= LIMIT


def test_the_licence_of_the_chart_library_is_kept() -> None:
    licence = (STATIC / "LICENSE.uplot.txt").read_text(encoding="utf-8")
    assert "Leon Sorokin" in licence and "Permission is hereby granted, free of charge" in licence
    for kind in ("js", "css"):
        notice = re.findall(r"/\*!.*?\*/", (STATIC / f"dashboard.{kind}").read_text(encoding="utf-8"), re.DOTALL)
        assert any("uPlot" in one and "Leon Sorokin" in one and "LICENSE.uplot.txt" in one for one in notice)


def test_the_sources_pass_their_own_tests() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on the path, so the tests of the pages' JavaScript were not run.")
    files = sorted(map(str, (SOURCES / "test").glob("*.test.js")))
    assert files
    done = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
