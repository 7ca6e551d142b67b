"""The lazy functions: torchvision's, and light until they are called."""

from __future__ import annotations

import inspect
import subprocess
import sys

import torch
import torchvision

from fastlearn.arch import models


def functions() -> list[str]:
    """The architecture functions of the module."""
    found = vars(models).items()
    return [n for n, f in found if inspect.isfunction(f) and list(inspect.signature(f).parameters)[:1] == ["weights"]]


def test_functions_are_torchvisions() -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    assert len(functions()) >= 40
    assert set(functions()) <= set(known)
    for name in functions():
        assert "torchvision's" in (getattr(models, name).__doc__ or "")


def test_function_gives_torchvisions_network() -> None:
    torch.manual_seed(0)
    mine = models.squeezenet1_1(num_classes=7)
    torch.manual_seed(0)
    theirs = torchvision.models.squeezenet1_1(num_classes=7)
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))


def test_import_is_light() -> None:
    code = (
        "import sys, fastlearn.arch.models; "
        "print([m for m in ('torchvision', 'timm', 'PIL', 'fastlearn.training', 'fastlearn.data') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
