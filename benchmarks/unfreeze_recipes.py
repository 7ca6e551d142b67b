"""Does unfreezing gain anything over a frozen body with a converged head? Recipes × small data sets × seeds.

A pretrained `tf_efficientnet_lite0` at 128 px. The reference of every run is the strong one: the body frozen in eval
mode, and a linear head on its standardised features at the optimum (`frozen`). A recipe converges the head on a few
augmented views too, where a set is augmented, and goes on from there with the body or its upper groups; it must end
*above* the frozen head, and the recipe `head` shows what the views alone give. Batch norm keeps its statistics, and the
depthwise kernels their weights: on the CPU their gradients are most of a step's cost.

A seed draws a new split into training and validation pictures, and the order; all recipes of a seed share them, so
their gains are paired. Every training is read in three ways: the trained network (`tuned`), its probabilities averaged
with those of the network before (`outputs`), and the network with weights half-way between the two (`weights_0.5`).

The groups below the first trained one give the same maps in every epoch, so they are computed once for a data set and
serve all recipes and seeds. What a user would spend on them is in the CPU seconds of each row.

    python benchmarks/unfreeze_recipes.py                            # the final table's recipes and sets
    python benchmarks/unfreeze_recipes.py --recipes last_stage --sets digits --seeds 0 1
    python benchmarks/unfreeze_recipes.py --cache /var/tmp/maps      # keeps the maps for the next run
    python benchmarks/unfreeze_recipes.py --table                    # only the table of what is there

To try another recipe, add a line to `RECIPES`. Rows already in the JSON file with the same settings are skipped, so a
run that was stopped goes on, and a changed recipe is run anew.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib.util
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_recipes import ARCH, DATASETS, HERE, STAMPS, make_stamps, mean_and_error
from report import load_rows, markdown, save_rows

if TYPE_CHECKING:
    from torch import Tensor, nn

L2_HEAD = 0.01  # of the converged head, on the mean loss; between 0.001 and 0.3 the accuracy is the same within .015
SHARES = (0.5,)  # of the way from the weights of the start to the trained ones, read as well
READINGS = ("tuned", "outputs", *(f"weights_{share:g}" for share in SHARES))


@dataclass(frozen=True)
class Recipe:
    """What is done with the body, or its upper groups, after the head has converged."""

    first: int = 6  # the first of the body's nine groups (stem, seven stages, last convolution) that learns
    epochs: int = 5  # 0 stops at the start: the head converged on the augmented views too, where there are any
    bs: int = 16
    lr_body: float = 1e-3  # of the last group of the body
    lr_head: float = 1e-3
    decay: float = 1.0  # of the rate, from each group to the one below
    depthwise: bool = False  # whether the depthwise kernels learn: their gradients are most of the cost
    norms_only: bool = False  # whether of the body the batch norms' scales and shifts alone learn
    optimizer: str = "Adam"
    smoothing: float = 0.0
    wd: float = 0.01
    l2_sp: float = 0.0  # decay towards the start: the share of the way back in a step, per unit of the rate
    ema: float = 0.0  # decay of the weights' moving average
    l2_head: float = L2_HEAD
    pct_start: float = 0.25


RECIPES: dict[str, Recipe] = {
    "head": Recipe(epochs=0),
    "top": Recipe(lr_body=3e-4, lr_head=1e-4),
    "whole": Recipe(first=0, lr_body=3e-4, lr_head=1e-4),
    # Looked at on one or two splits, or not at all yet.
    "last_stage": Recipe(first=7, lr_body=1e-4, lr_head=1e-4),
    "top_smooth": Recipe(lr_body=3e-4, lr_head=1e-4, smoothing=0.1),
    "top_soft": Recipe(lr_body=1e-4, lr_head=3e-5),
    "top_depthwise": Recipe(lr_body=3e-4, lr_head=1e-4, depthwise=True),
    "top_norms": Recipe(lr_body=1e-3, lr_head=1e-4, norms_only=True),
    "whole_smooth": Recipe(first=0, lr_body=3e-4, lr_head=1e-4, smoothing=0.1),
}
DEFAULT_RECIPES = ("head", "top", "whole")


@dataclass(frozen=True)
class Setting:
    """How many training and validation pictures a split has (a share of all where it is below 1), and how many
    augmented views of each picture there are: none where a flip would change what is seen."""

    train: float
    valid: float
    n_views: int


SETS: dict[str, Setting] = {
    "clipart": Setting(0.75, 0.25, 4),
    "digits": Setting(400, 400, 0),
    "fashion": Setting(300, 600, 0),
    "stamps": Setting(0.7, 0.3, 4),
    "fashion2000": Setting(2000, 1000, 0),
    "digits10": Setting(100, 400, 0),  # ten pictures a class
    "fashion10": Setting(100, 600, 0),
}
DEFAULT_SETS = ("clipart", "digits", "fashion", "stamps")


# ── the data ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Pool:
    """All pictures of a data set as bytes (n, 3, size, size), their classes, and the families that a split keeps."""

    pictures: Tensor
    targets: Tensor
    families: list[int]

    @property
    def n_classes(self) -> int:
        return int(self.targets.max()) + 1


class Samples:
    """Inputs (several views of each, perhaps) and classes as a data set; `view` is the one that is shown."""

    kinds = ("image", "category")

    def __init__(self, views: Sequence[Tensor], targets: Tensor) -> None:
        self.views, self.targets, self.view = views, targets, 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.views[self.view][i], self.targets[i]


def read_pool(name: str, size_px: int, stamps: Path | None) -> Pool:
    """Training and validation folders together: splits are drawn anew."""
    import numpy as np
    import torch
    from PIL import Image

    from fastlearn.vision.all import Resize

    source = stamps if name == "stamps" else DATASETS / source_of(name)
    assert source is not None
    paths = sorted(source.glob("*/*/*.png"), key=lambda path: (path.parent.name, path.name))
    classes = sorted({path.parent.name for path in paths})
    resize, rng = Resize(size_px), np.random.default_rng(0)
    small = [Image.open(path).convert("RGB") for path in paths]
    whole = [resize((image,), ("image",), rng, False)[0] for image in small]
    pictures = torch.stack([torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) for image in whole])
    targets = torch.tensor([classes.index(path.parent.name) for path in paths])
    drawings = name in ("clipart", "stamps")
    return Pool(pictures, targets, families_of(small) if drawings else list(range(len(paths))))


def source_of(name: str) -> str:
    """The folder in `datasets/` that a set is drawn from."""
    return name.rstrip("0123456789")


def families_of(images: Sequence[Any]) -> list[int]:
    """The versions of one drawing have one number, by the rule that the clip art set was made with."""
    spec = importlib.util.spec_from_file_location("make_clipart", DATASETS / "clipart" / "make.py")
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    return make.families([image.resize((96, 96)) for image in images])[0]


def split(pool: Pool, setting: Setting, seed: int) -> tuple[list[int], list[int]]:
    """Positions for training and validation, the same share of every class, a family on one side only."""
    rng = random.Random(seed)
    train: list[int] = []
    valid: list[int] = []
    n = len(pool.targets)
    shares = [part if part < 1 else part / n for part in (setting.train, setting.valid)]
    for label in range(pool.n_classes):
        mine = [i for i in range(n) if int(pool.targets[i]) == label]
        groups: dict[int, list[int]] = {}
        for i in mine:
            groups.setdefault(pool.families[i], []).append(i)
        drawn = list(groups.values())
        rng.shuffle(drawn)
        n_valid, n_train = round(shares[1] * len(mine)), round(shares[0] * len(mine))
        mine_valid: list[int] = []
        mine_train: list[int] = []
        for members in drawn:
            if len(mine_valid) + len(members) <= n_valid and len(members) <= 3:
                mine_valid += members
            elif len(mine_train) < n_train:
                mine_train += members
        train += mine_train
        valid += mine_valid
    return train, valid


# ── the frozen body and its head ─────────────────────────────────────────────────────────────────────────────────────


def pretrained(n_classes: int) -> nn.Module:
    """Body and linear head, as `vision_learner(dls, ARCH, head="linear")` makes them; everything in eval mode."""
    import torch

    from fastlearn.arch.spec import create_vision_model

    model = create_vision_model(ARCH, n_classes, head="linear").eval()
    return model.to(memory_format=torch.channels_last)


def groups_of(body: Any) -> list[nn.Sequential]:
    """The stem, each stage and the last convolution."""
    from torch import nn

    return [nn.Sequential(*part) for part in ([body.conv_stem, body.bn1], *body.blocks, [body.conv_head, body.bn2])]


def fit_head(head: nn.Sequential, features: Tensor, targets: Tensor, l2: float) -> None:
    """Multinomial regression on standardised features by L-BFGS: a convex problem, so it needs no learning rate."""
    import torch
    from torch.nn import functional as F

    norm, linear = head[-2], head[-1]
    with torch.no_grad():
        norm.running_mean.copy_(features.mean(0))
        norm.running_var.copy_(features.var(0))
        linear.weight.zero_()
        linear.bias.zero_()
    x = (features - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    weight = torch.zeros_like(linear.weight, requires_grad=True)
    bias = torch.zeros_like(linear.bias, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, targets) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


def outputs_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """What `model` in eval gives for each of the inputs."""
    import torch

    model.eval()
    with torch.no_grad():
        return torch.cat([model(part.contiguous(memory_format=torch.channels_last)) for part in inputs.split(64)])


@dataclass
class Maps:
    """What the groups below the first trained one give for a whole pool: the centre view, then augmented ones."""

    views: list[Tensor]
    cpu_s: float  # for one view of one picture


def maps_of(pool: Pool, first: int, n_views: int) -> Maps:
    """The maps of every picture, which serve all seeds: nothing below `first` learns."""
    import torch
    from torch import nn

    from fastlearn.arch.weights import pretrained_stats
    from fastlearn.data.transform import BatchPipeline
    from fastlearn.vision.all import IntToFloatTensor, Normalize, aug_transforms

    lower = nn.Sequential(*groups_of(pretrained(pool.n_classes)[0])[:first])
    pixels = [
        IntToFloatTensor(),
        Normalize.from_stats(*pretrained_stats(ARCH, None).for_channels(3)),
        *aug_transforms(),
    ]
    pipeline, rng = BatchPipeline(pixels, ("image", "category")), torch.Generator().manual_seed(0)

    def maps(train: bool) -> Tensor:
        batches = zip(pool.pictures.split(64), pool.targets.split(64), strict=True)
        return torch.cat([outputs_of(lower, pipeline(batch, rng, train)[0]) for batch in batches])

    start = time.process_time()
    views = [maps(view > 0) for view in range(n_views)]
    return Maps(views, (time.process_time() - start) / (n_views * len(pool.targets)))


# ── one run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(pool: Pool, maps: Maps, parts: tuple[list[int], list[int]], recipe: Recipe, seed: int) -> dict[str, float]:
    """Accuracies of one recipe: the frozen head, the trained network, and averages of the two; CPU seconds of each."""
    from torch import nn

    model = pretrained(pool.n_classes)
    body, head = nn.Sequential(*groups_of(model[0])[recipe.first :]), model[1]
    views = [view[parts[0]] for view in maps.views]
    valid, targets, valid_targets = maps.views[0][parts[1]], pool.targets[parts[0]], pool.targets[parts[1]]
    model = nn.Sequential(body, head)
    start = time.process_time()
    fit_head(head, pooled(model, views[:1]), targets, recipe.l2_head)
    frozen_cpu_s = len(targets) * maps.cpu_s + time.process_time() - start
    frozen_out = outputs_of(model, valid)
    start = time.process_time()
    if len(views) > 1:
        fit_head(head, pooled(model, views), targets.repeat(len(views)), recipe.l2_head)
    before, before_out = copy.deepcopy(model.state_dict()), outputs_of(model, valid)
    n_steps = train(model, views, targets, recipe, seed) if recipe.epochs else 0
    cpu_s = frozen_cpu_s + (len(views) - 1) * len(targets) * maps.cpu_s + time.process_time() - start
    after, after_out = copy.deepcopy(model.state_dict()), outputs_of(model, valid)
    outs = {
        "frozen": frozen_out,
        "start": before_out,
        "tuned": after_out,
        "outputs": (before_out.softmax(1) + after_out.softmax(1)).div(2).log(),
    }
    for share in SHARES:
        model.load_state_dict(between_weights(before, after, share))
        outs[f"weights_{share:g}"] = outputs_of(model, valid)
    figures = {name: accuracy_of(out, valid_targets) for name, out in outs.items()}
    figures |= {f"{name}_loss": loss_of(out, valid_targets) for name, out in outs.items()}
    return figures | {"steps": n_steps, "frozen_cpu_s": frozen_cpu_s, "cpu_s": cpu_s}


def pooled(model: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """What the head's norm gets, for one view after the other."""
    import torch
    from torch import nn

    below = nn.Sequential(model[0], *model[1][:-2])
    return torch.cat([outputs_of(below, view) for view in views])


