"""Fine-tuning a pretrained network on small sets: what accuracy, after how many seconds, beside fastai.

`tf_efficientnet_lite0` with the same ImageNet weights everywhere, pictures at 128 px with the usual augmentation; the
data sets, batch sizes and choice of pictures are those of `finetune_recipes.py`. Every run is a fresh process, and its
clock starts when everything is imported: loaders, network, training and the validation of every epoch count.

- `fastai`: `vision_learner(...).fine_tune(2)` as it comes; its body's batch norm follows the small set's batches.
- `fastai eval`: the same with a callback that keeps the body's statistics, the fairer rival (`docs/fine_tuning.md`).
- `fit_head`: fastlearn's `learn.fit_head()`; `fine_tune`: fastlearn's `learn.fine_tune(2)`.

`reached` is the second of fastlearn's clock at the end of the first epoch whose accuracy is at least the one that
`fastai eval` ended with on the same set and seed; `times sooner` is the median over the seeds of its seconds over
these, `of fastai's s` that of the whole call's seconds over those of `fastai`.

    python benchmarks/time_to_accuracy.py                             # all sets, five seeds: an hour or two, resumable
    python benchmarks/time_to_accuracy.py --sets digits --seeds 1     # a trial
    python benchmarks/time_to_accuracy.py --table                     # only the table of what is there

Rows already in the JSON file with the same settings are skipped, so a run that was stopped goes on; `--again` with
methods' names runs those anew, after their code has changed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune_recipes import ARCH, SETS, STAMPS, chosen_pictures, make_stamps, mean_and_error
from harness import PEERS, interpreter, note_failure, tree_cpu_s, worker_environment
from report import load_rows, markdown, save_rows

HERE = Path(__file__).resolve().parent
EPOCHS = 2
PEER_METHODS, OUR_METHODS = ("fastai", "fastai eval"), ("fit_head", "fine_tune")
METHODS = (*PEER_METHODS, *OUR_METHODS)
RIVAL = "fastai eval"
TITLE = f"Fine-tuning {ARCH} on small sets: accuracy, and seconds to it"

Row = dict[str, Any]


# ── one run, in its own process ──────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """CPU (worker processes included) and wall seconds since it was made, noted with each accuracy."""

    def __init__(self) -> None:
        self.cpu, self.wall = tree_cpu_s(), time.perf_counter()
        self.points: list[dict[str, float]] = []

    def note(self, accuracy: float) -> None:
        cpu, wall = tree_cpu_s() - self.cpu, time.perf_counter() - self.wall
        self.points.append({"accuracy": accuracy, "cpu_s": round(cpu, 3), "wall_s": round(wall, 3)})


def loader_options(options: argparse.Namespace) -> dict[str, Any]:
    """What fastlearn's loaders and fastai's are both given."""
    n_train = len(list((options.folder / "train").rglob("*.png")))
    return {"train": "train", "valid": "valid", "bs": min(64, max(8, n_train // 8)), "num_workers": options.threads}


def run_fastlearn(options: argparse.Namespace) -> list[dict[str, float]]:
    import timm  # noqa: F401 (as fastai has imported it)

    from fastlearn.training.callback import Callback
    from fastlearn.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, vision_learner

    clock = Clock()

    class Note(Callback):
        """Each epoch's accuracy, and when it was reached."""

        def after_epoch(self, state: Any) -> None:
            if "accuracy" in state.values:
                clock.note(float(state.values["accuracy"]))

    dls = ImageDataLoaders.from_folder(
        options.folder,
        item_tfms=Resize(options.size),
        batch_tfms=aug_transforms(),
        seed=options.seed,
        device="cpu",
        **loader_options(options),
    )
    learn = vision_learner(dls, ARCH, metrics=accuracy, seed=options.seed)
    learn.add_cb(Note())
    with learn.no_bar():
        if options.one == "fit_head":
            learn.fit_head()
        else:
            learn.fine_tune(EPOCHS)
    return clock.points


