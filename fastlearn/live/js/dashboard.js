// The live training dashboard: one story a widget, one view for each place where it is shown.

import { makeControls } from "./controls.js";
import "./dashboard.css";
import { make } from "./dom.js";
import { count, number, rate } from "./format.js";
import { makeHead } from "./head.js";
import { LossChart, marks } from "./loss-chart.js";
import { makeReadout } from "./readout.js";
import { isShare, MetricChart, RateChart } from "./small-charts.js";
import { Story } from "./story.js";
import { makeTable } from "./table.js";
import { applyTheme, watchTheme } from "./theme.js";

const MOST_BUCKETS = 1600; // more than the large chart has pixels
// initialize and render are given different proxies of one model: what they share lives in this closure.
export default () => {
  const story = new Story();
  const lost = () => story.lost();
  let asked = false;

  function initialize({ model }) {
    const receive = (message, buffers) => {
      const whole = story.receive(message, buffers);
      if (message.kind === "snapshot") asked = false;
      if (whole || asked) return;
      asked = true;
      model.send({ do: "hello" });
    };
    model.on("msg:custom", receive);
    model.on("comm_live_update", lost); // a restart; at a shutdown the page only parts from the kernel
    const { disposed } = model.widget_manager?.kernel ?? {}; // JupyterLab's signal
    disposed?.connect?.(lost);
    return () => {
      model.off("msg:custom", receive);
      disposed?.disconnect?.(lost);
    };
  }

  function render({ model, el }) {
    const send = (message) => {
      try {
        model.send(message);
      } catch {
        lost();
      }
    };
    const view = new View(story, el, send);
    send({ do: "hello" });
    return () => view.destroy();
  }

  return { initialize, render };
};

class View {
  constructor(story, el, send) {
    this.story = story;
    this.zoomed = null;
    this.at = null; // the step that the reader points at
    this.log = false;
    this.frame = 0;
    this.visible = false; // a front end renders into an element that it puts on the page only afterwards
    this.charts = {};
    this.head = makeHead(story);
    this.controls = makeControls(story, send);
    this.table = makeTable(story);
    this.root = make("section", "fl-dash", { "aria-label": "Training dashboard" });
    this.root.append(this.head.element, this.makeTools(), this.makeCharts(), this.table.element);
    el.append(this.root);
    this.colors = applyTheme(this.root);
    this.ends = [
      story.listen(() => this.redraw()),
      watchTheme(() => this.retheme()),
      this.watchVisible(),
      () => cancelAnimationFrame(this.frame),
      () => Object.values(this.charts).forEach((chart) => chart?.destroy()),
    ];
    this.redraw();
  }

  destroy() {
    for (const end of this.ends) end();
    this.root.remove();
  }

  // --- what is built once

  makeTools() {
    this.unzoom = make(
      "button",
      "fl-button fl-unzoom",
      { type: "button", title: "Show the whole training (double click does the same)" },
      "whole training",
    );
    this.unzoom.addEventListener("click", () => this.zoom(null));
    this.scales = ["linear", "log"].map((name) => {
      const button = make(
        "button",
        "fl-choice",
        { type: "button", title: `Show the loss on a ${name === "log" ? "logarithmic" : "linear"} axis` },
        name,
      );
      button.addEventListener("click", () => this.setLog(name === "log"));
      return button;
    });
    const choice = make("div", "fl-choices", { role: "group", "aria-label": "Axis of the loss" }, ...this.scales);
    return make("div", "fl-tools", {}, this.controls.element, choice);
  }

