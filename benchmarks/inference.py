"""Predictions from JPEG files, and the learning-rate finder, beside the same work written by hand.

Three parts, each with a table of its own:

- `predict`: `learn.predict(path)` for one picture after the other (500 × 375, ResNet18 at 128 px), milliseconds each.
- `get_preds`: all the pictures of a folder, in batches of 64, images a second. fastai has two worker processes,
  fastlearn two threads; by hand everything is done in turn, as one would write it.
- `lr_find` and `lr_find_mlp`: a search of 100 steps, without a drawing, over batches that lie ready: ResNet18 (16
  pictures of 64 px), and a perceptron 784-128-10 (batches of 64). By hand: 100 steps with a rising rate, the loss of
  each read, and torch's fused AdamW.

`ratio` is the figure to read: each call of the library and the same work by hand in turn, in one process and with one
model, the medians of both over one another. Two processes with the very same code differ by a tenth, and the row
`plain`, where both are by hand, shows the noise that is left. By hand Pillow decodes the whole JPEG; fastlearn decodes
it at half the size, where that is enough for 128 pixels. One torch thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from harness import PEERS, Build, Contestant, Measure, Round, main_parts, tree_cpu_s
from jpegs import add_jpeg_options, jpegs_after, jpegs_before, train_files
from torch import Tensor, nn

SIZE, BATCH_SIZE, WORKERS = 128, 64, 2
SINGLE = 32  # pictures of one round of `predict`
STEPS, START, END = 100, 1e-7, 10.0
MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

Batch = tuple[Tensor, Tensor]


def beside(work: Sequence[Callable[[], object]], by_hand: Sequence[Callable[[], object]]) -> dict[str, float]:
    """Median wall and CPU seconds of the calls `work`, and the medians' ratio to those `by_hand`, called in turn."""
    own, others, cpu = [], [], []
    for one, other in zip(work, by_hand, strict=True):
        before = time.perf_counter()
        other()
        others.append(time.perf_counter() - before)
        busy, before = tree_cpu_s(), time.perf_counter()
        one()
        own.append(time.perf_counter() - before)
        cpu.append(tree_cpu_s() - busy)
    return {
        "ratio": statistics.median(own) / statistics.median(others),
        "wall": statistics.median(own),
        "cpu": sum(cpu) / len(cpu),
    }


# ── predictions by hand ──────────────────────────────────────────────────────────────────────────────────────────────


def pixels_of(path: Path) -> Tensor:
    """The picture's centre as uint8 (3, 128, 128)."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as file:
        picture = file.convert("RGB")
    scale = SIZE / min(picture.size)
    width, height = round(picture.width * scale), round(picture.height * scale)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    cut = picture.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + SIZE, top + SIZE))
    return torch.from_numpy(np.array(cut).transpose(2, 0, 1).copy())


@torch.no_grad()
def probabilities_of(model: nn.Module, paths: Sequence[Path]) -> Tensor:
    """(pictures, classes), in batches."""
    found = []
    for i in range(0, len(paths), BATCH_SIZE):
        pixels = torch.stack([pixels_of(path) for path in paths[i : i + BATCH_SIZE]])
        found.append(model(pixels.float().div_(255).sub_(MEAN).div_(STD)).softmax(1))
    return torch.cat(found)


def alike(one: Tensor, other: Tensor) -> None:
    """Refuse predictions of other pictures or of another model; a scaled decode moves them a little."""
    if one.shape != other.shape or float((one - other).abs().mean()) > 0.05:
        raise RuntimeError(f"The predictions differ: {tuple(one.shape)}, {tuple(other.shape)}.")


# ── the libraries ────────────────────────────────────────────────────────────────────────────────────────────────────


def fastlearn_learner(options: argparse.Namespace) -> Any:
    from fastlearn.vision.all import ImageDataLoaders, Normalize, Resize, imagenet_stats, resnet18, vision_learner

    dls = ImageDataLoaders.from_folder(
        options.folder,
        item_tfms=Resize(SIZE),
        batch_tfms=Normalize.from_stats(*imagenet_stats),
        bs=BATCH_SIZE,
        num_workers=WORKERS,
        device="cpu",
        cache=False,
    )
    return vision_learner(dls, resnet18, pretrained=False)


def fastai_learner(options: argparse.Namespace) -> Any:
    from fastai.vision.all import ImageDataLoaders, Normalize, Resize, imagenet_stats, resnet18, vision_learner

    dls = ImageDataLoaders.from_folder(
        options.folder,
        item_tfms=Resize(SIZE),
        batch_tfms=Normalize.from_stats(*imagenet_stats),
        bs=BATCH_SIZE,
        num_workers=WORKERS,
        device="cpu",
    )
    return vision_learner(dls, resnet18, pretrained=False)


def quiet(learn: Any) -> Any:
    """The context in which a learner of either library draws nothing."""
    return learn.no_bar()


def one_by_one(learner: Callable[[argparse.Namespace], Any] | None) -> Build:
    """`predict`, or the work by hand in both places."""

    def build(options: argparse.Namespace) -> Round:
        paths = train_files(options.folder)[:SINGLE]
        learn = (learner or fastlearn_learner)(options)
        by_hand = plain_copy(learn)

        def hand(path: Path) -> Tensor:
            return probabilities_of(by_hand, [path])[0]

        def own(path: Path) -> Tensor:
            with quiet(learn):
                return torch.as_tensor(learn.predict(path)[2])

        own = own if learner else hand
        alike(own(paths[0]), hand(paths[0]))
        return lambda: beside([lambda p=p: own(p) for p in paths], [lambda p=p: hand(p) for p in paths])

    return build


def whole_folder(learner: Callable[[argparse.Namespace], Any] | None) -> Build:
    """`get_preds`, or the work by hand in both places."""

    def build(options: argparse.Namespace) -> Round:
        paths = train_files(options.folder)
        learn = (learner or fastlearn_learner)(options)
        by_hand = plain_copy(learn)

        def hand() -> Tensor:
            return probabilities_of(by_hand, paths)

        def own() -> Tensor:
            with quiet(learn):
                return learn.get_preds(dl=learn.dls.test_dl(paths))[0]

        own = own if learner else hand
        alike(own(), hand())

        def one_round() -> dict[str, float]:
            figures = beside([own], [hand])
            return {
                "faster": 1 / figures["ratio"],
                "rate": len(paths) / figures["wall"],
                "cpu": figures["cpu"] / len(paths),
            }

        return one_round

    return build


def plain_copy(learn: Any) -> nn.Module:
    """The same weights in torch's usual memory format, as a loop by hand has them."""
    import copy

    return copy.deepcopy(learn.model).to(memory_format=torch.contiguous_format).eval()


