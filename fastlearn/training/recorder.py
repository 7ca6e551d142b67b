"""What a training was like: losses, rates and metrics as compact columns, and a table of epochs."""

from __future__ import annotations

import dataclasses
import math
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastlearn.errors import TrainingError, no_attribute
from fastlearn.training.rows import PackedRows, unpack_rows
from fastlearn.training.steering import Intervention

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from fastlearn.training.lr_find import LRFinderResult
    from fastlearn.training.state import TrainState

_FLUSH_EVERY = 512  # device losses read at once: rare enough not to stall a GPU, few enough to hold
_BETA = 0.98


def _column(kind: str, values: Any) -> array[float]:
    """Numbers, in a list or a tensor, as a compact column that grows."""
    made: array[float] = array(kind)
    made.frombytes(np.asarray(values, dtype=kind).tobytes())
    return made


class Recorder:
    """The history of a learner.

    `losses` (smoothed), `raw_losses`, `lrs` and `moms` have one entry a training batch of the last fit, the rates being
    those of the last group of layers; `values` has one row an epoch of the last fit, in the order of `metric_names`.
    `fine_tune` counts as one fit of two phases. `history()` is a DataFrame of every epoch of the learner's life, and
    `interventions` lists what was done to its trainings by hand.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.fits = 0
        self.metric_names: list[str] = ["epoch", "train_loss", "valid_loss", "time"]
        self.epoch_open = False
        self.lr_finder: LRFinderResult | None = None
        self.interventions: list[Intervention] = []
        self._packed = PackedRows()
        self._keep = False
        self._clear()

    def _clear(self) -> None:
        self._pending: list[torch.Tensor] = []
        self._raw, self._smooth = array("f"), array("f")
        self._lrs, self._moms = array("d"), array("d")
        self._average, self._count = 0.0, 0
        self.values: list[list[float]] = []
        self.iters: list[int] = []

    def start_fit(self, metric_names: list[str], has_valid: bool) -> None:
        """Begin a fit: its columns start empty, unless it continues the story of the one before (`fine_tune`)."""
        if not self._keep:
            self._clear()
            self.fits += 1
        self._flush()
        self._average, self._count = 0.0, 0
        losses = ["train_loss", "valid_loss"] if has_valid else ["train_loss"]
        self.metric_names = ["epoch", *losses, *(metric_names if has_valid else []), "time"]

    def continue_story(self, keep: bool) -> None:
        """While `keep`, further fits are appended to the last one."""
        self._keep = keep

    def start_epoch(self, state: TrainState) -> None:
        """An epoch begins."""
        self.epoch_open = True

    def batch(self, state: TrainState) -> None:
        """Keep the batch's loss (on the device) and the rates it was trained with."""
        group = state.optimizer.param_groups[-1]
        self._lrs.append(group["lr"])
        self._moms.append(group["betas"][0] if "betas" in group else group.get("momentum", math.nan))
        loss = state.loss
        if loss is None:
            self._raw.append(math.nan)
        elif loss.is_cpu:  # nothing to wait for: a number is cheaper to keep than a tensor
            self._raw.append(loss.item())
        else:
            self._pending.append(loss.detach())
            if len(self._pending) >= _FLUSH_EVERY:
                self._flush()

    def end_epoch(self, state: TrainState, seconds: float) -> None:
        """Add the epoch's row."""
        self.epoch_open = False
        row = {"fit": self.fits, "epoch": state.epoch, **state.values, "time": seconds}
        self.epochs.append(row)
        self.values.append([state.values[name] for name in self.metric_names[1:-1]])
        self.iters.append(len(self._lrs))

    def abandon_epoch(self, state: TrainState) -> None:
        """An error or interrupt ended the epoch: its batches stay, it gets no row."""
        self.epoch_open = False

    def _flush(self) -> None:
        """Read what waits on the device, and smooth what has come since the last time."""
        if self._pending:
            losses = torch.stack([loss.float().reshape(()) for loss in self._pending]).tolist()
            self._pending.clear()
            self._raw.extend(losses)
        for loss in self._raw[len(self._smooth) :]:
            self._count += 1
            self._average = _BETA * self._average + (1 - _BETA) * loss
            self._smooth.append(self._average / (1 - _BETA**self._count))

    def final_value(self, name: str) -> float:
        """The last epoch's `valid_loss`, `train_loss` or metric of that name; NaN when there is none."""
        return float(self.epochs[-1].get(name, math.nan)) if self.epochs else math.nan

    def smooth_loss(self) -> float:
        """The smoothed training loss now: an exponential mean (beta .98, debiased) since the start of the fit."""
        self._flush()
        return self._smooth[-1] if self._smooth else float("nan")

    @property
    def n_batches(self) -> int:
        """Training batches of the last fit so far."""
        return len(self._lrs)

    @property
    def losses(self) -> list[float]:
        """Smoothed training losses of the last fit, one a batch."""
        self._flush()
        return self._smooth.tolist()

    @property
    def raw_losses(self) -> list[float]:
        """Training losses of the last fit as they were, one a batch."""
        self._flush()
        return self._raw.tolist()

    @property
    def lrs(self) -> list[float]:
        """Learning rates of the last fit, one a batch, of the last group of layers."""
        return self._lrs.tolist()

    @property
    def moms(self) -> list[float]:
        """Momenta of the last fit, one a batch; NaN for an optimizer without momentum."""
        return self._moms.tolist()

    @property
    def hps(self) -> dict[str, list[float]]:
        """The scheduled hyperparameters of the last fit by name."""
        return {"lr": self.lrs, "mom": self.moms}

    def columns(self, start: int = 0) -> list[np.ndarray]:
        """Raw losses, smoothed losses, learning rates and momenta of the last fit from batch `start` on, as copies."""
        self._flush()
        # A view of an array that still grows would forbid it to; the copy lets go of it at once.
        return [np.asarray(column)[start:].copy() for column in (self._raw, self._smooth, self._lrs, self._moms)]

    def packed(self, start: int) -> bytes:
        """The same as float32, one column after the other; cheaper, for a live view that asks some times a second."""
        self._flush()
        rates = array("f", self._lrs[start:]), array("f", self._moms[start:])
        return b"".join(column.tobytes() for column in (self._raw[start:], self._smooth[start:], *rates))

    def history(self) -> pd.DataFrame:
        """One row an epoch of the learner's life: fit, epoch, train_loss, valid_loss, the metrics, time in seconds."""
        import pandas as pd

        return pd.DataFrame(self.epochs)

    def to_frame(self) -> pd.DataFrame:
        """One row a batch of the last fit: loss, smoothed loss, learning rate, momentum."""
        import pandas as pd

        columns = {"loss": self.raw_losses, "smooth_loss": self.losses, "lr": self.lrs, "mom": self.moms}
        return pd.DataFrame(columns).rename_axis("batch")

    def plot_loss(
        self, skip_start: int = 5, with_valid: bool = True, log: bool = False, ax: Axes | None = None
    ) -> Axes:
        """Training loss (raw faint, smoothed strong) and validation loss of the last fit."""
        from fastlearn.training.plots import plot_loss

        return plot_loss(self, skip_start=skip_start, with_valid=with_valid, log=log, ax=ax)

    def plot_sched(self, keys: list[str] | None = None, figsize: tuple[float, float] | None = None) -> Any:
        """Learning rate and momentum of the last fit."""
        from fastlearn.training.plots import plot_sched

        return plot_sched(self, keys=keys, figsize=figsize)

    def plot_lr_find(self, ax: Axes | None = None) -> Axes:
        """The curve of the last `lr_find` with its suggestions."""
        from fastlearn.training.plots import plot_lr_find

        if self.lr_finder is None:
            raise TrainingError("There is no learning-rate curve yet. Type learn.lr_find() first.")
        return plot_lr_find(self.lr_finder, ax=ax)

    if not TYPE_CHECKING:  # a type checker, and completion, shall know the real names only

        def __getattr__(self, name: str) -> Any:
            """Only for names that a recorder does not have: an error that tells the nearest."""
            raise no_attribute(self, name)

    def __repr__(self) -> str:
        what = ", ".join(self.metric_names[1:-1])
        return f"Recorder({len(self.epochs)} epochs of {what}; .history() is the table, .plot_loss() the picture)"

    def state_dict(self, columns: bool = True) -> dict[str, Any]:
        """The whole history as plain numbers and lists, ready for JSON; without `columns` only what does not grow.

        That which grows with batches and epochs is in `column_tensors` too.
        """
        self._flush()
        state: dict[str, Any] = {
            "fits": self.fits,
            "metric_names": list(self.metric_names),
            "interventions": [dataclasses.asdict(one) for one in self.interventions],
            "average": self._average,
            "count": self._count,
        }
        if not columns:
            packed = self._packed_epochs()
            return state | {"epoch_kinds": packed.kinds, "other_epochs": packed.others}
        state["epochs"], state["values"] = [dict(row) for row in self.epochs], [list(row) for row in self.values]
        state["iters"] = list(self.iters)
        return state | {name: column.tolist() for name, column in self._columns().items()}

    def column_tensors(self) -> dict[str, torch.Tensor]:
        """The columns of the last fit, and every epoch's row, under the names that `load_state_dict` takes them by."""
        self._flush()
        kind_of, numbers = self._packed_epochs().tensors()
        return {
            **{name: torch.from_numpy(np.asarray(column).copy()) for name, column in self._columns().items()},
            "iters": torch.tensor(self.iters, dtype=torch.int64),
            "epoch_kind_of": kind_of,
            "epoch_numbers": numbers,
        }

    def _packed_epochs(self) -> PackedRows:
        """The table of epochs, of which only what has come since the last time is to be packed."""
        if len(self._packed) > len(self.epochs):
            self._packed = PackedRows()
        for row in self.epochs[len(self._packed) :]:
            self._packed.append(row)
        return self._packed

    def _columns(self) -> dict[str, array[float]]:
        return {"raw_losses": self._raw, "smooth_losses": self._smooth, "lrs": self._lrs, "moms": self._moms}

    def name_metrics(self, names: list[str]) -> None:
        """Let the rows of the last fit have these columns, NaN where an epoch has none."""
        self.metric_names = names
        own = [row for row in self.epochs if row["fit"] == self.fits]
        self.values = [[row.get(name, math.nan) for name in names[1:-1]] for row in own]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a history back; what grows with it may be lists or tensors."""
        self._clear()
        self._packed = PackedRows()
        if "epochs" in state:
            self.epochs = [dict(row) for row in state["epochs"]]
        else:
            packed = [state[name] for name in ("epoch_kinds", "other_epochs", "epoch_kind_of", "epoch_numbers")]
            self.epochs = unpack_rows(*packed)
        self.fits = int(state["fits"])
        self.name_metrics(list(state["metric_names"]))
        self.iters = np.asarray(state["iters"], dtype=np.int64).tolist()
        self._raw, self._smooth = _column("f", state["raw_losses"]), _column("f", state["smooth_losses"])
        self._lrs, self._moms = _column("d", state["lrs"]), _column("d", state["moms"])
        self._average, self._count = float(state["average"]), int(state["count"])
        self.interventions = [Intervention(**one) for one in state.get("interventions", [])]
