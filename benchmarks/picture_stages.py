"""Where the time of loading a picture goes: microseconds of each stage, on one thread without workers.

The pictures and what is done to them are those of `loading.py`'s `augmented`. A row is a stage by itself, over the same
pictures, or an epoch of the loader that they make up:

- `decode` opens a JPEG with Pillow and decodes it at a half of its size, `decode and resize` is all up to the array
  that a cache keeps.
- `sample from the cache` draws a sample's randomness, finds its picture in memory and cuts its window.
- `light` and `interpolation` are two of the batch transforms: a table of 256 levels for each picture, and torch's
  `grid_sample` with the places given. `all batch transforms` adds the places and the normalisation.
- `epoch` and `cached epoch` are the loader itself.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

from harness import Build, Contestant, Measure, Round, main, timed
from jpegs import add_jpeg_options, jpegs_after, jpegs_before, train_files
from loading import BATCH_SIZE, SIZE, fastlearn_loaders, use_new_cache_folder

N_PICTURES = 512


def each(n: int, work: Callable[[], object]) -> Round:
    """The round that does `work`, which handles `n` pictures; its figures are for one of them."""
    return lambda: {name: value / n for name, value in timed(work).items()}


def over_files(make: Callable[[Any], object]) -> Build:
    """`make` of every path."""

    def build(options: argparse.Namespace) -> Round:
        paths = train_files(options.folder)[:N_PICTURES]

        def work() -> None:
            for path in paths:
                make(path)

        return each(len(paths), work)

    return build


def decode(path: Any) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        picture.draft(None, (picture.width // 2, picture.height // 2))
        picture.load()


def decode_and_resize(path: Any) -> None:
    from fastlearn.pixels import Fixed, open_image, to_array

    to_array(open_image(path, fixed=Fixed((SIZE, SIZE))))


def sample(options: argparse.Namespace) -> Round:
    from fastlearn.runtime.seed import RunKey

    use_new_cache_folder()
    dls = fastlearn_loaders(options, "memory", num_workers=0)
    for _ in dls.train:
        pass
    data, n, key = dls.train_ds, min(N_PICTURES, len(dls.train_ds)), RunKey(0, "train", 0)

    def work() -> None:
        for index in range(n):
            data.sample(index, key.numpy_rng("sample", index), True)

    return each(n, work)


def batch_transforms(light_alone: bool) -> Build:
    """The pipeline over one batch of bytes, again and again."""

    def build(options: argparse.Namespace) -> Round:
        import torch

        from fastlearn.data.transform import BatchPipeline
        from fastlearn.vision.all import Brightness, Contrast, Normalize, aug_transforms, imagenet_stats

        tfms = [Brightness(), Contrast()] if light_alone else [*aug_transforms(), Normalize.from_stats(*imagenet_stats)]
        pipeline = BatchPipeline(tfms, ("image", "category"))
        batch = torch.randint(256, (BATCH_SIZE, 3, SIZE, SIZE), dtype=torch.uint8), torch.zeros(BATCH_SIZE)

        def work() -> None:
            for seed in range(N_PICTURES // BATCH_SIZE):
                pipeline(batch, torch.Generator().manual_seed(seed), True)

        return each(N_PICTURES, work)

    return build


def interpolation(options: argparse.Namespace) -> Round:
    import torch
    import torch.nn.functional as F

    pictures = torch.rand(5, 3, SIZE, SIZE)  # as many as fastlearn takes at a time
    matrix = torch.tensor([[1.02, 0.1, 0.02], [-0.1, 1.02, 0.01]]).expand(5, 2, 3)
    places = F.affine_grid(matrix, list(pictures.shape), align_corners=True)
    times = N_PICTURES // 5

    def work() -> None:
        for _ in range(times):
            F.grid_sample(pictures, places, padding_mode="reflection", align_corners=True)

    return each(5 * times, work)


def epoch(cache: str | bool) -> Build:
    def build(options: argparse.Namespace) -> Round:
        use_new_cache_folder()
        dls = fastlearn_loaders(options, cache, num_workers=0)
        n_batches = min(len(dls.train), N_PICTURES // BATCH_SIZE)

        def work() -> None:
            for _ in itertools.islice(dls.train, n_batches):
                pass

        if cache:
            for _ in dls.train:
                pass
        return each(n_batches * BATCH_SIZE, work)

    return build


MEASURE = Measure(
    name="picture_stages",
    title="Stages of loading one JPEG (500 × 375) as part of an augmented batch at 128 px, one thread, no workers",
    contestants={
        "epoch": Contestant(epoch(False)),
        "cached epoch": Contestant(epoch("memory")),
        "decode": Contestant(over_files(decode)),
        "decode and resize": Contestant(over_files(decode_and_resize)),
        "sample from the cache": Contestant(sample),
        "all batch transforms": Contestant(batch_transforms(light_alone=False)),
        "light": Contestant(batch_transforms(light_alone=True)),
        "interpolation": Contestant(interpolation),
    },
    units={"cpu": "µs"},
    scale={"cpu": 1e6},
    reference="epoch",
    add_options=add_jpeg_options,
    before=jpegs_before,
    after=jpegs_after,
)

if __name__ == "__main__":
    main(MEASURE)
