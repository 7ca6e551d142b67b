"""Where the time of `fit_head` goes on a small set: seconds of each stage, on one thread.

EfficientNet Lite0 at 128 px with 300 pictures of Fashion-MNIST to train on and 600 to validate, as in
`time_to_accuracy.py`, whose clock starts when everything is imported too. A row is a stage by itself:

- `all` makes loaders and learner and calls `fit_head`; `learner` is what comes before that call.
- `features` are the pictures read and sent through the frozen body, once each; `body` is its pass over 900 pictures
  that lie ready, `convolutions` what torch's own convolutions take of that.
- `head` is the training of the head on features, with the validation of every epoch.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune_recipes import ARCH, SETS, chosen_pictures
from harness import Build, Contestant, Measure, Round, main, timed
from loading import use_new_cache_folder

SET, SIZE, BATCH_SIZE = "fashion", 128, 37
N_PICTURES = sum(filter(None, (SETS[SET].n_train, SETS[SET].n_valid)))


def learner(folder: Path) -> Any:
    """As `time_to_accuracy.py` makes it."""
    import timm  # noqa: F401 (fastai has imported it)

    from fastlearn.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, vision_learner

    dls = ImageDataLoaders.from_folder(
        folder, train="train", valid="valid", item_tfms=Resize(SIZE), batch_tfms=aug_transforms(), bs=BATCH_SIZE,
        num_workers=1, seed=0, device="cpu",
    )  # fmt: skip
    return vision_learner(dls, ARCH, metrics=accuracy, seed=0)


def stage(work: Callable[[Path, Any], Callable[[], object]]) -> Build:
    """One stage in each round, on a learner of its own; `work` prepares it and gives what is timed."""

    def build(options: argparse.Namespace) -> Round:
        open_folders = contextlib.ExitStack()
        folder = open_folders.enter_context(chosen_pictures(SET, 0, None))

        def one_round() -> dict[str, float]:
            use_new_cache_folder()
            learn = learner(folder)
            with learn.no_bar():
                return timed(work(folder, learn))

        one_round.folders = open_folders  # type: ignore[attr-defined] (it goes with the worker)
        return one_round

    return build


def everything(folder: Path, learn: Any) -> Callable[[], object]:
    def work() -> None:
        made = learner(folder)
        with made.no_bar():
            made.fit_head()

    return work


def features(folder: Path, learn: Any) -> Callable[[], object]:
    learn.freeze()
    return lambda: learn._keep_features([], 1)


def head(folder: Path, learn: Any) -> Callable[[], object]:
    """What `fit_head` does, with features that are there already."""
    learn.freeze()
    kept = learn._keep_features([], 1)
    learn._kept_head = lambda cbs, views=1: kept
    return learn.fit_head


def pass_over_pictures(learn: Any) -> Callable[[], object]:
    import torch

    from fastlearn.training.features import FeatureReader, parts_of

    learn.freeze()
    fixed = parts_of(learn.model, learn._plan(0, None).eval_modules).fixed.eval()
    reader = FeatureReader(fixed, learn.precision, learn.channels_last, learn.in_pieces)
    pictures = torch.rand(N_PICTURES, 3, SIZE, SIZE)
    with torch.no_grad():
        reader._run(pictures[:BATCH_SIZE])  # folds the batch norms

    def work() -> None:
        with torch.no_grad():
            for batch in pictures.split(BATCH_SIZE):
                reader._run(batch)

    return work


def convolutions(options: argparse.Namespace) -> Round:
    """What the profiler books for torch's convolutions, as CPU and as wall seconds: it is one thread."""
    import torch

    open_folders = contextlib.ExitStack()
    work = pass_over_pictures(learner(open_folders.enter_context(chosen_pictures(SET, 0, None))))

    def one_round() -> dict[str, float]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            work()
        booked = sum(row.cpu_time_total for row in profile.key_averages() if row.key == "aten::convolution")
        return dict.fromkeys(("cpu", "wall"), booked / 1e6)

    one_round.folders = open_folders  # type: ignore[attr-defined] (it goes with the worker)
    return one_round


MEASURE = Measure(
    name="head_stages",
    title="Stages of fit_head: EfficientNet Lite0 at 128 px, 300 pictures to train on and 600 to validate, one thread",
    contestants={
        "all": Contestant(stage(everything)),
        "learner": Contestant(stage(lambda folder, learn: lambda: learner(folder))),
        "features": Contestant(stage(features)),
        "body": Contestant(stage(lambda folder, learn: pass_over_pictures(learn))),
        "convolutions": Contestant(convolutions),
        "head": Contestant(stage(head)),
    },
    units={"wall": "s", "cpu": "s"},
    reference="all",
    rounds=3,
)

if __name__ == "__main__":
    main(MEASURE)
