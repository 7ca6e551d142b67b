"""Clicks that reach Python while a cell trains: the kernel's waiting messages are read between two batches.

A kernel handles the messages of its main shell one after the other, and the cell that trains is one of them: a click
waits behind it. `ShellPoll` looks into that queue. What a widget says, and what a reloaded page asks in order to come
back, is answered at once; every other request moves on to where the kernel itself would have put it, in its order, so
the kernel runs it after the cell, or drops it if the cell fails, as it always does. Nothing is kept here.
"""

from __future__ import annotations

import asyncio
import select
import signal
import sys
import threading
import types
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

NO_CLICKS = "Clicks cannot reach this kernel while a cell runs: use ■ Interrupt to stop."
_LOOKS = 10  # of which one asks the socket itself
_COMMS = {"comm_open", "comm_msg", "comm_close"}
_QUESTIONS = {"comm_info_request", "kernel_info_request"}  # a reloaded page waits for these before it shows anything


class ShellPoll:
    """Reads the kernel's waiting messages between batches; does nothing where there is no kernel that it knows.

    `why_not` is None while clicks can arrive, otherwise one sentence for the reader. It is built and polled in the
    thread that trains; in a thread other than the main one nothing needs to be done, since there the kernel is free.

        poll = ShellPoll()
        for batch in batches:
            step(batch)
            poll.poll()
    """

    def __init__(self) -> None:
        self.why_not: str | None = None
        self._kernel, self._stream = _kernel_and_stream()
        self._taken: list[Any] | None = None  # a message that was read and is not handled yet
        self._looks, self._file = _LOOKS, None
        if self._kernel is None:
            self.why_not = NO_CLICKS
        elif hasattr(select, "poll"):  # not on Windows
            self._file = select.poll()
            self._file.register(self._stream.socket.fileno(), select.POLLIN)

    def poll(self) -> int:
        """Handle the waiting widget messages now, and say how many; a few microseconds when nothing waits.

        Their handlers run here. Errors in them go to the kernel's log, as elsewhere; an interrupt goes to the caller.
        """
        if self._kernel is None or not _in_main_thread() or not self._may_wait():
            return 0
        if not self._in_the_kernels_loop():
            return 0
        handled = 0
        try:
            while self._take():
                self._handle()
                handled += 1
        except Exception:  # the kernel is built otherwise than those we know
            self._kernel.log.error("fastlearn reads the messages of this kernel no more", exc_info=True)
            self._kernel, self.why_not = None, NO_CLICKS
        finally:
            self.release()
        return handled

    def say_busy(self) -> None:
        """Tell the page once more that the kernel is busy.

        JupyterLab asks for a subshell when a widget first speaks, and ipykernel 7 then says that it is idle; 7.1 does
        so after each message of the subshell. The page takes that for the kernel's state, though a cell runs.
        """
        if self._kernel is not None and _in_main_thread():
            self._kernel._publish_status("busy", "shell")

    def release(self) -> None:
        """See that the kernel goes on by itself: what waits runs when the cell ends, in the order in which it came."""
        if self._stream is None or not _in_main_thread():
            return
        self._looks = _LOOKS
        with interrupt_waits():
            if self._taken is not None:  # an interrupt came between reading and handling
                taken, self._taken = self._taken, None
                self._hand_over(taken)
            if _something_waits(self._stream):
                # A socket tells of a message once. Reading it here used that up, so the stream must look by itself.
                self._stream.on_recv(self._stream._recv_callback, copy=False)

    def _may_wait(self) -> bool:
        """False if nothing waits. Most times a look at the socket's file will do, which is several times cheaper.

        The file tells of a message once, and not if the socket was used since; so the socket itself is asked at first,
        after each message, and now and then.
        """
        self._looks += 1
        if self._looks < _LOOKS and self._file is not None and not self._file.poll(0):
            return False
        self._looks = 0
        return _something_waits(self._stream)

    def _in_the_kernels_loop(self) -> bool:
        """False inside a loop of the user's own, to which the kernel's queue must not be tied."""
        try:
            return asyncio.get_running_loop() is self._stream.io_loop.asyncio_loop
        except RuntimeError:  # no loop runs
            return False

    def _take(self) -> bool:
        """Read up to the next message to handle now, if there is one. Those before it go to the kernel's queue."""
        import zmq

        with interrupt_waits():
            while self._taken is None:
                try:
                    frames = self._stream.socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    return False
                if self._is_for_now(frames):
                    self._taken = frames
                else:
                    self._hand_over(frames)
        return True

    def _is_for_now(self, frames: list[Any]) -> bool:
        """A peek at what the kernel's `deserialize` reads later: that one accepts a message a single time."""
        session, comms = self._kernel.session, self._kernel.comm_manager
        try:
            _, parts = session.feed_identities(frames, copy=False)
            kind = session.unpack(parts[1].bytes)["msg_type"]
            if kind not in _COMMS:
                return kind in _QUESTIONS
            content = session.unpack(parts[4].bytes)
            # A comm that nobody knows yet may be made by a cell that waits, so its messages wait too.
            return content["target_name"] in comms.targets if kind == "comm_open" else content["comm_id"] in comms.comms
        except Exception:  # no message as we know it: the kernel is the judge of it
            return False

    def _hand_over(self, frames: list[Any]) -> None:
        """Do what the kernel's stream does with a message: put it at the end of the queue that the cell stands in."""
        self._stream._run_callback(self._stream._recv_callback, frames)

    def _handle(self) -> None:
        """What the kernel's `dispatch_shell` does, without making the message the parent of what the cell prints."""
        kernel = self._kernel
        assert self._taken is not None
        idents, parts = kernel.session.feed_identities(self._taken, copy=False)
        self._taken = None
        try:
            message = kernel.session.deserialize(parts, content=True, copy=False)
        except Exception:  # badly signed, or sent twice
            kernel.log.error("Invalid message", exc_info=True)
            return
        with _status(kernel, message):
            try:
                result = kernel.shell_handlers[message["header"]["msg_type"]](_reply_to(kernel), idents, message)
                if asyncio.iscoroutine(result):
                    _run(result)
            except Exception:
                kernel.log.error("Exception in message handler:", exc_info=True)
        _flush(_reply_to(kernel))


