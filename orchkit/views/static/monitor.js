// The monitor of a run that goes on: where it is, what it waits for, and buttons to lead it.
// Python folds the record and sends what has changed; here it is only shown.

import { chip, duration, h, sign, statusClass } from "./elements.js";
import { keepAtItsEnd } from "./keep.js";
import { CSS } from "./style.js";
import { followTheme } from "./theme.js";

const TICK_MS = 250;
const SLOW_MS = 8000;

/** What is shown of the run, put together from what Python sends. */
class Feed {
  constructor(model) {
    this.model = model;
    this.version = -1;
    this.board = {};
    this.svg = "";
    this.behind = 0;
    this.listener = (news) => this.take(news);
  }

  begin(view) {
    this.view = view;
    this.model.on("msg:custom", this.listener);
    this.take({ ...this.model.get("start"), all: true });
    this.ask({ do: "refresh" });
  }

  end() {
    this.model.off("msg:custom", this.listener);
  }

  /** Python's clock now, in microseconds. */
  get nowUs() {
    return Date.now() * 1000 + this.behind;
  }

  ask(order) {
    this.model.send(order);
  }

  take(news) {
    if (news.problem !== undefined) {
      this.view.complain(news.problem);
      return;
    }
    if (news.version === undefined || (news.version <= this.version && !news.all)) return;
    if (!news.all && news.version !== this.version + 1) {
      this.ask({ do: "refresh" });
      return;
    }
    this.version = news.version;
    this.behind = news.now_us - Date.now() * 1000;
    this.board = news.all ? news.board : { ...this.board, ...news.board };
    if (news.svg !== undefined && news.svg !== this.svg) {
      this.svg = news.svg;
      this.view.drawPicture();
    }
    if (news.parts) this.view.drawParts(news.parts);
    this.view.draw(news.all ? null : new Set(Object.keys(news.board ?? {})));
  }
}

/** One place on the page where it is shown. */
class View {
  constructor(feed, el) {
    this.feed = feed;
    this.el = el;
    // Notebooks have shortcuts for single keys, such as d d to delete a cell.
    el.dataset.lmSuppressShortcuts = "true";
    this.host = h("div", { class: "orchkit-monitor tex2jax_ignore mathjax_ignore" });
    this.shadow = this.host.attachShadow({ mode: "open" });
    this.root = h("section", { class: "monitor", "aria-label": "Monitor of a run" });
    this.shadow.append(h("style", {}, CSS), this.root);
    this.title = h("h3", { class: "title" });
    this.status = h("span", { class: "status", role: "status" });
    this.clock = h("span", { class: "clock" });
    this.tools = h("div", { class: "lead", role: "toolbar", "aria-label": "Lead the run" });
    this.bar = h("div", { class: "progress", role: "progressbar", "aria-label": "Steps that are over", "aria-valuemin": "0" });
    this.tally = h("div", { class: "tally" });
    this.lamps = h("ul", { class: "lamps", "aria-label": "Circuit breakers" });
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    this.hand = h("div", { class: "hand" });
    this.picture = h("div", { class: "dag", tabindex: "0", role: "region", "aria-label": "Steps", hidden: true });
    this.lists = h("div", { class: "lists" });
    this.news = h("ol", { class: "news" });
    this.buttons = this.#makeButtons();
    this.root.append(
      h("header", {}, this.status, this.title, this.clock, this.tools),
      this.bar,
      h("div", { class: "under" }, this.tally, this.lamps),
      this.problem, this.hand, this.picture, this.lists,
      h("details", { class: "last", open: true }, h("summary", {}, "What happened last"), this.news),
    );
    el.replaceChildren(this.host);
    this.stopTheme = followTheme(this.host);
    this.timer = setInterval(() => this.tick(), TICK_MS);
  }

  destroy() {
    clearInterval(this.timer);
    this.stopTheme();
  }

