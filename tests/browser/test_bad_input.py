"""What a dashboard makes of haste and mishap: two tabs, a closed one, a kernel that goes, rates that are none."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
from notebook_page import Notebook
from slow_training import Open, button, dash, pages_with_a_learner, press

pytestmark = pytest.mark.soak

CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
STEERED = "print('steered:', *(one.what for one in learn.recorder.interventions), 'and no more')"


@pytest.fixture
def lab_page(notebook: Open) -> Iterator[Open]:
    # JupyterLab's own word for a message of a kernel that is no more
    yield from pages_with_a_learner(notebook, "Comm not found")


def another_tab(page: Notebook) -> Notebook:
    """The notebook as it was saved, in a second tab of the same browser, while the kernel is busy."""
    tab = copy.copy(page)
    tab.page = page.page.context.new_page()
    tab._listen()
    # A workspace of its own, as JupyterLab itself takes one where another tab has the first.
    tab.page.goto(f"{page.lab.url}/lab/workspaces/second/tree/{page.path.name}?token={page.lab.token}&reset")
    dash(tab).locator("canvas").first.wait_for()
    return tab


def test_two_tabs_steer_one_training(lab_page: Open) -> None:
    page = lab_page("learn.fit_one_cycle(200)", STEERED)
    run = page.start_cell(1)
    page.wait_for_text("epoch 1 of 200", cell=1)
    page.save()
    tab = another_tab(page)
    press(tab, "Pause")
    page.wait_for_text("Paused", cell=1)
    press(page, "Resume")
    tab.wait_for_text("Training", cell=1)
    stop = button(page, "Stop").element_handle()
    press(tab, "Stop")
    stop.dispatch_event("click")  # the training may have ended, and this card's buttons be gone, by now
    assert page.wait_run(run)
    assert page.run_cell(2)
    page.wait_for_text("steered: pause resume stop and no more", cell=2)
    page.output(1).locator("img").wait_for()


def test_a_tab_that_was_closed_comes_back(lab_page: Open) -> None:
    page = lab_page("learn.fit_one_cycle(500)", STEERED)
    page.start_cell(1)
    page.wait_for_text("epoch 1 of 500", cell=1)
    press(page, "Pause")
    page.wait_for_text("Paused", cell=1)
    page.save()
    tab = another_tab(page)
    page.page.close()
    tab.wait_for_text("Paused", cell=1)
    press(tab, "Resume")
    press(tab, "Stop")
    tab.wait_idle()
    assert tab.run_cell(2)
    tab.wait_for_text("steered: pause resume stop and no more", cell=2)


def test_rates_that_are_none_get_a_sentence_each(lab_page: Open) -> None:
    page = lab_page("learn.fit_one_cycle(200)", STEERED)
    run = page.start_cell(1)
    page.wait_for_text("epoch 1 of 200", cell=1)
    typed = dash(page).get_by_role("textbox")
    for text in ("0", "-1", "nan", "abc", "1e400"):
        typed.fill(text)
        typed.press("Enter")
        page.wait_for_text(f"'{text}' was ignored", cell=1)
    for text in ("1e+300", "1e-300"):
        typed.fill(text)
        typed.press("Enter")
        page.wait_for_text(f"; {text} was ignored", cell=1)
    press(page, "Stop")
    assert page.wait_run(run)
    assert page.run_cell(2)
    page.wait_for_text("steered: stop and no more", cell=2)


def test_two_interrupts_leave_a_picture_and_a_learner(lab_page: Open) -> None:
    page = lab_page("learn.fit_one_cycle(200)", "learn.fit(1); print('a whole' + ' learner')")
    page.start_cell(1)
    page.wait_for_text("epoch 1 of 200", cell=1)
    # Both at once: the second one comes while the training ends.
    page.page.evaluate("() => { const kernel = window.harness.kernel(); kernel.interrupt(); kernel.interrupt(); }")
    page.wait_for_text("KeyboardInterrupt", cell=1)
    page.wait_idle()
    page.output(1).locator("img").wait_for()
    assert dash(page).count() == 0 and "failed" not in page.output(1).inner_text()
    assert page.run_cell(2)
    page.wait_for_text("a whole learner", cell=2)


def test_stop_in_the_frozen_part_ends_the_story(lab_page: Open) -> None:
    page = lab_page("learn.fine_tune(50, freeze_epochs=50)", f"assert len(learn.recorder.epochs) < 50; {STEERED}")
    run = page.start_cell(1)
    page.wait_for_text("frozen part", cell=1)
    press(page, "Stop")
    assert page.wait_run(run)
    page.output(1).locator("img").wait_for()
    assert page.run_cell(2)
    page.wait_for_text("steered: stop and no more", cell=2)


def test_a_restarted_kernel_leaves_the_page_alive_and_the_old_card_says_so(lab_page: Open) -> None:
    page = lab_page("learn.fit_one_cycle(500)", "make(0).fit(1); print('it trains' + ' again')")
    page.start_cell(1)
    page.wait_for_text("epoch 1 of 500", cell=1)
    page.page.evaluate("() => { window.harness.kernel().restart(); }")
    page.wait_for_text("The kernel was restarted", cell=1)
    assert steering_buttons(page) == 0 and dash(page).locator("canvas").first.is_visible()
    page.wait_idle()
    assert page.run_cell(0) and page.run_cell(2)
    page.wait_for_text("it trains again", cell=2)
    page.output(2).locator("img").wait_for()
    page.wait_for_text("The kernel was restarted", cell=1)


@pytest.mark.parametrize("by", ["the page", "the server", "a crash"])
def test_a_kernel_that_went_without_a_word_is_noticed(lab_page: Open, by: str) -> None:
    # In a thread, since a shutdown interrupts the cell first, and the training says farewell.
    page = lab_page("thread = threading.Thread(target=learn.fit, args=(500,)); thread.start()", CRASH)
    assert page.run_cell(1)
    page.wait_for_text("epoch 1 of 500", cell=1)
    assert steering_buttons(page) > 0
    if by == "the page":
        page.page.evaluate("() => { window.harness.panel().sessionContext.shutdown(); }")
    elif by == "the server":
        page.lab.end_kernels()
    else:
        page.start_cell(2)
    page.wait_for_text("The kernel was restarted or shut down", cell=1)
    assert steering_buttons(page) == 0


def steering_buttons(page: Notebook) -> int:
    """How many buttons there are to press in the card's group for steering."""
    return dash(page).get_by_role("group", name="Steer the training").get_by_role("button").count()


