// The large chart: losses, and all that happened to the training.

import uPlot from "uplot";
import { Chart } from "./chart.js";
import { extent, logTicks, rate, tickLabels, ticks } from "./format.js";

const STRIP_PX = 18; // above the plot: the parts' names and the interventions
const ROW_PX = 15;

/** Training loss (every batch faint, smoothed strong), validation loss, and all that happened. */
export class LossChart extends Chart {
  describe() {
    this.log = false;
    this.rowEnds = [];
    const edge = { scale: "y", width: 1, stroke: this.color("faint"), points: { show: false } };
    return {
      top: STRIP_PX,
      series: [edge, edge, { ...edge, width: 2, stroke: this.color("train") }],
      bands: [{ series: [2, 1], fill: this.color("faint") }],
      scales: { y: {} },
      axes: [
        this.valueAxis("y", {
          splits: (...limits) => (this.log ? logTicks(...limits) : ticks(...limits)),
          labels: (found) => (this.log ? found.map((v) => tickLabels([10 ** v])[0]) : tickLabels(found)),
        }),
      ],
      hooks: { drawClear: [() => this.drawParts()], draw: [() => this.drawOver()] },
    };
  }

  stepAxis() {
    return { ...super.stepAxis(), label: "step", labelSize: 16, labelGap: 0, labelFont: this.font };
  }

  update(view, range, log) {
    this.log = log;
    const scaled = (column) => (log ? column.map((v) => (v > 0 ? Math.log10(v) : null)) : column);
    const [lo, hi, smooth] = [view.lo, view.hi, view.smooth].map(scaled);
    const rows = this.story.rows.filter((row) => row.at >= range[0] && row.at <= range[1]);
    const valid = scaled(rows.map((row) => row.row.valid_loss ?? null));
    this.show([view.x.map((x) => x + 1), lo, hi, smooth], {
      x: range,
      y: lossRange(lo, hi, [...smooth, ...valid], log),
    });
  }

  /** Canvas positions of a step and of a loss. */
  across(x) {
    return this.plot.valToPos(x, "x", true);
  }

  up(loss) {
    return this.plot.valToPos(this.log ? Math.log10(loss) : loss, "y", true);
  }

  drawParts() {
    const { parts } = this.story.start ?? {};
    this.rowEnds = [];
    if (!parts || parts.length < 2) return;
    const { muted } = this.owner.theme();
    const starts = this.story.partsAt.map((at) => this.across(at));
    for (const x of starts.slice(1)) this.line(x, muted, [], STRIP_PX - 4);
    starts.forEach((x, index) => this.label(Math.max(x, this.plot.bbox.left), parts[index]?.name ?? "", muted));
  }

  drawOver() {
    const { ctx, bbox } = this.plot;
    ctx.save();
    const seen = marks(this.story).map(({ at, label, alarm }) => [
      this.across(at),
      label,
      this.owner.theme()[alarm ? "alarm" : "ink"],
    ]);
    for (const [x, , color] of seen) this.line(x, color, [3, 3], 2);
    for (const [x, label, color] of seen) this.label(x, label, color);
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const points = this.validPoints();
    this.drawValid(points);
    ctx.restore(); // dots at the edge stay whole
    this.drawDots(points);
    this.drawBest();
  }

  /** A vertical line that begins `above` pixels over the plot. */
  line(x, color, dash, above) {
    const { ctx, bbox } = this.plot;
    if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) return;
    const px = uPlot.pxRatio;
    ctx.save();
    ctx.strokeStyle = color;
    ctx.lineWidth = px;
    ctx.globalAlpha = 0.7;
    ctx.setLineDash(dash.map((d) => d * px));
    ctx.beginPath();
    ctx.moveTo(Math.round(x) + 0.5, bbox.top - above * px);
    ctx.lineTo(Math.round(x) + 0.5, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }

  /** Text beside a vertical line: above the plot, or in the first row below where nothing stands yet. */
  label(x, text, color) {
    const { ctx, bbox } = this.plot;
    const px = uPlot.pxRatio;
    ctx.save();
    ctx.font = `${11 * px}px ${this.owner.theme().font}`;
    const width = ctx.measureText(text).width;
    const right = bbox.left + bbox.width;
    const left = x + 5 * px + width > right + 6 * px ? x - width - 5 * px : x + 5 * px;
    const row = [0, 1, 2, 3].find((r) => left > (this.rowEnds[r] ?? -Infinity));
    if (row !== undefined && x >= bbox.left - 1 && x <= right + 1) {
      this.rowEnds[row] = left + width + 6 * px;
      const top = bbox.top - STRIP_PX * px + row * ROW_PX * px;
      ctx.globalAlpha = 0.85;
      ctx.fillStyle = this.owner.theme().paper;
      ctx.fillRect(left - 2 * px, top + 3 * px, width + 4 * px, 14 * px);
      ctx.globalAlpha = 1;
      ctx.fillStyle = color;
      ctx.textAlign = "left";
      ctx.textBaseline = "top";
      ctx.fillText(text, left, top + 4 * px);
    }
    ctx.restore();
  }