  #makeButtons() {
    const make = (name, label, title) => {
      const button = h("button", { type: "button", class: name, title, onclick: () => this.ask({ do: name }) }, label);
      this.tools.append(button);
      return button;
    };
    return {
      step: make("step", "Step", "Let the next step start"),
      resume: make("resume", "Continue", "Go on by itself; failures that are held are accepted"),
      pause: make("pause", "Pause", "Start no further steps; what runs goes on"),
      cancel: make("cancel", "Cancel", "Cancel what runs and skip the rest"),
    };
  }

  ask(order) {
    this.problem.hidden = true;
    this.feed.ask(order);
    if (order.do !== "cancel") return;
    this.buttons.cancel.disabled = true;
    this.buttons.cancel.textContent = "Cancelling …";
    // A kernel that is busy hears of it only when its cell has ended: then the way is another one.
    this.late = setTimeout(() => this.complain("The kernel has not answered yet. If a cell is running, interrupt it (■, or I I): it cancels a run that the cell waits for."), SLOW_MS);
  }

  complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = false;
  }

  // --- what has changed ----------------------------------------------------------------------

  /** Draw the parts of the board that are named; all of them for null. */
  draw(names) {
    const { board } = this.feed;
    if (board.final !== undefined) {
      this.destroy();
      clearTimeout(this.late);
      this.el.innerHTML = board.final; // written by Python, where every text of the record is escaped
      return;
    }
    const has = (...several) => names === null || several.some((name) => names.has(name));
    if (has("run")) this.#drawHead(board.run ?? {});
    if (has("run", "paused", "waiting", "held")) this.#drawTools(board);
    if (has("done", "total", "counts")) this.#drawProgress(board);
    if (has("lamps")) this.#drawLamps(board.lamps ?? []);
    if (has("paused", "waiting", "held")) this.#drawHand(board);
    if (has("doing", "waits")) this.#drawLists(board);
    if (has("news")) this.#drawNews(board);
    this.tick();
  }

  #drawHead(run) {
    this.title.textContent = run.name ?? "";
    this.title.title = run.id ?? "";
    this.status.replaceChildren(chip(run.status ?? "pending"));
    this.root.dataset.status = run.status ?? "";
  }

  #drawTools({ paused, waiting, held }) {
    const inHand = paused !== null && paused !== undefined;
    const { step, resume, pause } = this.buttons;
    const focused = this.shadow.activeElement;
    step.hidden = !inHand;
    resume.hidden = !inHand;
    pause.hidden = inHand;
    step.disabled = !(waiting?.rows.length > 0);
    resume.title = held?.rows.length ? "Accept the failure and go on by itself" : "Go on by itself";
    // Whoever leads the run by the keyboard goes on from where he was.
    if (focused?.hidden) (inHand ? step : pause).focus();
  }

  #drawProgress({ done = 0, total = 0, counts = [] }) {
    this.bar.setAttribute("aria-valuemax", String(total));
    this.bar.setAttribute("aria-valuenow", String(done));
    this.bar.replaceChildren(...counts.map(([status, count]) => {
      const part = h("span", { class: statusClass(status), title: `${count} ${status}` });
      part.style.flexGrow = count;
      return part;
    }));
    this.tally.replaceChildren(
      h("strong", {}, total ? `${done} of ${total} steps` : "starting …"),
      ...counts.map(([status, count]) => h("span", { class: `count ${statusClass(status)}` }, sign(status), `${count} ${status}`)),
    );
  }

  #drawLamps(lamps) {
    this.lamps.replaceChildren(...lamps.map(({ name, state, again_us: again }) => h(
      "li", { class: `lamp ${state.replace(" ", "_")}` },
      h("span", { class: "light", "aria-hidden": "true" }), `${name}: ${state}`,
      again ? h("span", { class: "time", "data-until": again, "data-words": ", next probe in " }) : "",
    )));
  }

  // --- steps in the hand -----------------------------------------------------------------------

  #drawHand({ paused, waiting, held }) {
    const rows = (list) => list?.rows ?? [];
    this.hand.hidden = paused === null || paused === undefined;
    if (this.hand.hidden) {
      this.hand.replaceChildren();
      return;
    }
    const focused = this.shadow.activeElement;
    const edited = new Map([...this.hand.querySelectorAll("details[open]")].map((one) => [one.dataset.key, one]));
    const more = (list) => (list?.more ? [h("li", { class: "more" }, `and ${list.more} more`)] : []);
    this.hand.replaceChildren(
      h("p", { class: "why" }, sign("paused"), h("strong", {}, "Paused"), ` ${paused}`),
      h("ul", {},
        ...rows(held).map((step) => this.#handRow(step, "retry", edited)), ...more(held),
        ...rows(waiting).map((step, place) => this.#handRow(step, place === 0 ? "step" : null, edited)), ...more(waiting)),
    );
    this.#focusAgain(focused);
  }

  /** Whoever leads the run by the keyboard goes on from where he was. */
  #focusAgain(focused) {
    if (!focused || this.shadow.activeElement === focused) return;
    const same = focused.isConnected ? focused : [...this.hand.querySelectorAll("button")].find((one) => one.className === focused.className);
    (same ?? (this.buttons.step.disabled ? this.buttons.resume : this.buttons.step)).focus();
  }

  /** A step that is held (`retry`), that is the next one (`step`), or that waits behind it. */
  #handRow(step, order, edited) {
    const label = { retry: "Retry", step: "Step" }[order];
    const button = (name, text, more = {}) => h("button", {
      type: "button", class: name, "aria-label": `${text} ${step.step}`,
      onclick: () => this.ask({ do: name, ...(name === "step" ? {} : { step: step.step }), ...more }),
    }, text);
    return h("li", { class: order === "retry" ? "held" : "waits" },
      h("div", { class: "row" },
        sign(order === "retry" ? "failed" : "pending"),
        h("code", {}, step.step),
        h("span", { class: "word" }, { retry: "failed, and is held", step: "is next" }[order] ?? "waits"),
        h("span", { class: "push" }),
        order ? button(order, label) : "",
        button("skip", "Skip")),
      step.error ? h("p", { class: "error" }, step.error) : "",
      order ? this.#editor(step, order, label, edited) : "");
  }

  /** Other parameters, as JSON. What somebody has begun to write stays. */
  #editor(step, order, label, edited) {
    const key = `${order} ${step.step}`;
    const before = edited.get(key);
    if (before) return before;
    const area = h("textarea", { rows: "5", spellcheck: "false", "aria-label": `Parameters of ${step.step} as JSON` });
    area.value = step.params;
    const wrong = h("p", { class: "error", role: "alert", hidden: true });
    const go = () => {
      let params;
      try {
        params = JSON.parse(area.value || "{}");
      } catch (error) {
        wrong.textContent = `This is no JSON: ${error.message}`;
      }
      if (params !== undefined && (params === null || Array.isArray(params) || typeof params !== "object")) {
        wrong.textContent = "Give an object: {\"name\": value}";
        params = undefined;
      }
      wrong.hidden = params !== undefined;
      if (params !== undefined) this.ask({ do: order, params, ...(order === "retry" ? { step: step.step } : {}) });
    };
    return h("details", { class: "edit", "data-key": key },
      h("summary", {}, "with other parameters"), area, wrong,
      h("button", { type: "button", class: order, onclick: go }, `${label} with these`));
  }

  // --- what goes on ----------------------------------------------------------------------------

  #drawLists({ doing, waits }) {
    const more = (list) => (list?.more ? [h("li", { class: "more" }, `and ${list.more} more`)] : []);
    const running = (doing?.rows ?? []).map((one) => h("li", {},
      sign("running"), h("code", {}, one.step),
      one.attempt > 1 ? h("span", { class: "tag" }, `try ${one.attempt}`) : "",
      one.items ? h("span", { class: "tag" }, `${one.items[0]}/${one.items[1]}`) : "",
      one.progress === null ? "" : h("progress", { max: "1", value: String(one.progress), "aria-label": `Progress of ${one.step}` }),
      one.progress === null ? "" : h("span", {}, `${Math.floor(one.progress * 100)} %`),
      one.message ? h("span", { class: "message" }, one.message) : "",
      h("span", { class: "time", "data-since": one.since_us, "data-words": "for " })));
    const waiting = (waits?.rows ?? []).map((one) => h("li", { class: "wait" },
      sign("timeout"), h("code", {}, one.step),
      h("span", { class: "time", "data-until": one.until_us, "data-words": "retry in ", "data-over": "retries now" }),
      h("span", { class: "message" }, ` because ${one.why}`)));
    this.lists.replaceChildren(
      ...(waiting.length ? [h("ul", { class: "waiting", "aria-label": "Steps that wait" }, ...waiting, ...more(waits))] : []),
      ...(running.length ? [h("ul", { class: "doing", "aria-label": "Steps that run" }, ...running, ...more(doing))] : []));
  }

  #drawNews({ news, run }) {
    const start = run?.started_us;
    this.news.replaceChildren(...(news ?? []).map(([ts, text]) => h("li", {},
      h("span", { class: "at" }, start ? `+${duration(Math.max(0, ts - start))}` : ""), text)));
  }

  // --- the picture -----------------------------------------------------------------------------

  drawPicture() {
    const svg = parsed(this.feed.svg);
    this.picture.hidden = !svg;
    this.picture.replaceChildren(...(svg ? [h("div", { class: "canvas" }, svg)] : []));
  }

  /** Put other drawings in the place of some nodes, edges or clusters. */
  drawParts(parts) {
    const svg = this.picture.querySelector("svg");
    if (!svg) return;
    const places = new Map([...svg.querySelectorAll("[id]")].map((element) => [element.id, element]));
    const drawn = parsed(`<svg xmlns="http://www.w3.org/2000/svg">${Object.values(parts).join("")}</svg>`);
    for (const part of [...(drawn?.children ?? [])]) places.get(part.id)?.replaceWith(part);
  }

  // --- time ------------------------------------------------------------------------------------

  /** What changes by time alone: nobody has to send it. */
  tick() {
    const { board, nowUs } = this.feed;
    for (const place of this.root.querySelectorAll(".time")) {
      const { since, until, words = "", over } = place.dataset;
      const left = until === undefined ? nowUs - Number(since) : Number(until) - nowUs;
      place.textContent = left > 0 || until === undefined ? words + duration(rounded(Math.max(0, left))) : over ?? "";
    }
    const { started_us: started } = board.run ?? {};
    const parts = started ? [duration(rounded(Math.max(0, nowUs - started)))] : [];
    const { estimate } = board;
    if (estimate) {
      const left = estimate.end_us === null ? 0 : estimate.end_us - nowUs;
      parts.push(left > 0 ? `about ${duration(rounded(left))} to go` : "longer than usual");
      this.clock.title = `judged by ${estimate.based_on} of this workflow`;
    } else this.clock.title = "";
    this.clock.textContent = parts.join(" · ");
  }
}

/** Whole seconds, below ten of them tenths. */
function rounded(us) {
  const step = us < 10e6 ? 1e5 : 1e6;
  return Math.floor(us / step) * step;
}

function parsed(text) {
  if (!text) return null;
  const found = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  return found.localName === "svg" ? document.importNode(found, true) : null;
}

export function initialize({ model }) {
  return keepAtItsEnd(model);
}

export function render({ model, el }) {
  const feed = new Feed(model);
  const view = new View(feed, el);
  feed.begin(view);
  return () => {
    feed.end();
    view.destroy();
  };
}
