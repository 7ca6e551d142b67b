// The cleaner's page: the pictures with the highest losses, each to be kept, deleted or given another class.
// Python → page: listing, choices, busy, notice, still. Page → Python: hello, look, choose.

import { keepPlaced } from "./place.js";

const KEYED = 9; // classes that a digit chooses by their place
const TAIL = 9; // characters of a file's name that always show
const FEW = 50; // classes; more are listed for a picture only when its list is opened

export default () => {
  // `initialize` and `render` get different proxies of the model, and several views may be open: all share this.
  const shared = { listing: null, urls: [], busy: null, notice: "", awaited: null, views: new Set() };
  const redraw = (what) => shared.views.forEach((view) => view.draw(what));

  const receive = (message, buffers) => {
    if (message.kind === "listing") {
      shared.urls.forEach((url) => URL.revokeObjectURL(url));
      shared.urls = (buffers || []).map((buffer) => URL.createObjectURL(new Blob([buffer])));
      Object.assign(shared, { listing: message, busy: null, notice: "", awaited: null });
      redraw("all");
    } else if (message.kind === "choices" && shared.listing) {
      shared.listing.counts = message.counts;
      for (const row of shared.listing.rows) row.choice = message.choices[row.id] ?? row.choice;
      redraw("choices");
    } else if (message.kind === "busy") {
      shared.busy = message;
      redraw("head");
    } else if (message.kind === "notice") {
      Object.assign(shared, { notice: message.message, busy: null, awaited: null });
      redraw("head");
    }
  };

  const mount = (model, el) => {
    const view = makeView(shared, model, el, redraw);
    shared.views.add(view);
    view.draw("all");
    model.send({ do: "hello" });
    return () => {
      shared.views.delete(view);
      view.close();
    };
  };

  return {
    initialize({ model }) {
      model.on("msg:custom", receive);
      const stop = keepPlaced(model, (el) => mount(model, el));
      return () => {
        model.off("msg:custom", receive);
        stop();
        shared.urls.forEach((url) => URL.revokeObjectURL(url));
      };
    },
    render({ model, el }) {
      return mount(model, el);
    },
  };
};

