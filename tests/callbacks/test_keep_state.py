"""What a step of one's own uses, in and out of a callback's state; whole trainings are in tests/learner."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fastlearn.callbacks.keep_state import KeepState
from fastlearn.errors import CheckpointError, ConfigError
from fastlearn.runtime.json_bytes import read_json, write_json
from fastlearn.training.checkpoint import pack_callbacks, unpack_callbacks


def stepped(seed: int) -> tuple[nn.Linear, torch.optim.Optimizer, Any]:
    """A layer after one step, its optimizer and its schedule."""
    torch.manual_seed(seed)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), 0.1 * seed)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule.step()
    return layer, optimizer, schedule


def test_modules_optimizers_and_schedules_come_back() -> None:
    one, other = stepped(1), stepped(2)
    names = ("layer", "optimizer", "schedule")
    tensors, entries = pack_callbacks([KeepState(**dict(zip(names, one, strict=True)))])
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()) and len(tensors) == 2 + 2 * 3
    unpack_callbacks([KeepState(**dict(zip(names, other, strict=True)))], tensors, entries)
    assert all(torch.equal(a, b) for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True))
    was, now = one[1].state_dict(), other[1].state_dict()
    assert was["param_groups"] == now["param_groups"] and was["param_groups"][0]["lr"] == 0.05
    for k in was["state"]:
        assert all(
            torch.equal(was["state"][k][name], now["state"][k][name]) for name in ("exp_avg", "exp_avg_sq", "step")
        )
    assert other[2].state_dict() == one[2].state_dict()


class Said:
    """Something that says whatever it is given."""

    def __init__(self, state: Any = None) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


@pytest.mark.parametrize(
    "state",
    [
        {"steps": {30: 0.1, 60: {"x": [1, 2]}}, "text": "float:", "also": "float:1"},
        {"one": {"tensor": "here"}, "two": {"dict": 3}},
        {"none": None, "inf": float("inf"), "flag": True, "empty": {}},
    ],
)
def test_any_plain_state_comes_back(state: dict[str, Any]) -> None:
    tensors, entries = pack_callbacks([KeepState(it=Said(state))])
    back = Said()
    assert (
        unpack_callbacks([KeepState(it=back)], tensors, read_json(write_json(entries), list[dict[str, Any]], "it"))
        == []
    )
    assert back.state == state


def test_a_schedule_with_milestones_falls_when_it_should() -> None:
    def made() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], 1.0)
        return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], gamma=0.1)

    def rates(optimizer: torch.optim.Optimizer, schedule: Any, n: int) -> list[float]:
        found = []
        for _ in range(n):
            optimizer.step()
            schedule.step()
            found.append(optimizer.param_groups[0]["lr"])
        return found

    whole = rates(*made(), 5)
    one, other = made(), made()
    assert rates(*one, 1) == whole[:1]
    tensors, entries = pack_callbacks([KeepState(opt=one[0], schedule=one[1])])
    unpack_callbacks(
        [KeepState(opt=other[0], schedule=other[1])], tensors, read_json(write_json(entries), list[Any], "it")
    )
    assert rates(*other, 4) == whole[1:] and whole[-1] == pytest.approx(0.01)


def test_what_does_not_fit_is_told_or_left_out() -> None:
    tensors, entries = pack_callbacks([KeepState(it=nn.Linear(2, 2))])
    with pytest.raises(CheckpointError, match="it does not take what was kept of it: .*size mismatch"):
        unpack_callbacks([KeepState(it=nn.Linear(3, 3))], tensors, entries)
    assert unpack_callbacks([KeepState(it=nn.Linear(3, 3))], tensors, entries, strict=False) == ["KeepState(it)"]
    assert unpack_callbacks([], tensors, entries) == ["KeepState(it)"]


def test_what_cannot_be_kept_is_told() -> None:
    with pytest.raises(ConfigError, match=r"KeepState\(\) keeps nothing. Name what"):
        KeepState()
    with pytest.raises(ConfigError, match=r"KeepState\(count=…\) keeps what has state_dict.*not .*3"):
        KeepState(count=3)
    layer, optimizer, _ = stepped(1)
    state = KeepState(it=optimizer).state_dict()
    with pytest.raises(CheckpointError, match="is the state of AdamW, and the optimizer is SGD. Make it as it was"):
        KeepState(it=torch.optim.SGD(layer.parameters())).load_state_dict(state)
    KeepState(other=layer).load_state_dict(state)  # what was not kept stays as it is
