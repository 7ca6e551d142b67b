from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from fastlearn.errors import ConfigError
from fastlearn.runtime.seed import (
    RunKey,
    check_seed,
    derive,
    draw_seed,
    kept_generators,
    numpy_rng,
    set_seed,
    torch_rng,
)


def test_the_same_keys_give_the_same_number_and_others_another():
    keys = [(1,), (2,), (1, 0), (1, "train"), (1, "valid"), (1, "train", 0), (1, "train", 1), (1, 0, "train")]
    numbers = [derive(*key) for key in keys]
    assert numbers == [derive(*key) for key in keys]
    assert len(set(numbers)) == len(keys)
    assert all(0 <= number < 2**63 for number in numbers)


def test_neighbouring_seeds_are_unrelated():
    bits = np.array([[derive(seed, "x") >> k & 1 for k in range(63)] for seed in range(2000)])
    assert abs(bits.mean() - 0.5) < 0.01
    flips = (bits[1:] != bits[:-1]).mean(1)
    assert abs(flips.mean() - 0.5) < 0.01  # avalanche: half of the bits change


def test_generators_are_their_own():
    before = torch.get_rng_state()
    first, again = torch.rand(3, generator=torch_rng(7, "a")), torch.rand(3, generator=torch_rng(7, "a"))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    assert numpy_rng(7, "a").random() == numpy_rng(7, "a").random() != numpy_rng(7, "b").random()


def test_run_key_names_a_pass():
    assert RunKey(3, "train", 5).derive("order") == derive(3, "train", 5, "order")


def test_set_seed_repeats_all_global_generators_and_drawn_seeds():
    draws = []
    for _ in range(2):
        set_seed(42)
        draws.append((random.random(), np.random.rand(), torch.rand(()).item(), draw_seed()))
    assert draws[0] == draws[1]


def test_reproducible_switches_deterministic_algorithms_on():
    try:
        set_seed(1, reproducible=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize("wrong", [1.5, "42", None, True])
def test_a_seed_is_a_whole_number(wrong):
    with pytest.raises(ConfigError, match="whole number"):
        set_seed(wrong)


@pytest.mark.parametrize("seed", [2**70, -(2**64), 1.5, "a", True])
def test_a_seed_that_no_generator_takes(seed):
    with pytest.raises(ConfigError, match="whole number from"):
        check_seed(seed)
    assert check_seed(np.int64(-5)) == -5


def test_generators_are_put_back_also_after_an_error():
    def draws():
        return random.random(), np.random.rand(), float(torch.rand(()))

    with kept_generators():
        expected = draws()
    with pytest.raises(ZeroDivisionError), kept_generators():
        draws()
        raise ZeroDivisionError
    assert draws() == expected != draws()
