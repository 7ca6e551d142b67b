"""What the reader of the live dashboard waits for: JupyterLab in Chromium, a training under it, clocks at both ends.

    .venv/bin/python benchmarks/live_page.py                    # all parts, some minutes
    .venv/bin/python benchmarks/live_page.py --only latency

It drives the page with the harness of `tests/browser` and needs what those tests need: the extras `lab` and `test`, and
Chromium. The product is not changed: the page's `requestAnimationFrame` and `stroke` are wrapped before JupyterLab
loads, and in the kernel the widget's `send` and the steering's `act`, each to note the time. Both ends read the clock
of one machine; how far the two readings are apart is in the JSON (`clock_offset_ms`, and the error of that).

- `latency`: from Python's call of `send` to the end of the drawing of these points (`drawn`), and to the first task
  that the page runs after that frame (`painted`), during a fit of the perceptron of `step_overhead.py`.
- `clicks`: from the DOM's click to the deed in Python, between two batches; batches of a millisecond, and of 0.4 s.
- `million`: a fit of 1,000,000 steps that only set a loss: the heap and frames of the page, memory of the kernel.
- Every part: bytes of its cell's output in the saved notebook, as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from report import installed_versions, machine, markdown, now, short

if TYPE_CHECKING:
    from notebook_page import Notebook

HERE = Path(__file__).resolve().parent
HARNESS = HERE.parent / "tests" / "browser"
MILLION = 1_000_000
EPOCHS = 100
SLOW_S = 0.4

Figures = dict[str, float]
Row = tuple[str, str, str]  # what, measured, goal


# ── in the page ──────────────────────────────────────────────────────────────────────────────────────────────────────

CLOCKS = """
(() => {
  const clock = () => performance.timeOrigin + performance.now();
  const clocks = window.clocks = {clock, draws: [], clicks: [], frames: [], long: [], watch: false, strokes: 0};
  const {stroke} = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.stroke = function (...path) {
    clocks.strokes++;
    return stroke.apply(this, path);
  };
  const frame = window.requestAnimationFrame.bind(window);
  const shown = () => {
    const found = /^step ([0-9,]+)/.exec(document.querySelector(".fl-dash .fl-where")?.textContent ?? "");
    return found ? Number(found[1].replaceAll(",", "")) : 0;
  };
  window.requestAnimationFrame = callback => frame(time => {
    const strokes = clocks.strokes, begun = clock();
    callback(time);
    if (clocks.strokes === strokes || !document.querySelector(".fl-dash")) return;
    const draw = {begun, drawn: clock(), step: shown()};
    clocks.draws.push(draw);
    const channel = new MessageChannel();  // its message comes when the frame has been handed over
    channel.port1.onmessage = () => { draw.painted = clock(); };
    channel.port2.postMessage(null);
  });
  let last = null;
  const tick = time => {
    if (last !== null && clocks.watch) clocks.frames.push(time - last);
    last = clocks.watch ? time : null;
    frame(tick);
  };
  clocks.watchFrames = watch => { if (watch && !clocks.ticking) { clocks.ticking = true; frame(tick); }
                                  clocks.watch = watch; last = null; };
  new PerformanceObserver(list => {
    if (clocks.watch) clocks.long.push(...list.getEntries().map(entry => entry.duration));
  }).observe({entryTypes: ["longtask"]});
  document.addEventListener("click", event => {
    const button = event.target.closest?.(".fl-dash button");
    if (button) clocks.clicks.push([button.getAttribute("aria-label"), clock()]);
  }, true);
})();
"""
BUTTON = "document.querySelector('.fl-dash button[aria-label^=\"{}\"]:not([disabled])')"


# ── in the kernel ────────────────────────────────────────────────────────────────────────────────────────────────────

sent: list[tuple[float, int]] = []  # when, and up to which step
deeds: list[tuple[float, str]] = []


def note_times() -> None:
    """From now on note when points are sent and when wishes are carried out."""
    from fastlearn.live.widget import DashboardWidget
    from fastlearn.training.steering import Steering

    send, act = DashboardWidget.send, Steering.act

    def noting_send(self: Any, content: Any, buffers: Any = None) -> None:
        if content.get("kind") == "points" and content.get("n"):
            sent.append((time.time(), content["first"] + content["n"]))
        send(self, content, buffers)

    def noting_act(self: Any, state: Any) -> Any:
        done = act(self, state)
        deeds.extend((time.time(), one.what) for one in done)
        return done

    DashboardWidget.send, Steering.act = noting_send, noting_act  # type: ignore[method-assign]


def perceptron(n_steps: int, pause_s: float = 0.0) -> Any:
    """A learner with a perceptron to train for `n_steps` an epoch, each with `pause_s` of sleep in it."""
    import torch.nn.functional as F
    from step_overhead import Stamped, make_batches, make_model

    from fastlearn.training.loop import default_step
    from fastlearn.vision.all import DataLoaders, Learner, accuracy

    def slow_step(state: Any) -> None:
        time.sleep(pause_s if state.training else 0)
        default_step(state)

    batches = make_batches()
    learn = Learner(
        DataLoaders(Stamped(batches, n_steps), batches[:2]), make_model(), F.cross_entropy, metrics=accuracy
    )
    if pause_s:
        learn.step = slow_step
    return learn


def hollow(n_steps: int) -> Any:
    """A learner that trains nothing: its step takes a loss from a list."""
    import torch

    learn = perceptron(n_steps)
    rng = torch.Generator().manual_seed(0)
    losses = list((2 + torch.randn(5000, generator=rng).abs()).unbind())

    def step(state: Any) -> None:
        state.loss = losses[state.batch_index % len(losses)]
        state.outputs = torch.zeros(len(state.targets[0]), 10) if not state.training else None

    learn.step = step
    return learn


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def fit_million() -> None:
    """Fit `MILLION` hollow steps, and say what was kept of them."""
    from fastlearn.live.feed import Feed

    learn = hollow(MILLION // EPOCHS)
    before, started, cpu = max(rss_mib(), peak_mib()), time.perf_counter(), time.process_time()
    learn.fit_one_cycle(EPOCHS, 1e-3)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    columns = [learn.recorder._raw, learn.recorder._smooth, learn.recorder._lrs, learn.recorder._moms]
    kept = sum(sys.getsizeof(column) for column in columns)
    begun = time.perf_counter()
    _, buffers = Feed(learn.recorder).thinned()
    figures = {
        "steps": learn.recorder.n_batches,
        "seconds": seconds,
        "cpu": cpu,
        "bytes_per_step": kept / learn.recorder.n_batches,
        "history_mib": kept / 2**20,
        "peak_growth_mib": peak_mib() - before,
        "snapshot_ms": (time.perf_counter() - begun) * 1e3,
        "snapshot_kib": sum(map(len, buffers)) / 2**10,
    }
    say("million", **figures)


def say(name: str, **figures: Any) -> None:
    """Leave figures for the other end, in a file beside the notebook."""
    Path(f"{name}.json").write_text(json.dumps(figures))


# ── the parts ────────────────────────────────────────────────────────────────────────────────────────────────────────

SETUP = f"""import sys; sys.path.insert(0, {str(HERE)!r})
from live_page import *
import live_page; note_times(); perceptron(50).fit_one_cycle(1)"""


def latency(open_page: Callable[..., Notebook]) -> tuple[Figures, dict[str, Any]]:
    """Python's send to the pixel, over a fit of some 25 s."""
    page = open_page("perceptron(5000).fit_one_cycle(2)", "say('sent', sent=live_page.sent)")
    metrics = page.page.context.new_cdp_session(page.page)
    metrics.send("Performance.enable")
    begun, busy = time.perf_counter(), task_s(metrics)
    assert page.run_cell(1)
    page_share = (task_s(metrics) - busy) / (time.perf_counter() - begun)
    assert page.run_cell(2)
    draws = page.page.evaluate("window.clocks.draws")
    offset, error = clock_offset(page)
    rounds = []
    for when, step in told(page, "sent")["sent"]:
        draw = next((draw for draw in draws if draw["step"] >= step and draw["drawn"] >= when * 1e3 + offset), None)
        if draw is not None and "painted" in draw:
            rounds.append({name: draw[name] - when * 1e3 - offset for name in ("begun", "drawn", "painted")})
    rounds = rounds[2:]  # the setup's own fit, and the first drawing
    figures = {"updates": len(rounds), "clock_offset_ms": offset, "clock_error_ms": error, "page_busy": page_share}
    for name in ("begun", "drawn", "painted"):
        figures |= quantiles(name, [row[name] for row in rounds])
    drawing = [draw["drawn"] - draw["begun"] for draw in draws]
    return figures | quantiles("drawing", drawing) | saved_bytes(page, latency=1), {"updates": rounds}


