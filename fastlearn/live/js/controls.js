// Stop, Pause and the learning rate. A press shows at once; Python's answer settles it.

import { icon, make, setText } from "./dom.js";
import { rate } from "./format.js";

const ICONS = {
  stop: "M3 3h10v10H3z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  resume: "M4 2l10 6-10 6z",
  skip_validation: "M2 2l7 6-7 6zM10 2h3v12h-3z",
};
const LABELS = {
  stop: ["Stop", "Stopping…", "Stop the training after this batch"],
  skip_validation: ["Skip validation", "Skipping…", "End now, without the last validation"],
  pause: ["Pause", "Pausing…", "Pause the training after this batch"],
  resume: ["Resume", "Resuming…", "Go on with the training"],
};
const PATIENCE_MS = 5000;

/** The row of controls for `story`; `send` takes a message to Python. */
export function makeControls(story, send) {
  const ask = asker(story, send);
  const stop = makeButton();
  const pause = makeButton();
  const lr = makeRate(ask);
  const steer = make(
    "div",
    "fl-steer",
    { role: "group", "aria-label": "Steer the training" },
    stop.element,
    pause.element,
    lr.element,
  );
  const why = make("div", "fl-why");
  const notice = make("div", "fl-notice", { role: "status" });
  const element = make("div", "fl-controls", {}, steer, why, notice);
  stop.element.addEventListener("click", () => ask(stop.what));
  pause.element.addEventListener("click", () => ask(pause.what));

  function update() {
    const { start, state, pending } = story;
    const reason = start?.why_not ?? "";
    steer.hidden = !start?.can_steer || Boolean(reason) || story.over;
    why.hidden = !reason || story.over;
    setText(why, reason);
    setText(notice, story.over ? "" : story.notice);
    stop.show(story.stopped && state === "validating" ? "skip_validation" : "stop", pending, story.stopped);
    pause.show(state === "paused" ? "resume" : "pause", pending, false);
    const ending = story.stopped || pending.has("stop"); // nothing to steer any more, only to wait for
    pause.element.disabled ||= ending;
    lr.update(story, ending);
  }
  return { element, update };
}

/** Sends what is asked for, once: until it is answered, or has waited too long, asking again does nothing. */
function asker(story, send) {
  return (what, details = {}) => {
    if (what !== "lr" && story.pending.has(what)) return;
    story.pending.add(what);
    story.notice = "";
    send({ do: what, ...details });
    story.changed();
    const chapter = story.chapter;
    setTimeout(() => {
      if (!story.pending.has(what) || story.over || story.chapter !== chapter) return;
      story.notice = "No answer yet: a batch may take long. If nothing happens, use the notebook's ■ Interrupt.";
      story.changed();
    }, PATIENCE_MS);
  };
}

function makeButton() {
  const element = make("button", "fl-button", { type: "button" });
  const button = { element, what: "", show };
  function show(what, pending, done) {
    const waits = pending.has(what) || (what === "stop" && done);
    element.disabled = waits;
    const key = `${what} ${waits}`;
    if (button.key === key) return;
    Object.assign(button, { key, what });
    const [label, busy, hint] = LABELS[what];
    element.replaceChildren(icon(ICONS[what]), waits ? busy : label);
    element.title = hint;
    element.setAttribute("aria-label", waits ? busy : `${label}: ${hint.toLowerCase()}`);
  }
  return button;
}

function makeRate(ask) {
  const now = make("output", "fl-lr-now", { "aria-label": "Learning rate now" });
  const factor = (label, hint) =>
    make("button", "fl-button", { type: "button", title: hint, "aria-label": hint }, label);
  const half = factor("×½", "Halve the learning rate");
  const twice = factor("×2", "Double the learning rate");
  const typed = make("input", "fl-input", {
    type: "text",
    size: "7",
    placeholder: "3e-4 ⏎",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": "New learning rate, Enter sets it",
    title: "Type a learning rate and press Enter",
  });
  half.addEventListener("click", () => ask("lr", { factor: 0.5 }));
  twice.addEventListener("click", () => ask("lr", { factor: 2 }));
  typed.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") typed.value = "";
    if (event.key !== "Enter" || !typed.value.trim()) return;
    ask("lr", { value: typed.value }); // as typed: Python judges it
    typed.value = "";
  });
  const element = make("div", "fl-rate", {}, make("span", "fl-name", {}, "lr"), now, half, twice, typed);

  function update(story, ending) {
    for (const control of [half, twice, typed]) control.disabled = ending;
    const { store, pending } = story;
    setText(now, store.length ? rate(store.lr[store.length - 1]) : "–");
    now.classList.toggle("fl-waits", pending.has("lr"));
  }
  return { element, update };
}
