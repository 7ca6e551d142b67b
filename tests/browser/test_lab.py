"""The harness itself: a page of JupyterLab opens, runs, stops and comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from notebook_page import Notebook

pytestmark = pytest.mark.soak

Open = Callable[..., Notebook]
LOOP = "import time\nprint('be' + 'gun')\nwhile True: time.sleep(.01)"


def test_a_cell_runs_and_its_output_is_seen_and_saved(notebook: Open) -> None:
    page = notebook("a = 6", "print(a * 7)")
    assert page.run_all()
    page.wait_for_text("42", cell=1)
    page.wait_idle()
    page.save()
    assert page.saved_outputs(0) == []
    assert [output.text for output in page.saved_outputs(1)] == ["42\n"]
    assert page.screenshot("done").stat().st_size > 0
    assert page.console_errors == []
    assert page.outside_requests == []


def test_a_cell_that_fails_is_seen_to_fail(notebook: Open) -> None:
    page = notebook("1 / 0", "print('never')")
    assert not page.run_all()
    page.wait_for_text("ZeroDivisionError: division by zero", cell=0)
    assert page.output(1).get_by_text("never").count() == 0


def test_interrupt_stops_a_cell(notebook: Open) -> None:
    page = notebook(LOOP)
    run = page.start_cell(0)
    page.wait_for_text("begun", cell=0)
    page.wait_status("busy")
    page.interrupt()
    assert not page.wait_run(run)
    page.wait_for_text("KeyboardInterrupt", cell=0)
    page.wait_idle()


def test_a_page_that_is_reloaded_finds_its_kernel_again(notebook: Open) -> None:
    page = notebook("kept = 'kept by the kernel'", "print(kept)")
    assert page.run_cell(0)
    page.save()
    page.reload()
    page.wait_idle()
    assert page.run_cell(1)
    page.wait_for_text("kept by the kernel", cell=1)
    assert page.console_errors == []


def test_the_theme_changes_and_the_next_page_is_light_again(notebook: Open) -> None:
    page = notebook("")
    light = page.page.evaluate("document.body.dataset.jpThemeLight")
    page.set_theme("JupyterLab Dark")
    assert (light, page.page.evaluate("document.body.dataset.jpThemeLight")) == ("true", "false")
    assert notebook("").page.evaluate("document.body.dataset.jpThemeLight") == "true"


def test_a_request_to_another_machine_is_noticed(notebook: Open) -> None:
    page = notebook("")
    page.page.evaluate("fetch('http://192.0.2.1/script.js', {signal: AbortSignal.timeout(1)}).catch(() => null)")
    assert page.outside_requests == ["http://192.0.2.1/script.js"]
