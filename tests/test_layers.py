"""Imports run downward only. Every import of every module is read, those inside functions too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fastlearn"

# From the ground up. A part may import those of lower floors; those of its own floor only where they are FRIENDS.
BASE = {"errors", "lazy", "lettering", "lists", "options", "paths", "pixels", "runtime", "short_traceback", "tensors"}
NUMERICS = {"losses", "metrics", "task"}
FRONT = {"cli", "demo", "__main__"}
FLOORS = [
    BASE,
    NUMERICS,
    {"arch"},
    {"data", "export"},
    {"training"},
    {"callbacks"},
    {"learner"},
    {"live", "serve"},
    {"interpret", "tune", "log"},
    {"vision", "tabular", "text", "collab"},
    {"all"},  # the files all.py of any part
    FRONT,
]
FRIENDS = [BASE, NUMERICS, FRONT]
ONLY = {  # parts that must work without the rest of the floors below them
    "export": BASE | {"arch"},
    "serve": BASE | {"export"},
}
WIDGETS = {"ipywidgets", "anywidget"}
MAY_SHOW_WIDGETS = {"live", "interpret", "tune", "log", "vision", "tabular", "text", "collab", "all", "cli"}
FLOOR_OF = {part: k for k, parts in enumerate(FLOORS) for part in parts}


def part_of(module: str) -> str:
    """The part that a dotted module under `fastlearn` belongs to; "" for the package itself."""
    names = module.split(".")[1:]
    return "" if not names else "all" if names[-1] == "all" else names[0]


def imports_of(file: Path, module: str, package: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import anywhere in a file; for `from a import b`, `a.b` where that is a module."""
    parent = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parent[: len(parent) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                below = package.parent.joinpath(*base.split("."), alias.name)
                is_module = below.is_dir() or below.with_suffix(".py").is_file()
                yield node.lineno, f"{base}.{alias.name}" if is_module else base


def violations(package: Path) -> list[str]:
    """A line for each import that the floors forbid."""
    return [
        f"{file.relative_to(package)}:{line} {why}"
        for file in sorted(package.rglob("*.py"))
        for line, why in _violations_in(file, package)
    ]


def _violations_in(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    names = file.relative_to(package.parent).with_suffix("").parts
    module = ".".join(names[:-1] if names[-1] == "__init__" else names)
    part = part_of(module)
    if part and part not in FLOOR_OF:
        yield 1, f"belongs to no floor: name {part!r} in FLOORS"
        return
    for line, target in imports_of(file, module, package):
        top = target.split(".")[0]
        if top in WIDGETS and part not in MAY_SHOW_WIDGETS:
            yield line, f"imports {target}: no widgets below live"
        if top == package.name and (why := _forbidden(part, part_of(target))):
            yield line, f"imports {target}: {why}"


def _forbidden(part: str, target: str) -> str:
    if target in ("", part) and target != "all":
        return ""
    if target not in FLOOR_OF:
        return f"{target!r} is on no floor"
    if not part:
        return "the package itself imports nothing" if FLOOR_OF[target] else ""
    if target == "all" and part not in ("all", "cli", "demo"):
        return "all.py is for notebooks"
    if part in ONLY and target not in ONLY[part]:
        return f"{part} imports only {', '.join(sorted(ONLY[part]))}"
    friends = part == target or any({part, target} <= allowed for allowed in FRIENDS)
    here, there = FLOOR_OF[part], FLOOR_OF[target]
    if there > here:
        return f"{target} lies above {part}"
    return "" if there < here or friends else f"{part} and {target} do not know each other"


def test_imports_run_downward() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line", "why"),
    [
        ("data/x.py", "from fastlearn.training.loop import fit", "training lies above data"),
        ("data/x.py", "def f():\n    from ..training import loop", "training lies above data"),
        ("data/x.py", "from fastlearn import export", "data and export do not know each other"),
        ("export/x.py", "import fastlearn.data", "export imports only"),
        ("serve/x.py", "from fastlearn.training import loop", "serve imports only"),
        ("vision/x.py", "from fastlearn.text.data import y", "vision and text do not know each other"),
        ("vision/x.py", "from .all import *", "all.py is for notebooks"),
        ("vision/x.py", "from fastlearn.cli import main", "cli lies above vision"),
        ("training/x.py", "class A:\n    def f(self):\n        import ipywidgets.widgets", "no widgets below live"),
        ("callbacks/x.py", "from anywidget import AnyWidget", "no widgets below live"),
        ("errors.py", "from fastlearn.task import Task", "task lies above errors"),
        ("__init__.py", "from fastlearn.vision import x", "the package itself imports nothing"),
        ("novel/x.py", "import os", "belongs to no floor"),
        ("data/x.py", "from fastlearn.novel import x", "'novel' is on no floor"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, line: str, why: str) -> None:
    tree(tmp_path, {file: line})
    found = violations(tmp_path / "fastlearn")
    assert len(found) == 1
    assert why in found[0]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("data/x.py", "from fastlearn.errors import DataError\nfrom . import y\nfrom .y import z"),
        ("paths.py", "from fastlearn.lists import L"),
        ("callbacks/x.py", "from fastlearn.training.loop import fit\nimport IPython"),
        ("live/x.py", "import anywidget"),
        ("vision/all.py", "from fastlearn.data.all import *\nfrom fastlearn.vision.data import x"),
        ("cli.py", "def main():\n    from fastlearn.vision.all import x"),
    ],
)
def test_what_is_allowed(tmp_path: Path, file: str, line: str) -> None:
    tree(tmp_path, {file: line})
    assert violations(tmp_path / "fastlearn") == []


def tree(root: Path, files: dict[str, str]) -> None:
    """A made-up package with a few modules of each kind."""
    empty = dict.fromkeys(["training/loop.py", "data/y.py", "data/all.py", "text/data.py", "export/__init__.py"], "")
    for name, text in (empty | files).items():
        path = root / "fastlearn" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
