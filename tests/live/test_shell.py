"""Clicks while a cell trains, on a real kernel of the installed ipykernel. `kernel_versions.py` runs this on others."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastlearn.live import shell
from fastlearn.live.shell import NO_CLICKS, ShellPoll

manager = pytest.importorskip("jupyter_client.manager")
REPOSITORY = Path(shell.__file__).parents[2]
TIMEOUT_S = 120  # for a machine that is busy with other things; nothing below waits that long

SETUP = f"""
import sys, time
sys.path.insert(0, {str(REPOSITORY)!r})
import signal
from IPython.display import display
from fastlearn.live.shell import ShellPoll

got, order = [], []

def opened(comm, message):
    comm.on_msg(lambda message: heard(comm, message["content"]["data"]))

def heard(comm, data):
    got.append(data["content"])
    print("heard", data["content"])
    if data["content"] == "fail":
        raise ValueError("a handler that fails")
    comm.send({{"echo": data["content"]}})

get_ipython().kernel.comm_manager.register_target("buttons", opened)
"""
TRAIN = """
poll = ShellPoll()
assert poll.why_not is None, poll.why_not
print("begins")
until = time.monotonic() + 60
while "stop" not in got and time.monotonic() < until:
    poll.poll()
    time.sleep(.005)
poll.release()
print("ends")
display("shown")
"""
DONE = "print(order, got)"


class Client:
    """One kernel and a page that talks to it; every message that it publishes, in order."""

    def __init__(self, kernel: Any, client: Any) -> None:
        self.kernel, self.client, self.published = kernel, client, list[Any]()

    def send(self, kind: str, content: dict[str, Any], subshell: str | None = None) -> str:
        message = self.client.session.msg(kind, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def run(self, code: str) -> str:
        return self.client.execute(code)

    def click(self, content: Any, comm: str = "comm", method: str = "custom") -> str:
        return self.send("comm_msg", {"comm_id": comm, "data": {"method": method, "content": content}})

    def open(self, comm: str = "comm", target: str = "buttons") -> str:
        return self.send("comm_open", {"comm_id": comm, "target_name": target, "data": {}})

    def reply(self, request: str | None = None) -> dict[str, Any]:
        """The next reply; with a request, it must be the one to that."""
        message = self.client.get_shell_msg(timeout=TIMEOUT_S)
        assert request is None or message["parent_header"]["msg_id"] == request, message
        return message

    def publishes(self, kind: str, parent: str | None = None, **content: Any) -> None:
        """Wait until the kernel has published this; a `text` may have come in pieces, or with other text."""
        text = content.pop("text", "")
        while True:
            message = self.client.get_iopub_msg(timeout=TIMEOUT_S)
            self.published.append(message)
            about = message["parent_header"].get("msg_id")
            fits = message["msg_type"] == kind and about == (parent or about)
            if fits and content.items() <= message["content"].items() and text in self.text(about):
                return

    def idle(self, request: str) -> None:
        self.publishes("status", request, execution_state="idle")

    def of(self, request: str, kind: str) -> list[dict[str, Any]]:
        """What was published of this kind on behalf of a request."""
        return [
            message["content"]
            for message in self.published
            if message["msg_type"] == kind and message["parent_header"].get("msg_id") == request
        ]

    def text(self, request: str) -> str:
        return "".join(content["text"] for content in self.of(request, "stream"))

    def ends(self, request: str) -> str:
        """The status of a cell, all of whose output has come."""
        status = self.reply(request)["content"]["status"]
        self.idle(request)
        return status

    def settle(self) -> None:
        """Pass over the replies to what was asked before: while the kernel started, or in a test that failed."""
        request = self.run("")
        while self.reply()["parent_header"]["msg_id"] != request:
            pass
        self.idle(request)

    def new_subshell(self) -> str | None:
        """The thread that JupyterLab asks for to handle its comms; None where the kernel knows no such thing."""
        self.client.control_channel.send(self.client.session.msg("kernel_info_request", {}))
        info = self.client.get_control_msg(timeout=TIMEOUT_S)["content"]
        if "kernel subshells" not in info.get("supported_features", []):
            return None
        self.client.control_channel.send(self.client.session.msg("create_subshell_request", {}))
        return self.client.get_control_msg(timeout=TIMEOUT_S)["content"]["subshell_id"]

    def begin(self, code: str) -> str:
        """Run a cell; it has printed `begins` when this returns."""
        request = self.run(code)
        self.publishes("stream", request)
        return request


@pytest.fixture(scope="module")
def started() -> Iterator[Client]:
    kernel, client = manager.start_new_kernel(startup_timeout=TIMEOUT_S)
    try:
        yield Client(kernel, client)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


@pytest.fixture
def page(started: Client) -> Client:
    started.settle()
    started.published.clear()
    assert started.ends(started.run(SETUP)) == "ok"
    return started


def test_clicks_arrive_while_the_cell_runs_and_all_else_waits_in_order(page: Client) -> None:
    train = page.begin(TRAIN)
    page.open()
    first = page.click("first")
    cells = [page.run("order.append('b')")]
    complete = page.send("complete_request", {"code": "impor", "cursor_pos": 5})
    cells.append(page.run("order.append('c')"))
    info, comms = page.send("kernel_info_request", {}), page.send("comm_info_request", {})
    assert page.reply(info)["content"]["status"] == "ok"
    assert page.reply(comms)["content"]["comms"]["comm"] == {"target_name": "buttons"}
    page.click("stop")
    assert page.ends(train) == "ok"
    assert page.reply(cells[0])["content"]["status"] == "ok"
    assert "import" in page.reply(complete)["content"]["matches"]
    assert page.ends(cells[1]) == "ok"

    # The handlers ran in the cell: what they print and send is the cell's, and so is what comes after them.
    assert page.text(train) == "begins\nheard first\nheard stop\nends\n"
    assert page.of(train, "display_data")[0]["data"]["text/plain"] == "'shown'"
    assert [content["data"] for content in page.of(train, "comm_msg")] == [{"echo": "first"}, {"echo": "stop"}]
    assert page.of(first, "status") == []
    last = page.run(DONE)
    assert page.ends(last) == "ok"
    assert page.text(last) == "['b', 'c'] ['first', 'stop']\n"


def test_the_kernel_is_busy_for_as_long_as_the_cell_runs(page: Client) -> None:
    train = page.begin(TRAIN)
    opened, changed, info = page.open(), page.click("a", method="update"), page.send("kernel_info_request", {})
    page.click("stop")
    assert page.reply(info)["content"]["status"] == "ok"
    assert page.ends(train) == "ok"
    states = [
        (message["parent_header"]["msg_id"], message["content"]["execution_state"])
        for message in page.published
        if message["msg_type"] == "status"
    ]
    states = states[states.index((train, "busy")) :]
    answered = [state for one in (opened, changed, info) for state in ((one, "busy"), (one, "idle"), (train, "busy"))]
    assert states == [(train, "busy"), *answered, (train, "idle")]


def test_a_failing_cell_takes_the_waiting_cells_with_it(page: Client) -> None:
    train = page.begin(TRAIN + "raise ValueError('diverged')")
    page.open()
    waiting = [page.run(f"order.append({k})") for k in range(3)]
    page.click("stop")
    assert page.ends(train) == "error"
    assert [page.ends(request) for request in waiting] == ["aborted"] * 3
    after = page.run(DONE)
    assert page.ends(after) == "ok"
    assert page.text(after) == "[] ['stop']\n"


def test_an_interrupted_cell_takes_the_waiting_cells_with_it(page: Client) -> None:
    train = page.begin(TRAIN)
    page.open()
    waiting = page.run("order.append(1)")
    page.click("seen")
    page.publishes("stream", train, text="heard seen\n")
    page.kernel.interrupt_kernel()
    assert page.reply(train)["content"]["ename"] == "KeyboardInterrupt"
    assert page.ends(waiting) == "aborted"
    after = page.run("ShellPoll().poll(); order.append(2)\n" + DONE)
    assert page.ends(after) == "ok"
    assert page.text(after) == "[2] ['seen']\n"


def test_an_interrupt_between_reading_and_handling_loses_nothing(page: Client) -> None:
    train = page.begin("""
