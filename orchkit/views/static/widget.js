// The player as a widget of a notebook: its position is shared with Python, which may send more frames.

import { mount } from "./player.js";

const QUIET_MS = 200;

export function render({ model, el }) {
  const player = mount(el, JSON.parse(model.get("film")), { position: model.get("position") });
  let timer = 0;
  const tell = () => {
    timer = 0;
    model.set("position", player.frame);
    model.save_changes();
  };
  player.on("move", () => { timer ||= setTimeout(tell, QUIET_MS); });
  const follow = () => { if (!timer && model.get("position") !== player.frame) player.go(model.get("position")); };
  const take = (message) => { if (message?.type === "frames") player.add(message); };
  model.on("change:position", follow);
  model.on("msg:custom", take);
  return () => {
    clearTimeout(timer);
    model.off("change:position", follow);
    model.off("msg:custom", take);
    player.destroy();
  };
}
