"""`load_learner`: a trained model out of the file that `learn.export` wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from fastlearn.arch.spec import ArchSpec
from fastlearn.errors import CheckpointError
from fastlearn.export.answers import Answers
from fastlearn.export.bundle import CARD, PROGRAM, SAMPLE, WEIGHTS, read_bundle
from fastlearn.export.card import Card, read_card
from fastlearn.export.model import Run, TrainedModel, rebuilt
from fastlearn.export.onnx import OnnxProgram
from fastlearn.export.preprocess import Preprocess
from fastlearn.export.sample import Sample
from fastlearn.options import named_options
from fastlearn.paths import printable
from fastlearn.runtime.tensor_bytes import load_tensors


@named_options
def load_learner(file: str | os.PathLike[str], onnx: bool = False) -> TrainedModel:
    """The model that `learn.export` wrote, ready to predict on the CPU, without data and training code.

    A torchvision or timm architecture is rebuilt by its name. A module of one's own is run as an ONNX program by
    onnxruntime; so is any that was exported with `onnx=True`, if `onnx=True` is asked for here too. Nothing in the file
    is executed as Python, no pickle is read, and the model has answered its own sample picture as it should before it
    is given back.

    Raises CheckpointError for a file that is missing, damaged (DamagedFileError) or of another program, such as
    fast.ai's export.pkl; MissingExtraError if an ONNX program needs packages that are not there.

    >>> model = load_learner("model.fl")
    >>> label, index, probabilities = model.predict("cat.jpg")
    """
    return model_of(read_bundle(file), printable(file), onnx)


def model_of(members: Mapping[str, bytes], name: str, onnx: bool = False) -> TrainedModel:
    """The model of a bundle's members, after it has answered its sample. Raises CheckpointError, which has `name`."""
    card = read_card(members[CARD], f"{CARD} of {name}")
    preprocess, spec = _described(card, name)
    by_name = spec is not None and not onnx
    run = _network(members, spec, name) if by_name else _program(members, preprocess, name)  # type: ignore[arg-type]
    model = TrainedModel(run, preprocess, card.answers, card)
    if SAMPLE in members:
        sample = Sample.from_bytes(members[SAMPLE], f"{SAMPLE} of {name}")
        _check_sample(sample, preprocess, card.answers, name)
        model.check(sample, name)
    return model


def _described(card: Card, name: str) -> tuple[Preprocess, ArchSpec | None]:
    """The preprocessing and the architecture of a card, which fit its answers and each other."""
    try:
        preprocess = Preprocess.from_json(card.preprocess)
        if card.architecture is None:
            return preprocess, None
        msgspec.convert(card.architecture, ArchSpec)  # is strict about types, as from_json is about names
        spec = ArchSpec.from_json(card.architecture)
    except (CheckpointError, msgspec.ValidationError) as error:
        raise CheckpointError(f"{CARD} of {name} describes no model: {error}") from error
    if (spec.n_out, spec.n_in) != (card.answers.n_out, preprocess.n_channels):
        raise CheckpointError(
            f"{CARD} of {name} contradicts itself: a network of {spec.n_in} channels and {spec.n_out} outputs, for "
            f"{preprocess} and {card.answers.n_out} outputs."
        )
    return preprocess, spec


def _network(members: Mapping[str, bytes], spec: ArchSpec, name: str) -> Run:
    weights, _ = load_tensors(members[WEIGHTS], f"{WEIGHTS} of {name}")
    return rebuilt(spec, weights, f"{WEIGHTS} of {name}")


def _program(members: Mapping[str, bytes], preprocess: Preprocess, name: str) -> Run:
    if PROGRAM not in members:
        raise CheckpointError(
            f"{name} has no ONNX program in it. Export it with one, learn.export({name!r}, onnx=True), or load it "
            "without onnx=True."
        )
    return OnnxProgram(members[PROGRAM], preprocess.n_channels, f"{PROGRAM} of {name}")


def _check_sample(sample: Sample, preprocess: Preprocess, answers: Answers, name: str) -> None:
    _, channels, height, width = sample.pixels.shape
    right = preprocess.size in (None, (height, width)) and channels == preprocess.n_channels
    if not right or sample.expected.shape[1] != answers.n_out:
        raise CheckpointError(
            f"{SAMPLE} of {name} is of another model: {channels} channels of {width}x{height} and "
            f"{sample.expected.shape[1]} outputs, for {preprocess} and {answers.n_out} outputs."
        )