def clicks(open_page: Callable[..., Notebook]) -> tuple[Figures, dict[str, Any]]:
    """The DOM's click to the deed, for batches of a millisecond and of `SLOW_S`."""
    figures: Figures = {}
    raw: dict[str, Any] = {}
    for kind, pause_s, turns, stops in (("quick", 0.0, 12, 6), ("slow", SLOW_S, 4, 2)):
        page = open_page(f"perceptron(20_000, {pause_s}).fit_one_cycle(50)", "say('deeds', deeds=live_page.deeds)")
        for stop in range(stops):
            run = page.start_cell(1)
            page.page.wait_for_function(BUTTON.format("Stop"))
            for _ in range(turns if stop == 0 else 0):
                press(page, "Pause", until=BUTTON.format("Resume"))
                press(page, "Resume", until=BUTTON.format("Pause"))
                for rate in ("Halve", "Double"):
                    press(page, rate, until="document.querySelector('.fl-lr-now:not(.fl-waits)')")
            press(page, "Stop", until="!document.querySelector('.fl-dash')")
            assert page.wait_run(run)
        assert page.run_cell(2)
        offset, _ = clock_offset(page)
        pressed, done = page.page.evaluate("window.clocks.clicks"), told(page, "deeds")["deeds"]
        names = {"Pause": "pause", "Resume": "resume", "Stop": "stop"}
        wished = [names.get(label.partition(":")[0], "lr") for label, _ in pressed]
        if wished != [what for _, what in done]:
            raise RuntimeError(f"The clicks {wished} are not what was done: {[what for _, what in done]}.")
        delays = [(what, when * 1e3 + offset - at) for (when, what), (_, at) in zip(done, pressed, strict=True)]
        raw[kind] = delays
        for what in ("pause", "resume", "lr", "stop"):
            found = [delay for name, delay in delays if name == what]
            figures |= quantiles(f"{kind}_{what}", found) | {f"{kind}_{what}_n": len(found)}
        limit = max(150.0, pause_s * 1e3 + 2)
        figures[f"{kind}_within"] = sum(delay <= limit for _, delay in delays) / len(delays)
        figures[f"{kind}_limit"] = limit
    return figures, raw


