"""The picture that the README opens with: a real training, halfway, under a real cell.

Every run takes it anew, into its own folder. To keep it:
`DASHBOARD_PICTURE=docs/images/dashboard.png pytest tests/browser/test_picture.py`
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable

from notebook_page import Notebook

CELLS = [
    """from fastlearn.vision.all import *
dls = ImageDataLoaders.from_folder(untar_data(URLs.CLIPART), item_tfms=Resize(96), bs=16, seed=42)""",
    """learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=accuracy, seed=42)
learn.fine_tune(3)""",
]


def test_the_dashboard_of_a_real_training(notebook: Callable[..., Notebook]) -> None:
    page = notebook(*CELLS)
    page.page.set_viewport_size({"width": 1150, "height": 1000})
    page.page.keyboard.press("Control+b")  # without the side bar
    assert page.run_cell(0)
    run = page.start_cell(1)
    card = page.output(1).locator(".fl-dash")
    page.wait_for_text("epoch 2 of 4", cell=1)
    card.get_by_role("button", name=re.compile("^Halve")).click()
    page.wait_for_text("epoch 4 of 4", cell=1)
    file = page.folder / "dashboard.png"
    card.screenshot(path=file)
    if wanted := os.environ.get("DASHBOARD_PICTURE"):
        shutil.copy(file, wanted)
    assert page.wait_run(run)
    page.output(1).locator("img").wait_for()
    assert page.console_errors == [] and page.outside_requests == []
