"""JSON from a file that nobody vouches for: checked against a type, in bounded memory, with named errors."""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import msgspec
import numpy as np

from fastlearn.errors import CheckpointError, damaged

MOST_BYTES = 32 << 20
MOST_VALUES = 2_000_000  # `[{"":0},…` takes 30 times its size as Python objects
MOST_DEEP = 64

T = TypeVar("T")


def read_json(data: bytes, kind: type[T], what: str) -> T:
    """The value that `data` holds, as the type `kind`: a msgspec.Struct, or what one may have as a field.

    Nothing is converted: "1" is no number, 1.0 no int. Refused as well, in free-form parts (`dict[str, Any]`) too: NaN
    and infinity, a name that comes twice in one object, more than MOST_BYTES, MOST_VALUES or MOST_DEEP levels. Fields
    that `kind` does not know are left out, unless it says `forbid_unknown_fields`. Raises DamagedFileError, which
    begins with `what` and says where in the document the fault is (`$.files[…].size`).

    >>> read_json(b'{"a": 1}', dict[str, int], "model.json")
    {'a': 1}
    """
    try:
        return _decode(data, kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise damaged(what, error) from error


def _decode(data: bytes, kind: type[T]) -> T:
    _check_bounds(data)
    value = msgspec.json.decode(data, type=kind)
    json.loads(data.decode(), object_pairs_hook=_each_name_once)
    return value


def write_json(value: Any) -> bytes:
    """`value` (of Structs, dicts, lists, text and numbers) as JSON that people can read and `read_json` takes back.

    One value always gives the same bytes: dicts and fields keep their order, and sets, which have none, are refused.
    Raises CheckpointError with the place of what JSON has no form for, such as NaN.

    >>> write_json({"a": 1})
    b'{\\n  "a": 1\\n}\\n'
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)
        data = msgspec.json.format(text.encode(), indent=2) + b"\n"
        _decode(data, object)  # what nobody could read back is refused now
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"Cannot be written as JSON: {_place_of_fault(value) or error}") from error
    return data


def _plain(value: Any) -> dict[str, Any]:
    """A Struct as a dict, one level of it: msgspec's own function would make lists of sets, in any order."""
    if isinstance(value, msgspec.Struct):
        tag = {value.__struct_config__.tag_field: value.__struct_config__.tag}  # None where it has no tag
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        return {name: part for name, part in tag.items() if name} | {name: getattr(value, own) for name, own in names}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_MARKS = b'"[]{},'
_OTHERS = bytes(set(range(256)) - set(_MARKS))
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def _check_bounds(data: bytes) -> None:
    """Raises ValueError for what would make too many or too deep objects, before there is any."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has {len(data):,} bytes of JSON, and at most {MOST_BYTES:,} are read")
    without_escapes = data.replace(b"\\\\", b"").replace(b'\\"', b"")  # so that every quote begins or ends a string
    marks = np.frombuffer(without_escapes.translate(None, delete=_OTHERS), np.uint8)
    outside = marks[np.cumsum(marks == ord('"'), dtype=np.uint8) % 2 == 0]  # 256 is even: a sum that wraps is right
    steps = _STEPS[outside]
    n_values = int(np.count_nonzero(steps == 1) + np.count_nonzero(outside == ord(",")))
    if n_values > MOST_VALUES:
        raise ValueError(f"it has {n_values:,} values, and at most {MOST_VALUES:,} are read")
    deepest = int(np.cumsum(steps, dtype=np.int32).max(initial=0))
    if deepest > MOST_DEEP:
        raise ValueError(f"it is nested {deepest:,} levels deep, and at most {MOST_DEEP} are read")


def _each_name_once(pairs: list[tuple[str, Any]]) -> None:
    """What `json` calls for each object; its result stands for the object, which is not needed."""
    if len(pairs) == len({name for name, _ in pairs}):
        return
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the name {name!r} comes twice in one object")
        seen.add(name)


def _place_of_fault(value: Any, place: str = "$", depth: int = 1) -> str:
    """`$.a[2] is nan (float).`, for the first part of `value` that JSON has no form for, or nothing."""
    if isinstance(value, msgspec.Struct):
        value = _plain(value)
    if isinstance(value, dict):
        parts = {f"{place}.{name}": part for name, part in value.items()}
    elif isinstance(value, (list, tuple)):
        parts = {f"{place}[{i}]": part for i, part in enumerate(value)}
    else:
        return "" if _is_plain(value) else f"{place} is {value!r:.100} ({type(value).__name__})."
    if depth > MOST_DEEP:
        return f"{place[:100]}… is nested more than {MOST_DEEP} levels deep."
    return next((fault for where, part in parts.items() if (fault := _place_of_fault(part, where, depth + 1))), "")


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