class Interrupted(ShellPoll):
    read = 0
    def _is_for_now(self, frames):
        self.read += 1
        signal.raise_signal(signal.SIGINT)
        return super()._is_for_now(frames)

poll, interrupted = Interrupted(), False
print("begins")
until = time.monotonic() + 60
while poll.read < 4 and time.monotonic() < until:
    try:
        poll.poll()
    except KeyboardInterrupt:
        interrupted = True
print(poll.read, interrupted, got)
""")
    page.open("unheard of")
    cells = [page.run("order.append(1)"), page.run("order.append(2)")]
    page.click("of nobody", comm="unknown")
    assert page.ends(train) == "ok"
    assert page.text(train) == "begins\n4 True []\n"
    assert [page.ends(request) for request in cells] == ["ok", "ok"]
    page.click("stop", comm="unheard of")  # its opening was what the interrupt came between
    assert page.ends(page.run(TRAIN)) == "ok"
    last = page.run(DONE)
    assert page.ends(last) == "ok"
    assert page.text(last) == "[1, 2] ['stop']\n"


def test_many_messages_arrive_once_each(page: Client) -> None:
    train = page.begin(TRAIN)
    page.open()
    cells = []
    for k in range(60):
        page.click(k)
        if k % 10 == 0:
            cells.append(page.run(f"order.append({k})"))
    page.click("stop")
    assert page.ends(train) == "ok"
    assert [page.ends(request) for request in cells] == ["ok"] * 6
    last = page.run("print(order, got == [*range(60), 'stop'])")
    assert page.ends(last) == "ok"
    assert page.text(last) == "[0, 10, 20, 30, 40, 50] True\n"


def test_a_handler_that_fails_harms_nobody(page: Client) -> None:
    train = page.begin(TRAIN)
    page.open()
    for content in ("fail", "next", "stop"):
        page.click(content)
    assert page.ends(train) == "ok"
    last = page.run(DONE)
    assert page.ends(last) == "ok"
    assert page.text(last) == "[] ['fail', 'next', 'stop']\n"


def test_what_a_waiting_cell_will_know_waits_for_it(page: Client) -> None:
    train = page.begin(TRAIN)
    page.open()
    cell = page.run("get_ipython().kernel.comm_manager.register_target('late', opened)")
    page.open("new", target="late")
    page.click("late", comm="new")
    page.click("stop")
    assert page.ends(train) == "ok"
    assert page.ends(cell) == "ok"
    last = page.run(DONE)
    assert page.ends(last) == "ok"
    assert page.text(last) == "[] ['stop', 'late']\n"


def test_clicks_that_take_the_way_of_a_subshell_are_heard_once(page: Client) -> None:
    subshell = page.new_subshell()
    train = page.begin(TRAIN)
    page.open()
    for content in ("first", "second", "stop"):
        data = {"method": "custom", "content": content}
        page.send("comm_msg", {"comm_id": "comm", "data": data}, subshell)
        page.publishes("comm_msg", data={"echo": content})
    assert page.ends(train) == "ok"
    last = page.run(DONE)
    assert page.ends(last) == "ok"
    assert page.text(last) == "[] ['first', 'second', 'stop']\n"


def test_training_in_another_thread_leaves_the_kernel_alone(page: Client) -> None:
    cell = page.run("""
