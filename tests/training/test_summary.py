from __future__ import annotations

import torch
from tiny import assert_same, everything, halves, make_learner, small_net
from torch import nn

from fastlearn.callbacks.ema import EMA
from fastlearn.training.summary import layer_table, parameter_counts


def test_the_layers_with_shapes_and_parameters():
    lines = layer_table(small_net(), (torch.zeros(2, 6),)).splitlines()
    assert lines[0].split() == ["Layer", "Output", "shape", "Parameters", "Trained"]
    rows = [line.split() for line in lines[2:]]
    assert rows[0] == ["Linear", "2", "×", "12", "84", "yes"] and rows[2] == ["ReLU", "2", "×", "12"]
    assert [row[0] for row in rows] == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]


def test_the_learner_s_summary_is_printed_and_changes_nothing(capsys):
    learner = make_learner(splitter=halves, bn="eval", cbs=EMA(0.9)).freeze()
    before = everything(learner)
    text = learner.summary()
    assert capsys.readouterr().out == text + "\n"
    assert_same(everything(learner), before)
    assert "Parameters: 147, of which 39 are trained, in 2 group(s)" in text
    for part in ("Loss: cross_entropy", "Optimizer: Adam", "Batch norm of the body: eval", "Seed: 1", "EMA", "fp32"):
        assert part in text, part
    assert not any(module._forward_hooks for module in learner.model.modules())


def test_counts_and_a_model_that_gives_several_outputs():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 4, batch_first=True)

        def forward(self, x):
            return self.lstm(x)[0][:, -1]

    model = Two()
    assert parameter_counts(model) == (192, 192)
    assert "2 × (2 × 5 × 4)" in layer_table(model, (torch.zeros(2, 5, 6),))


def test_frozen_parts_say_so():
    model = small_net()
    model[0].requires_grad_(False)
    assert layer_table(model, (torch.zeros(2, 6),)).splitlines()[2].split()[-1] == "no"
    assert parameter_counts(model) == (147, 63)