  makeCharts() {
    this.lossBox = make("div", "fl-plot", {
      tabindex: "0",
      role: "img",
      "aria-label": "Chart of the loss. Arrow keys read values, plus and minus zoom, Escape shows everything.",
    });
    this.lossBox.addEventListener("keydown", (event) => this.key(event));
    this.lossBox.addEventListener("focus", () => this.lossLine.element.setAttribute("aria-live", "polite"));
    this.lossBox.addEventListener("blur", () => {
      // While nobody reads by keys, running values are not for the ear.
      this.lossLine.element.removeAttribute("aria-live");
      this.hover(null);
    });
    this.rateBox = make("div", "fl-plot");
    this.metricBox = make("div", "fl-plot");
    this.lossLine = makeReadout("loss", [
      { key: "raw", name: "batch", mark: "faint", color: "var(--fl-faint)" },
      { key: "smooth", name: "train", mark: "line", color: "var(--fl-train)" },
      { key: "valid", name: "valid", mark: "dot", color: "var(--fl-valid)" },
      { key: "best", name: "best", mark: "star", color: "var(--fl-valid)" },
    ]);
    this.rateLine = makeReadout("", [
      { key: "lr", name: "learning rate", mark: "line", color: "var(--fl-rate)" },
      { key: "mom", name: "momentum (right)", mark: "dash", color: "var(--fl-momentum)" },
    ]);
    this.metricSlot = make("div");
    this.metricFigure = make("div", "fl-figure", {}, this.metricSlot, this.metricBox);
    const loss = make("div", "fl-figure fl-large", {}, this.lossLine.element, this.lossBox, this.unzoom);
    const side = make(
      "div",
      "fl-side",
      {},
      make("div", "fl-figure", {}, this.rateLine.element, this.rateBox),
      this.metricFigure,
    );
    return make("div", "fl-charts", {}, loss, side);
  }

  /** Charts that cannot be seen are not drawn; they catch up when they come into sight. */
  watchVisible() {
    const observer = new IntersectionObserver((entries) => {
      this.visible = entries.at(-1).isIntersecting;
      if (this.visible) this.retheme();
    });
    observer.observe(this.root);
    return () => observer.disconnect();
  }

  // --- what the charts ask of their owner

  theme() {
    return this.colors;
  }

  hover(step, source = null) {
    const { next } = this.story.store;
    this.at = step === null || next === 0 ? null : Math.max(1, Math.min(next, Math.round(step)));
    for (const chart of Object.values(this.charts)) if (chart !== source) chart?.point(this.at);
    this.read();
  }

  zoom(from, to) {
    this.zoomed = from === null || to - from < 2 ? null : [from, to];
    this.redraw();
  }

  redraw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  // --- what the reader does

  setLog(log) {
    this.log = log;
    this.redraw();
  }

  retheme() {
    this.colors = applyTheme(this.root);
    this.redraw();
  }