def million(open_page: Callable[..., Notebook]) -> tuple[Figures, dict[str, Any]]:
    """The page and the kernel during a million steps."""
    page = open_page("fit_million()")
    metrics = page.page.context.new_cdp_session(page.page)
    metrics.send("Performance.enable")
    before, process_before = heap_mib(metrics), renderer_mib()
    page.page.evaluate("window.clocks.draws.length = 0; window.clocks.watchFrames(true)")
    begun, busy, peak = time.perf_counter(), task_s(metrics), 0.0
    run = page.start_cell(1)
    near_end = f"() => (window.clocks.draws.at(-1)?.step ?? 0) > {MILLION * 0.9}"
    while not page.page.evaluate(near_end):
        page.page.wait_for_timeout(500)
        peak = max(peak, heap_mib(metrics, collect=False))
    page_share = (task_s(metrics) - busy) / (time.perf_counter() - begun)
    page.page.evaluate("window.clocks.watchFrames(false)")
    press(page, "Pause", until=BUTTON.format("Resume"), wait=False)
    paused_at = page.page.evaluate("window.clocks.draws.at(-1).step")
    full, process_full = heap_mib(metrics), renderer_mib()
    press(page, "Resume", until=BUTTON.format("Pause"))
    assert page.wait_run(run, 600)
    seen = page.page.evaluate("window.clocks")
    drawing = [draw["drawn"] - draw["begun"] for draw in seen["draws"] if draw["step"] > MILLION / 10]
    figures = told(page, "million")
    figures |= {"heap_before_mib": before, "heap_mib": full, "heap_peak_mib": peak, "measured_at_step": paused_at}
    figures |= {"renderer_before_mib": process_before, "renderer_mib": process_full, "page_busy": page_share}
    figures |= quantiles("frame", seen["frames"]) | quantiles("drawing", drawing)
    figures |= {"redraws": len(seen["draws"]), "long_tasks": len(seen["long"])}
    figures |= {"longest_task_ms": max(seen["long"], default=0.0)}
    figures["frames_over_50_ms"] = sum(frame > 50 for frame in seen["frames"]) / max(1, len(seen["frames"]))
    return figures | saved_bytes(page, million=1), {"drawing_ms": drawing}


