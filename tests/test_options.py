"""Options that a function does not have."""

from __future__ import annotations

import inspect
import pickle
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fastlearn.arch.body import create_body
from fastlearn.arch.head import create_head
from fastlearn.arch.spec import create_vision_model
from fastlearn.callbacks.clip import GradientClip
from fastlearn.callbacks.csv_log import CSVLogger
from fastlearn.callbacks.early_stopping import EarlyStoppingCallback
from fastlearn.callbacks.ema import EMA
from fastlearn.callbacks.mixup import MixUp
from fastlearn.callbacks.nan_stop import StopOnNonFinite
from fastlearn.callbacks.param_scheduler import ParamScheduler
from fastlearn.callbacks.tracker import TrackerCallback
from fastlearn.data.block import CategoryBlock, DataBlock
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.dataset import Datasets
from fastlearn.data.download import untar_data
from fastlearn.data.foreign import ForeignLoader
from fastlearn.data.loaders import DataLoader
from fastlearn.data.split import RandomSplitter
from fastlearn.errors import ConfigError
from fastlearn.interpret.classification import ClassificationInterpretation
from fastlearn.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, FocalLoss, LabelSmoothingCrossEntropy
from fastlearn.metrics import AccumMetric, Dice, F1Score, R2Score, accuracy, accuracy_multi, as_metric, top_k_accuracy
from fastlearn.options import (
    checked_count,
    checked_figsize,
    checked_flag,
    checked_function,
    checked_list,
    checked_number,
    checked_pair,
    checked_path,
    checked_whole,
    found,
    named_options,
)
from fastlearn.runtime.device import to_device
from fastlearn.runtime.seed import set_seed
from fastlearn.tensors import to_np
from fastlearn.training.lookahead import Lookahead
from fastlearn.training.lr_suggest import slide, steep, valley
from fastlearn.training.optimizer import SGD, Adam, OptimWrapper
from fastlearn.training.optimizers_extra import Lamb, RAdam
from fastlearn.training.schedule import SchedCos, combine_scheds
from fastlearn.vision.augment import (
    Brightness,
    Dihedral,
    Normalize,
    RandomErasing,
    RandomResizedCropGPU,
    aug_transforms,
)
from fastlearn.vision.blocks import ImageBlock
from fastlearn.vision.plot import show_image, show_images
from fastlearn.vision.transforms import CropPad, RandomResizedCrop, Resize

NETWORK = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1))
WEIGHT = torch.nn.Parameter(torch.zeros(2))
INTERP = ClassificationInterpretation(None, *[torch.zeros(2, 2)] * 3, torch.zeros(2))


@named_options
def bake(flour: int, /, heat: int = 200, *, minutes: int = 40) -> tuple[int, int, int]:
    """A loaf."""
    return flour, heat, minutes


def test_known_options_arrive() -> None:
    assert bake(1, 180, minutes=5) == (1, 180, 5)
    assert list(inspect.signature(bake).parameters) == ["flour", "heat", "minutes"]
    assert bake.__doc__ == "A loaf."


@pytest.mark.parametrize("name", ["minute", "flour"])
def test_an_unknown_option_names_the_call(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"bake has no option '{name}'.* It takes heat, minutes\.") as caught:
        bake(1, **{name: 3})  # type: ignore[arg-type]
    assert ("Did you mean 'minutes'?" in str(caught.value)) == (name == "minute")
    assert len(traceback.extract_tb(caught.value.__traceback__)) == 2  # the reader's line, and ours


