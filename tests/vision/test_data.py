import os
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fastlearn.data import checks
from fastlearn.data.block import MultiCategoryBlock, RegressionBlock
from fastlearn.data.files import get_image_files
from fastlearn.errors import ConfigError, DataError
from fastlearn.lists import L
from fastlearn.vision.augment import Normalize, aug_transforms, imagenet_stats
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.image import PILImageBW
from fastlearn.vision.transforms import Resize

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
FAST = {"num_workers": 0, "device": "cpu", "bs": 4}


def make(folder, per_class=5, sizes=((8, 8),)):
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for k in range(per_class):
            Image.new("RGB", sizes[k % len(sizes)], colour).save(folder / name / f"{name}_{k}.png")
    return folder


def right_colours(dls):
    for loader in dls.loaders:
        for images, labels in loader:
            codes = images.mean((2, 3)).argmax(1)  # red 0, green 1, blue 2
            assert [dls.vocab[label] for label in labels] == [("red", "green", "blue")[c] for c in codes]


@pytest.fixture
def split(tmp_path):
    make(tmp_path / "train", 5)
    make(tmp_path / "valid", 2)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    return make(tmp_path / "all", 5)


def test_train_and_valid_folders(split):
    dls = ImageDataLoaders.from_folder(split, **FAST)
    assert isinstance(dls, ImageDataLoaders) and len(dls.train_ds) == 15 and len(dls.valid_ds) == 6
    assert list(dls.vocab) == ["blue", "green", "red"] and dls.c == 3
    assert {path.parent.parent.name for path in dls.valid_ds.items} == {"valid"}
    right_colours(dls)
    assert dls.one_batch()[0].shape == (4, 3, 8, 8)


@pytest.mark.parametrize("name", ["val", "validation", "test", "Valid"])
def test_other_names_of_the_validation_folder(split, name):
    os.rename(split / "valid", split / name)
    dls = ImageDataLoaders.from_folder(split, **FAST)
    assert len(dls.valid_ds) == 6 and len(dls.train_ds) == 15


def test_test_is_only_used_where_there_is_no_valid(split):
    make(split / "test", 1)
    assert len(ImageDataLoaders.from_folder(split, **FAST).valid_ds) == 6


def test_named_folders_and_near_matches(split):
    os.rename(split / "train", split / "learning")
    assert len(ImageDataLoaders.from_folder(split, train="learning", **FAST).train_ds) == 15
    with pytest.raises(DataError, match="no folder 'lerning' .*Did you mean 'learning'"):
        ImageDataLoaders.from_folder(split, train="lerning", **FAST)


def test_class_folders_alone_are_split_by_class(flat):
    dls = ImageDataLoaders.from_folder(flat, seed=1, **FAST)
    assert sorted(path.parent.name for path in dls.valid_ds.items) == ["blue", "green", "red"]
    again = ImageDataLoaders.from_folder(flat, seed=1, **FAST)
    assert list(dls.valid_ds.items) == list(again.valid_ds.items)
    assert len(ImageDataLoaders.from_folder(flat, valid_pct=0.4, seed=1, **FAST).valid_ds) == 6
    right_colours(dls)


def test_a_train_folder_without_valid_is_split(split, capsys):
    for path in sorted((split / "valid").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (split / "valid").rmdir()
    assert len(ImageDataLoaders.from_folder(split, **FAST).valid_ds) == 3
    assert "a random 20% of each class of 'train' is used for validation" in capsys.readouterr().out


@pytest.mark.parametrize("spell", ["{0}/", "{0}//", "{0}/.", "{0}/../{1}", "."])
def test_spellings_of_the_path(split, spell, monkeypatch):
    monkeypatch.chdir(split)
    dls = ImageDataLoaders.from_folder(spell.format(split, split.name), **FAST)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (15, 6)
    for path in (split / "valid").rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="No images under .*valid"):
        ImageDataLoaders.from_folder(spell.format(split, split.name), **FAST)


