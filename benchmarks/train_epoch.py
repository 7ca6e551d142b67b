"""One whole epoch of training, from JPEG files: images a second, and CPU.

ResNet18 with random weights at 128 pixels, batches of 32 with the augmentation of `loading.py`, cross-entropy, Adam,
one-cycle schedule, loss kept, validation with accuracy on a quarter as many pictures: everything that an epoch has but
a progress bar. `rate` counts training pictures over the seconds of the whole epoch. Two loader workers each. The parts:

- `fp32`: one torch thread, contiguous memory format. The plain loop and Lightning get torch's fused AdamW; fastai has
  its own Adam.
- `fp32_default`: as each comes, with a thread for each core: for this network on a CPU fastlearn's `vision_learner`
  chooses channels-last, the others have the contiguous format.
- `fp32_last`, `fp32_last_all`: in channels-last format; with a thread for each core.
- `bf16`, `bf16_all`: the same in mixed precision, each with what its library documents. fastai's `to_bf16` asks for
  CUDA's autocast whatever the device, so on a CPU it does nothing: a callback of a few lines does it here. On a
  processor without arithmetic for bf16 a step takes many times as long, so there they run only when they are named.

- `fastlearn` is the first epoch over new pictures, which fills the cache in memory; `fastlearn later` any epoch after.

Before the rounds, each contestant has trained one batch and loaded all pictures once.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from harness import OURS, PEERS, Build, Contestant, Measure, Round, main_parts, timed_tree
from jpegs import add_jpeg_options, jpegs_after, jpegs_before, train_files
from loading import fastai_loaders, fastlearn_loaders, torch_loader
from torch import Tensor, nn

BATCH_SIZE, LR_MAX = 32, 1e-3


class Way(NamedTuple):
    """How the network computes."""

    bf16: bool
    channels_last: bool

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


Epoch = Callable[[], object]
MakeEpoch = Callable[[argparse.Namespace, Way], Epoch]  # of the pictures in options.folder


def training(make_epoch: MakeEpoch, way: Way) -> Build:
    """A contestant of the epoch that `make_epoch` gives."""

    def build(options: argparse.Namespace) -> Round:
        with one_batch_of(options.folder) as small:
            make_epoch(argparse.Namespace(folder=small), way)()  # imports, kernels
        epoch, n_images = make_epoch(options, way), len(train_files(options.folder)) // BATCH_SIZE * BATCH_SIZE

        def one_round() -> dict[str, float]:
            figures = timed_tree(epoch)
            return {"rate": n_images / figures["wall"], "cpu": figures["cpu"] / n_images}

        return one_round

    return build


@contextmanager
def one_batch_of(folder: Path) -> Iterator[Path]:
    """A temporary folder with links to one batch of the training and validation pictures."""
    with tempfile.TemporaryDirectory(prefix="fastlearn-one-batch-") as small:
        for split in ("train", "valid"):
            classes = sorted(path for path in (folder / split).iterdir() if path.is_dir())
            for path in [p for one in classes for p in sorted(one.iterdir())[: BATCH_SIZE // len(classes)]]:
                target = Path(small, split, path.parent.name, path.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(path, target)
        yield Path(small)


def make_model(way: Way) -> nn.Module:
    """torchvision's network."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18(num_classes=4).to(memory_format=way.memory_format)


def adam_and_schedule(model: nn.Module, n_steps: int) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR_MAX, fused=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, LR_MAX, total_steps=n_steps + 1)


def torch_loaders(options: argparse.Namespace) -> tuple[Any, Any]:
    """For training and validation, their workers started and every picture read once."""
    loaders = [torch_loader(options, train=train, batch_size=BATCH_SIZE) for train in (True, False)]
    for loader in loaders:
        for _ in loader:
            pass
    return loaders[0], loaders[1]


# ── the loop written by hand ─────────────────────────────────────────────────────────────────────────────────────────


def plain(options: argparse.Namespace, way: Way) -> Epoch:
    train, valid = torch_loaders(options)
    model = make_model(way)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=way.bf16)

    def epoch() -> None:
        optimizer, schedule = adam_and_schedule(model, len(train))
        losses = []
        model.train()
        for x, y in train:
            with autocast:
                loss = F.cross_entropy(model(x.contiguous(memory_format=way.memory_format)), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.detach())
        model.eval()
        with torch.no_grad(), autocast:
            right = sum((model(x.contiguous(memory_format=way.memory_format)).argmax(1) == y).sum() for x, y in valid)
        float(right), torch.stack(losses).tolist()

    return epoch


# ── the libraries ────────────────────────────────────────────────────────────────────────────────────────────────────


def fastlearn_learner(options: argparse.Namespace, way: Way) -> Any:
    from fastlearn.vision.all import Learner, accuracy

    dls = fastlearn_loaders(options, "memory", bs=BATCH_SIZE)
    learn = Learner(dls, make_model(way), loss_func=nn.CrossEntropyLoss(), metrics=accuracy)
    learn.to_channelslast(way.channels_last)
    return learn.to_bf16() if way.bf16 else learn


