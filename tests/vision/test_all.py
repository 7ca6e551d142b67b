import json
import math as python_math
import subprocess
import sys

import numpy
import PIL.Image
import pytest
import torch as real_torch

from fastlearn.errors import ConfigError
from fastlearn.vision import all as everything

HEAVY = ["torchvision", "timm", "torchmetrics", "matplotlib", "pandas", "sklearn", "scipy", "IPython", "torch._dynamo"]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_star_import_brings_nothing_heavy_and_touches_no_gpu():
    code = f"""
import sys, json
import torch
before = set(sys.modules)
from fastlearn.vision.all import *
heavy = [name for name in {HEAVY!r} if name in sys.modules and name not in before]
print(json.dumps([heavy, torch.cuda.is_initialized()]))
"""
    assert json.loads(run(code)) == [[], False]


def test_pandas_and_pyplot_come_when_they_are_used():
    code = """
import json, sys
from fastlearn.vision.all import *
before = [name for name in ("pandas", "matplotlib") if name in sys.modules]
is_frame = isinstance(pd.DataFrame({"a": [1, 2]}), sys.modules["pandas"].DataFrame)
plt.switch_backend("agg")
pyplot = sys.modules["matplotlib.pyplot"]
plt.marker_of_mine = 3
kept = pyplot.marker_of_mine
del plt.marker_of_mine
same = plt.gcf() is pyplot.gcf()
print(json.dumps([before, is_frame, "DataFrame" in dir(pd), repr(pd), same, kept, hasattr(pyplot, "marker_of_mine")]))
"""
    before, is_frame, listed, shown, same_figure, kept, left = json.loads(run(code))
    assert before == [] and is_frame and listed and "pandas" in shown
    assert same_figure and (kept, left) == (3, False)


def test_every_name_is_there_once():
    names = everything.__all__
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(everything, name)] == []


LEANED_ON = """Path np pd plt torch nn F partial re math Image L tensor Tensor untar_data URLs get_image_files DataBlock
    ImageBlock CategoryBlock MultiCategoryBlock RegressionBlock TransformBlock ImageDataLoaders DataLoaders DataLoader
    RandomSplitter GrandparentSplitter parent_label RegexLabeller using_attr ColReader PILImage PILImageBW Resize
    ResizeMethod PadMode RandomResizedCrop aug_transforms Normalize imagenet_stats vision_learner cnn_learner Learner
    resnet18 resnet34 resnet50 accuracy error_rate accuracy_multi F1Score F1ScoreMulti RocAuc Perplexity
    CrossEntropyLossFlat BCEWithLogitsLossFlat LabelSmoothingCrossEntropy FocalLossFlat Adam SGD RMSProp ranger
    Lookahead OptimWrapper SchedCos combine_scheds minimum steep valley slide Callback EarlyStoppingCallback
    SaveModelCallback ReduceLROnPlateau CSVLogger MixUp CutMix EMA GradientAccumulation GradientClip BnFreeze
    TerminateOnNaNCallback Interpretation ClassificationInterpretation verify_images set_seed to_cpu to_device to_np
    default_device show_image show_images"""


@pytest.mark.parametrize("name", LEANED_ON.split())
def test_what_notebooks_lean_on(name):
    assert name in everything.__all__


def test_the_short_names_are_the_modules_that_they_stand_for():
    assert everything.np is numpy and everything.torch is real_torch and everything.math is python_math
    assert everything.F is real_torch.nn.functional and everything.Image is PIL.Image


def test_tensor_of_what_a_notebook_holds():
    tensor = everything.tensor
    assert tensor([1, 2, 3]).dtype == real_torch.int64 and tensor(1, 2, 3).tolist() == [1, 2, 3]
    assert tensor([1.0, 2]).dtype == real_torch.float32 and tensor(numpy.ones(2)).dtype == real_torch.float32
    assert tensor(2.5).ndim == 0 and tensor(True).dtype == real_torch.bool
    assert tensor([real_torch.ones(2), real_torch.zeros(2)]).shape == (2, 2)
    assert tensor(PIL.Image.new("RGB", (4, 3))).shape == (3, 4, 3)
    assert tensor(numpy.arange(3)[::-1]).tolist() == [2, 1, 0]
    assert tensor(everything.pd.Series([1, 2])).tolist() == [1, 2]
    array = numpy.zeros(2, dtype=numpy.float32)
    tensor(array)[0] = 1
    assert array[0] == 1


@pytest.mark.parametrize("value", ["word", [[1], [1, 2]], ["a", "b"], None])
def test_what_is_no_number_is_no_tensor(value):
    with pytest.raises(ConfigError, match="tensor"):
        everything.tensor(value)
