import assert from "node:assert/strict";
import { test } from "node:test";
import { Story } from "../story.js";

const START = {
  kind: "start",
  title: "fine_tune(1)",
  parts: [
    { name: "frozen", epochs: 1 },
    { name: "unfrozen", epochs: 1 },
  ],
  part: 0,
  steps_total: 8,
  steps_per_epoch: 4,
  metric_names: ["epoch", "train_loss", "valid_loss", "accuracy", "time"],
  can_steer: true,
  why_not: null,
};

/** A float32 buffer that begins at byte `offset` of its frame, as buffers of a message may. */
function buffer(values, offset, Type = Float32Array) {
  const bytes = new Uint8Array(Type.from(values).buffer);
  const frame = new Uint8Array(offset + bytes.length);
  frame.set(bytes, offset);
  return new DataView(frame.buffer, offset);
}

const points = (first, n, offset = 0) => [
  { kind: "points", first, n },
  [
    buffer(
      Array.from({ length: 4 * n }, (_, i) => i),
      offset,
    ),
  ],
];

test("points are read wherever their buffer begins", () => {
  for (const offset of [0, 1, 2, 3, 4, 7]) {
    const story = new Story();
    story.receive(START);
    assert.equal(story.receive(...points(0, 4, offset)), true);
    assert.deepEqual([...story.store.lo.slice(0, 4)], [0, 1, 2, 3]);
    assert.deepEqual([...story.store.mom.slice(0, 4)], [12, 13, 14, 15]);
  }
});

test("missing points are told, so that a snapshot can be asked for, and the snapshot mends it", () => {
  const story = new Story();
  assert.equal(story.receive(...points(4, 4)), false);
  const columns = [1, 2, 1, 2, 1, 2, 1, 1, 0.9, 0.9]; // lo, hi, smooth, lr, mom: two buckets of four steps
  const row = { epoch: 0, train_loss: 1, valid_loss: "nan", accuracy: 0.5, time: 3 };
  const snapshot = {
    kind: "snapshot",
    start: START,
    parts_at: [0, 4],
    rows: [{ at: 4, row }],
    best_row: 0,
    interventions: [],
    progress: {},
    state: { state: "running", message: "Training." },
  };
  story.receive(snapshot, [buffer(columns, 1), buffer([3, 7], 3, Float64Array)]);
  assert.equal(story.store.next, 8);
  assert.deepEqual([...story.store.x.slice(0, 2)], [3, 7]);
  assert.ok(Number.isNaN(story.rows[0].row.valid_loss));
  assert.equal(story.sentence, "Training.");
  assert.deepEqual(story.metrics, ["accuracy"]);
  assert.equal(story.receive(...points(8, 1)), true);
});

test("parts, rows and the best of them", () => {
  const story = new Story();
  story.receive(START);
  story.receive(...points(0, 4));
  story.receive({ kind: "epoch", at: 4, row: { epoch: 0, valid_loss: 2 }, best: true });
  story.receive({ kind: "part", index: 1 });
  story.receive(...points(4, 4));
  story.receive({ kind: "epoch", at: 8, row: { epoch: 1, valid_loss: 3 }, best: false, best_row: 0 });
  assert.deepEqual(story.partsAt, [0, 4]);
  assert.equal(story.bestRow, 0);
  assert.equal(story.rowAt(7).row.epoch, 0);
  assert.equal(story.rowAt(3), null);
});

test("several epochs in one message", () => {
  const story = new Story();
  story.receive(START);
  story.receive({
    kind: "epochs",
    rows: [
      { at: 4, row: { epoch: 0 } },
      { at: 8, row: { epoch: 1 } },
    ],
    best_row: 1,
  });
  assert.deepEqual([story.rows.length, story.bestRow], [2, 1]);
});

test("what was asked for waits until it is answered", () => {
  const answers = [
    ["stop", { kind: "state", state: "stopping", message: "" }],
    ["stop", { kind: "intervention", at: 1, what: "stop" }],
    ["pause", { kind: "state", state: "paused", message: "" }],
    ["resume", { kind: "state", state: "running", message: "" }],
    ["skip_validation", { kind: "intervention", at: 1, what: "skip_validation" }],
    ["lr", { kind: "intervention", at: 1, what: "lr", old: 1, new: 2 }],
    ["lr", { kind: "notice", message: "ignored" }],
    ["pause", { kind: "notice", message: "nothing to pause" }],
    ["stop", { kind: "state", state: "failed", message: "" }],
  ];
  for (const [what, answer] of answers) {
    const story = new Story();
    story.receive(START);
    story.pending.add(what);
    story.receive(...points(0, 1));
    assert.equal(story.pending.has(what), true);
    story.receive(answer);
    assert.equal(story.pending.has(what), false, `${what} after ${JSON.stringify(answer)}`);
  }
});

test("a new start clears everything; an unknown message changes nothing", () => {
  const story = new Story();
  let changes = 0;
  const end = story.listen(() => changes++);
  story.receive(START);
  story.receive(...points(0, 4));
  story.receive({ kind: "from_a_later_version" });
  assert.equal(story.store.next, 4);
  story.receive(START);
  assert.equal(story.store.next, 0);
  assert.equal(changes, 4);
  end();
  story.receive(START);
  assert.equal(changes, 4);
});

test("a kernel that is gone ends a training that ran, and changes nothing about one that had ended", () => {
  const story = new Story();
  story.receive(START);
  story.pending.add("stop");
  story.lost();
  assert.deepEqual([story.state, story.over, story.pending.size], ["interrupted", true, 0]);
  assert.match(story.sentence, /The kernel was restarted/);
  story.receive({ kind: "state", state: "ended", message: "Done." });
  story.lost();
  assert.equal(story.sentence, "Done.");
});
