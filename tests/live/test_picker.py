import base64
import copy
import math
import pickle
import threading

import pytest

from fastlearn.errors import ConfigError
from fastlearn.live import picker
from fastlearn.live.picker import LRPicker, check_rate, describe, show_picker, still_bundle, suggested_lrs
from fastlearn.training.lr_find import LRFinderResult
from fastlearn.training.lr_suggest import Suggestion

PNG = b"\x89PNG\r\n\x1a\n"
LRS = [1e-7 * 1e8 ** (k / 100) for k in range(100)]
LOSSES = [2.3 - 1.8 / (1 + math.exp(-2 * (math.log10(lr) + 3))) for lr in LRS]
SUGGESTIONS = {"valley": Suggestion(1.2e-3, 1.2), "steep": Suggestion(2e-3, 1.0)}


def result_of(lrs=LRS, losses=LOSSES, suggestions=SUGGESTIONS, stopped=""):
    return LRFinderResult(list(lrs), list(losses), list(losses), dict(suggestions), 100, stopped)


def make_picker(on_pick=lambda lr: None, **options):
    result = result_of(**options)
    return picker._Picker(result, suggested_lrs(result.suggestions), on_pick)


class Handle:
    """Stands for IPython's handle of a display that can be drawn anew."""

    def __init__(self):
        self.bundles = []

    def update(self, bundle, raw):
        assert raw
        self.bundles.append(bundle)


def test_the_suggestions_are_a_named_tuple_that_also_holds_the_choice():
    found = suggested_lrs(SUGGESTIONS)
    valley, steep = found
    assert (valley, steep) == (found.valley, found.steep) == (1.2e-3, 2e-3) == tuple(found)
    assert isinstance(found, tuple) and isinstance(found, LRPicker) and found[1] == 2e-3
    assert found._asdict() == {"valley": 1.2e-3, "steep": 2e-3} and found._fields == ("valley", "steep")
    assert found.lr == 1.2e-3  # the first of them
    with pytest.raises(AttributeError):
        found.lr = 1.0  # chosen in the picker or given to the learner


def test_its_repr_says_the_suggestions_alone():
    found = suggested_lrs({"valley": Suggestion(0.0012, 1.0)})
    assert repr(found) == "SuggestedLRs(valley=0.0012)"
    found._chosen = 0.5
    assert repr(found) == "SuggestedLRs(valley=0.0012)"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda found: pickle.loads(pickle.dumps(found))])
def test_a_copy_keeps_the_choice(copied):
    found = suggested_lrs(SUGGESTIONS)
    found._chosen = 0.01
    again = copied(found)
    assert again == found and again.lr == 0.01 and again.steep == 2e-3 and repr(again) == repr(found)


def test_names_that_are_no_field_names():
    found = suggested_lrs({"<lambda>": Suggestion(1e-3, 1.0), "lr": Suggestion(1e-2, 1.0)})
    assert found._fields == ("_0", "lr") and tuple(found) == (1e-3, 1e-2)
    assert found.lr == 1e-3  # always the chosen one


def test_without_suggestions_nothing_is_chosen():
    found = suggested_lrs({})
    assert found.lr is None and tuple(found) == () and repr(found) == "SuggestedLRs()"


def send(chosen, value):
    """What the widget does when the page's message comes in."""
    chosen.widget._handle_custom_msg({"do": "pick", "value": value}, [])


def test_a_pick_is_stored_and_handed_on():
    picks = []
    chosen = make_picker(picks.append)
    chosen.still = Handle()
    assert picks == [] and chosen.widget.held is None  # showing the picker changes nothing
    send(chosen, 3e-4)
    assert picks == [3e-4] and chosen.suggested.lr == chosen.widget.held == chosen.widget.value == 3e-4
    assert tuple(chosen.suggested) == (1.2e-3, 2e-3)
    (bundle,) = chosen.still.bundles
    assert bundle["text/plain"].startswith("Learning rate 3.00e-04 chosen;")


def test_the_rate_that_is_marked_already_can_be_picked():
    picks = []
    chosen = make_picker(picks.append)
    chosen.still = Handle()
    send(chosen, 1.2e-3)
    send(chosen, 1.2e-3)  # the learner's rate may have been set by hand in between
    assert picks == [1.2e-3, 1.2e-3] and chosen.widget.held == 1.2e-3
    (bundle,) = chosen.still.bundles  # once: the picture says then that the suggestion was chosen
    assert bundle["text/plain"].startswith("Learning rate 1.20e-03 chosen;")


def test_a_suggestion_is_not_called_chosen_before_it_is():
    chosen = make_picker()
    before = chosen.still_bundle()
    assert before["text/plain"].startswith("No learning rate chosen; suggested: valley 1.20e-03")
    send(chosen, 1.2e-3)
    assert chosen.still_bundle()["image/png"] != before["image/png"]  # a line with a name, at the suggestion


def test_a_page_that_was_reloaded_is_sent_the_still(monkeypatch):
    chosen, sent = make_picker(), []
    chosen.still = Handle()
    monkeypatch.setattr(chosen.widget, "send", sent.append)
    send(chosen, 1e-3)
    assert sent == []
    chosen.widget.reloaded = True
    send(chosen, 2e-3)
    (message,) = sent
    assert message["data"]["text/plain"].startswith("Learning rate 2.00e-03 chosen;")
    assert base64.b64decode(message["data"]["image/png"]).startswith(PNG)


