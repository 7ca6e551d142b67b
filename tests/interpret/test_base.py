"""Losses in order, samples by position, and sets of one's own."""

import pytest
import torch
from torch import nn

from fastlearn.data.dataset import ItemDataset
from fastlearn.errors import ConfigError, DataError, UnknownNameError
from fastlearn.interpret.base import Interpretation


def test_top_losses_are_the_cross_entropies_in_order(learn):
    interp = Interpretation.from_learner(learn)
    x, y = (torch.cat(parts) for parts in zip(*learn.dls.valid, strict=True))
    expected = nn.functional.cross_entropy(learn.model.eval()(x), y, reduction="none").detach()
    losses, positions, items = interp.top_losses(4, items=True)
    torch.testing.assert_close(losses, expected.sort(descending=True)[0][:4])
    torch.testing.assert_close(expected[positions], losses)
    assert list(items) == [learn.dls.valid.items[int(i)] for i in positions]
    lowest, _ = interp.top_losses(2, largest=False)
    torch.testing.assert_close(lowest, expected.sort()[0][:2])
    assert len(interp.top_losses()[0]) == 15 and len(interp.top_losses(100)[0]) == 15


def test_only_the_pictures_that_are_drawn_are_read_again(learn, monkeypatch):
    interp = Interpretation.from_learner(learn)
    opened = []
    pixels = ItemDataset._pixels
    monkeypatch.setattr(ItemDataset, "_pixels", lambda ds, i, part: opened.append(ds.items[i]) or pixels(ds, i, part))
    axes = interp.plot_top_losses(3)
    _, _, items = interp.top_losses(3, items=True)
    assert sorted(opened) == sorted(items) and len(axes) == 3


def test_samples_by_position(learn):
    interp = Interpretation.from_learner(learn)
    assert len(interp.show_results([0, -1, 3])) == 3
    with pytest.raises(ConfigError, match=r"positions from 0 to 14, found \[15\]"):
        interp.show_results([15])


def test_new_items_with_and_without_labels(learn):
    files = learn.dls.valid.items
    interp = Interpretation.from_learner(learn, dl=learn.dls.test_dl(files, with_labels=True))
    assert len(interp) == 15
    with pytest.raises(DataError, match="with_labels=True"):
        Interpretation.from_learner(learn, dl=learn.dls.test_dl(files))


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_a_number_of_samples_that_cannot_be(learn, k):
    with pytest.raises(ConfigError, match="from 1"):
        Interpretation.from_learner(learn).top_losses(k)


def test_a_misspelt_name_gets_the_nearest(learn):
    with pytest.raises(
        UnknownNameError, match="An Interpretation has no 'plot_top_loses'. Did you mean 'plot_top_losses'"
    ):
        _ = Interpretation.from_learner(learn).plot_top_loses
    assert not hasattr(Interpretation.from_learner(learn), "_repr_html_")