def test_a_training_in_a_thread_is_steered_after_its_cell(lab_page: Open) -> None:
    page = lab_page(
        "thread = threading.Thread(target=learn.fit, args=(500,)); thread.start()", f"thread.join(); {STEERED}"
    )
    assert page.run_cell(1)
    page.wait_for_text("epoch 1 of 500", cell=1)
    press(page, "Stop")
    page.output(1).locator("img").wait_for()
    assert page.run_cell(2)
    page.wait_for_text("steered: stop and no more", cell=2)


def test_metrics_of_any_name_and_number(lab_page: Open) -> None:
    many = """
def named(name):
    def metric(outputs, targets): return (outputs.argmax(1) == targets).float().mean()
    metric.__name__ = name
    return metric
learn = make(metrics=[named(name) for name in ["<b>bold</b>", "$x^{$", *(f"metric{k}" for k in range(18))]])
learn.fit(500)"""
    page = lab_page(many)
    run = page.start_cell(1)
    page.wait_for_text("epoch 2 of 500", cell=1)
    page.wait_for_text("<b>bold</b>", cell=1)
    assert dash(page).locator("b").count() == 0
    press(page, "Stop")
    assert page.wait_run(run)
    page.output(1).locator("img").wait_for()
    assert page.output(1).locator("b").count() == 0
    assert page.output(1).get_by_role("columnheader", name="<b>bold</b>").count() == 1


def test_many_short_epochs_leave_a_small_notebook(lab_page: Open) -> None:
    page = lab_page("learn = make(0, n=2)\nlearn.fit(300)")
    assert page.run_cell(1)
    page.output(1).locator("img").wait_for()
    page.wait_idle()
    page.save()
    picture, table = page.saved_outputs(1)
    assert sum(len(str(output)) for output in (picture, table)) < 150_000
    assert table["data"]["text/html"].count("<tr>") == 62


def test_a_connection_that_breaks_and_comes_back_changes_nothing(lab_page: Open) -> None:
    page = lab_page("learn.fit_one_cycle(30)", "print([one.what for one in learn.recorder.interventions])")
    run = page.start_all()
    page.wait_for_text("epoch 1 of 30", cell=1)
    page.page.evaluate("() => window.harness.kernel().reconnect()")
    page.wait_for_text("epoch 3 of 30", cell=1)
    press(page, "Stop")
    assert page.wait_run(run)
    page.wait_for_text("Stopped by hand", cell=1)
    page.wait_for_text("['stop']", cell=2)
