from __future__ import annotations

import subprocess
import sys
from collections import namedtuple

import pytest
import torch

from fastlearn.errors import ConfigError
from fastlearn.runtime.device import as_device, default_device, to_cpu, to_device

Pair = namedtuple("Pair", "a b")


def test_the_nesting_is_kept():
    nested = {"x": [torch.ones(2), (torch.zeros(1), "text")], "y": Pair(torch.ones(1), 3)}
    moved = to_device(nested, "meta")
    assert moved["x"][0].device.type == "meta" and moved["x"][1][0].device.type == "meta"
    assert moved["x"][1][1] == "text" and moved["y"].b == 3
    assert isinstance(moved["y"], Pair) and isinstance(moved["x"][1], tuple)


def test_to_cpu_detaches():
    weight = torch.ones(2, requires_grad=True)
    assert not to_cpu([weight * 2])[0].requires_grad


def test_the_default_device_is_one_that_exists():
    assert to_device(torch.ones(1)).device.type == default_device().type


def test_importing_does_not_touch_a_gpu():
    code = "import fastlearn.learner, torch; assert not torch.cuda.is_initialized(); print('ok')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "ok"


@pytest.mark.parametrize("name", ["gpu", "meta", 3.5, "cuda:99"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ConfigError, match="cannot be used: .* Leave device out"):
        as_device(name)
    assert as_device("cpu") == torch.device("cpu")
