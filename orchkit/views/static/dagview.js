// The picture of a run, changed to what it was at a frame. The picture itself is drawn in Python.

import { duration, h, iconOf, s, statusClass } from "./elements.js";
import { LOOK } from "./look.js";

const ORIGINS = new Set(["shared", "cached", "reused", "given"]);
const SMALLEST = 0.5;
const SMALLEST_WHOLE = 0.6;
const UNDO = "compensate:";
const SVG = "http://www.w3.org/2000/svg";

/** `onPick(path)` is called when a node is clicked, `onEnter(path)` when it is clicked twice. */
export class DagView {
  constructor(film, { onPick = () => {}, onEnter = () => {} } = {}) {
    this.film = film;
    this.zoom = null;
    this.svg = parsed(film.dag.svg);
    this.canvas = h("div", { class: "canvas" }, this.svg ?? h("p", { class: "note" }, "There is no picture."));
    this.scroller = h("div", { class: "dag", tabindex: "0", role: "region", "aria-label": "Steps" }, this.canvas);
    const condensed = film.dag.condensed ? h("p", { class: "note condensed" }, film.dag.caption.replace(/^.*\(condensed: (.*)\)$/s, "$1")) : null;
    this.el = h("div", { class: "dagbox" }, this.scroller, condensed, this.#tools());
    this.parts = new Map();
    if (!this.svg) return;
    this.#prepare();
    this.svg.addEventListener("click", (event) => this.#pathOf(event, onPick));
    this.svg.addEventListener("dblclick", (event) => this.#pathOf(event, onEnter));
    this.observer = new ResizeObserver(() => this.#scale());
    this.observer.observe(this.scroller);
  }

  destroy() {
    this.observer?.disconnect();
  }

  // --- the elements --------------------------------------------------------------------------

  #prepare() {
    const { width, height } = this.svg.viewBox.baseVal;
    this.size = { width, height };
    this.svg.setAttribute("aria-label", this.film.dag.caption ?? "");
    // Tooltips of the whole picture would hide those of its nodes, and tell the end at the beginning.
    for (const title of [...this.svg.querySelectorAll("title, desc")]) title.remove();
    const paths = [...Object.entries(this.film.dag.nodes).map(([step, id]) => [[step], id]), ...this.film.dag.inner.map(([path, id]) => [path, id])];
    const elements = new Map([...this.svg.querySelectorAll("[id]")].map((element) => [element.id, element]));
    for (const [path, id] of paths) {
      const element = elements.get(id);
      if (!element) continue;
      const part = this.parts.get(id) ?? this.#part(element);
      part.paths.push(path);
      this.parts.set(id, part);
    }
    this.edges = this.#edges(elements, [], this.film);
    for (const [path] of paths) {
      const facts = path.length > 1 ? this.#innerFacts(path) : null;
      if (facts) this.edges.push(...this.#edgesInto(elements, path.slice(0, -1), facts));
    }
  }

  #innerFacts(path) {
    for (const data of Object.values(this.film.root.data.below ?? {})) {
      const facts = data.steps?.find((step) => step.id === path[path.length - 1]);
      if (facts && data.run?.parent_step_id === path[path.length - 2]) return facts;
    }
    return null;
  }

  #edges(elements, prefix, film) {
    const undone = Object.keys(film.dag.nodes).filter((step) => step.startsWith(UNDO));
    const facts = [...[...film.steps.values()].map((entry) => entry.facts), ...undone.map((step) => ({ id: step, after: [[step.slice(UNDO.length)]] }))];
    return facts.flatMap((one) => this.#edgesInto(elements, prefix, one));
  }

  #edgesInto(elements, prefix, facts) {
    return (facts.after ?? []).flatMap(([source]) => {
      const [one, other] = [this.#idOf([...prefix, source]), this.#idOf([...prefix, facts.id])];
      const element = one && other ? elements.get(`edge_${one}_${other}`) : null;
      return element ? [{ element, source: [...prefix, source], target: [...prefix, facts.id], idle: null }] : [];
    });
  }

  #idOf(path) {
    if (path.length === 1) return this.film.dag.nodes[path[0]];
    const key = JSON.stringify(path);
    return this.film.dag.inner.find(([other]) => JSON.stringify(other) === key)?.[1];
  }

  #part(element) {
    const own = (selector) => [...element.children].find((child) => child.matches(selector)) ?? null;
    const bars = [...element.querySelectorAll(":scope > .bar")];
    return {
      element, bars, paths: [], key: "",
      title: element.insertBefore(s("title"), element.firstChild),
      icon: own(".icon"), note: own(".note"), error: own(".error"), counts: own(".counts"), condition: own(".condition"),
      items: own(".tag_items"), tries: own(".tag_tries"), doubt: own(".tag_doubt"), undo: own(".tag_undo"),
      noteText: own(".note")?.textContent ?? "", conditionText: own(".condition")?.textContent ?? "",
      box: element.querySelector(":scope > .box:not(.sheet)") ?? own(".frame"),
      bar: bars.length ? extent(bars) : null,
    };
  }

  // --- a frame -------------------------------------------------------------------------------

  /** Show what was so after a frame; `current` is the step of the frame, `picked` the one looked at. */
  show(frame, { current = null, picked = null } = {}) {
    for (const [id, part] of this.parts) {
      const look = part.paths.length > 1 ? this.#groupLook(part, frame) : this.#look(part.paths[0], frame);
      const marks = `${id === this.#elementOf(current)}${id === this.#elementOf(picked)}`;
      const key = JSON.stringify(look) + marks;
      if (key === part.key) continue;
      part.key = key;
      this.#draw(part, look);
      part.element.classList.toggle("current", id === this.#elementOf(current));
      part.element.classList.toggle("picked", id === this.#elementOf(picked));
    }
    for (const edge of this.edges ?? []) this.#drawEdge(edge, frame);
    this.followed = this.#elementOf(picked ?? current);
  }

  /** The element of a step: items of maps are in that of their map. */
  #elementOf(step) {
    if (step === null || step === undefined) return null;
    const nodes = this.film.dag.nodes;
    return nodes[step] ?? nodes[this.film.steps.get(step)?.history.last?.parent] ?? null;
  }

  #look(path, frame) {
    const at = this.film.at(path, frame);
    const facts = at?.facts;
    if (!facts) return { status: "pending", title: path[path.length - 1], unborn: path[path.length - 1].startsWith(UNDO) };
    const status = at.film.standing(facts.status, at.frame);
    const attempts = at.film.attempts(at.step, at.frame);
    const items = at.film.steps.get(at.step).items;
    const counts = items.length ? at.film.counts(items, at.frame) : null;
    return {
      status, counts,
      title: [at.step, status, facts.progress_message, facts.reason ?? facts.error].filter(Boolean).join(" · "),
      items: counts ? `${counts.success ?? 0}/${items.length}` : null,
      tries: attempts.length > 1 ? `try ${attempts.length}` : "",
      doubts: attempts.filter((attempt) => attempt.status === "in_doubt").length,
      undo: status === "success",
      took: took(facts, status),
      reused: status === "success" && facts.source !== null,
      judged: at.film.steps.get(at.step).judged <= at.frame,
      unborn: at.step.startsWith(UNDO) && status === "pending",
    };
  }

  #groupLook(part, frame) {
    const counts = {};
    for (const path of part.paths) {
      const at = this.film.at(path, frame);
      const status = at?.facts ? at.film.standing(at.facts.status, at.frame) : "pending";
      counts[status] = (counts[status] ?? 0) + 1;
    }
    const said = LOOK.by_progress.filter((status) => counts[status]);
    return {
      status: LOOK.by_gravity.find((status) => counts[status]) ?? "pending",
      counts,
      title: `${part.paths.length} steps: ${said.map((status) => `${counts[status]} ${status}`).join(", ")}`,
      countsText: said.map((status) => `${LOOK.signs[status]} ${counts[status].toLocaleString("en-US")}`).join("  "),
    };
  }

