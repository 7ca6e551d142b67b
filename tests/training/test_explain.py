from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from tiny import batches, make_learner, small_net
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import DataError, DeviceMemoryError, TrainingError
from fastlearn.training.callback import Callback
from fastlearn.training.explain import is_out_of_memory


class Stream:
    """A sized iterable that cannot be looked into before it is read."""

    def __init__(self, given: list) -> None:
        self.given = given

    def __len__(self) -> int:
        return len(self.given)

    def __iter__(self) -> Iterator:
        return iter(self.given)


class RaisesWhen(nn.Module):
    """A model that runs out of something for large batches, in training, evaluation or both."""

    def __init__(self, error: BaseException, training: bool | None = None) -> None:
        super().__init__()
        self.net, self.error, self.when = small_net(), error, training

    def forward(self, x):
        if len(x) > 2 and self.when in (None, self.training):
            raise self.error
        return self.net(x)


NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes."),
    RuntimeError("MPS backend out of memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_out_of_memory_names_the_batch_size_and_what_to_try(error):
    learner = make_learner(RaisesWhen(error))
    with pytest.raises(DeviceMemoryError) as caught:
        learner.fit(1, 0.01)
    text = str(caught.value)
    assert "CPU ran out of memory with a batch of 16 in training" in text and caught.value.__cause__ is error
    for way_out in ("bs=8", "smaller pictures", "to_bf16()", "GradientAccumulation"):
        assert way_out in text, way_out


def test_out_of_memory_in_validation_and_prediction():
    learner = make_learner(RaisesWhen(NO_MEMORY[0], training=False))
    with pytest.raises(DeviceMemoryError, match="batch of 16 in validation") as caught:
        learner.fit(1, 0.01)
    assert "GradientAccumulation" not in str(caught.value)
    with pytest.raises(DeviceMemoryError, match=r"batch of 16 in prediction.*bs=8"):
        learner.get_preds()
    assert learner.model.training is False and learner.global_step == 5


def test_other_runtime_errors_are_left_as_they_are():
    error = RuntimeError("size mismatch")
    assert not is_out_of_memory(error) and not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as caught:
        make_learner(RaisesWhen(error)).fit(1, 0.01)
    assert caught.value is error


def test_a_target_out_of_range_in_the_middle_of_training():
    given = batches()
    given[3][1][5] = 7
    learner = make_learner(dls=DataLoaders(Stream(given), device="cpu"))
    with pytest.raises(DataError, match=r"Target 7 is out of bounds.*The model has 3 outputs"):
        learner.fit(1, 0.01)
    assert learner.global_step == 3


def test_a_device_that_has_stopped_is_not_asked_again():
    class Aborts(Callback):
        def after_backward(self, state):
            raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(TrainingError, match=r'target is not a class number.*Restart Python.*device="cpu"'):
        make_learner(cbs=Aborts()).fit(1, 0.01)


def test_a_loss_that_is_not_one_number_through_a_loader_that_cannot_be_looked_into():
    dls = DataLoaders(Stream(batches()), device="cpu")
    learner = make_learner(dls=dls, loss_func=nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(TrainingError, match=r"The loss has shape \(16,\); training needs one number.*reduction='mean'"):
        learner.fit(1, 0.01)


def test_an_index_error_of_another_kind_is_left_alone():
    def loss(outputs, targets):
        return F.cross_entropy(outputs, targets) + [0.0][len(outputs) - 2]

    with pytest.raises(IndexError, match="list index out of range"):
        make_learner(loss_func=loss).fit(1, 0.01)
