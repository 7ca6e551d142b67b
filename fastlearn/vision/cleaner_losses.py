"""What a model said of every picture of a split: computed once, in the split's order, without augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastlearn.data.progress import progress_line
from fastlearn.paths import Path

if TYPE_CHECKING:
    from fastlearn.learner import Learner

SPLITS = ("train", "valid")

OnBatch = Callable[[int, int], None]  # how many batches of how many are done


@dataclass(frozen=True)
class Judged:
    """A picture and what the model said of it; `index` is its position in its split."""

    index: int
    file: Path
    split: str
    label: str
    predicted: str
    probability: float
    loss: float


@dataclass(frozen=True)
class SplitLosses:
    """What a model said of every picture of a split, in its order."""

    losses: np.ndarray
    codes: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def of(cls, learn: Learner, k: int, on_batch: OnBatch | None) -> SplitLosses:
        loader = learn.dls[k].new(shuffle=False, drop_last=False, weights=None, train=False)
        with progress_line(len(loader), f"Losses of {SPLITS[k]}", "batch", show=on_batch is None) as line:
            watched = Watched(loader, on_batch or (lambda done, total: line.update(1)))
            preds, codes, answers, losses = learn.get_preds(dl=watched, with_decoded=True, with_loss=True)
        sure = preds.gather(1, answers.reshape(-1, 1).to(torch.int64))[:, 0]
        return cls(*(part.reshape(-1).numpy() for part in (losses.float(), codes, answers, sure)))

    def highest(self, code: int) -> list[int]:
        """The positions of a class's pictures, the highest loss first; one that is no number comes before all."""
        mine = np.flatnonzero(self.codes == code)
        return mine[np.argsort(-np.nan_to_num(self.losses[mine], nan=np.inf), kind="stable")].tolist()

    def judged(self, index: int, split: str, dataset: Any, vocab: list[str]) -> Judged:
        """One picture by its position."""
        label, predicted = vocab[int(self.codes[index])], vocab[int(self.predicted[index])]
        probability, loss = float(self.probabilities[index]), float(self.losses[index])
        return Judged(index, Path(dataset.read(index, 0)), split, label, predicted, probability, loss)


class Watched:
    """A loader that says after each batch how far it is."""

    def __init__(self, loader: Any, on_batch: OnBatch) -> None:
        self.inner, self.on_batch = loader, on_batch
        self.n_inp, self.bs, self.device = loader.n_inp, loader.bs, loader.device

    def __len__(self) -> int:
        return len(self.inner)

    def batches(self, key: Any, start: int = 0) -> Iterator[Any]:
        """The batches of the loader."""
        for done, batch in enumerate(self.inner.batches(key, start), start + 1):
            yield batch
            self.on_batch(done, len(self.inner))
