from __future__ import annotations

import signal
import threading

import pytest

from fastlearn.runtime.interrupt import DeferredInterrupt, TrainingInterrupt


def test_the_first_press_waits_and_the_second_is_at_once():
    with DeferredInterrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt, match="the learner is whole"):
            interrupt.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handler_from_before_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with DeferredInterrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_program_with_a_handler_of_its_own_keeps_it():
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with DeferredInterrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
            interrupt.check()
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_it_does_nothing():
    states = []

    def run() -> None:
        with DeferredInterrupt() as interrupt:
            states.append(interrupt.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert states == [False]


def test_a_notebook_shows_an_interrupt_in_short():
    assert TrainingInterrupt("stopped")._render_traceback_() == ["KeyboardInterrupt: stopped"]


def test_sigterm_waits_too_and_ends_a_script_with_143():
    before = signal.getsignal(signal.SIGTERM)
    with DeferredInterrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested
        with pytest.raises(SystemExit) as caught:
            interrupt.check()
        assert caught.value.code == 143
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_a_kernel_sigterm_is_an_interrupt(monkeypatch):
    monkeypatch.setattr("fastlearn.runtime.interrupt._in_kernel", lambda: True)
    with DeferredInterrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
