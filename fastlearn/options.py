"""Options as they are typed: an unknown name, or a value of a wrong sort, is answered at the call itself."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, ParamSpec, TypeVar

import numpy as np

from fastlearn.errors import ConfigError, near

P = ParamSpec("P")
R = TypeVar("R")


def named_options(f: Callable[P, R]) -> Callable[P, R]:
    """`f` with `ConfigError`, in place of Python's TypeError, for an option that it does not have.

    Signature, docstring and source stay those of `f`, for completion and for the type checker.
    """
    known = option_names(f)

    @functools.wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                raise ConfigError(unknown_option(name, _typed_name(f, args), known))
        return f(*args, **kwargs)

    return call


def option_names(f: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of `f` that may be given by name; `f` is a function, decorated by `named_options` or not."""
    code = getattr(f, "__wrapped__", f).__code__
    return code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]


_OWNERS = ("self", "cls")


def _typed_name(f: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What was typed to call `f`: a method may stand in a base class that nobody names."""
    owner = f.__code__.co_varnames[:1]  # type: ignore[attr-defined]
    if not args or owner not in (("self",), ("cls",)):
        return f.__qualname__
    of = args[0].__name__ if owner == ("cls",) else type(args[0]).__name__
    return of if f.__name__ == "__init__" else f"{of}.{f.__name__}"


def unknown_option(name: str, where: str, known: Iterable[str]) -> str:
    """The message about an option `name` that `where` does not have."""
    known = [one for one in known if one not in _OWNERS]
    return f"{where} has no option {name!r}.{near(name, known)} It takes {', '.join(known) or 'none'}."


def found(value: object) -> str:
    """A wrong value in one short line of a message: itself, or what it is."""
    text = repr(value)
    return text if len(text) <= 80 and text.isprintable() else f"a {type(value).__name__}"


def checked_path(path: Any, name: str) -> Any:
    """`path`, if it is one; ConfigError otherwise."""
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"{name} is a path such as 'pets' or Path('pets'), not {found(path)}.")
    return path


def checked_number(value: Any, name: str, usual: float) -> Any:
    """`value`, if it is a number; ConfigError otherwise."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise ConfigError(f"{name} is a number such as {usual:g}, not {found(value)}.")
    return value


def checked_count(value: Any, name: str) -> int | None:
    """`value`, if it is a whole number from 1, or None; ConfigError otherwise."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and (not whole or value < 1):
        raise ConfigError(f"{name} is a whole number from 1, not {found(value)}.")
    return None if value is None else int(value)


def checked_figsize(figsize: Any) -> tuple[float, float] | None:
    """`figsize`, if it is a width and a height, or None; ConfigError otherwise."""
    if figsize is None:
        return None
    sides = figsize if isinstance(figsize, (tuple, list, np.ndarray)) else ()
    if len(sides) != 2 or not all(isinstance(side, Real) and 0 < float(side) < np.inf for side in sides):
        side = f"{figsize:g}" if isinstance(figsize, Real) and not isinstance(figsize, bool) else "8"
        raise ConfigError(
            f"figsize is the width and the height in inches, not {found(figsize)}. Type figsize=({side}, {side})."
        )
    return float(sides[0]), float(sides[1])


def checked_flag(flag: Any, name: str) -> bool:
    """`flag` as a bool; ConfigError for what is neither true nor false."""
    if not isinstance(flag, (bool, int, np.bool_)):
        raise ConfigError(f"{name} is True or False, not {found(flag)}.")
    return bool(flag)


def checked_list(values: Any, name: str, what: str) -> list[Any]:
    """`values` in a list; ConfigError for a text, a number or another single thing."""
    loose = isinstance(values, (str, bytes, os.PathLike, type)) or not isinstance(values, Iterable)
    if loose or getattr(values, "ndim", 1) == 0:
        raise ConfigError(f"{name} is a list of {what}, not {found(values)}.")
    return list(values)


def checked_function(f: Any, name: str) -> Any:
    """`f`, if it can be called; ConfigError otherwise."""
    if not callable(f):
        raise ConfigError(f"{name} is a function, not {found(f)}.")
    return f