def saved(open_page: Callable[..., Notebook]) -> tuple[Figures, dict[str, Any]]:
    """Bytes that fits of other lengths leave in the notebook's file."""
    cells = ["perceptron(200).fine_tune(3)", "perceptron(20).fit_one_cycle(200)"]
    page = open_page(*cells)
    assert page.run_cell(1)
    assert page.run_cell(2)
    return saved_bytes(page, fine_tune_3=1, epochs_200=2), {}


PARTS = {"latency": latency, "clicks": clicks, "million": million, "saved": saved}


# ── their tools ──────────────────────────────────────────────────────────────────────────────────────────────────────


def press(page: Notebook, name: str, until: str, wait: bool = True) -> None:
    """Click a button at a moment that has nothing to do with the training's own, and wait for the answer."""
    if wait:
        page.page.wait_for_timeout(random.uniform(50, 350))
    page.page.evaluate(f"{BUTTON.format(name)}.click()")
    page.page.wait_for_function(until)


def told(page: Notebook, name: str) -> dict[str, Any]:
    """What the kernel has said by `say`."""
    return json.loads((page.lab.notebooks / f"{name}.json").read_text())


def saved_bytes(page: Notebook, **cells: int) -> Figures:
    """`saved_NAME` of each cell's output in the saved file."""
    page.page.wait_for_function("!document.querySelector('.fl-dash')")
    page.wait_idle()
    page.save()
    return {f"saved_{name}": len(json.dumps(page.saved_outputs(index))) for name, index in cells.items()}


def clock_offset(page: Notebook) -> tuple[float, float]:
    """Milliseconds that the page's clock is ahead of Python's, and how far wrong this may be: half the quickest ask."""
    asks = []
    for _ in range(30):
        begun = time.time()
        there = page.page.evaluate("window.clocks.clock()")
        ended = time.time()
        asks.append(((ended - begun) * 500, there - (begun + ended) * 500))
    error, offset = min(asks)
    # An offset that the error explains is none: both read the same clock.
    return (offset if abs(offset) > error else 0.0), error


def heap_mib(metrics: Any, collect: bool = True) -> float:
    """Size of the page's JavaScript heap, after a collection of what nobody holds."""
    if collect:
        metrics.send("HeapProfiler.collectGarbage")
    return metric(metrics, "JSHeapUsedSize") / 2**20


def task_s(metrics: Any) -> float:
    """Seconds that the page's main thread has been at work."""
    return metric(metrics, "TaskDuration")


def metric(metrics: Any, name: str) -> float:
    return next(one["value"] for one in metrics.send("Performance.getMetrics")["metrics"] if one["name"] == name)


def renderer_mib() -> float:
    """Memory that the largest renderer of our browser has for itself alone."""
    import psutil

    ours = psutil.Process().children(recursive=True)
    return max(child.memory_full_info().uss for child in ours if "--type=renderer" in child.cmdline()) / 2**20


def quantiles(name: str, values: Sequence[float]) -> Figures:
    """p50, p95 and the worst, as `NAME_p50` and so on."""
    ordered = sorted(values)
    at = {"p50": statistics.median(ordered), "p95": ordered[math.ceil(0.95 * (len(ordered) - 1))], "max": ordered[-1]}
    return {f"{name}_{key}": value for key, value in at.items()}


@contextmanager
def browser_and_lab(folder: Path) -> Iterator[Callable[..., Notebook]]:
    """A function that opens a notebook whose first cell, the set-up, has run."""
    sys.path.insert(0, str(HARNESS))
    from shutil import which

    from conftest import BROWSERS, QUIET
    from lab_server import Lab
    from notebook_page import Notebook
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(which, BROWSERS)), None)
    if program is None:
        raise ImportError(f"none of {', '.join(BROWSERS)} is on the path")
    opened: list[Notebook] = []

    def open_page(*cells: str) -> Notebook:
        while opened:
            opened.pop().close()
        lab.end_kernels()
        page = Notebook(browser, lab, [SETUP, *cells], folder=folder, name=f"measure-{time.time_ns()}")
        opened.append(page)
        page.page.add_init_script(CLOCKS)
        page.open()
        assert page.run_cell(0), page.output(0).inner_text()
        return page

    with Lab(folder / "lab") as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        try:
            yield open_page
        finally:
            for page in opened:
                page.close()
            browser.close()


# ── the report ───────────────────────────────────────────────────────────────────────────────────────────────────────


