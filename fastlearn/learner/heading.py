"""How the head alone is trained: on the frozen body's features, which are computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastlearn.data.progress import progress_line
from fastlearn.errors import CheckpointError, ConfigError
from fastlearn.learner.resuming import Resume, resumable
from fastlearn.learner.running import Running, check_epochs
from fastlearn.options import checked_whole, named_options
from fastlearn.runtime.interrupt import DeferredInterrupt
from fastlearn.runtime.pieces import is_body_and_head
from fastlearn.runtime.say import say
from fastlearn.training import schedule as schedules
from fastlearn.training.callback import Callback, as_callbacks
from fastlearn.training.features import (
    FeatureLoader,
    HeadTraining,
    NotKept,
    check_callbacks,
    check_loaders,
    keep_features,
    parts_of,
)
from fastlearn.training.hypers import check_lr
from fastlearn.training.loop import default_step
from fastlearn.training.optimizer import check_wd

# By benchmarks/fit_head.py: around them the usual head was as good within the noise. A linear one gained a point or two
# at 4e-3, which is no reason for a second rate beside that of fine_tune.
HEAD_LR = 2e-3
HEAD_STEPS = 100
_LEAST_PASSES, _MOST_PASSES = 3, 50  # for a set of more batches than that, where a pass is cheap; and of one or two


class Heading(Running):
    """The methods of a `Learner` that train its head."""

    @resumable
    @named_options
    def fit_head(
        self,
        epochs: int | None = None,
        lr: float | None = None,
        *,
        views: int = 1,
        wd: float | None = None,
        moms: tuple[float, float, float] | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        resume: Resume = False,
    ) -> None:
        """Train the head on the frozen body's features, computed once: seconds, where each epoch took as long before.

        The body is frozen, and stays so. Each picture goes through it once, as in validation (body in evaluation mode,
        without dropout, no random changes); with `views` above 1 also `views - 1` times changed as in training, and
        each epoch draws one of the views for each picture. `epochs` are passes over the features: left out, about 100
        batches, from 3 passes to 50. The rate follows one cycle up to `lr` (2e-3, or what was picked on the curve of
        `lr_find`). Callbacks, metrics and the view of the training are those of any fit, but `state.inputs` holds
        features; a callback whose `needs_inputs` is True, and one that changes the batch (MixUp), gets pictures.

        Then, and wherever else the body's features are not the same in each epoch (`bn="train"`, a `learn.step` of your
        own, hooks on the body, loaders of your own) or do not fit a quarter of the free memory, it says so and trains
        the head through the whole network, one epoch if `epochs` is left out.

        Raises as `fit` does; ConfigError for a learner whose splitter makes no head.

        >>> learn.fit_head()
        >>> learn.fit_head(20, lr=3e-3, views=4)
        """
        if epochs is not None:
            epochs = check_epochs(epochs)
        lr = (self.picked_lr or HEAD_LR) if lr is None else lr
        if isinstance(lr, (slice, Sequence)):
            raise ConfigError(f"fit_head takes one learning rate, for the head, found lr={lr!r}.")
        check_lr(lr)
        check_wd(wd)
        schedules.one_cycle(self._lrs(lr), moms=moms or self.moms)
        if checked_whole(views, "views", "1 or 4") < 1:
            raise ConfigError(f"views={views} of each picture: at least 1 is needed.")
        if len(self.groups) < 2:
            raise ConfigError(
                "fit_head trains the last group of layers, and here is one group only. Pass a splitter to the Learner, "
                "which gives [parameters of the body, parameters of the head], or train all: learn.fit_one_cycle(3)."
            )
        cbs = as_callbacks(cbs)
        rest: dict[str, Any] = {"wd": wd, "moms": moms, "cbs": cbs, "reset_opt": reset_opt}
        self.freeze()
        head = self._head_as_before(cbs, int(views))
        if epochs is None:
            epochs = 1 if head is None else default_passes(head.train)
        self._fit_kept(head, epochs, lr, **rest)

    def _head_as_before(self, cbs: Sequence[Callback], views: int = 1, wanted: bool = True) -> HeadTraining | None:
        """The kept features if they are `wanted`, and of a training that goes on, exactly if it had them.

        The run's note `head` says whether it has. Raises CheckpointError where they can no longer be kept.
        """
        assert self._run is not None
        before = self._run.notes.get("head")
        head = self._kept_head(cbs, views) if wanted and before is not False else None
        if before and head is None:
            raise CheckpointError(
                "The head of the training that would go on here was trained on kept features, which now cannot be: "
                f"{self._why_not_kept or 'they are not wanted'}."
            )
        self._run.notes["head"] = head is not None
        return head

    def _fit_kept(
        self, head: HeadTraining | None, epochs: int, lr: float, wd: Any, moms: Any, cbs: Any, reset_opt: bool
    ) -> None:
        """One cycle on kept features; without them, through the whole network."""
        cycle = schedules.one_cycle(self._lrs(lr), moms=moms or self.moms)
        self._fit("fit_head", epochs, cycle, wd, cbs, reset_opt, head=head)

    def _has_body(self) -> bool:
        """Whether the model promises at all that its head can be trained alone."""
        return len(self.groups) > 1 and is_body_and_head(self.model)

    def _kept_head(self, cbs: Sequence[Callback], views: int = 1) -> HeadTraining | None:
        """The features of the frozen body, and how a head is trained on them; None, and a sentence, where they vary."""
        self._check_before_training()
        try:
            return self._keep_features(cbs, views)
        except NotKept as reason:
            self._why_not_kept = str(reason)
            if self._bar:
                say(f"The head is trained through the whole network: {reason}.")
            return None

    def _keep_features(self, cbs: Sequence[Callback], views: int) -> HeadTraining:
        if self.step is not default_step:
            raise NotKept("learn.step is your own")
        check_callbacks([*self.cbs, *cbs])
        train, valid = self.dls.train, self._valid_loader()
        check_loaders(train, valid)
        parts = parts_of(self.model, self._plan(0, None).eval_modules)
        n_pictures = views * train.n + (0 if valid is None else valid.n)
        line = progress_line(n_pictures, "Features of the frozen body", " pictures", show=self._bar)
        with DeferredInterrupt() as interrupt, line:

            def progress(n: int) -> None:
                line.update(n)
                interrupt.check()

            return keep_features(
                parts,
                train,
                valid,
                seed=self.seed,
                n_views=views,
                precision=self.precision,
                channels_last=self.channels_last,
                in_pieces=self.in_pieces,
                progress=progress,
            )


def default_passes(train: FeatureLoader) -> int:
    """How many passes over the features make about `HEAD_STEPS` batches."""
    passes = math.ceil(HEAD_STEPS * train.n_passes / len(train))
    return min(_MOST_PASSES, max(_LEAST_PASSES, passes))