# ── the learning-rate finder ─────────────────────────────────────────────────────────────────────────────────────────


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def small_resnet() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(num_classes=10)


def make_batches(shape: tuple[int, ...]) -> list[Batch]:
    """As many batches of noise as there are steps."""
    rng = torch.Generator().manual_seed(0)
    return [(torch.randn(shape, generator=rng), torch.randint(0, 10, shape[:1], generator=rng)) for _ in range(STEPS)]


def steps_by_hand(make: Callable[[], nn.Module], batches: list[Batch]) -> None:
    """100 steps with a rising rate; the loss of each is kept as a number, as a curve needs it."""
    torch.manual_seed(0)
    model, losses = make().train(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=START, fused=True)
    for i, (x, y) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = START * (END / START) ** (i / STEPS)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())


def search_with_fastlearn(make: Callable[[], nn.Module], batches: list[Batch]) -> None:
    from fastlearn.data.dataloaders import DataLoaders
    from fastlearn.learner import Learner

    torch.manual_seed(0)
    learn = Learner(DataLoaders(batches, batches[:1]), make(), loss_func=F.cross_entropy)
    with learn.no_bar():
        learn.lr_find(START, END, STEPS, stop_div=False, show_plot=False)


def search_with_fastai(make: Callable[[], nn.Module], batches: list[Batch]) -> None:
    import fastai.callback.all  # noqa: F401 (adds lr_find and no_bar to Learner)
    from fastai.basics import DataLoaders, Learner

    torch.manual_seed(0)
    learn = Learner(DataLoaders(batches, batches[:1]), make(), loss_func=F.cross_entropy)
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(START, END, STEPS, stop_div=False, show_plot=False)


Search = Callable[[Callable[[], nn.Module], list[Batch]], None]


def searching(search: Search, make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Build:
    def build(options: argparse.Namespace) -> Round:
        batches = make_batches(shape)
        return lambda: beside([lambda: search(make, batches)], [lambda: steps_by_hand(make, batches)])

    return build


def search_part(name: str, title: str, make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Measure:
    return Measure(
        name=name,
        title=f"A search of {STEPS} steps for a learning rate, beside the plain steps ({title})",
        contestants={
            "plain": Contestant(searching(steps_by_hand, make, shape)),
            "fastlearn": Contestant(searching(search_with_fastlearn, make, shape)),
            "fastai": Contestant(searching(search_with_fastai, make, shape), PEERS),
        },
        units={"ratio": "× by hand", "wall": "s", "cpu": "s"},
        alone=("ratio",),
        reference="plain",
    )


PARTS = {
    "predict": Measure(
        name="predict",
        title="One picture after the other: JPEG to probabilities, ResNet18 at 128 px",
        contestants={
            "plain": Contestant(one_by_one(None)),
            "fastlearn": Contestant(one_by_one(fastlearn_learner)),
            "fastai": Contestant(one_by_one(fastai_learner), PEERS),
        },
        units={"ratio": "× by hand", "wall": "ms", "cpu": "ms"},
        scale={"wall": 1e3, "cpu": 1e3},
        alone=("ratio",),
        reference="plain",
        add_options=lambda parser: add_jpeg_options(parser, 256),
        before=jpegs_before,
        after=jpegs_after,
    ),
    "get_preds": Measure(
        name="get_preds",
        title="A folder of JPEGs to probabilities, ResNet18 at 128 px, batches of 64, two workers",
        contestants={
            "plain": Contestant(whole_folder(None)),
            "fastlearn": Contestant(whole_folder(fastlearn_learner)),
            "fastai": Contestant(whole_folder(fastai_learner), PEERS),
        },
        units={"faster": "× by hand", "rate": "images/s", "cpu": "ms/image"},
        scale={"cpu": 1e3},
        alone=("faster",),
        reference="plain",
        add_options=lambda parser: add_jpeg_options(parser, 256),
        before=jpegs_before,
        after=jpegs_after,
    ),
    "lr_find": search_part("lr_find", "ResNet18, 16 pictures of 64 px", small_resnet, (16, 3, 64, 64)),
    "lr_find_mlp": search_part("lr_find_mlp", "MLP 784-128-10, batch 64", mlp, (BATCH_SIZE, 784)),
}

if __name__ == "__main__":
    main_parts(PARTS)
