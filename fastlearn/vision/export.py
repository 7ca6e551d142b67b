"""A vision learner as a model folder: its preprocessing is read from the loaders, and proved on a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.export.model_folder import write_model_folder
from fastlearn.export.preprocess import Preprocess
from fastlearn.task import Classification
from fastlearn.vision.blocks import ImagePart
from fastlearn.vision.transforms import Resize

if TYPE_CHECKING:
    from fastlearn.learner import Learner

_PROBES = ((53, 71), (71, 47))  # (height, width): a wide picture and a tall one


def save_model_folder(learn: Learner, folder: str | os.PathLike[str], training: dict[str, Any] | None = None) -> Path:
    """Write `model.safetensors` and `model.json`: all that `load_model_folder` needs to predict without training code.

    Raises ConfigError for a learner that cannot be rebuilt by name: one with a model, a cut or a head of the user's
    own, another task than classification, or transforms that are more than a `Resize` and a `Normalize`.

    >>> save_model_folder(learn, "pets-model")
    """
    spec = getattr(learn.model, "spec", None)
    if spec is None:
        raise ConfigError(
            "A model folder needs an architecture that has a name, and this model has parts of your own. Make the "
            "learner by vision_learner(dls, resnet18), say, or keep the weights alone: learn.save('mine')."
        )
    task = learn.task
    if not isinstance(task, Classification):
        raise ConfigError(f"A model folder holds a classifier; this learner's task is {getattr(task, 'name', None)}.")
    return write_model_folder(folder, learn.model, spec, task.vocab, preprocess_of(learn.dls), training)


def preprocess_of(dls: DataLoaders) -> Preprocess:
    """What the validation loader of `dls` does to a picture, as plain values. Raises ConfigError if they cannot say it.

    >>> preprocess_of(learn.dls).size
    """
    from fastlearn.vision.batch import Normalize

    dataset, pipeline = dls.train_ds, getattr(dls.train, "after_batch", None)
    block = next(iter(getattr(dataset, "blocks", ())), None)
    if not isinstance(block, ImagePart) or dls.n_inp != 1 or pipeline is None:
        raise ConfigError(
            "A model folder needs loaders of one picture a sample, made by ImageDataLoaders or a DataBlock."
        )
    resize = next((tfm for tfm in dataset.item_tfms if isinstance(tfm, Resize)), None)
    norm = next((tfm for tfm in pipeline.tfms if isinstance(tfm, Normalize)), None)
    made = Preprocess(
        size=None if resize is None else resize.size,
        method="crop" if resize is None else resize.method.value,
        pad_mode="reflection" if resize is None else resize.pad_mode.value,
        mode=block.cls.pixel_mode,
        mean=None if norm is None else tuple(norm.mean.tolist()),
        std=None if norm is None else tuple(norm.std.tolist()),
    )
    if not all(_agrees(made, block, dataset.item_tfms, pipeline.tfms, size) for size in _PROBES):
        changes = ", ".join(map(repr, [*dataset.item_tfms, *pipeline.tfms]))
        raise ConfigError(
            "A model folder can say Resize and Normalize, and these loaders do more to a validation picture: "
            f"{changes}. Leave the others out, or let them act in training only."
        )
    return made


def _agrees(made: Preprocess, block: ImagePart, item_tfms: Any, batch_tfms: Any, size: tuple[int, int]) -> bool:
    """Whether both ways give the same for one picture of noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    sample: tuple[Any, ...] = (block.create(noise),)
    for tfm in item_tfms:
        sample = tfm(sample, ("image",), rng, False)
    batch: tuple[Any, ...] = (torch.from_numpy(np.array(block.encode(sample[0])))[None],)
    for tfm in batch_tfms:
        batch = tfm(batch, ("image",), torch.Generator().manual_seed(0), False)
    wanted = made.batch([noise])
    return batch[0].shape == wanted.shape and bool(torch.allclose(batch[0], wanted, atol=1e-6))
