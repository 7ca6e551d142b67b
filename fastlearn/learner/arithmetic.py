"""How a learner computes: precision, memory format, torch's compiler."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn

from fastlearn.options import checked_flag, named_options
from fastlearn.runtime.compiled import Backend, CompiledForward, CompileOptions, Mode
from fastlearn.runtime.memory_format import prefers_channels_last, set_memory_format
from fastlearn.runtime.precision import Precision, PrecisionName, has_fast_bf16


class Arithmetic:
    """The methods of a `Learner` that change how fast it computes, and by rounding alone what."""

    model: nn.Module

    def _start_arithmetic(self, device: torch.device) -> None:
        self.device = device
        self.precision = Precision("fp32", device)
        self.channels_last, self._chooses_format = False, False
        self.in_pieces = False  # whether the body may take the pictures of a batch some at a time; see runtime.pieces
        self._compiled: CompiledForward | None = None
        self._said_bf16 = False

    def _set_precision(self, name: PrecisionName) -> Self:
        self.precision = Precision(name, self.device)
        self._keep_format()
        slow = self.precision.name == "bf16" and not has_fast_bf16(self.device)
        if (self.precision.fell_back or slow) and not self._said_bf16:
            self._said_bf16 = True
            if self.precision.fell_back:
                print("This device has no fast fp16 arithmetic: using bf16 in its place.")
            if slow:
                print("This device has no bf16 arithmetic and imitates it, many times slower: type learn.to_fp32().")
        return self

    def to_fp16(self) -> Self:
        """Train in mixed fp16 with a loss scaler (on the CPU: bf16, and says so).

        >>> learn.to_fp16().fine_tune(3)
        """
        return self._set_precision("fp16")

    def to_bf16(self) -> Self:
        """Train in mixed bf16, twice as fast where the device has it; where it has not, far slower, and says so.

        >>> learn.to_bf16().fine_tune(3)
        """
        return self._set_precision("bf16")

    def to_fp32(self) -> Self:
        """Train in plain fp32.

        >>> learn.to_fp32().fine_tune(3)
        """
        return self._set_precision("fp32")

    @named_options
    def to_channelslast(self, on: bool | None = True) -> Self:
        """Keep pictures and convolutions in channels-last memory format, which most convolutions are faster in.

        `False` is the usual format again. `None` leaves it to model, device and precision, now and whenever one of them
        changes, as `vision_learner` does. Results differ by rounding alone; saved files are the same in either.

        >>> learn.to_fp16().to_channelslast().fine_tune(3)
        """
        wanted = self._faster_format() if on is None else checked_flag(on, "on")
        self._chooses_format = on is None
        if on is not None or wanted != self.channels_last:
            self._set_format(wanted)
        return self

    def _set_format(self, channels_last: bool) -> None:
        self.channels_last = channels_last
        set_memory_format(self.model, channels_last)

    def _faster_format(self) -> bool:
        return prefers_channels_last(self.model, self.device, self.precision.name)

    def _keep_format(self) -> None:
        """After a change of model or precision: the format that was asked for, in the weights too."""
        wanted = self._faster_format() if self._chooses_format else self.channels_last
        if wanted or self.channels_last:  # else the weights may lie as their owner has laid them
            self._set_format(wanted)

    @named_options
    def compile(
        self,
        on: bool = True,
        *,
        backend: Backend = "inductor",
        mode: Mode = "default",
        dynamic: bool | None = None,
    ) -> Self:
        """Train and validate through `torch.compile`; `compile(False)` goes back to the model as it is.

        Compiling takes from seconds to minutes at the first step, and again after `freeze` or `unfreeze` or for another
        shape of batches, so it pays for long trainings. Where it fails (no C++ compiler, a layer that torch cannot
        compile), the training says why and goes on uncompiled. `learn.model` stays the model itself: what is saved and
        exported, and predictions, are those of it. `backend`, `mode` and `dynamic` are torch's.

        Raises ConfigError for a backend or a mode that torch does not have.

        >>> learn.compile().fit_one_cycle(20, 1e-3)
        """
        self._compiled = CompiledForward(CompileOptions(backend, mode, dynamic)) if on else None
        return self

    def _arithmetic(self) -> str:
        """How the model is computed, in the words of the summary."""
        parts = [self.precision.name, "channels-last" if self.channels_last else ""]
        if self._compiled is not None:
            parts.append("compiled" if self._compiled.reason is None else "not compiled (torch.compile failed)")
        return ", ".join(part for part in parts if part)
