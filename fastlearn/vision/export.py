"""A vision learner as one file: how it reads pictures and what its outputs mean, as plain values, proved first."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fastlearn.arch.spec import ArchSpec
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import CheckpointError, ConfigError
from fastlearn.export.answers import Activation, Answers, as_labels
from fastlearn.export.bundle import CARD, PROGRAM, SAMPLE, WEIGHTS, bundle_path, write_bundle
from fastlearn.export.card import Card, versions
from fastlearn.export.load import model_of
from fastlearn.export.model import TrainedModel, rebuilt
from fastlearn.export.onnx import to_onnx
from fastlearn.export.preprocess import Preprocess
from fastlearn.export.sample import TOLERANCE, Sample, drawn_pictures, drawn_sample
from fastlearn.losses import activation_of, decodes_of
from fastlearn.options import found
from fastlearn.paths import printable
from fastlearn.runtime.json_bytes import write_json
from fastlearn.runtime.modes import evaluating
from fastlearn.runtime.tensor_bytes import save_tensors
from fastlearn.task import Classification, MultiLabel, Regression
from fastlearn.training.preflight import first_samples
from fastlearn.vision.blocks import ImagePart
from fastlearn.vision.transforms import Resize

if TYPE_CHECKING:
    from fastlearn.learner import Learner

_PROBES = ((53, 71), (71, 47))  # (height, width): a wide picture and a tall one
_ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid", "exp", "none")
_ON_GPU = 1e-2  # how far a GPU, which may round products to TF32, is from the CPU that the exported model runs on


def export_learner(
    learn: Learner,
    file: str | os.PathLike[str],
    onnx: bool = False,
    licence: str = "",
    training: dict[str, Any] | None = None,
) -> Path:
    """Write all that `load_learner` needs to predict without training code, and give the path; see `Learner.export`.

    `training` is any JSON that tells how the model came about, beside what the learner knows of it.
    """
    path = bundle_path(file)
    if not isinstance(licence, str):
        raise ConfigError(f"licence is a text such as 'CC-BY-4.0', not {found(licence)}.")
    preprocess, answers = preprocess_of(learn.dls), answers_of(learn)
    pictures = drawn_pictures(preprocess.n_channels, preprocess.size or _first_size(learn.dls))
    batch = preprocess.normalised(pictures)
    own = answers.activate(_outputs(learn, batch, answers))
    weights = {name: one for name, one in learn.model.state_dict().items() if isinstance(one, Tensor)}
    spec = _truthful_spec(learn, weights, batch, answers, own)
    card = Card(
        answers=answers,
        architecture=None if spec is None else spec.to_json(),
        preprocess=preprocess.to_json(),
        licence=licence,
        training=_story(learn) | (training or {}),
        versions=versions(),
    )
    members = {CARD: write_json(card), WEIGHTS: save_tensors(weights)}
    if onnx or spec is None:
        members[PROGRAM] = to_onnx(learn.model, batch[:2].to(learn.device), any_size=preprocess.size is None)
    name = printable(path)
    model = model_of(members, name)
    sample = drawn_sample(model.probabilities, answers, pictures)
    _check_same(model, pictures, own, learn)
    members[SAMPLE] = sample.to_bytes()
    if onnx and spec is not None:
        model_of(members, name, onnx=True)  # which answers the sample as the network does, or says by how much not
    write_bundle(path, members)
    return path


def _outputs(learn: Learner, batch: Tensor, answers: Answers) -> Tensor:
    """What the learner's model gives for normalised pictures, without mixed precision, on the CPU."""
    others = {p.dtype for p in learn.model.parameters() if p.is_floating_point() and p.dtype != torch.float32}
    if others:
        raise ConfigError(
            f"An exported model computes in float32, and this one has weights of {' and '.join(map(str, others))}. "
            "Type learn.model.float() first; for mixed precision, learn.to_fp16() leaves the weights as they are."
        )
    with evaluating(learn.model), torch.no_grad():
        outputs = learn.model(batch.to(learn.device))
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if shape not in {(len(batch), answers.n_out), (len(batch),) if answers.n_out == 1 else None}:
        raise ConfigError(f"Cannot export a model that gives {shape}. Expected ({len(batch)}, {answers.n_out}).")
    if not bool(outputs.isfinite().all()):
        raise ConfigError("The model answers with NaN: its weights are spoiled. Train again before you export it.")
    return outputs.cpu()


def _truthful_spec(
    learn: Learner, weights: dict[str, Tensor], batch: Tensor, answers: Answers, own: Tensor
) -> ArchSpec | None:
    """The name that the model can be rebuilt by; None if it has none, or was changed since it was made by it."""
    spec = getattr(learn.model, "spec", None)
    if spec is None:
        return None
    try:
        network = rebuilt(spec, {name: tensor.cpu() for name, tensor in weights.items()}, "The model")
        with torch.no_grad():
            rebuilt_own = answers.activate(network(batch))
    except (CheckpointError, RuntimeError):  # other layers than it was made with
        return None
    return spec if _difference(own, rebuilt_own) <= _allowed(learn) else None


