"""The experiment behind `fine_tune`'s defaults: which recipe ends with the best accuracy, and at what cost.

A pretrained `tf_efficientnet_lite0` at 128 px, four small data sets, five seeds. A run notes the accuracy on the
validation set after the frozen phase and after the whole, and the CPU seconds. A recipe must not end below its own
frozen head. Both run the pictures through the body in each epoch; what keeping its features gains is in `fit_head.py`.
The seed draws the head's start, the order, the augmentation and, where a data set has more pictures than
are used, which ones.

    python benchmarks/finetune_recipes.py                                  # bn="train" against bn="eval", everything
    python benchmarks/finetune_recipes.py --recipes eval eval_soft --sets digits --seeds 3
    python benchmarks/finetune_recipes.py --table                          # only the table of what is there

To try another recipe, add a line to `RECIPES`. Rows already in the JSON file with the same settings are skipped, so a
run that was stopped goes on, and a changed recipe is run anew.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from report import load_rows, markdown, save_rows

HERE = Path(__file__).resolve().parent
DATASETS = HERE.parent / "datasets"
STAMPS = Path("/usr/share/tuxpaint/stamps")
ARCH = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class Recipe:
    """What is given to `vision_learner` (beside the batch-norm rule `bn`) and to `fine_tune`."""

    bn: str = "eval"
    epochs: int = 2
    learner: dict[str, Any] = field(default_factory=dict)
    fine_tune: dict[str, Any] = field(default_factory=dict)


RECIPES: dict[str, Recipe] = {
    "train": Recipe(bn="train"),
    "eval": Recipe(bn="eval"),
    # Variants of the unfreezing, to be searched. fine_tune's defaults: base_lr=2e-3, freeze_epochs=1, lr_mult=100.
    "eval_soft": Recipe(fine_tune={"base_lr": 8e-4}),
    "eval_hard": Recipe(fine_tune={"base_lr": 5e-3}),
    "eval_flat_groups": Recipe(fine_tune={"lr_mult": 10}),
    "eval_long_head": Recipe(fine_tune={"freeze_epochs": 3}),
    "eval_long": Recipe(epochs=5, fine_tune={"freeze_epochs": 2}),
}
DEFAULT_RECIPES = ("train", "eval")


@dataclass(frozen=True)
class Setting:
    """How many pictures of a data set are used; None for all."""

    n_train: int | None
    n_valid: int | None


SETS: dict[str, Setting] = {
    "clipart": Setting(None, None),
    "digits": Setting(400, None),
    "fashion": Setting(300, 600),
    "stamps": Setting(None, None),
}


# ── the data ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def chosen_pictures(name: str, seed: int, stamps: Path | None) -> Iterator[Path]:
    """A temporary folder `train/<class>/…`, `valid/<class>/…` with the pictures of one run."""
    source = stamps if name == "stamps" else DATASETS / name
    assert source is not None
    setting = SETS[name]
    with tempfile.TemporaryDirectory(prefix="fastlearn-recipes-") as folder:
        for split, n, split_seed in (("train", setting.n_train, seed), ("valid", setting.n_valid, 0)):
            for path in pick(source / split, n, split_seed):
                target = Path(folder) / split / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        yield Path(folder)


def pick(folder: Path, n: int | None, seed: int) -> list[Path]:
    """`n` of the pictures under `folder`, the same share of every class; all when `n` is None."""
    rng = random.Random(seed)
    chosen: list[Path] = []
    classes = [sorted(c.iterdir()) for c in sorted(folder.iterdir()) if c.is_dir()]
    total = sum(map(len, classes))
    if n is None or n >= total:
        return [path for paths in classes for path in paths]
    taken = 0
    for paths in classes:
        taken += len(paths)
        chosen += rng.sample(paths, round(n * taken / total) - len(chosen))  # rounding never drifts from n
    return chosen


def make_stamps(target: Path, least: int = 25, most: int = 50) -> Path:
    """Tux Paint's stamps (GPL-2, Debian's `tuxpaint-stamps-default`) as `train` and `valid` folders by subject.

    `cartoon` and `toys` are drawings of the same things, `symbols` letters and signs; mirrored and flipped stamps are
    near-copies: all left out. Transparent pictures are composed on white. Subjects with `least` pictures or more are
    taken, `most` at most, three in ten for validation.
    """
    from PIL import Image

    left_out = {"cartoon", "toys", "symbols"}
    for subject in sorted(p for p in STAMPS.iterdir() if p.is_dir() and p.name not in left_out):
        paths = [p for p in sorted(subject.rglob("*.png")) if not p.stem.endswith(("_mirror", "_flip"))]
        paths = [p for p in paths if not left_out & set(p.parts)]
        random.Random(0).shuffle(paths)
        if len(paths) < least:
            continue
        for index, path in enumerate(paths[:most]):
            picture = Image.open(path).convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            white.alpha_composite(picture)
            split = "valid" if index % 10 < 3 else "train"
            out = target / split / subject.name / f"{index:02}_{path.name}"
            out.parent.mkdir(parents=True, exist_ok=True)
            white.convert("RGB").save(out)
    return target


# ── one run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def loaders(folder: Path, seed: int, size_px: int, threads: int = 1) -> Any:
    """fastlearn's loaders of a folder of few pictures, with at least eight batches an epoch."""
    from fastlearn.vision.all import ImageDataLoaders, Resize, aug_transforms

    return ImageDataLoaders.from_folder(
        folder,
        train="train",
        valid="valid",
        item_tfms=Resize(size_px),
        batch_tfms=aug_transforms(),
        bs=min(64, max(8, len(list((folder / "train").rglob("*.png"))) // 8)),
        num_workers=threads,
        seed=seed,
    )


def run(folder: Path, recipe: Recipe, seed: int, size_px: int, threads: int) -> dict[str, float]:
    """Accuracy and CPU seconds of one `fine_tune`, after its frozen phase and at its end."""
    from fastlearn.training.callback import Callback
    from fastlearn.vision.all import accuracy, vision_learner

    start = time.process_time()
    seen: list[tuple[float, float]] = []

    class Note(Callback):
        """What each epoch reached, and when."""

        def after_epoch(self, state: Any) -> None:
            seen.append((float(state.values["accuracy"]), time.process_time() - start))

    dls = loaders(folder, seed, size_px, threads)
    learn = vision_learner(dls, ARCH, metrics=accuracy, bn=recipe.bn, seed=seed, **recipe.learner)
    learn.add_cb(Note())
    with learn.no_bar():
        learn.fine_tune(recipe.epochs, **{"cached_head": False} | recipe.fine_tune)  # as both rules can
    frozen = seen[recipe.fine_tune.get("freeze_epochs", 1) - 1]
    return {"frozen": frozen[0], "frozen_cpu_s": frozen[1], "final": seen[-1][0], "cpu_s": seen[-1][1]}


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a data set and recipe: means over seeds with standard errors; then each recipe over all data sets."""
    header = ["data set", "recipe", "seeds", "frozen head", "whole fine_tune", "gain by unfreezing", "CPU s"]
    lines = [header]
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    for name in [*dict.fromkeys(row["set"] for row in rows), "all"]:
        for recipe in recipes:
            mine = [row for row in rows if row["recipe"] == recipe and name in (row["set"], "all")]
            if mine:
                gains = [row["final"] - row["frozen"] for row in mine]
                lines.append(
                    [
                        name,
                        recipe,
                        str(len(mine)),
                        mean_and_error([row["frozen"] for row in mine], by_set=name != "all"),
                        mean_and_error([row["final"] for row in mine], by_set=name != "all"),
                        mean_and_error(gains, sign="+"),
                        f"{statistics.mean(row['cpu_s'] for row in mine):.1f}",
                    ]
                )
    return "\n".join(markdown(lines))


def mean_and_error(values: Sequence[float], by_set: bool = True, sign: str = "") -> str:
    """Mean ± standard error of the mean; over several data sets the error of a level means nothing and is left out."""
    mean = f"{statistics.mean(values):{sign}.3f}"
    if len(values) < 2 or not by_set:
        return mean
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Which fine-tuning recipe wins: accuracy over seeds and data sets.")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(DEFAULT_RECIPES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="pixels (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON and the table")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of the rows that are there")
    options = parser.parse_args()
    target = options.results / "finetune_recipes.json"
    rows = load_rows(target)
    if not options.table:
        # Before torch is imported: OpenMP reads these once.
        os.environ |= {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "Agg"}
        run_all(options, rows, target)
    text = table(rows)
    print(f"\n{text}")
    target.with_suffix(".md").write_text(text + "\n")


def run_all(options: argparse.Namespace, rows: list[dict[str, Any]], target: Path) -> None:
    """Every run that is not in `rows` yet. Recipes alternate within a seed, so a busy hour meets all of them alike."""
    if "stamps" in options.sets and not STAMPS.exists():
        print("Without stamps: apt-get install tuxpaint-stamps-default brings them.")
        options.sets = [name for name in options.sets if name != "stamps"]
    with tempfile.TemporaryDirectory(prefix="fastlearn-stamps-") as scratch:
        stamps = make_stamps(Path(scratch)) if "stamps" in options.sets else None
        for seed, name in itertools.product(range(options.seeds), options.sets):
            missing = [recipe for recipe in options.recipes if not find_row(rows, name, recipe, seed, options)]
            if not missing:
                continue
            with chosen_pictures(name, seed, stamps) as folder:
                for recipe in missing:
                    figures = run(folder, RECIPES[recipe], seed, options.size, options.threads)
                    key = {"set": name, "recipe": recipe, "seed": seed}
                    rows[:] = [row for row in rows if not key.items() <= row.items()]
                    rows.append(key | figures | {"settings": settings_of(name, recipe, options)})
                    save_rows(target, rows, f"fine_tune of {ARCH}: accuracy by recipe", arch=ARCH)
                    print(
                        f"{name:8} {recipe:16} seed {seed}: frozen {figures['frozen']:.3f}, "
                        f"whole {figures['final']:.3f}, {figures['cpu_s']:.1f} CPU s",
                        flush=True,
                    )


def settings_of(name: str, recipe: str, options: argparse.Namespace) -> dict[str, Any]:
    """All that a row's figures depend on, beside its seed."""
    return {"size_px": options.size, "threads": options.threads} | asdict(SETS[name]) | asdict(RECIPES[recipe])


def find_row(
    rows: Sequence[dict[str, Any]], name: str, recipe: str, seed: int, options: argparse.Namespace
) -> dict[str, Any] | None:
    """The row of a run that was made with the same settings."""
    wanted = {"set": name, "recipe": recipe, "seed": seed, "settings": settings_of(name, recipe, options)}
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


if __name__ == "__main__":
    main()
