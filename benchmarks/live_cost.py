"""What the live dashboard costs the training under it, in a real kernel with real comms and somebody listening.

A round fits the perceptron of `step_overhead.py` for `--steps` steps twice in one Jupyter kernel, with the dashboard
drawing five times a second and with `learn.no_bar()`, in turn; the figures come from the kernel's process alone (the
page is measured by `live_page.py`). `no bar` runs the same comparison between two silent fits: what it shows is noise.

Neighbours on a shared machine move the CPU time of two fits apart by more than the live layer takes, so its cost is
counted in three ways:

- `booked`: CPU time of the training's thread inside the dashboard's calls (the clicks that it listens for ten times a
  second, too), and all CPU time of the kernel's other threads, which send; from the first batch to the last.
- `around`: what the 20 steps from an update on take more than the 20 before it, all threads, median over the updates:
  it has in it what the update does to the caches and to the interpreter's lock.
- `whole`: CPU per step of the fit with the dashboard over that of the silent one, less 1. The noisy one.

The first two are given as a share of a core at five updates a second, that is `update` × 5; `step` is what a step took
meanwhile (neighbours make both dearer).

`in_thread` is the part of an update that the training waits for; other threads take the rest. `point` is what a batch
without an update pays: the dashboard's two calls, timed in a loop. `over` is the difference of the median steps of the
two fits, each step by its own clock. `record` is what the recorder pays to keep the batch's point, with or without a
dashboard. `open` and `close` happen once a fit: the widget, and the still picture.
"""

from __future__ import annotations

import argparse
import atexit
import json
import statistics
import time
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from harness import Contestant, Measure, Round, main
from step_overhead import DISTINCT, LR_MAX, Batch, make_batches, make_model

if TYPE_CHECKING:
    from jupyter_client.blocking import BlockingKernelClient

    from fastlearn.live.dashboard import Dashboard

UPDATES_HZ = 5
NEAR = 20  # steps on either side of an update
CALLS = 100_000
KERNEL_S = 120.0


# ── in the kernel ────────────────────────────────────────────────────────────────────────────────────────────────────


class Clocked:
    """Batches that note when each was asked for, by the wall's clock and by the process's CPU time, all threads."""

    def __init__(self, batches: list[Batch], n: int) -> None:
        self.distinct, self.n = batches, n
        self.wall, self.cpu = array("q"), array("q")
        self.own: list[float] = []  # CPU time of the training's thread, at the first batch and at the last

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Batch]:
        wall, cpu = time.perf_counter_ns, time.process_time_ns
        self.own.append(time.thread_time())
        for i in range(self.n):
            self.wall.append(wall())
            self.cpu.append(cpu())
            yield self.distinct[i % DISTINCT]
        self.own.append(time.thread_time())

    def median_step(self) -> float:
        return statistics.median(b - a for a, b in pairwise(self.wall)) / 1e9

    def cpu_s(self) -> float:
        return (self.cpu[-1] - self.cpu[0]) / 1e9

    def other_threads_s(self) -> float:
        return self.cpu_s() - (self.own[1] - self.own[0])

    def around(self, steps: list[int]) -> list[float]:
        """CPU seconds that the steps from each of `steps` on take more than those before it."""
        inside = [k for k in steps if NEAR <= k < len(self.cpu) - NEAR]
        return [(self.cpu[k + NEAR] - 2 * self.cpu[k] + self.cpu[k - NEAR]) / 1e9 for k in inside]


def booked_dashboard() -> Dashboard:
    """A dashboard that keeps account of its own CPU time, at no cost to the batches without an update."""
    from fastlearn.live.dashboard import Dashboard

    class Booked(Dashboard):
        def __init__(self) -> None:
            super().__init__()
            self.spent: dict[str, float] = dict.fromkeys(("start", "batch", "epoch", "end", "listen"), 0.0)
            self.updates: list[int] = []

        def _draw(self, event: str, state: Any) -> None:
            started = time.thread_time()
            super()._draw(event, state)
            self.spent[event] += time.thread_time() - started
            if event == "batch":
                self.updates.append(state.fit_step)

        def _listen(self, state: Any) -> None:
            started = time.thread_time()
            super()._listen(state)
            self.spent["listen"] += time.thread_time() - started

    return Booked()


def fit(batches: list[Batch], n_steps: int, dashboard: Dashboard | None) -> Clocked:
    from fastlearn.data.dataloaders import DataLoaders
    from fastlearn.live.learner import Learner

    class Watched(Learner):
        def _progress(self) -> Any:
            return dashboard

    clocked = Clocked(batches, n_steps)
    kind = Learner if dashboard is None else Watched
    learn = kind(DataLoaders(clocked, batches[:1]), make_model(), loss_func=F.cross_entropy)
    if dashboard is None:
        with learn.no_bar():
            learn.fit_one_cycle(1, LR_MAX)
    else:
        learn.fit_one_cycle(1, LR_MAX)
    return clocked


