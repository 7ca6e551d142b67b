"""Where pictures and labels come from, and each fault of theirs by name."""

import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from colour_folders import FAST, make, table
from PIL import Image
from torch import nn

from fastlearn.data.files import get_image_files
from fastlearn.errors import ConfigError, DataError
from fastlearn.learner import Learner
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.transforms import Resize


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


def test_pictures_of_one_size_keep_it_and_others_become_224(tmp_path, capsys):
    one = make(tmp_path / "one", 4, [(10, 6)])
    assert ImageDataLoaders.from_folder(one, **FAST).one_batch()[0].shape[2:] == (6, 10)
    assert "each becomes" not in capsys.readouterr().out
    mixed = make(tmp_path / "mixed", 4, [(10, 6), (9, 9)])
    assert ImageDataLoaders.from_folder(mixed, **FAST).one_batch()[0].shape[2:] == (224, 224)
    assert "differ in size: each becomes 224x224, as with item_tfms=Resize(224)" in capsys.readouterr().out
    small = ImageDataLoaders.from_folder(mixed, item_tfms=Resize(5), **FAST)
    assert small.one_batch()[0].shape[2:] == (5, 5) and "each becomes" not in capsys.readouterr().out


def test_unreadable_files_can_be_left_out(flat, capsys):
    (flat / "red" / "red_9.png").touch()
    dls = ImageDataLoaders.from_folder(flat, on_error="skip", **FAST)
    assert len(dls.train_ds) + len(dls.valid_ds) == 15
    assert "Left out 1 of 16 files that cannot be read: " in capsys.readouterr().out
    files = get_image_files(flat)
    df = pd.DataFrame({"file": list(map(str, files)), "label": [file.parent.name for file in files]})
    table_dls = ImageDataLoaders.from_df(df, on_error="skip", **FAST)
    assert len(table_dls.train_ds) + len(table_dls.valid_ds) == 15
    with pytest.raises(ConfigError, match="choose 'raise' or 'skip'"):
        ImageDataLoaders.from_folder(flat, on_error="ignore", **FAST)


def misname(flat):
    """A PNG called .jpg."""
    return (flat / "red" / "red_0.png").rename(flat / "red" / "red_0.jpg")


def test_wrongly_named_files_are_refused_before_training(flat):
    misname(flat)
    dls = ImageDataLoaders.from_folder(flat, **FAST)
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), default_cbs=False)
    ways = r"red_0\.jpg is PNG(.|\n)*Rename.*on_error=\"skip\".*on_error=\"warn\""
    with pytest.raises(DataError, match=ways):
        learn.fit(1)
    assert learn.epoch == 0 and not dls.check().ok


def test_wrongly_named_files_can_be_left_out_or_kept(flat, capsys):
    bad = misname(flat)
    skipped = ImageDataLoaders.from_folder(flat, on_error="skip", **FAST)
    assert len(skipped.train_ds) + len(skipped.valid_ds) == 14
    assert skipped.check().paths("wrong_name") == []
    assert f"Left out 1 of 15 files of another format than the name says: {bad} is PNG" in capsys.readouterr().out
    kept = ImageDataLoaders.from_folder(flat, on_error="warn", **FAST)
    assert len(kept.train_ds) + len(kept.valid_ds) == 15
    report = kept.check()
    finding = next(finding for finding in report.findings if finding.kind == "wrong_name")
    assert (finding.severity, finding.paths) == ("warning", (bad,))
    Learner(kept, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), default_cbs=False).fit(1)


def test_warn_does_not_keep_what_cannot_be_opened(flat):
    (flat / "red" / "red_9.jpg").touch()
    dls = ImageDataLoaders.from_folder(flat, on_error="warn", **FAST)
    with pytest.raises(DataError, match=r"1 file is empty"):
        Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), default_cbs=False).fit(1)


def test_skip_leaves_arrays_alone_and_says_when_nothing_is_left(tmp_path, capsys):
    arrays = [np.full((6, 6, 3), k, dtype=np.uint8) for k in range(10)]
    dls = ImageDataLoaders.from_lists(".", arrays, list("ab") * 5, on_error="skip", **FAST)
    assert len(dls.train_ds) + len(dls.valid_ds) == 10
    make(tmp_path, 2)
    for path in get_image_files(tmp_path):
        path.rename(path.with_suffix(".bmp"))
    with pytest.raises(DataError, match=r"None of the 6 files can be used, such as .*blue_0\.bmp: it is PNG"):
        ImageDataLoaders.from_folder(tmp_path, on_error="skip", **FAST)


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
