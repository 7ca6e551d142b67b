"""What a pickle would do, read from its instructions without following one of them."""

from __future__ import annotations

import pickletools
import struct
import warnings
from typing import BinaryIO

MOST_DEEP = 1000  # Python's hash of a tuple in a tuple in a tuple … has no limit but the end of the process
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_HARMLESS = ("torch.", "collections.", "_codecs.")


class PickleFault(Exception):
    """Instructions that are cut short, senseless, or nest too deeply."""


def scan_pickle(stream: BinaryIO) -> set[str]:
    """The dotted names that one pickle would import, up to its end, but for those of tensors and their containers.

    Raises PickleFault; the stream then stands somewhere inside the pickle, and else behind it.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of escapes in damaged text
            names = _imports(stream)
    except (ValueError, struct.error, LookupError, OverflowError, AttributeError) as error:
        raise PickleFault(str(error)) from error
    return {name for name in names if not name.startswith(_HARMLESS)}


def _imports(stream: BinaryIO) -> set[str]:
    names: set[str] = set()
    depths, texts = _Depths(), ["", ""]
    for op, arg, _ in pickletools.genops(stream):
        if op.name in ("GLOBAL", "INST"):
            names.add(str(arg).replace(" ", "."))
        elif op.name == "STACK_GLOBAL":
            names.add(".".join(texts))
        elif isinstance(arg, str):
            texts = [texts[-1], arg]
        depths.follow(op, arg)
    return names


class _Depths:
    """How deep each thing on the unpickler's stack is nested, counted too high rather than too low."""

    def __init__(self) -> None:
        self.stack: list[int | None] = []  # None is a mark
        self.memo: dict[object, int] = {}

    def follow(self, op: pickletools.OpcodeInfo, arg: object) -> None:
        """Do to the depths what an instruction does to the things."""
        if "PUT" in op.name or op.name == "MEMOIZE":
            self.memo[len(self.memo) if op.name == "MEMOIZE" else arg] = self.stack[-1] or 0
            return
        depth = self._popped(op) + (op.name in _TUPLES)
        if depth > MOST_DEEP:
            raise PickleFault(f"it nests more than {MOST_DEEP} levels deep")
        if op.name.endswith("GET"):
            depth = self.memo.get(arg, 0)
        for pushed in op.stack_after:
            self.stack.append(None if pushed is pickletools.markobject else depth)

    def _popped(self, op: pickletools.OpcodeInfo) -> int:
        """Take from the stack what the instruction takes; the greatest depth in it."""
        before, depth = list(op.stack_before), 0
        if pickletools.markobject in before:
            while (top := self.stack.pop()) is not None:
                depth = max(depth, top)
            before = before[: before.index(pickletools.markobject)]
        return max([depth, *(self.stack.pop() or 0 for _ in before)])
