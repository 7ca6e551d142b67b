"""The `Learner` of notebooks: the core's, with its training and its learning-rate search on the page."""

from __future__ import annotations

from typing import Any

from fastlearn import learner as core
from fastlearn.live.dashboard import Dashboard
from fastlearn.live.picker import show_picker, suggested_lrs
from fastlearn.training.callback import Callback
from fastlearn.training.lr_find import LRFinderResult


class Learner(core.Learner):
    __doc__ = core.Learner.__doc__

    def _progress(self) -> Callback:
        return Dashboard()

    def _show_search(self, result: LRFinderResult, show_plot: bool) -> Any:
        suggested = suggested_lrs(result.suggestions)
        if show_plot:
            bars = [callback for callback in self.cbs if isinstance(callback, Dashboard)]
            show_picker(result, suggested, self._pick, bars[-1].take_search_output(result) if bars else None)
        return suggested

    def _pick(self, lr: float) -> None:
        self.lr = self.picked_lr = lr
