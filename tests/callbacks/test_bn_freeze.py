from __future__ import annotations

import torch
from callback_fits import batches, fit
from torch import nn

from fastlearn.callbacks.bn_freeze import BnFreeze


def test_frozen_norms_keep_their_statistics_and_others_do_not() -> None:
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(4), nn.Linear(4, 1)
    )
    model[1].requires_grad_(False)
    before = model[1].running_mean.clone()
    fit(model, batches([4] * 3), [BnFreeze()], valid=batches([4]), n_epochs=2)
    assert torch.equal(model[1].running_mean, before)
    assert model[1].num_batches_tracked == 0
    assert model[2].num_batches_tracked == model[3].num_batches_tracked == 6
