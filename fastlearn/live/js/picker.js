// The learning-rate picker. It draws itself into its place, and into views of the widget where a front end makes them.

import { keepPlaced } from "./place.js";

const SVG = "http://www.w3.org/2000/svg";
const FINE = 1 / 20; // decades
const COARSE = 1 / 3;
const KEYS_SETTLE_MS = 300; // taps of an arrow key are one choice; leaving the picker ends it at once
const NUMBER = /^\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const HINT = "Drag, click, use the arrow keys or type a rate.";
const SUGGESTED = `Suggested, not chosen yet. ${HINT}`;
const STALE = " The picture in the saved notebook stays as it was before the page was reloaded; run lr_find again for a new one.";
const SENT = "Sent; the kernel has not confirmed it yet.";
const GONE = "The kernel is gone: nothing was changed.";
// On each element that can have the focus, not around them: else JupyterLab takes "x" there for "cut this cell".
const KEEPS_KEYS = "data-lm-suppress-shortcuts";

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const html = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** 1.20e-3: two places, as all rates are written here. */
export const writeRate = (rate) => rate.toExponential(2).replace("e+", "e");

/** 1.2e-3: as spoken. */
const sayRate = (rate) => Number(rate.toPrecision(2)).toExponential().replace("e+", "e");

const writeLoss = (loss) => String(Number(loss.toPrecision(3)));

/** What a reader typed: {rate}, or {problem} in a sentence. */
export const readRate = (typed) => {
  const text = typed.trim();
  const rate = NUMBER.test(text) ? Number(text) : NaN;
  if (rate > 0 && Number.isFinite(rate)) return { rate };
  const found = text === "" ? "an empty field" : `'${text.slice(0, 24)}'`;
  return { problem: `A learning rate is a number above 0, such as 3e-4; ${found} was ignored.` };
};

/** The loss on the curve at a rate, straight between its points over log(lr); null outside the curve. */
export const lossAt = (lrs, losses, rate) => {
  if (!lrs.length || rate < lrs[0] * 0.999 || rate > lrs.at(-1) * 1.001) return null;
  const after = lrs.findIndex((lr) => lr >= rate);
  if (after <= 0) return after === 0 ? losses[0] : losses.at(-1);
  const share = Math.log(rate / lrs[after - 1]) / Math.log(lrs[after] / lrs[after - 1]);
  return losses[after - 1] + share * (losses[after] - losses[after - 1]);
};

/** Rows (0 is the lowest) for labels of given [left, right], so that none covers another or the line below another.
 *
 * A label stands to the right of its own line. So the rightmost gets the lowest row, and what lies under a label that
 * reaches over others are only its neighbours to the right: no line has to pass through a name. */
export const rowsFor = (spans) => {
  const rows = new Array(spans.length);
  const placed = [];
  for (const k of spans.map((_, k) => k).sort((a, b) => spans[b][0] - spans[a][0])) {
    const under = placed.filter((j) => spans[j][0] < spans[k][1] && spans[k][0] < spans[j][1]);
    rows[k] = under.length ? Math.max(...under.map((j) => rows[j])) + 1 : 0;
    placed.push(k);
  }
  return rows;
};

const rateTicks = (low, high, room) => {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const decades = last - first + 1;
  if (decades < 2) {
    const all = [];
    for (let d = first - 1; d <= last + 1; d++) for (const m of [1, 2, 5]) all.push(m * 10 ** d);
    return all.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  }
  const every = Math.ceil(decades / Math.max(2, Math.floor(room / 52)));
  return Array.from({ length: decades }, (_, k) => 10 ** (first + k)).filter((_, k) => k % every === 0);
};

const lossTicks = (low, high) => {
  const most = (high - low) / 3;
  const unit = 10 ** Math.floor(Math.log10(most));
  const step = [5, 2, 1].map((m) => m * unit).find((size) => size <= most * 1.001);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(k * step);
  return ticks;
};

/** Numbers that do not change after the search, read from the model once. */
const readCurve = (model) => {
  const lrs = model.get("lrs");
  const suggestions = model.get("suggestions").filter(({ lr }) => lr > 0);
  const value = model.get("value");
  const rates = [...lrs, ...suggestions.map(({ lr }) => lr), ...(value > 0 ? [value] : [])];
  let low = rates.length ? Math.min(...rates) : 1e-7;
  let high = rates.length ? Math.max(...rates) : 10;
  if (high / low < 1.5) [low, high] = [low / 3, high * 3];
  let [bottom, top] = model.get("y_range");
  if (!(top > bottom)) [bottom, top] = [bottom - 0.5, bottom + 0.5];
  return { lrs, losses: model.get("losses"), suggestions, low, high, bottom, top };
};

