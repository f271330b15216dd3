// Attempts as bars over time, waits hatched, and a playhead that can be dragged.

import { chip, duration, h, label, s, statusClass } from "./elements.js";
import { TimeScale } from "./timescale.js";

const ROW = 22;
const BAR = 12;
const MARGIN = 10;
const MOST_BARS = 1500;

/** `onSeek(frame)` is called while the playhead is dragged, `onPick(step)` when a name is clicked. */
export class Timeline {
  constructor(film, { onSeek = () => {}, onPick = () => {} } = {}) {
    Object.assign(this, { film, onSeek, onPick, compress: true, frame: 0, picked: null, current: null, top: 0, high: 0, drawn: new Map() });
    this.clock = h("span", { class: "clock" });
    this.toggle = h("input", { type: "checkbox", checked: true, onchange: () => { this.compress = this.toggle.checked; this.refresh(); } });
    this.option = h("label", { class: "option" }, this.toggle, "shorten idle time");
    this.axis = s("svg", { class: "axis", height: 24, "aria-hidden": "true" });
    this.rows = h("div", { class: "rows" });
    this.veil = h("div", { class: "veil" });
    this.head = h("div", { class: "playhead" }, h("span", { class: "grip" }));
    this.lanes = h("div", { class: "lanes", tabindex: "0", role: "region", "aria-label": "Attempts over time" }, this.rows, this.veil);
    this.tip = h("div", { class: "tip hidden", role: "status" });
    this.plot = h("div", { class: "plot" }, this.axis, this.lanes, this.head, this.tip);
    this.el = h("section", { class: "timeline", "aria-label": "Timeline" }, h("div", { class: "bar-head" }, this.clock, this.option), this.plot, legend());
    this.lanes.addEventListener("scroll", () => {
      this.top = this.lanes.scrollTop;
      this.#drawRows();
    }, { passive: true });
    this.plot.addEventListener("pointerdown", (event) => this.#drag(event));
    this.plot.addEventListener("pointermove", (event) => this.#hover(event));
    this.plot.addEventListener("pointerleave", () => this.tip.classList.add("hidden"));
    this.observer = new ResizeObserver(() => this.refresh());
    this.observer.observe(this.plot);
  }

  destroy() {
    this.observer.disconnect();
  }

  /** Draw everything anew: the film has become longer, or the room another one. */
  refresh() {
    const wide = this.plot.clientWidth;
    if (!wide || !this.film.length) return;
    this.left = Math.round(Math.min(190, Math.max(84, wide * 0.22)));
    this.width = Math.max(40, wide - this.left - MARGIN - 8);
    this.scale = new TimeScale(this.film, this.compress);
    this.option.classList.toggle("hidden", !this.scale.canCompress);
    this.steps = this.#order();
    this.rowOf = new Map(this.steps.map((entry, row) => [entry.id, row]));
    this.plot.style.setProperty("--label", `${this.left}px`);
    this.rows.style.height = `${this.steps.length * ROW}px`;
    this.drawn.clear();
    this.rows.replaceChildren();
    this.#drawAxis();
    this.high = this.lanes.clientHeight;
    this.top = this.lanes.scrollTop;
    this.#drawRows();
    this.#place();
  }

  /** The steps that have begun at some time, in that order, items below their maps. */
  #order() {
    const entries = [...this.film.steps.values()].filter((entry) => entry.history.last && (entry.history.last.scheduled_us !== null || entry.attempts.length || entry.history.last.finished_us !== null));
    const begin = (entry) => entry.frames[0] ?? entry.history.at[0];
    const found = [];
    for (const entry of entries.filter((one) => one.history.last.parent === null).sort((a, b) => begin(a) - begin(b))) {
      found.push(entry, ...entry.items.map((item) => this.film.steps.get(item)));
    }
    return found;
  }

  x(us) {
    return this.left + this.scale.place(us) * this.width;
  }

  // --- a frame -------------------------------------------------------------------------------

  show(frame, { current = null, picked = null } = {}) {
    Object.assign(this, { frame, current, picked });
    if (!this.scale) return;
    const row = this.rowOf.get(picked ?? current);
    if (row !== undefined) this.#reveal(row);
    this.#place();
    for (const lane of this.drawn.values()) this.#mark(lane);
  }

  #reveal(row) {
    const [top, bottom] = [row * ROW, (row + 1) * ROW];
    if (top >= this.top && bottom <= this.top + this.high) return;
    this.top = Math.max(0, Math.min(this.steps.length * ROW - this.high, Math.round(top - this.high / 2)));
    this.lanes.scrollTop = this.top;
    this.#drawRows();
  }

