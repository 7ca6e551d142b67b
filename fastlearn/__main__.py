"""`python -m fastlearn`: the console command."""

from __future__ import annotations

from fastlearn.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
