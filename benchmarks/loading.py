"""JPEGs to augmented batches: images a second, and CPU, of one epoch of loading with two workers.

1024 JPEGs (500 × 375, quality 90; see `jpegs.py`) become float batches of 64 at 128 pixels, normalised: the short side
is scaled to 128 and a random square cut, then comes the augmentation. Two kinds of it, each a part with a table of its
own: `augmented`, all that `aug_transforms` does in fast.ai's words (flip, rotation up to 10°, zoom to 1.1, warp,
brightness, contrast), and `flip`, which does that alone. Every loader has two workers: processes in fastai and torch,
threads in fastlearn. One torch thread.

- `fastlearn` decodes every time (`cache=False`); `memory` and `disk` have the cut's source in a cache since an earlier
  epoch; `filling` is the epoch that fills a new cache on the disk.
- `torchvision` is `ImageFolder` with v2 transforms on Pillow's pictures, which suits small pictures; `torchvision
  tensors` decodes with torchvision and transforms uint8 tensors, as its documentation recommends; `torchvision scaled`
  is the first with Pillow's `draft`, three lines with which libjpeg decodes at half the size where that is enough,
  as fastlearn does by itself. The workers of all three live on from epoch to epoch.

`cpu` counts worker processes too.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from harness import PEERS, Build, Contestant, Measure, Round, main_parts, timed_tree
from jpegs import add_jpeg_options, jpegs_after, jpegs_before

SIZE, BATCH_SIZE, WORKERS = 128, 64, 2


def loading(epoch: Callable[[], Iterable[Any]], batch_size: int = BATCH_SIZE) -> Round:
    """The round that takes every batch that `epoch()` gives, and refuses any that is not as agreed."""
    import torch

    def one_round() -> dict[str, float]:
        n_images = 0

        def load() -> None:
            nonlocal n_images
            for x, y in epoch():
                if x.shape != (batch_size, 3, SIZE, SIZE) or x.dtype != torch.float32 or len(y) != batch_size:
                    raise RuntimeError(f"A batch is {tuple(x.shape)} {x.dtype}, with {len(y)} targets.")
                n_images += batch_size

        figures = timed_tree(load)
        return {"rate": n_images / figures["wall"], "cpu": figures["cpu"] / n_images}

    return one_round


# ── fastlearn and fastai, in the same words ──────────────────────────────────────────────────────────────────────────


def fastlearn_loaders(options: argparse.Namespace, cache: str | bool, flip_only: bool = False, **more: Any) -> Any:
    """fastlearn's loaders of the pictures in `options.folder`."""
    from fastlearn.vision.all import Flip, ImageDataLoaders, Normalize, Resize, aug_transforms, imagenet_stats

    return ImageDataLoaders.from_folder(
        options.folder,
        item_tfms=Resize(SIZE),
        batch_tfms=[*([Flip()] if flip_only else aug_transforms()), Normalize.from_stats(*imagenet_stats)],
        device="cpu",
        cache=cache,
        **{"bs": BATCH_SIZE, "num_workers": WORKERS} | more,
    )


def fastlearn(cache: str | bool, flip_only: bool = False) -> Build:
    def build(options: argparse.Namespace) -> Round:
        use_new_cache_folder()
        dls = fastlearn_loaders(options, cache, flip_only)
        return loading(lambda: dls.train)

    return build


def filling(flip_only: bool = False) -> Build:
    """Each round has a new cache."""

    def build(options: argparse.Namespace) -> Round:
        def epoch() -> Iterable[Any]:
            use_new_cache_folder()
            return fastlearn_loaders(options, "disk", flip_only).train

        return loading(epoch)

    return build


FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # of the cache in use; it goes when this process ends


def use_new_cache_folder() -> None:
    """An empty folder for fastlearn's caches; the one before is removed."""
    for folder in FOLDERS:
        folder.cleanup()
    FOLDERS[:] = [tempfile.TemporaryDirectory(prefix="fastlearn-bench-cache-")]
    os.environ["FASTLEARN_CACHE"] = FOLDERS[0].name


