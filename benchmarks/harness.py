"""Compares named contestants at the same work, interleaved, in one tree of processes.

A measure is a file with a `Measure` in it, whose contestants are functions of that file:

    def plain(options: argparse.Namespace) -> Round:
        batches = make_batches()                        # set-up, once, not measured
        def one_round() -> dict[str, float]:            # called again and again
            return timed(lambda: train(batches))
        return one_round

    MEASURE = Measure("step_overhead", {"plain": Contestant(plain), "fastai": Contestant(fastai, PEERS)}, ...)
    if __name__ == "__main__":
        main(MEASURE)

To add a contestant is to add one such function, which imports its library inside, and its line in the measure.

Every contestant runs in a worker process of its own, kept alive over the rounds. `make bench` installs fastlearn and
its peers into one environment; `--peers-python` names another for the peers. Rounds alternate A B C A B C, so a noisy
neighbour meets all of them alike; a first round warms up and is not counted. OpenMP waits passively, because a spinning
thread on a shared core makes a step ten times dearer; the number of threads is fixed for all. The result goes to
`benchmarks/results/<measure>.json` with machine, versions and date; `report.py` says how it is summed up.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from report import Rounds, installed_versions, machine, now, summarise, table, usable_cores

HERE = Path(__file__).resolve().parent
OURS = "ours"  # the Python that runs the benchmark
PEERS = "peers"  # the Python that has fastai and the others; the same one under `make bench`

Round = Callable[[], dict[str, float]]
Build = Callable[[argparse.Namespace], Round]


@dataclass(frozen=True)
class Contestant:
    """A function that sets up and gives the round to measure, and whose Python runs it (`OURS` or `PEERS`)."""

    build: Build
    python: str = OURS


@dataclass(frozen=True)
class Measure:
    """One comparison. `units` names each figure of a round and its unit, in the order of the table's columns.

    `scale` multiplies a figure for display and JSON alike (1e6 for µs). `reference` is the contestant that ratios and
    differences are taken against.
    """

    name: str
    title: str
    contestants: Mapping[str, Contestant]
    units: Mapping[str, str]
    reference: str
    scale: Mapping[str, float] = field(default_factory=dict)
    differences: Sequence[str] = ()  # figures whose difference to the reference is of interest, beside the ratio
    alone: Sequence[str] = ()  # figures that are compared already, so that a ratio of them would say nothing
    rounds: int = 7
    threads: int = 1  # of each contestant; 0 for one a core
    warmup: int = 1
    add_options: Callable[[argparse.ArgumentParser], None] | None = None
    before: Callable[[argparse.Namespace], Sequence[str]] | None = None  # shared set-up; gives options for the workers
    after: Callable[[argparse.Namespace], None] | None = None  # its undoing, also after an error
    finish: Callable[[argparse.Namespace, Mapping[str, Any]], None] | None = None  # given the report: a plot of it


# ── for use inside contestants ───────────────────────────────────────────────────────────────────────────────────────


def timed(work: Callable[[], object]) -> dict[str, float]:
    """CPU seconds (all threads of this process) and wall seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def timed_tree(work: Callable[[], object]) -> dict[str, float]:
    """The same, and in `cpu` the worker processes of a loader too, those that have ended meanwhile included."""
    wall, cpu = time.perf_counter(), tree_cpu_s()
    work()
    return {"cpu": tree_cpu_s() - cpu, "wall": time.perf_counter() - wall}


def tree_cpu_s() -> float:
    """CPU seconds so far of this process and of all that it has started, to about a hundredth."""
    import psutil

    total, me = 0.0, psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)  # those that ended
    return total


def peak_rss_mib() -> float:
    """The most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def run_fresh(code: str, *args: str) -> dict[str, float]:
    """The figures that `code` prints as JSON on its last line, from a fresh process of this interpreter."""
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The measured process failed:\n{done.stderr[-4000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


# ── the worker: one contestant, in its own process ───────────────────────────────────────────────────────────────────


def serve(measure: Measure, name: str, options: argparse.Namespace) -> None:
    """Answer each line on standard input with one round's figures as JSON.

    Whatever the libraries print goes to standard error, so that only answers are on standard output.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    one_round = measure.contestants[name].build(options)
    print(json.dumps({"versions": installed_versions()}), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(one_round()), file=answers, flush=True)


