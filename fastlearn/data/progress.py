"""One line that says how far a slow job on files has come, and nothing where no one is watching."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

DELAY_S = 1.0


def progress_line(total: int | None, label: str, unit: str, show: bool = True, done: int = 0) -> tqdm[Any]:
    """A context manager with `update(n)`: after one second it draws a line on stderr, and takes it away at the end.

    Silent when `show` is false or when stderr is neither a terminal nor a notebook. The unit "B" counts bytes.
    """
    from tqdm import tqdm

    watched = "ipykernel" in sys.modules or sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=label,
        leave=False,
        delay=DELAY_S,
        disable=not (show and watched),
        unit=unit,
        unit_scale=unit == "B",
        unit_divisor=1024,
    )
