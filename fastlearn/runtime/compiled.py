"""torch's compiler around a model's forward pass, with the model itself to fall back on."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from fastlearn.errors import ConfigError, near
from fastlearn.options import checked_flag, found
from fastlearn.runtime.interrupt import DeferredInterrupt
from fastlearn.runtime.say import say

Backend = str | Callable[..., Any]
# torch's other modes record CUDA graphs, which write over the outputs that a metric or a callback still holds.
Mode = Literal["default", "max-autotune-no-cudagraphs"]
STARTING = (
    "Compiling the model: the first step takes a while, and so does the first one after other layers learn or the "
    "batches have another shape."
)


@dataclass(frozen=True)
class CompileOptions:
    """What `torch.compile` is given; checked, and with it torch's compiler imported, when it is made."""

    backend: Backend = "inductor"
    mode: Mode = "default"
    dynamic: bool | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError(f"mode is {' or '.join(map(repr, get_args(Mode)))}, not {found(self.mode)}.")
        if self.dynamic is not None:
            checked_flag(self.dynamic, "dynamic")
        if not callable(self.backend):
            _check_backend(self.backend)
        if self.mode != "default" and self.backend != "inductor":
            raise ConfigError(f"mode={self.mode!r} is one of the backend 'inductor', not of {found(self.backend)}.")

    def for_torch(self) -> dict[str, Any]:
        """The arguments of `torch.compile`."""
        given: dict[str, Any] = {"backend": self.backend, "dynamic": self.dynamic}
        if self.mode != "default":
            given["mode"] = self.mode
        # torch counts the graphs of a class's forward over all its instances, and from the ninth on compiles nothing,
        # in silence: three learners in a notebook, frozen and unfrozen. Versions before this option cannot be told.
        if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
            given |= {"isolate_recompiles": True, "recompile_limit": 32}
        return given


def _check_backend(backend: Any) -> None:
    # An import of this size that Ctrl-C cuts short cannot be done again.
    with DeferredInterrupt() as interrupt:
        known = torch.compiler.list_backends(exclude_tags=())
    interrupt.check()
    if backend not in known:
        raise ConfigError(
            f"torch has no compiler backend {found(backend)}.{near(str(backend), known)} It has {', '.join(known)}."
        )


class CompiledForward:
    """Calls a model through `torch.compile`; from the first failure on, the model itself, with the reason said once.

    The model is left as it is, so that its names, hooks and state dict are those it had. A failure of the model's own
    is raised as the model raises it. `reason` says why the compiler gave up, `quiet` keeps both sentences back.
    """

    def __init__(self, options: CompileOptions) -> None:
        self.options = options
        self.reason: str | None = None
        self.quiet = False
        self._model: nn.Module | None = None
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, model: nn.Module, *inputs: Any) -> Any:
        if self.reason is not None:
            return model(*inputs)
        try:
            with _backward_at_once():
                return self._of(model)(*inputs)
        except Exception as error:
            reason = _first_line(error)
        outputs = model(*inputs)
        self.reason = reason
        self._say(f"torch.compile cannot compile this model, which trains on uncompiled. The reason: {reason}")
        return outputs

    def _of(self, model: nn.Module) -> Callable[..., Any]:
        if self._compiled is None or model is not self._model:
            self._say(STARTING)
            self._compiled = torch.compile(model, **self.options.for_torch())
            self._model = model
        return self._compiled

    def _say(self, text: str) -> None:
        if not self.quiet:
            say(text)


def _backward_at_once() -> AbstractContextManager[Any]:
    """Where the forward pass is compiled, the backward pass is too: its failure must show while one can fall back."""
    from torch._functorch import config

    name = "force_non_lazy_backward_lowering"  # of torch's inner affairs, so it may be called otherwise one day
    return config.patch({name: True}) if hasattr(config, name) else contextlib.nullcontext()


def _first_line(error: BaseException) -> str:
    """What went wrong, without torch's advice to those who work on the compiler."""
    inner = getattr(error, "inner_exception", None) or error
    text = next((line.strip() for line in str(inner).splitlines() if line.strip()), "")
    return f"{type(inner).__name__}: {text}" if text else type(inner).__name__
