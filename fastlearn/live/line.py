"""The short way from a widget to the page, for messages that are sent some times a second."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

_encode = json.JSONEncoder(allow_nan=False).encode


class DirectLine:
    """Sends the custom messages of one widget through the kernel's own session and socket.

    ipywidgets and the kernel copy, clean and pack every message anew, with the cell that it belongs to, and that takes
    as long as all else that a live view does. Here what stays the same is packed once; the page gets the same messages.
    """

    def __init__(self, comm: Any) -> None:
        from jupyter_client.session import DELIM, extract_header

        kernel, session = comm.kernel, comm.kernel.session
        self._sign, self._send = session.sign, kernel.iopub_socket.send_multipart
        self._ahead = [comm.topic, DELIM]
        fixed = {key: value for key, value in session.msg_header("comm_msg").items() if key not in ("msg_id", "date")}
        self._header = _encode(fixed)[:-1]  # its closing brace comes after the rest
        self._id, self._sent = _encode(f"{session.session}_{comm.comm_id}")[:-1], 0  # its number and quote come after
        self._parent = session.pack(extract_header(kernel.get_parent()))
        self._metadata = session.pack({})
        self._begin = f'{{"comm_id": {_encode(comm.comm_id)}, "data": {{"method": "custom", "content": '

    @classmethod
    def to(cls, comm: Any) -> DirectLine | None:
        """The line of a widget's comm; None where the kernel is not one that we know."""
        ipykernel, kernel = sys.modules.get("ipykernel.ipkernel"), getattr(comm, "kernel", None)
        if ipykernel is None or type(kernel) is not ipykernel.IPythonKernel:
            return None
        try:
            return cls(comm)
        except Exception:  # built otherwise; ipywidgets knows the long way
            return None

    def send(self, content: Any, buffers: list[bytes] | None) -> None:
        """What ipywidgets' `send` does; `content` is plain JSON."""
        self._sent += 1
        header = f'{self._header}, "msg_id": {self._id}_{self._sent}", "date": "{datetime.now(UTC).isoformat()}"}}'
        content = f"{self._begin}{_encode(content)}}}}}"
        parts = [header.encode(), self._parent, self._metadata, content.encode()]
        signature = self._sign([b"".join(parts)])  # that of the parts one after the other
        self._send([*self._ahead, signature, *parts, *(buffers or ())])