import threading
counts = []
thread = threading.Thread(target=lambda: counts.append(ShellPoll().poll()))
thread.start(); thread.join(); print(counts)
""")
    assert page.ends(cell) == "ok"
    assert page.text(cell) == "[0]\n"


def test_a_kernel_of_another_make_is_left_alone(page: Client) -> None:
    cell = page.run("""
import fastlearn.live.shell as shell
kernel, stream = shell._kernel_and_stream()
known = shell._main_stream
shell._main_stream = lambda kernel: object()
poll = ShellPoll()
print(poll.why_not, poll.poll()); poll.release()
shell._main_stream = known
poll = ShellPoll()
handlers = kernel.shell_handlers
print(poll.why_not)
""")
    assert page.ends(cell) == "ok"
    assert page.text(cell) == f"{NO_CLICKS} 0\nNone\n"


def test_internals_that_fail_end_the_polling_and_lose_nothing(page: Client) -> None:
    train = page.begin("""
poll = ShellPoll()
def broken(): raise AttributeError("moved")
poll._handle = broken
print("begins")
until = time.monotonic() + 60
while poll.why_not is None and time.monotonic() < until:
    poll.poll()
print(poll.why_not, poll.poll())
""")
    page.open("unheard of too")
    assert page.ends(train) == "ok"
    assert page.text(train).endswith(f"{NO_CLICKS} 0\n")
    page.click("heard after all", comm="unheard of too")
    page.ends(page.run("pass"))
    last = page.run(DONE)
    assert page.ends(last) == "ok"
    assert page.text(last) == "[] ['heard after all']\n"


class Lookalike:
    session = comm_manager = shell_handlers = log = object()


@pytest.mark.parametrize("ipython", [None, SimpleNamespace(), SimpleNamespace(kernel=Lookalike())])
def test_without_a_known_kernel_nothing_happens(ipython: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: ipython))
    poll = ShellPoll()
    assert poll.why_not == NO_CLICKS
    assert poll.poll() == 0
    poll.release()


def test_without_ipython_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert ShellPoll().why_not == NO_CLICKS


def test_a_handler_that_must_wait_is_finished_by_the_loop() -> None:
    steps = []

    async def handler() -> None:
        steps.append("begun")
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, steps.append, "waited")
        steps.append("ended")

    async def cell() -> None:
        shell._run(handler())
        assert steps == ["begun"]
        while "ended" not in steps:
            await asyncio.sleep(0.001)

    asyncio.run(cell())
    assert steps == ["begun", "waited", "ended"]


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    assert threading.current_thread() is threading.main_thread()
    before, reached = signal.getsignal(signal.SIGINT), False
    with pytest.raises(KeyboardInterrupt), shell.interrupt_waits():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is before


def test_elsewhere_than_in_the_main_thread_no_interrupt_is_held_back() -> None:
    entered: list[bool] = []

    def enter() -> None:
        with shell.interrupt_waits():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]