  /** Where the validation losses stand on the canvas. */
  validPoints() {
    return this.story.rows
      .filter(({ row }) => Number.isFinite(row.valid_loss) && (!this.log || row.valid_loss > 0))
      .map(({ at, row }) => [this.across(at), this.up(row.valid_loss)]);
  }

  drawValid(points) {
    const { ctx } = this.plot;
    ctx.strokeStyle = this.owner.theme().valid;
    ctx.lineWidth = 2 * uPlot.pxRatio;
    ctx.lineJoin = "round";
    ctx.beginPath();
    points.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
    ctx.stroke();
  }

  drawDots(points) {
    const { ctx } = this.plot;
    const px = uPlot.pxRatio;
    const dense = points.length > 1 && (points.at(-1)[0] - points[0][0]) / points.length < 14 * px;
    if (dense) return; // dots that touch would hide the line
    ctx.fillStyle = this.owner.theme().valid;
    ctx.strokeStyle = this.owner.theme().paper;
    ctx.lineWidth = 1.5 * px;
    for (const [x, y] of points.filter((point) => this.inside(...point))) {
      ctx.beginPath();
      ctx.arc(x, y, 4 * px, 0, 2 * Math.PI);
      ctx.fill();
      ctx.stroke();
    }
  }

  inside(x, y) {
    const { left, top, width, height } = this.plot.bbox;
    return x >= left - 1 && x <= left + width + 1 && y >= top - 1 && y <= top + height + 1;
  }

  drawBest() {
    const best = this.story.rows[this.story.bestRow];
    if (!best) return;
    const loss = best.row.valid_loss ?? best.row.train_loss;
    if (!Number.isFinite(loss) || (this.log && loss <= 0)) return;
    const { ctx } = this.plot;
    const px = uPlot.pxRatio;
    ctx.fillStyle = this.owner.theme().valid;
    ctx.strokeStyle = this.owner.theme().paper;
    ctx.lineWidth = 1.5 * px;
    const at = [this.across(best.at), this.up(loss)];
    if (!this.inside(...at)) return;
    star(ctx, ...at, 9 * px);
    ctx.stroke();
    ctx.fill();
  }
}

function star(ctx, x, y, radius) {
  ctx.beginPath();
  for (let i = 0; i < 10; i++) {
    const r = i % 2 ? radius * 0.42 : radius;
    const angle = (i * Math.PI) / 5 - Math.PI / 2;
    ctx.lineTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
  }
  ctx.closePath();
}

/** What is marked on the loss, in order of time: interventions, and where the loss ceased to be a number. */
export function marks(story) {
  const all = story.marks
    .filter(({ what, at }) => what !== "resume" || !story.marks.some((mark) => mark.what === "pause" && mark.at === at))
    .map((mark) => ({ at: mark.at, label: markLabel(mark), alarm: false }));
  if (story.store.firstBad !== null) all.push({ at: story.store.firstBad + 1, label: "loss is nan", alarm: true });
  return all.sort((a, b) => a.at - b.at);
}

function markLabel({ what, old, new: now }) {
  if (what === "lr") return `lr ${rate(Number(old))} → ${rate(Number(now))}`;
  return { skip_validation: "validation skipped", stop: "stopped", pause: "paused", resume: "resumed" }[what] ?? what;
}

/** The loss axis: all of the curves, and of the single batches all, or on a linear axis all but the wildest 2 %. */
function lossRange(lo, hi, curves, log) {
  const inside = [...curves.filter((v) => v !== null && Number.isFinite(v))];
  const sorted = (column) => column.filter((v) => v !== null).sort((a, b) => a - b);
  const [lows, highs] = [sorted(lo), sorted(hi)];
  const wild = log ? 0 : 0.02; // logarithms have room for all
  if (lows.length) inside.push(lows[Math.floor(lows.length * wild)], highs[Math.ceil(highs.length * (1 - wild)) - 1]);
  if (!inside.length) return log ? [-1, 0] : [0, 1];
  const [min, max] = extent(inside);
  const pad = (max - min) * 0.06 || Math.abs(max) * 0.1 || 0.1;
  // A loss that comes near zero stands on a zero line: else its last digits would look like the whole story.
  return [!log && min >= 0 && min - pad < 0.12 * max ? 0 : min - pad, max + pad];
}
