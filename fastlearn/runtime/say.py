"""One line for the reader, beside a progress line that may be on the screen."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print `text`; a progress line of tqdm steps aside. A closed or broken output does not stop a training."""
    tqdm = sys.modules.get("tqdm")
    try:
        if tqdm is not None:
            tqdm.tqdm.write(text, file=sys.stdout)
        else:
            print(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # a broken pipe, a closed file, no stdout at all
        return
