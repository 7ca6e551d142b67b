from __future__ import annotations

import pytest
import torch
from callback_fits import Batches, batches, fit, make_state
from torch import nn

from fastlearn.callbacks.accumulate import GradientAccumulation
from fastlearn.callbacks.clip import GradientClip
from fastlearn.errors import ConfigError
from fastlearn.training.callback import Callback
from fastlearn.training.loop import default_step, run_fit
from fastlearn.training.optimizer import SGD
from fastlearn.training.state import TrainState


def model() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 1)


def joined(small: Batches, groups: list[list[int]]) -> Batches:
    return [tuple(torch.cat(parts) for parts in zip(*(small[i] for i in group), strict=True)) for group in groups]


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([4, 4, 4, 4], [[0, 1], [2, 3]]),
        ([4, 4, 4], [[0, 1], [2]]),
        ([4, 4, 4, 1], [[0, 1], [2, 3]]),
        ([3, 3, 3, 3, 2], [[0, 1, 2], [3, 4]]),
        ([16, 2, 1], [[0], [1, 2]]),
    ],
)
@pytest.mark.parametrize("clip", [None, 0.05])
def test_equals_large_batches(sizes: list[int], groups: list[list[int]], clip: float | None) -> None:
    small = batches(sizes)
    clips = [] if clip is None else [GradientClip(clip)]
    ours, large = model(), model()
    # The order in which the callbacks are given does not matter.
    fit(ours, small, [*clips, GradientAccumulation(8)], n_epochs=3)
    fit(large, joined(small, groups), clips, n_epochs=3)
    torch.testing.assert_close(ours.weight, large.weight, rtol=1e-5, atol=1e-6)


def test_validation_and_batches_between_do_not_step() -> None:
    steps: list[int] = []

    class Count(Callback):
        def after_step(self, state: TrainState) -> None:
            steps.append(state.batch_index)

    fit(model(), batches([4] * 5), [GradientAccumulation(8), Count()], valid=batches([4, 4]), n_epochs=2)
    assert steps == [1, 3, 4, 1, 3, 4]


def test_a_stop_in_the_middle_leaves_nothing_behind() -> None:
    class Stop(Callback):
        def after_batch(self, state: TrainState) -> None:
            if state.batch_index == 2:
                state.request_stop()

    small, accumulate = batches([4] * 4), GradientAccumulation(8)
    ours, plain = model(), model()
    fit(ours, small, [accumulate, Stop()])
    fit(plain, joined(small, [[0, 1]]), [])
    assert ours.weight.grad is None
    fit(ours, small, [accumulate])
    fit(plain, joined(small, [[0, 1], [2, 3]]), [])
    torch.testing.assert_close(ours.weight, plain.weight, rtol=1e-5, atol=1e-6)


def test_bad_arguments() -> None:
    for bad in (0, -1, 2.5, True):
        with pytest.raises(ConfigError, match="n_acc"):
            GradientAccumulation(bad)  # type: ignore[arg-type]


def test_with_a_replaced_step() -> None:
    def step(state: TrainState) -> None:
        state.outputs = state.model(*state.inputs)
        state.loss = nn.functional.mse_loss(state.outputs, *state.targets)
        if state.training:
            state.backward(state.loss)
            state.optimizer_step()

    small = batches([4, 4, 4])
    ours, other = model(), model()
    run_fit(make_state(ours, small, [GradientAccumulation(8)], optimizer=SGD(ours.parameters(), lr=0.1)), step)
    state = make_state(other, small, [GradientAccumulation(8)], optimizer=SGD(other.parameters(), lr=0.1))
    run_fit(state, default_step)
    assert torch.equal(ours.weight, other.weight)
