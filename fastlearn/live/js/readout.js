// The line of values above a chart: what each line is, and its value where the reader points, else now.

import { make, setText } from "./dom.js";

/** `items` are {key, name, mark, color}: mark is "line", "faint", "dash", "dot" or "star"; color a CSS value. */
export function makeReadout(title, items) {
  const values = new Map();
  const entries = items.map(({ key, name, mark, color }) => {
    const value = make("span", "fl-value");
    values.set(key, value);
    const swatch = make("span", `fl-swatch fl-mark-${mark}`, { "aria-hidden": "true" });
    swatch.style.color = color;
    return make("span", "fl-item", { title: name }, swatch, make("span", "fl-label", {}, name), value);
  });
  const where = make("span", "fl-where");
  const element = make("div", "fl-readout", {}, make("span", "fl-caption", {}, title), ...entries, where);
  return {
    element,
    set: (key, text) => setText(values.get(key), text),
    where: (text) => setText(where, text),
    show: (key, shown) => (values.get(key).parentElement.hidden = !shown),
  };
}
