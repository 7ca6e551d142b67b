"""The optimizers against golden runs, plain torch and themselves resumed."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from optimizers import EVERY, give_grads, looked, seven_steps, small, take_steps
from torch import nn

from fastlearn.errors import ConfigError
from fastlearn.training.hypers import get_hypers
from fastlearn.training.lookahead import Lookahead, ranger
from fastlearn.training.optimizer import SGD, Adam, AdamW, make_optimizer
from fastlearn.training.optimizers_extra import Lamb, Larc, QHAdam, RAdam, RMSProp


@pytest.mark.parametrize(
    ("opt_func", "expected"),
    [
        (SGD, (0.72, 2.56, -3.84)),
        (partial(SGD, mom=0.9, wd=0.01), (0.2683669, 3.4353507, -5.1530256)),
        (partial(SGD, mom=0.9, wd=0.01, decouple_wd=False), (0.2533926, 3.4014401, -5.1021605)),
        (Adam, (0.3161703, 2.6629086, -3.6559348)),
        (partial(Adam, decouple_wd=False), (0.3185159, 2.6763561, -3.6763206)),
        (RAdam, (0.8775373, 2.2268369, -3.3312116)),
        (partial(RAdam, beta=2.0, wd=0.01), (0.8762813, 2.2105024, -3.3086493)),
        (QHAdam, (0.2543047, 2.7456954, -3.7456954)),
        (partial(QHAdam, nu_2=0.8, mom=0.9, wd=0.1), (0.2484634, 2.5477326, -3.4797981)),
        (RMSProp, (-4.3371878, 7.3371882, -8.3371887)),
        (partial(RMSProp, mom=0.9, wd=0.01), (-10.0582352, 13.0372992, -14.0303211)),
        (Larc, (0.9687019, 2.0625961, -3.0938945)),
        (partial(Larc, clip=False, wd=0.01, trust_coeff=0.5), (0.0042473, 3.9635896, -5.9453836)),
        (Lamb, (-0.8848871, 3.8849273, -4.8849406)),
        (partial(Lamb, wd=0.1), (-0.8247728, 3.6210069, -4.5530849)),
        (ranger, (0.9316512, 2.1072705, -3.154171)),
    ],
)
def test_seven_steps_end_at_the_golden_values(opt_func, expected):
    assert seven_steps(opt_func) == pytest.approx(expected, abs=1.2e-6)


def test_longer_golden_runs():
    assert seven_steps(looked, n=8) == pytest.approx((0.3335139, 3.3329723, -4.9994578), abs=1e-6)
    assert seven_steps(ranger, n=13) == pytest.approx((0.8787928, 2.1510353, -3.194803), abs=1e-6)
    assert seven_steps(partial(RAdam), n=12) == pytest.approx((0.7994672, 2.3049078, -3.4092825), abs=1e-6)
    assert seven_steps(Lamb, start=(10.0, 20.0, -30.0)) == pytest.approx((3.2111216, 26.789034, -36.789085), rel=1e-6)


def test_adam_is_torch_adamw_bit_for_bit():
    ours, theirs = nn.Linear(20, 10), nn.Linear(20, 10)
    theirs.load_state_dict(ours.state_dict())
    left = Adam(ours.parameters(), lr=1e-2, wd=0.0)
    right = torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.0, fused=True)
    x = torch.randn(8, 20)
    for _ in range(5):
        for model, optimizer in ((ours, left), (theirs, right)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    assert AdamW is Adam
    assert all(group["fused"] for group in left.param_groups)


@pytest.mark.parametrize("name", EVERY)
def test_state_dict_resumes_as_if_never_stopped(name):
    whole, first = small(), small()
    take_steps(EVERY[name](whole, lr=0.05), whole, range(11))
    optimizer = EVERY[name](first, lr=0.05)
    take_steps(optimizer, first, range(5))
    second = [nn.Parameter(param.detach().clone()) for param in first]
    resumed = EVERY[name](second, lr=0.9)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert get_hypers(resumed)["lr"] == [0.05]
    take_steps(resumed, second, range(5, 11))
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


def test_the_state_of_plain_torch_loads():
    params = small()
    plain = torch.optim.Adam(params, lr=0.2, fused=True)
    take_steps(plain, params, [0])
    ours = Adam(params, lr=0.1, wd=0.05)
    ours.load_state_dict(plain.state_dict())
    take_steps(ours, params, [1])
    assert ours.param_groups[0]["wd"] == 0.05
    assert ours.param_groups[0]["lr"] == 0.2


@pytest.mark.parametrize("name", EVERY)
def test_groups_added_later_train_too(name):
    params = small()
    optimizer = EVERY[name](params[:2], lr=0.05)
    optimizer.add_param_group({"params": [params[2]], "lr": 0.01})
    start = params[2].detach().clone()
    take_steps(optimizer, params, range(2))
    assert not torch.equal(params[2], start)
    assert get_hypers(optimizer)["lr"] == [0.05, 0.01]


def test_lists_of_lists_are_groups_and_closures_run():
    params = small()
    optimizer = Adam([params[:1], params[1:]], lr=0.1)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 2]
    give_grads(params, 0)
    assert optimizer.step(lambda: 7.0) == 7.0


def test_weight_decay_reaches_any_optimizer():
    params = small()
    assert make_optimizer(torch.optim.AdamW, [params], 0.1, wd=0.2).param_groups[0]["weight_decay"] == 0.2
    assert make_optimizer(Adam, [params], 0.1).param_groups[0]["wd"] == 0.01
    assert make_optimizer(ranger, [params], 0.1, wd=0.2).param_groups[0]["wd"] == 0.2
    with pytest.raises(ConfigError, match="Rprop has no weight decay"):
        make_optimizer(torch.optim.Rprop, [params], 0.1, wd=0.2)
    with pytest.raises(ConfigError, match="gave a list, expected a torch.optim.Optimizer"):
        make_optimizer(lambda groups, lr: [], [params], 0.1)


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match="no parameters"):
        Adam([], lr=0.1)
    with pytest.raises(ConfigError, match="found nan"):
        Lamb(small(), lr=float("nan"))
    with pytest.raises(ConfigError, match="Lookahead wraps an optimizer"):
        Lookahead(Adam)
    with pytest.raises(ConfigError, match="k of 1 or more"):
        Lookahead(Adam(small()), k=0)
