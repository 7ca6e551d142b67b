"""A table of a model's layers: output shape, parameters, and which of them are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fastlearn.runtime.modes import kept_modes


def layer_table(model: nn.Module, inputs: tuple[Any, ...]) -> str:
    """One line a leaf module, from a forward pass over `inputs` in evaluation mode that changes nothing."""
    rows: list[tuple[str, str, str, str]] = []
    hooks = []

    def record(module: nn.Module, _: Any, output: Any) -> None:
        parameters = list(module.parameters(recurse=False))
        count = sum(parameter.numel() for parameter in parameters)
        trained = ("yes" if any(p.requires_grad for p in parameters) else "no") if parameters else ""
        rows.append((type(module).__name__, _shape(output), f"{count:,}" if count else "", trained))

    for module in model.modules():
        if not any(True for _ in module.children()):
            hooks.append(module.register_forward_hook(record))
    try:
        with kept_modes(model), torch.no_grad():
            model.eval()
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    header = ("Layer", "Output shape", "Parameters", "Trained")
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(4)]
    lines = [_line(header, widths), "─" * (sum(widths) + 6), *(_line(row, widths) for row in rows)]
    return "\n".join(lines)


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """(all parameters, those that are trained)."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(left + right).rstrip()


def _shape(output: Any) -> str:
    if isinstance(output, torch.Tensor):
        return " × ".join(str(size) for size in output.shape)
    if isinstance(output, (tuple, list)) and output:
        return f"{len(output)} × ({_shape(output[0])})"
    return type(output).__name__
