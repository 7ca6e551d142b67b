"""A batch of random bytes, and what a pipeline makes of it."""

import torch

from fastlearn.data.transform import BatchPipeline
from fastlearn.runtime.seed import torch_rng
from fastlearn.vision.augment import (
    IntToFloatTensor,
)

KINDS = ("image", "category")


def bytes_batch(n=4, h=16, w=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, h, w), dtype=torch.uint8, generator=generator), torch.arange(n)


def run(tfms, batch=None, train=True, seed=0):
    pipeline = BatchPipeline([IntToFloatTensor(), *(tfms if isinstance(tfms, list) else [tfms])], KINDS)
    batch = bytes_batch() if batch is None else batch
    images, labels = pipeline(batch, torch_rng(seed, "batch"), train)
    assert torch.equal(labels, batch[1])
    return images


def plain(batch=None):
    return (bytes_batch() if batch is None else batch)[0].float() / 255


def parameters(tfm, n=4000, size=(32, 32)):
    return tfm.matrices(n, size, torch_rng(0))
