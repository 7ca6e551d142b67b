"""What a training library costs a step, beside the network itself.

A 784-128-10 perceptron, batches of 64 that lie ready in memory, cross-entropy, one-cycle schedule and recorder on, no
progress bar unless the row says so. Each round fits 400 and then 4000 steps; `cpu` and `wall` are the marginal cost
(t4000 − t400) / 3600, so what a fit costs once (its set-up, its validation on one batch) drops out.

`over` is the figure to read on a shared machine: what a step takes beyond the plain loop's, both run in turn in the
same process, each step by its own clock, medians of 4000 steps. Two processes with the very same code differ by a
tenth, round after round, by where their memory happens to lie; the row `plain` shows the noise that is left.

`plain` is the loop that one would write by hand, with fastlearn's own Adam and parameter groups and with learning rate
and momentum set before every step: what fastlearn's loop adds is the difference to it. `plain torch` is the same loop
around `torch.optim.AdamW(fused=True)`, `plain default` around torch's Adam as it comes. `fastlearn line` draws the
progress line of a terminal, the others nothing; what the dashboard of a notebook costs is in `live_cost.py`.

Every library keeps the training loss of each step and sets the rate by a schedule, with what it has for that.
Lightning and Ignite get the fused AdamW, which they do not choose by themselves; Keras has its own Adam.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import statistics
import time
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from harness import PEERS, Contestant, Measure, Round, main, timed
from torch import Tensor, nn

SHORT, LONG, DISTINCT, BATCH_SIZE = 400, 4000, 100, 64
LR_MAX, MOMS = 1e-3, (0.95, 0.85, 0.95)

Batch = tuple[Tensor, Tensor]


def make_batches() -> list[Batch]:
    """A hundred batches of noise: inputs (64, 784) float32, targets (64,) int64."""
    rng = torch.Generator().manual_seed(0)
    return [
        (torch.randn(BATCH_SIZE, 784, generator=rng), torch.randint(0, 10, (BATCH_SIZE,), generator=rng))
        for _ in range(DISTINCT)
    ]


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


class Stamped:
    """Batches that note when each of them was asked for."""

    def __init__(self, batches: list[Batch], n: int) -> None:
        self.distinct, self.n, self.stamps = batches, n, array("q")

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Batch]:
        batches, clock, note = self.distinct, time.perf_counter_ns, self.stamps.append
        for i in range(self.n):
            note(clock())
            yield batches[i % DISTINCT]

    def median_step(self) -> float:
        """Seconds from one batch to the next."""
        return statistics.median(b - a for a, b in pairwise(self.stamps)) / 1e9


def marginal(fit: Callable[[Stamped], object]) -> Round:
    """The round that fits both lengths and gives the seconds that one step more costs."""
    batches = make_batches()

    def one_round() -> dict[str, float]:
        short = timed(lambda: fit(Stamped(batches, SHORT)))
        by_hand, own = Stamped(batches, LONG), Stamped(batches, LONG)
        fit_by_hand(by_hand)
        long = timed(lambda: fit(own))
        marginal = {name: (long[name] - short[name]) / (LONG - SHORT) for name in short}
        return {"over": own.median_step() - by_hand.median_step(), **marginal}

    return one_round


# ── the loops written by hand ────────────────────────────────────────────────────────────────────────────────────────


def one_cycle(n_steps: int) -> tuple[list[float], list[float]]:
    """Learning rates and momenta of the one-cycle policy, one a step."""

    def cos(start: float, end: float, pos: float) -> float:
        return start + (1 + math.cos(math.pi * (1 - pos))) * (end - start) / 2

    def cycle(pos: float, low: float, high: float, end: float) -> float:
        return cos(low, high, pos / 0.25) if pos < 0.25 else cos(high, end, (pos - 0.25) / 0.75)

    positions = [i / n_steps for i in range(n_steps)]
    return [cycle(p, LR_MAX / 25, LR_MAX, LR_MAX / 1e5) for p in positions], [cycle(p, *MOMS) for p in positions]


def train_by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Stamped, beta2: float) -> None:
    model.train()
    for (x, y), lr, mom in zip(batches, *one_cycle(len(batches)), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = lr
            group["betas"] = (mom, beta2)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def fit_by_hand(batches: Stamped) -> None:
    from fastlearn.training.optimizer import Adam

    model = make_model()
    optimizer = Adam([{"params": list(model.parameters())}], lr=LR_MAX)
    optimizer.exempt([layer.bias for layer in model if isinstance(layer, nn.Linear)])  # as the learner does
    train_by_hand(model, optimizer, batches, 0.99)


def plain(options: argparse.Namespace) -> Round:
    return marginal(fit_by_hand)


def plain_torch(options: argparse.Namespace) -> Round:
    def fit(batches: Stamped) -> None:
        model = make_model()
        train_by_hand(model, torch.optim.AdamW(model.parameters(), lr=LR_MAX, fused=True), batches, 0.999)

    return marginal(fit)


def plain_default(options: argparse.Namespace) -> Round:
    def fit(batches: Stamped) -> None:
        model = make_model()
        train_by_hand(model, torch.optim.Adam(model.parameters(), lr=LR_MAX), batches, 0.999)

    return marginal(fit)


# ── the libraries ────────────────────────────────────────────────────────────────────────────────────────────────────


def fastlearn(options: argparse.Namespace) -> Round:
    from fastlearn.data.dataloaders import DataLoaders
    from fastlearn.learner import Learner

    def fit(batches: Stamped) -> None:
        learn = Learner(DataLoaders(batches, batches.distinct[:1]), make_model(), loss_func=F.cross_entropy)
        with learn.no_bar():
            learn.fit_one_cycle(1, LR_MAX)

    return marginal(fit)


def fastlearn_line(options: argparse.Namespace) -> Round:
    """With the progress line of a terminal, drawn into nothing."""
    from fastlearn.callbacks.progress import ProgressCallback
    from fastlearn.data.dataloaders import DataLoaders
    from fastlearn.learner import Learner

    def fit(batches: Stamped) -> None:
        learn = Learner(
            DataLoaders(batches, batches.distinct[:1]),
            make_model(),
            loss_func=F.cross_entropy,
            cbs=ProgressCallback(form="terminal"),
        )
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            learn.fit_one_cycle(1, LR_MAX)

    return marginal(fit)


def fastai(options: argparse.Namespace) -> Round:
    import fastai.callback.all  # noqa: F401 (adds fit_one_cycle and no_bar to Learner)
    from fastai.basics import DataLoaders, Learner

    def fit(batches: Stamped) -> None:
        learn = Learner(DataLoaders(batches, batches.distinct[:1]), make_model(), loss_func=F.cross_entropy)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, LR_MAX)

    return marginal(fit)


def lightning(options: argparse.Namespace) -> Round:
    import warnings

    import lightning as L

    class Classifier(L.LightningModule):
        def __init__(self, n_steps: int) -> None:
            super().__init__()
            self.model, self.n_steps = make_model(), n_steps

        def training_step(self, batch: Batch) -> Tensor:
            x, y = batch
            loss = F.cross_entropy(self.model(x), y)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> dict[str, object]:
            optimizer = torch.optim.AdamW(self.parameters(), lr=LR_MAX, fused=True)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR_MAX, total_steps=self.n_steps + 1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    def fit(batches: Stamped) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = L.Trainer(
                max_epochs=1,
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(Classifier(len(batches)), batches)

    return marginal(fit)


def ignite(options: argparse.Namespace) -> Round:
    from ignite.engine import Events, create_supervised_trainer
    from ignite.metrics import RunningAverage

    def fit(batches: Stamped) -> None:
        model = make_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR_MAX, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR_MAX, total_steps=len(batches) + 1)
        trainer = create_supervised_trainer(model, optimizer, F.cross_entropy)
        RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())
        trainer.run(batches, max_epochs=1)

    return marginal(fit)


def keras(options: argparse.Namespace) -> Round:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    def fit(batches: Stamped) -> None:
        torch.manual_seed(0)
        model = keras.Sequential(
            [keras.layers.Input((784,)), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)]
        )
        schedule = keras.optimizers.schedules.CosineDecay(LR_MAX, len(batches))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(schedule), loss)
        model.fit(iter(batches), steps_per_epoch=len(batches), epochs=1, verbose=0)

    return marginal(fit)


MEASURE = Measure(
    name="step_overhead",
    title="Cost of one training step, marginal between 400 and 4000 steps (MLP 784-128-10, batch 64)",
    contestants={
        "plain": Contestant(plain),
        "plain torch": Contestant(plain_torch),
        "plain default": Contestant(plain_default),
        "fastlearn": Contestant(fastlearn),
        "fastlearn line": Contestant(fastlearn_line),
        "fastai": Contestant(fastai, PEERS),
        "lightning": Contestant(lightning, PEERS),
        "ignite": Contestant(ignite, PEERS),
        "keras": Contestant(keras, PEERS),
    },
    units={"over": "µs", "cpu": "µs", "wall": "µs"},
    scale={"over": 1e6, "cpu": 1e6, "wall": 1e6},
    differences=("cpu", "wall"),
    alone=("over",),
    reference="plain",
)

if __name__ == "__main__":
    main(MEASURE)
