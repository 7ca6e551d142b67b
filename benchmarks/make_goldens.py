"""Writes `tests/training/goldens/fastai_fits.json`: what fastai makes of a small, fully written-down training problem.

Run it with the python that has the peers: `.venv-bench/bin/python benchmarks/make_goldens.py`.
The JSON begins with the whole problem in words and formulas (`problem`), so the test rebuilds it from numpy and torch
alone. Nothing in it is random: data and start weights are sines, the loaders do not shuffle, the network has no
dropout. Floats that torch holds in 32 bits are written with nine significant digits, which give the same 32 bits back.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

TARGET = Path(__file__).parents[1] / "tests" / "training" / "goldens" / "fastai_fits.json"
N_TRAIN, N_VALID, N_FEATURES, N_HIDDEN, N_CLASSES, BATCH_SIZE = 88, 40, 6, 10, 3, 16

PROBLEM = {
    "data": (
        "row i = 0..127, column j = 0..5, all in float64, then cast to float32: x[i, j] = sin(1.7 i + 0.9 j^2 + 0.3); "
        "targets y[i] = argmax over k = 0..2 of sum_j x[i, j] sin(2.3 k + j) + 0.4 sin(5.1 i + 2 k), int64. "
        "Rows 0..87 are the training set, rows 88..127 the validation set."
    ),
    "loaders": (
        "torch.utils.data.DataLoader(TensorDataset(x, y), batch_size=16), no shuffling, last batch kept: "
        "6 and 3 batches"
    ),
    "model": "nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.BatchNorm1d(10), nn.Linear(10, 3))",
    "start": (
        "parameter number t in the order of model.parameters() (0.weight, 0.bias, 2.weight, 2.bias, 3.weight, 3.bias), "
        "flat index k in C order, float64 then float32: s * sin(1.3 k + 0.7 t + 0.2), s = 0.5 for t = 0 and 4, "
        "else 0.1; 2.weight adds 1. Running mean 0 and variance 1 at the start."
    ),
    "groups": (
        "where a case says groups = 2: [[parameters of model[0] and model[2]], [parameters of model[3]]]; "
        "otherwise one group"
    ),
    "learner": (
        "loss nn.CrossEntropyLoss(), metrics accuracy and error_rate, defaults otherwise: Adam(betas .9 .99, eps 1e-5, "
        "wd .01, decoupled, not on batch-norm parameters nor biases), moms (.95, .85, .95), train_bn True. "
        "`learner` in a case names what differs; `opt` names another optimizer: 'sgd' = SGD(), "
        "'sgd_mom' = SGD(mom=.9, wd=.05)."
    ),
    "calls": (
        "the method calls of the case, in order: [name, positional arguments, keyword arguments]; "
        "{'slice': [a, b]} stands for slice(a, b)"
    ),
    "results": (
        "for each call `fits`, one entry a fit (fine_tune makes two, freeze none); lrs[i] and moms[i] are those of "
        "step i, one value a group; losses the raw batch losses; smooth_losses the recorder's; "
        "values one row an epoch in the order train_loss (smoothed), valid_loss, accuracy, error_rate. "
        "state: the model's final state dict, flat. Tolerances: lrs and moms 1e-9 relative, the rest 1e-5."
    ),
    "lr_find": (
        "groups = 1, otherwise the same learner; lr_find(**options); lrs and smooth_losses of every step, "
        "and the four suggestions. Rounding differences grow where the network diverges: compare losses where lr < 0.3"
    ),
}

Call = tuple[str, list[Any], dict[str, Any]]


def spread(low: float | None, high: float) -> dict[str, list[float | None]]:
    """How a slice is written in JSON."""
    return {"slice": [low, high]}


CASES: dict[str, dict[str, Any]] = {
    "fit_adam": {"calls": [("fit", [2, 1e-2], {})]},
    "fit_adam_wd": {"calls": [("fit", [2, 1e-2], {"wd": 0.2})]},
    "fit_adam_wd_bn_bias": {"learner": {"wd": 0.2, "wd_bn_bias": True}, "calls": [("fit", [2, 1e-2], {})]},
    "fit_adam_two_groups": {"groups": 2, "calls": [("fit", [2, spread(1e-4, 1e-2)], {})]},
    "fit_sgd": {"opt": "sgd", "calls": [("fit", [2, 0.1], {})]},
    "fit_sgd_mom": {"opt": "sgd_mom", "calls": [("fit", [2, 0.05], {})]},
    "one_cycle": {"calls": [("fit_one_cycle", [3, 1e-2], {})]},
    "one_cycle_options": {
        "calls": [
            (
                "fit_one_cycle",
                [2, 2e-2],
                {"div": 10.0, "div_final": 1e3, "pct_start": 0.4, "moms": [0.9, 0.8, 0.99], "wd": 0.1},
            )
        ],
    },
    "one_cycle_slice": {"groups": 2, "calls": [("fit_one_cycle", [2, spread(1e-4, 1e-2)], {})]},
    "one_cycle_slice_stop": {"groups": 2, "calls": [("fit_one_cycle", [2, spread(None, 1e-2)], {})]},
    "one_cycle_sgd_mom": {"opt": "sgd_mom", "calls": [("fit_one_cycle", [3, 0.1], {})]},
    "one_cycle_twice": {"calls": [("fit_one_cycle", [1, 1e-2], {}), ("fit_one_cycle", [2, 5e-3], {})]},
    "one_cycle_reset_opt": {
        "calls": [("fit_one_cycle", [1, 1e-2], {}), ("fit_one_cycle", [1, 1e-2], {"reset_opt": True})]
    },
    "flat_cos": {"calls": [("fit_flat_cos", [3, 1e-2], {})]},
    "flat_cos_options": {
        "groups": 2,
        "calls": [("fit_flat_cos", [2, spread(1e-3, 1e-2)], {"pct_start": 0.5, "div_final": 1e2})],
    },
    "sgdr": {"calls": [("fit_sgdr", [2, 1, 1e-2], {})]},
    "sgdr_two_groups": {"groups": 2, "calls": [("fit_sgdr", [2, 1, spread(1e-3, 1e-2)], {"cycle_mult": 3})]},
    "fine_tune": {"groups": 2, "calls": [("fine_tune", [2], {})]},
    "fine_tune_options": {
        "groups": 2,
        "calls": [
            ("fine_tune", [3], {"base_lr": 2e-2, "freeze_epochs": 2, "lr_mult": 10, "pct_start": 0.4, "div": 8.0})
        ],
    },
    "fine_tune_train_bn_off": {
        "groups": 2,
        "learner": {"train_bn": False},
        "calls": [("fine_tune", [2], {"base_lr": 2e-2})],
    },
    "fine_tune_one_group": {"calls": [("fine_tune", [2], {"base_lr": 1e-2})]},
    "fine_tune_sgd_mom": {"groups": 2, "opt": "sgd_mom", "calls": [("fine_tune", [2], {"base_lr": 0.1})]},
    # Without decay: fastai goes on decaying weights that were trained and are then frozen, which is not to be copied.
    "freeze_fit_unfreeze": {
        "groups": 2,
        "learner": {"wd": 0.0},
        "calls": [
            ("freeze", [], {}),
            ("fit", [1, 1e-2], {}),
            ("unfreeze", [], {}),
            ("fit", [1, spread(1e-3, 1e-2)], {}),
            ("freeze_to", [1], {}),
            ("fit_one_cycle", [1, spread(None, 5e-3)], {}),
        ],
    },
}

FINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "wide": {"start_lr": 1e-5, "end_lr": 100.0, "num_it": 60},
    "short": {"start_lr": 1e-4, "end_lr": 1.0, "num_it": 30},
}


# ── the problem ──────────────────────────────────────────────────────────────────────────────────────────────────────


def make_data() -> tuple[Tensor, Tensor]:
    """Inputs (128, 6) float32 and targets (128,) int64, as `PROBLEM` says."""
    i = np.arange(N_TRAIN + N_VALID, dtype=np.float64)[:, None]
    j = np.arange(N_FEATURES, dtype=np.float64)[None, :]
    k = np.arange(N_CLASSES, dtype=np.float64)[None, :]
    x = np.sin(1.7 * i + 0.9 * j**2 + 0.3)
    scores = x @ np.sin(2.3 * k + j.T) + 0.4 * np.sin(5.1 * i + 2 * k)
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(scores.argmax(1))


def make_loaders() -> tuple[DataLoader, DataLoader]:
    x, y = make_data()
    train, valid = TensorDataset(x[:N_TRAIN], y[:N_TRAIN]), TensorDataset(x[N_TRAIN:], y[N_TRAIN:])
    return DataLoader(train, batch_size=BATCH_SIZE), DataLoader(valid, batch_size=BATCH_SIZE)


def make_model() -> nn.Sequential:
    """The network with its start weights."""
    model = nn.Sequential(
        # The rectifier stands before the batch norm: a bias right before a batch norm has a gradient of pure rounding
        # noise, which Adam would blow up to differences of 1e-5.
        nn.Linear(N_FEATURES, N_HIDDEN),
        nn.ReLU(),
        nn.BatchNorm1d(N_HIDDEN),
        nn.Linear(N_HIDDEN, N_CLASSES),
    )
    with torch.no_grad():
        for t, (name, parameter) in enumerate(model.named_parameters()):
            k = np.arange(parameter.numel(), dtype=np.float64)
            scale, shift = 0.5 if t in (0, 4) else 0.1, 1.0 if name == "2.weight" else 0.0
            values = scale * np.sin(1.3 * k + 0.7 * t + 0.2) + shift
            parameter.copy_(torch.from_numpy(values.astype(np.float32)).view_as(parameter))
    return model


def two_groups(model: nn.Sequential) -> list[list[nn.Parameter]]:
    return [[*model[0].parameters(), *model[2].parameters()], list(model[3].parameters())]


# ── fastai's side ────────────────────────────────────────────────────────────────────────────────────────────────────


def make_learner(case: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """A fastai learner for `case` and the list that its fits will be recorded into."""
    import fastai.callback.all  # noqa: F401 (adds the fits to Learner)
    from fastai.basics import Callback, DataLoaders, Learner, accuracy, error_rate
    from fastai.optimizer import SGD, Adam

    fits: list[dict[str, Any]] = []

    class Tap(Callback):
        """Notes what every step was given and what it lost."""

        order = 1000
        run_valid = False

        def before_fit(self) -> None:
            fits.append({"lrs": [], "moms": [], "losses": []})

        def before_step(self) -> None:
            hypers = self.learn.opt.hypers
            fits[-1]["lrs"].append([float(h["lr"]) for h in hypers])
            moms = [h.get("mom") for h in hypers]
            fits[-1]["moms"].append(None if None in moms else [float(m) for m in moms])
            fits[-1]["losses"].append(short(self.learn.loss.item()))

        def after_fit(self) -> None:
            fits[-1]["smooth_losses"] = [short(float(v)) for v in self.learn.recorder.losses]
            fits[-1]["values"] = [[short(float(v)) for v in row] for row in self.learn.recorder.values]

    optimizers: dict[object, Callable] = {"sgd": SGD, "sgd_mom": partial(SGD, mom=0.9, wd=0.05), None: Adam}
    options = dict(case.get("learner", {}))
    if case.get("groups") == 2:
        options["splitter"] = two_groups
    learn = Learner(
        DataLoaders(*make_loaders(), path=Path(tempfile.mkdtemp())),
        make_model(),
        loss_func=nn.CrossEntropyLoss(),
        opt_func=optimizers[case.get("opt")],
        metrics=[accuracy, error_rate],
        cbs=Tap(),
        **options,
    )
    return learn, fits


def short(value: float) -> float:
    """`value` with the nine digits that name one float32."""
    return float(f"{value:.9g}")


def revive(value: Any) -> Any:
    """Undoes `spread`."""
    return slice(*value["slice"]) if isinstance(value, dict) else value


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    learn, fits = make_learner(case)
    results = []
    with learn.no_bar(), learn.no_logging():
        for name, args, kwargs in case["calls"]:
            done = len(fits)
            getattr(learn, name)(*map(revive, args), **kwargs)
            results.append({"call": name, "fits": fits[done:]})
    state = {name: [short(v) for v in t.flatten().tolist()] for name, t in learn.model.state_dict().items()}
    return {**case, "results": results, "state": state}


def run_find(options: dict[str, Any]) -> dict[str, Any]:
    """The learning-rate finder on a fresh learner."""
    from fastai.callback.schedule import minimum, slide, steep, valley

    learn, _ = make_learner({})
    before = {name: t.clone() for name, t in learn.model.state_dict().items()}
    with learn.no_bar():
        found = learn.lr_find(**options, show_plot=False, suggest_funcs=(valley, slide, minimum, steep))
    for name, t in learn.model.state_dict().items():
        assert torch.equal(t, before[name]), name
    return {
        "options": options,
        "suggestions": {name: float(value) for name, value in found._asdict().items()},
        "lrs": [float(v) for v in learn.recorder.lrs],
        "smooth_losses": [short(float(v)) for v in learn.recorder.losses],
    }


def main() -> None:
    torch.set_num_threads(1)
    x, y = make_data()
    model = make_model()
    goldens = {
        "made_by": "benchmarks/make_goldens.py",
        "versions": {"fastai": version("fastai"), "torch": torch.__version__, "python": platform.python_version()},
        "problem": PROBLEM,
        "probes": {
            "x[0]": [short(v) for v in x[0].tolist()],
            "x[127]": [short(v) for v in x[127].tolist()],
            "y": y.tolist(),
            "0.weight[0]": [short(v) for v in model[0].get_parameter("weight")[0].tolist()],
            "2.weight": [short(v) for v in model[2].get_parameter("weight").tolist()],
            "logits[0] in eval": [short(v) for v in model.eval()(x[:1])[0].tolist()],
        },
        "cases": {name: run_case(case) for name, case in CASES.items()},
        "lr_find": {name: run_find(options) for name, options in FINDS.items()},
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(f" {json.dumps(k)}: {compact(v)}" for k, v in goldens.items())
    TARGET.write_text("{\n" + body + "\n}\n")
    print(f"{TARGET}: {len(goldens['cases'])} cases, {TARGET.stat().st_size / 1024:.0f} KB")


def compact(value: Any) -> str:
    """JSON with one line an entry of a dictionary, so that a change shows in a diff."""
    if not isinstance(value, dict):
        return json.dumps(value)
    lines = (f"  {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in value.items())
    return "{\n" + ",\n".join(lines) + "\n }"


if __name__ == "__main__":
    main()
