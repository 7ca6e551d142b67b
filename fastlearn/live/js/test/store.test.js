import assert from "node:assert/strict";
import { test } from "node:test";
import { Store } from "../store.js";

/** Messages of `n` steps each, as Python sends them: four columns, one after the other. */
function* messages(total, n, raw) {
  for (let first = 0; first < total; first += n) {
    const size = Math.min(n, total - first);
    const columns = new Float32Array(4 * size);
    for (let i = 0; i < size; i++) {
      columns[i] = raw(first + i);
      columns[size + i] = 2;
      columns[2 * size + i] = 1e-3 * (first + i);
      columns[3 * size + i] = NaN;
    }
    yield [first, size, columns];
  }
}

function filled(total, n, raw, capacity) {
  const store = new Store(capacity);
  for (const message of messages(total, n, raw)) assert.equal(store.append(...message), true);
  return store;
}

test("a million steps keep their extremes and their order in bounded memory", () => {
  const raw = (i) => (i === 123_457 ? 99 : i === 765_432 ? -7 : 1 + 0.1 * Math.sin(i));
  const store = filled(1_000_000, 777, raw);
  const bytes = [store.x, store.count, store.lo, store.hi, store.smooth, store.lr, store.mom].reduce(
    (sum, c) => sum + c.byteLength,
    0,
  );
  assert.ok(bytes <= 2.5 * 2 ** 20, `${bytes} bytes`);
  assert.equal(store.next, 1_000_000);
  for (const view of [store.view(0, 1e6, Infinity), store.view(0, 1e6, 1600)]) {
    assert.ok(
      view.x.every((x, i) => i === 0 || x > view.x[i - 1]),
      "in order",
    );
    assert.equal(
      view.count.reduce((a, b) => a + b, 0),
      1_000_000,
      "each step once",
    );
    assert.equal(view.x.at(-1), 999_999);
    assert.equal(
      Math.max(...view.hi.filter((_, i) => view.x[i] >= 123_457 && view.x[i] - view.count[i] < 123_457)),
      99,
      "the spike, in its place",
    );
    assert.equal(Math.min(...view.lo), -7);
    assert.ok(view.lo.every((lo, i) => lo <= view.hi[i]));
  }
  const zoomed = store.view(500_000, 510_000, 1600);
  assert.ok(zoomed.x.length > 300 && zoomed.x.length <= 1602, `zooming in shows more: ${zoomed.x.length}`);
  assert.ok(zoomed.x[0] <= 500_000 && zoomed.x.at(-1) >= 510_000, "lines reach the edges");
});

test("few steps are kept one by one, and found", () => {
  const store = filled(100, 7, (i) => i);
  assert.deepEqual(
    store.view(0, 100, 1000).lo,
    Array.from({ length: 100 }, (_, i) => i),
  );
  assert.equal(store.find(42), 42);
  assert.equal(store.find(1e9), 99);
  assert.deepEqual(store.view(0, 100, 1000).mom, Array(100).fill(null));
  assert.equal(store.hasMomentum, false);
});

test("each bucket holds the least and greatest of just its own steps, however the steps arrive", () => {
  const raw = (i) => Math.fround((Math.sin(i * 12.9898) * 43758.5453) % 1);
  for (const n of [1, 3, 64, 1000]) {
    const { x, count, lo, hi } = filled(1000, n, raw, 64).view(0, 1000, Infinity);
    x.forEach((last, k) => {
      const own = Array.from({ length: count[k] }, (_, j) => raw(last - j));
      assert.equal(lo[k], Math.min(...own));
      assert.equal(hi[k], Math.max(...own));
    });
  }
});

test("what came already is skipped, and a hole is told", () => {
  const store = new Store();
  const [first, second] = messages(20, 10, (i) => i);
  assert.equal(store.append(...second), false);
  assert.equal(store.length, 0);
  assert.equal(store.append(...first), true);
  assert.equal(store.append(...first), true);
  assert.equal(store.append(...second), true);
  assert.deepEqual(
    store.view(0, 20, 100).hi,
    Array.from({ length: 20 }, (_, i) => i),
  );
});

test("a loss that is not a number leaves a gap, is remembered, and spoils no extreme", () => {
  const store = filled(256, 10, (i) => (i >= 40 && i < 60 ? NaN : i === 70 ? Infinity : i), 64);
  assert.equal(store.firstBad, 40);
  const { x, lo, hi } = store.view(0, 256, Infinity);
  assert.equal(lo[x.indexOf(47)], null);
  assert.deepEqual([lo[x.indexOf(71)], hi[x.indexOf(71)]], [68, 71]);
});

test("a snapshot restores a story; what is here already stays as fine as it is", () => {
  const n = 50;
  const filledWith = (f) => Float32Array.from({ length: n }, (_, i) => f(i));
  const columns = {
    x: Float64Array.from({ length: n }, (_, i) => 4 * i + 3),
    lo: filledWith((i) => i),
    hi: filledWith((i) => i + 1),
    smooth: filledWith(() => 1),
    lr: filledWith(() => 1),
    mom: filledWith(() => 0.9),
  };
  const fresh = new Store();
  fresh.restore(columns);
  assert.equal(fresh.next, 200);
  assert.equal(fresh.hasMomentum, true);
  assert.equal(fresh.append(200, 1, new Float32Array([5, 5, 5, 5])), true);
  assert.deepEqual(fresh.view(190, 300, 100).x.slice(-2), [199, 200]);
  const fine = filled(200, 10, (i) => i);
  fine.restore(columns);
  assert.equal(fine.length, 200);
  const partly = filled(150, 10, (i) => i);
  partly.restore(columns);
  assert.equal(partly.next, 200);
  assert.deepEqual(partly.view(148, 300, 500).x.slice(0, 5), [147, 148, 149, 151, 155]);
  assert.equal(
    partly.view(0, 300, 500).count.reduce((a, b) => a + b),
    200,
  );
});