def test_functions_and_patterns(flat):
    files = get_image_files(flat)
    options = {"valid_pct": 0.2, "seed": 0, **FAST}
    for dls in (
        ImageDataLoaders.from_path_func(flat, files, lambda path: path.parent.name, **options),
        ImageDataLoaders.from_name_func(flat, files, label_func=lambda name: name.split("_")[0], **options),
        ImageDataLoaders.from_path_re(flat, files, r"/([a-z]+)_\d+\.png$", **options),
        ImageDataLoaders.from_name_re(flat, files, r"^(.+)_\d+\.png$", **options),
        ImageDataLoaders.from_name_re(flat, [str(file) for file in files], pat=r"^(.+)_\d+\.png$", **options),
    ):
        assert list(dls.vocab) == ["blue", "green", "red"] and len(dls.valid_ds) == 3
        right_colours(dls)
    with pytest.raises(DataError, match="does not match .*blue_0.png"):
        ImageDataLoaders.from_name_re(flat, files, r"(x+)y", **options)
    booleans = ImageDataLoaders.from_name_func(flat, files, lambda name: name.startswith("r"), **options)
    assert list(booleans.vocab) == [False, True]


def table(flat):
    files = get_image_files(flat)
    return pd.DataFrame(
        {
            "name": [str(file.relative_to(flat)) for file in files],
            "label": [file.parent.name for file in files],
            "both": [f"{file.parent.name} {'even' if k % 2 else 'odd'}" for k, file in enumerate(files)],
            "held": [k % 5 == 0 for k in range(len(files))],
            "is_red": [int(file.parent.name == "red") for file in files],
            "is_blue": [int(file.parent.name == "blue") for file in files],
            "amount": [float(k) for k in range(len(files))],
        }
    )


def test_tables(flat, tmp_path):
    df = table(flat)
    dls = ImageDataLoaders.from_df(df, flat, **FAST)
    assert list(dls.vocab) == ["blue", "green", "red"] and len(dls.valid_ds) == 3
    right_colours(dls)
    held = ImageDataLoaders.from_df(df, flat, fn_col="name", label_col="label", valid_col="held", **FAST)
    assert len(held.valid_ds) == 3 and held.valid_ds.items["held"].all()
    df["name"] = df["name"].str.removesuffix(".png")
    below = ImageDataLoaders.from_df(df, flat.parent, folder=flat.name, suff=".png", **FAST)
    right_colours(below)
    df["name"] = [str(flat / name) for name in df["name"]]
    right_colours(ImageDataLoaders.from_df(df, "elsewhere", suff=".png", **FAST))
    numbers = ImageDataLoaders.from_df(df, suff=".png", label_col="amount", y_block=RegressionBlock, **FAST)
    assert numbers.one_batch()[1].dtype == torch.float32


def test_several_labels(flat):
    df = table(flat)
    dls = ImageDataLoaders.from_df(df, flat, label_col="both", label_delim=" ", seed=1, **FAST)
    assert list(dls.vocab) == ["blue", "even", "green", "odd", "red"]
    assert dls.one_batch()[1].sum(1).tolist() == [2.0] * 4
    flags = ImageDataLoaders.from_df(df, flat, label_col=["is_red", "is_blue"], **FAST)
    assert list(flags.vocab) == ["is_red", "is_blue"] and flags.one_batch()[1].shape == (4, 2)
    given = ImageDataLoaders.from_df(df, flat, label_col=2, label_delim=" ", y_block=MultiCategoryBlock, seed=1, **FAST)
    assert given.c == 5


def test_csv_files(flat):
    df = table(flat)
    df.to_csv(flat / "labels.csv", index=False)
    right_colours(ImageDataLoaders.from_csv(flat, **FAST))
    df.to_csv(flat / "tab.txt", index=False, sep="\t")
    right_colours(ImageDataLoaders.from_csv(flat, "tab.txt", delimiter="\t", label_col="label", **FAST))
    for k, name in enumerate(df["name"]):
        os.rename(flat / name, flat / f"{k:04d}.png")
    pd.DataFrame({"id": [f"{k:04d}" for k in range(15)], "label": df["label"]}).to_csv(flat / "ids.csv", index=False)
    right_colours(ImageDataLoaders.from_csv(flat, "ids.csv", suff=".png", **FAST))  # names keep their zeros


def test_lists(flat):
    files = get_image_files(flat)
    dls = ImageDataLoaders.from_lists(flat, files, [file.parent.name for file in files], **FAST)
    right_colours(dls)
    multi = ImageDataLoaders.from_lists(flat, files, [[file.parent.name, "any"] for file in files], seed=1, **FAST)
    assert "any" in multi.vocab and multi.task.name == "multilabel"
    numbers = ImageDataLoaders.from_lists(flat, files, [0.5] * 15, **FAST)
    assert numbers.task.name == "regression"
    arrays = [np.full((6, 6, 3), k, dtype=np.uint8) for k in range(10)]
    assert ImageDataLoaders.from_lists(".", arrays, list("ab") * 5, **FAST).one_batch()[0].shape == (4, 3, 6, 6)