class Loaf:
    @named_options
    def __init__(self, flour: int, whole: bool = False, *, sliced: bool = False) -> None:
        self.flour = flour

    @classmethod
    def from_dough(cls) -> Loaf:
        return cls(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bake(), "bake also needs flour. It takes flour, heat, minutes."),
        (lambda: bake(1, 2, heat=3), "bake was given heat twice, by its place and by its name. It takes flour, hea"),
        (lambda: bake(1, 2, 3), "bake takes 2 arguments without a name, found 3. It takes flour, heat, minutes."),
        (lambda: Loaf(), "Loaf also needs flour. It takes flour, whole, sliced. Or make one by Loaf.from_dough."),
        (lambda: DataLoaders(), "DataLoaders also needs train. It takes train, valid, path, device. Or make one by"),
        (lambda: Loaf(1, True, True), "Loaf takes 2 arguments without a name, found 3. It takes flour, whole, sliced."),
        (lambda: Loaf(1, torch.zeros(2)), "whole is True or False, not tensor([0., 0.])."),
        (lambda: Loaf(1, sliced="no"), "sliced is True or False, not 'no'."),
    ],
)
def test_arguments_that_do_not_fit(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_a_type_error_of_the_function_itself_is_left_alone() -> None:
    @named_options
    def knead(dough: Callable[[], int]) -> int:
        return dough()

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'flour'") as caught:
        knead(bake.__wrapped__)  # type: ignore[attr-defined]
    assert not isinstance(caught.value, ConfigError)
    with pytest.raises(ConfigError, match=r"The metric AccumMetric needs arguments; give an instance, AccumMetric\("):
        as_metric(AccumMetric)


LOADING = {"bs", "val_bs", "path", "device", "shuffle", "drop_last", "num_workers", "workers", "seed"}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (DataBlock.dataloaders, {*LOADING, "source", "weights", "verbose"}),
        (DataBlock.weighted_dataloaders, {*LOADING, "source", "wgts"}),
        (Datasets.dataloaders, {*LOADING, "batch_tfms", "weights"}),
        (DataLoaders.from_dsets, {*LOADING, "batch_tfms", "weights"}),
        (ForeignLoader.show_batch, {"b", "max_n", "nrows", "ncols", "figsize", "unique", "show"}),
    ],
)
def test_every_option_can_be_completed(call: object, expected: set[str]) -> None:
    parameters = inspect.signature(call).parameters  # type: ignore[arg-type]
    assert not any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    assert expected <= set(parameters)


