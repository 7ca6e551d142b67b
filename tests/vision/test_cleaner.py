"""Choosing, applying and undoing on a learner; no widget."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from colour_folders import colour_learner
from PIL import Image
from torch import nn

from fastlearn.data.block import CategoryBlock, DataBlock
from fastlearn.data.download import untar_data
from fastlearn.data.files import get_image_files
from fastlearn.data.label import RegexLabeller
from fastlearn.data.urls import URLs
from fastlearn.errors import ConfigError, DataError, MissingExtraError
from fastlearn.interpret.classification import ClassificationInterpretation
from fastlearn.learner import Learner
from fastlearn.vision.augment import aug_transforms
from fastlearn.vision.blocks import ImageBlock
from fastlearn.vision.cleaner import ImageClassifierCleaner
from fastlearn.vision.data import ImageDataLoaders

COLOURS = {"blue": (40, 40, 220), "green": (40, 220, 40), "red": (220, 40, 40)}
OPTIONS = {"num_workers": 0, "device": "cpu", "bs": 4}


@pytest.fixture
def folder(tmp_path):
    """Noisy pictures of three colours, all different."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 5), ("valid", 4)):
        for name, colour in COLOURS.items():
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(n):
                noisy = np.clip(np.array(colour) + rng.normal(0, 70, (8, 8, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(noisy).save(tmp_path / split / name / f"{i}.png")
    return tmp_path


@pytest.fixture
def learn(folder):
    return colour_learner(ImageDataLoaders.from_folder(folder, **OPTIONS, batch_tfms=aug_transforms()))


@pytest.fixture
def cleaner(learn):
    return ImageClassifierCleaner(learn)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in get_image_files(folder)}


@pytest.mark.parametrize("split", ["train", "valid"])
def test_pictures_come_by_loss_without_augmentation(learn, cleaner, split):
    interp = ClassificationInterpretation.from_learner(learn, ds_idx=["train", "valid"].index(split))
    positions = [int(i) for i in interp.top_losses()[1] if interp.targs[i] == 1]
    found = cleaner.look("green", split)
    assert [one.index for one in found] == positions
    assert [one.loss for one in found] == pytest.approx(interp.losses[positions].tolist(), abs=1e-6)
    assert [one.predicted for one in found] == [interp.vocab[int(interp.decoded[i])] for i in positions]
    assert [one.probability for one in found] == pytest.approx(interp.preds[positions].max(1)[0].tolist(), abs=1e-6)
    assert list(cleaner.fns) == [learn.dls[["train", "valid"].index(split)].items[i] for i in positions]


def test_each_split_is_computed_once(learn, cleaner, monkeypatch):
    passes, get_preds = [], learn.get_preds
    monkeypatch.setattr(learn, "get_preds", lambda **options: passes.append(1) or get_preds(**options))
    assert not passes
    seen = []
    cleaner.look("red", "valid", on_batch=lambda done, total: seen.append((done, total)))
    cleaner.show("blue", "valid"), cleaner.look("green"), cleaner.fns
    assert len(passes) == 1 and seen == [(1, 3), (2, 3), (3, 3)]
    cleaner.look("red", "train"), cleaner.look("red", "valid")
    assert len(passes) == 2


def test_max_n(learn):
    assert len(ImageClassifierCleaner(learn, max_n=2).look("red", "train")) == 2


def test_choices_are_kept_when_class_and_split_change(cleaner):
    cleaner.show("red", "train")
    cleaner.choose(1, "<Delete>")
    cleaner.choose(2, "blue")
    cleaner.show("green", "valid")
    assert cleaner.delete() == [] and cleaner.change() == []
    cleaner.choose(cleaner.fns[0], "<Delete>")
    table = cleaner.show("red", "train")
    assert list(table["choice"]) == ["<Keep>", "<Delete>", "blue", "<Keep>", "<Keep>"]
    assert cleaner.delete() == [1] and cleaner.change() == [(2, "blue")] and cleaner.counts() == (2, 1)
    assert repr(cleaner) == "ImageClassifierCleaner(3 classes, 2 to delete, 1 to relabel)"
    assert list(cleaner.choices()["choice"]) == ["<Delete>", "blue", "<Delete>"]
    assert list(cleaner.choices()["split"]) == ["train", "train", "valid"]


@pytest.mark.parametrize("back", ["<Keep>", "red"])
def test_keep_and_the_class_that_it_has_take_a_choice_back(cleaner, back):
    cleaner.look("red", "train")
    cleaner.choose(0, "<Delete>")
    cleaner.choose(0, back)
    assert cleaner.counts() == (0, 0) and not len(cleaner.choices())


def test_apply_moves_and_undo_moves_back(folder, cleaner):
    before = tree(folder)
    cleaner.look("red", "train")
    gone, changed = cleaner.fns[0], cleaner.fns[1]
    cleaner.choose(0, "<Delete>")
    cleaner.choose(1, "blue")
    done = cleaner.apply()
    taken = folder / "train/blue" / f"{changed.stem}-2.png"  # every class has a picture of that name
    assert done.deleted == (gone,) and done.relabelled == ((changed, taken),)
    expected = dict(before)
    del expected[str(gone.relative_to(folder))]
    expected[str(taken.relative_to(folder))] = expected.pop(str(changed.relative_to(folder)))
    assert tree(folder) == expected
    assert (done.trash / "files" / gone.relative_to(folder)).is_file() and done.trash.parent == folder / ".trash"
    assert "1 deleted, 1 relabelled" in repr(done) and "Make the DataLoaders anew" in repr(done)
    assert gone not in cleaner.fns and changed not in cleaner.fns and cleaner.counts() == (0, 0)
    assert cleaner.n_shown_of() == 3
    assert "3 files" not in repr(cleaner.undo())
    assert tree(folder) == before and cleaner.fns[:2] == [gone, changed] and cleaner.n_shown_of() == 5


def test_the_trash_is_no_class(folder, cleaner):
    cleaner.choose(0, "<Delete>")
    cleaner.apply()
    dls = ImageDataLoaders.from_folder(folder, **OPTIONS)
    assert list(dls.vocab) == ["blue", "green", "red"] and len(dls.valid_ds) == 11
    flat = ImageDataLoaders.from_folder(folder / "train", **OPTIONS)
    assert list(flat.vocab) == ["blue", "green", "red"]


def test_nothing_chosen_touches_nothing(folder, cleaner):
    assert "Nothing was chosen" in repr(cleaner.apply())
    assert not (folder / ".trash").exists()
    with pytest.raises(ConfigError, match=r"applied nothing.*undo_last\(path\)"):
        cleaner.undo()


def test_apply_twice_and_undo_twice(folder, cleaner):
    before = tree(folder)
    cleaner.look("red", "valid")
    cleaner.choose(0, "<Delete>")
    cleaner.apply()
    assert "Nothing was chosen" in repr(cleaner.apply())
    cleaner.choose(0, "<Delete>")
    cleaner.apply()
    assert len(tree(folder)) == len(before) - 2
    cleaner.undo()
    assert len(tree(folder)) == len(before) - 1
    cleaner.undo()
    assert tree(folder) == before


def test_undo_in_a_new_session_without_widgets(folder, cleaner):
    before = tree(folder)
    cleaner.choose(0, "<Delete>")
    cleaner.apply()
    script = (
        "import sys; from fastlearn.vision.cleaner import ImageClassifierCleaner as Cleaner;"
        "print(Cleaner.undo_last(sys.argv[1]), {'anywidget', 'ipywidgets'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "1 file moved back. set()\n" and tree(folder) == before


def test_a_file_that_vanished_is_left_out(folder, cleaner):
    cleaner.look("red", "train")
    for index in (0, 1):
        cleaner.choose(index, "<Delete>")
    for index in cleaner.delete()[:1]:
        cleaner.fns[index].unlink()
    done = cleaner.apply()
    assert len(done.deleted) == len(done.gone) == 1 and "1 not there any more" in repr(done)


def test_the_books_cells(folder, cleaner):
    cleaner.look("red", "train")
    cleaner.choose(0, "<Delete>")
    cleaner.choose(3, "blue")
    gone, changed, path = cleaner.fns[0], cleaner.fns[3], folder / "elsewhere"
    (path / "blue").mkdir(parents=True)
    for idx in cleaner.delete():
        cleaner.fns[idx].unlink()
    for idx, cat in cleaner.change():
        shutil.move(str(cleaner.fns[idx]), path / cat)
    assert not gone.exists() and (path / "blue" / changed.name).is_file()


def test_one_of_the_two_alone(cleaner):
    cleaner.choose(0, "<Delete>")
    cleaner.choose(1, "red")
    assert len(cleaner.apply(only="relabel").relabelled) == 1 and cleaner.counts() == (1, 0)
    assert len(cleaner.apply(only="delete").deleted) == 1 and cleaner.counts() == (0, 0)
    with pytest.raises(ConfigError, match="choose 'delete', 'relabel'"):
        cleaner.apply(only="both")


def test_a_move_that_fails_keeps_the_rest_chosen(folder, cleaner, monkeypatch):
    before, real, moves = tree(folder), os.replace, []

    def once(source, target):
        moves.append(source)
        if len(moves) == 2:
            raise PermissionError(1, "Operation not permitted")
        real(source, target)

    cleaner.look("red", "train")
    for index in range(3):
        cleaner.choose(index, "<Delete>")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", once)
        with pytest.raises(DataError, match="1 file had been moved before; cleaner.undo"):
            cleaner.apply()
    assert cleaner.counts() == (2, 0) and len(tree(folder)) == len(before) - 1
    cleaner.apply()
    cleaner.undo(), cleaner.undo()
    assert tree(folder) == before


def test_a_new_class_from_opts(folder, learn):
    cleaner = ImageClassifierCleaner(learn, opts=["violet"])
    cleaner.look("red", "valid")
    cleaner.choose(0, "violet")
    changed = cleaner.fns[0]
    cleaner.apply()
    assert (folder / "valid/violet" / changed.name).is_file()
    cleaner.undo()
    assert changed.is_file() and not (folder / "valid/violet").exists()


@pytest.mark.parametrize("name", [".hidden", "a/b", ".."])
def test_a_class_that_cannot_be_a_folder(folder, learn, name):
    before = tree(folder)
    cleaner = ImageClassifierCleaner(learn, opts=[name])
    cleaner.choose(0, name)
    with pytest.raises(ConfigError, match="cannot be the name of a class's folder"):
        cleaner.apply()
    assert tree(folder) == before


def test_labels_from_elsewhere_are_not_moved_but_listed(folder):
    flat = folder / "flat"
    flat.mkdir()
    for file in get_image_files(folder / "train"):
        shutil.copy(file, flat / f"{file.parent.name}_{file.name}")
    dls = ImageDataLoaders.from_name_func(flat, get_image_files(flat), RegexLabeller(r"(.+)_"), **OPTIONS, seed=1)
    cleaner = ImageClassifierCleaner(colour_learner(dls))
    cleaner.look("red", "train")
    cleaner.choose(0, "blue")
    cleaner.choose(1, "<Delete>")
    before = tree(flat)
    with pytest.raises(ConfigError, match=r"does not come from the name of its folder.*choices\(\)"):
        cleaner.apply()
    assert tree(flat) == before and len(cleaner.choices()) == 2
    assert len(cleaner.apply(only="delete").deleted) == 1 and cleaner.counts() == (0, 1)


def test_labels_from_a_table_are_not_moved(folder):
    files = get_image_files(folder)
    dls = ImageDataLoaders.from_lists(folder, files, [file.parent.name for file in files], **OPTIONS, seed=1)
    cleaner = ImageClassifierCleaner(colour_learner(dls))
    cleaner.choose(0, "red")
    with pytest.raises(ConfigError, match="does not come from the name of its folder"):
        cleaner.apply()
    cleaner.choose(0, "<Delete>")
    assert cleaner.apply().trash.parent == folder / ".trash"


def test_any_function_that_reads_the_folder_will_do(folder):
    block = DataBlock(
        (ImageBlock, CategoryBlock), get_items=get_image_files, get_y=lambda path: path.parent.name, item_tfms=None
    )
    dls = block.dataloaders(folder / "train", num_workers=0, device="cpu", bs=2)
    cleaner = ImageClassifierCleaner(colour_learner(dls))
    cleaner.look("red", "train")
    cleaner.choose(0, "blue")
    done = cleaner.apply()
    assert done.relabelled[0][1].parent == folder / "train/blue"
    assert done.trash.parent == folder / "train/.trash"  # these DataLoaders know no folder: what holds all files


def test_relative_files_stay_right_when_the_folder_changes(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    dls = ImageDataLoaders.from_folder(folder.name, **OPTIONS)
    cleaner = ImageClassifierCleaner(colour_learner(dls))
    cleaner.choose(0, "<Delete>")
    cleaner.choose(1, "red")
    done = cleaner.apply()
    assert done.trash.parent == folder / ".trash" and len(tree(folder)) == 26
    monkeypatch.chdir("/")
    cleaner.undo()
    assert len(tree(folder)) == 27


def test_the_packages_own_pictures_stay(tmp_path):
    path = untar_data(URLs.DIGITS)
    dls = ImageDataLoaders.from_folder(path, **OPTIONS)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    cleaner = ImageClassifierCleaner(Learner(dls, network, default_cbs=False), max_n=2)
    cleaner.choose(0, "<Delete>")
    with pytest.raises(ConfigError, match=r"fastlearn's own pictures.*untar_data\(URLs\.DIGITS, data='data'\)"):
        cleaner.apply()
    assert not (path / ".trash").exists()


def test_a_folder_that_may_not_be_written(folder, cleaner, monkeypatch):
    cleaner.choose(0, "<Delete>")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match="you may not write to that folder. Nothing was moved"):
        cleaner.apply()
    assert not (folder / ".trash").exists()


def test_another_trash_folder(folder, cleaner, tmp_path_factory):
    trash = tmp_path_factory.mktemp("bin")
    before = tree(folder)
    cleaner.choose(0, "<Delete>")
    assert cleaner.apply(trash=trash).trash.parent == trash and not (folder / ".trash").exists()
    ImageClassifierCleaner.undo_last(trash)
    assert tree(folder) == before


def test_wrong_questions(learn, cleaner):
    with pytest.raises(ConfigError, match="no class 'rad'. Did you mean 'red'"):
        cleaner.show("rad")
    with pytest.raises(ConfigError, match="no split 'validd'. Did you mean 'valid'"):
        cleaner.show("red", "validd")
    with pytest.raises(ConfigError, match=r"'blu' is neither .* Did you mean 'blue'.*opts=\['blu'\]"):
        cleaner.choose(0, "blu")
    with pytest.raises(ConfigError, match="position from 0 to 3 or a file, not 4"):
        cleaner.choose(4, "<Delete>")
    with pytest.raises(ConfigError, match="is not among the 4 pictures shown"):
        cleaner.choose("missing.png", "<Delete>")
    with pytest.raises(ConfigError, match="max_n=0"):
        ImageClassifierCleaner(learn, max_n=0)
    with pytest.raises(ConfigError, match="'<Delete>'"):
        ImageClassifierCleaner(learn, opts=["<Delete>"])
    with pytest.raises(ConfigError, match="made from a learner"):
        ImageClassifierCleaner(learn.dls)


def test_what_is_no_classifier(folder):
    files = get_image_files(folder)
    dls = ImageDataLoaders.from_lists(folder, files, [float(i) for i in range(len(files))], **OPTIONS)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    with pytest.raises(ConfigError, match="one class each"):
        ImageClassifierCleaner(Learner(dls, network, default_cbs=False))


def test_without_a_notebook_it_is_text(cleaner, capsys):
    cleaner._ipython_display_()
    assert capsys.readouterr().out == "ImageClassifierCleaner(3 classes, 0 to delete, 0 to relabel)\n"


def test_a_missing_widget_library_is_named(cleaner, monkeypatch):
    monkeypatch.setattr("fastlearn.vision.cleaner.in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    for name in ("fastlearn.vision.cleaner_widget", "fastlearn.live.placed_widget"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingExtraError, match="pip install anywidget ipywidgets"):
        cleaner._ipython_display_()


def test_files_are_paths(cleaner):
    assert all(isinstance(file, pathlib.Path) for file in cleaner.fns)
