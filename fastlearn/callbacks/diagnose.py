"""Where a NaN came from: the batch, its samples, and the first layer, found by running the batch once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fastlearn.runtime.seed import RunKey

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState

_MOST = 8
_LOST = "Load good weights (learn.load), or make the learner anew; then a lower learning rate."


def describe_fault(
    state: TrainState, step: int | None = None, epoch: int | None = None, batch_index: int | None = None
) -> tuple[str, str | None]:
    """The message for a step that is not finite, and the dotted name of the first layer with such an output, or None.

    Without a position it is the batch in `state`; else that batch is fetched again. Model and loss run once more,
    without gradients; batch norm's statistics move with it, so the caller puts the buffers back.
    """
    epoch = state.epoch if epoch is None else epoch
    index = state.batch_index if batch_index is None else batch_index
    again = step is not None and step != state.step
    inputs, targets = _fetch(state, epoch, index) if again else (state.inputs, state.targets)
    samples = _samples(state, epoch, index)
    layer, cause, advice = _find_cause(state, inputs, targets, samples, with_gradients=not again)
    kept = "" if advice == _LOST else "The weights are those of the last good step. "
    named = f"; samples {_some(samples)}" if samples else ""
    rate = state.optimizer.param_groups[-1]["lr"]
    at = state.step if step is None else step
    message = (
        f"Training stopped at step {at} (batch {index} of epoch {epoch}{named}): {cause} "
        f"{kept}{advice or _general_advice(float(rate))}"
    )
    return message, layer


def _find_cause(
    state: TrainState, inputs: tuple[Any, ...], targets: tuple[Any, ...], samples: list[int], with_gradients: bool
) -> tuple[str | None, str, str]:
    """(layer, what was found, what to try); the first of inputs, targets, weights, layers, loss and gradients."""
    layer, kind, loss_is_bad = _first_bad_layer(state, inputs, targets)
    where = f" The first layer with such an output is {_named(layer, kind)}." if layer is not None else ""
    # The batch as the loader gave it, where there is one: a mixed sample is not at fault for its partner.
    n_inp = state.plan.train.n_inp
    given = (state.batch[:n_inp], state.batch[n_inp:]) if with_gradients else (inputs, targets)
    for word, parts in (("input", given[0]), ("target", given[1]), ("input", inputs)):
        rows = _bad_rows(parts)
        if rows:
            known = rows[-1] < len(samples)
            of = f"samples {_some([samples[row] for row in rows])}" if known else f"rows {_some(rows)}"
            return layer, f"the {word} of {of} holds NaN or infinity.{where}", "Mend or leave out these samples."
    weights = _bad_names((name, p) for name, p in state.model.named_parameters())
    if weights:
        return layer, f"the weights {_some(weights)} hold NaN or infinity, from a step before.{where}", _LOST
    if layer is not None:
        return layer, f"the output of layer {_named(layer, kind)} is not finite; its inputs still were.", ""
    if loss_is_bad:
        return None, "the loss is not finite, though every layer's output is.", ""
    grads = _bad_names((name, p.grad) for name, p in state.model.named_parameters()) if with_gradients else []
    if grads:
        return None, f"the loss is finite, but the gradients of {_some(grads)} are not.", ""
    return None, "the loss or a gradient was not finite.", ""


def _general_advice(rate: float) -> str:
    return (
        f"Try a lower learning rate (it was {rate:.3g}; learn.lr_find() suggests one), gradient clipping "
        "(cbs=GradientClip()), and look for extreme values in the data."
    )


@torch.no_grad()
def _first_bad_layer(
    state: TrainState, inputs: tuple[Any, ...], targets: tuple[Any, ...]
) -> tuple[str | None, str, bool]:
    """Name and type of the innermost module that first gave a non-finite output, and whether the loss is bad."""
    found: list[tuple[str, str]] = []

    def watch(name: str, module: nn.Module) -> Any:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            if not found and any(not _is_finite(tensor) for tensor in _tensors(output)):
                found.append((name, type(module).__name__))

        return module.register_forward_hook(look)

    handles = [watch(name, module) for name, module in state.model.named_modules()]
    loss_is_bad = False
    try:
        if inputs:
            with state.precision.autocast():
                outputs = (state.model if state.plan.network is None else state.plan.network)(*inputs)
                if state.loss_func is not None and targets:
                    loss_is_bad = not _is_finite(state.loss_func(outputs, *targets))
    except Exception as error:  # a step of the user's own may call the model in another way; the message stays useful
        return None, type(error).__name__, False
    finally:
        for handle in handles:
            handle.remove()
    return (*found[0], loss_is_bad) if found else (None, "", loss_is_bad)


def _fetch(state: TrainState, epoch: int, index: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The batch again, from a loader whose batches are a function of their position; nothing from another."""
    loader = state.plan.train
    try:
        with closing(loader.batches(RunKey(state.plan.seed, state.plan.stream, epoch), start=index)) as batches:  # type: ignore[type-var]
            batch = next(iter(batches))
    except Exception:  # the news is the NaN; a loader that cannot go back only leaves the layer unnamed
        return (), ()
    batch = batch if isinstance(batch, (tuple, list)) else (batch,)
    return tuple(batch[: loader.n_inp]), tuple(batch[loader.n_inp :])


def _samples(state: TrainState, epoch: int, index: int) -> list[int]:
    indices = getattr(state.plan.train, "indices", None)
    if indices is None:
        return []
    return [int(i) for i in indices(RunKey(state.plan.seed, state.plan.stream, epoch), index)]


def _tensors(nested: Any) -> Iterator[torch.Tensor]:
    if isinstance(nested, torch.Tensor):
        yield nested
    elif isinstance(nested, dict):
        yield from _tensors(list(nested.values()))
    elif isinstance(nested, (list, tuple)):
        for part in nested:
            yield from _tensors(part)


def _is_finite(tensor: torch.Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    tensor = tensor.detach()
    return bool((tensor.coalesce().values() if tensor.is_sparse else tensor).isfinite().all())


def _bad_rows(parts: tuple[Any, ...]) -> list[int]:
    rows: set[int] = set()
    for tensor in _tensors(parts):
        if tensor.ndim and not _is_finite(tensor):
            rows.update((~tensor.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
                        if tensor.ndim > 1 else (~tensor.isfinite()).nonzero().flatten().tolist())  # fmt: skip
    return sorted(rows)


def _bad_names(named: Iterator[tuple[str, torch.Tensor | None]]) -> list[str]:
    return [repr(name) for name, tensor in named if tensor is not None and not _is_finite(tensor)]


def _named(layer: str | None, kind: str) -> str:
    return f"{layer!r} ({kind})" if layer else kind


def _some(words: list[Any]) -> str:
    rest = f" and {len(words) - _MOST} more" if len(words) > _MOST else ""
    return ", ".join(str(word) for word in words[:_MOST]) + rest
