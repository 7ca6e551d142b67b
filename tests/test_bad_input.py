"""What a user mistypes at the learner is answered before any training, with the way out."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.loaders import check_max_n
from fastlearn.errors import ConfigError, DataError, DeviceMemoryError
from fastlearn.interpret.base import Interpretation
from fastlearn.learner.learner import Learner
from fastlearn.losses import CrossEntropyLossFlat
from fastlearn.training.lr_suggest import suggest
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
    "seed": (lambda: learner(seed="x"), "seed needs a whole number from"),
    "model_dir": (lambda: learner(model_dir=3), "model_dir is the name of a folder"),
    "groups of the splitter": (lambda: learner(splitter=lambda model: 3), "The splitter gave 3"),
    "freeze_to": (lambda: learner().freeze_to("head"), "freeze_to..head.."),
    "ds_idx": (lambda: learner().get_preds(ds_idx="valid"), "ds_idx='valid'"),
    "beta": (lambda: learner().tta(beta="x"), "beta is the share of the plain pass"),
    "num_it": (lambda: learner().lr_find(num_it="a"), "not num_it='a'"),
    "start_lr": (lambda: learner().lr_find("a"), "not start_lr='a'"),
    "suggest_funcs": (lambda: suggest([1e-3] * 50, [1.0] * 50, 50, 3), "a name such as 'valley', not 3"),
    "device": (lambda: DataLoaders([], [], device="gpu"), "device='gpu' cannot be used"),
    "max_n": (lambda: check_max_n(0), "max_n=0: expected how many samples"),
    "files for batches": (lambda: learner().get_preds(dl=["a.jpg"]), r"test_dl\(items\)"),
    "a path for batches": (lambda: learner().get_preds(dl="a.jpg"), r"test_dl\(items\)"),
    "path": (lambda: learner(path=3), "path is a path such as 'pets'"),
    "class of a splitter": (
        lambda: learner(splitter=dict),
        "splitter is a function of the model, found the class dict",
    ),
    "act": (lambda: learner().get_preds(act=3), "act is a function, not 3"),
    "opt_func without lr": (lambda: learner(opt_func=lambda params: 0).fit(1), r"opt_func is called as opt_func\(par"),
    "weights of the loss": (
        lambda: CrossEntropyLossFlat(weight=[1, 3])(torch.zeros(2, 3), torch.tensor([0, 1])),
        "weight has 2 numbers, but the model gives 3 outputs",
    ),
    "flag": (lambda: learner(train_bn=torch.zeros(3)), r"train_bn is True or False, not tensor\("),
    "text for a flag": (lambda: learner().get_preds(with_loss="no"), "with_loss is True or False, not 'no'"),
    "forgotten from_learner": (
        lambda: Interpretation(learner()),
        "Interpretation also needs preds and targs and decoded and losses. .* make one by Interpretation.from_learner",
    ),
    "name to save by": (lambda: learner().save(), r"Learner.save also needs file. It takes file, with_opt\."),
    "interpretation": (lambda: Interpretation.from_learner(3), "made from a learner"),
}


def boom(outputs, targets):
    raise KeyError("zz")


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (boom, r"^The metric boom does not take .*: KeyError: 'zz'$"),
        (lambda o: 1.0, "^The metric does not take the"),
    ],
)
def test_a_metric_that_fails_is_named_once(metric, words):
    with pytest.raises(ConfigError, match=words):
        learner(metrics=metric).fit(1)


@pytest.mark.parametrize("case", CASES)
def test_options(case):
    call, words = CASES[case]
    with pytest.raises(ConfigError, match=words):
        call()


def test_a_model_that_does_not_take_the_pictures():
    learn = Learner(loaders(), nn.Conv2d(1, 4, 3), nn.CrossEntropyLoss(), default_cbs=False)
    with pytest.raises(DataError, match="The model Conv2d does not take the inputs .2 × 3 × 8 × 8, float32"):
        learn.fit(1)


def test_a_batch_that_is_a_dict():
    learn = Learner(DataLoaders([{"x": 1}], [{"x": 1}]), nn.Conv2d(3, 4, 3), nn.CrossEntropyLoss(), default_cbs=False)
    with pytest.raises(DataError, match="The model Conv2d does not take the inputs dict"):
        learn.fit(1)


def test_a_loss_that_would_stretch_the_targets():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    with pytest.raises(DataError, match="MSELoss does not take the model's outputs"):
        Learner(loaders(), model, nn.MSELoss(), default_cbs=False).fit(1)


class Hungry(nn.Linear):
    def forward(self, x):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def test_no_memory_for_two_samples():
    with pytest.raises(DeviceMemoryError, match=r"no memory for even \(2 × 3 × 8 × 8, float32\).*smaller pictures"):
        Learner(loaders(), Hungry(1, 1), nn.CrossEntropyLoss(), default_cbs=False).fit(1)


@pytest.mark.parametrize("targets", [torch.arange(8), torch.arange(8) - 1])
def test_targets_out_of_range(targets):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(DataError, match=r"4|-1"):
        Learner(loaders(targets), model, nn.CrossEntropyLoss(), default_cbs=False).fit(1)


def test_a_transform_that_was_not_called():
    from fastlearn.data.transform import as_item_tfm

    with pytest.raises(ConfigError, match=r"Resize needs arguments: type Resize\(…\)"):
        as_item_tfm(Resize)