def _kernel_and_stream() -> tuple[Any, Any]:
    """The running ipykernel and the stream that its main thread reads; (None, None) if anything about them is new."""
    ipython, ipykernel = sys.modules.get("IPython"), sys.modules.get("ipykernel.ipkernel")
    shell = ipython.get_ipython() if ipython is not None else None
    kernel = getattr(shell, "kernel", None)
    # A kernel derived from ipykernel's may queue its messages in another way, and so may one that resembles it.
    if kernel is None or ipykernel is None or type(kernel) is not ipykernel.IPythonKernel:
        return None, None
    stream = _main_stream(kernel)
    needs = {
        kernel: ("session", "comm_manager", "shell_handlers", "log", "_publish_status"),
        stream: ("socket", "io_loop", "on_recv", "closed", "_recv_callback", "_run_callback"),
    }
    if not all(getattr(owner, name, None) is not None for owner, names in needs.items() for name in names):
        return None, None
    known = getattr(stream.io_loop, "asyncio_loop", None) is not None and kernel.shell_handlers.keys() >= _COMMS
    return (kernel, stream) if known else (None, None)


def _main_stream(kernel: Any) -> Any:
    """Where the main shell's messages arrive: a socket of its own, or the near end of the shell channel's thread."""
    thread = getattr(kernel, "shell_channel_thread", None)  # ipykernel 7
    if thread is None:
        return getattr(kernel, "shell_stream", None)
    return getattr(getattr(getattr(thread, "_manager", None), "_shell_channel_to_main", None), "to_stream", None)


def _reply_to(kernel: Any) -> Any:
    thread = getattr(kernel, "shell_channel_thread", None)
    return kernel.shell_stream if thread is None else thread.manager.get_subshell_to_shell_channel_socket(None)


def _flush(stream: Any) -> None:
    """A reply through a stream would wait for the loop, and the loop for the cell; a socket has sent it already."""
    import zmq

    if hasattr(stream, "flush"):
        stream.flush(zmq.POLLOUT)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _something_waits(stream: Any) -> bool:
    import zmq

    return not stream.closed() and bool(stream.socket.get(zmq.EVENTS) & zmq.POLLIN)


@contextmanager
def _status(kernel: Any, message: dict[str, Any]) -> Iterator[None]:
    """Busy and idle for one message, and busy again for the cell, since front ends take any idle for the kernel's.

    A custom message, which is what our buttons send, gets none of them: nobody waits for its end. ipywidgets does wait
    before it sends the next change of a trait, and a reloaded page for the answer to its questions.
    """
    data = message["content"].get("data")
    if isinstance(data, dict) and data.get("method") == "custom":
        yield
        return
    kernel._publish_status("busy", "shell", parent=message)
    try:
        yield
    finally:
        kernel._publish_status("idle", "shell", parent=message)
        kernel._publish_status("busy", "shell")


@contextmanager
def interrupt_waits() -> Iterator[None]:
    """Ctrl-C is delivered after the block: a message that was read must be in one of the queues by then, say."""
    came: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if previous is None or not _in_main_thread():  # handled outside Python, or elsewhere: it cannot break in here
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if came:
            signal.raise_signal(signal.SIGINT)


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a handler at once. One that must wait for something is finished by the kernel's loop, after the cell."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration:
        return

    @types.coroutine
    def rest() -> Generator[Any, Any, None]:
        yield waits_for
        yield from coroutine

    async def finish() -> None:
        await rest()

    asyncio.ensure_future(finish())