def per_call(work: Callable[[], object]) -> float:
    """Seconds of one call, without the loop around it; the best of five, since neighbours only ever add."""

    def seconds(calls: Callable[[], object]) -> float:
        started = time.thread_time()
        for _ in range(CALLS // 5):
            calls()
        return (time.thread_time() - started) / (CALLS // 5)

    return min(seconds(work) for _ in range(5)) - min(seconds(lambda: None) for _ in range(5))


def point_s() -> float:
    """What the dashboard's two calls take in a batch in which nothing is due."""
    from fastlearn.live.dashboard import Dashboard

    idle = Dashboard()  # before a fit nothing is due to it
    before, after = idle.before_batch, idle.after_batch
    state: Any = None  # neither looks at it
    return per_call(lambda: before(state)) + per_call(lambda: after(state))


def record_s() -> float:
    """What the recorder takes to keep a batch's loss, learning rate and momentum."""
    import torch

    from fastlearn.training.recorder import Recorder

    optimizer = SimpleNamespace(param_groups=[{"lr": 1e-3, "betas": (0.9, 0.99)}])
    state: Any = SimpleNamespace(optimizer=optimizer, loss=torch.tensor(0.5))
    recorder = Recorder()
    return per_call(lambda: recorder.batch(state))


def compare(n_steps: int, live: bool, silent_first: bool) -> dict[str, float]:
    """The figures of one round; `live=False` compares two silent fits."""
    from fastlearn.callbacks import progress

    progress._REDRAW_S = 1 / UPDATES_HZ - 0.01  # a drawing waits for the next look at the page, ten times a second
    batches = make_batches()
    silent = fit(batches, n_steps, None) if silent_first else None
    dashboard = booked_dashboard() if live else None
    watched = fit(batches, n_steps, dashboard)
    silent = silent or fit(batches, n_steps, None)
    figures = {
        "over": watched.median_step() - silent.median_step(),
        "whole": watched.cpu_s() / silent.cpu_s() - 1,
        "step": watched.cpu_s() / (n_steps - 1),
        "seconds": (watched.wall[-1] - watched.wall[0]) / 1e9,
    }
    if dashboard is None:
        # Where nothing happens, the same sums over steps a fifth of a second apart show their noise.
        every = max(1, int(n_steps / figures["seconds"] / UPDATES_HZ))
        return figures | {"around": statistics.median(watched.around(list(range(every, n_steps, every)))) * UPDATES_HZ}
    spent, n = dashboard.spent, len(dashboard.updates)
    update = (spent["batch"] + spent["listen"] + watched.other_threads_s()) / n
    return figures | {
        "booked": update * UPDATES_HZ,
        "around": statistics.median(watched.around(dashboard.updates)) * UPDATES_HZ,
        "update": update,
        "in_thread": (spent["batch"] + spent["listen"]) / n,
        "updates_hz": n / figures["seconds"],
        "point": point_s(),
        "record": record_s(),
        "open": spent["start"],
        "close": spent["end"],
    }


# ── outside ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def in_kernel(live: bool) -> Callable[[argparse.Namespace], Round]:
    """The contestant whose rounds are run by a Jupyter kernel of this Python."""

    def build(options: argparse.Namespace) -> Round:
        from jupyter_client.manager import start_new_kernel

        manager, client = start_new_kernel(startup_timeout=KERNEL_S)
        atexit.register(manager.shutdown_kernel, now=True)
        ask(client, f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import json, live_cost")
        turns = iter(range(1 << 30))

        def one_round() -> dict[str, float]:
            call = f"live_cost.compare({options.steps}, {live}, {bool(next(turns) % 2)})"
            return json.loads(ask(client, f"print(json.dumps({call}))"))

        return one_round

    return build


def ask(client: BlockingKernelClient, code: str) -> str:
    """Run `code` in the kernel; the last line that it prints."""
    printed: list[str] = []

    def listen(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=listen, timeout=KERNEL_S * 10)["content"]
    if reply["status"] != "ok":
        raise RuntimeError(
            f"The kernel failed: {reply.get('ename')}: {reply.get('evalue')}\n{''.join(printed)[-2000:]}"
        )
    return "".join(printed).strip().rpartition("\n")[2]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=9000, help="of each fit, above ten seconds (default %(default)s)")


UNITS = {
    "booked": "%",
    "around": "%",
    "whole": "%",
    "update": "ms",
    "in_thread": "ms",
    "step": "µs",
    "updates_hz": "1/s",
    "point": "µs",
    "over": "µs",
    "record": "µs",
    "open": "ms",
    "close": "ms",
    "seconds": "s",
}
MILLI = dict.fromkeys(("update", "in_thread", "open", "close"), 1e3)
MICRO = dict.fromkeys(("point", "over", "record", "step"), 1e6)
PERCENT = dict.fromkeys(("booked", "around", "whole"), 100.0)

MEASURE = Measure(
    name="live_cost",
    title="Cost of the live dashboard to the training under it (MLP 784-128-10, batch 64, five updates a second)",
    contestants={"no bar": Contestant(in_kernel(live=False)), "dashboard": Contestant(in_kernel(live=True))},
    units=UNITS,
    scale=PERCENT | MILLI | MICRO,
    alone=tuple(UNITS),
    reference="no bar",
    rounds=5,
    add_options=add_options,
)

if __name__ == "__main__":
    main(MEASURE)
