"""The dashboard under a training cell: it moves, is steered, comes back after a reload and outlives its kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from notebook_page import Notebook
from slow_training import SETUP, Open, button, click_at_once, dash, pages_with_a_learner, press

STEERED = "print([(one.what, one.step) for one in learn.recorder.interventions], learn.recorder.n_batches)"


@pytest.fixture
def lab_page(notebook: Open) -> Iterator[Open]:
    yield from pages_with_a_learner(notebook)


def said(page: Notebook, cell: int = 2) -> str:
    return page.output(cell).inner_text()


def canvas_of(page: Notebook) -> str:
    return dash(page).locator("canvas").first.evaluate("canvas => canvas.toDataURL()")


def test_the_chart_moves_and_leaves_a_picture_and_a_table(lab_page: Open) -> None:
    page = lab_page("learn.fine_tune(2)")
    run = page.start_cell(1)
    page.wait_for_text("epoch 1 of 3", cell=1)
    before = canvas_of(page)
    page.wait_for_text("epoch 2 of 3", cell=1)
    assert canvas_of(page) != before
    assert dash(page).get_by_role("button", name=re.compile("^Stop")).is_enabled()
    assert page.wait_run(run)
    page.output(1).locator("img").wait_for()
    assert dash(page).count() == 0
    page.wait_idle()
    page.save()
    picture, table = page.saved_outputs(1)
    assert set(picture["data"]) == {"image/png", "text/plain"} and table["data"]["text/html"].count("<tr>") == 4
    assert sum(len(str(output)) for output in (picture, table)) < 150_000


def test_rates_and_stop_act_are_noted_and_replayed_and_queued_cells_run(lab_page: Open) -> None:
    replay = """
again = make(0)
with again.no_bar(): again.fit_one_cycle(50, cbs=Replay(learn.recorder.interventions))
print("same", all(map(torch.equal, learn.model.parameters(), again.model.parameters())))"""
    page = lab_page("learn.fit_one_cycle(50)", STEERED, replay)
    run = page.start_all()
    page.wait_for_text("epoch 1 of 50", cell=1)
    press(page, "Halve")
    dash(page).get_by_text("lr ×½").or_(dash(page).locator(".fl-lr-now:not(.fl-waits)")).first.wait_for()
    typed = dash(page).get_by_role("textbox")
    typed.fill("3e-4")
    typed.press("Enter")
    typed.fill("abc")
    typed.press("Enter")
    page.wait_for_text("'abc' was ignored", cell=1)
    click_at_once(button(page, "Stop"), times=5)
    assert page.wait_run(run)
    page.wait_for_text("same True", cell=3)
    found = re.findall(r"'(\w+)', (\d+)", said(page))
    assert [what for what, _ in found] == ["lr", "lr", "stop"]
    assert int(found[-1][1]) < 1000 and said(page).split()[-1] == found[-1][1]
    page.wait_for_text("Stopped by hand", cell=1)


def test_pause_and_resume(lab_page: Open) -> None:
    page = lab_page("learn.fit_one_cycle(6)", STEERED)
    run = page.start_all()
    page.wait_for_text("epoch 1 of 6", cell=1)
    press(page, "Pause")
    page.wait_for_text("Paused", cell=1)
    page.wait_status("busy")
    press(page, "Resume")
    assert page.wait_run(run)
    page.wait_for_text("resume", cell=2)
    assert [what for what, _ in re.findall(r"'(\w+)', (\d+)", said(page))] == ["pause", "resume"]


def test_stop_in_the_validation_can_leave_it_out(lab_page: Open) -> None:
    slow = "learn.dls = DataLoaders(data[:3], data * 20, device='cpu')\nlearn.fit_one_cycle(50)"
    page = lab_page(slow, STEERED)
    run = page.start_all()
    page.wait_for_text("valid", cell=1)
    press(page, "Stop")
    dash(page).get_by_role("button", name=re.compile("^Skip")).click()
    assert page.wait_run(run)
    page.wait_for_text("skip_validation", cell=2)
    assert "stop" in said(page)


@pytest.mark.parametrize("paused", [False, True])
def test_interrupt_ends_the_cell_and_drops_the_queue(lab_page: Open, paused: bool) -> None:
    page = lab_page(
        "learn.fit_one_cycle(50)", "print('must' + ' not run')", "learn.fit(1); print('a whole' + ' learner')"
    )
    page.start_cell(1)
    page.start_cell(2)
    page.wait_for_text("epoch 1 of 50", cell=1)
    if paused:
        press(page, "Pause")
        page.wait_for_text("Paused", cell=1)
    page.interrupt()
    page.wait_for_text("KeyboardInterrupt", cell=1)
    page.wait_idle()
    page.wait_for_text("Interrupted after", cell=1)
    assert "must not run" not in page.output(2).inner_text()
    assert page.run_cell(3)
    page.wait_for_text("a whole learner", cell=3)


def test_a_reloaded_page_gets_chart_history_and_buttons_back(lab_page: Open) -> None:
    page = lab_page("learn.fit_one_cycle(200)", STEERED)
    page.start_cell(1)
    page.wait_for_text("epoch 2 of 200", cell=1)
    page.save()
    page.reload()
    dash(page).locator("canvas").first.wait_for()
    page.wait_for_text("of 200", cell=1)
    dash(page).get_by_role("cell", name="0", exact=True).first.wait_for()  # the first epoch's row
    press(page, "Stop")
    page.wait_idle()
    assert page.run_cell(2)
    page.wait_for_text("stop", cell=2)


def test_without_a_kernel_the_picture_and_the_table_are_there(notebook: Open) -> None:
    page = notebook(SETUP, "learn.fit_one_cycle(2)")
    assert page.run_all()
    page.wait_idle()
    page.save()
    page.lab.end_kernels()
    page.reload()
    page.output(1).locator("img").wait_for()
    assert page.output(1).get_by_role("table").count() == 1
    assert "not found" not in page.output(1).inner_text()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_both_themes_at_both_widths(lab_page: Open, theme, record_property) -> None:
    page = lab_page("learn.fine_tune(4)")
    page.set_theme(theme)
    page.start_cell(1)
    page.wait_for_text("epoch 3 of 5", cell=1)
    for width in (640, 1600):
        page.page.set_viewport_size({"width": width, "height": 1000})
        card = dash(page)
        box = card.bounding_box()
        assert box is not None and card.evaluate("card => card.scrollWidth <= card.clientWidth + 1")
        record_property(f"{theme} {width}", str(page.screenshot(f"dashboard-{theme.split()[1]}-{width}")))
    page.wait_idle()


def test_a_second_fit_has_its_own_chart_and_an_error_leaves_a_picture(lab_page: Open) -> None:
    boom = """
class Boom(Callback):
    def after_epoch(self, state): raise ZeroDivisionError("mine")
learn.fit(3, cbs=Boom())"""
    page = lab_page("learn.fit(1)", boom, "learn.fit(1)")
    assert page.run_cell(1)
    assert not page.run_cell(2)
    page.wait_for_text("ZeroDivisionError: mine", cell=2)
    assert page.run_cell(3)
    for cell in (1, 2, 3):
        page.output(cell).locator("img").wait_for()
