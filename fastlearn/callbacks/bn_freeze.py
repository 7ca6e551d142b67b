"""Norm layers that keep their statistics while their parameters are frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from fastlearn.training.callback import Callback

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


class BnFreeze(Callback):
    """Keeps batch and instance norms in evaluation mode while training, where none of their parameters is trained.

    A frozen body then gives the same features in training as afterwards. A norm without parameters stays as it is.

    >>> learn = vision_learner(dls, resnet18, train_bn=False, cbs=BnFreeze)
    """

    order = 70
    in_lr_find = True

    def before_epoch(self, state: TrainState) -> None:
        for module in state.model.modules():
            if isinstance(module, _NormBase) and _is_frozen(module):
                module.eval()


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters(recurse=False))
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
