"""A click on a widget reaches Python while a cell trains, also after the page was reloaded."""

from __future__ import annotations

from collections.abc import Callable

import ipykernel
import pytest
from ipykernel.comm.comm import BaseComm
from notebook_page import Notebook

pytestmark = pytest.mark.soak

# The first kernels with subshells handle JupyterLab's clicks in one, and say themselves that they are idle after each.
CLICKS_TAKE_A_SUBSHELL = ipykernel.version_info[0] >= 7 and not hasattr(BaseComm, "_reply_subshell_for")

BUTTONS = """
import ipywidgets, time
from fastlearn.live.shell import ShellPoll
clicks = []
slider = ipywidgets.IntSlider(description="rate")
boxes = [ipywidgets.Button(description=name) for name in ("Count", "Stop")]
for box in boxes:
    box.on_click(lambda box: clicks.append(box.description))
slider.observe(lambda change: clicks.append(change.new), "value")
display(*boxes, slider)
"""
TRAIN = """
poll = ShellPoll()
assert poll.why_not is None
print("training")
seen, until = 0, time.monotonic() + 300
while "Stop" not in clicks and time.monotonic() < until:
    poll.poll()
    if len(clicks) > seen:
        seen = len(clicks)
        print(f"click {seen}: {clicks[-1]}")
    time.sleep(.01)
poll.release()
print("ended", slider.value)
"""
WATCH_STATUS = """
() => {
  window.statuses = [];
  window.harness.kernel().statusChanged.connect((kernel, status) => window.statuses.push(status));
}
"""


def test_clicks_arrive_while_a_cell_trains(notebook: Callable[..., Notebook]) -> None:
    page = notebook(BUTTONS, TRAIN, "print('be' + 'hind')")
    assert page.run_cell(0)
    page.output(0).get_by_role("button", name="Stop").wait_for()
    train, behind = page.start_cell(1), page.start_cell(2)
    page.wait_for_text("training", cell=1)
    page.page.evaluate(WATCH_STATUS)
    page.output(0).get_by_role("button", name="Count").click()
    page.wait_for_text("click 1: Count", cell=1)
    assert CLICKS_TAKE_A_SUBSHELL or page.page.evaluate("window.statuses") == []  # busy all the time
    assert page.output(2).get_by_text("behind").count() == 0
    slider = page.output(0).locator(".noUi-handle")
    for _ in range(5):  # ipywidgets sends the next value when the kernel has said that it is done with the last
        slider.press("ArrowRight")
    page.wait_for_text(": 5", cell=1)
    if not CLICKS_TAKE_A_SUBSHELL:
        page.wait_status("busy")
    page.output(0).get_by_role("button", name="Stop").click()
    page.wait_for_text("ended 5", cell=1)
    assert page.wait_run(train) and page.wait_run(behind)
    page.wait_for_text("behind", cell=2)
    assert page.console_errors == []


def test_a_reloaded_page_gets_its_widgets_back_while_the_cell_trains(notebook: Callable[..., Notebook]) -> None:
    page = notebook(BUTTONS, TRAIN)
    assert page.run_cell(0)
    page.output(0).get_by_role("button", name="Stop").wait_for()
    page.save()
    page.start_cell(1)
    page.wait_for_text("training", cell=1)
    page.reload()
    page.output(0).get_by_role("button", name="Stop").click()
    page.wait_idle()
    assert page.run_cell(1)
    page.wait_for_text("ended 0", cell=1)
