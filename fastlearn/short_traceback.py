"""What a notebook shows of an error that fastlearn raises on purpose: the reader's own lines and the message."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import FrameType, TracebackType

_PACKAGE = str(Path(__file__).parent)
_LIBRARIES = tuple({_PACKAGE, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))})


def short_traceback(error: BaseException) -> list[str]:
    """The lines of IPython's traceback of `error`, without the calls inside libraries and without its causes.

    The whole of it stays at hand: `import traceback; traceback.print_last()`. Raises ImportError without IPython.
    """
    from IPython.core.getipython import get_ipython

    shown = type(error).__new__(type(error))
    shown.args = error.args
    shell = get_ipython()
    notes = list(getattr(error, "__notes__", ()))
    if shell is None:
        return [f"{type(error).__name__}: {error}", *notes]
    lines = shell.InteractiveTB.structured_traceback(type(error), shown, _own_calls(error.__traceback__), tb_offset=0)
    return [*map(str, lines), *notes]


def _own_calls(calls: TracebackType | None) -> TracebackType | None:
    """The calls that are not in a library; the innermost one alone when all are."""
    found, innermost = [], calls
    while calls is not None:
        innermost = calls
        if not _in_library(calls.tb_frame):
            found.append(calls)
        calls = calls.tb_next
    if not found and innermost is not None:
        found = [innermost]
    chain: TracebackType | None = None
    for call in reversed(found):
        chain = TracebackType(chain, call.tb_frame, call.tb_lasti, call.tb_lineno)
    return chain


def _in_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_LIBRARIES)
