import inspect
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from colour_folders import COLOURS, FAST, assert_right_colours, table
from PIL import Image

from fastlearn.data.block import MultiCategoryBlock, RegressionBlock
from fastlearn.data.files import get_image_files
from fastlearn.errors import DataError, FastlearnError, ImageError
from fastlearn.vision.augment import Normalize, aug_transforms, imagenet_stats
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.image import PILImageBW
from fastlearn.vision.transforms import Resize


def test_train_and_valid_folders(split):
    dls = ImageDataLoaders.from_folder(split, **FAST)
    assert isinstance(dls, ImageDataLoaders) and len(dls.train_ds) == 15 and len(dls.valid_ds) == 6
    assert list(dls.vocab) == ["blue", "green", "red"] and dls.c == 3
    assert {path.parent.parent.name for path in dls.valid_ds.items} == {"valid"}
    assert_right_colours(dls)
    assert dls.one_batch()[0].shape == (4, 3, 8, 8)


def test_class_folders_alone_are_split_by_class(flat):
    dls = ImageDataLoaders.from_folder(flat, seed=1, **FAST)
    assert sorted(path.parent.name for path in dls.valid_ds.items) == ["blue", "green", "red"]
    again = ImageDataLoaders.from_folder(flat, seed=1, **FAST)
    assert list(dls.valid_ds.items) == list(again.valid_ds.items)
    assert len(ImageDataLoaders.from_folder(flat, valid_pct=0.4, seed=1, **FAST).valid_ds) == 6
    assert_right_colours(dls)


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
        assert_right_colours(dls)
    with pytest.raises(DataError, match="does not match .*blue_0.png"):
        ImageDataLoaders.from_name_re(flat, files, r"(x+)y", **options)
    booleans = ImageDataLoaders.from_name_func(flat, files, lambda name: name.startswith("r"), **options)
    assert list(booleans.vocab) == [False, True]


def test_tables(flat, tmp_path):
    df = table(flat)
    dls = ImageDataLoaders.from_df(df, flat, **FAST)
    assert list(dls.vocab) == ["blue", "green", "red"] and len(dls.valid_ds) == 3
    assert_right_colours(dls)
    held = ImageDataLoaders.from_df(df, flat, fn_col="name", label_col="label", valid_col="held", **FAST)
    assert len(held.valid_ds) == 3 and held.valid_ds.items["held"].all()
    df["name"] = df["name"].str.removesuffix(".png")
    below = ImageDataLoaders.from_df(df, flat.parent, folder=flat.name, suff=".png", **FAST)
    assert_right_colours(below)
    df["name"] = [str(flat / name) for name in df["name"]]
    assert_right_colours(ImageDataLoaders.from_df(df, "elsewhere", suff=".png", **FAST))
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
    assert_right_colours(ImageDataLoaders.from_csv(flat, **FAST))
    df.to_csv(flat / "tab.txt", index=False, sep="\t")
    assert_right_colours(ImageDataLoaders.from_csv(flat, "tab.txt", delimiter="\t", label_col="label", **FAST))
    for k, name in enumerate(df["name"]):
        os.rename(flat / name, flat / f"{k:04d}.png")
    pd.DataFrame({"id": [f"{k:04d}" for k in range(15)], "label": df["label"]}).to_csv(flat / "ids.csv", index=False)
    assert_right_colours(ImageDataLoaders.from_csv(flat, "ids.csv", suff=".png", **FAST))  # names keep their zeros


def test_lists(flat):
    files = get_image_files(flat)
    dls = ImageDataLoaders.from_lists(flat, files, [file.parent.name for file in files], **FAST)
    assert_right_colours(dls)
    multi = ImageDataLoaders.from_lists(flat, files, [[file.parent.name, "any"] for file in files], seed=1, **FAST)
    assert "any" in multi.vocab and multi.task.name == "multilabel"
    numbers = ImageDataLoaders.from_lists(flat, files, [0.5] * 15, **FAST)
    assert numbers.task.name == "regression"
    arrays = [np.full((6, 6, 3), k, dtype=np.uint8) for k in range(10)]
    assert ImageDataLoaders.from_lists(".", arrays, list("ab") * 5, **FAST).one_batch()[0].shape == (4, 3, 6, 6)


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


