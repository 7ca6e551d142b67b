"""A frozen body gives the same features in every epoch: they are computed once, and the head is trained on them.

What is fixed is the body, in evaluation mode, and the head's first layers as far as they learn nothing and draw nothing
(pooling, flattening), so that what is kept of a picture is one short vector.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from fastlearn.arch.head import AdaptiveConcatPool2d, ChannelsLastPool, TokenPool
from fastlearn.data.cache_folder import in_units
from fastlearn.data.loaders import DataLoader
from fastlearn.runtime.memory import free_memory
from fastlearn.runtime.memory_format import as_channels_last
from fastlearn.runtime.modes import evaluating
from fastlearn.runtime.pieces import has_hooks, is_body_and_head, is_plain, joined, split
from fastlearn.runtime.precision import Precision
from fastlearn.runtime.seed import RunKey
from fastlearn.training.callback import Callback, FunctionCallback
from fastlearn.training.explain import is_out_of_memory
from fastlearn.training.fold import folded

MEMORY_PART = 0.25  # of the free memory, which the features may take
# Layers without parameters that do the same in training and in evaluation. A subclass may do anything.
_FIXED_LAYERS: tuple[type[nn.Module], ...] = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.MaxPool2d,
    nn.Flatten,
    nn.Identity,
    AdaptiveConcatPool2d,
    ChannelsLastPool,
    TokenPool,
)
_STATISTICS = (_BatchNorm, _InstanceNorm)


class NotKept(Exception):
    """Why the features are not kept, as the end of a sentence; the head is then trained through the whole network."""


@dataclass(frozen=True)
class Parts:
    """A model in two: `fixed` gives the same for a picture in every epoch, `rest` is what is trained on that."""

    fixed: nn.Sequential
    rest: nn.Sequential


def parts_of(model: nn.Module, eval_modules: Iterable[nn.Module]) -> Parts:
    """The two parts of a Sequential of a body and a head; `eval_modules` keep their statistics while it is trained.

    Raises NotKept where the body may change while the head is trained, or where somebody watches it run.
    """
    if not is_body_and_head(model):
        raise NotKept("the model is not a Sequential of two, a body and a head")
    body, head = model[0], model[1]  # type: ignore[index]
    layers = list(head) if is_plain(head) else [head]
    n_fixed = next((k for k, layer in enumerate(layers) if not _is_fixed(layer)), len(layers))
    fixed = nn.Sequential(body, *layers[:n_fixed])
    _check_unchanging(fixed, set(eval_modules))
    # The head itself is not called where its layers are called one by one.
    _check_unwatched(model, {*fixed.modules(), model, *([head] if is_plain(head) else [])})
    return Parts(fixed, nn.Sequential(*layers[n_fixed:]))


def _is_fixed(layer: nn.Module) -> bool:
    return type(layer) in _FIXED_LAYERS


def _check_unchanging(fixed: nn.Module, in_eval: set[nn.Module]) -> None:
    if any(isinstance(module, _STATISTICS) and module not in in_eval for module in fixed.modules()):
        raise NotKept("with bn='train' the body's batch norms follow the batches")
    trained = next((name for name, parameter in fixed[0].named_parameters() if parameter.requires_grad), None)  # type: ignore[index]
    if trained is not None:
        raise NotKept(f"the body is not frozen: its {trained} is trained")


def _check_unwatched(model: nn.Module, watched: set[nn.Module]) -> None:
    for name, module in model.named_modules():
        if module in watched and has_hooks(module):
            raise NotKept(f"{name or 'the model'} has a hook, which wants to see every batch")


def check_callbacks(callbacks: Iterable[Callback]) -> None:
    """Raise NotKept for the first callback that needs the pictures of each batch.

    One that overrides `before_batch` may replace the inputs, so it is taken to need them unless its `needs_inputs` is
    False; any other is taken to need them where that is True.
    """
    for callback in callbacks:
        needs = callback.needs_inputs
        if needs is None:
            needs = (
                callback.event == "before_batch"
                if isinstance(callback, FunctionCallback)
                else type(callback).before_batch is not Callback.before_batch
            )
        if needs:
            raise NotKept(f"{callback!r} works on the pictures of each batch")


def check_loaders(train: Any, valid: Any) -> None:
    """Raise NotKept unless both loaders can be read in order, without random changes, and give one input a sample."""
    for name, loader in (("training", train), ("validation", valid)):
        if loader is None:
            continue
        if not isinstance(loader, DataLoader):
            raise NotKept(f"only fastlearn's own loaders can be read without random changes, and the {name} one is not")
        if not (loader.ours or isinstance(loader.dataset, (list, tuple, torch.utils.data.TensorDataset))):
            kind = type(loader.dataset).__name__
            raise NotKept(f"a {kind} may give another sample for the same index each time")
        if loader.n_inp != 1:
            raise NotKept(f"the {name} samples have {loader.n_inp} inputs")
    if valid is not None and valid.train:
        raise NotKept("the validation pictures are changed at random")


@dataclass(frozen=True)
class Features:
    """What was kept of the samples of a loader in `n_views` forms, one form after the other, on the loader's device.

    `inputs` (n_views · samples, channels) or with more dimensions, `targets` (n_views · samples, …) each.
    """

    inputs: Tensor
    targets: tuple[Tensor, ...]
    n_views: int = 1


class FeatureReader:
    """Runs the fixed part of a model over loaders, once; `progress(n)` is called after each batch of n samples."""

    def __init__(
        self,
        fixed: nn.Module,
        precision: Precision,
        channels_last: bool = False,
        in_pieces: bool = False,
        progress: Callable[[int], object] = lambda n: None,
    ) -> None:
        self.fixed, self.precision, self.progress = fixed, precision, progress
        self.channels_last, self.in_pieces = channels_last, in_pieces
        # With batch norms folded away, which saves a fifth of the time and changes the features by a millionth. bf16
        # would be faster still on some CPUs, but is thousands of times coarser, and the head would be measured on other
        # features than the whole model gives: that stays with the learner's own precision.
        self._fast: nn.Module | None = None

    def read(self, loader: DataLoader, passes: Sequence[tuple[bool, RunKey]], n_others: int = 0) -> Features:
        """The features of every sample in the data set's order, in each of `passes` (changed at random, key).

        Raises NotKept if they, with `n_others` samples to come, do not fit the memory, or have no common shape.
        """
        inputs: list[Tensor] = []
        targets: list[tuple[Tensor, ...]] = []
        with evaluating(self.fixed), torch.no_grad():  # not inference_mode: these tensors are trained on
            for train, key in passes:
                ordered = loader.new(shuffle=False, drop_last=False, weights=None, train=train)
                with closing(ordered.batches(key)) as batches:  # type: ignore[type-var]
                    for batch in batches:
                        given = self._run(batch[0])
                        if not inputs:
                            _check_room(given, batch[1:], len(passes) * loader.n + n_others)
                        elif given.shape[1:] != inputs[0].shape[1:]:
                            raise NotKept("the pictures are of several sizes, and their features too")
                        inputs.append(given)
                        targets.append(tuple(batch[1:]))
                        self.progress(len(given))
        return Features(
            torch.cat(inputs), tuple(torch.cat(column) for column in zip(*targets, strict=True)), len(passes)
        )

    def _run(self, pictures: Any) -> Tensor:
        if not isinstance(pictures, Tensor):
            raise NotKept(f"the inputs are a {type(pictures).__name__}, not a tensor")
        if self.channels_last:
            pictures = as_channels_last(pictures)  # type: ignore[assignment]
        if self._fast is None:
            self._fast = folded(self.fixed, (pictures[:2],))
        try:
            with self.precision.autocast():
                pieces = split(pictures) if self.in_pieces else (pictures,)
                given = joined([self._fast(piece) for piece in pieces])
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise NotKept("there is no memory to compute them in batches of this size") from error
            raise
        if not isinstance(given, Tensor):
            raise NotKept(f"the body gives a {type(given).__name__}, not a tensor")
        return given


def _check_room(given: Tensor, targets: Sequence[Any], n_samples: int) -> None:
    if not all(isinstance(target, Tensor) and len(target) == len(given) for target in targets):
        raise NotKept("the targets are not one tensor row for each picture")
    a_sample = sum(part.nbytes for part in (given, *targets)) / len(given)
    needed, free = n_samples * a_sample, _free_on(given.device)
    if needed > MEMORY_PART * free:
        raise NotKept(
            f"the body's features take {in_units(needed)}, and {in_units(MEMORY_PART * free)} (a quarter of the free "
            "memory) are for them"
        )


def _free_on(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()


class FeatureLoader:
    """Batches of kept features in the place of `source`'s batches of pictures: the same samples in the same order.

    The shuffling, the weights and the batch size are those of `source`. An epoch is `n_passes` passes over the samples,
    each in an order of its own. Of several views of a sample, one is drawn each time. With `joined`, a last batch of a
    single sample, which has no variance for a batch norm to learn from, is a part of the one before it.
    """

    n_inp = 1

    def __init__(self, source: DataLoader, features: Features, n_passes: int = 1, joined: bool = False) -> None:
        self.source, self.features, self.n_passes = source, features, n_passes
        self.bs: int | None = source.bs
        self.device, self.dataset = source.device, source.dataset
        single = source.n % source.bs == 1 and source.n > source.bs > 1 and not source.drop_last
        self._a_pass = len(source) - (joined and single)
        self._size = source.n if not source.drop_last else len(source) * source.bs

    def with_passes(self, n_passes: int) -> FeatureLoader:
        """The same with `n_passes` passes an epoch."""
        made = copy.copy(self)
        made.n_passes = n_passes
        return made

    def __len__(self) -> int:
        return self._a_pass * self.n_passes

    def batches(self, key: RunKey, start: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """The batches of the epoch `key` from number `start` on."""
        for number in range(start // max(1, self._a_pass), self.n_passes):
            rows = torch.from_numpy(self._rows(key, number)).to(self.device)
            for k in range(max(0, start - number * self._a_pass), self._a_pass):
                at = rows[self._slice(k)]
                yield self.features.inputs[at], *(target[at] for target in self.features.targets)

    def indices(self, key: RunKey, i: int) -> list[int]:
        """The positions of the samples in batch `i` of the epoch `key`."""
        number, k = divmod(range(len(self))[i], self._a_pass)
        return self._order(key, number)[self._slice(k)].tolist()

    def _slice(self, k: int) -> slice:
        bs = self.source.bs
        return slice(k * bs, self._size if k == self._a_pass - 1 else (k + 1) * bs)

    def _order(self, key: RunKey, number: int) -> np.ndarray:
        """The first pass is in the order that the pictures would come in."""
        return self.source.order(RunKey(key.derive("pass", number), key.stream, key.epoch) if number else key)

    def _rows(self, key: RunKey, number: int) -> np.ndarray:
        """Where in the features the samples of a pass are."""
        order = self._order(key, number).astype(np.int64)
        if self.features.n_views == 1:
            return order
        rng = key.numpy_rng("view", number)
        return order + self.source.n * rng.integers(self.features.n_views, size=len(order))


@dataclass(frozen=True)
class HeadTraining:
    """What a fit of the head needs in the place of the learner's own loaders and step."""

    train: FeatureLoader
    valid: FeatureLoader | None
    network: nn.Module  # from features to outputs

    def with_passes(self, n_passes: int) -> HeadTraining:
        """The same with `n_passes` passes over the features in an epoch."""
        return replace(self, train=self.train.with_passes(n_passes))


def keep_features(
    parts: Parts,
    train: DataLoader,
    valid: DataLoader | None,
    *,
    seed: int,
    n_views: int,
    precision: Precision,
    channels_last: bool = False,
    in_pieces: bool = False,
    progress: Callable[[int], object] = lambda n: None,
) -> HeadTraining:
    """Compute the features of both sets. The first view is the one of validation, the others are changed at random."""
    reader = FeatureReader(parts.fixed, precision, channels_last, in_pieces, progress)
    passes = [(view > 0, RunKey(seed, "features", view)) for view in range(n_views)]
    kept = reader.read(train, passes, n_others=0 if valid is None else valid.n)
    kept_valid = None if valid is None else reader.read(valid, [(False, RunKey(seed, "valid", 0))])
    return HeadTraining(
        FeatureLoader(train, kept, joined=True),
        None if valid is None or kept_valid is None else FeatureLoader(valid, kept_valid),
        parts.rest,
    )
