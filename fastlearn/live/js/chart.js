// What the three charts share: axes, lines, reading line and zoom, all by uPlot.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { steps, tickLabels, ticks } from "./format.js";

const STEPS = [1, 2, 5, 10, 20, 50].flatMap((m) => [m, m * 1e2, m * 1e4, m * 1e6]).sort((a, b) => a - b);
const TICK_PX = 32; // room that a tick of a vertical axis wants

/**
 * A chart in `box`. Its `owner`, the view, gives theme(), hover(step or null, chart), zoom(from, to) or zoom(null), and
 * redraw().
 * A kind of chart describes itself: {series, scales, axes, bands, hooks, top}, where `top` is room above the plot.
 */
export class Chart {
  constructor(box, owner, story) {
    Object.assign(this, { box, owner, story });
    const { series, scales, axes, bands, hooks = {}, top = 8 } = this.describe();
    this.plot = new uPlot(
      {
        ...size(box),
        padding: [top, axes.length > 1 ? null : 12, 0, null],
        series: [{}, ...series],
        scales: { x: { time: false }, ...scales },
        axes: [this.stepAxis(), ...axes],
        bands,
        hooks: { ...hooks, setCursor: [() => this.moved()], setSelect: [() => this.selected()] },
        legend: { show: false },
        cursor: {
          y: false,
          points: { show: false },
          drag: { x: true, y: false, setScale: false, dist: 6 },
          bind: { dblclick: () => () => (owner.zoom(null), null) },
        },
      },
      [[0, 1], ...series.map(() => [null, null])],
      box,
    );
    this.pointed = false;
    this.plot.over.addEventListener("mouseenter", () => (this.pointed = true));
    this.plot.over.addEventListener("mouseleave", () => this.left());
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(box);
  }

  destroy() {
    this.observer.disconnect();
    this.plot.destroy();
  }

  resize() {
    const { width, height } = size(this.box);
    if (width === this.plot.width && height === this.plot.height) return;
    if (this.box.clientWidth > 0) {
      this.plot.setSize({ width, height });
      this.owner.redraw();
    }
  }

  /** Show `data` between the limits of each scale, in one drawing. */
  show(data, limits) {
    if (data[0].length < 2) data = padded(data, limits.x);
    this.plot.batch(() => {
      this.plot.setData(data, false);
      for (const [key, [min, max]] of Object.entries(limits)) this.plot.setScale(key, { min, max });
    });
  }

  /** Put the reading line at `x`, or take it away. */
  point(x) {
    const left = x === null ? -10 : this.plot.valToPos(x, "x");
    this.plot.setCursor({ left, top: x === null ? -10 : 1 }, false);
  }

  /** Only the chart under the pointer reads from it: the others' lines are put where it says. */
  moved() {
    const { left } = this.plot.cursor;
    if (this.pointed && left >= 0) this.owner.hover(this.plot.posToVal(left, "x"), this);
  }

  left() {
    this.pointed = false;
    this.owner.hover(null);
  }

  selected() {
    const { left, width } = this.plot.select;
    if (width < 6) return;
    this.owner.zoom(this.plot.posToVal(left, "x"), this.plot.posToVal(left + width, "x"));
    this.plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  get font() {
    return `11px ${this.owner.theme().font}`;
  }

  /** A canvas colour that follows the theme. */
  color(name) {
    return () => this.owner.theme()[name];
  }

  get axisStyle() {
    const grid = { stroke: this.color("grid"), width: 1 };
    return { stroke: this.color("muted"), grid, ticks: { show: false }, font: this.font };
  }

  stepAxis() {
    const values = (_, splits) => steps(splits);
    return { ...this.axisStyle, values, incrs: STEPS, space: 64, size: 24, gap: 6, grid: { show: false } };
  }

  /** A vertical axis; `splits` and `labels` default to plain numbers. */
  valueAxis(scale, { splits = ticks, labels = tickLabels, ...others } = {}) {
    const wanted = (plot) => Math.max(3, Math.floor(plot.bbox.height / uPlot.pxRatio / TICK_PX));
    return {
      ...this.axisStyle,
      scale,
      gap: 6,
      size: (_, texts) => axisSize(texts),
      splits: (plot, _, min, max) => splits(min, max, wanted(plot)),
      values: (_, found) => labels(found),
      ...others,
    };
  }
}

function size(box) {
  return { width: Math.max(120, box.clientWidth), height: Math.max(80, box.clientHeight) };
}

/** Too few points to span an axis: gaps at both ends of it stand in. */
function padded(data, [from, to]) {
  return [[from, ...data[0], to], ...data.slice(1).map((column) => [null, ...column, null])];
}

/** Wide enough for the longest label, in wide enough notches that the plot does not tremble as digits change. */
function axisSize(texts) {
  const longest = Math.max(0, ...(texts ?? []).map((text) => (text ?? "").length));
  return Math.max(36, Math.ceil((14 + longest * 6.4) / 10) * 10);
}
