"""Everything that a notebook about pictures leans on: `from fastlearn.vision.all import *`.

pandas and pyplot are imported when `pd` and `plt` are first used.
"""

from __future__ import annotations

import math
import os
import random
import re
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from fastlearn.arch.body import create_body
from fastlearn.arch.head import create_head
from fastlearn.arch.models import (
    alexnet,
    convnext_base,
    convnext_small,
    convnext_tiny,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_v2_s,
    mobilenet_v2,
    mobilenet_v3_large,
    mobilenet_v3_small,
    regnet_y_1_6gf,
    regnet_y_400mf,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    shufflenet_v2_x1_0,
    squeezenet1_0,
    squeezenet1_1,
    swin_t,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
    wide_resnet50_2,
    wide_resnet101_2,
)
from fastlearn.arch.spec import create_vision_model
from fastlearn.callbacks.accumulate import GradientAccumulation
from fastlearn.callbacks.bn_freeze import BnFreeze
from fastlearn.callbacks.checkpoint import Checkpoint
from fastlearn.callbacks.clip import GradientClip
from fastlearn.callbacks.csv_log import CSVLogger
from fastlearn.callbacks.cutmix import CutMix
from fastlearn.callbacks.early_stopping import EarlyStoppingCallback
from fastlearn.callbacks.ema import EMA
from fastlearn.callbacks.keep_state import KeepState
from fastlearn.callbacks.mixup import MixUp
from fastlearn.callbacks.nan_stop import StopOnNonFinite, TerminateOnNaNCallback
from fastlearn.callbacks.param_scheduler import ParamScheduler
from fastlearn.callbacks.progress import ProgressCallback
from fastlearn.callbacks.reduce_on_plateau import ReduceLROnPlateau
from fastlearn.callbacks.replay import Replay
from fastlearn.callbacks.save_best import SaveModelCallback
from fastlearn.callbacks.tracker import TrackerCallback
from fastlearn.data.block import CategoryBlock, DataBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from fastlearn.data.checks import check_folder, check_images, verify_images
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.dataset import Datasets
from fastlearn.data.download import untar_data
from fastlearn.data.files import FileGetter, ImageGetter, get_files, get_image_files, image_extensions
from fastlearn.data.label import AttrGetter, ColReader, ItemGetter, RegexLabeller, parent_label, using_attr
from fastlearn.data.loaders import DataLoader
from fastlearn.data.samples import class_weights
from fastlearn.data.split import (
    ColSplitter,
    EndSplitter,
    FileSplitter,
    FuncSplitter,
    GrandparentSplitter,
    GroupSplitter,
    IndexSplitter,
    MaskSplitter,
    RandomSplitter,
    RandomSubsetSplitter,
    StratifiedSplitter,
)
from fastlearn.data.transform import BatchTransform, ItemTransform
from fastlearn.data.urls import URLs
from fastlearn.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceMemoryError,
    DownloadError,
    FastlearnError,
    ImageError,
    MissingExtraError,
    NonFiniteError,
    TrainingError,
    WeightsError,
    WorkerError,
)
from fastlearn.export import load_learner
from fastlearn.interpret.base import Interpretation
from fastlearn.interpret.classification import ClassificationInterpretation
from fastlearn.lazy import LazyModule
from fastlearn.lists import L, Vocab
from fastlearn.live.dashboard import Dashboard
from fastlearn.losses import (
    BCELossFlat,
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLoss,
    FocalLossFlat,
    L1LossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
    MSELossFlat,
)
from fastlearn.metrics import (
    AccumMetric,
    APScoreBinary,
    APScoreMulti,
    BalancedAccuracy,
    BrierScore,
    CohenKappa,
    Dice,
    ExplainedVariance,
    F1Score,
    F1ScoreMulti,
    FBeta,
    FBetaMulti,
    HammingLoss,
    HammingLossMulti,
    Jaccard,
    JaccardMulti,
    MatthewsCorrCoef,
    Metric,
    PearsonCorrCoef,
    Perplexity,
    Precision,
    PrecisionMulti,
    R2Score,
    Recall,
    RecallMulti,
    RocAuc,
    RocAucBinary,
    RocAucMulti,
    SpearmanCorrCoef,
    accuracy,
    accuracy_multi,
    error_rate,
    exp_rmspe,
    mae,
    mse,
    msle,
    rmse,
    top_k_accuracy,
)
from fastlearn.paths import Path
from fastlearn.pixels import PadMode, ResizeMethod
from fastlearn.runtime.device import default_device, to_cpu, to_device
from fastlearn.runtime.seed import set_seed
from fastlearn.task import Classification, MultiLabel, Regression
from fastlearn.tensors import tensor, to_np
from fastlearn.training.callback import Callback
from fastlearn.training.lookahead import Lookahead, ranger
from fastlearn.training.lr_suggest import minimum, slide, steep, valley
from fastlearn.training.optimizer import SGD, Adam, AdamW, OptimWrapper
from fastlearn.training.optimizers_extra import Lamb, Larc, QHAdam, RAdam, RMSProp
from fastlearn.training.recorder import Recorder
from fastlearn.training.schedule import SchedCos, SchedExp, SchedLin, SchedNo, SchedPoly, combine_scheds, combined_cos
from fastlearn.training.state import TrainState
from fastlearn.vision.augment import (
    Brightness,
    Contrast,
    Dihedral,
    Flip,
    Hue,
    IntToFloatTensor,
    Normalize,
    RandomErasing,
    RandomResizedCropGPU,
    Rotate,
    Saturation,
    Warp,
    Zoom,
    aug_transforms,
    cifar_stats,
    imagenet_stats,
    mnist_stats,
)
from fastlearn.vision.blocks import ImageBlock
from fastlearn.vision.cleaner import ImageClassifierCleaner
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.image import PILImage, PILImageBW
from fastlearn.vision.learner import Learner, cnn_learner, vision_learner
from fastlearn.vision.plot import get_grid, show_image, show_images
from fastlearn.vision.transforms import CropPad, DihedralItem, FlipItem, RandomCrop, RandomResizedCrop, Resize

