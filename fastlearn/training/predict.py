"""Running a model over a loader without training it: predictions, targets, inputs, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fastlearn.data.summary import seen
from fastlearn.errors import DataError, DeviceMemoryError, FastlearnError
from fastlearn.runtime import pieces
from fastlearn.runtime.device import to_cpu
from fastlearn.runtime.memory_format import as_channels_last
from fastlearn.runtime.modes import evaluating
from fastlearn.runtime.precision import Precision
from fastlearn.runtime.seed import RunKey
from fastlearn.training.explain import is_out_of_memory
from fastlearn.training.fold import folded
from fastlearn.training.state import count_samples

if TYPE_CHECKING:
    from fastlearn.data.loaders import Loader


FOLD_FROM = 256  # samples of all passes: to fold ResNet18 takes as long as ten pictures, and saves a tenth or more


@dataclass(frozen=True)
class Predictions:
    """What a pass over a loader gave, on the CPU and in the loader's order.

    `outputs` are raw (before the loss function's activation); `targets` is None for a loader without labels; `inputs`
    and `losses` (one a sample) are None unless asked for.
    """

    outputs: torch.Tensor
    targets: Any
    inputs: Any = None
    losses: torch.Tensor | None = None


@torch.no_grad()
def predict_loader(
    model: nn.Module,
    loader: Loader,
    precision: Precision,
    key: RunKey,
    *,
    n_inp: int,
    loss_func: Callable[..., torch.Tensor] | None = None,
    with_input: bool = False,
    channels_last: bool = False,
    in_pieces: bool = False,
    network: Network | None = None,
) -> Predictions:
    """Run `model` in evaluation mode over every batch; with `loss_func` (one value a sample) also the losses.

    `network` is what runs in its place, shared by passes that belong together. `no_grad` and not `inference_mode`,
    because a module may keep a tensor made here and train with it later. Raises DataError for an empty loader.
    """
    outputs, targets, inputs, losses = [], [], [], []
    network = Network(model, loader) if network is None else network
    with evaluating(model):
        batches = loader.batches(key)
        with closing(batches):  # type: ignore[type-var]
            for batch in batches:
                parts = batch if isinstance(batch, (tuple, list)) else (batch,)
                xs, ys = tuple(parts[:n_inp]), tuple(parts[n_inp:])
                if channels_last:
                    xs = tuple(as_channels_last(x) for x in xs)
                out = _run(network.of(xs), xs, precision, in_pieces)
                out = out.float() if isinstance(out, torch.Tensor) and out.is_floating_point() else out
                outputs.append(to_cpu(out))
                if ys:
                    targets.append(to_cpu(ys[0] if len(ys) == 1 else ys))
                if with_input:
                    inputs.append(to_cpu(xs[0] if len(xs) == 1 else xs))
                if loss_func is not None and ys:
                    losses.append(to_cpu(loss_func(out, *ys)))
    if not outputs:
        raise DataError("There is nothing to predict: the loader gave no batch.")
    return Predictions(
        _join(outputs),
        _join(targets) if targets else None,
        _join(inputs) if inputs else None,
        torch.cat(losses) if losses else None,
    )


class Network:
    """What a pass runs: the model, or for many samples a copy of it with its batch norms folded.

    It is decided by the number of samples in all, not by batches, so that the size of these changes nothing, and good
    for as long as the model's weights are the same. `n_passes` says how often the loader will be read.
    """

    def __init__(self, model: nn.Module, loader: Loader, n_passes: int = 1) -> None:
        n_samples = getattr(loader, "n", None) or len(loader) * (loader.bs or 1)
        self.model, self._worth = model, n_samples * n_passes >= FOLD_FROM
        self._made: nn.Module | None = None

    def of(self, xs: tuple[Any, ...]) -> nn.Module:
        """The module to run `xs` through; the first samples of the first batch are tried on the copy."""
        if not self._worth:
            return self.model
        if self._made is None:
            few = tuple(x[:2] if isinstance(x, torch.Tensor) and x.ndim else x for x in xs)
            self._made = folded(self.model, few)
        return self._made


def _run(model: nn.Module, xs: tuple[Any, ...], precision: Precision, in_pieces: bool) -> Any:
    try:
        with precision.autocast():
            return pieces.in_pieces(model, xs) if in_pieces else model(*xs)
    except FastlearnError:
        raise
    except (AttributeError, IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        if not is_out_of_memory(error):
            raise DataError(
                f"The model {type(model).__name__} does not take the inputs {', '.join(map(seen, xs))}: {error}. "
                "dls.one_batch()[0].shape is what it learns from; learn.get_preds(dl=dls.test_dl(items)) makes such "
                "batches of new items."
            ) from error
        size = count_samples(xs)
        raise DeviceMemoryError(
            f"{precision.device.type.upper()} ran out of memory with a batch of {size} in prediction. Predict in "
            f"smaller batches: learn.get_preds(dl=dls.test_dl(items, bs={max(1, size // 2)}))."
        ) from error


def _join(parts: list[Any]) -> Any:
    """Concatenate tensors along the first dimension, through tuples, lists and dicts."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(parts) if first.ndim else torch.stack(parts)
    if isinstance(first, (tuple, list)):
        return type(first)(_join(list(group)) for group in zip(*parts, strict=True))
    if isinstance(first, dict):
        return {name: _join([part[name] for part in parts]) for name in first}
    return [item for part in parts for item in part]


class FirstBatches:
    """The first `n` batches of a loader, behind the same face."""

    def __init__(self, loader: Loader, n: int) -> None:
        self.inner, self.n = loader, n
        self.n_inp, self.bs, self.device = loader.n_inp, loader.bs, loader.device

    def __len__(self) -> int:
        return min(self.n, len(self.inner))

    def batches(self, key: RunKey, start: int = 0) -> Iterator[Any]:
        """Those from `start` on, up to the n-th of the pass."""
        batches = self.inner.batches(key, start)
        try:
            for index, batch in enumerate(batches, start):
                if index >= self.n:
                    return
                yield batch
        finally:
            batches.close()  # type: ignore[attr-defined]
