"""Pictures on disk, good and bad, and the one finding of a kind."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fastlearn.data.report import Finding, Report

RNG = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int] = (12, 16), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path, **options)  # type: ignore[arg-type]
    return path


def bomb(path: Path) -> Path:
    """A PNG of a few bytes whose header promises 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b""))
    return path


def cut(path: Path, part: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    return path


def the(report: Report, kind: str) -> Finding:
    found = [finding for finding in report.findings if finding.kind == kind]
    assert len(found) == 1, str(report)
    return found[0]