def between_weights(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights at `share` of the way from one state to the other (WiSE-FT; Wortsman and others, 2022)."""
    return {k: before[k].lerp(v, share) if v.is_floating_point() else v for k, v in after.items()}


def train(model: nn.Module, views: Sequence[Tensor], targets: Tensor, recipe: Recipe, seed: int) -> int:
    """Train the groups above the frozen ones by the library's learner; the number of steps."""
    from torch import nn

    from fastlearn.callbacks.ema import EMA
    from fastlearn.data.dataloaders import DataLoaders
    from fastlearn.data.loaders import DataLoader
    from fastlearn.learner.learner import Learner
    from fastlearn.training.optimizer import SGD, Adam

    samples = Samples(views, targets)
    loader = DataLoader(samples, recipe.bs, True, drop_last=True, num_workers=0, train=True, seed=seed, device="cpu")
    learn = Learner(
        DataLoaders(loader),
        model,
        nn.CrossEntropyLoss(label_smoothing=recipe.smoothing),
        # The head's norm has a group of its own, so that it counts to the body and keeps its statistics too.
        splitter=lambda model: [*model[0], model[1][-2], model[1][-1]],
        bn="eval",
        opt_func={"Adam": Adam, "SGD": functools.partial(SGD, mom=0.9)}[recipe.optimizer],
        wd=recipe.wd,
        seed=seed,
    ).to_channelslast()
    learn.unfreeze()
    for module in model[0].modules():
        held = isinstance(module, nn.Conv2d) and (recipe.norms_only or (module.groups > 1 and not recipe.depthwise))
        if held:
            module.requires_grad_(False)
    n_groups = len(model[0])
    rates = [recipe.lr_body * recipe.decay ** (n_groups - 1 - i) for i in range(n_groups)]
    learn.on("before_epoch")(lambda state: show_view(samples, state.fit_epoch))
    if recipe.ema:
        learn.add_cb(EMA(recipe.ema))
    if recipe.l2_sp:
        learn.add_cb(towards_start(recipe.l2_sp))
    with learn.no_bar():
        learn.fit_one_cycle(recipe.epochs, [*rates, recipe.lr_head, recipe.lr_head], pct_start=recipe.pct_start)
    return recipe.epochs * len(loader)


def show_view(samples: Samples, epoch: int) -> None:
    """Another augmented view in each epoch, as long as there are others."""
    samples.view = 1 + epoch % (len(samples.views) - 1) if len(samples.views) > 1 else 0


def towards_start(share: float) -> Any:
    """A callback that draws every trained weight of the body back to where it was by `share` of its rate a step."""
    import torch

    from fastlearn.training.callback import Callback

    class TowardsStart(Callback):
        """L2-SP (Li, Grandvalet and Davoine, 2018), decoupled from the gradient as weight decay is."""

        def before_fit(self, state: Any) -> None:
            self.start = [[p.detach().clone() for p in group["params"]] for group in state.optimizer.param_groups]

        def after_step(self, state: Any) -> None:
            with torch.no_grad():
                for group, start in zip(state.optimizer.param_groups[:-2], self.start, strict=False):
                    for parameter, origin in zip(group["params"], start, strict=True):
                        parameter.lerp_(origin, share * group["lr"])

    return TowardsStart()


def accuracy_of(out: Tensor, targets: Tensor) -> float:
    return float((out.argmax(1) == targets).float().mean())


def loss_of(out: Tensor, targets: Tensor) -> float:
    from torch.nn import functional as F

    return float(F.cross_entropy(out, targets))


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a data set, recipe and reading: accuracy and paired gain over the frozen head, with standard errors."""
    lines = [["data set", "recipe", "read", "seeds", "frozen head", "accuracy", "gain", "loss's change", "CPU s"]]
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    for name in [*dict.fromkeys(row["set"] for row in rows), "all"]:
        for recipe in recipes:
            mine = [row for row in rows if row["recipe"] == recipe and name in (row["set"], "all")]
            for read in READINGS if RECIPES[recipe].epochs else READINGS[:1]:
                if mine:
                    lines.append([name, recipe, *cells(mine, read, by_set=name != "all")])
    return "\n".join(markdown(lines))


def cells(rows: Sequence[dict[str, Any]], read: str, by_set: bool) -> list[str]:
    loss = statistics.mean(row[f"{read}_loss"] - row["frozen_loss"] for row in rows)
    frozen_s, whole_s = (statistics.mean(row[cost] for row in rows) for cost in ("frozen_cpu_s", "cpu_s"))
    return [
        read,
        str(len(rows)),
        mean_and_error([row["frozen"] for row in rows], by_set),
        mean_and_error([row[read] for row in rows], by_set),
        mean_and_error([row[read] - row["frozen"] for row in rows], sign="+"),
        f"{loss:+.3f}",
        f"{frozen_s:.1f} → {whole_s:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="What unfreezing gains over a frozen body with a converged head.")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(DEFAULT_SETS))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(DEFAULT_RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--size", type=int, default=128, help="pixels (default %(default)s)")
    parser.add_argument("--cache", type=Path, help="folder that keeps the maps of the frozen groups")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON and the table")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of the rows that are there")
    options = parser.parse_args()
    target = options.results / "unfreeze_recipes.json"
    rows = load_rows(target)
    if not options.table:
        # Before torch is imported: OpenMP reads these once.
        os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "Agg"}
        run_all(options, rows, target)
    text = table(rows)
    print(f"\n{text}")
    target.with_suffix(".md").write_text(text + "\n")


def run_all(options: argparse.Namespace, rows: list[dict[str, Any]], target: Path) -> None:
    """Every run that is not in `rows` yet, a data set after the other."""
    if "stamps" in options.sets and not STAMPS.exists():
        print("Without stamps: apt-get install tuxpaint-stamps-default brings them.")
        options.sets = [name for name in options.sets if name != "stamps"]
    for name, first in itertools.product(options.sets, sorted({RECIPES[recipe].first for recipe in options.recipes})):
        recipes = [recipe for recipe in options.recipes if RECIPES[recipe].first == first]
        missing = [
            (seed, recipe)
            for seed, recipe in itertools.product(options.seeds, recipes)
            if not find_row(rows, name, recipe, seed, options)
        ]
        if not missing:
            continue
        pool, maps = prepared(name, first, options)
        for seed, recipe in missing:
            figures = run(pool, maps, split(pool, SETS[name], seed), RECIPES[recipe], seed)
            key = {"set": name, "recipe": recipe, "seed": seed}
            rows[:] = [row for row in rows if not key.items() <= row.items()]
            rows.append(key | figures | {"settings": settings_of(name, recipe, options)})
            rows.sort(key=lambda row: (list(SETS).index(row["set"]), list(RECIPES).index(row["recipe"]), row["seed"]))
            title = f"Unfreezing {ARCH} from a converged head: accuracy by recipe"
            save_rows(target, rows, title, arch=ARCH)
            print(
                f"{name:11} {recipe:12} seed {seed}: frozen {figures['frozen']:.3f}, tuned {figures['tuned']:.3f}, "
                f"outputs {figures['outputs']:.3f}, {figures['cpu_s']:.1f} CPU s",
                flush=True,
            )


def prepared(name: str, first: int, options: argparse.Namespace) -> tuple[Pool, Maps]:
    """A set's pictures and maps, from the cache where they are there. Kept in half precision, as they are used."""
    import torch

    with tempfile.TemporaryDirectory(prefix="fastlearn-stamps-") as scratch:
        stamps = make_stamps(Path(scratch)) if name == "stamps" else None
        pool = read_pool(name, options.size, stamps)
    n_views = 1 + SETS[name].n_views
    kept = options.cache and options.cache / f"{source_of(name)}-{options.size}-{first}-{n_views}.pt"
    if kept and kept.exists():
        views, cpu_s = torch.load(kept)
    else:
        maps = maps_of(pool, first, n_views)
        views, cpu_s = [view.half() for view in maps.views], maps.cpu_s
        if kept:
            options.cache.mkdir(parents=True, exist_ok=True)
            torch.save((views, cpu_s), kept)
    return pool, Maps([view.float() for view in views], cpu_s)


def settings_of(name: str, recipe: str, options: argparse.Namespace) -> dict[str, Any]:
    """All that a row's figures depend on, beside its seed."""
    return {"size_px": options.size} | asdict(SETS[name]) | asdict(RECIPES[recipe])


def find_row(
    rows: Sequence[dict[str, Any]], name: str, recipe: str, seed: int, options: argparse.Namespace
) -> dict[str, Any] | None:
    """The row of a run that was made with the same settings."""
    wanted = {"set": name, "recipe": recipe, "seed": seed, "settings": settings_of(name, recipe, options)}
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


if __name__ == "__main__":
    main()
