"""The compiled forward pass: torch's own backends that compile nothing, and compilers that fail."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from fastlearn.errors import ConfigError
from fastlearn.runtime.compiled import STARTING, CompiledForward, CompileOptions


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def broken(graph, inputs):
    raise RuntimeError("no such compiler\nand much advice")


def test_the_outputs_are_those_of_the_model_and_one_sentence_says_that_it_takes_a_while(capsys):
    model, x = net(), torch.randn(3, 4)
    forward = CompiledForward(CompileOptions(backend="eager"))
    assert capsys.readouterr().out == ""
    assert torch.equal(forward(model, x), model(x))
    assert capsys.readouterr().out == f"{STARTING}\n"
    forward(model, x)
    assert capsys.readouterr().out == "" and forward.reason is None
    assert not any("_orig_mod" in name for name in model.state_dict())


def test_another_model_is_compiled_anew(capsys):
    first, second, x = net(), nn.Linear(4, 2), torch.randn(3, 4)
    forward = CompiledForward(CompileOptions(backend="eager"))
    forward(first, x)
    assert torch.equal(forward(second, x), second(x))
    assert capsys.readouterr().out.count(STARTING) == 2


def test_many_models_of_one_class_are_all_compiled():
    graphs = []
    for _ in range(12):  # torch by itself gives up after eight, and says nothing
        options = CompileOptions(backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
        CompiledForward(options)(net(), torch.randn(3, 4))
    assert len(graphs) == 12


def test_a_compiler_that_fails_leaves_the_model_and_says_why_once(capsys):
    model, x = net(), torch.randn(3, 4)
    forward = CompiledForward(CompileOptions(backend=broken))
    assert torch.equal(forward(model, x), model(x))
    said = capsys.readouterr().out
    assert said.endswith("trains on uncompiled. The reason: RuntimeError: no such compiler\n")
    assert forward.reason == "RuntimeError: no such compiler"
    assert torch.equal(forward(model, x), model(x))
    assert capsys.readouterr().out == ""


def test_quiet_is_quiet(capsys):
    forward = CompiledForward(CompileOptions(backend=broken))
    forward.quiet = True
    forward(net(), torch.randn(3, 4))
    assert capsys.readouterr().out == "" and forward.reason is not None


def test_an_error_of_the_model_is_raised_as_the_model_raises_it():
    model, wrong = net(), torch.randn(3, 5)
    forward = CompiledForward(CompileOptions(backend="eager"))
    with pytest.raises(RuntimeError) as expected:
        model(wrong)
    with pytest.raises(RuntimeError) as found:
        forward(model, wrong)
    assert str(found.value) == str(expected.value) and found.value.__context__ is None
    assert forward.reason is None
    right = torch.randn(3, 4)
    assert torch.equal(forward(model, right), model(right))


def test_a_backward_pass_that_cannot_be_compiled_is_found_in_the_forward_pass():
    from torch._dynamo.backends.common import aot_autograd

    model, x = net(), torch.randn(3, 4)
    forward = CompiledForward(CompileOptions(backend=aot_autograd(fw_compiler=lambda g, _: g, bw_compiler=broken)))
    forward(model, x).sum().backward()
    assert forward.reason == "RuntimeError: no such compiler"
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "inducter"}, "no compiler backend 'inducter'. Did you mean 'inductor'"),
        ({"backend": 3}, "no compiler backend 3"),
        ({"mode": "fast"}, "mode is 'default' or 'max-autotune-no-cudagraphs', not 'fast'"),
        ({"mode": "reduce-overhead"}, "not 'reduce-overhead'"),
        ({"backend": "eager", "mode": "max-autotune-no-cudagraphs"}, "one of the backend 'inductor', not of 'eager'"),
        ({"dynamic": "yes"}, "dynamic is True or False, not 'yes'"),
    ],
)
def test_options_that_torch_does_not_have(options, message):
    with pytest.raises(ConfigError, match=message):
        CompileOptions(**options)


@pytest.mark.soak
@pytest.mark.parametrize("compiler", ["/no/such/g++", "false"])
def test_without_a_working_c_compiler_training_goes_on(compiler, tmp_path):
    code = """
import torch, torch.nn.functional as F
from torch import nn
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.learner import Learner
batches = [(torch.randn(4, 3), torch.arange(4) % 2)] * 3
learn = Learner(DataLoaders(batches, batches, device="cpu"), nn.Linear(3, 2), F.cross_entropy, default_cbs=False)
learn.compile().fit(1)
print(learn.global_step, learn.validate()[0] > 0)
"""
    environment = {"CXX": compiler, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "trains on uncompiled. The reason: " in done.stdout and done.stdout.endswith("3 True\n")
