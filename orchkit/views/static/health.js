// The card of watched services. Python draws it, every text in it escaped, and sends it whenever it has changed.

import { keepAtItsEnd } from "./keep.js";

export function initialize({ model }) {
  return keepAtItsEnd(model);
}

export function render({ model, el }) {
  const show = (news) => {
    const html = news?.board?.final ?? news?.board?.html;
    if (html !== undefined) el.innerHTML = html;
  };
  model.on("msg:custom", show);
  show(model.get("start"));
  model.send({ do: "refresh" });
  return () => model.off("msg:custom", show);
}
