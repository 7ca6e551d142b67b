"""vision_learner: a model that fits the loaders, normalised pictures, a frozen body."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fastlearn.arch.models import resnet18
from fastlearn.arch.spec import VisionModel
from fastlearn.arch.weights import PretrainedStats
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError, WeightsError
from fastlearn.runtime import pieces
from fastlearn.training.optimizer import SGD
from fastlearn.vision.augment import Normalize
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.image import PILImage, PILImageBW
from fastlearn.vision.learner import cnn_learner, normalized, vision_learner

LITE0 = "tf_efficientnet_lite0"
STATS = PretrainedStats((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 224, 256, "bilinear")


def small_net(pretrained: bool = False) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("valid", 2)):
        for label in ("a", "b", "c"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(root / split / label / f"{i}.png")
    return root


def loaders(root: Path, img_cls: type[PILImage] = PILImage, **options: Any) -> ImageDataLoaders:
    return ImageDataLoaders.from_folder(root, bs=6, img_cls=img_cls, device="cpu", num_workers=0, **options)


def n_normalize(dls: Any) -> list[int]:
    return [sum(isinstance(tfm, Normalize) for tfm in loader.after_batch.tfms) for loader in dls.loaders]


def test_normalising_changes_a_copy_once(pictures: Path) -> None:
    dls = loaders(pictures)
    copied = normalized(dls, STATS)
    assert n_normalize(dls) == [0, 0] and n_normalize(copied) == [1, 1]
    assert normalized(copied, STATS) is copied
    assert type(copied) is type(dls) and copied.train_ds is dls.train_ds and copied.path == dls.path
    plain, done = dls.valid.one_batch()[0], copied.valid.one_batch()[0]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (STATS.mean, STATS.std))
    assert torch.allclose(done, (plain - mean) / std, atol=1e-6)


def test_normalize_of_the_user_is_left_alone(pictures: Path) -> None:
    dls = loaders(pictures, batch_tfms=[Normalize.from_stats([0.5], [0.5])])
    assert normalized(dls, STATS) is dls


def test_grey_pictures_get_the_average_statistics(pictures: Path) -> None:
    copied = normalized(loaders(pictures, PILImageBW), STATS, 1)
    found = next(tfm for tfm in copied.train.after_batch.tfms if isinstance(tfm, Normalize))
    assert found.mean.tolist() == pytest.approx([0.2]) and found.std.tolist() == pytest.approx([0.5])


def test_foreign_loaders_are_warned_of(pictures: Path) -> None:
    batch = (torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 1, 0]))
    dls = DataLoaders([batch], [batch], device="cpu")
    with pytest.warns(UserWarning, match=r"expect \(x - mean\) / std with mean \(0.1, 0.2, 0.3\)"):
        assert normalized(dls, STATS) is dls
    with pytest.raises(ConfigError, match="do not say how many classes there are. Pass n_out="):
        vision_learner(dls, small_net, pretrained=False)
    learn = vision_learner(dls, small_net, n_out=2, pretrained=False, loss_func=nn.CrossEntropyLoss())
    assert learn.model(torch.rand(2, 3, 32, 32)).shape == (2, 2)


def test_options_are_named_ones(pictures: Path) -> None:
    kinds = {parameter.kind for parameter in inspect.signature(vision_learner).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds
    with pytest.raises(ConfigError, match=r"n_out=5 disagrees with dls.c=3"):
        vision_learner(loaders(pictures), small_net, n_out=5, pretrained=False)


def test_from_random_weights_nothing_is_frozen_or_normalised(pictures: Path) -> None:
    dls = loaders(pictures, PILImageBW)
    learn = vision_learner(dls, small_net, pretrained=False, lin_ftrs=[8])
    assert learn.dls is dls
    assert learn.model(torch.rand(2, 1, 32, 32)).shape == (2, 3)
    assert all(parameter.requires_grad for parameter in learn.model.parameters())


def test_pretrained_body_is_frozen_and_its_pictures_normalised(pictures: Path) -> None:
    dls = loaders(pictures)
    learn = vision_learner(dls, LITE0, seed=3)
    again = vision_learner(dls, LITE0, seed=3)
    other = vision_learner(dls, LITE0, seed=4)
    assert n_normalize(dls) == [0, 0] and n_normalize(learn.dls) == n_normalize(again.dls) == [1, 1]
    assert isinstance(learn.model, VisionModel) and learn.model.spec is not None and learn.model.spec.n_out == 3
    kernels = [p for p in learn.model.body.parameters() if p.dim() > 1]
    assert not any(p.requires_grad for p in kernels) and all(p.requires_grad for p in learn.model.head.parameters())
    weights = [[p for p in found.model.head.parameters() if p.dim() > 1] for found in (learn, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not torch.equal(weights[0][0], weights[2][0])


def test_seed_for_the_head_leaves_the_default_generator_alone(pictures: Path) -> None:
    before = torch.get_rng_state()
    vision_learner(loaders(pictures), small_net, pretrained=False, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_architectures_on_one_dls_get_their_own_statistics(pictures: Path) -> None:
    dls = loaders(pictures)
    found = []
    for stats in (STATS, PretrainedStats((0.5,) * 3, (0.5,) * 3, 224, 256, "bicubic")):
        tfms = normalized(dls, stats).valid.after_batch.tfms
        found.append(next(tfm.mean.tolist() for tfm in tfms if isinstance(tfm, Normalize)))
    assert found[0] == pytest.approx(STATS.mean) and found[1] == pytest.approx([0.5] * 3)


def test_fine_tune_trains(pictures: Path) -> None:
    learn = vision_learner(loaders(pictures), LITE0, head="linear", seed=1)
    before = [p.detach().clone() for p in learn.model.body.parameters() if p.dim() > 1]
    statistics = [b.clone() for name, b in learn.model.body.named_buffers() if "running" in name]
    with learn.no_bar():
        learn.fine_tune(1)
    after: list[Tensor] = [p.detach() for p in learn.model.body.parameters() if p.dim() > 1]
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    now = [b for name, b in learn.model.body.named_buffers() if "running" in name]
    assert all(torch.equal(a, b) for a, b in zip(statistics, now, strict=True))  # bn="eval" keeps them


def test_convolutions_train_and_predict_channels_last_where_it_pays(pictures: Path) -> None:
    learn = vision_learner(loaders(pictures), LITE0, head="linear", seed=1)
    stem = learn.model.get_submodule("0.conv_stem").weight
    pays = torch.backends.mkldnn.is_available()
    assert learn.channels_last is pays and stem.is_contiguous() is not pays
    learn.to_channelslast()
    with learn.no_bar():
        learn.fine_tune(1)
    assert not stem.is_contiguous() and stem.requires_grad
    probabilities = learn.get_preds()[0]
    assert torch.allclose(learn.to_channelslast(False).get_preds()[0], probabilities, atol=1e-4)
    assert stem.is_contiguous() and not learn.channels_last


def test_a_known_body_takes_a_batch_some_pictures_at_a_time(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = nn.Conv2d.forward

    def noted(self: nn.Conv2d, x: Tensor) -> Tensor:
        if self.in_channels == 3:
            sizes.append(len(x))
        return real(self, x)

    def trained(at_once: int) -> tuple[list[int], Tensor]:
        monkeypatch.setattr(pieces, "AT_ONCE", at_once)
        options: dict[str, Any] = {
            "bn": "eval",
            "head": "linear",
            "seed": 1,
            "opt_func": SGD,
        }  # Adam magnifies rounding
        learn = vision_learner(loaders(pictures), resnet18, pretrained=False, **options)
        learn.in_pieces = True  # which it is not by itself for this network
        sizes.clear()
        with learn.no_bar(), monkeypatch.context() as patched:
            patched.setattr(nn.Conv2d, "forward", noted)
            learn.fit(1, 1e-3)
            seen = list(sizes)
            return seen, learn.get_preds()[0]

    size = loaders(pictures).one_batch()[0][0].numel()
    (small, ours), (large, whole) = trained(size), trained(10**9)
    assert set(small[1:]) == {1} and max(large) == 6 and sum(small) == sum(large)  # the first is the look before
    torch.testing.assert_close(ours, whole, atol=1e-4, rtol=1e-3)


def test_pieces_are_for_known_bodies_with_depthwise_convolutions(pictures: Path) -> None:
    assert vision_learner(loaders(pictures), LITE0).in_pieces
    assert not vision_learner(loaders(pictures), resnet18, pretrained=False).in_pieces
    assert not vision_learner(loaders(pictures), small_net, pretrained=False).in_pieces


def test_a_transformer_keeps_the_usual_format(pictures: Path) -> None:
    assert not vision_learner(loaders(pictures), "vit_tiny_patch16_224", pretrained=False).channels_last


def test_no_weights_no_learner(pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr("fastlearn.arch.from_timm.unreachable", lambda *_: "Name or service not known")
    with pytest.raises(WeightsError, match="Cannot get the pretrained weights of resnet18"):
        vision_learner(loaders(pictures), resnet18)


def test_cnn_learner_says_its_new_name(pictures: Path) -> None:
    with pytest.warns(DeprecationWarning, match="cnn_learner is called vision_learner now"):
        cnn_learner(loaders(pictures), small_net, pretrained=False)
    assert inspect.signature(cnn_learner) == inspect.signature(vision_learner)