def _check_same(model: TrainedModel, pictures: Tensor, own: Tensor, learn: Learner) -> None:
    """Raise ConfigError unless the exported model answers as the learner's own did."""
    far = _difference(own, model.probabilities(pictures))
    if not far <= _allowed(learn):
        raise ConfigError(
            f"The exported model would answer otherwise than the learner: off by {far:.2g}, where {_allowed(learn):g} "
            "is allowed. Nothing was written. Does the model's forward draw random numbers, or keep something from one "
            "call to the next? An exported program cannot."
        )


def _difference(own: Tensor, found: Tensor) -> float:
    return Sample(torch.empty(0), own).difference(found)


def _allowed(learn: Learner) -> float:
    return TOLERANCE if learn.device.type == "cpu" else _ON_GPU


def _first_size(dls: DataLoaders) -> tuple[int, int]:
    """(height, width) of the first picture, where pictures keep their own size."""
    batch = first_samples(dls.loaders[-1], torch.device("cpu"), 1)
    assert batch is not None
    return int(batch[0].shape[-2]), int(batch[0].shape[-1])


def _story(learn: Learner) -> dict[str, Any]:
    """What the learner knows of its training; no path of this machine."""
    names = [name for name in learn.recorder.metric_names if name not in ("epoch", "time")]
    result = {name: learn.recorder.final_value(name) for name in names}
    sizes = {"train": len(learn.dls.train_ds)} | ({"valid": len(learn.dls.valid_ds)} if len(learn.dls) > 1 else {})
    return {
        "pictures": sizes,
        "epochs": learn.epoch,
        "bs": learn.dls.bs,
        "seed": learn.seed,
        "result": {name: value for name, value in result.items() if math.isfinite(value)},
    }


def answers_of(learn: Learner) -> Answers:
    """What the outputs of a learner's model mean, as plain values. Raises ConfigError if they cannot say it.

    The loss function is asked about outputs drawn at random, and what it says must be one of the ways that there are.

    >>> answers_of(learn).activation
    """
    task: Any = learn.task
    if not isinstance(task, (Classification, MultiLabel, Regression)):
        name = getattr(task, "name", None) or "unknown: the data do not say it"
        raise ConfigError(
            f"Only a learner of labels or numbers can be exported, and the task of this one is {name}. "
            "learn.save keeps the weights of any."
        )
    vocab = () if isinstance(task, Regression) else as_labels(task.vocab)
    thresh = float(getattr(learn.loss_func, "thresh", getattr(task, "thresh", 0.5)))
    outputs = torch.randn(64, task.n_out, generator=torch.Generator().manual_seed(0)) * 3
    for activation in _ACTIVATIONS:
        made = Answers(task.name, activation, task.n_out, vocab, thresh)  # type: ignore[arg-type]
        if _means_the_same(made, learn.loss_func, task, outputs):
            return made
    loss = getattr(learn.loss_func, "__name__", type(learn.loss_func).__name__)
    raise ConfigError(
        f"The loss {loss} reads the model's outputs in a way of its own (its activation or decodes), which an exported "
        "model cannot. It can do softmax, sigmoid, exp or nothing, and name the largest, or those above one threshold."
    )


def _means_the_same(made: Answers, loss_func: Any, task: Any, outputs: Tensor) -> bool:
    wanted = activation_of(loss_func)(outputs)
    ours = made.activate(outputs)
    if wanted.shape != ours.shape or not torch.allclose(wanted, ours, atol=1e-6):
        return False
    labels = [task.decode(decoded) for decoded in decodes_of(loss_func)(wanted)]
    if not isinstance(task, Regression):
        labels = [list(as_labels(one)) if isinstance(one, list) else as_labels([one])[0] for one in labels]
    return labels == [made.decode(row).label for row in wanted]


def preprocess_of(dls: DataLoaders) -> Preprocess:
    """What the validation loader of `dls` does to a picture, as plain values. Raises ConfigError if they cannot say it.

    >>> preprocess_of(learn.dls).size
    """
    from fastlearn.vision.batch import Normalize

    dataset, pipeline = getattr(dls.train, "dataset", None), getattr(dls.train, "after_batch", None)
    block = next(iter(getattr(dataset, "blocks", ())), None)
    if not isinstance(block, ImagePart) or dls.n_inp != 1 or pipeline is None or dataset is None:
        raise ConfigError(
            "Export needs loaders of one picture a sample, made by ImageDataLoaders or a DataBlock: they say how a "
            "picture is read. learn.save keeps the weights without them."
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
            "An exported model can do Resize and Normalize, and these loaders do more to a validation picture: "
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
