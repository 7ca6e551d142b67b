from __future__ import annotations

from types import SimpleNamespace

import pytest

from fastlearn.errors import ConfigError
from fastlearn.training.callback import EVENTS, Callback, Events, FunctionCallback, as_callbacks


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
