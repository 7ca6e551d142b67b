"""The short way says the same as ipywidgets' own, byte for byte where it matters."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("ipykernel")

import ipykernel.ipkernel
from ipykernel.comm.comm import BaseComm
from ipykernel.kernelbase import Kernel
from jupyter_client.session import Session

from fastlearn.live.line import DirectLine

KEY = b"a key of the kernel and its page"
CONTENT = {"kind": "points", "first": 3, "n": 2, "smooth_now": 0.25, "who": "Ä ☃ 'quoted' \"twice\"", "none": None}


class Socket:
    """Keeps what is sent, frame by frame."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []

    def send_multipart(self, frames: list[Any], copy: bool = True, track: bool = False) -> None:
        self.sent.append([bytes(frame) for frame in frames])


class FakeKernel:
    """What a comm needs of a kernel, with a true session."""

    def __init__(self) -> None:
        self.session, self.iopub_socket = Session(key=KEY, username="reader"), Socket()
        self.cell = self.session.msg("execute_request", {"code": "learn.fit(1)"})

    def get_parent(self) -> dict[str, Any]:
        return self.cell


@pytest.fixture
def comm(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Kernel, "initialized", lambda: True)
    comm = BaseComm(target_name="jupyter.widget", comm_id='c"1"', primary=False)
    comm.kernel = FakeKernel()  # type: ignore[assignment]
    return comm


def heard(frames: list[bytes]) -> tuple[list[bytes], dict[str, Any]]:
    """(topic, message) as a page's session reads them; it checks the signature."""
    page = Session(key=KEY)
    topic, parts = page.feed_identities(frames)
    return topic, page.deserialize(parts)


@pytest.mark.parametrize("buffers", [None, [b"\x00\x01", memoryview(b"\xff" * 8)]])
def test_the_page_gets_the_message_that_ipywidgets_would_send(comm: Any, buffers: Any):
    comm.send(data={"method": "custom", "content": CONTENT}, buffers=buffers)  # as ipywidgets does
    DirectLine(comm).send(CONTENT, buffers)
    (topic, usual), (same_topic, ours) = map(heard, comm.kernel.iopub_socket.sent)
    assert topic == same_topic
    assert ours["header"].keys() == usual["header"].keys()
    fresh = {"msg_id", "date"}
    for key in ours["header"].keys() - fresh:
        assert ours["header"][key] == usual["header"][key]
    assert all(type(ours["header"][key]) is type(usual["header"][key]) for key in fresh)
    assert ours["header"]["date"].utcoffset() == usual["header"]["date"].utcoffset()
    for part in ("msg_type", "parent_header", "metadata", "content"):
        assert ours[part] == usual[part]
    assert [bytes(one) for one in ours["buffers"]] == [bytes(one) for one in usual["buffers"]]


def test_each_message_has_a_number_of_its_own_and_a_signature_of_its_own(comm: Any):
    line = DirectLine(comm)
    for _ in range(3):
        line.send(CONTENT, None)
    assert len({heard(frames)[1]["header"]["msg_id"] for frames in comm.kernel.iopub_socket.sent}) == 3
    frames = comm.kernel.iopub_socket.sent[0]
    frames[-1] = frames[-1].replace(b"points", b"pointy")
    with pytest.raises(ValueError, match="Invalid Signature"):
        heard(frames)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_json_does_not_have_is_refused_before_anything_is_sent(comm: Any, number: float):
    with pytest.raises(ValueError, match="JSON compliant"):
        DirectLine(comm).send({"loss": number}, None)
    assert comm.kernel.iopub_socket.sent == []


def test_the_kernel_that_is_known_gets_a_line(comm: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ipykernel.ipkernel, "IPythonKernel", FakeKernel)
    line = DirectLine.to(comm)
    assert line is not None
    line.send(CONTENT, None)
    assert heard(comm.kernel.iopub_socket.sent[0])[1]["content"]["data"] == {"method": "custom", "content": CONTENT}


@pytest.mark.parametrize("kind", ["none", "unknown", "derived", "built otherwise"])
def test_any_other_kernel_gets_none(comm: Any, monkeypatch: pytest.MonkeyPatch, kind: str):
    if kind == "none":
        comm.kernel = None
    elif kind == "derived":
        monkeypatch.setattr(ipykernel.ipkernel, "IPythonKernel", FakeKernel)
        comm.kernel = type("Derived", (FakeKernel,), {})()
    elif kind == "built otherwise":
        monkeypatch.setattr(ipykernel.ipkernel, "IPythonKernel", FakeKernel)
        comm.kernel.session = None
    assert DirectLine.to(comm) is None