  #draw(part, look) {
    const { element } = part;
    for (const name of [...element.classList]) if (name.startsWith("status_")) element.classList.remove(name);
    element.classList.add(statusClass(look.status));
    element.classList.toggle("unborn", Boolean(look.unborn));
    element.classList.toggle("reused", Boolean(look.reused));
    part.title.textContent = look.title;
    if (part.icon && part.icon.dataset.status !== look.status) this.#drawIcon(part, look.status);
    if (part.note) setText(part.note, ORIGINS.has(part.noteText) && look.status === "success" ? part.noteText : look.took ?? "");
    if (part.error) show(part.error, look.status === "failed");
    if (part.counts) setText(part.counts, look.countsText ?? "");
    if (part.condition) setText(part.condition, look.judged ? part.conditionText : part.conditionText.split(" → ")[0]);
    if (part.items) setText(part.items.querySelector("text"), look.items ?? part.items.querySelector("text").textContent);
    if (part.undo) show(part.undo, look.undo);
    this.#badge(part, "tries", look.tries ?? "");
    this.#badge(part, "doubt", look.doubts ? `${look.doubts} in doubt` : "");
    if (part.bar) drawBar(part, look.counts ?? {});
  }

  #drawIcon(part, status) {
    const holder = s("g");
    holder.innerHTML = iconOf(status);
    const fresh = holder.firstElementChild;
    fresh.setAttribute("transform", part.icon.getAttribute("transform"));
    fresh.dataset.status = status;
    part.icon.replaceWith(fresh);
    part.icon = fresh;
  }

  /** A badge that the picture has room for, or a new one on the upper edge of the box. */
  #badge(part, role, text) {
    if (!text && !part[role]) return;
    if (!part[role] && part.box) part[role] = this.#newBadge(part, role, text);
    if (!part[role]) return;
    show(part[role], text !== "");
    if (text) part[role].querySelector("text").textContent = text;
  }

  #newBadge(part, role, text) {
    const [x, y, wide] = ["x", "y", "width"].map((name) => Number(part.box.getAttribute(name)));
    const width = 14 + 6.4 * text.length;
    const left = x + wide - width - (role === "doubt" ? 56 : 6);
    const badge = s("g", { class: `tag tag_${role} added` },
      s("rect", { class: "pill", x: left, y: y - 8, width, height: 16, rx: 8 }), s("text", { class: "badge", x: left + width / 2, y: y + 4 }, text));
    part.element.append(badge);
    return badge;
  }

  #drawEdge(edge, frame) {
    const [source, target] = [this.film.at(edge.source, frame)?.facts, this.film.at(edge.target, frame)?.facts];
    const idle = source?.status !== "success" || !target || target.status === "pending" || target.status === "skipped";
    if (idle === edge.idle) return;
    edge.idle = idle;
    edge.element.classList.toggle("edge_idle", idle);
    edge.element.classList.toggle("unborn", idle && edge.target[0].startsWith(UNDO));
  }

  // --- looking around ------------------------------------------------------------------------

  #tools() {
    const button = (label, text, by) => h("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick: () => this.#zoomBy(by) }, text);
    return h("div", { class: "tools" }, button("Smaller", "−", 1 / 1.25), button("Larger", "+", 1.25), button("Fit to the width", "⤢", null));
  }

  #zoomBy(factor) {
    this.zoom = factor === null ? null : Math.min(3, Math.max(0.2, this.#factor() * factor));
    this.#scale();
  }

  #factor() {
    if (this.zoom !== null) return this.zoom;
    const room = this.scroller.clientWidth - 18;
    const high = (parseFloat(getComputedStyle(this.scroller).maxHeight) - 20) / this.size.height;
    const whole = high >= SMALLEST_WHOLE ? high : 1; // a high picture scrolls
    return room > 0 ? Math.min(1, whole, Math.max(SMALLEST, room / this.size.width)) : 1;
  }

  #scale() {
    if (!this.svg) return;
    this.svg.style.width = `${this.size.width * this.#factor()}px`;
    this.svg.style.height = "auto";
  }

  /** Bring the node that is looked at into view when it is out of it; asks for the layout, so it comes last. */
  follow() {
    const part = this.followed ? this.parts.get(this.followed) : null;
    if (!part?.box) return;
    const [outer, inner] = [this.scroller.getBoundingClientRect(), part.box.getBoundingClientRect()];
    const dx = beyond(inner.left, inner.right, outer.left + 12, outer.right - 12);
    const dy = beyond(inner.top, inner.bottom, outer.top + 12, outer.bottom - 12);
    if (dx || dy) this.scroller.scrollBy({ left: dx, top: dy });
  }

  #pathOf(event, tell) {
    const element = event.target.closest?.("g[id]");
    for (let one = element; one; one = one.parentElement?.closest("g[id]")) {
      const part = this.parts.get(one.id);
      if (part) {
        tell(part.paths[0], part.paths);
        return;
      }
    }
  }
}

