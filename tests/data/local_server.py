"""A server on this machine that breaks off, lies and changes its mind, and what it serves."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Serves `files`; `breaks` holds the number of bytes after which each of the next answers breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.codes: list[int] = []
        self.ranges: list[str | None] = []
        self.etags = True

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        content = self.server.files.get(self.path[1:])
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        code = self.server.codes.pop(0) if self.server.codes else 200 if content is not None else 404
        if code != 200:
            self.send_error(code)
            return
        etag = '"' + hashlib.md5(content).hexdigest() + '"'
        start = 0
        if wanted and self.headers.get("If-Range") == etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.server.etags:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = self.server.breaks.pop(0) if self.server.breaks else None
        self.wfile.write(content[start:] if stop is None else content[start : start + stop])


def tgz(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


PETS = tgz(pets__cat__1=b"miau", pets__dog__1=b"wuff")


NOISE = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(8192))  # 256 KiB
