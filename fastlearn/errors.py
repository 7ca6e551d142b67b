"""The exceptions that a caller may catch. Each message says what was found, what was expected and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from fastlearn.short_traceback import short_traceback


class FastlearnError(Exception):
    """Everything that fastlearn raises on purpose.

    Its message says all that is needed, so a notebook shows it under the reader's own lines, without the calls inside
    fastlearn; `import traceback; traceback.print_last()` shows those too.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython asks an exception that wants to be shown its own way."""
        return short_traceback(self)


class ConfigError(FastlearnError, ValueError):
    """An argument, or a combination of arguments, that cannot work."""


class CallError(ConfigError, TypeError):
    """A call lacks an argument, or has one too many: what Python would answer with a TypeError."""


class UnknownNameError(FastlearnError, AttributeError):
    """An object of ours has no attribute of that name; the message names the nearest."""


class DataError(FastlearnError, ValueError):
    """The files, labels or splits are not what training needs."""


class ImageError(DataError):
    """One picture cannot be read; `path` names it."""

    def __init__(self, message: str, path: object = None) -> None:
        super().__init__(message)
        self.path = path


class WorkerError(DataError):
    """A data worker died or failed; the message names what it was reading."""


class TrainingError(FastlearnError, RuntimeError):
    """Training cannot go on."""


class NonFiniteError(TrainingError, FloatingPointError):
    """A loss or gradient became NaN or infinite; the weights are those of the last good step.

    `step` counts from 0 over the learner's life; `layer` is the dotted name of the first module whose output is not
    finite, or None when the loss itself is.
    """

    def __init__(self, message: str, step: int = -1, layer: str | None = None) -> None:
        super().__init__(message)
        self.step = step
        self.layer = layer


class DeviceMemoryError(TrainingError, MemoryError):
    """The device has no memory left for a batch of this size."""


class WeightsError(FastlearnError, RuntimeError):
    """Pretrained weights cannot be had, or do not fit the model."""


class CheckpointError(FastlearnError, RuntimeError):
    """A saved file is missing, damaged or does not fit."""


class DamagedFileError(CheckpointError):
    """A saved file is damaged: cut short, changed, or not what its manifest says."""


class DownloadError(FastlearnError, OSError):
    """A download failed or did not match its checksum."""


class MissingExtraError(FastlearnError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def damaged(what: str, why: object) -> DamagedFileError:
    """What to raise for a damaged file that `what` names; `why` may quote the file, and is cut to what one reads."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(why)[:_MOST_WHY])
    cut = "…" if len(str(why)) > _MOST_WHY else ""
    return DamagedFileError(f"{what} is damaged: {text}{cut}. Copy it again from where it came, or use an earlier one.")


_MOST_WHY = 300


def no_attribute(owner: object, name: str, kind: str = "") -> AttributeError:
    """What a `__getattr__` raises: an UnknownNameError with the nearest names; private ones are probes, without a hint.

    Python comes here too when a property raised an AttributeError of its own; then that one is it.
    """
    if hasattr(type(owner), name):
        try:
            object.__getattribute__(owner, name)
        except AttributeError as error:
            return error
    kind = kind or type(owner).__name__
    hint = "" if name.startswith("_") else near(name, [one for one in dir(owner) if not one.startswith("_")])
    return UnknownNameError(f"{'An' if kind[0] in 'AEIO' else 'A'} {kind} has no {name!r}.{hint}")


def near(word: str, options: Iterable[object], most: int = 3) -> str:
    """` Did you mean 'a' or 'b'?` for the options nearest to `word`, or an empty string."""
    matches = difflib.get_close_matches(word, [str(option) for option in options], n=most, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
