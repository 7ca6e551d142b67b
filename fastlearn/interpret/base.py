"""`Interpretation`: what a model said of every sample of a loader, and the samples that it got most wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor

from fastlearn.data.foreign import ForeignLoader
from fastlearn.data.label import item_at, select
from fastlearn.errors import ConfigError, DataError, no_attribute
from fastlearn.lists import L
from fastlearn.options import checked_flag, checked_function, found, named_options

if TYPE_CHECKING:
    from fastlearn.learner import Learner

Kind = Literal["classification", "multilabel", "regression"]


class Interpretation:
    """Predictions, targets, decoded answers and losses of a loader, on the CPU and in the order of its data set.

    `preds` went through the loss's activation; `decoded` are class numbers, flags or values; `losses` has one entry a
    sample. Pictures are not kept: those that are drawn are read again, so memory does not grow with them.

    >>> interp = Interpretation.from_learner(learn)
    >>> interp.plot_top_losses(9)
    """

    @named_options
    def __init__(
        self,
        loader: Any,
        preds: Tensor,
        targs: Tensor,
        decoded: Tensor,
        losses: Tensor,
        vocab: Sequence[Any] | None = None,
        kind: Kind = "classification",
    ) -> None:
        self.loader, self.preds, self.targs, self.decoded, self.losses = loader, preds, targs, decoded, losses
        self.vocab, self.kind = vocab, kind
        self._refuse()

    def _refuse(self) -> None:
        """Raise ConfigError for a kind of answers that a subclass can say nothing of."""

    @classmethod
    @named_options
    def from_learner(
        cls,
        learn: Learner,
        ds_idx: int = 1,
        dl: Any = None,
        act: Callable[[Tensor], Tensor] | None = None,
    ) -> Self:
        """Run the model over a loader (1: validation, 0: training, without its random changes), or over `dl`.

        `act` replaces the loss's activation. Raises DataError for a loader without labels.
        """
        if not hasattr(learn, "get_preds"):
            raise ConfigError(f"An interpretation is made from a learner, not from {found(learn)}.")
        act = None if act is None else checked_function(act, "act")
        loader = _in_order(learn.dls[ds_idx] if dl is None else dl, learn)
        outputs = learn.get_preds(dl=loader, with_decoded=True, with_loss=True, act=act)
        preds, targs, decoded, losses = outputs
        if not isinstance(targs, Tensor) or not isinstance(preds, Tensor) or losses is None:
            raise DataError(
                "An interpretation compares predictions with labels, and this loader has none (or has several targets "
                "a sample). New items with labels: dl=learn.dls.test_dl(items, with_labels=True)."
            )
        return cls(loader, preds, targs, decoded, losses, *_meaning(learn, preds, targs))

    def __len__(self) -> int:
        return len(self.losses)

    @named_options
    def top_losses(self, k: int | None = None, largest: bool = True, items: bool = False) -> tuple[Any, ...]:
        """(losses, positions) of the `k` samples with the highest loss, highest first; all samples without `k`.

        `largest=False` gives the lowest first. With `items`, also what the data set was made from: files, rows.
        """
        if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
            raise ConfigError(f"top_losses takes a whole number of samples from 1, not k={found(k)}.")
        values, positions = self.losses.topk(min(k or len(self), len(self)), largest=checked_flag(largest, "largest"))
        if not checked_flag(items, "items"):
            return values, positions
        source = self._dataset("listed").items
        return values, positions, L(item_at(source, int(i)) for i in positions)

    @named_options
    def plot_top_losses(
        self,
        k: int = 9,
        largest: bool = True,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Any:
        """Draw the `k` samples with the highest loss (or the lowest), each with answer, truth, loss and probability."""
        losses, positions = self.top_losses(k, largest)
        display, loader, batch = self._pictures(positions)
        if not hasattr(display, "show_top_losses"):
            raise ConfigError("Top losses of such samples cannot be drawn; top_losses(k, items=True) names them.")
        return display.show_top_losses(
            loader,
            batch,
            self.decoded[positions],
            losses.tolist(),
            self._confidence(positions),
            nrows=nrows,
            ncols=ncols,
            figsize=figsize,
        )

    @named_options
    def show_results(
        self,
        idxs: Sequence[int] | Tensor,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Any:
        """Draw the samples at these positions of the data set, each with its target and what was predicted."""
        positions = _as_positions(idxs)
        wrong = [int(i) for i in positions if not -len(self) <= i < len(self)]
        if wrong or not len(positions):
            raise ConfigError(f"show_results takes positions from 0 to {len(self) - 1}, found {wrong or 'none'}.")
        display, loader, batch = self._pictures(positions % len(self))
        return display.show_results(
            loader, batch, self.decoded[positions], max_n=len(positions), nrows=nrows, ncols=ncols, figsize=figsize
        )

    if not TYPE_CHECKING:  # a type checker, and completion, shall know the real names only

        def __getattr__(self, name: str) -> Any:
            """Only for names that it does not have: an error that tells the nearest."""
            raise no_attribute(self, name)

    def _confidence(self, positions: Tensor) -> list[float] | None:
        """The probability that each of these samples' answer was given; None where answers are not classes."""
        if self.kind != "classification":
            return None
        return self.preds[positions].gather(1, self.decoded[positions].reshape(-1, 1))[:, 0].tolist()

    def _pictures(self, positions: Tensor) -> tuple[Any, Any, Any]:
        """What draws them, a loader of these samples alone, and its one batch."""
        dataset = self._dataset("drawn")
        display = next((block.display for block in dataset.blocks if block.display is not None), None)
        if display is None:
            raise ConfigError("These samples cannot be drawn: that needs an ImageBlock.")
        few = dataset.new(select(dataset.items, positions.tolist()), dataset.split)
        loader = self.loader.new(few, bs=len(positions))
        return display, loader, loader.one_batch()

    def _dataset(self, wish: str) -> Any:
        dataset = getattr(self.loader, "dataset", None)
        if not hasattr(dataset, "blocks"):
            raise ConfigError(
                f"The samples of this loader cannot be {wish}: fastlearn did not make it. top_losses() "
                "gives their positions."
            )
        return dataset


def _as_positions(idxs: Any) -> Tensor:
    try:
        return torch.as_tensor(idxs, dtype=torch.int64).reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"show_results takes positions of samples, such as range(9), not {found(idxs)}. The worst ones: "
            "interp.top_losses(9)[1]."
        ) from error


def _in_order(loader: Any, learn: Learner) -> Any:
    """The loader without shuffling, dropped tails, weights and random changes."""
    if not hasattr(loader, "batches"):
        loader = ForeignLoader(loader, learn.dls.n_inp, learn.device)
    if isinstance(loader, ForeignLoader):
        return loader.in_order()
    return loader.new(shuffle=False, drop_last=False, weights=None, train=False)


def _meaning(learn: Learner, preds: Tensor, targs: Tensor) -> tuple[Sequence[Any] | None, Kind]:
    """The names of the outputs, and what sort of answer they are."""
    task: Any = learn.task
    if task is not None:
        return getattr(task, "vocab", None), task.name
    whole = not targs.is_floating_point()
    if whole and targs.ndim == 1 and preds.ndim == 2:
        vocab = learn.dls.vocab
        return (
            vocab if vocab is not None and len(vocab) == preds.shape[1] else range(preds.shape[1])
        ), "classification"
    if targs.shape == preds.shape and preds.ndim == 2 and bool(((targs == 0) | (targs == 1)).all()):
        return range(preds.shape[1]), "multilabel"
    return None, "regression"