  #place() {
    const now = this.film.times[this.frame];
    const x = this.x(now);
    this.head.style.transform = `translateX(${x}px)`;
    this.veil.style.left = `${x}px`;
    this.veil.style.height = this.rows.style.height;
    const [elapsed, idle] = [this.film.since(now), this.film.idle(this.frame)];
    this.clock.replaceChildren(h("b", {}, duration(elapsed)), " elapsed", h("span", { class: "muted" }, ` · ${duration(idle)} of it idle`));
  }

  /** What is running at this frame looks so, whatever becomes of it. */
  #mark(lane) {
    lane.row.classList.toggle("current", lane.entry.id === this.current);
    lane.row.classList.toggle("picked", lane.entry.id === this.picked);
    for (const bar of lane.bars) {
      const running = bar.from <= this.frame && this.frame < bar.to;
      if (running !== bar.running) {
        bar.running = running;
        bar.element.setAttribute("class", `${bar.base} ${statusClass(running ? "running" : bar.status)}`);
      }
    }
  }

  // --- drawing -------------------------------------------------------------------------------

  #drawAxis() {
    const parts = [s("line", { class: "base", x1: this.left, x2: this.left + this.width, y1: 23.5, y2: 23.5 })];
    for (const gap of this.scale.gaps) parts.push(...this.#gap(gap));
    let taken = -Infinity;
    for (const us of ticks(this.film, this.scale, this.width)) {
      const x = this.x(us);
      const text = duration(this.film.since(us));
      const half = text.length * 3.2;
      if (x - half < taken + 10 || x + half > this.left + this.width + MARGIN) continue;
      taken = x + half;
      parts.push(s("line", { class: "tick", x1: x, x2: x, y1: 18, y2: 24 }), s("text", { class: "label", x, y: 14 }, text));
    }
    this.axis.replaceChildren(...parts);
    this.axis.setAttribute("width", this.plot.clientWidth);
  }

  #gap(gap) {
    const [from, to] = [this.x(gap.from), this.x(gap.to)];
    const middle = (from + to) / 2;
    return [
      s("path", { class: "break", d: `M${middle - 5} 27 l3 -7 M${middle} 27 l3 -7` }),
      s("text", { class: "label gap", x: middle, y: 14 }, duration(gap.to - gap.from)),
    ];
  }

  #drawRows() {
    if (!this.scale) return;
    const first = Math.max(0, Math.floor(this.top / ROW) - 4);
    const last = Math.min(this.steps.length, Math.ceil((this.top + this.high) / ROW) + 4);
    for (const [place, lane] of this.drawn) {
      if (place < first || place >= last) {
        lane.row.remove();
        this.drawn.delete(place);
      }
    }
    for (let place = first; place < last; place += 1) {
      if (this.drawn.has(place)) continue;
      const lane = this.#lane(this.steps[place], place);
      this.drawn.set(place, lane);
      this.rows.append(lane.row);
      this.#mark(lane);
    }
  }

  #lane(entry, place) {
    const bars = this.#bars(entry);
    const lane = s("svg", { class: "lane", height: ROW, width: this.left + this.width + MARGIN + 8, "aria-hidden": "true" });
    for (const gap of this.scale.gaps) lane.append(s("rect", { class: "gap", x: this.x(gap.from), width: this.x(gap.to) - this.x(gap.from), y: 0, height: ROW }));
    lane.append(...bars.map((bar) => bar.element));
    const name = h("button", { type: "button", class: entry.history.last.parent === null ? "name" : "name item", tabindex: "-1", title: entry.id, onclick: () => this.onPick(entry.id) }, h("span", { dir: "auto" }, label(entry.id)));
    const row = h("div", { class: "row" }, name, lane);
    row.style.transform = `translateY(${place * ROW}px)`;
    return { entry, row, bars: bars.filter((bar) => bar.status !== undefined) };
  }

  #bars(entry) {
    const facts = entry.history.last;
    const found = [];
    let last = null;
    for (const history of entry.attempts.slice(0, MOST_BARS)) {
      if (!history) continue;
      const attempt = history.last;
      const end = this.film.attemptEnd(history);
      if (last !== null && attempt.started_us > last) found.push(this.#rect("wait", last, attempt.started_us));
      found.push(this.#attempt(history, attempt, end));
      last = end;
    }
    const begun = entry.attempts.find(Boolean)?.last.started_us;
    if (facts.scheduled_us !== null && begun > facts.scheduled_us) found.unshift(this.#rect("queue", facts.scheduled_us, begun));
    if (!entry.attempts.length) found.push(...this.#whole(entry, facts));
    return thinned(found);
  }

  #attempt(history, attempt, end) {
    const ended = history.at.findIndex((_, place) => history.is[place].status !== "running");
    const bar = this.#rect("bar", attempt.started_us, end);
    const status = this.film.standing(attempt.status, this.film.last);
    return { ...bar, attempt, status, from: history.at[0], to: ended < 0 ? Infinity : history.at[ended], running: null };
  }

  /** A step without attempts: a map, a workflow, a result of another run, one that was skipped. */
  #whole(entry, facts) {
    const ended = entry.history.at.findIndex((_, place) => entry.history.is[place].finished_us !== null);
    const status = this.film.standing(facts.status, this.film.last);
    if (facts.scheduled_us === null || status === "skipped" || facts.source !== null) {
      return facts.finished_us === null ? [] : [{ element: this.#dot(facts.finished_us), base: "dot", status, from: -1, to: -1, running: null }];
    }
    const end = facts.finished_us ?? this.film.times[this.film.last];
    const base = entry.items.length || facts.child_run_id ? "span" : "bar";
    const from = entry.history.at[entry.history.is.findIndex((version) => version.scheduled_us !== null)];
    return [{ ...this.#rect(base, facts.scheduled_us, end), facts, status, from, to: ended < 0 ? Infinity : entry.history.at[ended], running: null }];
  }

  #rect(base, from, to) {
    const x = this.x(from);
    const width = Math.max(base === "wait" || base === "queue" ? 0 : 2, this.x(to) - x);
    const thin = base === "queue";
    const height = thin ? 2 : base === "span" ? 8 : BAR;
    const element = s("rect", { class: base, x, width, y: (ROW - height) / 2, height, rx: thin ? 1 : 2.5 });
    return { element, base, x, right: x + width, since: from, until: to };
  }

  #dot(us) {
    return s("circle", { class: "dot", cx: this.x(us), cy: ROW / 2, r: 4 });
  }

  // --- pointing ------------------------------------------------------------------------------

  #drag(event) {
    if (event.button !== 0 || event.target.closest("button") || !this.scale) return;
    const box = this.plot.getBoundingClientRect();
    if (event.clientX - box.left < this.left - 6) return;
    const seek = (one) => this.onSeek(this.film.frameAt(this.scale.time((one.clientX - box.left - this.left) / this.width)));
    const release = () => {
      this.plot.removeEventListener("pointermove", seek);
      this.plot.classList.remove("dragging");
    };
    event.preventDefault();
    this.plot.setPointerCapture(event.pointerId);
    this.plot.classList.add("dragging");
    this.plot.addEventListener("pointermove", seek);
    this.plot.addEventListener("pointerup", release, { once: true });
    this.plot.addEventListener("pointercancel", release, { once: true });
    seek(event);
  }

  #hover(event) {
    if (!this.scale || this.plot.classList.contains("dragging")) return;
    const box = this.plot.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - this.lanes.getBoundingClientRect().top + this.lanes.scrollTop];
    const lane = event.clientY > this.lanes.getBoundingClientRect().top ? this.drawn.get(Math.floor(y / ROW)) : null;
    const bar = lane?.bars.find((one) => one.x !== undefined && x >= one.x - 2 && x <= one.right + 2);
    this.tip.classList.toggle("hidden", !bar);
    if (!bar) return;
    const what = bar.attempt ? `attempt ${bar.attempt.number}` : "";
    this.tip.replaceChildren(h("b", { dir: "auto" }, label(lane.entry.id)), what ? ` ${what} ` : " ", chip(bar.status), ` ${duration(bar.until - bar.since)}`);
    this.tip.style.left = `${Math.min(x + 12, box.width - 240)}px`;
    this.tip.style.top = `${event.clientY - box.top + 16}px`;
  }
}

