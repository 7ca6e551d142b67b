"""A notebook in a real page of JupyterLab, as a reader has it before them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import nbformat

if TYPE_CHECKING:
    from lab_server import Lab
    from playwright.sync_api import Browser, Locator, Page

TIMEOUT_S = 120.0  # how long a condition may take to come true; nothing waits longer than it must
Theme = Literal["JupyterLab Light", "JupyterLab Dark"]

# What the page's functions below share: the open notebook, and the outcome of each command that was started.
_HELPERS = """
window.harness = {
  runs: [],
  panel: () => window.jupyterapp?.shell.currentWidget,
  kernel: () => window.harness.panel()?.sessionContext?.session?.kernel,
  start: (command, args) => {
    const run = {ended: false, ok: null, error: null};
    window.harness.runs.push(run);
    window.jupyterapp.commands.execute(command, args).then(
      value => { run.ok = value !== false; run.ended = true; },
      error => { run.error = String(error); run.ok = false; run.ended = true; });
    return window.harness.runs.length - 1;
  },
};
"""
_IS_OPEN = """
() => {
  const panel = window.harness.panel(), kernel = window.harness.kernel();
  return Boolean(panel?.content?.widgets?.length && panel.context.isReady && kernel
                 && kernel.connectionStatus === "connected" && kernel.status !== "unknown"
                 && !document.querySelector("#jupyterlab-splash"));
}
"""


class Notebook:
    """A notebook of the given cells, opened in a page of its own with a fresh kernel.

    `page` is Playwright's, for what has no method here: `notebook.output(0).get_by_role("button").click()`.
    Every method that waits does so on a condition, and raises Playwright's TimeoutError, which says what it waited for.
    """

    def __init__(self, browser: Browser, lab: Lab, cells: Sequence[str], *, folder: Path, name: str = "X") -> None:
        self.lab, self.folder = lab, folder
        self.path = lab.notebooks / f"{name}.ipynb"
        self.console_errors: list[str] = []
        self.requests: list[str] = []
        document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        document.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(document, self.path)
        self._context = browser.new_context(viewport={"width": 1280, "height": 900})
        self._context.set_default_timeout(TIMEOUT_S * 1000)
        self._context.add_init_script(_HELPERS)
        self.page: Page = self._context.new_page()
        self._listen()

    def open(self) -> None:
        """Show the notebook; its kernel is idle when this returns."""
        self.page.goto(f"{self.lab.url}/lab/tree/{self.path.name}?token={self.lab.token}&reset")
        self._wait_until(_IS_OPEN)
        self.wait_idle()

    def close(self) -> None:
        self._context.close()

    def cell(self, index: int) -> Locator:
        """The whole cell: its source, and what came out of it."""
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def output(self, index: int) -> Locator:
        """What came out of a cell, in the page."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def start_cell(self, index: int) -> int:
        """Run a cell and come back at once; `wait_run` takes the number that this returns."""
        self.page.evaluate("index => { window.harness.panel().content.activeCellIndex = index; }", index)
        return self._start("notebook:run-cell")

    def start_all(self) -> int:
        """Run all cells and come back at once."""
        return self._start("notebook:run-all-cells")

    def run_cell(self, index: int) -> bool:
        """Run a cell to its end; False if it failed, or was not run because one before it had failed."""
        return self.wait_run(self.start_cell(index))

    def run_all(self) -> bool:
        """Run all cells to the end; False if one failed."""
        return self.wait_run(self.start_all())

    def wait_run(self, run: int, timeout_s: float = TIMEOUT_S) -> bool:
        """Wait for the end of what `start_cell` or `start_all` started (a reload of the page forgets them)."""
        self._wait_until("run => window.harness.runs[run].ended", run, timeout_s)
        return bool(self.page.evaluate("run => window.harness.runs[run].ok", run))

    def wait_for_text(self, text: str, cell: int | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until this text can be seen in the output of a cell; without one, anywhere in the page."""
        where = self.page.locator("body") if cell is None else self.output(cell)
        where.get_by_text(text).first.wait_for(timeout=timeout_s * 1000)

    def wait_idle(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the kernel has nothing to do."""
        self.wait_status("idle", timeout_s)

    def wait_status(self, status: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the page shows the kernel to be in this state."""
        self._wait_until("status => window.harness.kernel()?.status === status", status, timeout_s)

    def kernel_status(self) -> str:
        """What the page takes the kernel's state for: idle, busy, starting…"""
        return self.page.evaluate("() => window.harness.kernel().status")

    def interrupt(self) -> None:
        """Kernel → Interrupt."""
        self.wait_run(self._start("notebook:interrupt-kernel"))

    def save(self) -> None:
        """File → Save."""
        assert self.wait_run(self._start("docmanager:save")), "JupyterLab did not save the notebook."

    def reload(self) -> None:
        """Load the page anew, as F5 does; a cell that runs goes on. What was not saved is gone from the page."""
        self.page.reload()
        self._wait_until(_IS_OPEN)

    def saved(self) -> nbformat.NotebookNode:
        """The notebook as it lies on the disk."""
        return nbformat.read(self.path, as_version=4)

    def saved_outputs(self, index: int) -> list[Any]:
        """The outputs of a cell as they lie on the disk: nbformat's, with output_type and data or text."""
        return self.saved().cells[index].outputs

    def set_theme(self, name: Theme) -> None:
        """Change the theme, and wait until the page shows it. The next notebook begins with the light one again."""
        assert self.wait_run(self._start("apputils:change-theme", {"theme": name}))
        self._wait_until("name => document.body.dataset.jpThemeName === name", name)

    def screenshot(self, name: str) -> Path:
        """A picture of the page as it is now, in the test's own folder."""
        file = self.folder / f"{name}.png"
        self.page.screenshot(path=file)
        return file

    @property
    def outside_requests(self) -> list[str]:
        """The addresses on other machines that the page asked for; there must be none."""
        inside = ("data", "blob", "about", "chrome-error")
        parts = [(urlsplit(url), url) for url in self.requests]
        return [url for part, url in parts if part.hostname != "127.0.0.1" and part.scheme not in inside]

    def _listen(self) -> None:
        page = self.page
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("console", lambda said: self.console_errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())  # "Leave the page?"

    def _start(self, command: str, arguments: dict[str, Any] | None = None) -> int:
        ask = "([command, args]) => window.harness.start(command, args)"
        return self.page.evaluate(ask, [command, arguments or {}])

    def _wait_until(self, condition: str, argument: Any = None, timeout_s: float = TIMEOUT_S) -> None:
        self.page.wait_for_function(condition, arg=argument, timeout=timeout_s * 1000)