def test_strange_names_work(tmp_path):
    for name in ("猫 кот", "dog\n🐈"):
        (tmp_path / name).mkdir()
        for k in range(5):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{k} \n é.png")
    dls = ImageDataLoaders.from_folder(tmp_path, **FAST)
    assert set(dls.vocab) == {"猫 кот", "dog\n🐈"} and dls.one_batch()[0].shape == (4, 3, 4, 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_the_pictures_is_named_and_not_waited_for(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    dls = ImageDataLoaders.from_folder(tmp_path, num_workers=0)
    assert "pipe.png" in str(dls.check())


@pytest.mark.parametrize("path", ["a\0b", ["pets"], b"pets"])
def test_a_path_that_is_none(path):
    with pytest.raises(DataError, match="No folder can be called|Expected the path"):
        ImageDataLoaders.from_folder(path)


DLS = ImageDataLoaders
NAN = float("nan")
ODD = {
    "path": (None, 3, b"x", object()),
    "fnames": (None, 3, "a.png", [], object, np.zeros(())),
    "label_func": (None, 3, [len], "abc", lambda name: [name], lambda name: np.zeros(2), lambda name: 1 / 0),
    "labels": (None, 3, "abc", ["a"], [NAN] * 15, [["a"], "b"] * 8, [torch.zeros(2)] * 15, [object()] * 15),
    "pat": (None, 3, b"(a)", "(", "a", ["(a)"]),
    "valid_pct": (None, "a", 20, -0.1, NAN, True, [0.2]),
    "seed": ("a", 1.5, True, 10**30, [1]),
    "vocab": ("abc", 3, object, [[1]], torch.zeros(2, 2), []),
    "item_tfms": ("Resize", 3, [None], {"a": 1}, Resize, dict, b"x"),
    "batch_tfms": ("aug_transforms", 3, [None], dict, Resize(3), Resize),
    "img_cls": (None, 3, "PILImage"),
    "bs": ("a", 0, -1, 1.5, True, 10**30, [1], np.zeros(3)),
    "val_bs": ("a", 0, 1.5, [1]),
    "shuffle": ("a", None, np.zeros(3), torch.zeros(2)),
    "num_workers": ("a", -1, 1.5, [1]),
    "on_error": (None, "ignore", 3, np.zeros(3)),
    "y_block": (3, "CategoryBlock", np.zeros(3), lambda: 1 / 0),
    "fn_col": (None, 1.5, [], [[1]], True, "nam"),
    "label_col": (None, [], [[1]], True, object, "lable"),
    "folder": (3, [1], np.zeros(3)),
    "suff": (None, 3, np.zeros(3)),
    "label_delim": (3, "", [","]),
    "valid_col": (1.5, [1], "hold", "label"),
    "csv_fname": (None, 3, "", "a\0b", "nowhere.csv"),
    "delimiter": (3, "", [","], ";"),
    "header": ("a", 99, [], 10**30),
    "quoting": (9, "a", NAN),
    "df": (None, "labels.csv", pd.DataFrame(), []),
    "train": (None, 3, "", "tran"),
    "valid": (None, np.zeros(3), "vald"),
}


def methods(flat):
    files = get_image_files(flat)
    return {
        "from_folder": {"path": flat},
        "from_path_func": {"path": flat, "fnames": files, "label_func": lambda path: path.parent.name},
        "from_name_func": {"path": flat, "fnames": files, "label_func": lambda name: name[0]},
        "from_path_re": {"path": flat, "fnames": files, "pat": r"([a-z]+)_"},
        "from_name_re": {"path": flat, "fnames": files, "pat": r"([a-z]+)_"},
        "from_lists": {"path": flat, "fnames": files, "labels": [file.parent.name for file in files]},
        "from_df": {"df": table(flat), "path": flat},
        "from_csv": {"path": flat},
    }


@pytest.mark.parametrize("method", methods("."))
def test_no_wrong_argument_gives_somebody_elses_error(method, flat):
    """Each argument of each method, each wrong value: an error of ours that names it, or sense is made of it."""
    table(flat).to_csv(flat / "labels.csv", index=False)
    make = getattr(ImageDataLoaders, method)
    allowed = inspect.signature(make).parameters
    for name, values in ODD.items():
        if name not in allowed or (name == "valid_pct" and method == "from_folder"):
            continue
        for value in values:
            if value is None and allowed[name].default is None:
                continue
            with pytest.raises(FastlearnError) as caught:
                make(**{**methods(flat)[method], **FAST, name: value}).one_batch()
            assert len(str(caught.value)) > 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f, d: DLS.from_folder(f, item_tfms="Resize"),
            r"not 'Resize'\. Without quotes: item_tfms=R",
        ),
        (lambda f, d: DLS.from_folder(f, batch_tfms="x"), r"not 'x'\. Without quotes: batch_tfms=aug"),
        (lambda f, d: DLS.from_folder(f, batch_tfms=dict), r"not the class dict itself: type dict\(…\)"),
        (lambda f, d: DLS.from_folder(f, val_bs=0), r"val_bs=0 for a set of 3 samples.*Type val_bs=3"),
        (
            lambda f, d: DLS.from_folder(f, item_tfm=[]),
            r"from_folder has no option.*Did you mean 'item_tfms'",
        ),
        (
            lambda f, d: DLS.from_name_func(f, get_image_files(f), list),
            r"gives \['b', .*MultiCategoryBlock",
        ),
        (
            lambda f, d: DLS.from_df(d.assign(label=[["a"]] * 15), f),
            r"of type list for row \d+ \(.*: not one class",
        ),
        (lambda f, d: DLS.from_csv(f, "semi.csv"), r"one column, 'name;label.*type delimiter=';'"),
        (lambda f, d: DLS.from_csv(f, "semi.csv", label_col="label"), r"semi\.csv.*type delimiter=';'"),
        (lambda f, d: DLS.from_csv(f, "ragged.csv"), r"ragged\.csv is not a table .*type delimiter=';'"),
    ],
)
def test_messages_name_the_way_out(call, message, flat):
    df = table(flat)
    df.to_csv(flat / "semi.csv", index=False, sep=";")
    (flat / "ragged.csv").write_text("name;label\na.png;1,5\nb.png;2,5,6\n")
    with pytest.raises(FastlearnError, match=message):
        call(flat, df)


