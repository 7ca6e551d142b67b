// The head of the card: what is trained, in which state, how far it is and how long it will take.

import { make, setText } from "./dom.js";
import { count, duration, speed } from "./format.js";

const MOST_NOTCHES = 60; // epochs that the bar can show apart
const SENTENCES = {
  starting: "Waiting for the first batch.",
  running: "Training.",
  paused: "Paused.",
  stopping: "Stopping.",
  validating: "Validating.",
  ended: "Done.",
  interrupted: "Interrupted.",
  failed: "Failed.",
};

const known = (value) => value !== null && value !== undefined;

export function makeHead(story) {
  const title = make("div", "fl-title", { role: "heading", "aria-level": "3" });
  const sentence = make("span", "", { "aria-live": "polite" });
  const state = make("div", "fl-state", {}, make("span", "fl-dot", { "aria-hidden": "true" }), sentence);
  const done = make("div", "fl-bar-done");
  const limits = { "aria-valuemin": "0", "aria-valuemax": "100" };
  const bar = make("div", "fl-bar", { role: "progressbar", "aria-label": "Progress", ...limits }, done);
  const facts = ["epoch", "phase", "spent", "left", "speed"].map((name) => make("span", `fl-fact fl-fact-${name}`));
  const top = make("div", "fl-top", {}, title, state);
  const element = make("div", "fl-head", {}, top, bar, make("div", "fl-facts", {}, ...facts));

  function update() {
    const { epochs } = story.progress;
    setText(title, story.start?.title ?? "");
    setText(sentence, story.sentence || SENTENCES[story.state] || "");
    done.style.width = `${(100 * story.share).toFixed(2)}%`;
    bar.setAttribute("aria-valuenow", String(Math.round(100 * story.share)));
    bar.style.setProperty("--fl-epoch", epochs > MOST_NOTCHES ? "100%" : `${100 / (epochs || 1)}%`);
    factsOf(story).forEach((text, k) => setText(facts[k], text));
  }
  return { element, update };
}

/** Epoch, validation, time spent, time left, speed; "" for what is not known or no longer matters. */
function factsOf({ progress, over }) {
  const { epoch, epochs, phase, valid_done, valid_total, seconds, left_s, images_s } = progress;
  const of = (n) => (known(n) ? ` of ${count(n)}` : "");
  return [
    known(epoch) ? `epoch ${epoch}${of(epochs)}` : "",
    phase === "valid" && !over ? `validating${known(valid_done) ? ` ${count(valid_done)}${of(valid_total)}` : ""}` : "",
    known(seconds) ? `${duration(seconds)} spent` : "",
    known(left_s) && !over ? `${duration(left_s)} left` : "",
    known(images_s) ? `${speed(images_s)} images/s` : "",
  ];
}
