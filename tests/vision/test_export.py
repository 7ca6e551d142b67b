"""A learner as a model folder: it answers as the learner does, or it is not written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.export.model_folder import load_model_folder
from fastlearn.learner import Learner
from fastlearn.vision.augment import aug_transforms
from fastlearn.vision.batch import Normalize, imagenet_stats
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.export import preprocess_of, save_model_folder
from fastlearn.vision.image import PILImage, PILImageBW
from fastlearn.vision.learner import vision_learner
from fastlearn.vision.transforms import CropPad, FlipItem, RandomResizedCrop, Resize

TINY = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("valid", 2)):
        for label in ("a", "b", "c"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (40 + 5 * i, 60 - 7 * i, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{i}.png")
    return root


def loaders(root: Path, img_cls: type[PILImage] = PILImage, **options: Any) -> ImageDataLoaders:
    return ImageDataLoaders.from_folder(root, bs=6, img_cls=img_cls, device="cpu", num_workers=0, **options)


@pytest.mark.parametrize("img_cls", [PILImage, PILImageBW])
@pytest.mark.parametrize("method", ["crop", "pad", "squish"])
def test_the_folder_answers_as_the_learner(
    pictures: Path, tmp_path: Path, method: str, img_cls: type[PILImage]
) -> None:
    stats = imagenet_stats if img_cls is PILImage else ([0.4], [0.3])
    batch_tfms = [*aug_transforms(), Normalize.from_stats(*stats)]
    dls = loaders(pictures, img_cls, item_tfms=[FlipItem(), Resize((32, 40), method)], batch_tfms=batch_tfms)
    learn = vision_learner(dls, TINY, pretrained=False, seed=0)
    with learn.no_bar():
        learn.fit(1)  # so that the batch-norm statistics are no longer those of a fresh layer
    loaded = load_model_folder(save_model_folder(learn, tmp_path / "model"))
    files = list(dls.valid_ds.items)
    learned = torch.stack([learn.predict(file)[2] for file in files])
    answers = [loaded.predict(file) for file in files]
    torch.testing.assert_close(torch.stack([one.probabilities for one in answers]), learned, rtol=0, atol=1e-5)
    torch.testing.assert_close(learn.get_preds()[0], learned, rtol=0, atol=1e-5)
    assert [one.label for one in answers] == [learn.predict(file)[0] for file in files]


def test_pictures_in_their_own_size(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(5):
            Image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(tmp_path / label / f"{i}.png")
    assert preprocess_of(loaders(tmp_path, seed=0, item_tfms=())).size is None


@pytest.mark.parametrize(
    "options",
    [
        {"item_tfms": RandomResizedCrop(32)},
        {"item_tfms": [CropPad(32)]},
        {"item_tfms": [Resize(32), lambda image: image.rotate(90)]},
        {"item_tfms": [Resize(32, resamples=(0, 0))]},
        {"item_tfms": Resize(32), "batch_tfms": lambda x: x * 2},
        {"item_tfms": Resize(64), "batch_tfms": aug_transforms(size=32)},
    ],
)
def test_what_plain_values_cannot_say_is_refused(pictures: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="these loaders do more to a validation picture"):
        preprocess_of(loaders(pictures, **options))


def test_models_without_a_name_are_refused(pictures: Path, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    learn = Learner(loaders(pictures, item_tfms=Resize(32)), net)
    with pytest.raises(ConfigError, match="this model has parts of your own"):
        save_model_folder(learn, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_foreign_loaders_are_refused() -> None:
    batch = (torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 1, 0]))
    with pytest.raises(ConfigError, match="needs loaders of one picture a sample"):
        preprocess_of(DataLoaders([batch], [batch], device="cpu"))
