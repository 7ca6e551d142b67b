"""Tensors as bytes, and headers that lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastlearn.errors import CheckpointError, DamagedFileError
from fastlearn.runtime import tensor_bytes
from fastlearn.runtime.tensor_bytes import MOST_NAME, load_tensors, save_tensors

fuzz = settings(max_examples=300, derandomize=True, deadline=None, database=None)
DTYPES = list(tensor_bytes._DTYPES.values())
SOME = {
    "w": torch.arange(12.0).reshape(3, 4),
    "steps": torch.tensor(7),
    "none": torch.zeros(0, 5, dtype=torch.float16),
    "flags": torch.tensor([True, False, True]),
    "bytes": torch.arange(5, dtype=torch.uint8),
}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].equal(b[n]) for n in a
    )


def made(entries: Any, n_bytes: int = 8, **changes: Any) -> bytes:
    """safetensors bytes put together by hand: a header of any kind, and zeros."""
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return changes.get("length", len(header)).to_bytes(8, "little") + header + bytes(n_bytes)


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def test_tensors_come_back_and_safetensors_agrees(tmp_path: Path) -> None:
    data = save_tensors(SOME, {"a": "1", "ü": '{"x": "\\n"}', "": ""})
    tensors, metadata = load_tensors(data, "w")
    assert same(tensors, SOME) and metadata == {"a": "1", "ü": '{"x": "\\n"}', "": ""}
    assert same(safetensors.torch.load(data), SOME)
    (tmp_path / "w").write_bytes(data)
    with safetensors.safe_open(tmp_path / "w", "pt") as file:
        assert file.metadata() == metadata
    theirs = safetensors.torch.save(SOME, {"format": "pt"})
    assert same(load_tensors(theirs, "w")[0], SOME) and load_tensors(theirs, "w")[1] == {"format": "pt"}
    assert save_tensors(SOME, {"format": "pt"}) == theirs and save_tensors(SOME) == safetensors.torch.save(SOME)
    assert load_tensors(save_tensors({}), "w") == ({}, {})


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type(dtype: torch.dtype) -> None:
    tensor = torch.tensor([0, 1, 1, 0], dtype=torch.uint8).repeat(dtype.itemsize).view(dtype).reshape(2, 2)
    tensors = load_tensors(save_tensors({"a": tensor}), "w")[0]
    assert tensors["a"].dtype == dtype and tensors["a"].view(torch.uint8).equal(tensor.view(torch.uint8))


def test_the_same_content_gives_the_same_bytes() -> None:
    metadata = {f"{i}": f"{i}" for i in range(20)}
    backwards = dict(reversed(metadata.items())), dict(reversed(SOME.items()))
    data = save_tensors(SOME, metadata)
    assert data == save_tensors(*reversed(backwards))  # type: ignore[arg-type]
    assert (8 + int.from_bytes(data[:8], "little")) % 8 == 0
    assert same(safetensors.torch.load(data), SOME)


def test_tensors_that_lie_in_other_ways() -> None:
    base = torch.arange(24.0).reshape(2, 3, 4, 1)
    conj = torch.tensor([1 + 2j]).conj()
    views = {
        "whole": base,
        "tied": base,
        "part": base[1],
        "turned": base.transpose(1, 2),
        "last": base.to(memory_format=torch.channels_last),
        "wide": torch.ones(1).expand(5),
        "conj": conj,
        "imag": conj.imag,
        "learned": torch.nn.Parameter(base),
    }
    expected = {name: tensor.detach().clone() for name, tensor in views.items()}
    assert same(safetensors.torch.load(save_tensors(views)), expected)


@pytest.mark.parametrize(
    ("tensors", "metadata", "why"),
    [
        ({"a": torch.zeros(2).to_sparse()}, {}, "'a' is torch.sparse_coo of torch.float32"),
        ({"a": torch.zeros(2, dtype=torch.complex128)}, {}, "'a' is torch.strided of torch.complex128"),
        ({"a": torch.zeros(2, device="meta")}, {}, "'a' has no values"),
        ({"__metadata__": torch.zeros(2)}, {}, "under the name '__metadata__'"),
        ({"x" * (MOST_NAME + 1): torch.zeros(2)}, {}, "under the name 'xxx"),
        ({"\ud800": torch.zeros(2)}, {}, "have no form in safetensors"),
        ({}, {"a": 1}, "The metadata 'a' is no text"),
        ({}, {"a": "\ud800"}, "have no form in safetensors"),
        ({}, {"a": "\ud800", "b": ""}, "have no form in safetensors"),
    ],
)
def test_what_cannot_be_saved(tensors: dict[str, Tensor], metadata: Any, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        save_tensors(tensors, metadata)


def test_no_more_is_saved_than_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_bytes, "MOST_TENSORS", 2)
    data = safetensors.torch.save({name: torch.zeros(1) for name in "abc"})
    with pytest.raises(CheckpointError, match="3 tensors with .* are more than the 2 and"):
        save_tensors({name: torch.zeros(1) for name in "abc"})
    with pytest.raises(DamagedFileError, match="it lists 3 tensors, and at most 2 are read"):
        load_tensors(data, "w")


FAULTS = [
    (b"", "it ends after 0 bytes"),
    (b"\0" * 8, "it ends after 8 bytes"),
    (made({}, length=10**9), "its header should have 1,000,000,000 bytes, and at most 10 can be read"),
    (made({}, length=2**64 - 1), "its header should have 18,446,744,073,709,551,615 bytes"),
    (made(b"[" * 100_000), "The header of w is damaged: it is nested 100,000 levels deep"),
    (made(b"{" + b'"a":{' * 100_000), "The header of w is damaged: it is nested"),
    (made({"a": {"b": {"c": {}}}}), "in its header, 'a': Object (contains unknown|missing)"),
    (made({"a": 1}), "The header of w is damaged: Expected `object`, got `int`"),
    (made([]), "The header of w is damaged: Expected `object`, got `array`"),
    (made(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}'), "the name 'a' comes twice"),
    (made({"a": entry(), "__metadata__": {"x": 1}}), "'__metadata__': Expected `str`, got `int`"),
    (made({"x" * (MOST_NAME + 1): entry()}), "a name of 1,025 characters"),
    (made({"a": entry("F33")}), "'a' is of the unknown type 'F33'"),
    (made({"a": entry(shape=[10**12])}), r"'a' has 8 bytes, which are not F32 of \(1000000000000,\)"),
    (made({"a": entry(shape=[2**32, 2**32])}), "'a' has 8 bytes"),
    (made({"a": entry(shape=[2**62, 4], offsets=[0, 0])}, 0), "'a' has 0 bytes"),
    (made({"a": entry(shape=[0, 2**62, 2**62], offsets=[0, 0])}, 0), "'a' has 0 bytes"),
    (made({"a": entry(shape=[2**64])}), r"<= 9223372036854775807 - at `\$\.shape\[0\]`"),
    (made({"a": entry(shape=[-2])}), r">= 0 - at `\$\.shape\[0\]`"),
    (made({"a": entry(shape=[-1, -2])}), ">= 0"),
    (made({"a": entry(shape=[2.0])}), "Expected `int`, got `float`"),
    (made({"a": entry(shape=[1] * 65)}), "length <= 64"),
    (made({"a": entry(offsets=[8, 0])}), "'a' has -8 bytes"),
    (made({"a": entry(offsets=[0, 8, 8])}), "Expected `array` of length 2"),
    (made({"a": entry(offsets=[0, 16], shape=[4])}), "its tensors take 16 bytes, and 8 are there"),
    (made({"a": entry()}, 9), "its tensors take 8 bytes, and 9 are there"),
    (made({"a": entry(), "b": entry()}), "'b' begins at byte 0 of the data, and the one before it ends at 8"),
    (made({"a": entry(), "b": entry(offsets=[9, 17])}, 17), "'b' begins at byte 9"),
    (made({"a": entry(offsets=[1, 9])}, 9), "'a' begins at byte 1 of the data, and the one before it ends at 0"),
    (made({"a": entry(extra=1)}), "unknown field `extra`"),
    (made({"a": entry("BOOL", (8,))})[:-1] + b"\2", "the flags in 'a' are neither 0 nor 1"),
]


@pytest.mark.parametrize(("data", "why"), FAULTS, ids=[why[:40] for _, why in FAULTS])
def test_a_header_that_lies(peak: Callable[[], int], data: bytes, why: str) -> None:
    with pytest.raises(DamagedFileError, match=f"(w is damaged: .*)?{why}.*Copy it again"):
        load_tensors(data, "w")
    assert peak() < 5_000_000


def test_a_long_header_of_nothing_takes_memory_in_proportion(peak: Callable[[], int]) -> None:
    data = made(b"{" + b",".join(b'"%d":{"a":0}' % i for i in range(110_000)) + b"}")
    with pytest.raises(DamagedFileError, match="it lists 110,000 tensors, and at most 100,000 are read"):
        load_tensors(data, "w")
    assert peak() < 40 * len(data)


@fuzz
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_damaged(noise: bytes, with_length: bool) -> None:
    try:
        tensors, metadata = load_tensors(made(noise, 0) if with_length else noise, "w")
    except DamagedFileError:
        return
    assert tensors == metadata == {} and json.loads(noise if with_length else noise[8:]) in ({}, {"__metadata__": {}})


WHOLE = save_tensors(SOME, {"fastlearn": '{"format": 1}', "b": "x"})
START = 8 + int.from_bytes(WHOLE[:8], "little")


@fuzz
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_a_flipped_bit(at: int, bit: int) -> None:
    """One in the header is an error, or another header for all the same bytes; one in a value is another value."""
    data = bytearray(WHOLE)
    data[at] ^= 1 << bit
    try:
        tensors, metadata = load_tensors(bytes(data), "w")
    except DamagedFileError:
        return
    assert sum(tensor.nbytes for tensor in tensors.values()) == len(WHOLE) - START
    assert len(tensors) == len(SOME) or b"__metadata__" not in data[:START]
    assert (
        same(tensors, safetensors.torch.load(bytes(data)))
        or torch.tensor([t.isnan().any() for t in tensors.values()]).any()
    )
    if at >= START:
        assert tensors.keys() == SOME.keys() and metadata == {"fastlearn": '{"format": 1}', "b": "x"}


@fuzz
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3))
def test_a_file_cut_short_or_with_something_behind_it(length: int, more: bytes) -> None:
    for data in (WHOLE[:length], WHOLE + more + b"\0"):
        with pytest.raises(DamagedFileError):
            load_tensors(data, "w")


@settings(fuzz, max_examples=100)
@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=4)),
        max_size=6,
    ),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4),
)
def test_any_tensors_come_back(shapes: dict[str, tuple[torch.dtype, list[int]]], metadata: dict[str, str]) -> None:
    tensors = {name: torch.zeros(shape, dtype=dtype) for name, (dtype, shape) in shapes.items()}
    found, texts = load_tensors(save_tensors(tensors, metadata), "w")
    assert texts == metadata
    assert {n: (t.dtype, t.shape) for n, t in found.items()} == {n: (t.dtype, t.shape) for n, t in tensors.items()}
