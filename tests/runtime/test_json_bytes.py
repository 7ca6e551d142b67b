"""JSON that is checked against a type, whatever stands in it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlearn.errors import CheckpointError, DamagedFileError
from fastlearn.runtime import json_bytes
from fastlearn.runtime.json_bytes import MOST_BYTES, MOST_DEEP, MOST_VALUES, read_json, write_json

fuzz = settings(max_examples=200, derandomize=True, deadline=None, database=None)


class File(msgspec.Struct):
    size: int
    sha256: str = ""


class Card(msgspec.Struct, forbid_unknown_fields=True):
    files: dict[str, File]
    rate: float = 0.1
    rest: dict[str, Any] = {}


class Left(msgspec.Struct, tag="left", rename="camel"):
    n_files: int


class Right(msgspec.Struct, tag="right"):
    n: int


CARD = Card({"a.bin": File(3, "ab"), "ä/ü": File(0)}, 1e-3, {"deep": [{"x": [None, True, "\"\\[{'"]}], "n": 10**15})


def test_what_is_written_is_read_back_and_is_json_for_others() -> None:
    data = write_json(CARD)
    assert read_json(data, Card, "card") == CARD
    assert json.loads(data) == msgspec.to_builtins(CARD)
    assert data.decode() == json.dumps(msgspec.to_builtins(CARD), indent=2, ensure_ascii=False) + "\n"
    assert write_json(read_json(data, Card, "card")) == data
    sides = [Left(1), Right(2)]
    assert write_json(sides) == write_json(msgspec.to_builtins(sides))
    assert read_json(write_json(sides), list[Left | Right], "card") == sides
    assert list(read_json(write_json({"b": 1, "a": 2}), dict[str, int], "card")) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "truncated"),
        ('{"files": {}', "truncated"),
        ("{'files': {}}", "malformed"),
        ('{"files": {}} {}', r"trailing characters \(byte 15\)"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "missing required field `files`"),
        ('{"files": {}, "more": 1}', "unknown field `more`"),
        ('{"files": {"a": {"size": "3"}}}', r"Expected `int`, got `str` - at `\$\.files\[\.\.\.\]\.size`"),
        ('{"files": {"a": {"size": 3.0}}}', r"Expected `int`, got `float` - at `\$\.files\[\.\.\.\]\.size`"),
        ('{"files": {"a": {"size": true}}}', "Expected `int`, got `bool`"),
        ('{"files": {}, "rate": NaN}', r"invalid character \(byte 22\)"),
        ('{"files": {}, "rest": {"a": NaN}}', "invalid character"),
        ('{"files": {}, "rest": {"a": [-Infinity]}}', "invalid character"),
        ('{"files": {}, "rest": {"a": 1e999}}', r"out of range - at `\$\.rest\[\.\.\.\]`"),
        ('{"files": {}, "rest": {"a": 1' + 5000 * "0" + "}}", "out of range"),
        ('{"files": {}, "files": {}}', "the name 'files' comes twice"),
        ('{"files": {}, "rest": {"a": [{"b": 1, "c": 2, "b": 1}]}}', "the name 'b' comes twice"),
        (r'{"files": {}, "rest": {"a": 1, "\u0061": 1}}', "the name 'a' comes twice"),
        (r'{"files": {}, "rest": {"a": "\ud800"}}', "truncated"),
        ("\ufeff{}", "malformed"),
    ],
)
def test_what_is_no_card(text: str, why: str) -> None:
    with pytest.raises(DamagedFileError, match=rf"^pets/card\.json is damaged: .*{why}.*\. Copy it again"):
        read_json(text.encode(), Card, "pets/card.json")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(DamagedFileError, match="card is damaged"):
        read_json(b'{"files": {"\xff": {"size": 1}}}', Card, "card")
    with pytest.raises(DamagedFileError, match="card is damaged"):
        read_json(json.dumps({"files": {}}).encode("utf-16"), Card, "card")


def test_an_error_quotes_no_more_than_one_reads_and_nothing_that_steers_a_terminal() -> None:
    with pytest.raises(DamagedFileError) as caught:
        read_json(json.dumps({"files": {}, "\33[2J" + 100_000 * "x": 1}).encode(), Card, "card")
    assert len(str(caught.value)) < 450 and "\33" not in str(caught.value) and r"\x1b[2J" in str(caught.value)


@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting(brackets: str, closed: bool) -> None:
    text = 100_000 * brackets[:-1] + "1" + closed * 100_000 * brackets[-1]
    for kind in (object, dict[str, Any], Card):
        with pytest.raises(DamagedFileError, match=f"100,000 levels deep, and at most {MOST_DEEP} are read"):
            read_json(text.encode(), kind, "card")
    for deep, fits in ((MOST_DEEP, True), (MOST_DEEP + 1, False)):
        text = deep * brackets[:-1] + "1" + deep * brackets[-1]
        if fits:
            assert read_json(text.encode(), object, "card") == json.loads(text)
        else:
            with pytest.raises(DamagedFileError, match="levels deep"):
                read_json(text.encode(), object, "card")


def test_brackets_in_a_text_are_no_nesting() -> None:
    for text in (1000 * "[", 999 * '"' + 1000 * "[", 999 * "\\" + 1000 * "{", '\\"[' * 500, "\\\\[" * 500):
        assert read_json(json.dumps({text: [text, {}]}).encode(), dict[str, Any], "card") == {text: [text, {}]}


@pytest.mark.parametrize("text", ["[" + '{"":0},' * 4_000_000 + "0]", "[" + "0," * 10_000_000 + "0]", "[" * 20_000_000])
def test_a_small_document_of_many_objects(peak: Callable[[], int], text: str) -> None:
    data = text.encode()
    with pytest.raises(DamagedFileError, match=f"at most ({MOST_VALUES:,}|{MOST_DEEP}) are read"):
        read_json(data, object, "card")
    assert peak() < 12 * len(data)


def test_a_large_document() -> None:
    data = b" " * (MOST_BYTES + 1)
    with pytest.raises(DamagedFileError, match=f"has {MOST_BYTES + 1:,} bytes of JSON, and at most {MOST_BYTES:,}"):
        read_json(data, Card, "card")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": [1, math.nan]}, r"\$\.a\[1\] is nan \(float\)"),
        ({"a": {"b": math.inf}}, r"\$\.a\.b is inf"),
        (Card({}, math.nan), r"\$\.rate is nan"),
        (Card({}, rest={"a": {1, 2}}), r"\$\.rest\.a is \{1, 2\} \(set\)"),
        ({"a": b"12"}, r"\$\.a is b'12' \(bytes\)"),
        ({"a": ["\ud800"]}, r"\$\.a\[0\] is '\\ud800'"),
        ({1: 2, "1": 3}, "the name '1' comes twice"),
        ({(1, 2): 3}, "keys must be"),
        ({"a": 10**5000}, "."),
    ],
)
def test_what_cannot_be_written(value: Any, why: str) -> None:
    with pytest.raises(CheckpointError, match=f"^Cannot be written as JSON: .*{why}"):
        write_json(value)


def test_what_could_not_be_read_back_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Any = 1
    for _ in range(MOST_DEEP + 1):
        deep = [deep]
    with pytest.raises(CheckpointError, match="nested more than 64 levels"):
        write_json(deep)
    monkeypatch.setattr(json_bytes, "MOST_VALUES", 10)
    with pytest.raises(CheckpointError, match="it has 11 values, and at most 10 are read"):
        write_json([0] * 11)
    round_: list[Any] = []
    round_.append(round_)
    with pytest.raises(CheckpointError, match="Cannot be written"):
        write_json(round_)


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    max_leaves=20,
)


@fuzz
@given(documents)
def test_any_document_comes_back_as_the_standard_library_reads_it(value: Any) -> None:
    data = write_json(value)
    assert repr(read_json(data, object, "card")) == repr(json.loads(data)) == repr(value)
    assert read_json(json.dumps(value).encode(), object, "card") == value


@fuzz
@given(st.binary() | st.text('{}[]",:\\ ab1e-.NaInfty', max_size=40).map(str.encode))
def test_random_bytes_are_read_as_the_standard_library_does_or_are_damaged(data: bytes) -> None:
    try:
        value = read_json(data, object, "card")
    except DamagedFileError:
        return
    assert repr(value) == repr(json.loads(data, object_pairs_hook=without_doubles))


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert max(Counter(name for name, _ in pairs).values(), default=1) == 1
    return dict(pairs)


@fuzz
@given(st.integers(0, 10**6), st.integers(0, 7), st.booleans())
def test_a_damaged_card_is_another_card_or_an_error(at: int, bit: int, cut: bool) -> None:
    data = bytearray(write_json(CARD))
    at %= len(data)
    if cut:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    try:
        card = read_json(bytes(data), Card, "card")
    except DamagedFileError:
        return
    assert isinstance(card, Card) and msgspec.to_builtins(card).keys() == {"files", "rate", "rest"}
    assert not cut or at == len(data) == len(write_json(CARD)) - 1  # only the last line's end may be missing
