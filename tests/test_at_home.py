# ruff: noqa: F403, F405
"""A fast.ai user's notebook on classifying pictures, with no line changed but the import."""

import os

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from fastlearn.vision.all import *

BREEDS = ["Abyssinian", "Birman", "beagle", "great_pyrenees"]  # cats have a capital


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module", autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory):
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("notebook"))
    yield
    os.chdir(before)


def draw(file, hue, size=(72, 64), seed=0):
    """A noisy patch of one colour."""
    noise = np.random.default_rng(seed).normal(0, 20, (*size, 3))
    Pillow.fromarray(np.clip(np.array(hue) + noise, 0, 255).astype(np.uint8)).save(file)


HUES = [(220, 40, 40), (40, 220, 40), (40, 40, 220), (200, 200, 40)]


@pytest.fixture(scope="module")
def pets_path(tmp_path_factory):
    path = Path(tmp_path_factory.mktemp("pets"))
    for breed, hue in zip(BREEDS, HUES, strict=True):
        for i in range(10):
            draw(path / f"{breed}_{i + 1}.jpg", hue, (60 + 4 * i, 80), i)
    return path


@pytest.fixture(scope="module")
def bears_path(tmp_path_factory):
    path = Path(tmp_path_factory.mktemp("bears"))
    for name, hue in zip(["grizzly", "black", "teddy"], HUES, strict=False):
        (path / name).mkdir()
        for i in range(8):
            draw(path / name / f"{i:08}.jpg", hue, seed=i)
    return path


