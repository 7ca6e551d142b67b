"""The Learner: data, model, loss and optimizer behind the handful of calls that a notebook needs."""

from __future__ import annotations

from fastlearn.learner.asking import Asking
from fastlearn.learner.fitting import Fitting
from fastlearn.learner.keeping import Keeping


class Learner(Fitting, Asking, Keeping):
    """A model, its data and how it learns, ready to be trained, looked at, saved and asked.

    `splitter(model)` returns the groups of parameters, stem first, for freezing and for a learning rate by slice.
    `loss_func` and the decoding of predictions come from the data's task when left out. `bn="eval"` lets the batch-norm
    layers of every group but the last keep their statistics, which is what transfer learning on small sets wants;
    `bn="train"` trains them, as fast.ai does, in frozen groups too unless `train_bn=False`. With no `seed`, one is
    drawn from torch's generator (so `set_seed` before it decides) and shown by `summary()`.

    >>> learn = Learner(dls, model, loss_func=F.cross_entropy, metrics=accuracy)
    >>> learn.fit_one_cycle(3, 1e-3)
    >>> learn.predict("cat.jpg")
    """