/** Of bars that would be drawn over one another only some. */
function thinned(bars) {
  let taken = -Infinity;
  return bars.filter((bar) => {
    if (bar.right === undefined || bars.length < 200) return true;
    if (bar.right < taken + 0.5) return false;
    taken = bar.right;
    return true;
  });
}

/** Round times from the first frame on, about one per 110 px, and the ends of the times drawn short. */
function ticks(film, scale, width) {
  const [start, end] = [film.times[0], film.times[film.last]];
  const shortened = scale.gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const wanted = (end - start - shortened) / Math.max(2, width / 110);
  const power = 10 ** Math.floor(Math.log10(Math.max(1, wanted)));
  const unit = wanted > 3e7 ? [6e7, 3e8, 6e8, 1.8e9, 3.6e9, 2.16e10, 8.64e10, 6.048e11].find((one) => one >= wanted) ?? 2.4192e12 : power * ([1, 2, 5].find((one) => one * power >= wanted) ?? 10);
  const inGap = (us) => scale.gaps.some((gap) => us > gap.from && us < gap.to);
  const found = [];
  const runs = [[start, scale.gaps[0]?.from ?? end], ...scale.gaps.map((gap, place) => [gap.to, scale.gaps[place + 1]?.from ?? end])];
  for (const [from, to] of runs) {
    for (let n = Math.ceil((from - start) / unit); start + n * unit <= to && found.length < 400; n += 1) {
      if (!inGap(start + n * unit)) found.push(start + n * unit);
    }
  }
  return found;
}

function legend() {
  const item = (name, text) => h("span", {}, s("svg", { width: 22, height: 12, "aria-hidden": "true" }, s("rect", { class: name, x: 1, y: name === "queue" ? 5 : 1, width: 20, height: name === "queue" ? 2 : 10, rx: 2 })), text);
  return h("div", { class: "legend" }, item("bar status_success", "attempt"), item("wait", "wait"), item("queue", "not yet begun"), item("span status_success", "map or workflow"));
}
