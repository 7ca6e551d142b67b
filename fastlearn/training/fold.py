"""Batch norms folded into the layers before them: a network that only predicts, with fewer passes over its memory."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fastlearn.runtime.modes import kept_modes

BOUND = 1e-4  # of ‖folded − unfolded‖ / ‖unfolded‖ for each output; a right fold in fp32 stays under a hundredth of it
_LAYERS = (nn.Conv2d, nn.Linear)
_COMPUTE = (torch.conv2d, F.linear)
_EXACT = (torch.float32, torch.float64)


def folded(module: nn.Module, inputs: tuple[Any, ...]) -> nn.Module:
    """A copy of `module` in evaluation mode whose batch norms are part of the layer that they alone read.

    These are BatchNorm2d and timm's BatchNormAct2d after a Conv2d, and BatchNorm1d after a Linear; with W and b of the
    layer, mean μ, variance σ², weight γ and bias β of the norm, s = γ / √(σ² + ε), W' = s·W and b' = s·(b − μ) + β.
    `inputs`, two samples perhaps, are run through the copy to see who reads what, and once more to compare: the outputs
    must agree within `BOUND`, by their norm. So must those of other inputs, as long as they go the same way through the
    network. The copy shares the parameters that did not change, and is good until they do.

    `module` itself comes back, in the mode that it has, where nothing can be folded: without such pairs, with hooks
    (which would see other tensors), compiled or scripted, with state that a pass changes, where it cannot be copied,
    fails on `inputs` or does not pass the comparison. It is never changed, and torch's generators are put back.

    >>> fast = folded(model, (pictures[:2],))
    """
    if not _may_fold(module):
        return module
    with kept_modes(module), torch.no_grad(), torch.random.fork_rng(_gpus(module)):
        module.eval()  # what the copy holds as a closure is still the module's own
        try:
            return _copied_and_folded(module, inputs) or module
        except Exception:
            # This is an attempt at speed: what is wrong with module or inputs is told when they are used.
            return module


def _may_fold(module: nn.Module) -> bool:
    """Whether there are norms, and only modules that a copy stands in for."""
    modules = list(module.modules())
    hooked = any(one._forward_hooks or one._forward_pre_hooks for one in modules)
    closed = any(isinstance(one, torch.jit.ScriptModule) or hasattr(one, "_orig_mod") for one in modules)
    return any(map(_is_norm, modules)) and not hooked and not closed


def _is_norm(module: nn.Module) -> bool:
    """A batch norm that is known to do nothing else, or whose other work is in its `drop` and `act`."""
    kind = type(module)
    known = kind in (nn.BatchNorm1d, nn.BatchNorm2d) or _is_norm_act(kind)
    return known and module.running_mean is not None and module.running_var is not None


def _is_norm_act(kind: type[nn.Module]) -> bool:
    """timm's class by its name, since timm takes seconds to import and may not have been."""
    return kind.__module__ == "timm.layers.norm_act" and kind.__qualname__ == "BatchNormAct2d"


def _gpus(module: nn.Module) -> list[int]:
    return sorted({parameter.device.index or 0 for parameter in module.parameters() if parameter.is_cuda})


def _copied_and_folded(module: nn.Module, inputs: tuple[Any, ...]) -> nn.Module | None:
    made = copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
    before = _versions(made)
    with _watched(made) as found:
        expected = made(*_cloned(inputs))
    pairs = found()
    if not pairs or _versions(made) != before:
        return None
    for layer, norm in pairs:
        _absorb(layer, norm)
        _replace(made, norm, nn.Sequential(norm.drop, norm.act) if _is_norm_act(type(norm)) else nn.Identity())
    return made.eval() if _agree(expected, made(*_cloned(inputs))) else None


def _versions(module: nn.Module) -> list[tuple[int, int]]:
    """Which tensors the buffers are, and how often each has been written to."""
    return [(id(buffer), buffer._version) for buffer in module.buffers()]


def _cloned(nested: Any) -> Any:
    """The same nesting with tensors of its own: a network may work on its input in place."""
    if isinstance(nested, Tensor):
        return nested.clone()
    if isinstance(nested, dict):
        return {name: _cloned(part) for name, part in nested.items()}
    return type(nested)(map(_cloned, nested)) if type(nested) in (tuple, list) else nested


