import assert from "node:assert/strict";
import test from "node:test";
import { putStill } from "../place.js";

/** The outputs of a cell, as far as JupyterLab's are used here. */
const cellOf = (...all) => ({
  outputs: {
    length: all.length,
    get: (k) => ({ data: all[k].data, toJSON: () => all[k] }),
    set: (k, output) => (all[k] = output),
  },
  all,
});

const modelOf = (cells) => ({ get: () => "place-1", widget_manager: { context: { model: { cells } } } });
const place = { output_type: "display_data", data: { "text/html": '<div class="place-1"></div>' } };
const text = { output_type: "stream", data: { "application/vnd.jupyter.stdout": "said" } };
const image = (png) => ({ output_type: "display_data", metadata: {}, data: { "image/png": png } });

test("the first output of its kind after the place is the still, and no other is touched", () => {
  const [other, cell] = [cellOf(image("a")), cellOf(image("b"), place, text, image("c"), image("d"))];
  assert.equal(putStill(modelOf([{}, other, cell]), { "image/png": "new", "text/plain": "words" }), true);
  assert.deepEqual(other.all, [image("a")]);
  const still = { ...image(), data: { "image/png": "new", "text/plain": "words" } };
  assert.deepEqual(cell.all, [image("b"), place, text, still, image("d")]);
});

test("a notebook without the place, or one that cannot be reached, says so", () => {
  assert.equal(putStill(modelOf([cellOf(image("a"))]), { "image/png": "new" }), false);
  assert.equal(putStill({ get: () => "place-1" }, { "image/png": "new" }), false);
});