/** One view: `draw("all" | "choices" | "head")`. */
function makeView(shared, model, el, redraw) {
  const root = make("div", "fl-cleaner");
  const head = makeHead(root);
  const grid = make("div", "fl-grid");
  grid.setAttribute("role", "group");
  root.append(grid);
  el.append(root);
  let cards = new Map();
  let current = null; // the id of the picture that Tab reaches

  const look = (cls, split) => {
    if (!shared.listing || (cls === shared.listing.cls && split === shared.listing.split)) return;
    Object.assign(shared, { awaited: { cls, split }, notice: "" });
    redraw("head");
    model.send({ do: "look", cls, split });
  };
  const choose = (row, choice) => {
    const { keep, delete: gone, counts, split } = shared.listing;
    const count = (of, by) => {
      if (of === gone) counts.delete += by;
      else if (of !== keep) counts.relabel += by;
    };
    const wanted = choice === shared.listing.cls ? keep : choice;
    count(row.choice, -1);
    count(wanted, 1);
    row.choice = wanted; // shown at once; Python's answer settles it
    redraw("choices");
    model.send({ do: "choose", id: row.id, split, choice: wanted });
  };
  const setCurrent = (id, focus) => {
    cards.get(current)?.setReachable(false);
    current = id;
    const card = cards.get(id);
    card?.setReachable(true);
    if (focus) card?.el.focus();
  };

  head.cls.addEventListener("change", () => look(head.cls.value, shared.listing.split));
  head.splits.addEventListener("change", (event) => look(shared.listing.cls, event.target.value));
  const onKey = (event) => {
    event.stopPropagation(); // the notebook's own keys are for its cells
    const card = event.target.closest?.(".fl-card");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const id = Number(card.dataset.id);
    if (event.target.tagName === "SELECT") {
      if (event.key === "Escape") setCurrent(id, true);
      return;
    }
    if (keyPressed(event.key, id)) event.preventDefault();
  };
  const keyPressed = (key, id) => {
    const ids = [...cards.keys()];
    const at = ids.indexOf(id);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(grid), ArrowUp: -columns(grid) }[key];
    const to = key === "Home" ? 0 : key === "End" ? ids.length - 1 : step === undefined ? null : at + step;
    if (to !== null) {
      if (to >= 0 && to < ids.length) setCurrent(ids[to], true);
      return true;
    }
    const { rows, keep, delete: gone, classes } = shared.listing;
    const named = classOfKey(key, classes);
    const row = rows.find((one) => one.id === id);
    const letter = key.toLowerCase();
    if (named !== undefined) choose(row, named);
    else if (letter === "k") choose(row, keep);
    else if (letter === "d" || key === "Delete") choose(row, gone);
    else if (letter === "c") cards.get(id).focusSelect();
    else return false;
    return true;
  };
  root.addEventListener("keydown", onKey);
  grid.addEventListener("focusin", (event) => {
    const card = event.target.closest(".fl-card");
    if (card && Number(card.dataset.id) !== current) setCurrent(Number(card.dataset.id), false);
  });

  const drawHead = () => {
    const { listing, awaited, busy, notice } = shared;
    root.classList.toggle("fl-empty", !listing);
    root.classList.toggle("fl-waiting", awaited !== null);
    grid.setAttribute("aria-busy", String(awaited !== null));
    if (!listing) {
      const summary = model.get("summary");
      const waiting = `${summary ? `${summary}. ` : ""}Waiting for Python; a running cell must end first.`;
      head.state.textContent = busy ? progressOf(busy) : waiting;
      head.notice.textContent = notice;
      drawBar(busy);
      return;
    }
    const shown = awaited ?? listing;
    fillSelect(head.cls, listing.vocab, shown.cls);
    fillSplits(head.splits, listing.splits, shown.split);
    head.counts.textContent = `${listing.counts.delete} to delete, ${listing.counts.relabel} to relabel`;
    head.counts.classList.toggle("fl-some", listing.counts.delete + listing.counts.relabel > 0);
    head.state.textContent = sentence(listing, awaited, busy);
    head.notice.textContent = notice;
    drawBar(busy);
  };
  const drawBar = (busy) => {
    head.bar.style.visibility = busy ? "visible" : "hidden"; // its place stays, so that nothing jumps
    if (busy) Object.assign(head.bar, { max: busy.total, value: busy.done });
  };
  const drawCards = () => {
    const { listing, urls } = shared;
    const hadFocus = grid.contains(grid.getRootNode().activeElement);
    cards = new Map(listing.rows.map((row) => [row.id, makeCard(row, listing, urls, choose)]));
    grid.replaceChildren(...[...cards.values()].map((card) => card.el));
    grid.setAttribute("aria-label", `Pictures of ${listing.cls} in ${listing.split}, the highest loss first`);
    const first = cards.has(current) ? current : (listing.rows[0]?.id ?? null);
    current = null;
    if (first !== null) setCurrent(first, hadFocus);
  };

  const theme = watchTheme(root);
  return {
    draw(what) {
      drawHead();
      if (what === "all" && shared.listing) drawCards();
      if (what === "choices") shared.listing.rows.forEach((row) => cards.get(row.id)?.update(row));
    },
    close() {
      theme.disconnect();
      root.remove();
    },
  };
}