def test_pictures_of_one_size_keep_it_and_others_become_224(tmp_path, capsys):
    one = make(tmp_path / "one", 4, [(10, 6)])
    assert ImageDataLoaders.from_folder(one, **FAST).one_batch()[0].shape[2:] == (6, 10)
    assert capsys.readouterr().out == ""
    mixed = make(tmp_path / "mixed", 4, [(10, 6), (9, 9)])
    assert ImageDataLoaders.from_folder(mixed, **FAST).one_batch()[0].shape[2:] == (224, 224)
    assert "differ in size: each becomes 224x224, as with item_tfms=Resize(224)" in capsys.readouterr().out
    small = ImageDataLoaders.from_folder(mixed, item_tfms=Resize(5), **FAST)
    assert small.one_batch()[0].shape[2:] == (5, 5) and capsys.readouterr().out == ""


def test_grey_and_augmented_batches(flat):
    grey = ImageDataLoaders.from_folder(flat, img_cls=PILImageBW, batch_tfms=aug_transforms(size=6), **FAST)
    assert grey.one_batch()[0].shape == (4, 1, 6, 6)


def test_workers_do_not_change_a_bit(flat):
    def batches(workers):
        dls = ImageDataLoaders.from_folder(
            flat,
            item_tfms=Resize(7),
            batch_tfms=[*aug_transforms(size=6, min_scale=0.5), Normalize.from_stats(*imagenet_stats)],
            bs=4,
            num_workers=workers,
            device="cpu",
            seed=3,
        )
        dls.train.seed = 5
        return [batch[0] for batch in dls.train]

    assert all(torch.equal(a, b) for a, b in zip(batches(0), batches(2), strict=True))


def test_show_batch_and_results(flat):
    dls = ImageDataLoaders.from_folder(flat, batch_tfms=Normalize.from_stats(*imagenet_stats), **FAST)
    axes = dls.show_batch(max_n=4)
    assert len(axes) == 4 and {ax.get_title() for ax in axes} <= set(COLOURS)
    shown = np.asarray(axes[0].images[0].get_array())
    assert tuple(shown[0, 0]) == COLOURS[axes[0].get_title()]
    batch = dls.valid.one_batch()
    drawn = dls.display.show_results(dls.valid, batch, (batch[1] + 1) % 3, max_n=2)
    assert len(drawn) == 2 and drawn[0].get_title().startswith("predicted ")
    plt.close("all")


def test_unreadable_files_can_be_left_out(flat, capsys, monkeypatch):
    (flat / "red" / "red_9.png").touch()
    bad = str(flat / "red" / "red_9.png")
    monkeypatch.setattr(checks, "verify_images", lambda paths, **_: L([p for p in paths if str(p) == bad]))
    dls = ImageDataLoaders.from_folder(flat, on_error="skip", **FAST)
    assert len(dls.train_ds) + len(dls.valid_ds) == 15
    assert "Left out 1 of 16 files that cannot be read: " in capsys.readouterr().out
    files = get_image_files(flat)
    df = pd.DataFrame({"file": list(map(str, files)), "label": [file.parent.name for file in files]})
    table_dls = ImageDataLoaders.from_df(df, on_error="skip", **FAST)
    assert len(table_dls.train_ds) + len(table_dls.valid_ds) == 15
    with pytest.raises(ConfigError, match="choose 'raise' or 'skip'"):
        ImageDataLoaders.from_folder(flat, on_error="ignore", **FAST)


def test_strange_names_work(tmp_path):
    for name in ("猫 кот", "dog\n🐈"):
        (tmp_path / name).mkdir()
        for k in range(5):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{k} \n é.png")
    dls = ImageDataLoaders.from_folder(tmp_path, **FAST)
    assert set(dls.vocab) == {"猫 кот", "dog\n🐈"} and dls.one_batch()[0].shape == (4, 3, 4, 4)


