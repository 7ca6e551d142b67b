"""Options as they are typed: an unknown name, or a value of a wrong sort, is answered at the call itself."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, ParamSpec, TypeVar

import numpy as np

from fastlearn.errors import CallError, ConfigError, near

P = ParamSpec("P")
R = TypeVar("R")


def named_options(f: Callable[P, R]) -> Callable[P, R]:
    """`f` with `ConfigError`, in place of Python's TypeError, for arguments that do not fit its signature.

    These are an option that it does not have, an argument that is missing or one too many (`CallError`), and anything
    but true or false for a parameter that is annotated as `bool`. Signature, docstring and source stay those of `f`,
    for completion and for the type checker.
    """
    known, flags = option_names(f), _flags(f)

    @functools.wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                raise ConfigError(unknown_option(name, _typed_name(f, args), known))
        for place, name in flags:
            if name in kwargs:
                checked_flag(kwargs[name], name)
            elif place < len(args):
                checked_flag(args[place], name)
        try:
            return f(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:  # of something inside `f`
                raise
        raise CallError(_misfit(f, args, kwargs))

    return call


def _flags(f: Callable[..., Any]) -> list[tuple[int, str]]:
    """The parameters of `f` that are annotated as `bool`, each with its place among the arguments."""
    code = f.__code__  # type: ignore[attr-defined]
    names = [name for name in option_names(f) if f.__annotations__.get(name) in ("bool", bool)]
    by_place = code.co_varnames[: code.co_argcount]
    return [(by_place.index(name) if name in by_place else sys.maxsize, name) for name in names]


def _misfit(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Which arguments `f` lacks, has twice, or has too many of."""
    anything = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [one for one in inspect.signature(f).parameters.values() if one.kind not in anything]
    by_place = [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY]
    filled = {*by_place[: len(args)], *kwargs}
    missing = [one.name for one in parameters if one.default is one.empty and one.name not in filled]
    names = [one.name for one in parameters if one.name != _owner(f)]
    where, takes = _typed_name(f, args), f"It takes {', '.join(names) or 'none'}."
    if missing:
        return f"{where} also needs {' and '.join(missing)}. {takes}{_other_ways(f, args)}"
    if twice := [name for name in kwargs if name in by_place[: len(args)]]:
        return f"{where} was given {twice[0]} twice, by its place and by its name. {takes}"
    owned = 1 if _owner(f) else 0
    return f"{where} takes {len(by_place) - owned} arguments without a name, found {len(args) - owned}. {takes}"


def _other_ways(f: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """The class methods that make such an object from something else, where `f` is its `__init__`."""
    cls = type(args[0]) if f.__name__ == "__init__" and args else None
    ways = [name for name in dir(cls) if name.startswith("from_")] if cls else []
    return f" Or make one by {cls.__name__}.{', '.join(ways)}." if cls and ways else ""


def option_names(f: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of `f` that may be given by name; `f` is a function, decorated by `named_options` or not."""
    f = getattr(f, "__wrapped__", f)
    code = f.__code__
    return tuple(
        name
        for name in code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
        if name != _owner(f)
    )


def _owner(f: Callable[..., Any]) -> str:
    """`self` or `cls` of a method, which nobody types; empty for a function."""
    scope, first = f.__qualname__.rpartition(".")[0], f.__code__.co_varnames[:1]  # type: ignore[attr-defined]
    method = scope and not scope.endswith("<locals>") and first in (("self",), ("cls",))
    return first[0] if method else ""


def _typed_name(f: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What was typed to call `f`: a method may stand in a base class that nobody names."""
    owner = _owner(f)
    if not args or not owner:
        return f.__qualname__
    of = args[0].__name__ if owner == "cls" else type(args[0]).__name__
    return of if f.__name__ == "__init__" else f"{of}.{f.__name__}"


def unknown_option(name: str, where: str, known: Iterable[str]) -> str:
    """The message about an option `name` that `where` does not have."""
    known = list(known)
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


def checked_whole(value: Any, name: str, usual: str = "-1 or 1") -> int:
    """`value` as an int, if it is a whole number; ConfigError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ConfigError(f"{name} is a whole number such as {usual}, not {found(value)}.")
    return int(value)


def checked_pair(pair: Any, name: str, what: str, usual: tuple[float, float]) -> tuple[float, float]:
    """`pair`, if it is two numbers; ConfigError otherwise."""
    ends = list(pair) if isinstance(pair, (tuple, list, np.ndarray)) else []
    if len(ends) != 2 or not all(isinstance(end, Real) and not isinstance(end, (bool, np.bool_)) for end in ends):
        raise ConfigError(f"{name} is {what}, not {found(pair)}. Type {name}=({usual[0]:g}, {usual[1]:g}), say.")
    return ends[0], ends[1]


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
