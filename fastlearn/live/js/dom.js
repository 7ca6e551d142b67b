// The few ways in which this page makes and changes elements.

/** An element with a class, attributes and children (elements or text). */
export function make(tag, name = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  // What can have the focus keeps its keys: else JupyterLab takes "x" on a button as "cut this cell".
  if (tag === "button" || tag === "input" || attributes.tabindex) element.dataset.lmSuppressShortcuts = "true";
  if (name) element.className = name;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Change text only when it differs: a live region would read the same sentence aloud again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An icon of 16 × 16 units from one path, in the colour of the text. */
export function icon(path) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [key, value] of [
    ["viewBox", "0 0 16 16"],
    ["width", "12"],
    ["height", "12"],
    ["aria-hidden", "true"],
  ]) {
    svg.setAttribute(key, value);
  }
  const shape = document.createElementNS(space, "path");
  shape.setAttribute("d", path);
  shape.setAttribute("fill", "currentColor");
  svg.append(shape);
  return svg;
}