let textRuler = null;
const textWidth = (text, font) => {
  textRuler ??= document.createElement("canvas").getContext("2d");
  textRuler.font = font;
  return textRuler.measureText(text).width;
};

/** One picker in one element. Returns the function that takes it away. */
const mount = (model, el, page = {}) => {
  const curve = readCurve(model);
  // `before`: what a drag began with; `timer`: keys that have not settled; `sent`: the last rate given to Python.
  const view = { value: model.get("value"), problem: "", before: null, timer: 0, place: null, width: 0, sent: null, isPending: false };

  const input = html("input", { type: "text", autocomplete: "off", spellcheck: false, inputMode: "decimal" });
  input.setAttribute("aria-label", "learning rate");
  input.setAttribute(KEEPS_KEYS, "true");
  const say = html("span", { className: "flp-say" });
  say.setAttribute("role", "status");
  const name = html("label", {}, "Learning rate ", input);
  const svg = make("svg", { role: "group", "aria-label": "loss against learning rate" });
  const root = html("div", { className: "flp flp-here" }, html("div", { className: "flp-row" }, name, say), svg);
  el.replaceChildren(root);

  const slider = make("g", { class: "flp-slider", role: "slider", tabindex: "0", "aria-label": "learning rate", [KEEPS_KEYS]: "true" });

  const show = () => {
    const { value, place } = view;
    const loss = value === null ? null : lossAt(curve.lrs, curve.losses, value);
    if (document.activeElement !== input || !view.problem) input.value = value === null ? "" : writeRate(value);
    input.setAttribute("aria-invalid", String(Boolean(view.problem)));
    slider.setAttribute("aria-valuemin", Math.min(curve.low, value ?? curve.low));
    slider.setAttribute("aria-valuemax", Math.max(curve.high, value ?? curve.high));
    slider.setAttribute("aria-valuenow", value ?? Math.sqrt(curve.low * curve.high));
    const lossWords = loss === null ? "" : `, loss ${writeLoss(loss)}`;
    slider.setAttribute("aria-valuetext", value === null ? "no learning rate chosen" : `learning rate ${sayRate(value)}${lossWords}`);
    showSentence();
    if (!place) return;
    slider.replaceChildren();
    const rate = value ?? Math.sqrt(curve.low * curve.high);
    const x = place.x(rate);
    const y = place.dotY(rate, loss);
    const short = value === null ? "choose a rate" : writeRate(value);
    const long = loss === null ? short : `${short} · loss ${writeLoss(loss)}`;
    const words = place.hasRoom(x, long) ? long : short; // in a narrow page it would cover the axis
    slider.append(
      make("circle", { class: "flp-hit", cx: x, cy: y, r: 14 }),
      make("line", { x1: x, x2: x, y1: place.top, y2: place.bottom }),
      make("circle", { class: "flp-ring", cx: x, cy: y, r: 11 }),
      make("circle", { cx: x, cy: y, r: 7 }),
      make("text", { ...place.before(x, words), y: y < place.bottom - 34 ? place.bottom - 8 : place.top + 14 }, words),
    );
  };

  const showSentence = () => {
    const { value } = view;
    const isMoving = view.before !== null || view.timer !== 0;
    const problem = view.problem || (view.isPending || isMoving ? "" : model.get("message"));
    say.dataset.kind = problem ? "error" : "";
    if (problem) say.textContent = problem;
    else if (value === null || isMoving) say.textContent = HINT;
    else if (view.isPending) say.textContent = SENT;
    else if (model.get("held") === value) {
      const isStale = page.isStale && view.sent === value;
      const rate = html("span", { className: "flp-rate", textContent: `${writeRate(value)}.` }); // in one line
      say.replaceChildren("Chosen: the next training uses ", rate, isStale ? STALE : "");
    } else say.textContent = model.get("held") === null ? SUGGESTED : HINT;
  };

  const move = (rate) => {
    view.value = Number(rate.toPrecision(3)); // what is shown is what is used
    view.problem = "";
    show();
  };

  /** Once for each choice. The same rate is sent again, too: `learn.lr` may have been set by hand meanwhile. */
  const send = () => {
    clearTimeout(view.timer);
    view.timer = 0;
    view.before = null;
    if (view.value !== null) {
      view.sent = view.value;
      view.isPending = model.get("held") !== view.value;
      try {
        model.send({ do: "pick", value: view.value });
      } catch {
        Object.assign(view, { problem: GONE, isPending: false, value: model.get("value") });
      }
    }
    show();
  };

  const sendSoon = () => {
    clearTimeout(view.timer);
    view.timer = setTimeout(send, KEYS_SETTLE_MS);
  };

  const take = (rate) => {
    view.value = rate;
    view.problem = "";
    send();
  };

  const onKey = (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { low, high } = curve;
    const now = view.value ?? Math.sqrt(low * high);
    const by = (decades) => clamp(now * 10 ** decades, Math.min(low, now), Math.max(high, now));
    const rates = {
      ArrowLeft: by(-FINE), ArrowDown: by(-FINE), ArrowRight: by(FINE), ArrowUp: by(FINE),
      PageDown: by(-COARSE), PageUp: by(COARSE), Home: low, End: high,
    };
    if (!(event.key in rates)) return;
    event.preventDefault();
    move(rates[event.key]);
    sendSoon();
  };

  const drag = (event) => {
    const box = svg.getBoundingClientRect();
    const x = event.clientX - box.left + view.before.grip;
    if (x !== view.before.x) move(view.place.rate(x));
  };

  const onDown = (event) => {
    if (event.button !== 0 || !view.place) return;
    const x = event.clientX - svg.getBoundingClientRect().left;
    const isHeld = view.value !== null && slider.contains(event.target);
    // Taken by its handle, the rate stays until the hand moves, and does not jump then.
    const grip = isHeld ? view.place.x(view.value) - x : 0;
    view.before = { value: view.value, grip, x: isHeld ? x + grip : null };
    svg.setPointerCapture(event.pointerId);
    drag(event);
    slider.focus({ preventScroll: true });
    event.preventDefault();
  };

  const giveUp = () => {
    if (!view.before) return;
    view.value = view.before.value;
    view.before = null;
    show();
  };

  svg.addEventListener("pointerdown", onDown);
  svg.addEventListener("pointermove", (event) => view.before && drag(event));
  svg.addEventListener("pointerup", () => view.before && send());
  svg.addEventListener("pointercancel", giveUp);
  slider.addEventListener("keydown", (event) => (event.key === "Escape" ? giveUp() : onKey(event)));
  slider.addEventListener("focusout", () => view.timer && send());
  const readInput = (isEntered) => {
    if (view.value !== null && input.value === writeRate(view.value)) return isEntered && take(view.value);
    const { rate, problem } = readRate(input.value);
    if (rate) return take(rate);
    view.problem = problem;
    show();
  };
  input.addEventListener("change", () => readInput(false));
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") readInput(true);
    if (event.key === "Escape") {
      view.problem = "";
      input.value = view.value === null ? "" : writeRate(view.value);
      show();
    }
  });

  const drawMark = ({ name, lr, loss }, k, place, row) => {
    const words = `${name} ${writeRate(lr)}`;
    const x = place.x(lr);
    const y = place.dotY(lr, loss);
    const labelY = place.labelY(row);
    const mark = make("g", { class: `flp-mark flp-color-${k % 4}`, role: "button", tabindex: "0", "aria-label": `use ${words}`, [KEEPS_KEYS]: "true" },
      make("circle", { class: "flp-hit", cx: x, cy: y, r: 13 }),
      make("circle", { cx: x, cy: y, r: 5.5 }),
      make("text", { ...place.beside(x, words), y: labelY }, words));
    mark.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      event.preventDefault();
      take(lr);
      slider.focus({ preventScroll: true });
    });
    mark.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      take(lr);
    });
    return mark;
  };

  const layOut = () => {
    const width = Math.round(svg.clientWidth);
    view.width = width;
    if (!width) return; // hidden: nothing to draw on
    const { low, high, bottom, top, lrs, losses, suggestions } = curve;
    const style = getComputedStyle(root);
    const bold = `600 12px ${style.fontFamily}`;
    const ticks = lossTicks(bottom, top);
    const tickWords = ticks.map((tick) => writeLoss(tick));
    const left = 26 + Math.max(0, ...tickWords.map((words) => textWidth(words, bold)));
    const right = width - 20;
    const x = (rate) => left + ((right - left) * Math.log(clamp(rate, low, high) / low)) / Math.log(high / low);
    const beside = (px, words) => (px + 5 + textWidth(words, bold) <= width ? { x: px + 5 } : { x: px - 5, "text-anchor": "end" });
    // On the left of the rate, since the curve falls to the right.
    const before = (px, words) => (px - 8 - textWidth(words, bold) >= left ? { x: px - 8, "text-anchor": "end" } : beside(px, words));
    const hasRoom = (px, words) => Math.max(px - 8 - left, width - px - 5) >= textWidth(words, bold);
    const spans = suggestions.map(({ name, lr }) => {
      const words = `${name} ${writeRate(lr)}`;
      const span = textWidth(words, bold) + 14;
      const isLeft = "text-anchor" in beside(x(lr), words);
      return isLeft ? [x(lr) - span, x(lr) + 1] : [x(lr) - 1, x(lr) + span];
    });
    const rows = rowsFor(spans);
    const rowHeight = 17;
    const head = 10 + rowHeight * (rows.length ? Math.max(...rows) + 1 : 0);
    const body = clamp(width * 0.4, 190, 300);
    const foot = head + body;
    const y = (loss) => foot - (body * (loss - bottom)) / (top - bottom);
    const place = {
      x, beside, before, hasRoom, top: head, bottom: foot,
      rate: (px) => low * (high / low) ** (clamp(px - left, 0, right - left) / (right - left)),
      labelY: (row) => head - 5 - rowHeight * row,
      dotY: (rate, loss) => {
        const at = loss ?? lossAt(lrs, losses, rate);
        return at === null ? foot : clamp(y(at), head, foot);
      },
    };
    view.place = place;
    const height = foot + 40;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    const clip = `flp-clip-${model.get("place")}`;
    const parts = [make("defs", {}, make("clipPath", { id: clip }, make("rect", { x: left, y: head, width: right - left, height: body })))];
    parts.push(make("rect", { class: "flp-hit", x: 0, y: head, width, height: body + 30 }));
    ticks.forEach((tick, k) => parts.push(
      make("line", { class: "flp-grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }),
      make("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tickWords[k])));
    for (const tick of rateTicks(low, high, right - left)) parts.push(
      make("line", { class: "flp-grid", x1: x(tick), x2: x(tick), y1: head, y2: foot }),
      make("text", { x: x(tick), y: foot + 17, "text-anchor": "middle" }, `${Number(tick.toPrecision(3)).toExponential().replace("e+", "e")}`));
    parts.push(
      make("text", { x: (left + right) / 2, y: foot + 35, "text-anchor": "middle" }, "learning rate"),
      make("text", { x: 10, y: (head + foot) / 2, "text-anchor": "middle", transform: `rotate(-90 10 ${(head + foot) / 2})` }, "loss (smoothed)"));
    const path = lrs.map((lr, k) => `${k ? "L" : "M"}${x(lr).toFixed(1)} ${clamp(y(losses[k]), -1e4, 1e4).toFixed(1)}`).join("");
    if (path) parts.push(make("path", { class: "flp-curve", d: path, "clip-path": `url(#${clip})` }));
    else parts.push(make("text", { x: (left + right) / 2, y: (head + foot) / 2, "text-anchor": "middle" }, "no finite loss was measured"));
    const hadFocus = document.activeElement === slider;
    suggestions.forEach(({ lr }, k) => parts.push(
      make("line", { class: `flp-guide flp-color-${k % 4}`, x1: x(lr), x2: x(lr), y1: place.labelY(rows[k]) - 10, y2: foot })));
    svg.replaceChildren(...parts, ...suggestions.map((mark, k) => drawMark(mark, k, place, rows[k])), slider);
    if (hadFocus) slider.focus({ preventScroll: true });
    show();
  };

  const onValue = () => {
    const value = model.get("value");
    if (view.before || view.timer || (view.isPending && value !== view.sent)) return; // a newer choice is under way
    view.value = value;
    show();
  };
  const onAnswer = () => {
    const isRefused = Boolean(model.get("message"));
    if (isRefused || model.get("held") === view.sent) view.isPending = false;
    if (isRefused) view.value = model.get("value");
    show();
  };
  model.on("change:value", onValue);
  model.on("change:held", onAnswer);
  model.on("change:message", onAnswer);
  model.on("msg:custom", showSentence); // the still follows, or does not
  const sizes = new ResizeObserver(() => Math.round(svg.clientWidth) !== view.width && layOut());
  sizes.observe(root);
  layOut();
  return () => {
    sizes.disconnect();
    clearTimeout(view.timer);
    model.off("change:value", onValue);
    model.off("change:held", onAnswer);
    model.off("change:message", onAnswer);
    model.off("msg:custom", showSentence);
    root.remove();
  };
};

export default () => ({
  initialize({ model }) {
    return keepPlaced(model, (el, page) => mount(model, el, page));
  },
  render({ model, el }) {
    return mount(model, el);
  },
});