def fastai_loaders(options: argparse.Namespace, flip_only: bool = False, **more: Any) -> Any:
    """fastai's loaders of the same pictures."""
    from fastai.vision.all import Flip, ImageDataLoaders, Normalize, Resize, aug_transforms, imagenet_stats

    return ImageDataLoaders.from_folder(
        options.folder,
        item_tfms=Resize(SIZE),
        batch_tfms=[*([Flip()] if flip_only else aug_transforms()), Normalize.from_stats(*imagenet_stats)],
        device="cpu",
        **{"bs": BATCH_SIZE, "num_workers": WORKERS} | more,
    )


def fastai(flip_only: bool = False) -> Build:
    def build(options: argparse.Namespace) -> Round:
        dls = fastai_loaders(options, flip_only)
        return loading(lambda: dls.train)

    return build


# ── torch and torchvision ────────────────────────────────────────────────────────────────────────────────────────────


def open_scaled(path: str) -> Any:
    """Pillow's picture, decoded at a half, quarter or eighth if its short side is still 128 pixels then."""
    from PIL import Image

    picture = Image.open(path)
    picture.draft("RGB", (SIZE, SIZE))
    return picture.convert("RGB")


def decode(path: str) -> Any:
    """The picture as a uint8 tensor (3, height, width)."""
    from torchvision.io import ImageReadMode, decode_image

    return decode_image(path, ImageReadMode.RGB)


def torch_loader(
    options: argparse.Namespace, open_picture: Any = None, flip_only: bool = False, train: bool = True, **more: Any
) -> Any:
    """torch's loader over torchvision's folder; without `open_picture`, as `ImageFolder` opens pictures."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    bilinear = v2.InterpolationMode.BILINEAR
    augment = [
        v2.RandomApply([v2.RandomAffine(10, scale=(1, 1.1), interpolation=bilinear)], p=0.75),
        v2.RandomPerspective(0.2, p=0.75),
        v2.RandomApply([v2.ColorJitter(0.2, 0.2)], p=0.75),
    ]
    change = [v2.RandomCrop(SIZE), v2.RandomHorizontalFlip(), *([] if flip_only else augment)]
    transform = v2.Compose(
        [
            v2.Resize(SIZE),
            *(change if train else [v2.CenterCrop(SIZE)]),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    opener = {} if open_picture is None else {"loader": open_picture}
    folder = ImageFolder(str(options.folder / ("train" if train else "valid")), transform, **opener)
    usual = {"batch_size": BATCH_SIZE, "num_workers": WORKERS, "persistent_workers": True}
    return DataLoader(folder, shuffle=train, drop_last=train, **usual | more)


def torchvision(open_picture: Any = None, flip_only: bool = False) -> Build:
    def build(options: argparse.Namespace) -> Round:
        loader = torch_loader(options, open_picture, flip_only)
        return loading(lambda: loader)

    return build


def part(name: str, title: str, flip_only: bool) -> Measure:
    """All loaders with one kind of augmentation."""
    return Measure(
        name=name,
        title=f"Loading JPEGs (500 × 375) as batches of 64 at 128 px, two workers; {title}",
        contestants={
            "fastai": Contestant(fastai(flip_only), PEERS),
            "torchvision": Contestant(torchvision(None, flip_only)),
            "torchvision tensors": Contestant(torchvision(decode, flip_only)),
            "torchvision scaled": Contestant(torchvision(open_scaled, flip_only)),
            "fastlearn": Contestant(fastlearn(False, flip_only)),
            "fastlearn filling": Contestant(filling(flip_only)),
            "fastlearn disk": Contestant(fastlearn("disk", flip_only)),
            "fastlearn memory": Contestant(fastlearn("memory", flip_only)),
        },
        units={"rate": "images/s", "cpu": "ms/image"},
        scale={"cpu": 1e3},
        reference="fastai",
        add_options=add_jpeg_options,
        before=jpegs_before,
        after=jpegs_after,
    )


PARTS = {
    "augmented": part("loading", "crop and all usual augmentation", False),
    "flip": part("loading_flip", "crop and flip alone", True),
}

if __name__ == "__main__":
    main_parts(PARTS)
