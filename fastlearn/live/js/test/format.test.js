import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../format.js";

const table = (name, f, cases) =>
  test(name, () => {
    for (const [given, expected] of cases) assert.equal(f(given), expected, `${name}(${given})`);
  });

table("durations", format.duration, [
  [0, "0:00"],
  [6.6, "0:07"],
  [59.6, "1:00"],
  [754, "12:34"],
  [3599.5, "1:00:00"],
  [3723, "1:02:03"],
  [110000, "30:33:20"],
  [-3, "0:00"],
  [null, "–"],
  [NaN, "–"],
  [Infinity, "–"],
]);

table("learning rates", format.rate, [
  [2e-3, "2e-3"],
  [5.3e-4, "5.3e-4"],
  [Math.fround(1e-3), "1e-3"],
  [9.96e-4, "1e-3"],
  [0.1, "0.1"],
  [0.05, "5e-2"],
  [1, "1"],
  [1.25, "1.3"],
  [0, "0"],
  [-1e-3, "-1e-3"],
  [NaN, "nan"],
  [null, "–"],
]);

table("readings", format.number, [
  [0.43118, "0.4312"],
  [0.01234, "0.01234"],
  [12.345, "12.35"],
  [1234.5, "1235"],
  [0, "0.000"],
  [1.234e-5, "1.23e-5"],
  [-2.5, "-2.500"],
  [3.2e7, "3.20e7"],
  [NaN, "nan"],
  [Infinity, "inf"],
  [-Infinity, "-inf"],
  [undefined, "–"],
]);

test("steps on an axis", () => {
  assert.deepEqual(format.steps([0, 400, 800]), ["0", "400", "800"]);
  assert.deepEqual(format.steps([7500, 10000, 12500]), ["7500", "10k", "12.5k"]);
  assert.deepEqual(format.steps([0, 5e5, 1e6, 1.5e6]), ["0", "500k", "1M", "1.5M"]);
  assert.deepEqual(format.steps([504010, 504020]), ["504,010", "504,020"]);
  assert.deepEqual(format.steps([1234000, 1235000]), ["1234k", "1235k"]);
});

test("extent of more values than a call takes arguments", () => {
  assert.deepEqual(format.extent(Array.from({ length: 500_000 }, (_, i) => i)), [0, 499_999]);
  assert.deepEqual(format.extent([]), [Infinity, -Infinity]);
});
table("counts", format.count, [
  [7, "7"],
  [12345, "12,345"],
  [1e6, "1,000,000"],
  [null, "–"],
]);
table("speeds", format.speed, [
  [8.44, "8.4"],
  [582.4, "582"],
  [12345.6, "12,346"],
]);
table("numbers from JSON", format.toNumber, [
  [null, null],
  [undefined, null],
  [0.5, 0.5],
  ["nan", NaN],
  ["NaN", NaN],
  ["-inf", -Infinity],
  ["Infinity", Infinity],
]);

test("a column has four significant digits for its smallest value and at most six for its largest", () => {
  const column = (values) => {
    const places = format.decimals(values);
    return values.map((v) => format.cell(v, places));
  };
  assert.deepEqual(column([0.69314, 0.5]), ["0.6931", "0.5000"]);
  assert.deepEqual(column([2.3026, 0.0123]), ["2.30260", "0.01230"]);
  assert.deepEqual(column([168.39, 34.4321]), ["168.39", "34.43"]);
  assert.deepEqual(column([1234567, 12.5]), ["1234567", "13"]);
  assert.deepEqual(column([0.5, 3e-9]), ["0.500000", "3.000e-9"]);
  assert.deepEqual(column([0, NaN, Infinity, undefined]), ["0.0000", "nan", "inf", "–"]);
});

test("ticks are round, inside the limits, and about as many as wanted", () => {
  assert.deepEqual(format.tickLabels(format.ticks(0, 2.7, 5)), ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
  assert.deepEqual(format.tickLabels(format.ticks(0.846, 0.954, 3)), ["0.85", "0.90", "0.95"]);
  assert.deepEqual(format.ticks(3, 3, 5), [3]);
  for (const [lo, hi] of [
    [0, 1e-7],
    [-5, 1234],
    [0.999, 1.001],
    [1e8, 3e8],
  ]) {
    const found = format.ticks(lo, hi, 5);
    assert.ok(found.length >= 2 && found.length <= 11, `${found}`);
    assert.ok(
      found.every((v) => v >= lo - 1e-9 * Math.abs(lo) && v <= hi + 1e-9 * Math.abs(hi)),
      `${found}`,
    );
    assert.equal(new Set(format.tickLabels(found)).size, found.length, `labels differ: ${format.tickLabels(found)}`);
  }
});

test("ticks of a logarithmic axis", () => {
  const labels = (lo, hi, wanted) => format.logTicks(lo, hi, wanted).map((v) => format.tickLabels([10 ** v])[0]);
  assert.deepEqual(labels(-2.1, 1.1, 5), ["0.01", "0.1", "1", "10"]);
  assert.deepEqual(labels(-1.05, 0.4, 6), ["0.1", "0.2", "0.5", "1", "2"]);
  assert.ok(labels(-8, 2, 4).length <= 4);
  assert.ok(labels(-0.5, -0.2, 5).length >= 2, "within a decade as well");
});