function makeHead(root) {
  const bar = make("div", "fl-head");
  const classLabel = make("label", "fl-field", "Class ");
  const cls = make("select", "fl-select");
  cls.setAttribute("aria-label", "Class to look at");
  classLabel.append(cls);
  const splits = make("div", "fl-splits");
  splits.setAttribute("role", "radiogroup");
  splits.setAttribute("aria-label", "Split to look at");
  const counts = make("span", "fl-counts");
  counts.setAttribute("role", "status");
  bar.append(classLabel, splits, counts);
  const state = make("div", "fl-state");
  const progress = make("progress", "fl-progress");
  progress.style.visibility = "hidden";
  progress.setAttribute("aria-label", "Computing the losses");
  const notice = make("div", "fl-notice");
  notice.setAttribute("role", "alert");
  const help = make("div", "fl-help");
  for (const [keys, does] of [
    ["← ↑ ↓ →", "move"],
    ["K", "keep"],
    ["D", "delete"],
    ["1 … 9", "a class"],
    ["C", "all classes"],
  ]) {
    help.append(make("kbd", "", keys), ` ${does}   `);
  }
  root.append(bar, state, progress, notice, help);
  return { cls, splits, counts, state, bar: progress, notice };
}

function sentence(listing, awaited, busy) {
  if (busy) return progressOf(busy);
  if (awaited) return `Turning to ${awaited.cls} in ${awaited.split}…`;
  const n = listing.rows.length;
  const where = `of class ${listing.cls} in ${listing.split}`;
  if (!n) return `There is no picture ${where}.`;
  const which = n < listing.of ? `The ${n} of ${listing.of} pictures ${where} with the highest losses.` :
    `${n === 1 ? "The one picture" : `All ${n} pictures`} ${where}, the highest loss first.`;
  return `${which} No file is moved before you type cleaner.apply().`;
}

function progressOf(busy) {
  return `Computing the losses of ${busy.split}: batch ${busy.done} of ${busy.total}.`;
}

function makeCard(row, listing, urls, choose) {
  const card = keepKeys(make("div", "fl-card"));
  card.dataset.id = row.id;
  card.setAttribute("role", "group");
  const picture = make("div", "fl-picture");
  if (row.thumb === null) {
    picture.append(make("span", "fl-problem", row.problem));
  } else {
    const image = make("img", row.sharp ? "fl-sharp" : "");
    Object.assign(image, { src: urls[row.thumb], alt: "", draggable: false });
    picture.append(image);
  }
  const badge = make("span", "fl-badge");
  picture.append(badge);
  const name = make("div", "fl-name");
  const cut = Math.max(0, row.name.length - TAIL); // names of one folder often differ at their ends only
  name.append(make("span", "fl-head-of-name", row.name.slice(0, cut)), make("span", "", row.name.slice(cut)));
  name.title = row.path;
  const said = make("div", "fl-said", "predicted ");
  said.append(make("b", "", row.predicted));
  said.title = `predicted ${row.predicted}, which is ${row.wrong ? "not " : ""}its class`;
  const numbers = make("div", "fl-numbers", `loss ${number(row.loss)} · p\u00a0${number(row.probability)}`);
  const keep = make("button", "fl-keep", "Keep");
  const gone = make("button", "fl-delete", "Delete");
  const select = make("select", "fl-select");
  keep.type = gone.type = "button";
  keep.addEventListener("click", () => choose(row, listing.keep));
  gone.addEventListener("click", () => choose(row, listing.delete));
  select.setAttribute("aria-label", `Another class for ${row.name}`);
  select.addEventListener("change", () => choose(row, select.value));
  // A thousand classes times thirty pictures would be slow: then the options are made when they are asked for.
  const others = listing.classes.filter((one) => one !== listing.cls);
  const isFull = () => select.options.length === others.length + 1;
  const fill = () => {
    if (!isFull()) fillOptions(select, row, listing, others);
  };
  if (others.length <= FEW) fill();
  select.addEventListener("pointerdown", fill);
  select.addEventListener("focus", fill);
  const choices = make("div", "fl-choices");
  choices.append(keep, gone, select);
  card.append(picture, name, said, numbers, choices);

  const update = (now) => {
    const [kept, deleted] = [now.choice === listing.keep, now.choice === listing.delete];
    card.classList.toggle("fl-to-delete", deleted);
    card.classList.toggle("fl-to-relabel", !kept && !deleted);
    badge.textContent = deleted ? "delete" : kept ? "" : `→ ${now.choice}`;
    keep.setAttribute("aria-pressed", String(kept));
    gone.setAttribute("aria-pressed", String(deleted));
    if (!isFull()) fillOptions(select, now, listing, kept || deleted ? [] : [now.choice]);
    select.value = kept || deleted ? listing.keep : now.choice;
    const choice = deleted ? "delete" : kept ? "keep" : `relabel as ${now.choice}`;
    card.setAttribute("aria-label", `${now.name}, predicted ${now.predicted}, loss ${number(now.loss)}. Choice: ${choice}`);
  };
  update(row);
  const setReachable = (on) => [card, keep, gone, select].forEach((part) => (part.tabIndex = on ? 0 : -1));
  setReachable(false);
  const focusSelect = () => {
    select.focus();
    try {
      select.showPicker?.();
    } catch {
      // some browsers open a list only for a click; the arrow keys work without
    }
  };
  return { el: card, update, setReachable, focusSelect };
}