def broken(tmp_path):
    """Folders and tables with one fault each."""
    empty, text, single = tmp_path / "empty", tmp_path / "text", tmp_path / "single"
    empty.mkdir()
    text.mkdir()
    for k in range(12):
        (text / f"{k}.txt").write_text("x")
    (single / "only").mkdir(parents=True)
    (tmp_path / "loose").mkdir()
    for k in range(5):
        Image.new("RGB", (4, 4)).save(single / "only" / f"{k}.png")
        Image.new("RGB", (4, 4)).save(tmp_path / "loose" / f"{k}.png")
    flat = make(tmp_path / "flat", 5)
    df = table(flat)
    nan = df.copy()
    nan.loc[2:3, "label"] = None
    unnamed = df.copy()
    unnamed.loc[1, "name"] = None
    missing = df.copy()
    missing.loc[0, "name"] = "blue/blue_O.png"
    make(tmp_path / "hollow" / "train", 3)
    (tmp_path / "hollow" / "valid" / "red").mkdir(parents=True)
    make(tmp_path / "extra" / "train", 3)
    make(tmp_path / "extra" / "valid", 2)
    (tmp_path / "extra" / "valid" / "reed").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "extra" / "valid" / "reed" / "0.png")
    df.to_csv(flat / "labels.csv", index=False)
    (flat / "bad.csv").write_bytes(b"a,b\n1,2,3,4\n\xff\xfe")
    return SimpleNamespace(root=tmp_path, flat=flat, df=df, nan=nan, unnamed=unnamed, missing=missing)


DLS = ImageDataLoaders


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: DLS.from_folder(b.root / "flaat"), "no folder .*Did you mean 'flat'"),
        (lambda b: DLS.from_folder(b.flat / "red" / "red_0.png"), "is a file"),
        (lambda b: DLS.from_folder(b.root / "empty"), "the folder is empty"),
        (lambda b: DLS.from_folder(b.root / "text"), r"found 12 \.txt files.*from_csv"),
        (lambda b: DLS.from_folder(b.root / "loose"), "no folder for each class.*from_name_re"),
        (lambda b: DLS.from_folder(b.root / "single"), "of one class, 'only'"),
        (lambda b: DLS.from_folder(b.root / "hollow"), "No images under .*valid"),
        (lambda b: DLS.from_folder(b.root / "extra"), "the training set lacks: 'reed'.*Did you mean 'red'"),
        (lambda b: DLS.from_folder(b.flat, valid_pct=20), "Did you mean 0.2"),
        (lambda b: DLS.from_folder(b.flat, bs=0), "bs=0"),
        (lambda b: DLS.from_folder(b.flat, bs=99), "bs=99 is larger than the training set, which has 12"),
        (lambda b: DLS.from_path_func(b.root, [], lambda p: 1), "fnames is empty"),
        (lambda b: DLS.from_path_func(b.root, b.flat, lambda p: 1), "takes a list of files"),
        (lambda b: DLS.from_path_func(b.root, get_image_files(b.flat), lambda p: p.nam), "get_y failed .*blue_0.png"),
        (lambda b: DLS.from_lists(b.root, ["a", "b"], [1]), "2 file names and 1 labels"),
        (lambda b: DLS.from_lists(b.root, ["a.png", "b.png"], [1, 2]), "2 of 2 files are missing: a.png, b.png"),
        (lambda b: DLS.from_df(b.df, b.flat, label_col="lable"), "no column 'lable'.*Did you mean 'label'"),
        (lambda b: DLS.from_df(b.df, b.flat, fn_col=40), "no column 40"),
        (lambda b: DLS.from_df(b.df, b.flat, valid_col="hold"), "no column 'hold'.*Did you mean 'held'"),
        (lambda b: DLS.from_df(b.df, b.root), "15 of 15 files are missing"),
        (lambda b: DLS.from_df(b.df, b.flat, suff=".jpg"), "Check path, folder and suff"),
        (lambda b: DLS.from_df(b.missing, b.flat), "1 of 15 files are missing: .*Did you mean 'blue_"),
        (lambda b: DLS.from_df(b.nan, b.flat), r"labels are missing \(NaN\)"),
        (lambda b: DLS.from_df(b.unnamed, b.flat), "row without a file name"),
        (lambda b: DLS.from_df(b.df[:0], b.flat), "no rows"),
        (lambda b: DLS.from_df("labels.csv", b.flat), "Use from_csv"),
        (lambda b: DLS.from_csv(b.flat, "lables.csv"), "lables.csv cannot be read: .*Did you mean 'labels.csv'"),
        (lambda b: DLS.from_csv(b.flat, "bad.csv"), "not a table that pandas can read"),
        (lambda b: DLS.from_csv(b.flat, fn_col="file"), "labels.csv: There is no column 'file'"),
    ],
)
def test_what_is_wrong_is_named(call, message, tmp_path):
    with pytest.raises((DataError, ConfigError), match=message):
        call(broken(tmp_path))
