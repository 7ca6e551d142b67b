"""How much memory is left for what is about to be read."""

from __future__ import annotations

import os
from pathlib import Path


def free_memory() -> int:
    """How many bytes of memory this process may still take; half of all where the system tells that alone."""
    free = _lines_of("/proc/meminfo").get("MemAvailable:")
    if free is not None:
        return max(0, min([free * 1024, *_left_by_container()]))
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # Windows
        return 2 << 30  # which any machine has that trains on pictures


_CONTAINERS = (  # the limit, the account, and what in it cannot be given back, of control groups 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.stat", "anon"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.stat", "total_rss"),
)


def _left_by_container() -> list[int]:
    """What the limit of a container leaves, which its kernel's account of the whole machine does not show."""
    left = []
    for limit_file, account, name in _CONTAINERS:
        try:
            limit = Path(limit_file).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():  # else "max"
            left.append(int(limit) - _lines_of(account).get(name, 0))
    return left


def _lines_of(path: str) -> dict[str, int]:
    """A file of the kernel with a name and a number in each line."""
    try:
        lines = [line.split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}