class Worker:
    """A contestant's process, and its answers. What it prints otherwise is shown only if it fails."""

    def __init__(self, measure: Measure, name: str, python: str, argv: Sequence[str], threads: int) -> None:
        self.name = name
        self.versions: dict[str, str] = {}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (close() closes it)
        script = sys.modules[measure.contestants[name].build.__module__].__file__
        self.process = subprocess.Popen(
            [python, str(script), *argv, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=worker_environment(threads),
        )

    def ready(self) -> None:
        """Wait until the contestant is set up."""
        self.versions = self._answer()["versions"]

    def run(self) -> dict[str, float]:
        """One round."""
        assert self.process.stdin is not None
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.log.seek(0)
            raise WorkerFailed(f"{self.name} ended with status {status}:\n{self.log.read()[-3000:]}")
        return json.loads(line)

    def close(self) -> None:
        """End the worker: kindly, then by force."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class WorkerFailed(RuntimeError):
    """A contestant's process ended; the message holds the end of its output."""


def worker_environment(threads: int) -> dict[str, str]:
    """The environment that every contestant shares: threads, waiting, no display, this folder's modules.

    Python keeps what it has compiled, as it does for a user, even where this shell has forbidden it: otherwise a
    checkout would be compiled anew at each import, and the installed peers never.
    """
    path = os.pathsep.join([str(HERE.parent), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "OMP_NUM_THREADS": str(threads or usable_cores()),
        "MKL_NUM_THREADS": str(threads or usable_cores()),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MPLBACKEND": "Agg",
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": path,
    }


# ── the parent: rounds, table, file ──────────────────────────────────────────────────────────────────────────────────


def main(measure: Measure, argv: Sequence[str] | None = None) -> None:
    """The command line of a measure's file: run it, print the table, write the JSON."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(description=measure.title)
    parser.add_argument("--rounds", type=int, default=measure.rounds, help="counted rounds (default %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=measure.threads, help="of each, 0: all cores (default %(default)s)"
    )
    parser.add_argument("--only", nargs="+", choices=list(measure.contestants), help="leave the other contestants out")
    parser.add_argument("--peers-python", default=None, help="a Python that has the peers (default this one)")
    parser.add_argument(
        "--results", type=Path, default=HERE / "results", help="folder of the JSON (default %(default)s)"
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)  # see main_parts
    parser.add_argument("--worker", choices=list(measure.contestants), help=argparse.SUPPRESS)
    if measure.add_options:
        measure.add_options(parser)
    options = parser.parse_args(argv)
    if options.worker:
        serve(measure, options.worker, options)
        return
    try:
        if measure.before:
            argv = [*argv, *measure.before(options)]
        rounds, versions, failed = run_rounds(measure, options, argv)
    finally:
        if measure.after:
            measure.after(options)
    report = summarise(measure.units, measure.reference, measure.differences, rounds, measure.alone) | {
        "measure": measure.name,
        "title": measure.title,
        "settings": {"rounds": options.rounds, "threads": options.threads, "argv": list(argv)},
        "failed": failed,
        "machine": machine(),
        "versions": versions,
        "date": now(),
        "rounds": rounds,
    }
    print(f"\n{measure.title}\n\n{table(report)}")
    options.results.mkdir(parents=True, exist_ok=True)
    target = options.results / f"{measure.name}.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nWritten to {target}")
    if measure.finish:
        measure.finish(options, report)


def main_parts(parts: Mapping[str, Measure], left_out: Mapping[str, str] | None = None) -> None:
    """The command line of a file with several measures: `--part NAME` runs one of them, without it they run in turn.

    Those `left_out` are run only when they are named; the reason is said.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--part", choices=list(parts))
    chosen, others = parser.parse_known_args()
    for name in [chosen.part] if chosen.part else parts:
        if not chosen.part and name in (left_out or {}):
            print(f"Without {name}: {left_out[name]}.", file=sys.stderr)  # type: ignore[index]
            continue
        main(parts[name], ["--part", name, *others])


def run_rounds(
    measure: Measure, options: argparse.Namespace, argv: Sequence[str]
) -> tuple[Rounds, dict[str, dict[str, str]], dict[str, str]]:
    """Each contestant's figures, round by round; its versions; and why it failed, if it did.

    A contestant that cannot be set up (a peer that is not installed) is left out and said so: the others still run.
    """
    names = [name for name in measure.contestants if not options.only or name in options.only]
    rounds: Rounds = {name: [] for name in names}
    failed: dict[str, str] = {}
    with workers(measure, names, options, argv, failed) as team:
        versions = {worker.name: worker.versions for worker in team}
        for index in range(1 - measure.warmup, options.rounds + 1):
            for worker in list(team):
                try:
                    answer = worker.run()
                except WorkerFailed as error:
                    note_failure(failed, worker.name, error)
                    team.remove(worker)
                    continue
                if index > 0:  # round 0 warms up
                    rounds[worker.name].append({k: v * measure.scale.get(k, 1.0) for k, v in answer.items()})
            print(f"{measure.name}: round {index} of {options.rounds}", file=sys.stderr, flush=True)
    return {name: values for name, values in rounds.items() if values and name not in failed}, versions, failed


def note_failure(failed: dict[str, str], name: str, error: Exception) -> None:
    """Leave a contestant out, and say so at once and in the report."""
    failed[name] = str(error).strip().splitlines()[-1]
    print(f"Without {name}: {error}", file=sys.stderr)


@contextmanager
def workers(
    measure: Measure, names: Sequence[str], options: argparse.Namespace, argv: Sequence[str], failed: dict[str, str]
) -> Iterator[list[Worker]]:
    """The contestants' processes, set up one after the other (so that no set-up disturbs another), ended at the end."""
    team: list[Worker] = []
    started: list[Worker] = []
    try:
        for name in names:
            try:
                python = interpreter(measure.contestants[name].python, options.peers_python)
                worker = Worker(measure, name, python, argv, options.threads)
                started.append(worker)
                worker.ready()
            except WorkerFailed as error:
                note_failure(failed, name, error)
            else:
                team.append(worker)
        yield team
    finally:
        for worker in started:
            worker.close()


def interpreter(kind: str, peers_python: str | None) -> str:
    """The Python of a contestant: the one that runs this, unless the peers have another."""
    if kind == OURS:
        return sys.executable
    return peers_python or os.environ.get("BENCH_PEERS_PYTHON") or sys.executable
