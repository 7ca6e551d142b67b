"""Ctrl-C that waits for the end of a step, so that an interrupted training is a usable one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from fastlearn.short_traceback import short_traceback


class TrainingInterrupt(KeyboardInterrupt):
    """Ctrl-C, or a notebook's Interrupt, held back until a step was whole; a notebook shows it in a few lines."""

    __qualname__ = "KeyboardInterrupt"  # the name that a reader knows, and that notebooks send with an error

    def _render_traceback_(self) -> list[str]:
        return short_traceback(self)


TrainingInterrupt.__name__ = "KeyboardInterrupt"


class DeferredInterrupt:
    """While entered, the first SIGINT only sets `requested`; the second one raises KeyboardInterrupt at once.

    Python delivers signals to the main thread alone, so in any other thread this does nothing. Whoever handled the
    signal before handles it again afterwards.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None
        self._installed = False

    def __enter__(self) -> Self:
        self.requested = False
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.getsignal(signal.SIGINT)
            # A program that ignores SIGINT, or handles it in its own way, keeps doing so.
            if self._previous is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._handle)
                self._installed = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._previous)
            self._installed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was held back, if there was one."""
        if self.requested:
            raise TrainingInterrupt("stopped between two steps; the learner is whole, and you may go on with it")
