// The player: a film, everything that shows it, and the keys and buttons that move it.

import { chip, duration, h, moment, plural, s } from "./elements.js";
import { EventList } from "./eventlist.js";
import { DagView } from "./dagview.js";
import { Film } from "./film.js";
import { Inspector } from "./inspector.js";
import { CSS } from "./style.js";
import { followTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { TimeScale } from "./timescale.js";
import { Transport } from "./transport.js";

const LONGEST_PLAY = 60;
const SHORTEST_PLAY = 5;
const SECONDS_PER_FRAME = 0.3;
const HELP = [["← →", "previous, next event"], ["Shift ← →", "ten events"], ["Home End", "first, last event"], ["Space", "play, pause"], ["d", "next decision (Shift: previous)"],
  ["f", "next failure (Shift: previous)"], ["/", "jump to step"], ["Enter", "enter a sub-workflow"], ["Esc", "follow the events again, leave a sub-workflow"], ["?", "this list"]];

/**
 * Put a player into an element. `data` is a film as Python makes it; options: `position` (a frame from 0,
 * or "last"), `theme` ("light" or "dark", else that of the page), `global` (take keys from the whole page).
 * Returns the `Player`.
 */
export function mount(el, data, options = {}) {
  return new Player(el, new Film(data), options);
}

export class Player {
  constructor(el, film, options = {}) {
    this.options = options;
    this.speed = 1;
    this.el = el;
    this.abort = new AbortController();
    this.host = h("div", { class: "orchkit-player" });
    this.shadow = this.host.attachShadow({ mode: "open" });
    this.shadow.append(h("style", {}, CSS));
    this.frameBox = h("section", { class: "player", tabindex: "0", role: "region" });
    this.shadow.append(hatch(), this.frameBox);
    el.replaceChildren(this.host);
    this.stopTheme = followTheme(this.host, options.theme ?? null);
    this.listeners = new Map();
    // Before anybody else: notebooks have shortcuts for single keys, such as d d to delete a cell.
    window.addEventListener("keydown", (event) => this.#key(event), { capture: true, signal: this.abort.signal });
    this.open(film, options.position === "last" ? film.last : Math.min(options.position ?? 0, film.last));
  }

  /** Show another film in the same place: the run of a sub-workflow, or the one it is part of. */
  open(film, position = 0, trail = []) {
    this.pause();
    this.#close();
    Object.assign(this, { film, trail, picked: null, frame: Math.max(0, position) });
    const pick = (step) => this.pick(step);
    const go = (frame) => this.go(frame);
    this.transport = new Transport(film, this.#actions());
    this.dag = new DagView(film, { onPick: (path) => this.#pickPath(path), onEnter: (path) => path.length === 1 && this.enter(path[0]) });
    this.timeline = new Timeline(film, { onSeek: go, onPick: pick });
    this.inspector = new Inspector(film, { onSeek: go, onPick: pick, onEnter: (step) => this.enter(step) });
    this.list = new EventList(film, { onSeek: go });
    this.caption = h("p", { class: "caption", "aria-live": "polite" });
    this.#build();
    if (film.length) this.go(this.frame);
  }

  #build() {
    const film = this.film;
    this.summary = h("span", { class: "summary" });
    this.status = h("span", { class: "status" });
    this.frameBox.setAttribute("aria-label", `Replay of ${film.head.name || film.head.run_id || "a run"}`);
    const tabs = this.#tabs();
    const body = h("div", { class: "body" }, h("div", { class: "stage" }, this.dag.el, this.timeline.el), h("aside", { class: "side" }, tabs, this.inspector.el, this.list.el));
    this.help = h("dl", { class: "help hidden" }, HELP.map(([keys, text]) => [h("dt", {}, keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, text)]));
    this.frameBox.replaceChildren(this.#head(), this.transport.el, this.transport.scrubber, this.caption, film.length ? body : h("p", { class: "note" }, "Nothing is on the record yet."), this.help);
  }

  #head() {
    const film = this.film;
    const crumbs = this.trail.map(({ film: outer }, place) => h("button", { type: "button", class: "link", onclick: () => this.leave(this.trail.length - place) }, outer.head.name || "run"));
    const marks = (film.head.marks ?? []).map((mark) => h("span", { class: "mark" }, mark));
    return h("header", { class: "head" }, this.status, crumbs.length ? h("nav", { class: "crumbs", "aria-label": "Workflows around" }, crumbs.flatMap((crumb) => [crumb, h("span", { class: "muted" }, " › ")])) : null,
      h("h2", { class: "title", dir: "auto" }, film.head.name || film.head.run_id || "run"), marks, this.summary,
      h("button", { type: "button", class: "tool question", "aria-label": "Keys", title: "Keys (?)", onclick: () => this.#toggleHelp() }, "?"));
  }

  #tabs() {
    const names = [["inspect", "Inspector"], ["list", "Events"]];
    const buttons = names.map(([name, text]) => h("button", { type: "button", class: "tab", onclick: () => this.#tab(name) }, text));
    this.tabButtons = Object.fromEntries(names.map(([name], place) => [name, buttons[place]]));
    const bar = h("div", { class: "tabs", role: "group", "aria-label": "What is shown beside the picture" }, buttons);
    this.#tab(this.shownTab ?? "inspect");
    return bar;
  }

  #tab(name) {
    this.shownTab = name;
    for (const [one, button] of Object.entries(this.tabButtons)) button.setAttribute("aria-pressed", String(one === name));
    this.inspector.el.classList.toggle("hidden", name !== "inspect");
    this.list.el.classList.toggle("hidden", name !== "list");
    if (this.film.length) this.list.show(this.frame);
  }

  #toggleHelp() {
    this.help.classList.toggle("hidden");
  }

  // --- moving --------------------------------------------------------------------------------

  #actions() {
    return {
      first: () => this.go(0), previous: () => this.go(this.frame - 1), next: () => this.go(this.frame + 1), last: () => this.go(this.film.last),
      toggle: () => (this.playing ? this.pause() : this.play()), decision: () => this.find("decision"), failure: () => this.find("failure"),
      seek: (frame) => this.go(frame), speed: (factor) => this.#setSpeed(factor), jump: (text) => this.jump(text),
    };
  }

  /** Go to a frame; out of range is the nearest end. */
  go(frame, { playing = false } = {}) {
    if (!this.film.length) return;
    if (!playing) this.pause();
    const before = this.frame;
    this.frame = Math.min(this.film.last, Math.max(0, frame));
    const event = this.film.frames[this.frame];
    const view = { current: event.step ?? null, picked: this.picked };
    this.transport.show(this.frame, this.playing);
    this.#showCaption(event);
    this.dag.show(this.frame, view);
    this.timeline.show(this.frame, view);
    if (this.shownTab === "list") this.list.show(this.frame);
    else this.inspector.show(this.frame, view);
    this.#showHead();
    this.dag.follow();
    if (before !== this.frame) this.#emit("move", this.frame);
  }

  #showCaption(event) {
    const when = `+${duration(this.film.since(event.ts_us))}`;
    this.caption.setAttribute("aria-live", this.playing ? "off" : "polite");
    this.caption.className = `caption ${event.mark ?? ""}`;
    this.caption.replaceChildren(h("span", { class: "when", title: moment(event.ts_us) }, when), h("span", { class: "says", dir: "auto" }, event.text));
  }

  #showHead() {
    const standing = this.film.runStanding(this.frame);
    const { over, total } = this.film.progress(this.frame);
    this.status.replaceChildren(chip(standing));
    this.summary.textContent = `${over} of ${plural(total, "step")} over`;
  }

  /** The next frame with a mark ("decision" or "failure"), or the one before this; stays where there is none. */
  find(mark, back = false) {
    const frame = back ? this.film.previous(mark, this.frame) : this.film.next(mark, this.frame);
    if (frame < 0) return this.#nudge(`There is no ${back ? "earlier" : "further"} ${mark}.`);
    this.picked = null;
    this.go(frame);
    return true;
  }

  #nudge(text) {
    this.caption.append(h("span", { class: "nudge" }, text));
    return false;
  }

  /** Look at a step whatever the events are of; null: follow the events again. */
  pick(step) {
    this.picked = step;
    if (step !== null && this.shownTab === "list") this.#tab("inspect");
    this.go(this.frame, { playing: this.playing });
  }

  #pickPath(path) {
    if (path.length === 1) this.pick(path[0]);
    else if (this.enter(path[0])) this.#pickPath(path.slice(1));
  }

  /** Go to where a step begins and look at it; a part of its name is enough. Answers whether there is one. */
  jump(text) {
    const steps = [...this.film.steps.keys()];
    const found = steps.find((step) => step === text) ?? steps.find((step) => step.toLowerCase().includes(text.toLowerCase()));
    if (found === undefined) return false;
    const frames = this.film.steps.get(found).frames;
    const again = this.picked === found;
    this.picked = found;
    this.go((again ? frames.find((frame) => frame > this.frame) : undefined) ?? frames[0] ?? this.frame);
    this.frameBox.focus({ preventScroll: true });
    return true;
  }

  // --- sub-workflows -------------------------------------------------------------------------

  /** Show the run of a sub-workflow at the same moment. Answers whether there is one. */
  enter(step) {
    const film = this.film.below(step, this.film.last);
    if (!film) return false;
    const position = film.frameOfSeq(this.film.seqs[this.frame]);
    this.open(film, position, [...this.trail, { film: this.film, frame: this.frame, step }]);
    this.frameBox.focus({ preventScroll: true });
    return true;
  }

  /** Go back to the run around this one, at the same moment. */
  leave(levels = 1) {
    const outer = this.trail[this.trail.length - levels];
    if (!outer) return;
    const position = this.frame === 0 ? outer.frame : outer.film.frameOfSeq(this.film.seqs[this.frame]);
    this.open(outer.film, position, this.trail.slice(0, this.trail.length - levels));
    this.pick(outer.step);
    this.frameBox.focus({ preventScroll: true });
  }

  // --- playing -------------------------------------------------------------------------------

  #play = null;

  get playing() {
    return this.#play !== null;
  }

  play() {
    if (!this.film.length || this.playing) return;
    const start = this.frame >= this.film.last ? 0 : this.frame;
    const plan = this.#plan();
    this.#play = { plan, at: plan[start], since: performance.now(), timer: 0 };
    this.go(start, { playing: true });
    this.#tick();
  }

  pause() {
    if (!this.playing) return;
    cancelAnimationFrame(this.#play.timer);
    this.#play = null;
    this.transport.show(this.frame, false);
  }

  #setSpeed(factor) {
    const play = this.#play;
    if (play) Object.assign(play, { at: this.#now(play), since: performance.now() });
    this.speed = factor;
  }

  #now(play) {
    return play.at + ((performance.now() - play.since) / 1000) * this.speed;
  }

  #tick() {
    const play = this.#play;
    if (!play) return;
    const now = this.#now(play);
    let frame = this.frame;
    while (frame < this.film.last && play.plan[frame + 1] <= now) frame += 1;
    if (frame !== this.frame) this.go(frame, { playing: true });
    if (frame >= this.film.last) this.pause();
    else play.timer = requestAnimationFrame(() => this.#tick());
  }

  /** When each frame is shown, in seconds: half by how much time passed, idle time shortened, half by count. */
  #plan() {
    const film = this.film;
    const scale = new TimeScale(film, true);
    const total = Math.min(LONGEST_PLAY, Math.max(SHORTEST_PLAY, film.length * SECONDS_PER_FRAME));
    return film.times.map((time, frame) => total * (0.5 * scale.place(time) + 0.5 * (frame / Math.max(1, film.last))));
  }

  // --- keys ----------------------------------------------------------------------------------

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const path = event.composedPath();
    const inside = path.includes(this.host);
    if (!inside && !(this.options.global && !path[0].closest?.("input, textarea, select, button, summary, a"))) return;
    if (event.key !== "Tab") event.stopPropagation();
    if (inside && path[0].matches?.("input[type=text], select")) {
      if (event.key === "Escape") this.frameBox.focus({ preventScroll: true });
      return;
    }
    const action = this.#keys(event, path[0])[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #keys(event, target) {
    const by = event.shiftKey ? 10 : 1;
    const onButton = target.matches?.("button, summary");
    return {
      ArrowLeft: () => this.go(this.frame - by), ArrowRight: () => this.go(this.frame + by),
      Home: () => this.go(0), End: () => this.go(this.film.last),
      ...(onButton ? {} : { " ": () => (this.playing ? this.pause() : this.play()), Enter: () => this.#enterShown() }),
      d: () => this.find("decision"), D: () => this.find("decision", true), f: () => this.find("failure"), F: () => this.find("failure", true),
      "/": () => this.transport.field.focus(), "?": () => this.#toggleHelp(), Escape: () => this.#escape(),
    };
  }

  #enterShown() {
    const step = this.picked ?? this.film.frames[this.frame].step;
    if (step !== undefined) this.enter(step);
  }

  #escape() {
    if (!this.help.classList.contains("hidden")) this.#toggleHelp();
    else if (this.picked !== null) this.pick(null);
    else this.leave();
  }

  // --- for who puts it somewhere -------------------------------------------------------------

  /** More of the run: see `Film.add`. Follows when it stood at the end. */
  add(part) {
    const atEnd = this.frame >= this.film.last;
    this.film.add(part);
    this.transport.refresh();
    this.timeline.refresh();
    this.go(atEnd ? this.film.last : this.frame);
  }

  /** Be told: "move" with the frame. Returns how to stop. */
  on(what, listener) {
    const listeners = this.listeners.get(what) ?? new Set();
    this.listeners.set(what, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  #emit(what, value) {
    for (const listener of this.listeners.get(what) ?? []) listener(value);
  }

  #close() {
    for (const part of [this.dag, this.timeline, this.list]) part?.destroy();
  }

  destroy() {
    this.pause();
    this.#close();
    this.stopTheme();
    this.abort.abort();
    this.host.remove();
  }
}

/** The pattern of waits, for the bars of the timeline. */
function hatch() {
  const pattern = s("pattern", { id: "orchkit-hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, s("path", { d: "M0 0V5" }));
  return s("svg", { class: "hatch", width: 0, height: 0, "aria-hidden": "true" }, s("defs", {}, pattern));
}
