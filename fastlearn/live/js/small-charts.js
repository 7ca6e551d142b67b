// The small charts beside the large one.

import { Chart } from "./chart.js";
import { extent, logTicks, rate, tickLabels, ticks } from "./format.js";

const DASHES = [[], [], [], [7, 3], [2, 3], [9, 3, 2, 3]]; // beyond three lines colours alone are hard to tell apart

const finite = (values) => values.filter((v) => Number.isFinite(v));

/** Limits a little wider than the values. */
function around(values, share = 0.08) {
  if (!values.length) return [0, 1];
  const [min, max] = extent(values);
  const pad = (max - min) * share || Math.abs(max) * 0.05 || 0.05;
  return [min - pad, max + pad];
}

/** Learning rate and momentum, each on its own axis. */
export class RateChart extends Chart {
  /** A chart of one shape cannot become another: when this changes, make a new one. */
  static shape(story) {
    return String(story.store.hasMomentum);
  }

  describe() {
    const line = { width: 1.75, points: { show: false } };
    const right = this.valueAxis("mom", { side: 1, grid: { show: false } });
    return {
      series: [
        { ...line, scale: "lr", stroke: this.color("rate") },
        { ...line, scale: "mom", stroke: this.color("momentum"), dash: [5, 3] },
      ],
      scales: { lr: {}, mom: {} },
      axes: [
        this.valueAxis("lr", { labels: (found) => found.map(rate) }),
        ...(this.story.store.hasMomentum ? [right] : []),
      ],
    };
  }

  update(view, range) {
    const top = Math.max(0, ...finite(view.lr)) || 1;
    const limits = { x: range, lr: [0, top * 1.08], mom: around(finite(view.mom)) };
    this.show([view.x.map((x) => x + 1), view.lr, view.mom], limits);
  }
}

/** A line for each metric: those within 0…1 on the left axis, the others on one of their own. */
export class MetricChart extends Chart {
  static shape(story) {
    return JSON.stringify([story.metrics, story.metrics.map((name) => isShare(story, name))]);
  }

  describe() {
    const names = this.story.metrics;
    this.shares = names.map((name) => isShare(this.story, name));
    const both = this.shares.includes(true) && this.shares.includes(false);
    const other = {
      splits: (...limits) => (this.log ? logTicks(...limits) : ticks(...limits)),
      labels: (found) => (this.log ? found.map((v) => tickLabels([10 ** v])[0]) : tickLabels(found)),
      ...(both ? { side: 1, grid: { show: false } } : {}),
    };
    return {
      series: names.map((_, k) => this.line(k)),
      scales: { share: {}, other: {} },
      axes: [
        ...(this.shares.includes(true) ? [this.valueAxis("share")] : []),
        ...(this.shares.includes(false) ? [this.valueAxis("other", other)] : []),
      ],
    };
  }

  line(k) {
    const color = () => this.owner.theme().metrics[k % 6];
    return {
      scale: this.shares[k] ? "share" : "other",
      width: 1.75,
      dash: DASHES[k % DASHES.length],
      stroke: color,
      points: { show: () => this.sparse(), size: 7, width: 1, fill: color, stroke: this.color("paper") },
    };
  }

  /** Dots that touch would hide the line. */
  sparse() {
    return this.story.rows.length * 10 < this.plot.width;
  }

  update(range) {
    const rows = this.story.rows;
    const columns = this.story.metrics.map((name) =>
      rows.map(({ row }) => (Number.isFinite(row[name]) ? row[name] : null)),
    );
    const seen = (share) => finite(columns.filter((_, k) => this.shares[k] === share).flat());
    const others = seen(false);
    // Values of very different size share the second axis only as logarithms.
    const [least, greatest] = extent(others);
    this.log = least > 0 && greatest > 50 * least;
    const scaled = columns.map((column, k) =>
      this.log && !this.shares[k] ? column.map((v) => v && Math.log10(v)) : column,
    );
    const limits = { x: range, share: around(seen(true)), other: around(this.log ? others.map(Math.log10) : others) };
    this.show([rows.map((row) => row.at), ...scaled], limits);
  }
}

/** Whether a metric has stayed within 0…1, as accuracies and overlaps do. */
export function isShare(story, name) {
  return story.rows.every(({ row }) => !Number.isFinite(row[name]) || (row[name] >= 0 && row[name] <= 1));
}
