"""What the dashboard's tests share: a training slow enough to steer, and hands for its card."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from notebook_page import Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Locator

Open = Callable[..., Notebook]

# A small network whose batches take as long as a network's do, so that there is time to press a button.
SETUP = """
import threading, time, torch, torch.nn.functional as F
from torch import nn
from fastlearn.vision.all import Learner, DataLoaders, Callback, Replay, accuracy
rng = torch.Generator().manual_seed(0)
data = [(torch.randn(8, 4, generator=rng), torch.randint(3, (8,), generator=rng)) for _ in range(20)]
class Slow(Callback):
    def __init__(self, seconds): self.seconds = seconds
    def after_batch(self, state): time.sleep(self.seconds)
def make(seconds=.03, n=20, metrics=accuracy):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    split = lambda m: [list(m[0].parameters()), list(m[2].parameters())]
    return Learner(DataLoaders(data[:n], data[:5], device="cpu"), model, F.cross_entropy, metrics=metrics, seed=1,
                   splitter=split, cbs=Slow(seconds))
learn = make()
"""


def pages_with_a_learner(notebook: Open, *harmless: str) -> Iterator[Open]:
    """`notebook` with the cell that makes `learn`, already run; nothing may be wrong in the page at the end.

    An error in the page's console that begins with one of `harmless` is none.
    """
    pages: list[Notebook] = []

    def open_page(*cells: str) -> Notebook:
        page = notebook(SETUP, *cells)
        pages.append(page)
        assert page.run_cell(0)
        return page

    yield open_page
    for page in pages:
        assert page.outside_requests == []
        assert [error for error in page.console_errors if not error.startswith(harmless)] == []


def dash(page: Notebook, cell: int = 1) -> Locator:
    """The dashboard's card under a cell."""
    return page.output(cell).locator(".fl-dash")


def button(page: Notebook, name: str, cell: int = 1) -> Locator:
    """The button of the card whose name begins so."""
    return dash(page, cell).get_by_role("button", name=re.compile(f"^{name}"))


def press(page: Notebook, name: str, cell: int = 1) -> None:
    """Click the button of the card whose name begins so."""
    button(page, name, cell).click()


def click_at_once(found: Locator, times: int) -> None:
    """Click as a reader in a hurry does: `times` clicks before the page has answered the first.

    One script sends them all, pressed button or not: the training may end, and the button go, between two scripts.
    """
    click = "button.dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    found.evaluate(f"(button, times) => {{ for (let i = 0; i < times; i++) {click}; }}", times)