function fillOptions(select, row, listing, names) {
  const none = option(listing.keep, "Class…");
  const numbered = !listing.classes.some(isDigit);
  const digit = (name) => listing.classes.indexOf(name) + 1;
  const label = (name) => (numbered && digit(name) <= KEYED ? `${digit(name)}  ${name}` : name);
  select.replaceChildren(none, ...names.map((name) => option(name, label(name))));
  select.value = names.includes(row.choice) ? row.choice : listing.keep;
}

/** The class that a digit chooses: the one so called where classes are digits, or else by its place. */
function classOfKey(key, classes) {
  if (!isDigit(key)) return undefined;
  return classes.some(isDigit) ? classes.find((name) => name === key) : classes[Number(key) - 1];
}

function isDigit(text) {
  return /^[0-9]$/.test(text);
}

function fillSelect(select, names, value) {
  const same = select.options.length === names.length && names.every((name, i) => select.options[i].value === name);
  if (!same) select.replaceChildren(...names.map((name) => option(name, name)));
  select.value = value;
}

let groups = 0; // radio buttons of one view belong together

function fillSplits(box, names, value) {
  if (box.children.length !== names.length) {
    const group = `fl-cleaner-split-${groups++}`;
    box.replaceChildren(
      ...names.map((name) => {
        const label = make("label", "fl-split");
        const radio = make("input");
        Object.assign(radio, { type: "radio", name: group, value: name });
        label.append(radio, make("span", "", name));
        return label;
      }),
    );
  }
  box.querySelectorAll("input").forEach((radio) => (radio.checked = radio.value === value));
}

/** Sets `data-dark` by what is behind the widget, now and when the page's theme changes. */
function watchTheme(root) {
  const set = () => {
    let [node, colour] = [root.parentElement, null];
    while (node && !colour) {
      const parts = getComputedStyle(node).backgroundColor.match(/[\d.]+/g)?.map(Number);
      if (parts && (parts.length < 4 || parts[3] > 0.5)) colour = parts;
      node = node.parentElement ?? node.getRootNode()?.host ?? null;
    }
    const [r, g, b] = colour ?? [255, 255, 255];
    root.dataset.dark = String(0.299 * r + 0.587 * g + 0.114 * b < 128);
  };
  requestAnimationFrame(set); // the element is attached after `render`
  const observer = new MutationObserver(() => requestAnimationFrame(set));
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  return observer;
}

function columns(grid) {
  return getComputedStyle(grid).gridTemplateColumns.split(" ").length;
}

function number(value) {
  return value === null ? "NaN" : value.toFixed(2);
}

function option(value, text) {
  const made = make("option", "", text);
  made.value = value;
  return made;
}

function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return ["button", "input", "select"].includes(tag) ? keepKeys(made) : made;
}

/** For each element that can have the focus, not around them: else JupyterLab takes D D there for "delete the cell". */
function keepKeys(element) {
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  return element;
}
