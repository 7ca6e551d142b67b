"""What a model said of every picture: in the split's order, and by loss."""

import numpy as np
import pytest
from colour_folders import FAST, colour_learner, make

from fastlearn.paths import Path
from fastlearn.vision.augment import aug_transforms
from fastlearn.vision.cleaner_losses import Judged, SplitLosses, Watched
from fastlearn.vision.data import ImageDataLoaders


def losses_of(losses, codes):
    n = len(losses)
    return SplitLosses(np.array(losses), np.array(codes), np.zeros(n, int), np.full(n, 0.5))


def test_the_highest_loss_comes_first_of_the_class_alone():
    assert losses_of([1.0, 9.0, 3.0, 2.0], [0, 1, 0, 0]).highest(0) == [2, 3, 0]
    assert losses_of([1.0], [0]).highest(1) == []


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_loss_that_is_no_number_comes_first_and_equal_ones_stay_in_order(odd):
    assert losses_of([1.0, 1.0, odd, 1.0], [0, 0, 0, 0]).highest(0) == [2, 0, 1, 3]


@pytest.fixture
def learn(tmp_path):
    make(tmp_path / "train", 5)
    make(tmp_path / "valid", 2)
    return colour_learner(ImageDataLoaders.from_folder(tmp_path, **FAST, batch_tfms=aug_transforms()))


@pytest.mark.parametrize("k", [0, 1])
def test_each_picture_is_judged_once_in_order_as_the_model_sees_it_plain(learn, k):
    seen = []
    found = SplitLosses.of(learn, k, lambda done, total: seen.append((done, total)))
    files, vocab = list(learn.dls[k].items), list(learn.dls.vocab)
    assert len(found.losses) == len(files) == (15, 6)[k]
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)] and len(seen) > 1
    for index, file in enumerate(files):
        one = found.judged(index, ("train", "valid")[k], learn.dls[k].dataset, vocab)
        label, code, probabilities = learn.predict(file)
        assert isinstance(one, Judged) and (one.index, one.file) == (index, Path(file))
        assert (one.label, one.predicted) == (file.parent.name, label)
        assert one.probability == pytest.approx(float(probabilities[code]), abs=1e-6)
        assert one.loss == pytest.approx(-np.log(float(probabilities[vocab.index(one.label)])), abs=1e-5)


def test_a_watched_loader_is_the_loader_and_tells_after_each_batch():
    class Loader:
        n_inp, bs, device = 1, 2, "cpu"

        def __len__(self):
            return 4

        def batches(self, key, start=0):
            yield from range(start, 4)

    told = []
    watched = Watched(Loader(), lambda done, total: told.append((done, total)))
    assert (watched.n_inp, watched.bs, watched.device, len(watched)) == (1, 2, "cpu", 4)
    batches = watched.batches("key", start=1)
    assert next(batches) == 1 and told == []  # the batch is done when the next one is asked for
    assert list(batches) == [2, 3] and told == [(2, 4), (3, 4), (4, 4)]
