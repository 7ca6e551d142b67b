"""How a learner computes: memory format and compiler, through everything that a learner does."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from tiny import Chaining, assert_same, everything, halves, make_learner, shuffled, small_net, weights
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.learner import arithmetic
from fastlearn.training.optimizer import SGD, Adam


def picture_net() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
    return nn.Sequential(body, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))


def body_and_head(model: nn.Sequential) -> list[nn.Module]:
    return [model[0], model[1]]


def picture_learner(**options) -> Chaining:
    generator = torch.Generator().manual_seed(0)
    pairs = [(torch.randn(8, 3, 12, 12, generator=generator), torch.arange(8) % 4) for _ in range(4)]
    return make_learner(picture_net(), DataLoaders(pairs, pairs[:1], device="cpu"), **options)


def is_last(learner: Chaining) -> bool:
    """Whether the weights lie channels-last, as the learner says."""
    lie_last = not learner.model[0][3].weight.is_contiguous()
    assert lie_last == learner.channels_last
    return lie_last


# Memory format


def test_a_plain_learner_stays_as_it_is_until_it_is_asked():
    learner = picture_learner().fit(1, 0.01)
    assert not is_last(learner) and "channels-last" not in learner.summary()
    assert is_last(learner.to_channelslast(None).fit(1, 0.01)) and "fp32, channels-last" in learner.summary()
    assert not is_last(learner.to_channelslast(False).fit(1, 0.01).to_bf16())
    with pytest.raises(ConfigError, match="on is True or False, not 'last'"):
        learner.to_channelslast("last")


def test_weights_that_their_owner_laid_out_are_left_so():
    learner = picture_learner()
    learner.model.to(memory_format=torch.channels_last)
    learner.freeze().unfreeze().fit(1, 0.01)
    assert not learner.model[0][3].weight.is_contiguous() and not learner.channels_last


@pytest.mark.parametrize("opt_func", [Adam, lambda params, lr: SGD(params, lr, mom=0.9)], ids=["Adam", "SGD"])
@pytest.mark.parametrize("on", [True, False])
def test_a_change_in_the_middle_of_a_training_changes_nothing_but_rounding(opt_func, on):
    def trained(changes: bool) -> Chaining:
        learner = picture_learner(opt_func=opt_func).to_channelslast(not on)
        learner.model.double()
        learner.dls.loaders = [
            learner._loader(0, [(x.double(), y) for x, y in loader.loader]) for loader in learner.dls.loaders
        ]
        learner.fit(2, 0.01)
        return (learner.to_channelslast(on) if changes else learner).fit(2, 0.01)

    for ours, theirs in zip(weights(trained(True)).values(), weights(trained(False)).values(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-12)


def test_every_use_of_a_learner_holds_it(tmp_path):
    learner = picture_learner(splitter=body_and_head, path=tmp_path).to_channelslast()
    given = []
    learner.model.register_forward_pre_hook(lambda model, inputs: given.append(inputs[0]))
    learner.freeze().fit(1, 0.01).unfreeze().fit(1, 0.01)
    learner.lr_find(num_it=12, show_plot=False)
    learner.validate(), learner.get_preds(), learner.dry_run()
    learner.save("here")
    assert is_last(learner.load("here"))
    full = [x for x in given if len(x) == 8]  # two samples are only looked at before a training
    assert len(full) > 20 and not any(x.is_contiguous() for x in full)
    learner.model.to(torch.device("cpu"), torch.float64).to(torch.float32)
    assert is_last(learner)


def test_files_are_the_same_in_either_format_and_say_which_it_was(tmp_path, capsys):
    last = picture_learner(path=tmp_path).to_channelslast().fit(1, 0.01)
    last.save("last")
    capsys.readouterr()
    same = picture_learner(path=tmp_path).to_channelslast().load("last")
    assert capsys.readouterr().out == "" and last.state_dict()["channels_last"] is True
    assert_same(everything(same)["weights"], weights(last))
    other = picture_learner(path=tmp_path).load("last")
    assert "For the same bits: learn.to_channelslast(True)." in capsys.readouterr().out
    assert_same(weights(other), weights(last))
    assert not is_last(other)
    assert_same(weights(other.to_channelslast().fit(1, 0.01)), weights(last.fit(1, 0.01)))


def test_a_new_model_takes_the_format_with_its_optimizer():
    learner = picture_learner().to_channelslast().fit(1, 0.01)
    learner.model = picture_net()
    learner.create_opt()
    assert is_last(learner.fit(1, 0.01))
    learner.to_channelslast(None)
    learner.model = nn.Sequential(nn.Flatten(), nn.Linear(432, 4))
    learner.create_opt()
    assert not learner.channels_last


def test_where_it_pays_follows_the_precision(monkeypatch):
    monkeypatch.setattr(arithmetic, "prefers_channels_last", lambda model, device, name: name == "bf16")
    learner = picture_learner().to_channelslast(None)
    assert not is_last(learner)
    assert is_last(learner.to_bf16()) and not is_last(learner.to_fp32())
    learner.to_channelslast(False)
    assert not is_last(learner.to_bf16())


def test_imitated_bf16_is_said_to_be_slow_once(monkeypatch, capsys):
    monkeypatch.setattr(arithmetic, "has_fast_bf16", lambda device: False)
    learner = make_learner().to_bf16()
    assert "type learn.to_fp32()" in capsys.readouterr().out
    learner.to_bf16().to_fp16()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(arithmetic, "has_fast_bf16", lambda device: True)
    make_learner().to_bf16()
    assert capsys.readouterr().out == ""


# The compiler


def broken(graph, inputs):
    raise RuntimeError("no such compiler")


def losses(learner: Chaining) -> list[float]:
    return [*learner.recorder.losses, *learner.validate()]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_training_learns_as_a_plain_one(backend, capsys):
    def fine_tuned(learner: Chaining) -> Chaining:
        learner.freeze().fit(1, 0.01).unfreeze().fit(2, 0.01)
        return learner

    plain = fine_tuned(make_learner(small_net(0.3), shuffled(), splitter=halves))
    compiled = fine_tuned(make_learner(small_net(0.3), shuffled(), splitter=halves).compile(backend=backend))
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-5)
    assert capsys.readouterr().out.count("Compiling the model") == 1
    assert "fp32, compiled" in compiled.summary()
    assert list(weights(compiled)) == list(weights(plain))


def test_training_and_validation_run_compiled_and_predictions_do_not():
    graphs = []
    learner = make_learner().compile(backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    learner.get_preds()
    assert graphs == []
    with learner.no_bar():
        learner.fit(1, 0.01)
    assert len(graphs) == 2  # with gradients, and in evaluation mode without
    learner.compile(False).fit(1, 0.01)
    learner.compile().compile(False).get_preds()
    assert len(graphs) == 2 and "compiled" not in learner.summary()


def test_a_compiler_that_fails_gives_a_plain_training(capsys):
    learner = make_learner().compile(backend=broken)
    learner.fit(2, 0.01)
    assert capsys.readouterr().out.count("uncompiled. The reason: RuntimeError: no such compiler") == 1
    assert_same(weights(learner), weights(make_learner().fit(2, 0.01)))
    assert "not compiled (torch.compile failed)" in learner.summary()


def test_a_step_of_ones_own_may_run_compiled():
    graphs = []

    def step(state):
        state.outputs = state.forward(*state.inputs)
        state.loss = F.cross_entropy(state.outputs, *state.targets)
        if state.training:
            state.backward(state.loss)
            state.optimizer_step()

    learner = make_learner().compile(backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    learner.step = step
    with learner.no_bar():
        learner.fit(1, 0.01)
    assert graphs


def test_a_saved_compiled_training_goes_on_in_a_plain_one(tmp_path):
    learner = make_learner(path=tmp_path).compile(backend="eager")
    with learner.no_bar():
        learner.fit(1, 0.01)
    learner.save("one")
    other = make_learner(path=tmp_path).load("one")
    assert_same(weights(other), weights(learner))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "nonsense"}, "on is True or False, not 'nonsense'"),
        ({"backend": "nonsense"}, "no compiler backend 'nonsense'"),
        ({"fullgraph": True}, r"Chaining.compile has no option 'fullgraph'"),
        ({"mode": "fastest"}, "mode is 'default' or"),
    ],
)
def test_options_of_the_compiler(options, message):
    with pytest.raises(ConfigError, match=message):
        make_learner().compile(**options)


def test_the_compiler_is_imported_when_it_is_asked_for():
    code = """
import sys, torch
from torch import nn
from fastlearn.vision.all import *
batches = [(torch.randn(2, 3, 8, 8), torch.arange(2))] * 3
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
learn = Learner(DataLoaders(batches, batches, device="cpu"), model, F.cross_entropy, default_cbs=False)
learn.to_channelslast(None).fit(1)
before = "torch._dynamo" in sys.modules
learn.compile()
print(before, "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout == "False True\n", done.stderr