def run_fastai(options: argparse.Namespace) -> list[dict[str, float]]:
    import contextlib

    from fastai.vision.all import (
        Callback,
        ImageDataLoaders,
        Resize,
        accuracy,
        aug_transforms,
        set_seed,
        vision_learner,
    )
    from torch.nn.modules.batchnorm import _BatchNorm

    clock = Clock()

    class Note(Callback):
        """Each epoch's accuracy, and when it was reached; after the Recorder has written it."""

        order = 60

        def after_epoch(self) -> None:
            clock.note(float(self.learn.recorder.values[-1][-1]))

    class KeepStatistics(Callback):
        """The body's batch norm in evaluation mode, after fastai has set the network to training mode."""

        def before_train(self) -> None:
            for module in self.learn.model[0].modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    set_seed(options.seed)
    dls = ImageDataLoaders.from_folder(
        options.folder,
        item_tfms=Resize(options.size),
        batch_tfms=aug_transforms(),
        seed=options.seed,
        device="cpu",
        **loader_options(options),
    )
    cbs = [Note()] + ([KeepStatistics()] if options.one == RIVAL else [])
    weights = {"file": str(options.weights)}  # timm reads them from there instead of its hub
    learn = vision_learner(dls, ARCH, metrics=accuracy, cbs=cbs, pretrained_cfg_overlay=weights)
    with learn.no_bar(), learn.no_logging(), contextlib.redirect_stdout(None):
        learn.fine_tune(EPOCHS)
    return clock.points


def run_one(options: argparse.Namespace) -> None:
    """Run the method `options.one`; its points are the last line of the output."""
    run: Callable[[argparse.Namespace], list[dict[str, float]]]
    run = run_fastai if options.one in PEER_METHODS else run_fastlearn
    print(json.dumps(run(options)))


