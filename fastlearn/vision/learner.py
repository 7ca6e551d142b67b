"""`vision_learner`: loaders and the name of an architecture in, a learner that is ready to `fine_tune` out."""

from __future__ import annotations

import copy
import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from torch import nn

from fastlearn.arch.body import Cut
from fastlearn.arch.head import HeadKind
from fastlearn.arch.spec import Init, create_vision_model, vision_splitter
from fastlearn.arch.weights import Arch, PretrainedStats, pretrained_stats, resolve_arch
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.transform import BatchPipeline
from fastlearn.errors import ConfigError
from fastlearn.live import learner as live
from fastlearn.options import named_options
from fastlearn.runtime.seed import derive
from fastlearn.training.groups import depthwise_kernels
from fastlearn.training.optimizer import Adam
from fastlearn.vision.augment import Normalize
from fastlearn.vision.blocks import CHANNELS_OF_MODE

BatchNormMode = Literal["train", "eval"]
# What a pretrained body's batch norm does while it is trained: keeps its statistics, which small sets would spoil.
PRETRAINED_BN: BatchNormMode = "eval"

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Learner(live.Learner):
    __doc__ = live.Learner.__doc__

    @named_options
    def export(self, file: str | os.PathLike[str] = "model.fl", onnx: bool = False, licence: str = "") -> Path:
        """Write the trained model as one file, which `load_learner` predicts with where there is no training code.

        The file is a zip of safetensors and JSON: weights, architecture by name, preprocessing, vocabulary, and a drawn
        picture with its answer, by which a loaded model checks itself; none of your data and no path is in it. A model
        of your own, which has no name, is also written as an ONNX program, and so is any with `onnx=True`: that needs
        `pip install "fastlearn[export]"`. `licence` is any text. A `file` without the ending `.fl` gets it; it lies in
        the current folder (in fast.ai: in `learn.path`), and what was there before is replaced, whole or not at all.
        Returns the path. Before anything is written the exported model has to answer as this one does.

        Raises ConfigError where plain values cannot say what this learner does (transforms, activation or task of your
        own), MissingExtraError without the packages for ONNX, CheckpointError when the file cannot be written.

        >>> path = learn.export("model.fl")
        >>> label, index, probabilities = load_learner(path).predict("cat.jpg")
        """
        from fastlearn.vision.export import export_learner

        return export_learner(self, file, onnx, licence)


@named_options
def vision_learner(
    dls: DataLoaders,
    arch: Arch,
    normalize: bool = True,
    n_out: int | None = None,
    pretrained: bool = True,
    *,
    weights: Any = None,
    loss_func: Callable[..., Any] | None = None,
    opt_func: Callable[..., torch.optim.Optimizer] = Adam,
    lr: float | slice = 1e-3,
    splitter: Callable[[nn.Module], Sequence[Any]] | None = None,
    cbs: Any = None,
    metrics: Any = None,
    path: str | os.PathLike[str] | None = None,
    model_dir: str | os.PathLike[str] = "models",
    wd: float | None = None,
    wd_bn_bias: bool = False,
    train_bn: bool = True,
    moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
    bn: BatchNormMode | None = None,
    cut: Cut | None = None,
    n_in: int | None = None,
    init: Init = nn.init.kaiming_normal_,
    custom_head: nn.Module | None = None,
    head: HeadKind = "mlp",
    concat_pool: bool = True,
    pool: bool = True,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
    seed: int | None = None,
) -> Learner:
    """A learner for pictures: a pretrained body, frozen, and a new head for the classes of `dls`.

    `arch` is a function such as `resnet18` (torchvision's), a timm name such as "tf_efficientnet_lite0", or a function
    of your own that gives an nn.Module. With `normalize`, the learner's copy of `dls` normalises pictures as in
    pretraining, unless `dls` does so itself; `dls` stays as it is. `n_out` and the number of channels `n_in` come from
    `dls` where it knows them. `bn="eval"` (the default when pretrained) keeps the body's batch-norm statistics,
    `bn="train"` is fast.ai's recipe. With `seed`, the head's first weights come from it too. The head's options are
    those of `create_head`, the others those of `Learner`. Convolutional networks train in channels-last memory format
    where that is faster; `learn.to_channelslast(False)` undoes it.

    Raises ConfigError for an unknown arch or a wrong `n_out`, WeightsError if pretrained weights cannot be had.

    >>> learn = vision_learner(dls, resnet18, metrics=accuracy)
    >>> learn.fine_tune(3)
    """
    if not isinstance(dls, DataLoaders):
        raise ConfigError(
            f"vision_learner needs DataLoaders first, not {type(dls).__name__}. For a folder of pictures: "
            "ImageDataLoaders.from_folder(path)."
        )
    n_out, n_in = _n_out(dls, n_out), _n_in(dls) if n_in is None else n_in
    with _seeded(seed):
        model = create_vision_model(
            arch,
            n_out,
            pretrained,
            weights=weights,
            cut=cut,
            n_in=n_in,
            init=init,
            custom_head=custom_head,
            head=head,
            concat_pool=concat_pool,
            pool=pool,
            lin_ftrs=lin_ftrs,
            ps=ps,
            first_bn=first_bn,
            bn_final=bn_final,
            lin_first=lin_first,
            y_range=y_range,
        )
    stats = pretrained_stats(arch, weights) if normalize and pretrained else None
    learn = Learner(
        dls if stats is None else normalized(dls, stats, n_in),
        model,
        loss_func=loss_func,
        opt_func=opt_func,
        lr=lr,
        splitter=vision_splitter if splitter is None else splitter,
        cbs=cbs,
        metrics=metrics,
        path=path,
        model_dir=model_dir,
        wd=wd,
        wd_bn_bias=wd_bn_bias,
        train_bn=train_bn,
        moms=moms,
        seed=seed,
        bn=bn or (PRETRAINED_BN if pretrained else "train"),
    )
    learn.to_channelslast(None)
    # Of a function of one's own, who knows; others are as fast or faster whole.
    learn.in_pieces = resolve_arch(arch).library != "callable" and bool(depthwise_kernels(model))
    if pretrained:
        learn.freeze()
    return learn


