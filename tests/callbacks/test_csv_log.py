from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from callback_fits import FakeMetric, batches, fit
from torch import nn

from fastlearn.callbacks.csv_log import CSVLogger
from fastlearn.errors import ConfigError, TrainingError
from fastlearn.training.callback import Callback
from fastlearn.training.recorder import Recorder
from fastlearn.training.state import TrainState

TRAIN, VALID = batches([4, 4]), batches([4], seed=1)


def run(log: Callback, *others: Callback, path: Path, n_epochs: int = 2, **kwargs: object) -> TrainState:
    return fit(nn.Linear(3, 1), TRAIN, [log, *others], valid=VALID, n_epochs=n_epochs, path=path, **kwargs)  # type: ignore[arg-type]


def test_rows_are_the_recorder_s(tmp_path: Path) -> None:
    log = CSVLogger()
    state = run(log, path=tmp_path, metrics=(FakeMetric(),))
    table = log.read_log()
    assert list(table.columns) == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    wanted = [row["valid_loss"] for row in state.recorder.epochs]
    assert table["valid_loss"].tolist() == pytest.approx(wanted, rel=1e-12)


def test_each_row_is_there_when_the_epoch_ends(tmp_path: Path) -> None:
    seen: list[int] = []

    class Look(Callback):
        order = 1000

        def after_epoch(self, state: TrainState) -> None:
            seen.append((tmp_path / "history.csv").read_text().count("\n"))

    run(CSVLogger(), Look(), path=tmp_path)
    assert seen == [2, 3]


def test_new_fit_replaces_and_append_goes_on(tmp_path: Path) -> None:
    run(CSVLogger(), path=tmp_path)
    run(CSVLogger(), path=tmp_path)
    assert (tmp_path / "history.csv").read_text().count("\n") == 3
    with (tmp_path / "history.csv").open("a") as file:
        file.write("2,0.4")  # a row that a kill cut off
    run(CSVLogger(append=True), path=tmp_path)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert len(lines) == 5
    assert all(line.count(",") == 3 for line in lines)


def test_two_phases_are_one_file(tmp_path: Path) -> None:
    log, recorder = CSVLogger(), Recorder()
    run(log, path=tmp_path, n_epochs=1, recorder=recorder)
    recorder.continue_story(True)
    run(log, path=tmp_path, recorder=recorder)
    assert log.read_log()["epoch"].tolist() == [0, 1, 2]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    run(CSVLogger(), path=tmp_path)
    with pytest.raises(ConfigError, match="has the columns epoch, train_loss, valid_loss, time"):
        run(CSVLogger(append=True), path=tmp_path, metrics=(FakeMetric(),))
    with pytest.raises(ConfigError, match="no rows yet"):
        CSVLogger().read_log()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Cannot write"):
        run(CSVLogger("file/x.csv"), path=tmp_path)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_an_older_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(CSVLogger(), path=tmp_path)
    before = (tmp_path / "history.csv").read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="Cannot write .*history.csv: No space left"):
        run(CSVLogger(), path=tmp_path)
    assert (tmp_path / "history.csv").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_a_disk_that_fills_up_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fill(Callback):
        order = 1

        def after_epoch(self, state: TrainState) -> None:
            if state.fit_epoch == 1:
                monkeypatch.setattr(os, "fsync", full)

    log = CSVLogger()
    with pytest.raises(
        TrainingError, match="Cannot write a row to .*history.csv: No space left.*earlier rows are whole"
    ):
        run(log, Fill(), path=tmp_path, n_epochs=3)
    assert (tmp_path / "history.csv").read_text().count("\n") == 2
    assert log.read_log()["epoch"].tolist() == [0]
