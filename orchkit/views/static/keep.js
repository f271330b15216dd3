// What a saved notebook keeps of a widget: HTML in its place. Python replaces a display by its id, but not in
// a page that was loaded after it was shown; there the notebook itself has to be told.

const VIEW = "application/vnd.jupyter.widget-view+json";
const OVER = new Set(["restarting", "autorestarting", "terminating", "dead"]);

/** Put HTML in the place of the views of a widget, in the notebook of the page; in how many places it was. */
function keep(manager, id, html, text) {
  let places = 0;
  try {
    for (const outputs of outputsOf(manager.context.model)) {
      for (let place = 0; place < outputs.length; place += 1) {
        const output = outputs.get(place);
        if (output.data[VIEW]?.model_id !== id) continue;
        outputs.set(place, { output_type: "display_data", data: { "text/plain": text, "text/html": html }, metadata: {} });
        places += 1;
      }
    }
  } catch (error) {
    console.debug("orchkit: this page has no notebook that could be changed", error);
  }
  return places;
}

function* outputsOf(notebook) {
  for (let place = 0; place < notebook.cells.length; place += 1) {
    const { outputs } = notebook.cells.get(place);
    if (outputs) yield outputs;
  }
}

/** `tell()` is called when the kernel of a page ends; returns how to listen no more. */
function whenKernelEnds(manager, tell) {
  const changed = manager?.kernel?.statusChanged;
  const listen = (_, status) => { if (OVER.has(status)) tell(); };
  changed?.connect(listen);
  return () => changed?.disconnect(listen);
}

/** Once for the widget, whether it is in view or not: at its end the notebook gets
 *  what it is to keep. */
export function keepAtItsEnd(model) {
  let known = {};
  const leave = (html) => { if (known.model && html) keep(model.widget_manager, known.model, html, known.text ?? ""); };
  const take = (news) => {
    if (news?.all) known = news;
    if (news?.board?.final !== undefined) leave(news.board.final);
  };
  const forget = whenKernelEnds(model.widget_manager, () => leave(known.left));
  model.on("msg:custom", take);
  take({ ...model.get("start"), all: true });
  return () => {
    model.off("msg:custom", take);
    forget();
  };
}