def test_what_other_libraries_call_it() -> None:
    with pytest.raises(ConfigError, match=r"DataBlock\.dataloaders has no option 'dl_type'\. It takes source, path"):
        DataBlock().dataloaders([1, 2], dl_type=list)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"weighted_dataloaders has no option 'weights'.*Did you mean 'wgts'"):
        DataBlock().weighted_dataloaders([1, 2], weights=[1, 2])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checked_path(3, "folder"), "folder is a path such as 'pets' or Path('pets'), not 3."),
        (lambda: checked_flag("yes", "shuffle"), "shuffle is True or False, not 'yes'."),
        (lambda: checked_number("abc", "heat", 200), "heat is a number such as 200, not 'abc'."),
        (lambda: checked_number(True, "heat", 0.5), "heat is a number such as 0.5, not True."),
        (lambda: checked_list("abc", "labels", "classes"), "labels is a list of classes, not 'abc'."),
        (lambda: checked_list(np.zeros(()), "labels", "classes"), "labels is a list of classes, not array(0.)."),
        (lambda: checked_function(np.zeros(99), "func"), "func is a function, not a ndarray."),
        (lambda: checked_count(0, "nrows"), "nrows is a whole number from 1, not 0."),
        (lambda: checked_count("2", "nrows"), "nrows is a whole number from 1, not '2'."),
        (
            lambda: checked_figsize(12),
            "figsize is the width and the height in inches, not 12. Type figsize=(12, 12).",
        ),
        (
            lambda: checked_figsize((12, None)),
            "figsize is the width and the height in inches, not (12, None). Type figsize=(8, 8).",
        ),
    ],
)
def test_values_of_a_wrong_sort(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checked_pair(3, "ratio", "two widths", (0.75, 2)), "ratio is two widths, not 3. Type ratio=(0.75, 2)"),
        (lambda: checked_pair((1, True), "ratio", "two widths", (1, 2)), "ratio is two widths, not (1, True)."),
        (lambda: checked_whole(2.5, "axis"), "axis is a whole number such as -1 or 1, not 2.5."),
        (lambda: create_body(None), "create_body takes a network, not None."),
        (lambda: create_body(NETWORK, 2.5), "cut is a number of children to keep or a function"),
        (lambda: create_head(None, 3), "nf is a whole number from 1, such as 512, not None."),
        (lambda: create_head(8, True), "n_out is a whole number from 1, such as 512, not True."),
        (lambda: create_head(8, 3, 512), "lin_ftrs is a list of layer widths, not 512."),
        (lambda: create_head(8, 3, ["x"]), "lin_ftrs is a whole number from 1, such as 512, not 'x'."),
        (lambda: create_head(8, 3, ps=None), "ps is a list of dropout rates, or one number, not None."),
        (lambda: create_head(8, 3, y_range=3), "y_range is (lowest, highest), not 3. Type y_range=(0, 5), say."),
        (lambda: create_head(8, 3, y_range=(5, 0)), "y_range is (lowest, highest), such as (0, 5), found (5, 0)."),
        (lambda: create_head(8, 3, lin_ftr=[9]), "create_head has no option 'lin_ftr'. Did you mean 'lin_ftrs'"),
        (lambda: create_vision_model("resnet18", 3, False, lin_ftrs=9), "lin_ftrs is a list of layer widths, not 9."),
        (lambda: create_vision_model("resnet18", 3, False, custom_head=9), "custom_head is a torch module, not 9."),
        (lambda: create_vision_model("resnet18", 3, False, init=9), "init is a function, not 9."),
        (lambda: Normalize(None, [1]), "mean is a list with one number a channel, not None."),
        (lambda: Normalize([1], ["x"]), "std is a list with one number a channel, not ['x']."),
        (lambda: RandomResizedCrop(8, ratio=3), "ratio is the least and the greatest width by height, not 3."),
        (lambda: RandomResizedCropGPU(8, ratio="x"), "ratio is the least and the greatest width by height, not 'x'."),
        (lambda: RandomErasing(max_count=2.5), "RandomErasing(sl=0.0, sh=0.3, min_aspect=0.3, max_count=2.5): expec"),
        (lambda: ImageBlock(clss=1), "ImageBlock has no option 'clss'. Did you mean 'cls'"),
        (lambda: to_device(WEIGHT, "gpu"), "device='gpu' cannot be used: "),
        (lambda: to_device(WEIGHT, 2.5), "device=2.5 cannot be used: "),
        (lambda: to_np([1]), "to_np() takes a tensor, not [1]. Type np.asarray("),
        (lambda: set_seed(1, repro=True), "set_seed has no option 'repro'. It takes s, reproducible."),
        (lambda: accuracy(WEIGHT, WEIGHT, axis=None), "axis is a whole number such as -1 or 1, not None."),
        (lambda: top_k_accuracy(WEIGHT, WEIGHT, k=0), "k is a whole number from 1, not 0."),
        (lambda: top_k_accuracy(WEIGHT, WEIGHT, k=None), "k is a whole number from 1, not None."),
        (lambda: as_metric(partial(top_k_accuracy, k=None)), "k is a whole number from 1, not None."),
        (lambda: accuracy_multi(WEIGHT, WEIGHT, thresh="x"), "thresh is a number such as 0.5, not 'x'."),
        (lambda: CrossEntropyLossFlat(weight="x"), "weight is a list with one number a class, such as [1.0, 3.0], no"),
        (lambda: CrossEntropyLossFlat(ignore_index=None), "ignore_index is a whole number such as -100, not None."),
        (lambda: BCEWithLogitsLossFlat(pos_weight=["x"]), "pos_weight is a list with one number a label, such as"),
        (lambda: FocalLoss(gamma="x"), "gamma is a number such as 2, not 'x'."),
        (lambda: LabelSmoothingCrossEntropy([]), "eps is a number such as 0.1, not []."),
        (lambda: FocalLoss(gama=1), "FocalLoss has no option 'gama'. Did you mean 'gamma'"),
        (lambda: Adam(None), "params is a list of parameters, such as model.parameters(), not None."),
        (lambda: Adam(NETWORK), "params is a list of parameters, such as model.parameters(); it holds Conv2d("),
        (lambda: Adam([WEIGHT], lr=[]), "lr is one number such as 0.001, not []"),
        (lambda: Adam([WEIGHT], mom=-1), "mom is a number from 0 to below 1, such as 0.9, not -1."),
        (lambda: RAdam([WEIGHT], sqr_mom=1), "sqr_mom is a number from 0 to below 1, such as 0.9, not 1."),
        (lambda: Lamb([WEIGHT], eps=None), "eps is a number such as 1e-05, not None."),
        (lambda: SGD([WEIGHT], wd="x"), "wd is the weight decay, a number from 0 (0.01 is usual), found 'x'."),
        (lambda: SGD([WEIGHT], fused="x"), "fused is True or False, not 'x'."),
        (lambda: Lookahead(Adam([WEIGHT]), k=2.5), "k is a whole number such as 6, not 2.5."),
        (lambda: OptimWrapper([WEIGHT], opt="Adam"), "opt is a function, not 'Adam'."),
        (lambda: valley(3, [1.0], 100), "lrs is a list of numbers, not 3."),
        (lambda: steep([1.0], "x", 100), "losses is a list of numbers, not 'x'."),
        (lambda: slide([1, 2, 3], [3, 2, 1], 100, thresh=None), "thresh is a number such as 0.005, not None."),
        (lambda: MixUp("x"), "alpha is a number such as 0.4, not 'x'."),
        (lambda: EMA([]), "decay is a number such as 0.999, not []."),
        (lambda: EMA(warmup=WEIGHT), "warmup is True or False, not "),
        (lambda: GradientClip("x"), "max_norm is a number such as 1, not 'x'."),
        (lambda: GradientClip(norm_type=None), "norm_type is a number such as 2, not None."),
        (lambda: CSVLogger(3), "fname is a path such as 'pets' or Path('pets'), not 3."),
        (lambda: ParamScheduler([]), 'scheds is a dict such as {"lr": combined_cos('),
        (lambda: StopOnNonFinite(check_evry=3), "StopOnNonFinite has no option 'check_evry'. Did you mean 'check_ev"),
    ],
)
def test_a_wrong_sort_is_answered_everywhere(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_signatures_are_those_that_were_written() -> None:
    assert list(inspect.signature(Resize).parameters) == ["size", "method", "pad_mode", "resamples"]
    assert list(inspect.signature(EMA).parameters) == ["decay", "use_at_end", "warmup", "from_start"]
    assert (
        next(iter(inspect.signature(accuracy).parameters)) == "inp" and pickle.loads(pickle.dumps(accuracy)) is accuracy
    )


def test_values_of_the_right_sort() -> None:
    assert checked_flag(np.bool_(True), "x") is True and checked_flag(0, "x") is False
    assert checked_list((i for i in "ab"), "x", "y") == ["a", "b"] and checked_list(np.arange(2), "x", "y") == [0, 1]
    assert checked_path(Path("a"), "x") == Path("a") and checked_function(len, "x") is len
    assert checked_number(np.float32(1), "x", 2) == 1
    assert checked_count(None, "x") is None and checked_count(np.int64(3), "x") == 3
    assert checked_figsize(None) is None and checked_figsize([3, 2.5]) == (3, 2.5)
    assert found("two\nlines") == "'two\\nlines'"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aug_transforms(max_rotat=5), "aug_transforms has no option 'max_rotat'. Did you mean 'max_rotate'"),
        (lambda: Resize(8, methd="pad"), "Resize has no option 'methd'. Did you mean 'method'"),
        (lambda: RandomResizedCrop(8, min_scal=1), "RandomResizedCrop has no option 'min_scal'. Did you mean 'min_sc"),
        (lambda: CropPad(8, padmode="zeros"), "CropPad has no option 'padmode'. Did you mean 'pad_mode'"),
        (lambda: Dihedral(prob=1), "Dihedral has no option 'prob'."),
        (lambda: Brightness(max_light=1), "Brightness has no option 'max_light'. Did you mean 'max_lighting'"),
        (
            lambda: Normalize.from_stats(means=1, std=1),
            "Normalize.from_stats has no option 'means'. Did you mean 'mean",
        ),
        (lambda: show_image(0, titel="x"), "show_image has no option 'titel'. Did you mean 'title'"),
        (lambda: show_images([0], nrow=1), "show_images has no option 'nrow'. Did you mean 'nrows'"),
        (lambda: EMA(decy=0.9), "EMA has no option 'decy'. Did you mean 'decay'"),
        (lambda: MixUp(alfa=0.9), "MixUp has no option 'alfa'. Did you mean 'alpha'"),
        (lambda: EarlyStoppingCallback(patiense=2), "Did you mean 'patience'"),
        (lambda: TrackerCallback(moniter="x"), "TrackerCallback has no option 'moniter'. Did you mean 'monitor'"),
        (lambda: DataBlock(item_tfm=1), "DataBlock has no option 'item_tfm'. Did you mean 'item_tfms'"),
        (lambda: DataBlock().new(batch_tfm=1), "DataBlock.new has no option 'batch_tfm'. Did you mean 'batch_tfms'"),
        (lambda: DataBlock().summary([1], bz=1), "DataBlock.summary has no option 'bz'. It takes source, bs, show_b"),
        (lambda: DataLoader([1], shufle=True), "DataLoader has no option 'shufle'. Did you mean 'shuffle'"),
        (
            lambda: DataLoader([1]).show_batch(maxn=1),
            "DataLoader.show_batch has no option 'maxn'. Did you mean 'max_n'",
        ),
        (lambda: SchedCos(start=1, ends=0), "SchedCos has no option 'ends'. Did you mean 'end'"),
        (lambda: combine_scheds(pct=1), "combine_scheds has no option 'pct'. Did you mean 'pcts'"),
        (lambda: RandomSplitter(valid_pc=0.1), "RandomSplitter has no option 'valid_pc'. Did you mean 'valid_pct'"),
        (lambda: CategoryBlock(vocb=[1]), "CategoryBlock has no option 'vocb'. Did you mean 'vocab'"),
        (lambda: untar_data(ulr="x"), "untar_data has no option 'ulr'. Did you mean 'url'"),
        (lambda: F1Score(avg="macro"), "F1Score has no option 'avg'. Did you mean 'average'"),
        (lambda: R2Score(axis=1), "R2Score has no option 'axis'. It takes none."),
        (lambda: Dice(axes=1), "Dice has no option 'axes'. Did you mean 'axis'"),
        (lambda: as_metric(partial(accuracy, axes=1)), "accuracy has no option 'axes'. Did you mean 'axis'"),
        (lambda: as_metric(partial(top_k_accuracy, kk=1)), "top_k_accuracy has no option 'kk'. Did you mean 'k'"),
        (lambda: partial(Adam, momm=0.9)([WEIGHT]), "Adam has no option 'momm'. Did you mean 'mom'"),
        (lambda: Lamb([WEIGHT], sqr_mon=0.9), "Lamb has no option 'sqr_mon'. Did you mean 'sqr_mom'"),
        (lambda: DataLoaders([], [], pth="."), "DataLoaders has no option 'pth'. Did you mean 'path'"),
        (lambda: DataLoaders([1], [1]).show_batch(maxn=1), "show_batch has no option 'maxn'. Did you mean 'max_"),
        (lambda: INTERP.plot_top_losses(9, nrow=1), "plot_top_losses has no option 'nrow'. Did you mean 'nrows'"),
        (lambda: INTERP.plot_confusion_matrix(normalise=True), "no option 'normalise'. Did you mean 'normalize'"),
        (lambda: INTERP.most_confused(min_value=2), "most_confused has no option 'min_value'. Did you mean 'min_val'"),
    ],
)
def test_a_misspelt_option_is_answered_everywhere(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert message in str(caught.value)
