import assert from "node:assert/strict";
import test from "node:test";
import { lossAt, readRate, rowsFor, writeRate } from "../picker.js";

test("a typed rate is read", () => {
  for (const [typed, rate] of [
    ["3e-4", 3e-4],
    [" .01 ", 0.01],
    ["+1E-2", 0.01],
    ["2.", 2],
  ]) {
    assert.deepEqual(readRate(typed), { rate });
  }
});

test("what is no rate becomes a sentence that names it", () => {
  for (const typed of ["0", "-1", "nan", "abc", "Infinity", "1e400", "1e-400", "0,01", "0x10", "1 2"]) {
    const { rate, problem } = readRate(typed);
    assert.equal(rate, undefined);
    assert.match(problem, /a number above 0, such as 3e-4/);
    assert.ok(problem.includes(`'${typed}'`));
  }
  assert.match(readRate("  ").problem, /an empty field/);
});

test("rates are written alike", () => {
  assert.equal(writeRate(0.0012), "1.20e-3");
  assert.equal(writeRate(3), "3.00e0");
});

test("the loss between two points lies straight between them over log(lr)", () => {
  const [lrs, losses] = [
    [1e-3, 1e-1],
    [2, 1],
  ];
  assert.ok(Math.abs(lossAt(lrs, losses, 1e-2) - 1.5) < 1e-12);
  assert.equal(lossAt(lrs, losses, 1e-3), 2);
  assert.ok(Math.abs(lossAt(lrs, losses, 1e-1) - 1) < 1e-12);
  assert.equal(lossAt(lrs, losses, 1), null);
  assert.equal(lossAt([], [], 1), null);
  assert.equal(lossAt([1e-3], [2], 1e-3), 2);
});

test("names that would cover each other stand in rows, the leftmost highest", () => {
  assert.deepEqual(
    rowsFor([
      [0, 50],
      [60, 110],
    ]),
    [0, 0],
  );
  assert.deepEqual(
    rowsFor([
      [0, 50],
      [10, 60],
      [20, 70],
    ]),
    [2, 1, 0],
  );
  assert.deepEqual(
    rowsFor([
      [20, 70],
      [0, 50],
      [200, 250],
    ]),
    [0, 1, 0],
  );
  assert.deepEqual(rowsFor([]), []);
});
