// The table of epochs: one row each, the best one marked, the newest in view.

import { make, setText } from "./dom.js";
import { cell, count, decimals, duration } from "./format.js";

const MOST_ROWS = 400; // thousands of rows would make the page slow; Python keeps them all
const KEPT_ROWS = 200;

export function makeTable(story) {
  const head = make("thead");
  const body = make("tbody");
  const table = make("table", "fl-table", { "aria-label": "Epochs" }, head, body);
  const element = make("div", "fl-scroll", { tabindex: "0", role: "region", "aria-label": "Table of epochs" }, table);
  let shown = { names: "", chapter: -1, places: {}, rows: [], from: 0, filled: 0, parts: "" };

  function update() {
    const names = story.start?.metric_names ?? [];
    element.hidden = story.rows.length === 0;
    const parts = story.partsAt.join();
    const shownTo = shown.from + shown.rows.length;
    const other = shown.chapter !== story.chapter || shown.names !== names.join("\n") || shown.parts !== parts;
    const restart = other || shownTo > story.rows.length || story.rows.length - shown.from > MOST_ROWS;
    const grown = shownTo < story.rows.length;
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
    if (restart) begin(names, parts);
    for (const { at } of story.rows.slice(shown.from + shown.rows.length)) addRow(names, at);
    if (grown || restart) fill(names);
    markBest();
    if ((grown || restart) && atEnd) element.scrollTop = element.scrollHeight;
  }

  function begin(names, parts) {
    shown = { names: names.join("\n"), chapter: story.chapter, places: {}, rows: [], from: 0, filled: 0, parts };
    if (story.rows.length > MOST_ROWS) shown.from = story.rows.length - KEPT_ROWS;
    shown.filled = shown.from;
    head.replaceChildren(
      make(
        "tr",
        "",
        {},
        ...names.map((name) => headCell(name, story.start.lower_is_better?.[name])),
        make("th", "fl-star"),
      ),
    );
    body.replaceChildren();
    if (shown.from) addHeading(names, `${count(shown.from)} earlier epochs: learn.recorder.history()`);
  }

  function addHeading(names, text) {
    body.append(make("tr", "fl-part", {}, make("td", "", { colspan: String(names.length + 1) }, text)));
  }

  function addRow(names, at) {
    const row = make("tr", "", {}, ...names.map(() => make("td")), make("td", "fl-star"));
    const part = story.partsAt.findLastIndex((from) => from < at);
    const before = shown.rows.at(-1);
    if (story.partsAt.length > 1 && (!before || before.part !== part)) {
      addHeading(names, story.start.parts?.[part]?.name ?? "");
    }
    body.append(row);
    shown.rows.push({ row, part });
  }

  /** All cells anew when a column needs other decimals than before, else only those of new rows. */
  function fill(names) {
    names.forEach((name, column) => {
      const places = decimals(story.rows.map(({ row }) => row[name]));
      const from = shown.places[name] === places ? shown.filled : shown.from;
      shown.places[name] = places;
      for (let i = from; i < story.rows.length; i++) {
        setText(shown.rows[i - shown.from].row.children[column], show(name, story.rows[i].row[name], places));
      }
    });
    shown.filled = story.rows.length;
  }

  function markBest() {
    shown.rows.forEach(({ row }, i) => {
      const best = shown.from + i === story.bestRow;
      if (row.classList.contains("fl-best") === best) return;
      row.classList.toggle("fl-best", best);
      setText(row.lastChild, best ? "★" : "");
      row.lastChild.setAttribute("aria-label", best ? "best epoch" : "");
    });
  }

  return { element, update };
}

function headCell(name, lowerIsBetter) {
  const words = name.split("_").flatMap((word, i) => (i ? ["_", make("wbr"), word] : [word])); // long names break here
  const hint = lowerIsBetter === undefined ? name : `${name}: ${lowerIsBetter ? "lower" : "higher"} is better`;
  return make("th", "", { scope: "col", title: hint }, ...words);
}

function show(name, value, places) {
  if (value === null || value === undefined) return "–";
  if (name === "epoch") return String(value);
  return name === "time" ? duration(value) : cell(value, places);
}
