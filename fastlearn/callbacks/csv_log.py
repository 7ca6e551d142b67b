"""The table of epochs as a CSV file that a kill cannot lose."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlearn.errors import ConfigError, TrainingError
from fastlearn.options import checked_path, named_options
from fastlearn.runtime.disk import write_whole
from fastlearn.training.callback import Callback

if TYPE_CHECKING:
    import pandas as pd

    from fastlearn.training.recorder import Recorder
    from fastlearn.training.state import TrainState


class CSVLogger(Callback):
    """Writes one row an epoch to `path/fname`: epoch, train_loss, valid_loss, the metrics, time in seconds.

    Each row is on the disk before the next epoch begins. A new fit starts the file anew unless `append`; the second
    phase of `fine_tune` and a resumed fit go on with it. Raises ConfigError if a file to append to has other columns,
    TrainingError when a row cannot be written.

    >>> log = CSVLogger()
    >>> learn.fit(3, cbs=log)
    >>> log.read_log()
    """

    order = 45
    only_watches = True

    @named_options
    def __init__(self, fname: str | os.PathLike[str] = "history.csv", append: bool = False) -> None:
        self.fname, self.append = Path(checked_path(fname, "fname")), append
        self.path: Path | None = None
        self._file: io.FileIO | None = None
        self._fit: tuple[Recorder | None, int] = None, -1

    def before_fit(self, state: TrainState) -> None:
        self.path = state.plan.path / self.fname
        columns = list(state.recorder.metric_names)
        same = self._fit == (state.recorder, state.recorder.fits)
        begun = state.start is not None or (state.plan.story.index > 0 and not same)  # by a process that is gone
        goes_on = self.append or state.goes_on or same or begun
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not (goes_on and _keep_whole_rows(self.path, columns)):
                write_whole({self.path: _line(columns)})  # a full disk leaves an older table as it was
            if begun:
                _drop_rows(self.path, state.epoch)
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise ConfigError(
                f"Cannot write {self.path}: {error.strerror}. Give another fname, or the learner another path."
            ) from error
        self._fit = state.recorder, state.recorder.fits

    def after_epoch(self, state: TrainState) -> None:
        self._fit = state.recorder, state.recorder.fits  # which a training that goes on has been given back by now
        row = state.recorder.epochs[-1]
        self._write([row.get(name, "") for name in state.recorder.metric_names])

    def after_fit(self, state: TrainState) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def read_log(self) -> pd.DataFrame:
        """The file as a DataFrame."""
        import pandas as pd

        if self.path is None:
            raise ConfigError(f"{self.fname} has no rows yet. Fit first, with cbs=CSVLogger().")
        return pd.read_csv(self.path)

    def _write(self, values: list[Any]) -> None:
        assert self._file is not None and self.path is not None
        line, whole = _line(values), os.fstat(self._file.fileno()).st_size
        try:
            while line:  # the whole row at once: a kill leaves it or not, seldom a part
                line = line[self._file.write(line) or 0 :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                self._file.truncate(whole)
            raise TrainingError(
                f"Cannot write a row to {self.path}: {error.strerror}. Its earlier rows are whole. "
                "Free some space, or fit without CSVLogger; learn.recorder has every epoch."
            ) from error


def _line(values: list[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode("utf-8", "backslashreplace")


def _drop_rows(path: Path, epoch: int) -> None:
    """Cut off the rows of `epoch` and later, which a training that goes on before them will write again."""
    header, *rows = path.read_bytes().splitlines(keepends=True)
    kept = [row for row in rows if not (number := row.partition(b",")[0]).isdigit() or int(number) < epoch]
    if len(kept) < len(rows):
        write_whole({path: b"".join([header, *kept])})


def _keep_whole_rows(path: Path, columns: list[str]) -> bool:
    """Cut off a row that a kill left unfinished; True if a table with these columns is there."""
    if not path.is_file():
        return False
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)
    if not whole:
        return False
    found = next(csv.reader(io.StringIO(content[:whole].decode("utf-8", "replace"))))
    if found != columns:
        raise ConfigError(
            f"{path} has the columns {', '.join(found)}, this fit has {', '.join(columns)}. "
            "Give another fname, or append=False to replace the file."
        )
    return True