def test_a_pick_on_another_thread():
    picks = []
    chosen = make_picker(lambda lr: picks.append((lr, threading.current_thread())))
    chosen.still = Handle()
    thread = threading.Thread(target=send, args=(chosen, 0.02))
    thread.start()
    thread.join()
    assert picks == [(0.02, thread)] and chosen.suggested.lr == 0.02 and len(chosen.still.bundles) == 1


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "abc", None, [1]])
def test_a_rate_that_is_none_changes_nothing(value):
    picks = []
    chosen = make_picker(picks.append)
    send(chosen, value)
    assert picks == [] and chosen.suggested.lr == chosen.widget.value == 1.2e-3 and chosen.widget.held is None
    assert "such as 3e-4" in chosen.widget.message and repr(value) in chosen.widget.message
    send(chosen, 0.1)
    assert picks == [0.1] and chosen.widget.message == ""


@pytest.mark.parametrize("content", [None, "pick", {}, {"do": "hello"}])
def test_other_messages_are_not_for_the_picker(content):
    picks = []
    chosen = make_picker(picks.append)
    chosen.widget._handle_custom_msg(content, [])
    assert picks == [] and chosen.widget.message == ""


def test_an_error_of_the_learner_is_said_in_the_page():
    def refuse(lr):
        raise ValueError("This learner keeps its rate.")

    chosen = make_picker(refuse)
    send(chosen, 0.1)
    assert chosen.widget.message == "This learner keeps its rate."
    assert chosen.suggested.lr == chosen.widget.value == 1.2e-3 and chosen.widget.held is None


@pytest.mark.parametrize("value", ["abc", "", None, "0", -3, [1], "nan"])
def test_check_rate_refuses(value):
    with pytest.raises(ConfigError, match="a number above 0, such as 3e-4"):
        check_rate(value)


def test_check_rate_reads_text_too():
    assert check_rate("3e-4") == 3e-4 and check_rate(1) == 1.0


def test_what_the_text_says():
    assert describe(result_of(), 1e-3) == "Learning rate 1.00e-03 chosen; suggested: valley 1.20e-03, steep 2.00e-03."
    assert describe(result_of(suggestions={}), None) == "No learning rate chosen; none suggested."


def test_the_still_picture_is_small_and_marks_the_choice():
    before, after = still_bundle(result_of(), 1.2e-3), still_bundle(result_of(), 0.5)
    assert set(before) == {"image/png", "text/plain"}
    assert before["image/png"].startswith(PNG) and 5_000 < len(before["image/png"]) <= 60_000
    assert before["image/png"] != after["image/png"] and "5.00e-01" in after["text/plain"]


def test_a_still_picture_leaves_no_figure_behind():
    import matplotlib.pyplot as plt

    open_before = plt.get_fignums()
    still_bundle(result_of(), 1e-3)
    assert plt.get_fignums() == open_before


@pytest.mark.parametrize(
    ("lrs", "losses"),
    [
        ([], []),
        ([1e-3], [1.0]),
        ([1e-3, 2e-3], [1.0, 0.9]),
        ([1e-3, 2e-3], [math.nan, math.nan]),
        (LRS, [*LOSSES[:60], *[math.nan] * 40]),
        (LRS, [*LOSSES[:90], *[1e30] * 9, math.inf]),
        (LRS, [1.0] * 100),
    ],
)
@pytest.mark.parametrize("stopped", ["", "the loss had diverged"])
def test_curves_of_all_kinds(lrs, losses, stopped):
    chosen = make_picker(lrs=lrs, losses=losses, suggestions={}, stopped=stopped)
    widget = chosen.widget
    assert len(widget.lrs) == len(widget.losses) == sum(map(math.isfinite, losses))
    low, high = widget.y_range
    assert math.isfinite(low) and low < high and widget.value is None
    assert chosen.still_bundle()["image/png"].startswith(PNG)
    send(chosen, 0.1)
    assert chosen.suggested.lr == 0.1 and chosen.still_bundle()["image/png"].startswith(PNG)


def test_a_long_curve_is_thinned():
    n = 5000
    lrs = [1e-7 * 1e8 ** (k / n) for k in range(n)]
    widget = make_picker(lrs=lrs, losses=[2.0 - k / n for k in range(n)]).widget
    assert 100 <= len(widget.lrs) <= 200 and widget.lrs[0] == lrs[0]


def test_the_page_gets_marks_that_json_can_say():
    widget = make_picker(suggestions={"mine": Suggestion(1e-3, math.nan), "valley": Suggestion(1e-2, 0.5)}).widget
    assert widget.suggestions == [
        {"name": "mine", "lr": 1e-3, "loss": None},
        {"name": "valley", "lr": 1e-2, "loss": 0.5},
    ]
    assert widget.value == 1e-3


def test_where_the_picker_is_drawn_the_saved_notebook_says_what_was_suggested():
    assert make_picker().live_bundle()["text/plain"] == "Suggested learning rates: valley 1.20e-03, steep 2.00e-03."
    assert make_picker(suggestions={}).live_bundle()["text/plain"] == "No rate was suggested."


def shown_in_a_notebook(monkeypatch):
    """What `show_picker` displays: (bundle, options) in order."""
    import IPython
    import IPython.display

    shell = type("Shell", (), {"kernel": object(), "user_ns": {}})()
    shown = []

    def display(bundle, raw, **options):
        shown.append((bundle, options))
        return Handle()

    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", display)
    show_picker(result_of(), suggested_lrs(SUGGESTIONS), lambda lr: None)
    return shown


def test_a_notebook_never_saves_a_widget(monkeypatch):
    (live, options), (still, still_options) = shown_in_a_notebook(monkeypatch)
    assert set(live) == {"text/html", "text/plain"} and options == {}
    assert set(still) == {"image/png", "text/plain"} and still_options == {"display_id": True}


def test_outside_a_notebook_nothing_is_shown(capsys):
    found = suggested_lrs(SUGGESTIONS)
    show_picker(result_of(), found, lambda lr: pytest.fail("nobody picked"))
    assert capsys.readouterr() == ("", "") and found.lr == 1.2e-3
