"""Runs the measures one after the other and writes their tables: `python -m benchmarks [--quick] [MEASURE…]`.

Without names, all of them. `--quick` shortens each to a trial whose figures mean little. Everything else that a measure
can be told, it is told alone: `python benchmarks/step_overhead.py --help`. The tables of all the JSON files in
`results/` are gathered in `results/README.md`; `--tables` does only that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the measures are scripts: they find their neighbours by their bare names

from report import table  # noqa: E402

QUICK = {
    "step_overhead": ["--rounds", "2"],
    "import_cost": ["--rounds", "2"],
    "index_files": ["--rounds", "1", "--n", "20000"],
    "loading": ["--rounds", "1", "--n", "256"],
    "picture_stages": ["--rounds", "1", "--n", "512"],
    "train_epoch": ["--rounds", "1", "--n", "64"],
    "inference": ["--rounds", "1"],
    "channels_last": ["--rounds", "1", "--only", "resnet18"],
    "body_in_pieces": ["--rounds", "1", "--only", "resnet18"],
    "checkpoint_cost": ["--rounds", "1"],
    "head_stages": ["--rounds", "1"],
    "memory": ["--rounds", "1", "--n", "256", "--sizes", "1000", "10000"],
    "growth": ["--rounds", "1", "--n", "256", "--sizes", "1000", "10000"],
    "time_to_accuracy": ["--sets", "digits", "--seeds", "1"],
    "live_cost": ["--rounds", "1", "--steps", "2000"],
    "live_page": ["--only", "latency", "saved"],
}


def main() -> int:
    """Zero when every measure ran."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"any of {', '.join(QUICK)} (default all)")
    parser.add_argument("--quick", action="store_true", help="a trial of a minute or two; the figures mean little")
    parser.add_argument("--tables", action="store_true", help="run nothing, only rewrite results/README.md")
    options = parser.parse_args()
    unknown = set(options.measures) - set(QUICK)
    if unknown:
        parser.error(f"There is no measure {', '.join(sorted(unknown))}. There are: {', '.join(QUICK)}.")
    status = 0
    for name in [] if options.tables else options.measures or QUICK:
        extra = [*QUICK[name], "--results", str(HERE / "results" / "quick")] if options.quick else []
        status |= subprocess.run([sys.executable, HERE / f"{name}.py", *extra]).returncode
    if not options.quick:
        write_tables(HERE / "results")
    return status


def write_tables(folder: Path) -> None:
    """`README.md` in `folder`, with a table for each JSON file there."""
    parts = [
        "# Results\n\nMade by `python -m benchmarks --tables` from the JSON files here; nothing is typed by hand.\n"
    ]
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        machine, versions = found["machine"], found["versions"]
        if "python" not in versions:  # one entry a contestant; all share one torch under `make bench`
            versions = next(iter(versions.values()), {})
        parts.append(
            f"## {found.get('title', path.stem)}\n\n"
            f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f}; torch {versions.get('torch')}, "
            f"Python {versions.get('python')}; {found['date'][:10]}\n\n"
            f"{table(found) if 'contestants' in found else path.with_suffix('.md').read_text()}\n"
        )
    (folder / "README.md").write_text("\n".join(parts))


if __name__ == "__main__":
    sys.exit(main())
