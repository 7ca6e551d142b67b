"""From choices to moves: where each file goes, and the refusals before the first one is touched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fastlearn.data.download import is_shipped
from fastlearn.data.label import call_getter
from fastlearn.errors import ConfigError, DataError
from fastlearn.paths import Path, PathList, printable
from fastlearn.vision.cleaner_journal import Journal
from fastlearn.vision.cleaner_moves import FILES, Step

KEEP, DELETE = "<Keep>", "<Delete>"


@dataclass(frozen=True)
class Choice:
    """What shall become of a file: `choice` is DELETE or the name of another class."""

    file: Path
    split: str
    label: str
    choice: str


def refuse_unmovable(todo: Sequence[Choice]) -> None:
    """Raise ConfigError or DataError where a file may not be moved."""
    if shipped := next((one for one in todo if is_shipped(one.file)), None):
        raise ConfigError(
            f"{printable(shipped.file)} is one of fastlearn's own pictures, which stay as they are. Work on a copy: "
            "untar_data(URLs.DIGITS, data='data'), for example, makes one in the folder data."
        )
    folders = sorted({os.path.dirname(os.path.abspath(one.file)) for one in todo})
    locked = [folder for folder in folders if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK)]
    if locked:
        raise DataError(
            f"Files cannot be moved out of {printable(locked[0])}: you may not write to that folder. Nothing was "
            "moved. Change its permissions, or work on a copy of the data."
        )


def data_root(todo: Sequence[Choice], path: str | os.PathLike[str], datasets: Sequence[Any]) -> Path:
    """The folder of the data: `path`, what the DataLoaders were made of, or else what holds all their files."""
    given = Path(os.path.abspath(path))
    files = [os.path.abspath(one.file) for one in todo]
    if given != Path.cwd() and all(Path(file).is_relative_to(given) for file in files):
        return given
    folders = {os.path.abspath(folder) for dataset in datasets for folder in _folders_of(dataset)}
    try:
        return Path(os.path.commonpath(list(folders)))
    except ValueError:  # Windows: on several drives
        return Path(os.path.dirname(files[0]))


def _folders_of(dataset: Any) -> Iterable[str]:
    """The folders of all files of a data set."""
    if isinstance(dataset.items, PathList) and dataset.getters[0] is None:
        return dataset.items.folders()[1]
    return {os.path.dirname(os.path.abspath(dataset.read(i, 0))) for i in range(len(dataset))}


def place_of_class(one: Choice, dataset: Any) -> str:
    """Where a file goes to be of its new class. Raises ConfigError where that would not change its label."""
    name = one.choice
    file = Path(os.path.join(os.path.dirname(os.path.dirname(one.file)), name, os.path.basename(one.file)))
    if name.startswith(".") or os.path.basename(os.path.dirname(file)) != name:
        raise ConfigError(f"{name!r} cannot be the name of a class's folder. Nothing was moved.")
    if _label_at(file, dataset) != name:
        raise ConfigError(
            f"{printable(one.file)} cannot be relabelled as {name!r} by moving it: its label does not come from the "
            "name of its folder. Nothing was moved. Change the label where it is kept: cleaner.choices() gives the new "
            "ones as a table. The files to delete alone: cleaner.apply(only='delete')."
        )
    return os.path.abspath(file)


def _label_at(file: Path, dataset: Any) -> str | None:
    """The label that a file would have at a place; None where labels are not read from a file's path."""
    getter = dataset.getters[dataset.n_inp]
    if dataset.getters[0] is not None or getter is None:
        return None
    try:
        return str(call_getter(getter, file, "get_y"))
    except DataError:  # a function that knows the old files only
        return None


def step_of(one: Choice, target: str | None, journal: Journal) -> Step:
    """The move of a file: to `target`, or into the trash folder of the journal where there is none."""
    source = os.path.abspath(one.file)
    if target is not None:
        return Step(source, target, "relabel")
    spelled = journal.spell(source)
    below = os.path.basename(source) if os.path.isabs(spelled) else spelled
    return Step(source, str(journal.folder / FILES / below), "delete")
