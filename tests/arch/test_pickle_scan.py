"""What pickles would import, read without importing it."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
import random
from typing import Any

import pytest
import torch

from fastlearn.arch.pickle_scan import MOST_DEEP, PickleFault, scan_pickle


class Runs:
    def __reduce__(self) -> Any:
        return print, ("ran",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_a_pickle_would_run(protocol: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_ = "__builtin__.print" if protocol < 3 else "builtins.print"
    assert scan_pickle(io.BytesIO(pickle.dumps({"a": [Runs(), Runs()]}, protocol))) == {print_}
    plain = {"a": [1, "x", (2.0, None)], "b": collections.OrderedDict(c=b"12"), "d": (1,)}
    assert scan_pickle(io.BytesIO(pickle.dumps(plain, protocol))) <= {"__builtin__.bytes"}
    assert capsys.readouterr().out == ""


def test_what_a_module_would_import() -> None:
    found = scan_pickle(io.BytesIO(pickle.dumps(random.Random(0))))
    assert found == {"random.Random"}
    assert scan_pickle(io.BytesIO(pickle.dumps(torch.zeros(1).dtype))) <= {"builtins.getattr"}


def test_pickles_follow_each_other() -> None:
    stream = io.BytesIO(pickle.dumps(1) + pickle.dumps(Runs()) + b"rest")
    assert [scan_pickle(stream), scan_pickle(stream), stream.read()] == [set(), {"builtins.print"}, b"rest"]


@pytest.mark.parametrize("deep", [MOST_DEEP - 5, MOST_DEEP + 1, 200_000])
def test_deep_nesting(deep: int) -> None:
    in_each_other = b"\x80\x02}" + b")" + b"\x85" * deep + b"K\x01s."
    by_memory = b"\x80\x02}" + b")q\x00" + b"0h\x00\x85q\x00" * deep + b"K\x01s."
    for data in (in_each_other, by_memory):
        if deep < MOST_DEEP:
            assert scan_pickle(io.BytesIO(data)) == set()
        else:
            with pytest.raises(PickleFault, match=f"nests more than {MOST_DEEP} levels deep"):
                scan_pickle(io.BytesIO(data))


def test_depth_is_not_length() -> None:
    value = {f"{i}": ((i, (i,)), [(i,)] * 3) for i in range(1500)}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert scan_pickle(io.BytesIO(pickle.dumps(value, protocol))) == set()


def test_damaged_pickles_are_faults() -> None:
    whole = pickle.dumps({"a": [Runs(), (1, 2)], "b": collections.OrderedDict(c=b"12")}, 2)
    rng = random.Random(0)
    for data in [whole[:n] for n in range(len(whole))] + [rng.randbytes(30) for _ in range(2000)]:
        with_faults(data)
    for _ in range(2000):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        with_faults(bytes(flipped))


def with_faults(data: bytes) -> None:
    try:
        scan_pickle(io.BytesIO(data))
    except PickleFault:
        return
    assert list(pickletools.genops(data))[-1][0].name == "STOP"
