"""Modules that are imported when they are first used, so that a notebook's first cell does not pay for them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class LazyModule(ModuleType):
    """Stands for the module `name` and imports it when an attribute is read, set, deleted or listed.

    >>> pd = LazyModule("pandas")
    >>> pd.DataFrame({"a": [1, 2]})  # pandas is imported here
    """

    def __getattr__(self, attribute: str) -> Any:
        return getattr(_loaded(self), attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(_loaded(self), attribute, value)

    def __delattr__(self, attribute: str) -> None:
        delattr(_loaded(self), attribute)

    def __dir__(self) -> list[str]:
        return dir(_loaded(self))

    def __repr__(self) -> str:
        return f"<module {self.__name__!r}, imported on first use>"


def _loaded(lazy: LazyModule) -> ModuleType:
    return importlib.import_module(lazy.__name__)