def normalized(dls: DataLoaders, stats: PretrainedStats, n_in: int = 3) -> DataLoaders:
    """`dls` with pictures normalised by `stats`: a copy that shares its data, or `dls` itself if it does so already.

    Loaders that fastlearn did not make are left as they are, with a warning that says what the weights expect.
    """
    pipelines = [getattr(loader, "after_batch", None) for loader in dls.loaders]
    if any(isinstance(tfm, Normalize) for pipeline in pipelines if pipeline is not None for tfm in pipeline.tfms):
        return dls
    mean, std = stats.for_channels(n_in)
    if not all(pipeline is not None and "image" in pipeline.kinds for pipeline in pipelines):
        warnings.warn(
            "The pictures of these loaders are not normalised by fastlearn. The pretrained weights expect (x - mean) / "
            f"std with mean {mean} and std {std} of pictures from 0 to 1. Pass normalize=False if they are so already.",
            stacklevel=3,
        )
        return dls
    copied = copy.copy(dls)
    copied.loaders = [_with_transform(loader, Normalize.from_stats(mean, std)) for loader in dls.loaders]
    return copied


def _with_transform(loader: Any, tfm: Normalize) -> Any:
    before = loader.after_batch
    return loader.new(after_batch=BatchPipeline((*before.tfms, tfm), before.kinds, loader.n_inp))


def _n_out(dls: DataLoaders, n_out: int | None) -> int:
    known = dls.c if isinstance(dls.c, int) and dls.c > 0 else None
    if n_out is None and known is None:
        raise ConfigError("These loaders do not say how many classes there are. Pass n_out=<number of outputs>.")
    if n_out is not None and known is not None and n_out != known:
        raise ConfigError(f"n_out={n_out} disagrees with dls.c={known}, which the targets need. Leave n_out out.")
    return known if n_out is None else n_out  # type: ignore[return-value]


def _n_in(dls: DataLoaders) -> int:
    """The channels of the first picture of a sample; 3 where nothing is known of it."""
    blocks = getattr(getattr(dls.train, "dataset", None), "blocks", ())
    cls = next((getattr(block, "cls", None) for block in blocks if getattr(block, "kind", None) == "image"), None)
    return CHANNELS_OF_MODE.get(getattr(cls, "pixel_mode", "RGB"), 3)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "model"))
        yield


def _renamed(f: Callable[_P, _R], old: str) -> Callable[_P, _R]:
    @functools.wraps(f)
    def renamed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        warnings.warn(f"{old} is called {f.__name__} now.", DeprecationWarning, stacklevel=2)  # type: ignore[attr-defined]
        return f(*args, **kwargs)

    return renamed


cnn_learner = _renamed(vision_learner, "cnn_learner")
