"""The experiment behind `fit_head`'s defaults: how many steps, at which rate, and what is gained by it in `fine_tune`.

A pretrained `tf_efficientnet_lite0` at 128 px on the pictures of `finetune_recipes`. For each data set and seed the
body's features are computed once, and each recipe trains a new head on them. With `--whole`, `fine_tune(2)` is run too,
with its head trained on kept features and through the whole network, at the cost of minutes.

    python benchmarks/fit_head.py                    # rates and numbers of steps for both kinds of head
    python benchmarks/fit_head.py --seeds 2 --whole "fine_tune(2)" "fine_tune(2, cached_head=False)"
    python benchmarks/fit_head.py --table            # only the tables of what is there

Results: `results/fit_head.json` and `results/fit_head.md`. Rows already there are skipped, so a run that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune_recipes import ARCH, HERE, SETS, chosen_pictures, loaders, mean_and_error
from report import load_rows, markdown, save_rows

DATA = ("clipart", "digits", "fashion")


@dataclass(frozen=True)
class Recipe:
    """A kind of head and how it is trained; None stands for the learner's own default."""

    head: str
    lr: float = 2e-3
    steps: int = 100
    views: int = 1
    wd: float | None = None


RECIPES = {
    f"{head}, {name}": Recipe(head, **options)
    for head in ("mlp", "linear")
    for name, options in {
        "100 steps, 2e-3": {},
        "100 steps, 1e-3": {"lr": 1e-3},
        "100 steps, 4e-3": {"lr": 4e-3},
        "100 steps, 1e-2": {"lr": 1e-2},
        "30 steps, 2e-3": {"steps": 30},
        "300 steps, 2e-3": {"steps": 300},
        "100 steps, 2e-3, wd 0.1": {"wd": 0.1},
        "100 steps, 2e-3, 4 views": {"views": 4},
    }.items()
}
WHOLE = {"fine_tune(2)": True, "fine_tune(2, cached_head=False)": False}


