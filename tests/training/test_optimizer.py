from __future__ import annotations

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from fastlearn.errors import ConfigError
from fastlearn.training.lookahead import Lookahead, ranger
from fastlearn.training.optimizer import (
    SGD,
    Adam,
    AdamW,
    DecoupledDecay,
    OptimWrapper,
    check_lr,
    get_hypers,
    lr_groups,
    make_optimizer,
    set_hypers,
)
from fastlearn.training.optimizers_extra import Lamb, Larc, QHAdam, RAdam, RMSProp


def looked(params, lr):
    return Lookahead(SGD(params, lr, mom=0.9), k=3, alpha=0.3)


EVERY = {
    "SGD": SGD,
    "SGD momentum": partial(SGD, mom=0.9, wd=0.01),
    "SGD unfused": partial(SGD, mom=0.9, wd=0.01, fused=False),
    "Adam": Adam,
    "Adam unfused": partial(Adam, fused=False),
    "RAdam": partial(RAdam, wd=0.01),
    "QHAdam": partial(QHAdam, nu_2=0.8, mom=0.9, wd=0.1),
    "RMSProp": partial(RMSProp, mom=0.9, wd=0.01),
    "Larc": partial(Larc, wd=0.01),
    "Lamb": partial(Lamb, wd=0.1),
    "Lookahead": looked,
    "ranger": ranger,
}


def seven_steps(opt_func, n=7, start=(1.0, 2.0, -3.0)):
    param = nn.Parameter(torch.tensor(start))
    optimizer = opt_func([param], lr=0.1)
    for k in range(1, n + 1):
        param.grad = k * torch.tensor([0.1, -0.2, 0.3])
        optimizer.step()
    return param.tolist()


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


@pytest.mark.parametrize("opt_func", [Larc, partial(Larc, clip=False), Lamb])
def test_zero_weights_are_not_stuck(opt_func):
    assert all(abs(weight) > 1e-3 for weight in seven_steps(opt_func, start=(0.0, 0.0, 0.0)))


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


def small(seed=0):
    torch.manual_seed(seed)
    return [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(2, 2))]


def give_grads(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator)


def take_steps(optimizer, params, seeds):
    for seed in seeds:
        give_grads(params, seed)
        optimizer.step()


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


@pytest.mark.parametrize("name", EVERY)
def test_a_step_flagged_on_the_device_changes_nothing(name):
    clean, flagged = small(), small()
    take_steps(EVERY[name](clean, lr=0.05), clean, [0, 1, 2, 3, 4, 5, 6])
    optimizer = EVERY[name](flagged, lr=0.05)
    taken = [0, None, 1, 2, None, 3, 4, 5, 6] if "ook" not in name and name != "ranger" else [0, 1, 2, 3, 4, 5, 6]
    for seed in [None, *taken] if len(taken) > 7 else taken:  # the very first step too
        before = [param.detach().clone() for param in flagged]
        give_grads(flagged, 0 if seed is None else seed)
        if seed is None:
            flagged[0].grad[0, 0] = float("nan")
        optimizer.found_inf = torch.tensor(float(seed is None))
        optimizer.step()
        if seed is None:
            assert all(torch.equal(a, b) for a, b in zip(before, flagged, strict=True))
    for a, b in zip(clean, flagged, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_lookahead_passes_the_flag_on():
    params = small()
    optimizer = ranger(params, lr=0.1)
    take_steps(optimizer, params, range(2))
    before = [param.detach().clone() for param in params]
    give_grads(params, 5)
    params[1].grad.fill_(float("inf"))
    optimizer.found_inf = torch.ones(1)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, params, strict=True))
    assert not hasattr(optimizer.opt, "found_inf")


@pytest.mark.parametrize("name", ["SGD", "Adam", "Lamb"])
def test_grad_scale_divides_the_gradients(name):
    plain, scaled = small(), small()
    take_steps(EVERY[name](plain, lr=0.05), plain, [1])
    optimizer = EVERY[name](scaled, lr=0.05)
    give_grads(scaled, 1)
    for param in scaled:
        param.grad *= 1024
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(1024.0), torch.tensor(0.0)
    optimizer.step()
    for a, b in zip(plain, scaled, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["SGD momentum", "Adam", "Lamb"])
def test_decay_spares_the_exempt_and_those_without_gradient(name):
    params = small()
    start = [param.detach().clone() for param in params]
    optimizer = make_optimizer(EVERY[name], [params], lr=0.1, wd=0.5, exempt=[params[1]])
    for param in params[:2]:
        param.grad = torch.zeros_like(param)
    optimizer.step()
    torch.testing.assert_close(params[0].detach(), start[0] * (1 - 0.1 * 0.5))
    assert torch.equal(params[1], start[1])
    assert torch.equal(params[2], start[2])
    reloaded = EVERY[name](small(), lr=0.1)
    reloaded.load_state_dict(optimizer.state_dict())
    assert reloaded.param_groups[0]["wd"] == 0.5
    assert reloaded.param_groups[0]["decay"] == [True, False, True]


def test_exemption_survives_a_deep_copy():
    params = small()
    optimizer = Adam(params, wd=0.3)
    optimizer.exempt(params[:1])
    assert copy.deepcopy(optimizer).param_groups[0]["decay"] == [False, True, True]


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


