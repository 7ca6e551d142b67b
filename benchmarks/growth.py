"""How it grows: `from_folder` with the number of files, loading with the number of workers and with the batch size.

    python benchmarks/growth.py                     # all three, with their plots in results/
    python benchmarks/growth.py --part workers      # or files, or batch

- `files`: seconds of `ImageDataLoaders.from_folder` over 10³ to 10⁶ pictures, in a fresh process, without imports.
- `workers`: images a second of the loaders of `loading.py`, all augmentation, with 0, 1, 2 and 4 workers.
- `batch`: the same with two workers and batches of 8 to 256.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness import OURS, PEERS, Build, Contestant, Measure, Round, main_parts
from jpegs import jpegs_after, jpegs_before
from loading import (
    BATCH_SIZE,
    fastai_loaders,
    fastlearn_loaders,
    loading,
    open_scaled,
    torch_loader,
    use_new_cache_folder,
)
from many_files import SIZES, add_options, from_folder_figures, make_trees, remove_trees

WORKERS = (0, 1, 2, 4)
BATCH_SIZES = (8, 16, 32, 64, 128, 256)
MakeLoader = Callable[..., Any]  # of the options, and `bs` and `num_workers`


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def over_files(library: str) -> Build:
    def build(options: argparse.Namespace) -> Round:
        return lambda: {str(n): from_folder_figures(library, options.folder, n)["wall"] for n in options.sizes}

    return build


# ── workers and batches ──────────────────────────────────────────────────────────────────────────────────────────────


def over_workers(make: MakeLoader) -> Build:
    return over({str(n): {"num_workers": n, "bs": BATCH_SIZE} for n in WORKERS}, make)


def over_batches(make: MakeLoader) -> Build:
    return over({str(bs): {"num_workers": 2, "bs": bs} for bs in BATCH_SIZES}, make)


def over(points: Mapping[str, dict[str, int]], make: MakeLoader) -> Build:
    """The contestant that loads one epoch with each of these settings in turn."""

    def build(options: argparse.Namespace) -> Round:
        use_new_cache_folder()
        rounds = {name: loading(as_epoch(make(options, **given)), given["bs"]) for name, given in points.items()}
        return lambda: {name: one_round()["rate"] for name, one_round in rounds.items()}

    return build


def as_epoch(loader: Any) -> Callable[[], Any]:
    return lambda: loader


def fastlearn(options: argparse.Namespace, **given: int) -> Any:
    return fastlearn_loaders(options, False, **given).train


def fastlearn_memory(options: argparse.Namespace, **given: int) -> Any:
    return fastlearn_loaders(options, "memory", **given).train


def fastai(options: argparse.Namespace, **given: int) -> Any:
    return fastai_loaders(options, **given).train


def torchvision(options: argparse.Namespace, *, bs: int, num_workers: int) -> Any:
    more = {"batch_size": bs, "num_workers": num_workers, "persistent_workers": num_workers > 0}
    return torch_loader(options, open_scaled, **more)


LOADERS: dict[str, tuple[MakeLoader, str]] = {
    "fastai": (fastai, PEERS),
    "torchvision scaled": (torchvision, OURS),
    "fastlearn": (fastlearn, OURS),
    "fastlearn memory": (fastlearn_memory, OURS),
}


def loader_contestants(over_points: Callable[[MakeLoader], Build]) -> dict[str, Contestant]:
    return {name: Contestant(over_points(make), python) for name, (make, python) in LOADERS.items()}


# ── the plots ────────────────────────────────────────────────────────────────────────────────────────────────────────

COLOURS = {"fastlearn": "#d1495b", "fastlearn memory": "#8d1f33", "fastai": "#2f6690", "torchvision scaled": "#8a8a8a"}


def plot(title: str, x_label: str, y_label: str, log: bool = False) -> Callable[..., None]:
    """Draws a report: one line a contestant over the points, named at its end, the quartiles shaded."""

    def finish(options: argparse.Namespace, report: Mapping[str, Any]) -> None:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
        from matplotlib.ticker import FuncFormatter

        points = [point for point in report["units"] if any(point in own for own in report["contestants"].values())]
        figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
        for name, own in report["contestants"].items():
            draw_line(axes, COLOURS.get(name), [own[point] for point in points])
        if log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        name_ends(axes, {name: own[points[-1]]["median"] for name, own in report["contestants"].items()})
        axes.set_xticks(range(len(points)), [f"{int(point):,}" for point in points])
        axes.set_xlabel(x_label)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_title(f"{title}\n{y_label}", loc="left", fontsize=11)
        axes.grid(axis="y", color="#e4e4e4")
        axes.spines[["top", "right"]].set_visible(False)
        target = options.results / f"{report['measure']}.png"
        figure.savefig(target, dpi=110)
        plt.close(figure)
        print(f"Drawn to {target}")

    return finish


def draw_line(axes: Any, colour: str | None, spreads: Sequence[Mapping[str, float]]) -> None:
    """Medians as a line, quartiles as a shade; the points stand at equal distances, since each is a multiple."""
    x = range(len(spreads))
    axes.plot(x, [spread["median"] for spread in spreads], marker="o", markersize=4, color=colour, linewidth=2)
    axes.fill_between(x, [s["q25"] for s in spreads], [s["q75"] for s in spreads], color=colour, alpha=0.2, linewidth=0)


def name_ends(axes: Any, ends: Mapping[str, float]) -> None:
    """Each line's name beside its end, moved up where it would stand on the one below."""
    last_x, lowest = axes.lines[0].get_xdata()[-1], 0.0
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        at = axes.transAxes.inverted().transform(axes.transData.transform((last_x, end)))[1]
        lowest = max(at, lowest)
        axes.text(1.01, lowest, name, transform=axes.transAxes, va="center", color=COLOURS.get(name))
        lowest += 0.055


PARTS = {
    "files": Measure(
        name="growth_files",
        title="Seconds of ImageDataLoaders.from_folder by number of files",
        contestants={
            "fastai": Contestant(over_files("fastai"), PEERS),
            "fastlearn": Contestant(over_files("fastlearn")),
        },
        units={str(n): "s" for n in SIZES},
        reference="fastai",
        rounds=2,
        warmup=0,
        add_options=add_options,
        before=make_trees,
        after=remove_trees,
        finish=plot("From a folder to DataLoaders", "pictures", "seconds", log=True),
    ),
    "workers": Measure(
        name="growth_workers",
        title="Images a second by number of workers (batches of 64, all augmentation)",
        contestants=loader_contestants(over_workers),
        units={str(n): "images/s" for n in WORKERS},
        reference="fastai",
        rounds=3,
        add_options=add_options,
        before=jpegs_before,
        after=jpegs_after,
        finish=plot("Loading JPEGs with augmentation", "workers", "images a second"),
    ),
    "batch": Measure(
        name="growth_batch",
        title="Images a second by batch size (two workers, all augmentation)",
        contestants=loader_contestants(over_batches),
        units={str(bs): "images/s" for bs in BATCH_SIZES},
        reference="fastai",
        rounds=3,
        add_options=add_options,
        before=jpegs_before,
        after=jpegs_after,
        finish=plot("Loading JPEGs with augmentation, two workers", "batch size", "images a second"),
    ),
}

if __name__ == "__main__":
    main_parts(PARTS)