def run_apart(method: str, folder: Path, weights: Path, seed: int, options: argparse.Namespace) -> Row:
    """The figures of one method, from a process of its own. Raises RuntimeError with the end of what it said."""
    python = interpreter(PEERS, options.peers_python) if method in PEER_METHODS else sys.executable
    given = {"one": method, "folder": folder, "weights": weights, "seed": seed}
    given |= {"size": options.size, "threads": options.threads}
    arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    with tempfile.TemporaryDirectory(prefix="fastlearn-bench-cache-") as cache:  # what one run kept, no other finds
        environment = worker_environment(options.threads) | {"FASTLEARN_CACHE": cache}
        command = [python, str(HERE / "time_to_accuracy.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:] or f"It ended with status {done.returncode}.")
    points = json.loads(done.stdout.splitlines()[-1])
    return {**points[-1], "points": points}


# ── all runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_all(options: argparse.Namespace, rows: list[Row], target: Path) -> dict[str, str]:
    """Every run that is not in `rows` yet, methods in turn; says which method failed, and why."""
    failed: dict[str, str] = {}
    if "stamps" in options.sets and not STAMPS.exists():
        print("Without stamps: apt-get install tuxpaint-stamps-default brings them.")
        options.sets = [name for name in options.sets if name != "stamps"]
    with stamps_and_weights("stamps" in options.sets) as (stamps, weights):
        for seed, name in itertools.product(range(options.seeds), options.sets):
            missing = [m for m in options.methods if m not in failed and not find_row(rows, name, m, seed, options)]
            if not missing:
                continue
            with chosen_pictures(name, seed, stamps) as folder:
                for method in missing:
                    try:
                        figures = run_apart(method, folder, weights, seed, options)
                    except RuntimeError as error:
                        note_failure(failed, method, error)
                        continue
                    key = {"set": name, "method": method, "seed": seed}
                    rows[:] = [row for row in rows if not key.items() <= row.items()]
                    rows.append(key | figures | {"settings": settings_of(name, options)})
                    save_rows(target, rows, TITLE, failed=failed)
                    print(
                        f"{name:8} {method:12} seed {seed}: {figures['accuracy']:.3f} after {figures['wall_s']:.1f} s, "
                        f"{figures['cpu_s']:.1f} CPU s",
                        flush=True,
                    )
    return failed


@contextmanager
def stamps_and_weights(with_stamps: bool) -> Iterator[tuple[Path | None, Path]]:
    """The stamps' folder, and the network's weights under timm's names in a file."""
    import torch

    from fastlearn.arch.lite0 import lite0_state_dict

    with tempfile.TemporaryDirectory(prefix="fastlearn-accuracy-") as scratch:
        weights = Path(scratch, "lite0.pth")
        torch.save(lite0_state_dict(), weights)
        yield (make_stamps(Path(scratch, "stamps")) if with_stamps else None), weights


def settings_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All that a row's figures depend on, beside its method and seed."""
    return {"size_px": options.size, "threads": options.threads, "epochs": EPOCHS} | asdict(SETS[name])


def find_row(rows: Sequence[Row], name: str, method: str, seed: int, options: argparse.Namespace) -> Row | None:
    """The row of a run that was made with the same settings, and is not to be run again."""
    wanted = {"set": name, "method": method, "seed": seed, "settings": settings_of(name, options)}
    found = next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)
    return None if method in options.again else found


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(rows: Sequence[Row]) -> str:
    """One line a data set and method; means over the seeds, standard errors for the accuracies."""
    lines = [
        ["data set", "method", "seeds", "accuracy", "s", "CPU s", f"reached {RIVAL}", "s", "CPU s", "times sooner"]
        + ["of fastai's s"]
    ]
    for name, method in itertools.product(dict.fromkeys(row["set"] for row in rows), METHODS):
        mine = [row for row in rows if row["set"] == name and row["method"] == method]
        if mine:
            reached = [point for row in mine if (point := reaching(row, rows))]
            of = sum(rival_of(row, rows) is not None for row in mine)
            lines.append(
                [name, method, str(len(mine)), mean_and_error([row["accuracy"] for row in mine])]
                + [mean(mine, figure) for figure in ("wall_s", "cpu_s")]
                + ([f"{len(reached)} of {of}"] if method in OUR_METHODS else ["–"])
                + [mean(reached, figure) for figure in ("wall_s", "cpu_s")]
                + [median(sooner(row, rows) for row in mine), median(share(row, rows) for row in mine)]
            )
    return "\n".join(markdown(lines))


def mean(rows: Sequence[Row], figure: str) -> str:
    return f"{statistics.mean(row[figure] for row in rows):.1f}" if rows else "–"


def median(ratios: Iterable[float | None]) -> str:
    found = [ratio for ratio in ratios if ratio is not None]
    return f"{statistics.median(found):.2f}" if found else "–"


def sooner(row: Row, rows: Sequence[Row]) -> float | None:
    """The rival's seconds over those to its accuracy, on the same pictures."""
    point, rival = reaching(row, rows), rival_of(row, rows)
    return None if point is None or rival is None else rival["wall_s"] / point["wall_s"]


def share(row: Row, rows: Sequence[Row]) -> float | None:
    """The whole call's seconds over those of fastai's as it comes."""
    same = {"set": row["set"], "seed": row["seed"], "method": "fastai", "settings": row["settings"]}
    fastai = next((other for other in rows if same.items() <= other.items()), None)
    return None if fastai is None or row["method"] in PEER_METHODS else row["wall_s"] / fastai["wall_s"]


def rival_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The rival's run on the same pictures."""
    same = {"set": row["set"], "seed": row["seed"], "method": RIVAL, "settings": row["settings"]}
    return next((other for other in rows if all(other[key] == value for key, value in same.items())), None)


def reaching(row: Row, rows: Sequence[Row]) -> Row | None:
    """The first point of one of our runs with the accuracy that the rival ended with."""
    rival = rival_of(row, rows)
    if rival is None or row["method"] in PEER_METHODS:
        return None
    return next((point for point in row["points"] if point["accuracy"] >= rival["accuracy"]), None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy and seconds of fine-tuning small sets, beside fastai.")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--again", nargs="+", choices=METHODS, default=[], help="run these even where rows are there")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="pixels (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch, and loader workers (default %(default)s)")
    parser.add_argument("--peers-python", default=None, help="a Python that has fastai (default this one)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON and the table")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of the rows that are there")
    for hidden, kind in (("one", str), ("folder", Path), ("weights", Path), ("seed", int)):
        parser.add_argument(f"--{hidden}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options)
        return
    target = options.results / "time_to_accuracy.json"
    rows = load_rows(target)
    failed = {} if options.table else run_all(options, rows, target)
    text = table(rows)
    print(f"\n{text}")
    target.with_suffix(".md").write_text(text + "\n")
    if failed:
        sys.exit(f"Without {', '.join(failed)}: see above.")


if __name__ == "__main__":
    main()
