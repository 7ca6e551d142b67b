"""Run the tutorials and keep their outputs, small and free of machine paths.

Type `python docs/refresh_notebooks.py` for all of them, or name some.
"""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
COLOURS = 96  # of each picture: enough for charts and drawings, and a quarter of the bytes
MOST_BYTES = 150_000  # of pictures in one notebook


def main(names: list[str]) -> None:
    """Run the notebooks named, or all."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for file in [Path(name) for name in names] or sorted(NOTEBOOKS.glob("*.ipynb")):
        refresh(file)


def refresh(file: Path) -> None:
    """Run one notebook in place."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(file, as_version=4)
    place = {"metadata": {"path": NOTEBOOKS}}
    NotebookClient(
        notebook, kernel_name="python3", record_timing=False, store_widget_state=False, resources=place
    ).execute()
    notebook.metadata.get("language_info", {}).pop("version", None)  # of the machine that ran it
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    n_bytes = sum(shrink(output) for output in outputs)
    found = [root for root in (str(NOTEBOOKS.parent.absolute()), f"{Path.home()}/", "/tmp/") if root in told(outputs)]
    if found or n_bytes > MOST_BYTES:
        sys.exit(f"{file}: {n_bytes:,} bytes of pictures (at most {MOST_BYTES:,}); machine paths: {found or 'none'}")
    nbformat.write(notebook, file)
    print(f"{file.name}: {n_bytes:,} bytes of pictures")


def told(outputs: list[dict[str, Any]]) -> str:
    """All outputs but the pictures, as text."""
    return str([{k: v for k, v in dict(one.get("data", one)).items() if k != "image/png"} for one in outputs])


def shrink(output: dict[str, Any]) -> int:
    """Give the output's PNG a palette; returns its size in bytes."""
    from PIL import Image

    data = output.get("data", {})
    if "image/png" not in data:
        return 0
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    alpha = picture.mode == "RGBA" and picture.getchannel("A").getextrema()[0] < 255
    method = Image.Quantize.FASTOCTREE if alpha else Image.Quantize.MEDIANCUT  # only the first keeps what is clear
    small = io.BytesIO()
    picture = picture.convert("RGBA" if alpha else "RGB").quantize(COLOURS, method, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True)
    data["image/png"] = base64.b64encode(small.getvalue()).decode()
    return small.tell()


if __name__ == "__main__":
    main(sys.argv[1:])
