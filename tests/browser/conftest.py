"""The real thing: JupyterLab in Chromium. The tests here ask for `notebook`, and get pages of it.

    def test_the_answer(notebook):
        page = notebook("6 * 7")
        assert page.run_cell(0)
        page.wait_for_text("42", cell=0)

Where Chromium, Playwright or JupyterLab is missing they are skipped, and say so; in CI (`CI=true`) they fail instead.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this file

from lab_server import Lab
from notebook_page import Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def _missing(what: str, install: str) -> NoReturn:
    reason = f"The browser tests need {what}: {install}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for all tests."""
    if importlib.util.find_spec("jupyterlab") is None:
        _missing("JupyterLab", 'pip install "fastlearn[lab]"')
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


# One a module, not one for all: while it is open, Playwright's event loop counts as running in this thread, and
# the tests of other folders start loops of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        _missing(f"one of {', '.join(BROWSERS)} on the path", "apt install chromium")
    if importlib.util.find_spec("playwright") is None:
        _missing("Playwright for Python", "pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def notebook(
    chromium: Browser, lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """`notebook(*cells)` opens a notebook of these cells, in a page of its own and with a fresh kernel."""
    opened: list[Notebook] = []

    def open_notebook(*cells: str) -> Notebook:
        lab.forget_theme()
        page = Notebook(chromium, lab, cells, folder=tmp_path, name=f"{request.node.originalname}-{len(opened)}")
        opened.append(page)
        page.open()
        return page

    request.node.stash[PAGES] = opened
    lab.end_kernels()
    yield open_notebook
    for page in opened:
        page.close()
    lab.end_kernels()


PAGES = pytest.StashKey[list[Notebook]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """A failure shows what the page and the server had to say."""
    report = yield
    if report.failed and report.when == "call":
        pages = item.stash.get(PAGES, [])
        for page in pages:
            said = "\n".join(page.console_errors) or "no errors in the console"
            report.sections.append((f"page {page.path.name}", f"{_picture(page)}\n{said}"))
        if pages:
            report.sections.append(("JupyterLab's log", pages[0].lab.log_tail()))
    return report


def _picture(page: Notebook) -> str:
    from playwright.sync_api import Error

    try:
        return str(page.screenshot(f"failed-{page.path.stem}"))
    except Error as error:  # the page itself is broken, which may be why the test failed
        return f"no picture: {error}"
