"""A trained model that predicts without the code that trained it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastlearn.arch.spec import ArchSpec
from fastlearn.errors import CheckpointError, DataError, FastlearnError
from fastlearn.export.answers import Answers, Label, Prediction
from fastlearn.export.card import Card
from fastlearn.export.preprocess import Preprocess
from fastlearn.export.sample import TOLERANCE, Sample
from fastlearn.options import checked_count, checked_list, named_options

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """What `load_learner` gives: it predicts, on the CPU, and does nothing else.

    `run` takes a batch that `preprocess` made and gives raw outputs, whose meaning `answers` knows.

    >>> model = load_learner("model.fl")
    >>> label, index, probabilities = model.predict("cat.jpg")
    """

    run: Run
    preprocess: Preprocess
    answers: Answers
    card: Card

    @property
    def vocab(self) -> tuple[Label, ...]:
        """The labels in the order of the probabilities; none for a regression."""
        return self.answers.vocab

    def predict(self, source: Any) -> Prediction:
        """(label, index, probabilities) for one picture, as `learn.predict` gives them.

        `source` is a path, bytes, a Pillow image or an array. Raises ImageError for what is no picture.

        >>> label, index, probabilities = model.predict("cat.jpg")
        """
        return self.predict_batch([source])[0]

    @named_options
    def predict_batch(self, sources: Sequence[Any], bs: int = 64) -> list[Prediction]:
        """The answers for several pictures in their order, `bs` of them at a time; ImageError names one that is none.

        >>> [answer.label for answer in model.predict_batch(["cat.jpg", "dog.jpg"])]
        """
        listed, step = checked_list(sources, "sources", "pictures"), checked_count(bs, "bs") or 64
        if not listed:
            raise DataError("There is no picture to predict.")
        batches = (self.preprocess.batch(listed[i : i + step]) for i in range(0, len(listed), step))
        return list(self._answers(batches))

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Those of uint8 pixels (batch, channels, height, width), resized already: (batch, n_out)."""
        return self._ask(self.preprocess.normalised(pixels))

    def check(self, sample: Sample, what: str) -> None:
        """Raise CheckpointError unless the model answers its sample as it did when it was exported."""
        far = sample.difference(self.probabilities(sample.pixels))
        if not far <= TOLERANCE:
            raise CheckpointError(
                f"{what} does not answer its own sample picture as it did when it was exported: the answer is off by "
                f"{far:.2g}, and {TOLERANCE:g} is allowed. Its parts do not fit each other, or an installed package "
                f"computes otherwise: it was made with {self._made_with()}. Export it again, or install these versions."
            )

    def _answers(self, batches: Iterator[Tensor]) -> Iterator[Prediction]:
        for batch in batches:
            probabilities = self._ask(batch)
            if not bool(probabilities.isfinite().all()):
                raise CheckpointError("The model answers with NaN: its weights are spoiled. Train again.")
            yield from map(self.answers.decode, probabilities)

    @torch.no_grad()
    def _ask(self, batch: Tensor) -> Tensor:
        probabilities = self.answers.activate(self.run(batch))
        if probabilities.shape != (len(batch), self.answers.n_out):
            raise CheckpointError(
                f"The model gives {tuple(probabilities.shape)}, expected {(len(batch), self.answers.n_out)}."
            )
        return probabilities

    def _made_with(self) -> str:
        told = ", ".join(f"{name} {version}" for name, version in self.card.versions.items())
        return told if told.isprintable() and 0 < len(told) < 200 else "unknown versions"

    def __repr__(self) -> str:
        spec = self.card.architecture
        by_name = isinstance(self.run, nn.Module) and spec is not None
        network = f"{spec['name']} of {spec['library']}" if spec and by_name else "an ONNX program"
        return f"TrainedModel({self.answers}; {network}; {self.preprocess})"


def rebuilt(spec: ArchSpec, weights: dict[str, Tensor], what: str) -> nn.Module:
    """The network that `spec` names with these weights, in evaluation mode on the CPU.

    Raises CheckpointError, which names `what`, where they do not fit each other; that is found out before the memory is
    taken that the spec asks for.
    """
    try:
        if len(spec.lin_ftrs or ()) > len(weights):
            raise CheckpointError(f"it asks for {len(spec.lin_ftrs or ()):,} layers in the head")
        with torch.random.fork_rng(devices=[]):  # layers are drawn at random first: leave the user's generator alone
            _check_shapes(_outline(spec), weights)
            model = spec.build(pretrained=False, init=None)
        _check_shapes(model, weights)
        model.load_state_dict(weights)
    except (FastlearnError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{what} does not fit {spec.name} of {spec.library}: {error}") from error
    return model.eval().requires_grad_(False)


def _outline(spec: ArchSpec) -> nn.Module | None:
    """The network without any values; None for the few that compute with values while they are made."""
    try:
        with torch.device("meta"):
            return spec.build(pretrained=False, init=None)
    except (FastlearnError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None  # whatever it is, the real one will tell


def _check_shapes(network: nn.Module | None, weights: dict[str, Tensor]) -> None:
    if network is None:
        return
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wrong := sorted(name for name in wanted | found if wanted.get(name) != found.get(name)):
        one = wrong[0]
        raise CheckpointError(
            f"{len(wrong)} of {len(wanted | found)} tensors are not those of the network; {one!r} is "
            f"{found.get(one, 'missing')}, expected {wanted.get(one, 'none')}."
        )
