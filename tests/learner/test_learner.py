"""The face of the Learner: real methods, each described, all within reach of the Tab key."""

from __future__ import annotations

import inspect

from fastlearn.learner import Learner

PROMISED = """
fit fit_one_cycle fit_flat_cos fit_sgdr fine_tune lr_find validate get_preds predict tta show_results summary dry_run
freeze unfreeze freeze_to save load to_fp16 to_bf16 to_fp32 to_channelslast compile on add_cb remove_cb no_bar
"""


def test_every_promised_method_is_one_of_the_class() -> None:
    found = dict(inspect.getmembers(Learner, inspect.isfunction))
    assert [name for name in PROMISED.split() if name not in found] == []


def test_public_methods_say_what_they_give_and_take_no_unnamed_options() -> None:
    for name, method in inspect.getmembers(Learner, inspect.isfunction):
        if name.startswith("_"):
            continue
        assert (method.__doc__ or "").strip(), name
        kinds = [parameter.kind for parameter in inspect.signature(method).parameters.values()]
        assert inspect.Parameter.VAR_KEYWORD not in kinds, name
