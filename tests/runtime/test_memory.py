"""How much memory is said to be free: on this machine, in a container, and where nobody tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastlearn.runtime import memory


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="no account of the memory")
def test_free_memory_is_less_than_all(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_it = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.free_memory() < all_of_it
    monkeypatch.setattr(memory, "_lines_of", lambda path: {})
    assert memory.free_memory() == all_of_it // 2
    monkeypatch.delattr(os, "sysconf")
    assert memory.free_memory() == 2 << 30


@pytest.mark.parametrize(("limit", "left"), [("5000000\n", [3_000_000]), ("max\n", []), (None, [])])
def test_the_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, left: list[int]
) -> None:
    if limit is not None:
        (tmp_path / "max").write_text(limit)
    (tmp_path / "stat").write_text("anon 2000000\nfile 7\n")
    monkeypatch.setattr(memory, "_CONTAINERS", ((str(tmp_path / "max"), str(tmp_path / "stat"), "anon"),))
    assert memory._left_by_container() == left
    if left and os.path.exists("/proc/meminfo"):
        assert memory.free_memory() == left[0]
