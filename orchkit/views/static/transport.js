// The buttons, the slider and the field with which one moves through a film.

import { h, s } from "./elements.js";

const ICONS = {
  first: "M4 3v10M12.5 3 6.5 8l6 5z", previous: "M11 3 5 8l6 5z", play: "M5 3l8 5-8 5z", pause: "M5 3v10M11 3v10",
  next: "M5 3l6 5-6 5z", last: "M12 3v10M3.5 3l6 5-6 5z",
};
const SPEEDS = [0.25, 0.5, 1, 2, 4, 8];

/**
 * `actions` has a function for each of first, previous, toggle, next, last, decision, failure, seek(frame),
 * speed(factor) and jump(text), which answers whether there is such a step.
 */
export class Transport {
  constructor(film, actions) {
    this.film = film;
    this.actions = actions;
    this.toggle = button("play", "Play (space)", actions.toggle, "Space");
    this.place = h("span", { class: "position" });
    this.slider = h("input", { type: "range", min: 1, max: Math.max(1, film.length), step: 1, "aria-label": "Position", oninput: () => actions.seek(Number(this.slider.value) - 1) });
    this.marks = s("svg", { class: "marks", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.field = h("input", { type: "text", class: "jump", placeholder: "Jump to step", "aria-label": "Jump to step", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false", list: "orchkit-steps" });
    this.choices = h("datalist", { id: "orchkit-steps" });
    const form = h("form", { class: "jumper", role: "search", onsubmit: (event) => this.#jump(event) }, this.field, this.choices);
    this.field.addEventListener("focus", () => this.#offer());
    this.field.addEventListener("change", (event) => this.#jump(event));
    this.el = h("div", { class: "transport" },
      h("div", { class: "buttons", role: "group", "aria-label": "Playback" },
        button("first", "First event (Home)", actions.first, "Home"), button("previous", "Previous event (←)", actions.previous, "ArrowLeft"), this.toggle,
        button("next", "Next event (→)", actions.next, "ArrowRight"), button("last", "Last event (End)", actions.last, "End")),
      h("div", { class: "buttons", role: "group", "aria-label": "Next" }, this.#finder("decision", "d"), this.#finder("failure", "f")),
      this.#speed(), form, this.place);
    this.scrubber = h("div", { class: "scrubber" }, this.marks, this.slider);
    this.refresh();
  }

  #finder(mark, key) {
    return h("button", { type: "button", class: `find ${mark}`, "aria-keyshortcuts": key, title: `Next ${mark} (${key}), the one before (Shift+${key.toUpperCase()})`, onclick: () => this.actions[mark]() },
      h("span", { class: "dot", "aria-hidden": "true" }, mark === "failure" ? "✗" : "◆"), `Next ${mark}`);
  }

  #speed() {
    const options = SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 1 }, `${speed}×`));
    const select = h("select", { "aria-label": "Speed", onchange: () => this.actions.speed(Number(select.value)) }, options);
    return select;
  }

  #offer() {
    const steps = [...this.film.steps.keys()].slice(0, 2000);
    this.choices.replaceChildren(...steps.map((step) => h("option", { value: step })));
  }

  #jump(event) {
    event.preventDefault();
    const text = this.field.value.trim();
    const found = text === "" || this.actions.jump(text);
    this.field.setAttribute("aria-invalid", String(!found));
    if (found && text) {
      this.field.value = "";
      this.field.blur();
    }
  }

  /** The film has become longer. */
  refresh() {
    const count = this.film.length;
    this.slider.max = Math.max(1, count);
    const path = (places) => places.map((place) => `M${((place + 0.5) / count) * 1000} 0v10`).join("");
    this.marks.setAttribute("viewBox", "0 0 1000 10");
    this.marks.replaceChildren(...["decision", "failure"].map((mark) => s("path", { class: mark, d: path(sparse(this.film.marks[mark], count)) })));
  }

  show(frame, playing) {
    this.slider.value = frame + 1;
    this.slider.setAttribute("aria-valuetext", `event ${frame + 1} of ${this.film.length}: ${this.film.frames[frame].text}`);
    this.slider.style.setProperty("--done", `${this.film.length > 1 ? (frame / (this.film.length - 1)) * 100 : 100}%`);
    this.place.textContent = `${(frame + 1).toLocaleString("en-US")} / ${this.film.length.toLocaleString("en-US")}`;
    if (this.playing !== playing) {
      this.playing = playing;
      this.toggle.querySelector("path").setAttribute("d", ICONS[playing ? "pause" : "play"]);
      this.toggle.setAttribute("aria-label", playing ? "Pause (space)" : "Play (space)");
      this.toggle.title = playing ? "Pause (space)" : "Play (space)";
    }
  }
}

function button(name, label, action, keys) {
  return h("button", { type: "button", class: `icon ${name}`, "aria-label": label, title: label, "aria-keyshortcuts": keys, onclick: () => action() },
    s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: ICONS[name] })));
}

/** No more marks than can be told apart. */
function sparse(places, count) {
  const seen = new Set();
  return places.filter((place) => {
    const spot = Math.round((place / count) * 900);
    return !seen.has(spot) && seen.add(spot);
  });
}