@pytest.fixture(scope="module")
def voc_path(tmp_path_factory):
    path = Path(tmp_path_factory.mktemp("voc"))
    (path / "train").mkdir()
    rows = []
    words = [["person"], ["car", "person"], ["dog"], ["car"], ["dog", "person"]]
    for i in range(25):
        draw(path / "train" / f"{i:06}.jpg", HUES[i % 4], seed=i)
        rows.append((f"{i:06}.jpg", " ".join(words[i % 5]), i % 5 == i // 5))
    pd.DataFrame(rows, columns=["fname", "labels", "is_valid"]).to_csv(path / "train.csv", index=False)
    return path


def small(pretrained=False):
    """A body that costs little."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )


def learner(dls, arch=small, **options):
    return vision_learner(dls, arch, pretrained=False, **options)


def is_cat(x):
    return x[0].isupper()


# A first model


@pytest.fixture(scope="module")
def cats(pets_path):
    dls = ImageDataLoaders.from_name_func(
        pets_path,
        get_image_files(pets_path),
        valid_pct=0.2,
        seed=42,
        label_func=is_cat,
        item_tfms=Resize(64),
        bs=8,
        num_workers=0,
    )
    learn = learner(dls, metrics=error_rate)
    with learn.no_bar():
        learn.fine_tune(2, base_lr=1e-2, freeze_epochs=1)
    return learn


def test_cat_or_not(cats, pets_path):
    assert cats.dls.vocab == [False, True] and cats.dls.c == 2
    img = PILImage.create(pets_path / "Birman_3.jpg")
    is_cat, _, probs = cats.predict(img)
    assert str(is_cat) in ("True", "False")
    assert f"Probability it's a cat: {probs[1].item():.6f}" and probs.sum().item() == pytest.approx(1)
    thumb = img.to_thumb(32)
    assert max(thumb.size) == 32 and PILImage.create((pets_path / "Birman_3.jpg").read_bytes()).size == img.size
    assert cats.predict(pets_path / "Birman_3.jpg")[1] == cats.predict(str(pets_path / "Birman_3.jpg"))[1]


def test_results_and_what_went_wrong(cats, capsys):
    cats.show_results(max_n=4, figsize=(6, 6))
    interp = ClassificationInterpretation.from_learner(cats)
    interp.plot_confusion_matrix(figsize=(4, 4), dpi=60)
    interp.plot_top_losses(5, nrows=1)
    interp.plot_top_losses(4, figsize=(15, 10))
    assert isinstance(interp.most_confused(min_val=5), list)
    interp.print_classification_report()
    assert "accuracy" in capsys.readouterr().out
    Interpretation.from_learner(cats).plot_top_losses(2)


def test_a_pretrained_name_of_an_architecture_without_its_weights(cats):
    learn = vision_learner(cats.dls, resnet18, metrics=[error_rate, accuracy], pretrained=False).to_fp16()
    learn.to_fp32()
    x, y = cats.dls.one_batch()
    assert learn.model(x).shape == (8, 2)
    assert "Sequential" in repr(learn.model) or "VisionModel" in repr(learn.model)


# A pattern in the name of a file


def test_breeds_by_a_pattern(pets_path, capsys):
    pets = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(seed=42),
        get_y=using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name"),
        item_tfms=Resize(46),
        batch_tfms=aug_transforms(size=32, min_scale=0.75),
    )
    dls = pets.dataloaders(pets_path, bs=8, num_workers=0)
    dls.show_batch(nrows=1, ncols=3)
    assert list(dls.vocab) == BREEDS
    x, y = dls.one_batch()
    assert x.shape == (8, 3, 32, 32) and y.shape == (8,)
    pets.summary(pets_path)
    assert "CategoryBlock" in capsys.readouterr().out

    learn = learner(dls, metrics=error_rate)
    with learn.no_bar():
        learn.fine_tune(1)
    preds, _ = learn.get_preds(dl=[(x, y)])
    assert preds.shape == (8, 4) and preds[0].sum().item() == pytest.approx(1)
    assert isinstance(learn.loss_func, nn.Module)


def test_pictures_of_many_sizes_need_a_size(pets_path):
    no_size = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(seed=42),
        get_y=using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name"),
    )
    with pytest.raises(Exception, match="Resize"):
        no_size.summary(pets_path)


def test_pattern_and_sizes_of_the_quick_start(pets_path):
    dls = ImageDataLoaders.from_name_re(
        pets_path,
        get_image_files(pets_path),
        r"^(.*)_\d+.jpg",
        item_tfms=Resize(40),
        batch_tfms=aug_transforms(size=32),
        bs=8,
        num_workers=0,
    )
    dls.show_batch()
    assert dls.c == 4 and dls.one_batch()[0].shape[-2:] == (32, 32)


# The learning rate


def test_a_learning_rate_and_the_fits_that_use_it(cats, capsys):
    set_seed(5)
    learn = learner(cats.dls, metrics=error_rate)
    with learn.no_bar():
        lr_min, lr_steep = learn.lr_find(suggest_funcs=(minimum, steep))
        assert f"{lr_min:.2e}" and 0 < lr_steep < 10
        found = learn.lr_find(suggest_funcs=(valley, slide))
        assert found.valley > 0 and found.slide > 0
        learn.fine_tune(1, base_lr=3e-3)
        learn.fit_one_cycle(1, 3e-3)
        learn.unfreeze()
        learn.fit_one_cycle(1, lr_max=slice(1e-6, 1e-4))
        learn.fit(1, slice(1e-3))
        learn.fit_flat_cos(1, 1e-3)
        learn.freeze()
    learn.recorder.plot_loss()
    learn.recorder.plot_lr_find()
    learn.recorder.plot_sched()
    assert len(learn.recorder.losses) == len(learn.recorder.lrs) == 4
    assert len(L(learn.recorder.values).itemgot(2)) == 1


def test_callbacks_by_their_names(cats, tmp_path):
    learn = learner(cats.dls, metrics=accuracy, path=tmp_path, cbs=[MixUp(0.4), CSVLogger()])
    with learn.no_bar():
        learn.fine_tune(1, cbs=EarlyStoppingCallback(monitor="accuracy", patience=3))
        learn.fit_one_cycle(2, 1e-3, cbs=[SaveModelCallback(monitor="valid_loss"), GradientClip(0.1)])
        learn.fit_one_cycle(1, cbs=[ReduceLROnPlateau(patience=1), GradientAccumulation(16)])
        learn.fit(1, cbs=[CutMix(), BnFreeze])
    assert (tmp_path / "history.csv").is_file()
    learn.save("mine")
    learn.load("mine")


def test_new_pictures_and_their_changes(cats, pets_path):
    tst = cats.dls.test_dl(get_image_files(pets_path)[:5])
    preds, none = cats.get_preds(dl=tst)
    assert preds.shape == (5, 2) and none is None
    with pytest.raises(ConfigError, match="with_labels=True"):
        cats.show_results(dl=tst)
    cats.show_results(dl=cats.dls.test_dl(get_image_files(pets_path)[:5], with_labels=True))
    preds, targs = cats.tta(n=2)
    assert preds.shape == (len(cats.dls.valid_ds), 2) and len(targs) == len(preds)


# Folders


def test_bears(bears_path):
    fns = get_image_files(bears_path)
    assert str(fns).startswith("(#24) [Path(")
    (bears_path / "teddy" / "broken.jpg").write_bytes(b"no picture")
    failed = verify_images(get_image_files(bears_path))
    assert len(failed) == 1
    failed.map(Path.unlink)
    assert not (bears_path / "teddy" / "broken.jpg").exists()

    bears = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(valid_pct=0.2, seed=42),
        get_y=parent_label,
        item_tfms=Resize(32),
    )
    dls = bears.dataloaders(bears_path, bs=8, num_workers=0)
    dls.valid.show_batch(max_n=4, nrows=1)
    for tfm in (Resize(32, ResizeMethod.Squish), Resize(32, ResizeMethod.Pad, pad_mode="zeros")):
        bears = bears.new(item_tfms=tfm)
        bears.dataloaders(bears_path, bs=8, num_workers=0).valid.show_batch(max_n=4, nrows=1)
    bears = bears.new(item_tfms=RandomResizedCrop(32, min_scale=0.3))
    bears.dataloaders(bears_path, bs=8, num_workers=0).train.show_batch(max_n=4, nrows=1, unique=True)
    bears = bears.new(item_tfms=Resize(32), batch_tfms=aug_transforms(mult=2))
    dls = bears.dataloaders(bears_path, bs=8, num_workers=0)
    dls.train.show_batch(max_n=8, nrows=2, unique=True)

    learn = learner(dls, metrics=error_rate)
    with learn.no_bar():
        learn.fine_tune(1)
    pred, pred_idx, probs = learn.predict(bears_path / "grizzly" / "00000001.jpg")
    assert learn.dls.vocab[pred_idx] == pred
    assert f"Prediction: {pred}; Probability: {probs[pred_idx]:.04f}"
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix()
    interp.plot_top_losses(5, nrows=1)


def test_folders_by_convention(bears_path):
    dls = ImageDataLoaders.from_folder(bears_path, valid_pct=0.25, seed=1, item_tfms=Resize(32), bs=4, num_workers=0)
    assert list(dls.vocab) == ["black", "grizzly", "teddy"] and len(dls.valid_ds) == 6
    assert bears_path.ls().sorted() == L(bears_path / name for name in dls.vocab)


# Several labels


def splitter(df):
    train = df.index[~df["is_valid"]].tolist()
    valid = df.index[df["is_valid"]].tolist()
    return train, valid


def get_x(r, path):
    return path / "train" / r["fname"]


def get_y(r):
    return r["labels"].split(" ")


def test_a_table_step_by_step(voc_path):
    df = pd.read_csv(voc_path / "train.csv")
    dblock = DataBlock()
    dsets = dblock.datasets(df)
    assert len(dsets.train) == 20 and len(dsets.valid) == 5
    x, y = dsets.train[0]
    assert x["fname"] == y["fname"]

    dblock = DataBlock(get_x=lambda r: r["fname"], get_y=lambda r: r["labels"])
    assert isinstance(dblock.datasets(df).train[0][1], str)

    x_of = partial(get_x, path=voc_path)
    dblock = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), splitter=splitter, get_x=x_of, get_y=get_y)
    dsets = dblock.datasets(df)
    assert dsets.train[0][0].size == (64, 72)
    idxs = torch.where(dsets.train[0][1] == 1.0)[0]
    first = df[~df.is_valid].iloc[0]
    assert list(dsets.train.vocab[idxs]) == sorted(first.labels.split())

    dblock = DataBlock(
        blocks=(ImageBlock, MultiCategoryBlock),
        splitter=splitter,
        get_x=ColReader("fname", pref=voc_path / "train"),
        get_y=ColReader("labels", label_delim=" "),
        item_tfms=RandomResizedCrop(32, min_scale=0.35),
    )
    dls = dblock.dataloaders(df, bs=5, num_workers=0)
    dls.show_batch(nrows=1, ncols=3)

    learn = learner(dls)
    x, y = to_cpu(dls.train.one_batch())
    activs = learn.model(x)
    assert activs.shape == (5, 3)
    loss_func = nn.BCEWithLogitsLoss()
    torch.testing.assert_close(loss_func(activs, y), learn.loss_func(activs, y))

    learn = learner(dls, metrics=partial(accuracy_multi, thresh=0.2))
    with learn.no_bar():
        learn.fine_tune(1, base_lr=3e-3, freeze_epochs=2)
    learn.metrics = partial(accuracy_multi, thresh=0.1)
    loss, accuracy_at_a_tenth = learn.validate()
    preds, targs = learn.get_preds()
    assert accuracy_multi(preds, targs, thresh=0.1, sigmoid=False) == pytest.approx(accuracy_at_a_tenth)
    accuracy_multi(preds, targs, thresh=0.9, sigmoid=False)
    xs = torch.linspace(0.05, 0.95, 29)
    accs = [accuracy_multi(preds, targs, thresh=i, sigmoid=False) for i in xs]
    plt.plot(xs, accs)


def test_a_table_at_once(voc_path):
    df = pd.read_csv(voc_path / "train.csv")
    dls = ImageDataLoaders.from_df(
        df,
        voc_path,
        folder="train",
        valid_col="is_valid",
        label_delim=" ",
        item_tfms=Resize(40),
        batch_tfms=aug_transforms(size=32),
        bs=5,
        num_workers=0,
    )
    dls.show_batch()
    f1_macro = F1ScoreMulti(thresh=0.5, average="macro")
    f1_macro.name = "F1(macro)"
    f1_samples = F1ScoreMulti(thresh=0.5, average="samples")
    f1_samples.name = "F1(samples)"
    learn = learner(dls, metrics=[partial(accuracy_multi, thresh=0.5), f1_macro, f1_samples])
    with learn.no_bar():
        learn.fine_tune(1, 3e-2)
    assert learn.recorder.metric_names[-3:-1] == ["F1(macro)", "F1(samples)"]
    labels, mask, probs = learn.predict(voc_path / "train" / "000005.jpg")
    assert len(mask) == len(probs) == 3 and len(labels) == int(mask.sum())
    learn.show_results()
    interp = Interpretation.from_learner(learn)
    interp.plot_top_losses(4)
    learn = learner(dls.new(bs=20))
    assert len(learn.tta(n=1)[0]) == 5  # fewer than a batch


# Losses by hand


def test_softmax_and_its_loss_by_hand(cats):
    acts = torch.randn((6, 2)) * 2
    targ = tensor([0, 1, 0, 1, 1, 0])
    sm_acts = torch.softmax(acts, dim=1)
    idx = range(6)
    assert -sm_acts[idx, targ].shape[0] == -6
    torch.testing.assert_close(F.nll_loss(sm_acts, targ, reduction="none"), -sm_acts[idx, targ])
    torch.testing.assert_close(nn.CrossEntropyLoss()(acts, targ), CrossEntropyLossFlat()(acts, targ))
    x, y = cats.dls.one_batch()
    assert x[0].shape == (3, 64, 64) and cats.dls.vocab[y[0]] in (True, False)
    show_image(x[0].clamp(0, 1), title="one of them")
    show_images([x[0].clamp(0, 1), x[1].clamp(0, 1)], titles=["a", "b"])