def spread(f: Figures, name: str) -> str:
    return " / ".join(short(f[f"{name}_{key}"]) for key in ("p50", "p95", "max"))


def latency_rows(f: Figures) -> Iterator[Row]:
    yield f"send to end of drawing, ms, p50/p95/max of {f['updates']}", spread(f, "drawn"), ""
    yield "send to painted frame, ms", spread(f, "painted"), "≤ 50 at the median"
    yield "one redraw, ms", spread(f, "drawing"), ""
    yield "the page's main thread is busy, share of the time", f"{f['page_busy']:.1%}", ""


def clicks_rows(f: Figures) -> Iterator[Row]:
    for kind, length in (("quick", "1 ms"), ("slow", f"{SLOW_S} s")):
        goal = f"≤ {f[f'{kind}_limit']:.0f}: {f[f'{kind}_within']:.0%} are"
        for what in ("pause", "resume", "lr", "stop"):
            name = f"{kind}_{what}"
            yield f"click to {what}, batches of {length}, ms, p50/p95/max of {f[f'{name}_n']}", spread(f, name), goal


def million_rows(f: Figures) -> Iterator[Row]:
    heap = f"{short(f['heap_mib'])}, before {short(f['heap_before_mib'])}, peak {short(f['heap_peak_mib'])}"
    yield f"JS heap of the whole page at step {f['measured_at_step']:,}, MiB", heap, "≤ 100"
    renderer = f"{short(f['renderer_mib'])}, before {short(f['renderer_before_mib'])}"
    yield "the page's process, memory of its own, MiB", renderer, ""
    yield "the page's main thread is busy", f"{f['page_busy']:.1%}", ""
    yield "frame to frame, ms, p50/p95/max", spread(f, "frame"), "smooth"
    yield "one redraw, ms", spread(f, "drawing"), "smooth"
    yield "frames longer than 50 ms", f"{f['frames_over_50_ms']:.2%}", ""
    long = f"{f['long_tasks']} of {f['redraws']} redraws, the longest {short(f['longest_task_ms'])} ms"
    yield "tasks longer than 50 ms", long, ""
    yield "kernel: bytes kept a step", f"{short(f['bytes_per_step'])} ({short(f['history_mib'])} MiB)", "columns"
    yield "kernel: growth of peak memory, MiB", short(f["peak_growth_mib"]), ""
    yield "snapshot for a reloaded page", f"{short(f['snapshot_ms'])} ms, {f['snapshot_kib']:.0f} KiB", ""


def rows(found: dict[str, Figures]) -> list[Row]:
    """The table: what, the figures, the goal."""
    tables = {"latency": latency_rows, "clicks": clicks_rows, "million": million_rows}
    out = [row for part, table in tables.items() if part in found for row in table(found[part])]
    for figures in found.values():
        for name in (name for name in figures if name.startswith("saved_")):
            what = name.removeprefix("saved_").replace("_", " ")
            out.append((f"output in the saved notebook, {what}, KB", short(figures[name] / 1000), "≤ 150"))
    return out


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All parts that were asked for."""
    found: dict[str, Figures] = {}
    raw: dict[str, Any] = {}
    load: dict[str, Any] = {}
    with TemporaryDirectory() as folder, browser_and_lab(Path(folder)) as open_page:
        for name in options.only or PARTS:
            found[name], raw[name] = PARTS[name](open_page)
            load[name] = machine()["load"]
            print(f"live_page: {name}, load {load[name]:.1f}", file=sys.stderr, flush=True)
    return {"figures": found, "load": load, "raw": raw}


def main() -> int:
    """Zero when all was measured, or when there is no browser to measure it in, which is said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="leave the other parts out")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON")
    options = parser.parse_args()
    try:
        found = measure(options)
    except ImportError as error:
        print(f'live_page is left out: {error}. It needs: pip install -e ".[lab,test]"; apt install chromium')
        return 0
    report = {"measure": "live_page", "title": TITLE, **found, "machine": machine(), "date": now()}
    report["versions"] = installed_versions()
    text = "\n".join(markdown([("what", "measured", "goal"), *rows(found["figures"])]))
    print(f"\n{TITLE}\n\n{text}")
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "live_page.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.results / "live_page.md").write_text(text + "\n")
    return 0


TITLE = "The live dashboard in JupyterLab and Chromium: latency, clicks, a million steps, bytes saved"

if __name__ == "__main__":
    sys.exit(main())
