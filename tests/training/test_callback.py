from __future__ import annotations

import copy
import pickle
import re
from dataclasses import fields
from types import SimpleNamespace

import pytest

from fastlearn.errors import ConfigError, UnknownNameError
from fastlearn.training.callback import _FASTAI_ATTRIBUTES, EVENTS, Callback, Events, FunctionCallback, as_callbacks
from fastlearn.training.state import FitPlan, TrainState


def test_only_overridden_events_are_bound_in_order_of_order():
    calls = []

    class Late(Callback):
        order = 5

        def before_fit(self, state):
            calls.append("late")

    class Early(Callback):
        def before_fit(self, state):
            calls.append("early")

    events = Events([Late(), Early()])
    assert [len(getattr(events, name)) for name in EVENTS] == [2] + [0] * (len(EVENTS) - 1)
    for method in events.before_fit:
        method(None)
    assert calls == ["early", "late"]


def test_a_misspelt_event_fails_when_the_class_is_defined():
    with pytest.raises(ConfigError, match=r"Typo\.after_epock is no event.*Did you mean 'after_epoch'"):

        class Typo(Callback):
            def after_epock(self, state):
                """Never called."""


def test_a_callback_written_for_fastai_is_shown_our_form():
    with pytest.raises(ConfigError, match=r"def after_batch\(self, state\).*state\.loss"):

        class Old(Callback):
            def after_batch(self):
                print(self.loss)

    with pytest.raises(
        ConfigError, match=r"Older\.before_train is an event of fast\.ai\. Here write: before_epoch\(self, state\)"
    ):

        class Older(Callback):
            def before_train(self):
                """Never called."""


def test_helpers_and_properties_are_left_alone():
    class Fine(Callback):
        def _after_thought(self):
            return 1

        def report(self):
            return 2

        @property
        def after_all(self):
            return 3

    assert (Fine()._after_thought(), Fine().report(), Fine().after_all) == (1, 2, 3)


def test_a_function_is_called_at_every_third_event():
    seen = []
    callback = FunctionCallback("after_epoch", lambda state: seen.append(state.epoch), every=3)
    (method,) = Events([callback]).after_epoch
    for epoch in range(1, 8):
        method(SimpleNamespace(epoch=epoch))
    assert seen == [3, 6]
    other = FunctionCallback("after_epoch", print, every=3)
    other.load_state_dict(callback.state_dict())
    assert other.count == 7


@pytest.mark.parametrize(
    ("event", "every", "said"), [("after_epok", 1, "Did you mean 'after_epoch'"), ("after_fit", 0, "never comes")]
)
def test_a_function_needs_an_event_that_comes(event, every, said):
    with pytest.raises(ConfigError, match=said):
        FunctionCallback(event, print, every)


def test_callbacks_come_in_many_shapes():
    class One(Callback):
        """Nothing."""

    one = One()
    assert as_callbacks(None) == []
    assert as_callbacks([one, [one]]) == [one, one]
    assert isinstance(as_callbacks(One)[0], One)
    with pytest.raises(ConfigError, match="cbs takes callbacks, not 3"):
        as_callbacks(3)


@pytest.mark.parametrize(
    ("event", "ours"), [("begin_fit", "before_fit"), ("begin_epoch", "before_epoch"), ("begin_batch", "before_batch")]
)
def test_the_first_names_of_fastai_s_events(event, ours):
    with pytest.raises(ConfigError, match=rf"Old\.{event} is an event of fast\.ai\. Here write: {ours}\(self, state\)"):
        type("Old", (Callback,), {event: lambda self: None})


def test_any_other_beginning_is_no_event():
    with pytest.raises(ConfigError, match=r"Old\.begin_all is no event"):
        type("Old", (Callback,), {"begin_all": lambda self: None})


def test_an_event_takes_the_state_and_no_more():
    with pytest.raises(ConfigError, match=r"More\.after_fit\(self, s, x\) would be called with the state alone"):

        class More(Callback):
            def after_fit(self, s, x):
                """Never called."""

    class Fine(Callback):
        def after_fit(self, s, x=1, *rest, **options):
            """Called with the state."""

        def before_fit(self, *args):
            """Called too."""

    assert len(Events([Fine()]).after_fit) == 1


@pytest.mark.parametrize(
    ("name", "ours"),
    [("learn", "state.model"), ("xb", "state.inputs"), ("yb", "state.targets"), ("loss", "state.loss")],
)
def test_what_fastai_reads_of_a_callback_is_in_the_state(name, ours):
    callback = Callback()
    with pytest.raises(UnknownNameError, match=rf"no '{name}'.*Here write: {ours}"):
        getattr(callback, name)
    assert not hasattr(callback, name) and not hasattr(callback, "_repr_html_")
    setattr(callback, name, 3)
    assert getattr(pickle.loads(pickle.dumps(copy.deepcopy(callback))), name) == 3


def test_a_misspelt_attribute_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="A Callback has no 'ordr'. Did you mean 'order'"):
        _ = Callback().ordr


def test_what_is_said_to_be_in_the_state_is_there():
    there = {field.name for field in fields(TrainState)} | set(vars(TrainState))
    plan = {field.name for field in fields(FitPlan)} | set(vars(FitPlan))
    for text in _FASTAI_ATTRIBUTES.values():
        assert set(re.findall(r"state\.(\w+)", text)) <= there
        assert set(re.findall(r"state\.plan\.(\w+)", text)) <= plan