pd = LazyModule("pandas")
plt = LazyModule("matplotlib.pyplot")

__all__ = [
    # Python and its libraries
    "F",
    "Image",
    "Tensor",
    "math",
    "nn",
    "np",
    "os",
    "SimpleNamespace",
    "partial",
    "pd",
    "plt",
    "random",
    "re",
    "shutil",
    "torch",
    # Lists, paths, tensors, devices
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeviceMemoryError",
    "DownloadError",
    "FastlearnError",
    "ImageError",
    "L",
    "MissingExtraError",
    "NonFiniteError",
    "Path",
    "TrainingError",
    "Vocab",
    "WeightsError",
    "WorkerError",
    "default_device",
    "set_seed",
    "tensor",
    "to_cpu",
    "to_device",
    "to_np",
    # Data
    "AttrGetter",
    "BatchTransform",
    "CategoryBlock",
    "ColReader",
    "ColSplitter",
    "DataBlock",
    "DataLoader",
    "DataLoaders",
    "Datasets",
    "EndSplitter",
    "FileGetter",
    "FileSplitter",
    "FuncSplitter",
    "GrandparentSplitter",
    "GroupSplitter",
    "ImageGetter",
    "IndexSplitter",
    "ItemGetter",
    "ItemTransform",
    "MaskSplitter",
    "MultiCategoryBlock",
    "RandomSplitter",
    "RandomSubsetSplitter",
    "RegexLabeller",
    "RegressionBlock",
    "StratifiedSplitter",
    "TransformBlock",
    "URLs",
    "check_folder",
    "check_images",
    "class_weights",
    "get_files",
    "get_image_files",
    "image_extensions",
    "parent_label",
    "untar_data",
    "using_attr",
    "verify_images",
    # Pictures
    "Brightness",
    "Contrast",
    "CropPad",
    "Dihedral",
    "DihedralItem",
    "Flip",
    "FlipItem",
    "Hue",
    "ImageBlock",
    "ImageDataLoaders",
    "IntToFloatTensor",
    "Normalize",
    "PILImage",
    "PILImageBW",
    "PadMode",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "RandomResizedCropGPU",
    "Resize",
    "ResizeMethod",
    "Rotate",
    "Saturation",
    "Warp",
    "Zoom",
    "aug_transforms",
    "cifar_stats",
    "get_grid",
    "imagenet_stats",
    "mnist_stats",
    "show_image",
    "show_images",
    # Models and learners
    "Classification",
    "Learner",
    "MultiLabel",
    "Regression",
    "alexnet",
    "cnn_learner",
    "convnext_base",
    "convnext_small",
    "convnext_tiny",
    "create_body",
    "create_head",
    "create_vision_model",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_v2_s",
    "load_learner",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_y_1_6gf",
    "regnet_y_400mf",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext101_32x8d",
    "resnext50_32x4d",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_t",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vision_learner",
    "wide_resnet101_2",
    "wide_resnet50_2",
    # Losses and metrics
    "APScoreBinary",
    "APScoreMulti",
    "AccumMetric",
    "BCELossFlat",
    "BCEWithLogitsLossFlat",
    "BalancedAccuracy",
    "BrierScore",
    "CohenKappa",
    "CrossEntropyLossFlat",
    "Dice",
    "ExplainedVariance",
    "F1Score",
    "F1ScoreMulti",
    "FBeta",
    "FBetaMulti",
    "FocalLoss",
    "FocalLossFlat",
    "HammingLoss",
    "HammingLossMulti",
    "Jaccard",
    "JaccardMulti",
    "L1LossFlat",
    "LabelSmoothingCrossEntropy",
    "LabelSmoothingCrossEntropyFlat",
    "MSELossFlat",
    "MatthewsCorrCoef",
    "Metric",
    "PearsonCorrCoef",
    "Perplexity",
    "Precision",
    "PrecisionMulti",
    "R2Score",
    "Recall",
    "RecallMulti",
    "RocAuc",
    "RocAucBinary",
    "RocAucMulti",
    "SpearmanCorrCoef",
    "accuracy",
    "accuracy_multi",
    "error_rate",
    "exp_rmspe",
    "mae",
    "mse",
    "msle",
    "rmse",
    "top_k_accuracy",
    # Optimizers, schedules, learning rates
    "Adam",
    "AdamW",
    "Lamb",
    "Larc",
    "Lookahead",
    "OptimWrapper",
    "QHAdam",
    "RAdam",
    "RMSProp",
    "SGD",
    "SchedCos",
    "SchedExp",
    "SchedLin",
    "SchedNo",
    "SchedPoly",
    "combine_scheds",
    "combined_cos",
    "minimum",
    "ranger",
    "slide",
    "steep",
    "valley",
    # Callbacks
    "BnFreeze",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CutMix",
    "Dashboard",
    "EMA",
    "EarlyStoppingCallback",
    "GradientAccumulation",
    "GradientClip",
    "KeepState",
    "MixUp",
    "ProgressCallback",
    "Recorder",
    "ParamScheduler",
    "ReduceLROnPlateau",
    "Replay",
    "SaveModelCallback",
    "StopOnNonFinite",
    "TerminateOnNaNCallback",
    "TrackerCallback",
    "TrainState",
    # Interpretation
    "ClassificationInterpretation",
    "ImageClassifierCleaner",
    "Interpretation",
]