def fastlearn(options: argparse.Namespace, way: Way) -> Epoch:
    """A new learner each time, whose cache is empty."""

    def epoch() -> None:
        learn = fastlearn_learner(options, way)
        with learn.no_bar():
            learn.fit_one_cycle(1, LR_MAX)

    return epoch


def fastlearn_later(options: argparse.Namespace, way: Way) -> Epoch:
    learn = fastlearn_learner(options, way)
    for loader in learn.dls.loaders:
        for _ in loader:
            pass

    def epoch() -> None:
        with learn.no_bar():
            learn.fit_one_cycle(1, LR_MAX)

    return epoch


def fastai(options: argparse.Namespace, way: Way) -> Epoch:
    from fastai.callback.channelslast import ChannelsLast
    from fastai.vision.all import Callback, Learner, accuracy

    class CpuAutocast(Callback):
        """bf16 in the forward pass and the loss, as MixedPrecision has it on a GPU."""

        def before_batch(self) -> None:
            self.context = torch.autocast("cpu", torch.bfloat16)
            self.context.__enter__()

        def after_pred(self) -> None:
            self.learn.pred = self.pred.float()

        def after_loss(self) -> None:
            self.context.__exit__(None, None, None)

    dls = fastai_loaders(options, bs=BATCH_SIZE)
    cbs = [*([ChannelsLast()] if way.channels_last else []), *([CpuAutocast()] if way.bf16 else [])]
    learn = Learner(dls, make_model(way), loss_func=nn.CrossEntropyLoss(), metrics=accuracy, cbs=cbs)

    def epoch() -> None:
        with learn.no_bar(), learn.no_logging(), contextlib.redirect_stdout(None):
            learn.fit_one_cycle(1, LR_MAX)

    return epoch


def lightning(options: argparse.Namespace, way: Way) -> Epoch:
    import lightning as L

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    train, valid = torch_loaders(options)

    class Classifier(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model(way)

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x.contiguous(memory_format=way.memory_format))

        def training_step(self, batch: list[Tensor]) -> Tensor:
            loss = F.cross_entropy(self(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: list[Tensor]) -> None:
            self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> dict[str, object]:
            optimizer, schedule = adam_and_schedule(self, len(train))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    module = Classifier()

    def epoch() -> None:
        trainer = L.Trainer(
            max_epochs=1,
            accelerator="cpu",
            precision="bf16-mixed" if way.bf16 else "32-true",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, train, valid)

    return epoch


LIBRARIES: dict[str, tuple[MakeEpoch, str]] = {
    "plain": (plain, OURS),
    "fastai": (fastai, PEERS),
    "lightning": (lightning, PEERS),
    "fastlearn": (fastlearn, OURS),
    "fastlearn later": (fastlearn_later, OURS),
}


def part(name: str, title: str, way: Way, threads: int, ours: Way | None = None) -> Measure:
    """All libraries in one way, fastlearn's perhaps another, and with one number of threads (0: one a core)."""
    return Measure(
        name=name,
        title=f"One epoch of ResNet18 at 128 px from JPEG files, validation included: {title}",
        contestants={
            name: Contestant(training(make_epoch, (ours or way) if name.startswith("fastlearn") else way), python)
            for name, (make_epoch, python) in LIBRARIES.items()
        },
        units={"rate": "images/s", "cpu": "ms/image"},
        scale={"cpu": 1e3},
        reference="plain",
        rounds=2,
        warmup=0,
        threads=threads,
        add_options=lambda parser: add_jpeg_options(parser, 192),
        before=jpegs_before,
        after=jpegs_after,
    )


FP32, FP32_LAST, BF16_LAST = Way(False, False), Way(False, True), Way(True, True)
PARTS = {
    "fp32": part("train_epoch_fp32", "fp32, one thread", FP32, 1),
    "fp32_default": part(
        "train_epoch_fp32_default",
        "fp32, the memory format that each takes by itself, a thread a core",
        FP32,
        0,
        FP32_LAST,
    ),
    "fp32_last": part("train_epoch_fp32_last", "fp32 and channels-last, one thread", FP32_LAST, 1),
    "fp32_last_all": part("train_epoch_fp32_last_all", "fp32 and channels-last, a thread a core", FP32_LAST, 0),
    "bf16": part("train_epoch_bf16", "bf16 and channels-last, one thread", BF16_LAST, 1),
    "bf16_all": part("train_epoch_bf16_all", "bf16 and channels-last, a thread a core", BF16_LAST, 0),
}


def too_slow() -> dict[str, str]:
    """The parts that this processor is not made for, and why."""
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return {}
    return dict.fromkeys(("bf16", "bf16_all"), "this processor has no arithmetic for bf16")


if __name__ == "__main__":
    main_parts(PARTS, too_slow())
