// A page of its own: the list of runs that are in it, and the player of one of them.

import { chip, duration, h, moment } from "./elements.js";
import { mount } from "./player.js";

/** Show films (as Python makes them) in an element. The part of the address behind # says which, and where. */
export function start(root, films) {
  const holder = h("div", { class: "holder" });
  const asked = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const rows = films.map((film) => row(film.run, () => { location.hash = `run=${encodeURIComponent(film.run.run_id)}`; }));
  const list = films.length > 1 ? h("nav", { class: "runs", "aria-label": "Runs" }, table(rows)) : null;
  root.replaceChildren(...[list, holder].filter(Boolean));
  let player = null;
  const show = () => {
    const { run, frame } = asked();
    const place = Math.max(0, films.findIndex((film) => film.run.run_id === run));
    player?.destroy();
    player = mount(holder, films[place], { global: true, position: frame ? Number(frame) - 1 || 0 : 0 });
    rows.forEach((one, number) => one.setAttribute("aria-current", String(number === place)));
  };
  window.addEventListener("hashchange", show);
  show();
  return () => player;
}

function table(rows) {
  const head = ["run", "status", "started", "took"].map((text) => h("th", { scope: "col" }, text));
  return h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows));
}

function row(run, show) {
  const took = run.started_us && run.finished_us ? duration(run.finished_us - run.started_us) : "";
  const marks = (run.marks ?? []).map((mark) => h("span", { class: "mark" }, mark));
  return h("tr", { onclick: show }, h("td", {}, h("button", { type: "button", dir: "auto" }, run.name || run.run_id), " ", marks), h("td", {}, chip(run.standing ?? run.status)), h("td", {}, moment(run.started_us)), h("td", { class: "number" }, took));
}
