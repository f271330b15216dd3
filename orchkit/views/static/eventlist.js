// All events as a list of which only the visible part is there.

import { duration, h } from "./elements.js";

const ROW = 26;

/** `onSeek(frame)` is called when an event is clicked. */
export class EventList {
  constructor(film, { onSeek = () => {} } = {}) {
    Object.assign(this, { film, onSeek, frame: 0, drawn: new Map() });
    this.rows = h("div", { class: "events-rows" });
    this.el = h("div", { class: "events", tabindex: "0", role: "region", "aria-label": "Events" }, this.rows);
    this.el.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.observer = new ResizeObserver(() => this.show(this.frame));
    this.observer.observe(this.el);
  }

  destroy() {
    this.observer.disconnect();
  }

  show(frame) {
    this.frame = frame;
    const high = this.el.clientHeight;
    if (!high) return;
    this.rows.style.height = `${this.film.length * ROW}px`;
    const top = frame * ROW;
    if (top < this.el.scrollTop + ROW || top > this.el.scrollTop + high - 2 * ROW) this.el.scrollTop = top - high / 2;
    this.#draw();
    for (const [place, row] of this.drawn) row.classList.toggle("here", place === frame);
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.el.scrollTop / ROW) - 6);
    const last = Math.min(this.film.length, Math.ceil((this.el.scrollTop + this.el.clientHeight) / ROW) + 6);
    for (const [place, row] of this.drawn) {
      if (place >= first && place < last) continue;
      row.remove();
      this.drawn.delete(place);
    }
    for (let place = first; place < last; place += 1) {
      if (this.drawn.has(place)) continue;
      const row = this.#row(place);
      this.drawn.set(place, row);
      this.rows.append(row);
    }
  }

  #row(place) {
    const frame = this.film.frames[place];
    const row = h("button", { type: "button", class: `event ${frame.mark ?? ""}`, tabindex: "-1", title: frame.text, onclick: () => this.onSeek(place) },
      h("span", { class: "number" }, String(place + 1)), h("span", { class: "when" }, duration(this.film.since(frame.ts_us))), h("span", { class: "says", dir: "auto" }, frame.text));
    row.style.transform = `translateY(${place * ROW}px)`;
    row.classList.toggle("here", place === this.frame);
    return row;
  }
}
