"""Ctrl-C and SIGTERM that wait for the end of a step, so that an interrupted training is a usable one."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from fastlearn.short_traceback import short_traceback

WHOLE = "stopped between two steps; the learner is whole, and you may go on with it"


class TrainingInterrupt(KeyboardInterrupt):
    """Ctrl-C, or a notebook's Interrupt, held back until a step was whole; a notebook shows it in a few lines."""

    __qualname__ = "KeyboardInterrupt"  # the name that a reader knows, and that notebooks send with an error

    def _render_traceback_(self) -> list[str]:
        return short_traceback(self)


TrainingInterrupt.__name__ = "KeyboardInterrupt"


class DeferredInterrupt:
    """While entered, the first SIGINT or SIGTERM only sets `requested`; a second one has its effect at once.

    That of SIGINT is a KeyboardInterrupt; that of SIGTERM the end of a script with exit code 143, and in a notebook,
    whose kernel shall live on, a KeyboardInterrupt too. Python delivers signals to the main thread alone, so in any
    other thread this does nothing. A program that ignores a signal, or handles it in its own way, keeps doing so, and
    whoever handled it before handles it again afterwards.
    """

    def __init__(self) -> None:
        self.requested = False
        self._number = signal.SIGINT
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self.requested = False
        if threading.current_thread() is threading.main_thread():
            for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(number) is usual:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested, self._number = self.requested, True, signal.Signals(number)
        if again:
            raise self._error("")

    def check(self, why: str = WHOLE) -> None:
        """Raise what the signal that was held back asks for, if there was one; a notebook shows `why`."""
        if self.requested:
            raise self._error(why)

    def _error(self, why: str) -> BaseException:
        if self._number == signal.SIGTERM and not _in_kernel():
            return SystemExit(128 + signal.SIGTERM)
        # Python ends a script as SIGINT does for this very class alone, and for none that is derived from it.
        return TrainingInterrupt(why) if why and _in_kernel() else KeyboardInterrupt(*[why] if why else [])


def _in_kernel() -> bool:
    """Whether this is a notebook's kernel."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and kernel.IPKernelApp.initialized()
