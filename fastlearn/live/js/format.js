// Numbers, rates and durations as text. Pure functions: no page is needed to test them.

const MISSING = "–";

/** A number as Python sent it: NaN and infinity cannot be written in JSON and arrive as text. */
export function toNumber(value) {
  if (value === null || value === undefined) return null;
  if (typeof value === "number") return value;
  const text = String(value).toLowerCase();
  if (text.includes("inf")) return text.startsWith("-") ? -Infinity : Infinity;
  return Number(text);
}

function odd(value) {
  if (value === null || value === undefined) return MISSING;
  if (Number.isNaN(value)) return "nan";
  return value > 0 ? "inf" : "-inf";
}

/** 0:07, 12:34, 1:02:03. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return MISSING;
  const whole = Math.max(0, Math.round(seconds));
  const pair = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${pair(minutes)}:${pair(whole % 60)}` : `${minutes}:${pair(whole % 60)}`;
}

/** A learning rate: 2e-3, 5.3e-4; from 0.1 on as people write it: 0.1, 1. */
export function rate(value) {
  if (!Number.isFinite(value)) return odd(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 0.0995 && size < 1000) return String(Number(value.toPrecision(2)));
  return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
}

/** A reading with four significant digits: 0.4312, 12.34, 1234, 1.23e-5. */
export function number(value) {
  if (!Number.isFinite(value)) return odd(value);
  const size = Math.abs(value);
  if (size === 0) return "0.000";
  if (size < 1e-4 || size >= 1e6) return exponential(value, 2);
  return value.toFixed(Math.max(0, Math.min(7, 3 - exponent(size))));
}

function exponential(value, digits) {
  return value.toExponential(digits).replace("e+", "e");
}

function exponent(size) {
  return Math.floor(Math.log10(size));
}

/** Decimals for a table's column: four significant digits for its smallest value, at most six for its largest. */
export function decimals(values) {
  const sizes = values.filter((v) => Number.isFinite(v) && v !== 0).map(Math.abs);
  if (!sizes.length) return 4;
  const [least, greatest] = extent(sizes).map(exponent);
  return Math.max(0, Math.min(6, 3 - least, 5 - greatest));
}

/** Least and greatest of any number of values (Math.min(...values) fails on a few hundred thousand). */
export function extent(values) {
  return values.reduce(([min, max], v) => [v < min ? v : min, v > max ? v : max], [Infinity, -Infinity]);
}

/** One cell of a column with `places` decimals; exponential where these would show zero or a long row of digits. */
export function cell(value, places) {
  if (!Number.isFinite(value)) return odd(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 10 ** -places * 5 || size >= 1e7)) return exponential(value, 3);
  return value.toFixed(places);
}

/** 12,345: the same in every locale, as the rest of the page is in English. */
export function count(value) {
  return Number.isFinite(value) ? String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",") : MISSING;
}

/** Steps on an axis: 800, 20k, 1.5M; in full where they lie too close for that. */
export function steps(values) {
  const gap = values.length > 1 ? values[1] - values[0] : Infinity;
  return values.map((value) => {
    if (value >= 1e6 && gap >= 1e4) return `${Number((value / 1e6).toFixed(2))}M`;
    if (value >= 1e4 && gap >= 100) return `${Number((value / 1e3).toFixed(1))}k`;
    return value >= 1e4 ? count(value) : String(value);
  });
}

/** Images a second: 8.4, 312, 12,345. */
export function speed(value) {
  return value < 10 ? String(Number(value.toFixed(1))) : count(value);
}

/** Round values between `lo` and `hi`, about `wanted` of them. */
export function ticks(lo, hi, wanted) {
  const span = hi - lo;
  if (!(span > 0)) return [lo];
  const raw = span / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.8);
  const found = [];
  // Counted, not added up: sums of 0.1 drift away from round numbers.
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++) found.push(i * step);
  return found;
}

/** The same for an axis of powers of ten: takes and gives log10 of the values. */
export function logTicks(lo, hi, wanted) {
  if (hi - lo < 0.7)
    return ticks(10 ** lo, 10 ** hi, wanted)
      .filter((v) => v > 0)
      .map(Math.log10);
  const every = Math.max(1, Math.ceil((hi - lo) / wanted));
  const within = (hi - lo) * 2.5 < wanted ? [1, 2, 5] : [1];
  const found = [];
  for (let power = Math.floor(lo / every) * every; power <= hi; power += every) {
    for (const m of within) {
      const at = power + Math.log10(m);
      if (at >= lo - 1e-9 && at <= hi + 1e-9) found.push(at);
    }
  }
  return found;
}

/** Labels of ticks: all with as many decimals as the distance between them needs. */
export function tickLabels(values) {
  const largest = Math.max(...values.map(Math.abs));
  if (largest === 0 || !Number.isFinite(largest)) return values.map(String);
  if (largest < 1e-3 || largest >= 1e6)
    return values.map((v) => (v === 0 ? "0" : String(exponential(v, 1)).replace(".0e", "e")));
  const gap = values.length > 1 ? Math.min(...values.slice(1).map((v, i) => Math.abs(v - values[i]))) : largest;
  const places = Math.max(0, Math.min(8, -Math.floor(Math.log10(gap) + 1e-9)));
  return values.map((v) => v.toFixed(places));
}
