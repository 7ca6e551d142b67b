"""The arithmetic of a training step: fp32, bf16 or fp16, behind four neutral methods that the loop calls."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

PrecisionName = Literal["fp32", "bf16", "fp16"]
_PLAIN = contextlib.nullcontext()


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device computes in bf16 itself; one that must imitate it is many times slower than in fp32."""
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


class Precision:
    """Autocast and gradient scaling for one device.

    fp16 needs a loss scaler because its gradients underflow (Micikevicius et al., 2018); bf16 has fp32's range and
    needs none. On a device without fast fp16 arithmetic (the CPU), fp16 becomes bf16: `fell_back` is then True.
    """

    def __init__(self, name: PrecisionName = "fp32", device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.requested: PrecisionName = name
        self.fell_back = name == "fp16" and self.device.type == "cpu"
        self.name: PrecisionName = "bf16" if self.fell_back else name
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.name]
        self.scaler = torch.amp.GradScaler(self.device.type) if self.name == "fp16" else None
        self._unscaled = False

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for the forward pass and the loss; does nothing in fp32."""
        return _PLAIN if self.name == "fp32" else torch.autocast(self.device.type, dtype=self.dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of `loss`, scaled when there is a scaler."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients to their true size before clipping; once a step, however often it is called."""
        if self.scaler is not None and not self._unscaled:
            self.scaler.unscale_(optimizer)
            self._unscaled = True

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Step the optimizer; with a scaler, a step with infinite gradients is left out and the scale reduced."""
        if self.scaler is None:
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()
        self._unscaled = False

    def reset(self) -> None:
        """Forget a step that an error cut in two; the scale itself is kept."""
        if self.scaler is not None and self._unscaled:
            scale = self.scaler.state_dict()
            self.scaler = torch.amp.GradScaler(self.device.type)
            self.scaler.load_state_dict(scale)
        self._unscaled = False

    def state_dict(self) -> dict[str, Any]:
        """The precision's name and, in fp16, the scaler's state."""
        return {"name": self.requested, "scaler": None if self.scaler is None else self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a scaler's state back; a state of another precision leaves this one as it is."""
        if self.scaler is not None and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