function parsed(text) {
  if (!text) return null;
  const found = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  return found.namespaceURI === SVG && found.localName === "svg" ? document.importNode(found, true) : null;
}

function took(facts, status) {
  if (status === "running" && facts.progress !== null) return `${Math.round(facts.progress * 100)}%`;
  if (status === "skipped" || facts.scheduled_us === null || facts.finished_us === null) return "";
  return duration(Math.max(0, facts.finished_us - facts.scheduled_us));
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(element, shown) {
  element.classList.toggle("hidden", !shown);
}

function extent(bars) {
  const number = (bar, name) => Number(bar.getAttribute(name));
  return {
    x: number(bars[0], "x"), y: number(bars[0], "y"), height: number(bars[0], "height"),
    width: bars.reduce((sum, bar) => sum + number(bar, "width"), 0),
  };
}

function drawBar(part, counts) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  for (const bar of part.bars) bar.remove();
  let left = part.bar.x;
  part.bars = LOOK.by_progress.filter((status) => counts[status]).map((status) => {
    const width = (part.bar.width * counts[status]) / total;
    const bar = s("rect", { class: `bar ${statusClass(status)}`, x: left, y: part.bar.y, width, height: part.bar.height });
    left += width;
    part.element.append(bar);
    return bar;
  });
}

function beyond(low, high, from, to) {
  if (high - low > to - from || (low >= from && high <= to)) return 0;
  return (low + high) / 2 - (from + to) / 2;
}
