from __future__ import annotations

import pytest
import torch
from tiny import batches, halves, make_learner, small_net, weights
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.training.groups import (
    bias_parameters,
    body_batch_norms,
    freeze_groups,
    norm_parameters,
    split_parameters,
)
from fastlearn.training.optimizer import SGD, Adam

WEIGHTS = ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
NORM, HEAD = {"1.weight", "1.bias"}, {"4.weight", "4.bias"}


def three(model: nn.Sequential) -> list[list[nn.Parameter]]:
    return [list(model[i].parameters()) for i in (0, 1, 4)]


def moved(learner) -> set[str]:
    """The names of what one epoch changes."""
    before = weights(learner)
    learner.fit(1, 0.01)
    return {name for name, tensor in weights(learner).items() if not torch.equal(tensor, before[name])}


STATISTICS = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


@pytest.mark.parametrize(
    ("bn", "train_bn", "frozen", "expected"),
    [
        ("train", True, True, HEAD | NORM | STATISTICS),
        ("train", False, True, HEAD | STATISTICS),
        ("eval", True, True, HEAD),
        ("train", True, False, {*WEIGHTS} | STATISTICS),
        ("eval", True, False, {*WEIGHTS}),
    ],
)
def test_what_learns_and_which_statistics_move(bn, train_bn, frozen, expected):
    learner = make_learner(splitter=halves, bn=bn, train_bn=train_bn)
    learner.freeze() if frozen else learner.unfreeze()
    assert moved(learner) == expected
    assert moved(learner) == expected  # validation in between has not changed a mode for good


def test_the_batch_norm_of_the_head_always_keeps_learning():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3))
    learner = make_learner(model, splitter=lambda m: [m[:2], m[3:]], bn="eval").freeze()
    assert moved(learner) == {"3.weight", "3.bias", "4.weight", "4.bias", "3.running_mean", "3.running_var",
                              "3.num_batches_tracked"}  # fmt: skip


@pytest.mark.parametrize(("n", "trained"), [(0, 6), (1, 4), (2, 2), (3, 0), (-1, 2), (-2, 4), (-3, 6)])
def test_freeze_to_counts_from_either_end(n, trained):
    learner = make_learner(splitter=three, train_bn=False).freeze_to(n)
    assert [p.requires_grad for p in learner.model.parameters()] == [False] * (6 - trained) + [True] * trained


@pytest.mark.parametrize("n", [4, -4, 100])
def test_freeze_to_out_of_range_is_refused(n):
    with pytest.raises(ConfigError, match=rf"freeze_to\({n}\): the model has 3 groups"):
        make_learner(splitter=three).freeze_to(n)


def test_freezing_clears_what_the_optimizer_remembers():
    learner = make_learner(splitter=halves)
    learner.fit(1, 0.01)
    assert learner.opt.state
    optimizer = learner.opt
    learner.freeze()
    assert not learner.opt.state and learner.opt is optimizer


def test_a_model_that_is_frozen_whole_says_so():
    learner = make_learner(splitter=three, train_bn=False).freeze_to(3)
    with pytest.raises(ConfigError, match=r"Every parameter is frozen.*learn\.unfreeze\(\)"):
        learner.fit(1, 0.01)


@pytest.mark.parametrize("optimizer", [Adam, SGD])
def test_decay_touches_neither_frozen_nor_exempt_parameters(optimizer):
    # With a constant model output there is no gradient but decay, which is then all that moves a weight.
    learner = make_learner(splitter=halves, opt_func=optimizer, wd=0.5, bn="eval", loss_func=no_gradient)
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.fill_(1.0)
    learner.freeze().fit(1, 0.1)
    values = {name: parameter.detach() for name, parameter in learner.model.named_parameters()}
    for name in {*WEIGHTS} - {"4.weight"}:
        assert torch.equal(values[name], torch.ones_like(values[name])), name
    assert values["4.weight"].flatten().tolist() == pytest.approx([0.95**5] * 36, rel=1e-5)
    learner.unfreeze().fit(1, 0.1)
    assert {n for n, p in learner.model.named_parameters() if not torch.equal(p, torch.ones_like(p))} == {
        "0.weight", "4.weight"
    }  # fmt: skip


def no_gradient(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs * 0).sum()


def test_decay_of_norms_and_biases_on_request():
    learner = make_learner(wd=0.5, wd_bn_bias=True, loss_func=no_gradient)
    before = weights(learner)
    learner.fit(1, 0.1)
    for name, parameter in learner.model.named_parameters():
        assert torch.allclose(parameter, before[name] * 0.95**5), name


def test_a_slice_gives_each_group_its_rate():
    learner = make_learner(splitter=three)
    learner.fit(1, slice(1e-4, 1e-2))
    assert [group["lr"] for group in learner.opt.param_groups] == pytest.approx([1e-4, 1e-3, 1e-2])
    learner.fit(1, [1e-3, 2e-3, 3e-3])
    assert [group["lr"] for group in learner.opt.param_groups] == [1e-3, 2e-3, 3e-3]
    with pytest.raises(ConfigError, match="lr has 2 values, but the model has 3 parameter groups"):
        learner.fit(1, [1e-3, 2e-3])


@pytest.mark.parametrize(
    ("splitter", "message"),
    [
        (lambda m: [m[0], m[0]], "puts the parameter 0.weight in more than one group"),
        (lambda m: [m[0], m[4]], "leaves out 2 parameters, 1.weight among them"),
    ],
)
def test_a_splitter_must_place_every_parameter_once(splitter, message):
    with pytest.raises(ConfigError, match=message):
        make_learner(splitter=splitter)


def test_a_splitter_may_return_modules_lists_and_dicts():
    model = small_net()
    groups = split_parameters(model, lambda m: [m[0], [m[1], m[4].weight], {"params": [m[4].bias]}])
    assert [len(group) for group in groups] == [2, 3, 1]


def test_tied_weights_are_one_parameter():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert len(split_parameters(model, lambda m: [list(m.parameters())])[0]) == 3


def test_norms_and_biases_are_found_by_kind_not_by_name():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.MultiheadAttention(4, 2))
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[key] for key in norm_parameters(model)} == {"1.weight", "1.bias", "2.weight", "2.bias"}
    assert "0.bias" in {names[key] for key in bias_parameters(model)}


def test_batch_norms_without_parameters_belong_to_where_they_stand():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False),
        nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    body, head = [*model[0].parameters(), *model[2].parameters()], list(model[5].parameters())
    assert model[1] in body_batch_norms(model, [body, head])
    assert body_batch_norms(model, [[*body, *head]]) == ()


def test_freeze_groups_keeps_what_it_is_told_to():
    model = small_net()
    freeze_groups(halves(model), 1, norm_parameters(model))
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["1.weight", "1.bias", "4.weight", "4.bias"]


def test_eval_statistics_need_a_body():
    with pytest.raises(ConfigError, match="bn='eval' keeps the body's statistics, but the splitter makes no body"):
        make_learner(bn="eval")
    with pytest.raises(ConfigError, match="bn is 'train' or 'eval', not 'off'"):
        make_learner(bn="off")


def test_fine_tune_works_with_one_group():
    learner = make_learner(dls=DataLoaders(batches(), batches(2, seed=1), device="cpu"))
    learner.fine_tune(1)
    assert learner.epoch == 2 and all(p.requires_grad for p in learner.model.parameters())
