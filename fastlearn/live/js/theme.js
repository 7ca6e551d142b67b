// Light or dark, and the colours that a canvas needs as text.

const WATCHED = ["class", "style", "theme", "data-jp-theme-light", "data-jp-theme-name", "data-vscode-theme-kind"];
const NAMES = ["train", "faint", "valid", "rate", "momentum", "ink", "muted", "grid", "alarm"];

/** Marks `root` as light or dark by what is painted behind it (so in every notebook front end); gives its colours. */
export function applyTheme(root) {
  const paper = paperBehind(root.parentElement);
  const theme = { paper: `rgb(${paper.join(" ")})` };
  root.dataset.theme = luminance(paper) < 128 ? "dark" : "light";
  root.style.setProperty("--fl-paper", theme.paper);
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(`--fl-${name}`).trim();
  for (const name of NAMES) theme[name] = read(name);
  theme.metrics = [1, 2, 3, 4, 5, 6].map((k) => read(`metric${k}`));
  theme.font = style.fontFamily;
  return theme;
}

function luminance([r, g, b]) {
  return 0.299 * r + 0.587 * g + 0.114 * b;
}

function paperBehind(element) {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, alpha = 1] = (getComputedStyle(at).backgroundColor.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    if (alpha > 0.5) return [r, g, b];
  }
  return [255, 255, 255]; // nothing is painted: a browser's own page is white
}

/** Calls `changed` whenever the page may have got another theme; returns what ends the watch. */
export function watchTheme(changed) {
  let timer = 0;
  const later = () => {
    changed();
    clearTimeout(timer);
    timer = setTimeout(changed, 400); // a front end may name the theme before its style sheet has come
  };
  const observer = new MutationObserver(later);
  for (const element of [document.documentElement, document.body]) {
    observer.observe(element, { attributes: true, attributeFilter: WATCHED });
  }
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", later);
  return () => {
    clearTimeout(timer);
    observer.disconnect();
    media.removeEventListener("change", later);
  };
}