# ── who reads what ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Watch(TorchFunctionMode):
    """Sees every call of torch while a network runs, and notes who reads weights and outputs of its layers.

    A layer counts as plain when its one call gave the very result of torch's convolution or product with its own
    parameters. Padding of the input is no hindrance to that, a weight that is computed first is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.running: list[nn.Module] = []  # the layers and norms within whose call we are, the innermost last
        self.calls: dict[nn.Module, int] = {}
        self.plain: dict[nn.Module, bool] = {}
        self.outputs: dict[nn.Module, weakref.ref[Tensor]] = {}
        self.readers: dict[nn.Module, list[nn.Module | None]] = {}
        self._weights: dict[int, list[nn.Module]] = {}  # whose they are
        self._made: dict[int, nn.Module] = {}  # by the id of an output
        self._result: Tensor | None = None

    def add(self, layer: nn.Module) -> None:
        """Watch a layer."""
        self.plain[layer], self.readers[layer] = False, []
        for parameter in layer.parameters(recurse=False):
            self._weights.setdefault(id(parameter), []).append(layer)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reader = self.running[-1] if self.running else None
        for tensor in _tensors((args, kwargs)):
            self._note(tensor, reader)
        result = func(*args, **(kwargs or {}))
        if reader in self.plain:
            own = reader._parameters  # type: ignore[union-attr]
            if func in _COMPUTE and len(args) > 2 and args[1] is own["weight"] and args[2] is own.get("bias"):
                # A layer of three dimensions has its channels last, and a norm takes the second for them.
                self._result = None if func is F.linear and result.ndim != 2 else result
        return result

    def _note(self, tensor: Tensor, reader: nn.Module | None) -> None:
        layer = self._made.get(id(tensor))
        if layer is not None and self.outputs[layer]() is tensor:
            self.readers[layer].append(reader)
        for owner in self._weights.get(id(tensor), ()):
            if owner is not reader:
                self.readers[owner].append(None)

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A hook before a layer or a norm."""
        self.running.append(module)
        self.calls[module] = self.calls.get(module, 0) + 1
        self._result = None

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A hook after a layer or a norm."""
        self.running.pop()
        if module in self.plain and isinstance(output, Tensor):
            self.plain[module] = output is self._result
            # Weak, so that an output that is still there after the pass is known to be kept by somebody.
            self.outputs[module], self._made[id(output)] = weakref.ref(output), module
        self._result = None

    def reader_of(self, layer: nn.Module) -> nn.Module | None:
        """The norm that alone reads the layer's output, once; None where there is no such norm."""
        readers = set(self.readers[layer])
        norm = readers.pop() if len(readers) == 1 else None
        if norm is None or not _is_norm(norm) or not self.plain[layer] or self.outputs[layer]() is not None:
            return None
        once = self.calls[layer] == self.calls[norm] == 1 and not norm.training
        weight, mean = layer._parameters["weight"], norm._buffers["running_mean"]
        assert weight is not None and mean is not None
        return norm if once and weight.dtype in _EXACT and mean.shape == weight.shape[:1] else None


def _tensors(nested: Any) -> Iterator[Tensor]:
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, (tuple, list)):
        for part in nested:
            yield from _tensors(part)
    elif isinstance(nested, dict):
        yield from _tensors(list(nested.values()))


@contextmanager
def _watched(module: nn.Module) -> Iterator[Callable[[], list[tuple[Any, Any]]]]:
    """Watches the calls inside; the function that it gives lists afterwards each layer that a norm alone reads."""
    watch = _Watch()
    modules = list(module.modules())
    layers = [one for one in modules if isinstance(one, _LAYERS) and one._parameters.get("weight") is not None]
    handles: list[Any] = []
    for layer in layers:
        watch.add(layer)
    for one in modules:
        if one in watch.plain or _is_norm(one):
            handles += [one.register_forward_pre_hook(watch.enter), one.register_forward_hook(watch.leave)]
    try:
        with watch:
            yield lambda: [(layer, norm) for layer in layers if (norm := watch.reader_of(layer)) is not None]
    finally:
        for handle in handles:
            handle.remove()


# ── folding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _absorb(layer: Any, norm: Any) -> None:
    """Give the layer weight and bias of its own that do what both did."""
    # Scale and shift in double precision, for σ² may be tiny; the product with them is rounded once more at most.
    weight, bias = layer._parameters["weight"], layer._parameters.get("bias")
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = torch.rsqrt(variance + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -mean if bias is None else bias.double() - mean
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias.double()
    scaled = weight * scale.to(weight.dtype).view(-1, *[1] * (weight.ndim - 1))
    layer.weight = nn.Parameter(scaled, requires_grad=False)
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)


def _replace(module: nn.Module, child: nn.Module, other: nn.Module) -> None:
    """Put `other` wherever `child` is."""
    for parent in module.modules():
        for name, one in parent._modules.items():  # named_children() tells the first name of each alone
            if one is child:
                parent._modules[name] = other


def _agree(expected: Any, found: Any) -> bool:
    """Whether two nested outputs are alike: floats within `BOUND`, anything else equal."""
    if isinstance(expected, Tensor):
        if not isinstance(found, Tensor) or expected.shape != found.shape or expected.dtype != found.dtype:
            return False
        if not expected.is_floating_point():
            return torch.equal(expected, found)
        size = float(expected.double().norm())
        return float((found.double() - expected.double()).norm()) <= BOUND * size < float("inf")
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(_agree(expected[name], found[name]) for name in expected)
    if isinstance(expected, (tuple, list)):
        return len(expected) == len(found) and all(map(_agree, expected, found))
    return bool(expected == found)