def test_rows_are_named_by_plain_numbers(flat):
    df = table(flat).astype({"amount": "float64"})
    df.index = np.arange(10, 25)
    df.loc[16, "amount"] = np.inf
    with pytest.raises(DataError, match=r"row 16 \(name='.*', label="):
        DLS.from_df(df, flat, label_col="amount", y_block=RegressionBlock, **FAST)


def test_tables_and_lists_of_any_index(flat):
    df = table(flat)
    odd = pd.Series(df["label"].tolist(), index=range(100, 115))
    files = pd.Series([str(flat / name) for name in df["name"]], index=[7] * 15)
    assert_right_colours(DLS.from_lists(flat, files, odd, **FAST))
    assert_right_colours(DLS.from_lists(flat, iter(files), iter(odd), **FAST))
    assert_right_colours(DLS.from_df(df.set_index(pd.Index([7] * 15)), flat, **FAST))


def test_damage_in_the_middle_of_a_file_tells_the_way_out(flat):
    rng = np.random.default_rng(0)
    bad = flat / "red" / "red_0.png"
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(bad)
    content = bytearray(bad.read_bytes())
    content[60:70] = bytes(10)  # in the pixels: the header and the end stay whole
    bad.write_bytes(content)
    dls = DLS.from_folder(flat, valid_pct=0, **FAST | {"bs": 15})
    with pytest.raises(ImageError, match=r'red_0\.png is damaged.*on_error="skip".*dls\.check\(\)') as caught:
        dls.one_batch()
    assert caught.value.path == str(bad) and dls.check().paths("damaged") == [bad]
    with pytest.raises(ImageError) as caught:  # a question about one file has no data set to mend
        dls.test_dl([bad], num_workers=0).one_batch()
    assert "on_error" not in str(caught.value)
    left = DLS.from_folder(flat, valid_pct=0, on_error="skip", **FAST)
    assert len(left.train_ds) == 14
