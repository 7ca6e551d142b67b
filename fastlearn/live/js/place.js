// A widget that has no view of its own: it draws itself into each element of the class `place` that the page shows, now
// or later (a reload, a second view of the output). The output after that element holds a still picture or table.

/** Keeps what `mount(el, page)` draws in every such element; its result takes that away. Returns the end of it all. */
export const keepPlaced = (model, mount) => {
  const hosts = document.getElementsByClassName(model.get("place"));
  const placed = new Map();
  const page = { isStale: false }; // the still does not follow
  const isReloaded = model.get("opened");
  const put = (el) => {
    const words = [...el.childNodes];
    el.replaceChildren();
    const remove = mount(el, page);
    return () => {
      remove();
      el.replaceChildren(...words);
    };
  };
  const look = () => {
    for (const [el, remove] of placed) {
      if (el.isConnected) continue;
      remove();
      placed.delete(el);
    }
    for (const el of hosts) if (!placed.has(el)) placed.set(el, put(el));
  };
  const receive = ({ kind, data }) => {
    if (isReloaded && kind === "still") page.isStale = !putStill(model, data);
  };
  const watcher = new MutationObserver(look);
  const stop = () => {
    watcher.disconnect();
    model.off("msg:custom", receive);
    for (const remove of placed.values()) remove();
    placed.clear();
  };
  model.on("msg:custom", receive);
  model.on("comm_live_update", stop); // the kernel has gone: the still comes back
  model.set(isReloaded ? "reloaded" : "opened", true);
  model.save_changes();
  watcher.observe(document.body, { childList: true, subtree: true });
  look();
  return stop;
};

/** Puts `data` in the output after each place, which is the first one there of that kind. Jupyter forgets at a reload
 * which output a display belongs to, so that Python can no longer draw the still anew; the notebook is asked itself.
 * False where it cannot be reached. */
export const putStill = (model, data) => {
  const [kind] = Object.keys(data);
  let isDone = false;
  for (const { outputs } of model.widget_manager?.context?.model?.cells ?? []) {
    let isAfter = false;
    for (let k = 0; k < (outputs?.length ?? 0); k++) {
      const output = outputs.get(k);
      if (String(output.data["text/html"]).includes(model.get("place"))) isAfter = true;
      else if (isAfter && kind in output.data) {
        outputs.set(k, { ...output.toJSON(), data });
        isDone = true;
        isAfter = false;
      }
    }
  }
  return isDone;
};
