// The columns of a training, one entry a bucket of steps. While there is room a bucket is one step; when the store is
// full, neighbours are merged two by two. Extremes of the loss outlive every merge, so a spike is never lost.

export const CAPACITY = 1 << 16; // 65,536 buckets: 2.5 MB, and at 1,000,000 steps still 16 steps a bucket
const FLOATS = ["lo", "hi", "smooth", "lr", "mom"];

// NaN is "none": it loses against any number, on either side.
const lower = (a, b) => (a <= b || Number.isNaN(b) ? a : b);
const higher = (a, b) => (a >= b || Number.isNaN(b) ? a : b);
const later = (a, b) => (Number.isNaN(b) ? a : b);

export class Store {
  constructor(capacity = CAPACITY) {
    this.capacity = capacity;
    this.x = new Float64Array(capacity); // index of a bucket's last step
    this.count = new Uint32Array(capacity);
    for (const name of FLOATS) this[name] = new Float32Array(capacity);
    this.clear();
  }

  clear() {
    this.length = 0;
    this.size = 1; // steps a new bucket takes
    this.next = 0; // index of the step that has not come yet
    this.firstBad = null; // the first step whose loss was not a number
    this.hasMomentum = false;
  }

  /** Add the steps from `first` on; what is here already is skipped. False when steps before `first` are missing. */
  append(first, n, columns) {
    if (first > this.next) return false;
    const [raw, smooth, lr, mom] = [0, 1, 2, 3].map((k) => columns.subarray(k * n, (k + 1) * n));
    for (let i = this.next - first; i < n; i++) this.push(raw[i], smooth[i], lr[i], mom[i]);
    return true;
  }

  push(raw, smooth, lr, mom) {
    let loss = raw;
    if (!Number.isFinite(raw)) {
      this.firstBad ??= this.next;
      loss = NaN;
    }
    if (!Number.isNaN(mom)) this.hasMomentum = true;
    const last = this.length - 1;
    if (last >= 0 && this.count[last] < this.size) {
      const [lo, hi] = [lower(this.lo[last], loss), higher(this.hi[last], loss)];
      this.put(last, this.next, this.count[last] + 1, lo, hi, smooth, lr, mom);
    } else {
      if (this.length === this.capacity) this.halve();
      this.put(this.length++, this.next, 1, loss, loss, smooth, lr, mom);
    }
    this.next++;
  }

  put(i, x, count, lo, hi, smooth, lr, mom) {
    this.x[i] = x;
    this.count[i] = count;
    this.lo[i] = lo;
    this.hi[i] = hi;
    this.smooth[i] = smooth;
    this.lr[i] = lr;
    this.mom[i] = mom;
  }

  /** Merge neighbours two by two. */
  halve() {
    const pairs = this.length >> 1;
    for (let i = 0; i < pairs; i++) this.put(i, ...this.merged(2 * i, 2 * i + 2));
    if (this.length % 2) this.put(pairs, ...this.merged(this.length - 1, this.length));
    this.length = pairs + (this.length % 2);
    this.size *= 2;
  }

  /** The buckets from `from` up to `to` as one: x, count, lo, hi, smooth, lr, mom. */
  merged(from, to) {
    let [count, lo, hi, smooth, lr, mom] = [0, NaN, NaN, NaN, NaN, NaN];
    for (let i = from; i < to; i++) {
      count += this.count[i];
      lo = lower(lo, this.lo[i]);
      hi = higher(hi, this.hi[i]);
      smooth = later(smooth, this.smooth[i]);
      lr = later(lr, this.lr[i]);
      mom = later(mom, this.mom[i]);
    }
    return [this.x[to - 1], count, lo, hi, smooth, lr, mom];
  }

  /** Take those of a snapshot's buckets that go further than what is here, which is at least as fine. */
  restore({ x, lo, hi, smooth, lr, mom }) {
    for (let i = 0; i < x.length; i++) {
      if (x[i] < this.next) continue;
      if (this.length === this.capacity) this.halve();
      if (!Number.isFinite(hi[i])) this.firstBad ??= x[i];
      if (!Number.isNaN(mom[i])) this.hasMomentum = true;
      this.put(this.length++, x[i], x[i] + 1 - this.next, lo[i], hi[i], smooth[i], lr[i], mom[i]);
      this.next = x[i] + 1;
    }
  }

  /** Position of the bucket that holds step `x`, or of the nearest. */
  find(x) {
    let [lo, hi] = [0, this.length];
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (this.x[mid] < x) lo = mid + 1;
      else hi = mid;
    }
    return Math.min(lo, this.length - 1);
  }

  /** The steps between `from` and `to` in at most about `most` buckets, as plain columns ready to be drawn. */
  view(from, to, most) {
    const out = { x: [], lo: [], hi: [], smooth: [], lr: [], mom: [], count: [] };
    if (this.length === 0) return out;
    let start = Math.max(0, this.find(from) - 1); // one more on either side: lines run to the edge
    const end = Math.min(this.length, this.find(to) + 2);
    let stride = 1; // a power of two, and groups that begin at its multiples: a growing curve keeps its shape
    while ((end - start) / stride > most) stride *= 2;
    start -= start % stride;
    for (let i = start; i < end; i += stride) {
      const [x, count, lo, hi, smooth, lr, mom] = this.merged(i, Math.min(this.length, i + stride));
      out.x.push(x);
      out.count.push(count);
      out.lo.push(known(lo));
      out.hi.push(known(hi));
      out.smooth.push(known(smooth));
      out.lr.push(known(lr));
      out.mom.push(known(mom));
    }
    return out;
  }
}

/** A number that can be drawn, or null, which leaves a gap. */
const known = (value) => (Number.isFinite(value) ? value : null);