def test_a_late_parameter_has_its_own_bias_correction():
    params, alone = small(), small()
    optimizer = RAdam(params, lr=0.05)
    for seed in range(3):
        give_grads(params, seed)
        params[2].grad = None
        optimizer.step()
    single = RAdam([alone[2]], lr=0.05)
    for seed in range(8):
        give_grads(params, seed)
        optimizer.step()
        alone[2].grad = params[2].grad.clone()
        single.step()
    torch.testing.assert_close(params[2], alone[2])


def test_lists_of_lists_are_groups_and_closures_run():
    params = small()
    optimizer = Adam([params[:1], params[1:]], lr=0.1)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 2]
    give_grads(params, 0)
    assert optimizer.step(lambda: 7.0) == 7.0


@pytest.mark.parametrize(
    ("opt_func", "key"),
    [
        (torch.optim.SGD, None),
        (partial(torch.optim.SGD, momentum=0.9), "momentum"),
        (torch.optim.AdamW, "betas"),
        (torch.optim.Adagrad, None),
        (partial(OptimWrapper, opt=torch.optim.Adam), "betas"),
        (Adam, "betas"),
        (SGD, None),
        (partial(SGD, mom=0.9), "momentum"),
        (ranger, "betas"),
        (Larc, "momentum"),
    ],
)
def test_hypers_of_any_optimizer(opt_func, key):
    first, second, third = small()
    optimizer = make_optimizer(opt_func, [[first], [second, third]], lr=slice(1e-4, 1e-2))
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert get_hypers(optimizer)["lr"] == pytest.approx([1e-4, 1e-2])
    set_hypers(optimizer, lr=[0.3, 0.2], mom=0.85)
    hypers = get_hypers(optimizer)
    assert hypers["lr"] == [0.3, 0.2]
    assert hypers.get("mom") == (None if key is None else [0.85, 0.85])
    if key is None and "momentum" in optimizer.param_groups[0]:
        assert optimizer.param_groups[0]["momentum"] == 0
    set_hypers(optimizer, lr=0.1)
    assert get_hypers(optimizer)["lr"] == [0.1, 0.1]
    take_steps(optimizer, [first, second, third], [0])


def test_rates_kept_as_tensors_are_filled():
    optimizer = torch.optim.Adam(small(), lr=torch.tensor(0.1))
    set_hypers(optimizer, lr=0.5)
    assert float(optimizer.param_groups[0]["lr"]) == 0.5


def test_weight_decay_reaches_any_optimizer():
    params = small()
    assert make_optimizer(torch.optim.AdamW, [params], 0.1, wd=0.2).param_groups[0]["weight_decay"] == 0.2
    assert make_optimizer(Adam, [params], 0.1).param_groups[0]["wd"] == 0.01
    assert make_optimizer(ranger, [params], 0.1, wd=0.2).param_groups[0]["wd"] == 0.2
    with pytest.raises(ConfigError, match="Rprop has no weight decay"):
        make_optimizer(torch.optim.Rprop, [params], 0.1, wd=0.2)
    with pytest.raises(ConfigError, match="gave a list, expected a torch.optim.Optimizer"):
        make_optimizer(lambda groups, lr: [], [params], 0.1)


def test_learning_rates_of_groups():
    assert lr_groups(0.1, 3) == [0.1, 0.1, 0.1]
    assert lr_groups(slice(1e-2), 3) == pytest.approx([1e-3, 1e-3, 1e-2])
    assert lr_groups(slice(1e-6, 1e-2), 3) == pytest.approx([1e-6, 1e-4, 1e-2])
    assert lr_groups(slice(1e-6, 1e-2), 1) == [1e-2]
    assert lr_groups(slice(1e-2), 1) == [1e-2]
    assert lr_groups((0.1, 0.2), 2) == [0.1, 0.2]
    assert lr_groups(np.float32(0.5), 1) == [0.5]
    assert lr_groups(np.array([0.5, 1.0]), 2) == [0.5, 1.0]
    with pytest.raises(ConfigError, match="lr has 2 values, but the model has 3 parameter groups"):
        lr_groups([0.1, 0.2], 3)


@pytest.mark.parametrize("lr", [0, -1e-3, float("nan"), math.inf, "fast", None, slice(0, 1), [0.1, -1.0], slice(None)])
def test_learning_rates_that_cannot_work(lr):
    with pytest.raises(ConfigError, match="learning rate must be a number above 0|no upper end"):
        check_lr(lr)


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match="no parameters"):
        Adam([], lr=0.1)
    with pytest.raises(ConfigError, match="found nan"):
        Lamb(small(), lr=float("nan"))
    with pytest.raises(ConfigError, match="Lookahead wraps an optimizer"):
        Lookahead(Adam)
    with pytest.raises(ConfigError, match="k of 1 or more"):
        Lookahead(Adam(small()), k=0)


def test_repr_and_deepcopy_of_lookahead():
    params = small()
    optimizer = ranger(params, lr=0.1)
    take_steps(optimizer, params, range(7))
    assert repr(optimizer).startswith("Lookahead(k=6, alpha=0.5, RAdam")
    assert copy.deepcopy(optimizer).param_groups[0]["lookahead_step"] == 7
    assert all("slow" in optimizer.state[param] for param in params)
    assert not isinstance(optimizer, DecoupledDecay)
