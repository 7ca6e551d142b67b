"""A learner as one file: it answers as the learner does, or it is not written."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from fastlearn.arch.models import resnet18, squeezenet1_1
from fastlearn.data.block import RegressionBlock
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import CheckpointError, ConfigError, MissingExtraError
from fastlearn.export import TrainedModel, load_learner
from fastlearn.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastlearn.vision import all as everything
from fastlearn.vision.augment import aug_transforms
from fastlearn.vision.batch import Normalize, imagenet_stats
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.export import answers_of, preprocess_of
from fastlearn.vision.image import PILImage, PILImageBW
from fastlearn.vision.learner import Learner, vision_learner
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


OPTIONS: dict[str, Any] = {"bs": 6, "device": "cpu", "num_workers": 0}


def loaders(root: Path, img_cls: type[PILImage] = PILImage, **options: Any) -> ImageDataLoaders:
    return ImageDataLoaders.from_folder(root, img_cls=img_cls, **{"item_tfms": Resize(32)} | OPTIONS | options)


def table_loaders(root: Path, column: str, **options: Any) -> ImageDataLoaders:
    files = sorted(file.relative_to(root) for file in root.rglob("*.png"))
    table = pd.DataFrame({"name": [str(file) for file in files], "held": [k % 3 == 0 for k in range(len(files))]})
    table["several"] = [("red", "red 青", "青 x")[k % 3] for k in range(len(files))]
    table["amount"] = [k / 3 for k in range(len(files))]
    table["width"] = [k * 2.0 for k in range(len(files))]
    given = {"fn_col": "name", "label_col": column, "valid_col": "held", "item_tfms": Resize(32)}
    return ImageDataLoaders.from_df(table, root, **given | OPTIONS | options)


class Net(nn.Module):
    """A module of one's own."""

    def __init__(self, n_out: int = 3, n_in: int = 3) -> None:
        super().__init__()
        self.body, self.norm, self.line = nn.Conv2d(n_in, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(F.relu(self.norm(self.body(x))).mean((2, 3)))


def trained(learn: Learner) -> Learner:
    """The learner after an epoch, so that the batch-norm statistics are no longer those of a fresh layer."""
    with learn.no_bar():
        learn.fit(1)
    return learn


def assert_same_answers(loaded: TrainedModel, learn: Learner, files: list[Path]) -> None:
    """`load_learner` and `learn` agree on label, index and, to 1e-5, on the probabilities."""
    together = loaded.predict_batch(files)
    for file, batched in zip(files, together, strict=True):
        label, index, probabilities = loaded.predict(file)
        wanted_label, wanted_index, wanted = learn.predict(file)
        torch.testing.assert_close(probabilities, wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(batched.probabilities, wanted, rtol=0, atol=1e-5)
        assert label == (pytest.approx(wanted_label, abs=1e-5) if index.is_floating_point() else wanted_label)
        torch.testing.assert_close(index, wanted_index, rtol=0, atol=1e-5)
        assert index.dtype == wanted_index.dtype and probabilities.shape == wanted.shape


@pytest.mark.parametrize("img_cls", [PILImage, PILImageBW])
@pytest.mark.parametrize("method", ["crop", "pad", "squish"])
def test_the_file_answers_as_the_learner(pictures: Path, tmp_path: Path, method: str, img_cls: type[PILImage]) -> None:
    stats = imagenet_stats if img_cls is PILImage else ([0.4], [0.3])
    batch_tfms = [*aug_transforms(), Normalize.from_stats(*stats)]
    dls = loaders(pictures, img_cls, item_tfms=[FlipItem(), Resize((32, 40), method)], batch_tfms=batch_tfms)
    learn = trained(vision_learner(dls, TINY, pretrained=False, seed=0))
    loaded = load_learner(learn.export(tmp_path / "model.fl"))
    files = list(dls.valid_ds.items)
    assert_same_answers(loaded, learn, files)
    torch.testing.assert_close(
        learn.get_preds()[0], torch.stack([loaded.predict(file).probabilities for file in files]), rtol=0, atol=1e-5
    )


def test_a_torchvision_network_with_a_head_of_options(pictures: Path, tmp_path: Path) -> None:
    dls = loaders(pictures)
    learn = trained(vision_learner(dls, resnet18, pretrained=False, lin_ftrs=[16, 8], ps=[0.1, 0.2, 0.3], seed=0))
    loaded = load_learner(learn.export(tmp_path / "model"))
    assert repr(loaded) == (
        "TrainedModel(classification of 3 labels (a, b, c); resnet18 of torchvision; RGB pictures of 32x32)"
    )
    assert_same_answers(loaded, learn, list(dls.valid_ds.items))


@pytest.mark.parametrize("img_cls", [PILImage, PILImageBW])
def test_a_module_of_ones_own_is_an_onnx_program(pictures: Path, tmp_path: Path, img_cls: type[PILImage]) -> None:
    dls = loaders(pictures, img_cls)
    learn = trained(Learner(dls, Net(n_in=3 if img_cls is PILImage else 1), seed=0))
    path = learn.export(tmp_path / "model.fl")
    loaded = load_learner(path)
    assert "an ONNX program" in repr(loaded)
    assert_same_answers(loaded, learn, list(dls.valid_ds.items))
    with zipfile.ZipFile(path) as zipped:
        assert str(pictures).encode() not in zipped.read("model.onnx") and b".py" not in zipped.read("model.onnx")


def test_a_named_network_as_a_program_too(pictures: Path, tmp_path: Path) -> None:
    dls = loaders(pictures)
    learn = trained(vision_learner(dls, squeezenet1_1, pretrained=False, lin_ftrs=(), seed=0))
    path = learn.export(tmp_path / "model.fl", onnx=True)
    assert "of torchvision" in repr(load_learner(path)) and "an ONNX program" in repr(load_learner(path, onnx=True))
    for onnx in (False, True):
        assert_same_answers(load_learner(path, onnx), learn, list(dls.valid_ds.items))


@pytest.mark.parametrize("weightless", [False, True])
def test_a_named_network_that_was_changed_is_a_program(pictures: Path, tmp_path: Path, weightless: bool) -> None:
    """Its name no longer tells what it is: by other weights, or by a layer without any."""
    learn = vision_learner(loaders(pictures), squeezenet1_1, pretrained=False, lin_ftrs=(), seed=0)
    learn.model[1][3] = nn.Tanh() if weightless else nn.Linear(1024, 1024)
    learn = trained(learn)
    loaded = load_learner(learn.export(tmp_path / "model.fl"))
    assert "an ONNX program" in repr(loaded)
    assert_same_answers(loaded, learn, list(learn.dls.valid_ds.items))


@pytest.mark.parametrize("thresh", [0.5, 0.3])
@pytest.mark.parametrize("own", [False, True])
def test_several_labels(pictures: Path, tmp_path: Path, thresh: float, own: bool) -> None:
    dls = table_loaders(pictures, "several", label_delim=" ")
    options: dict[str, Any] = {"loss_func": BCEWithLogitsLossFlat(thresh=thresh), "seed": 0}
    learn = Learner(dls, Net(), **options) if own else vision_learner(dls, TINY, pretrained=False, **options)
    loaded = load_learner(trained(learn).export(tmp_path / "model.fl"))
    assert loaded.vocab == ("red", "x", "青") and loaded.answers.thresh == thresh
    assert_same_answers(loaded, learn, list(pictures.rglob("*.png"))[:6])


@pytest.mark.parametrize("columns", ["amount", ["amount", "width"]])
def test_numbers(pictures: Path, tmp_path: Path, columns: Any) -> None:
    n_out = 1 if columns == "amount" else 2
    dls = table_loaders(pictures, columns, y_block=RegressionBlock(n_out))
    for learn in (vision_learner(dls, TINY, pretrained=False, y_range=(-1, 40), seed=0), Learner(dls, Net(n_out))):
        loaded = load_learner(trained(learn).export(tmp_path / "model.fl"))
        assert loaded.vocab == ()
        assert_same_answers(loaded, learn, list(pictures.rglob("*.png"))[:6])


def test_labels_that_are_numbers_stay_numbers(pictures: Path, tmp_path: Path) -> None:
    dls = table_loaders(pictures, "width", label_col="held", valid_col=None, valid_pct=0.3, seed=0)
    learn = trained(Learner(dls, Net(2), seed=0))
    loaded = load_learner(learn.export(tmp_path / "model.fl"))
    assert loaded.vocab == (False, True) and isinstance(loaded.vocab[0], bool)
    assert_same_answers(loaded, learn, list(pictures.rglob("*.png"))[:3])


@pytest.mark.parametrize(
    ("loss", "activation"), [(F.cross_entropy, "softmax"), (nn.NLLLoss(), "exp"), (CrossEntropyLossFlat(), "softmax")]
)
def test_any_known_loss_says_what_outputs_mean(pictures: Path, loss: Any, activation: str) -> None:
    learn = Learner(loaders(pictures), Net(), loss_func=loss)
    assert answers_of(learn).activation == activation


class Sharpened(CrossEntropyLossFlat):
    """A softmax of one's own."""

    def activation(self, logits: Tensor) -> Tensor:
        return (logits / 0.5).softmax(-1)


class Smallest(CrossEntropyLossFlat):
    """An answer of one's own."""

    def decodes(self, probs: Tensor) -> Tensor:
        return probs.argmin(-1)


@pytest.mark.parametrize("loss", [Sharpened(), Smallest()])
def test_a_meaning_of_ones_own_is_refused(pictures: Path, tmp_path: Path, loss: Any) -> None:
    learn = Learner(loaders(pictures), Net(), loss_func=loss)
    with pytest.raises(ConfigError, match=f"The loss {type(loss).__name__} reads the model's outputs in a way of its"):
        learn.export(tmp_path / "model.fl")
    assert list(tmp_path.iterdir()) == []


def test_pictures_in_their_own_size(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(5):
            Image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(tmp_path / label / f"{i}.png")
    dls = loaders(tmp_path, seed=0, item_tfms=())
    assert preprocess_of(dls).size is None
    learn = trained(Learner(dls, Net(2), seed=0))
    loaded = load_learner(learn.export(tmp_path / "model.fl"))
    Image.fromarray(np.full((20, 50, 3), 90, np.uint8)).save(tmp_path / "other.png")
    assert_same_answers(loaded, learn, [tmp_path / "other.png"])


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


def test_foreign_loaders_are_refused(tmp_path: Path) -> None:
    batch = (torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 1, 0]))
    learn = Learner(DataLoaders([batch], [batch], device="cpu"), Net(), loss_func=F.cross_entropy)
    with pytest.raises(ConfigError, match="Export needs loaders of one picture a sample.*learn.save"):
        learn.export(tmp_path / "model.fl")


class Drawn(Net):
    """Answers otherwise each time."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(3)


class Pair(Net):
    """Gives two things."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Drawn(), "(?s)would answer otherwise than the learner: off by.*Nothing was written.*random"),
        (Pair(), r"Cannot export a model that gives tuple. Expected \(8, 3\)"),
        (Net(4), r"Cannot export a model that gives \(8, 4\)"),
    ],
)
def test_a_module_that_no_program_is_like(pictures: Path, tmp_path: Path, net: Net, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Learner(loaders(pictures), net).export(tmp_path / "model.fl")
    assert list(tmp_path.iterdir()) == []


def test_spoiled_weights_are_not_written(pictures: Path, tmp_path: Path) -> None:
    learn = Learner(loaders(pictures), Net())
    with torch.no_grad():
        learn.model.line.weight.fill_(float("nan"))
    with pytest.raises(ConfigError, match="answers with NaN.*Train again before you export"):
        learn.export(tmp_path / "model.fl")


def test_half_weights_are_refused_with_the_way_out(pictures: Path, tmp_path: Path) -> None:
    learn = Learner(loaders(pictures), Net(), path=tmp_path)
    learn.model.half()
    with pytest.raises(
        ConfigError, match=r"computes in float32, and .* torch.float16. Type learn.model.float\(\) first"
    ):
        learn.export(tmp_path / "model.fl")
    assert not list(tmp_path.glob("*.fl"))


def test_the_card_tells_where_the_model_comes_from(pictures: Path, tmp_path: Path) -> None:
    learn = trained(vision_learner(loaders(pictures), TINY, pretrained=False, metrics=everything.accuracy, seed=7))
    path = learn.export(tmp_path / "model.fl", licence="CC-BY-4.0")
    with zipfile.ZipFile(path) as zipped:
        card = json.loads(zipped.read("model.json"))
    assert card["licence"] == "CC-BY-4.0" and card["architecture"]["name"] == TINY
    story = card["training"]
    assert story["seed"] == 7 and story["epochs"] == 1 and story["pictures"] == {"train": 12, "valid": 6}
    assert story["result"].keys() == {"train_loss", "valid_loss", "accuracy"}
    assert card["versions"].keys() >= {"torch", "torchvision", "timm"}
    assert str(pictures.parent) not in json.dumps(card)


def test_exporting_leaves_the_learner_as_it_was(pictures: Path, tmp_path: Path) -> None:
    learn = trained(Learner(loaders(pictures), Net(), seed=0))
    learn.model.train()
    before = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    state = torch.random.get_rng_state()
    one, other = learn.export(tmp_path / "one.fl"), learn.export(tmp_path / "other.fl")
    assert one.read_bytes() == other.read_bytes()
    assert all(module.training for module in learn.model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in learn.model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"file": "export.pkl"}, ConfigError, "Call it 'export.fl'"),
        ({"file": 3}, ConfigError, "file is a path"),
        ({"licence": 3}, ConfigError, "licence is a text"),
        ({"onyx": True}, ConfigError, "Did you mean 'onnx'"),
    ],
)
def test_what_was_typed_wrongly(pictures: Path, arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Learner(loaders(pictures), Net()).export(**arguments)


def test_without_the_extra_a_named_network_needs_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    learn = vision_learner(loaders(pictures), TINY, pretrained=False, seed=0)
    assert load_learner(learn.export(tmp_path / "model.fl")).vocab == ("a", "b", "c")
    with pytest.raises(MissingExtraError, match=r'pip install "fastlearn\[export\]"'):
        learn.export(tmp_path / "model.fl", onnx=True)
    with pytest.raises(MissingExtraError, match="A model of your own"):
        Learner(loaders(pictures), Net()).export(tmp_path / "own.fl")
    with pytest.raises(CheckpointError, match="has no ONNX program"):
        load_learner(tmp_path / "model.fl", onnx=True)


def test_a_fresh_process_needs_the_file_alone(pictures: Path, tmp_path: Path) -> None:
    """No class of the user's is there, and the words that a notebook types suffice."""
    learn = trained(Learner(loaders(pictures), Net(), seed=0))
    path, picture = learn.export(tmp_path / "model.fl"), learn.dls.valid_ds.items[0]
    code = (
        f"from fastlearn.vision.all import *\nmodel = load_learner({str(path)!r})\n"
        f"label, index, probabilities = model.predict({str(picture)!r})\nprint(label, *probabilities.tolist())"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    label, *probabilities = done.stdout.split()
    wanted = learn.predict(picture)
    assert label == wanted[0] and [float(p) for p in probabilities] == pytest.approx(wanted[2].tolist(), abs=1e-5)
