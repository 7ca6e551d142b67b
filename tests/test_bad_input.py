"""What a user mistypes at the learner is answered before any training, with the way out."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError, DataError
from fastlearn.interpret.base import Interpretation
from fastlearn.learner.learner import Learner
from fastlearn.vision.learner import vision_learner
from fastlearn.vision.transforms import Resize


def loaders(targets=None):
    targets = torch.arange(8) % 4 if targets is None else targets
    data = TensorDataset(torch.randn(8, 3, 8, 8), targets)
    return DataLoaders(TorchLoader(data, 4), TorchLoader(data, 4))


def learner(**options):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    return Learner(loaders(), model, nn.CrossEntropyLoss(), default_cbs=False, **options)


CASES = {
    "lr as text": (lambda: learner().fit_one_cycle(1, "1e-3"), "must be a number above 0, found '1e-3'"),
    "a slice for fine_tune": (lambda: learner().fine_tune(1, slice(1e-3)), "takes one learning rate"),
    "lr_mult": (lambda: learner().fine_tune(1, lr_mult=0), "lr_mult divides a learning rate"),
    "div": (lambda: learner().fit_one_cycle(1, div=0), "div divides a learning rate"),
    "moms": (lambda: learner().fit_one_cycle(1, moms=0.9), "three momenta"),
    "opt_func": (lambda: learner(opt_func="adam").fit(1), "opt_func is what makes an optimizer"),
    "wd": (lambda: learner(wd=-1).fit(1), "wd is the weight decay"),
    "splitter": (lambda: learner(splitter=None), "splitter is a function"),
    "loaders": (lambda: vision_learner("a folder", "resnet18"), "needs DataLoaders first, not str"),
    "files for batches": (lambda: learner().get_preds(dl=["a.jpg"]), r"test_dl\(items\)"),
    "a path for batches": (lambda: learner().get_preds(dl="a.jpg"), r"test_dl\(items\)"),
    "interpretation": (lambda: Interpretation.from_learner(3), "made from a learner"),
}


@pytest.mark.parametrize("case", CASES)
def test_options(case):
    call, words = CASES[case]
    with pytest.raises(ConfigError, match=words):
        call()


def test_a_model_that_does_not_take_the_pictures():
    learn = Learner(loaders(), nn.Conv2d(1, 4, 3), nn.CrossEntropyLoss(), default_cbs=False)
    with pytest.raises(DataError, match="The model Conv2d does not take the inputs .2 × 3 × 8 × 8, float32"):
        learn.fit(1)


@pytest.mark.parametrize("targets", [torch.arange(8), torch.arange(8) - 1])
def test_targets_out_of_range(targets):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(DataError, match=r"4|-1"):
        Learner(loaders(targets), model, nn.CrossEntropyLoss(), default_cbs=False).fit(1)


def test_a_transform_that_was_not_called():
    from fastlearn.data.transform import as_item_tfm

    with pytest.raises(ConfigError, match=r"Resize needs arguments: type Resize\(…\)"):
        as_item_tfm(Resize)