  key(event) {
    const [from, to] = this.range();
    const at = this.at ?? to;
    const pace = Math.max(1, ((to - from) / 100) * (event.shiftKey ? 10 : 1));
    const centre = this.at ?? (from + to) / 2;
    const actions = {
      ArrowLeft: () => this.hover(Math.max(from, at - pace)),
      ArrowRight: () => this.hover(Math.min(to, at + pace)),
      Home: () => this.hover(from),
      End: () => this.hover(to),
      Escape: () => (this.hover(null), this.zoom(null)),
      "+": () => this.zoom(centre - (to - from) / 4, centre + (to - from) / 4),
      "-": () => this.zoom(...this.wider(centre, to - from)),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  wider(centre, half) {
    const end = this.wholeRange()[1];
    return 2 * half >= end ? [null] : [Math.max(0, centre - half), Math.min(end, centre + half)];
  }

  // --- drawing

  range() {
    return this.zoomed ?? this.wholeRange();
  }

  /** The axis grows in doublings of an epoch, so that it seldom moves, and ends where the training does. */
  wholeRange() {
    const { store, start, over } = this.story;
    const total = start?.steps_total || Infinity;
    if (over) return [0, Math.max(2, store.next)];
    let end = Math.max(2, start?.steps_per_epoch || 50);
    while (end < store.next) end *= 2;
    return [0, Math.max(store.next, Math.min(end, total))];
  }

  draw() {
    this.root.dataset.state = this.story.state;
    this.head.update();
    this.controls.update();
    this.unzoom.hidden = !this.zoomed;
    this.scales.forEach((button, k) => button.setAttribute("aria-pressed", String(this.log === (k === 1))));
    if (this.visible) this.drawCharts();
    if (this.at !== null) for (const chart of Object.values(this.charts)) if (!chart?.pointed) chart?.point(this.at);
    this.table.update();
    this.read();
  }

  drawCharts() {
    const range = this.range();
    const data = this.story.store.view(range[0] - 1, range[1] - 1, MOST_BUCKETS);
    const loss = this.chart("loss", LossChart, this.lossBox);
    loss.update(data, range, this.log);
    this.chart("rate", RateChart, this.rateBox).update(data, range);
    this.metricFigure.hidden = this.story.metrics.length === 0;
    if (this.metricFigure.hidden) this.charts.metric = void this.charts.metric?.destroy();
    else this.metricChart().update(range);
  }

  /** The chart of a name, made anew when its shape (which lines, which axes) has changed. */
  chart(name, Kind, box) {
    const shape = Kind.shape?.(this.story) ?? "";
    const old = this.charts[name];
    if (old && old.shape === shape) return old;
    old?.destroy();
    this.charts[name] = Object.assign(new Kind(box, this, this.story), { shape });
    return this.charts[name];
  }

  metricChart() {
    const names = this.story.metrics;
    const key = MetricChart.shape(this.story);
    if (this.metricKey !== key) {
      this.metricKey = key;
      const shares = names.map((name) => isShare(this.story, name));
      const label = (name, k) => (!shares[k] && shares.includes(true) ? `${name} (right)` : name);
      const item = (name, k) => ({
        key: name,
        name: label(name, k),
        mark: k > 2 ? "dash" : "line",
        color: `var(--fl-metric${(k % 6) + 1})`,
      });
      this.metricLine = makeReadout("", names.map(item));
      this.metricSlot.replaceChildren(this.metricLine.element);
    }
    return this.chart("metric", MetricChart, this.metricBox);
  }

  /** The values in the lines above the charts: where the reader points, else the newest. */
  read() {
    const { story } = this;
    const { store } = story;
    const step = this.at ?? store.next;
    const i = store.length ? store.find(step - 1) : -1;
    const value = (name, format) => (i < 0 ? "–" : format(store[name][i]));
    const [lo, hi] = i < 0 ? [] : [number(store.lo[i]), number(store.hi[i])];
    const row = story.rowAt(step)?.row ?? {};
    const best = story.rows[story.bestRow]?.row;
    this.lossLine.set("raw", i < 0 ? "–" : lo === hi ? lo : `${lo}…${hi}`);
    this.lossLine.set("smooth", value("smooth", number));
    this.lossLine.set("valid", number(row.valid_loss));
    this.lossLine.set("best", best ? number(best.valid_loss ?? best.train_loss) : "");
    this.lossLine.show("valid", !story.start || story.start.metric_names.includes("valid_loss"));
    this.lossLine.show("best", Boolean(best));
    this.lossLine.where(store.next === 0 ? "" : this.where(step));
    this.rateLine.set("lr", value("lr", rate));
    this.rateLine.set("mom", value("mom", number));
    this.rateLine.show("mom", store.hasMomentum);
    for (const name of story.metrics) this.metricLine?.set(name, number(row[name]));
  }

  /** "step 120 · epoch 2", and what happened there. */
  where(step) {
    if (this.at === null)
      return `step ${count(step)}${this.story.stepsTotal ? ` of ${count(this.story.stepsTotal)}` : ""}`;
    const epoch = this.story.rows.filter((row) => row.at < step).length + 1;
    const [from, to] = this.range();
    const near = marks(this.story).filter((mark) => Math.abs(mark.at - step) <= (to - from) / 150);
    return [`step ${count(step)}`, `epoch ${epoch}`, ...near.map((mark) => mark.label)].join(" · ");
  }
}
