"""`fastlearn demo`: the whole way from a folder of drawings to a trained network, with pictures of the result."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlearn.errors import ConfigError
from fastlearn.paths import printable
from fastlearn.runtime.disk import lacking, write_whole

if TYPE_CHECKING:
    from fastlearn.learner import Learner

ARCH = "tf_efficientnet_lite0"
SIZE_PX, BS, EPOCHS, SEED = 128, 16, 2, 1
ASKED = "valid/fruit/an_apple_01.png"


def run_demo(out: Path) -> None:
    """Train, draw four PNG files into `out`, and ask about one picture; tells each step on standard output."""
    import matplotlib

    matplotlib.use("Agg")  # files, no windows
    _make_folder(out)
    print(f"Loading PyTorch and {ARCH} …", flush=True)
    start = time.perf_counter()
    from fastlearn.data.download import URLs, untar_data

    path = Path(untar_data(URLs.CLIPART))
    learn = _learner(path)
    dls = learn.dls
    print(
        f"{len(dls.train_ds)} drawings to train on and {len(dls.valid_ds)} to validate, of {len(dls.vocab)} classes: "
        f"{', '.join(dls.vocab)}",
        flush=True,
    )
    dls.show_batch(max_n=8, nrows=2)
    _keep(out / "batch.png", "some of them")

    lr = learn.lr_find(num_it=60).valley
    learn.recorder.plot_lr_find()
    _keep(out / "lr_find.png", f"loss by learning rate; suggested: {lr:.1e}")

    print(f"\nFine-tuning: one epoch of the new head alone, then {EPOCHS} of the whole network")
    learn.fine_tune(EPOCHS, lr)
    _say_result(learn)
    _draw_mistakes(learn, out)
    _ask(learn, path / ASKED)
    print(
        f"\nDone in {time.perf_counter() - start:.0f} s. Next: make lab opens the tutorials, notebooks/ in JupyterLab."
    )


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Cannot make the folder {printable(out)}: {error.strerror}. Name another: --out DIR."
        ) from error


def _learner(path: Path) -> Learner:
    from fastlearn.metrics import accuracy
    from fastlearn.vision.data import ImageDataLoaders
    from fastlearn.vision.learner import vision_learner
    from fastlearn.vision.transforms import Resize

    dls = ImageDataLoaders.from_folder(path, item_tfms=Resize(SIZE_PX), bs=BS, val_bs=54)
    return vision_learner(dls, ARCH, metrics=accuracy, seed=SEED)


def _say_result(learn: Learner) -> None:
    """The table of all epochs, for whoever does not see the rows that a terminal keeps."""
    names = learn.recorder.metric_names
    print("\n" + "  ".join(f"{name:>10}" for name in names))
    for row in learn.recorder.epochs:
        print("  ".join(f"{_cell(row[name]):>10}" for name in names))
    print()


def _cell(value: Any) -> str:
    return f"{value}" if isinstance(value, int) else f"{value:.3f}"


def _draw_mistakes(learn: Learner, out: Path) -> None:
    from fastlearn.interpret.classification import ClassificationInterpretation

    interp = ClassificationInterpretation.from_learner(learn)
    right = int((interp.decoded == interp.targs).sum())
    interp.plot_confusion_matrix(title=f"{right} of {len(interp)} validation drawings are right")
    _keep(out / "confusion_matrix.png", "which class is taken for which")
    interp.plot_top_losses(9)
    _keep(out / "top_losses.png", "the nine worst mistakes")


def _ask(learn: Learner, picture: Path) -> None:
    label, index, probabilities = learn.predict(picture)
    print(f"\n{_near(picture)}\n  is a {label}, with probability {float(probabilities[int(index)]):.2f}")


def _near(path: Path) -> str:
    """The path from here, where that is shorter."""
    here = Path.cwd()
    return printable(path.relative_to(here) if path.is_relative_to(here) else path)


def _keep(file: Path, what: str) -> None:
    """Write the current figure as a PNG, and print where."""
    import matplotlib.pyplot as plt

    figure, drawn = plt.gcf(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110, bbox_inches="tight", pad_inches=0.12, facecolor="white")
    plt.close(figure)
    try:
        write_whole({file: drawn.getvalue()})
    except OSError as error:
        missing = lacking(file.parent, len(drawn.getvalue()))
        raise ConfigError(
            f"Cannot write {printable(file)}: {error.strerror}.{f' {missing}' if missing else ''} "
            "Name another folder: --out DIR."
        ) from error
    print(f"  {printable(file)}  {what}", flush=True)