def head_rows(dls: Any, seed: int, names: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """What each recipe reaches; the features of a number of views are computed once for all of them."""
    from fastlearn.vision.all import accuracy, vision_learner

    kept: dict[int, tuple[Any, float]] = {}
    for name in names:
        recipe = RECIPES[name]
        learn = vision_learner(dls, ARCH, metrics=accuracy, head=recipe.head, seed=seed)
        with learn.no_bar():
            if recipe.views not in kept:
                started = time.process_time()
                head = learn._kept_head([], recipe.views)
                kept[recipe.views] = head, time.process_time() - started
            head, features_cpu_s = kept[recipe.views]
            # The features of another learner's body, which is the same; the layers are this one's own.
            mine = _with_layers_of(head, learn)
            started = time.process_time()
            passes = math.ceil(recipe.steps / len(head.train))
            learn._fit_kept(mine.with_passes(passes), 1, recipe.lr, recipe.wd, None, [], False)
        valid_loss, reached = learn.recorder.values[-1][1:]
        yield (
            name,
            {
                "accuracy": reached,
                "valid_loss": valid_loss,
                "features_cpu_s": features_cpu_s,
                "head_cpu_s": time.process_time() - started,
            },
        )


def _with_layers_of(head: Any, learn: Any) -> Any:
    from dataclasses import replace

    from fastlearn.training.features import parts_of, step_through

    parts = parts_of(learn.model, learn._plan(0, None).eval_modules)
    return replace(head, step=step_through(parts.rest))


def whole_row(dls: Any, seed: int, cached_head: bool) -> dict[str, float]:
    """`fine_tune(2)`: accuracy and CPU seconds after its frozen part and at its end."""
    from fastlearn.vision.all import accuracy, vision_learner

    learn = vision_learner(dls, ARCH, metrics=accuracy, seed=seed)
    at: list[float] = []
    learn.on("after_epoch")(lambda state: at.append(time.process_time()))
    started = time.process_time()
    with learn.no_bar():
        learn.fine_tune(2, cached_head=cached_head)
    reached = [row[2] for row in learn.recorder.values]
    return {
        "frozen": reached[0],
        "accuracy": reached[-1],
        "valid_loss": learn.recorder.values[-1][1],
        "frozen_cpu_s": at[0] - started,
        "cpu_s": at[-1] - started,
    }


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """One line a recipe, means over seeds with their standard errors; then the same for `fine_tune`."""
    heads = [["recipe", "seeds", *(f"{name}: accuracy; loss" for name in DATA), "head, CPU s", "features, CPU s"]]
    for recipe in RECIPES:
        mine = [row for row in rows if row["recipe"] == recipe]
        if mine:
            cells = [_cell(mine, name, ("accuracy", "valid_loss")) for name in DATA]
            costs = [f"{statistics.mean(row[key] for row in mine):.1f}" for key in ("head_cpu_s", "features_cpu_s")]
            heads.append([recipe, _seeds(mine), *cells, *costs])
    wholes = [["call", "seeds", *(f"{name}: frozen part; end" for name in DATA), "frozen part, CPU s", "whole, CPU s"]]
    for recipe in WHOLE:
        mine = [row for row in rows if row["recipe"] == recipe]
        if mine:
            cells = [_cell(mine, name, ("frozen", "accuracy")) for name in DATA]
            costs = [f"{statistics.mean(row[key] for row in mine):.1f}" for key in ("frozen_cpu_s", "cpu_s")]
            wholes.append([recipe, _seeds(mine), *cells, *costs])
    return "\n\n".join("\n".join(markdown(lines)) for lines in (heads, wholes) if len(lines) > 1)


def _seeds(rows: Sequence[dict[str, Any]]) -> str:
    """How many runs there are: one number, or one a data set where they differ."""
    counts = [str(sum(row["set"] == name for row in rows)) for name in DATA]
    return counts[0] if len(set(counts)) == 1 else ", ".join(counts)


def _cell(rows: Sequence[dict[str, Any]], name: str, keys: tuple[str, str]) -> str:
    mine = [row for row in rows if row["set"] == name]
    return "; ".join(mean_and_error([row[key] for row in mine]) for key in keys) if mine else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description="How a head on kept features is best trained.")
    parser.add_argument("--sets", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="pixels (default %(default)s)")
    parser.add_argument("--whole", nargs="+", choices=list(WHOLE), default=[], help="run these calls too")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON and the tables")
    parser.add_argument("--table", action="store_true", help="run nothing, print the tables of the rows that are there")
    options = parser.parse_args()
    target = options.results / "fit_head.json"
    rows = load_rows(target)
    if not options.table:
        # Before torch is imported: OpenMP reads these once.
        os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "Agg"}
        run_all(options, rows, target)
    text = tables(rows)
    print(f"\n{text}")
    target.with_suffix(".md").write_text(text + "\n")


def run_all(options: argparse.Namespace, rows: list[dict[str, Any]], target: Path) -> None:
    """Every run that is not in `rows` yet."""
    for seed in range(options.seeds):
        for name in options.sets:
            settings = {"size_px": options.size} | asdict(SETS[name])
            key = {"set": name, "seed": seed, "settings": settings}
            done = {row["recipe"] for row in rows if key.items() <= row.items()}
            heads = [recipe for recipe in options.recipes if recipe not in done]
            wholes = [recipe for recipe in options.whole if recipe not in done]
            if not heads and not wholes:
                continue
            with chosen_pictures(name, seed, None) as folder:
                dls = loaders(folder, seed, options.size)
                made = head_rows(dls, seed, heads)
                for recipe, figures in itertools.chain(made, ((o, whole_row(dls, seed, WHOLE[o])) for o in wholes)):
                    rows.append(key | {"recipe": recipe} | figures)
                    save_rows(target, rows, f"fit_head of {ARCH}: accuracy by recipe", arch=ARCH)
                    print(f"{name:8} seed {seed} {recipe:36} {figures['accuracy']:.3f}", flush=True)


if __name__ == "__main__":
    main()
