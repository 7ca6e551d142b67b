// The story of a training as its messages tell it: what every view of one widget draws.

import { toNumber } from "./format.js";
import { Store } from "./store.js";

const FIXED = ["epoch", "train_loss", "valid_loss", "time"];
const OVER = ["ended", "interrupted", "failed"];
const LOST = "The kernel was restarted or shut down; this training is gone.";

export class Story {
  constructor() {
    this.store = new Store();
    this.listeners = new Set();
    this.clear();
  }

  clear() {
    this.store.clear();
    this.start = null;
    this.partsAt = [0];
    this.rows = [];
    this.bestRow = null;
    this.marks = [];
    this.progress = {};
    this.state = "starting";
    this.sentence = "";
    this.notice = "";
    this.pending = new Set(); // what was asked for by a click and has not been answered
    this.chapter = (this.chapter ?? 0) + 1; // changes when everything begins anew
  }

  get over() {
    return OVER.includes(this.state);
  }

  /** The table's columns that are metrics. */
  get metrics() {
    return (this.start?.metric_names ?? []).filter((name) => !FIXED.includes(name));
  }

  get stepsTotal() {
    return this.start?.steps_total ?? null;
  }

  /** How much is done, 0…1: in batches of training and validation where Python counts both, else in steps. */
  get share() {
    const { done, total, step, steps_total: steps } = this.progress;
    const share = total ? done / total : (step ?? this.store.next) / (steps || this.stepsTotal || Infinity);
    return Math.min(1, share) || 0;
  }

  get stopped() {
    return this.marks.some((mark) => mark.what === "stop");
  }

  /** The last epoch that had ended at `step`, or null. */
  rowAt(step) {
    return this.rows.findLast((row) => row.at <= step) ?? null;
  }

  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  /** Take a message. False when steps are missing that only a snapshot can bring. */
  receive(message, buffers = []) {
    const handler = this[`on_${message.kind}`];
    const whole = handler ? handler.call(this, message, buffers) !== false : true;
    this.changed();
    return whole;
  }

  on_start(message) {
    this.clear();
    this.start = message;
  }

  on_part(message) {
    this.partsAt[message.index] = message.at ?? this.store.next;
  }

  on_points(message, buffers) {
    if (message.progress) this.progress = message.progress;
    if (!message.n) return true;
    return this.store.append(message.first, message.n, floats(buffers[0], Float32Array));
  }

  /** One epoch, or several that ended since the last message. */
  on_epoch(message) {
    this.rows.push(...(message.rows ?? [message]).map(tidyRow));
    if (message.best_row !== undefined && message.best_row !== null) this.bestRow = message.best_row;
    else if (message.best) this.bestRow = this.rows.length - 1;
  }

  on_epochs(message) {
    this.on_epoch(message);
  }

  on_intervention(message) {
    this.marks.push(message);
    this.pending.delete(message.what);
  }

  on_state(message) {
    this.state = message.state;
    this.sentence = message.message ?? "";
    if (this.over) this.pending.clear();
    if (["stopping", "validating"].includes(this.state)) this.pending.delete("stop");
    if (this.state === "paused") this.pending.delete("pause");
    if (["running", "validating"].includes(this.state)) this.pending.delete("resume");
  }

  on_notice(message) {
    this.notice = message.message ?? "";
    for (const refused of ["lr", "pause"]) this.pending.delete(refused);
  }

  /** The kernel has gone: a training that was running will send no message any more. */
  lost() {
    if (!this.over) this.receive({ kind: "state", state: "interrupted", message: LOST });
  }

  on_snapshot(message, buffers) {
    if (this.start === null || !sameStory(this.start, message.start)) this.clear();
    this.start = message.start;
    this.partsAt = message.parts_at ?? [0];
    this.rows = (message.rows ?? []).map(tidyRow);
    this.bestRow = message.best_row ?? null;
    this.marks = message.interventions ?? [];
    this.progress = message.progress ?? {};
    if (message.state) this.on_state(message.state);
    if (buffers.length > 1) this.store.restore(snapshotColumns(buffers));
  }
}

/** Another fit has other parts or another length, and then nothing of the old one may stay. */
function sameStory(a, b) {
  return JSON.stringify([a.title, a.parts, a.metric_names]) === JSON.stringify([b.title, b.parts, b.metric_names]);
}

function tidyRow({ at, row }) {
  const values = Object.fromEntries(Object.entries(row).map(([name, value]) => [name, toNumber(value)]));
  return { at, row: values };
}

function snapshotColumns([numbers, positions]) {
  const x = floats(positions, Float64Array);
  const all = floats(numbers, Float32Array);
  const names = ["lo", "hi", "smooth", "lr", "mom"];
  const columns = names.map((name, k) => [name, all.subarray(k * x.length, (k + 1) * x.length)]);
  return { x, ...Object.fromEntries(columns) };
}

/** A buffer as numbers. It may begin at any byte of its frame, where a typed array cannot: then it is copied. */
function floats(buffer, Type) {
  const view = ArrayBuffer.isView(buffer) ? buffer : new DataView(buffer);
  const n = Math.floor(view.byteLength / Type.BYTES_PER_ELEMENT);
  if (view.byteOffset % Type.BYTES_PER_ELEMENT === 0) return new Type(view.buffer, view.byteOffset, n);
  const copy = view.buffer.slice(view.byteOffset, view.byteOffset + n * Type.BYTES_PER_ELEMENT);
  return new Type(copy);
}
