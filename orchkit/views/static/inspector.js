// What is known at a frame: what it changed, the decision or the evidence of it, and the step it is of.

import { chip, duration, h, label, moment, plural, shorten } from "./elements.js";
import { differences, gist, valueView } from "./values.js";

const MOST_ROWS = 40;
const DATA = new Set(["input", "output", "context"]);
const UNSEEN = new Set(["scheduled_us", "started_us", "finished_us", "number", "forgiven", "abandoned", "run_id", "pid", "host", "kind", "error_type", "name", "parent", "node_type"]);
const WORDS = {
  child_run_id: "run", progress_message: "message", source: "result of",
  user_id: "user", session_id: "session", casefile_id: "case file", request_id: "request", parent_run_id: "part of",
  parent_step_id: "as its step", forked_from: "forked from",
};

/** `onSeek(frame)` goes somewhere, `onPick(step)` looks at a step, `onEnter(step)` enters a sub-workflow. */
export class Inspector {
  constructor(film, { onSeek = () => {}, onPick = () => {}, onEnter = () => {} } = {}) {
    Object.assign(this, { film, onSeek, onPick, onEnter });
    this.closed = new Set(["context", "story", "evidence", "decisions"]);
    this.top = 0;
    this.el = h("div", { class: "inspector", tabindex: "0", role: "region", "aria-label": "What is known at this position" });
    this.el.addEventListener("scroll", () => { this.top = this.el.scrollTop; }, { passive: true });
  }

  show(frame, { picked = null } = {}) {
    const event = this.film.frames[frame];
    const step = picked ?? event.step ?? null;
    const top = this.top;
    this.el.replaceChildren(...this.#event(frame, event), ...(step === null ? this.#run(frame) : this.#step(step, frame, picked !== null)));
    // Asked for only where it is needed: it costs a layout.
    if (top && this.step === step) this.el.scrollTop = top;
    else this.top = 0;
    this.step = step;
  }

  // --- the event -----------------------------------------------------------------------------

  #event(frame, event) {
    const delta = event.d ?? {};
    const parts = [];
    if (delta.decision) parts.push(this.#decision(delta.decision, frame));
    if (delta.evidence) parts.push(this.#evidence(delta.evidence, true));
    const changes = this.#changes(frame, delta);
    if (changes.length) parts.push(h("section", { class: "changes" }, h("h3", { class: "small" }, "What changed"), changes));
    return parts;
  }

  #changes(frame, delta) {
    const groups = [];
    const put = (what, before, after, change) => {
      const names = Object.keys(change).filter((name) => !UNSEEN.has(name));
      const rows = groups.length < MOST_ROWS ? names.flatMap((name) => this.#change(name, before?.[name], after[name])) : [];
      if (rows.length) groups.push(h("div", { class: "change" }, h("span", { class: "what", dir: "auto" }, shorten(what, 80)), h("div", { class: "fields" }, rows)));
    };
    if (delta.run && frame > 0) put("the run", this.film.runAt(frame - 1), this.film.runAt(frame), delta.run);
    for (const step of Object.keys(delta.steps ?? {})) {
      if (frame > 0 || delta.steps[step].status) put(label(step), this.film.step(step, frame - 1), this.film.step(step, frame), delta.steps[step]);
    }
    for (const step of Object.keys(delta.attempts ?? {})) {
      for (const key of Object.keys(delta.attempts[step])) {
        const history = this.film.steps.get(step).attempts[Number(key)];
        const after = history.get(frame);
        put(`${label(step)}, attempt ${after.number}`, history.get(frame - 1), after, { status: "", ...delta.attempts[step][key] });
      }
    }
    if (groups.length >= MOST_ROWS) groups.push(h("p", { class: "note" }, "… and more"));
    return groups;
  }

  #change(name, before, after) {
    const same = before === after || (!given(before) && !given(after));
    if (same && name !== "status") return [];
    const row = (...shown) => [h("div", { class: "field" }, h("span", { class: "muted" }, WORDS[name] ?? name), h("span", { class: "now" }, shown))];
    if (name === "status") {
      const now = chip(this.#standing(after));
      return before === undefined || before === after ? row(now) : row(chip(this.#standing(before)), " → ", now);
    }
    if (DATA.has(name)) return row(...this.#valueChange(before, after));
    const text = (value) => h("span", { dir: "auto" }, given(value) ? shorten(plain(value), 300) : "nothing");
    return given(before) ? row(h("s", {}, text(before)), " → ", text(after)) : row(text(after));
  }

  #valueChange(before, after) {
    const [one, other] = [this.film.value(before), this.film.value(after)];
    if (!other) return [h("span", { class: "nothing" }, "nothing any more")];
    if (!one) return [h("code", {}, gist(other.value, 120))];
    return differences(one.value, other.value, 12).map(({ path, before: was, after: is }) =>
      h("div", {}, h("code", { class: "key" }, path || "all of it"), " ", h("s", {}, gist(was ?? null, 60)), " → ", h("code", {}, gist(is ?? null, 60))));
  }

  #standing(status) {
    return status === "in_doubt" ? "in doubt" : status;
  }

  // --- decisions and evidence ----------------------------------------------------------------

  #decision(decision, frame) {
    const alternatives = this.film.value(decision.alternatives)?.value;
    const inputs = this.film.value(decision.input_data);
    const output = this.film.value(decision.output_data);
    return h("section", { class: "card decision" },
      h("h3", { class: "small" }, h("span", { class: "kind" }, maker(decision)),
        decision.duration_ms !== undefined ? h("span", { class: "muted" }, ` in ${duration(decision.duration_ms * 1000)}`) : null),
      h("p", { class: "verdict", dir: "auto" }, h("span", { class: "point" }, decision.point), " → ", h("b", {}, decision.decision)),
      decision.rationale ? h("p", { class: "why", dir: "auto" }, decision.rationale) : null,
      Array.isArray(alternatives) && alternatives.length ? this.#alternatives(alternatives, decision.decision) : null,
      inputs ? h("div", { class: "part" }, h("h4", {}, "Based on"), operands(inputs)) : null,
      output ? h("div", { class: "part" }, h("h4", {}, "Came of it"), valueView(output)) : null,
      decision.evidence ? h("div", { class: "part" }, h("h4", {}, "Supported by"), decision.evidence.map((id) => this.#support(id, frame))) : null);
  }

  #alternatives(alternatives, taken) {
    const texts = alternatives.slice(0, MOST_ROWS).map((one) => gist(one, 120));
    const others = texts.filter((text) => text !== taken);
    return h("div", { class: "part" }, h("h4", {}, "Instead of"),
      others.length ? h("ul", { class: "options" }, others.map((text) => h("li", { dir: "auto" }, text))) : h("p", { class: "note" }, "nothing else was named"));
  }

  #support(id) {
    const evidence = this.film.evidenceById.get(id);
    return evidence ? this.#evidence(evidence, false) : h("p", { class: "note" }, `evidence ${id}, which is not part of this run`);
  }

  #evidence(evidence, open) {
    const title = h("span", { class: "verdict", dir: "auto" }, h("b", {}, evidence.type), evidence.source ? h("span", { class: "muted" }, ` from ${evidence.source}`) : null, confidence(evidence.confidence_score));
    const body = [
      valueView(this.film.value(evidence.data)),
      evidence.metadata !== undefined ? h("div", { class: "part" }, h("h4", {}, "More about it"), valueView(this.film.value(evidence.metadata))) : null,
      evidence.hash ? h("p", { class: "note", title: evidence.hash }, `SHA-256 ${evidence.hash.slice(0, 12)}…`) : null,
    ].filter(Boolean);
    if (open) return h("section", { class: "card evidence" }, h("h3", { class: "small" }, h("span", { class: "kind" }, "Evidence")), title, h("div", { class: "part" }, body));
    return h("details", { class: "support" }, h("summary", {}, title), body);
  }

  // --- the step ------------------------------------------------------------------------------

  #step(step, frame, pinned) {
    const facts = this.film.step(step, frame);
    const entry = this.film.steps.get(step);
    if (!facts) return [h("section", { class: "step" }, this.#title(step, "pending", pinned), h("p", { class: "note" }, "Nothing is on the record of it yet."))];
    const status = this.film.standing(facts.status, frame);
    return [
      h("section", { class: "step" }, this.#title(step, status, pinned), this.#about(entry, facts, frame), this.#enter(step, facts, frame)),
      this.#attempts(step, frame),
      this.#items(entry, frame),
      this.#value("input", "Input", facts.input),
      this.#value("output", "Output", facts.output),
      ...this.#record(frame, (one) => one.step === step),
    ].filter(Boolean);
  }

  #title(step, status, pinned) {
    const unpin = pinned ? h("button", { class: "link", type: "button", title: "Follow the events again (Esc)", onclick: () => this.onPick(null) }, "follow again") : null;
    return h("h3", {}, h("span", { class: "id", dir: "auto" }, label(step)), chip(status), unpin);
  }

  #about(entry, facts, frame) {
    const took = facts.scheduled_us !== null && facts.finished_us !== null && facts.source === null ? duration(facts.finished_us - facts.scheduled_us) : null;
    const since = facts.scheduled_us !== null ? `${duration(this.film.since(facts.scheduled_us))} into the run` : null;
    const source = facts.source;
    return h("div", { class: "about" },
      fact("calls", facts.name && facts.name !== entry.id ? facts.name : null),
      fact("type", facts.node_type !== "task" ? facts.node_type : null),
      fact("began", since), fact("took", took),
      fact("progress", facts.progress !== null ? `${Math.round(facts.progress * 100)}%${facts.progress_message ? `, ${facts.progress_message}` : ""}` : facts.progress_message),
      source ? fact("result of", `${source.step_id ?? "?"} in ${source.run_id ?? "?"}${source.how ? ` (${source.how})` : ""}`) : null,
      fact("item of", facts.parent),
      fact("if", entry.facts.when),
      this.#after(entry.facts.after ?? [], frame),
      entry.facts.description ? h("p", { class: "why", dir: "auto" }, entry.facts.description) : null,
      facts.error ? h("p", { class: "trouble failed", dir: "auto" }, facts.error) : null,
      facts.reason ? h("p", { class: "trouble", dir: "auto" }, facts.reason) : null);
  }

  #after(sources, frame) {
    if (!sources.length) return null;
    const button = ([source, kind]) => h("button", { type: "button", class: "link", title: kind === "data" ? "its output is used" : kind, onclick: () => this.onPick(source) }, source);
    const shown = sources.slice(0, 12).flatMap((one, place) => (place ? [", ", button(one)] : [button(one)]));
    return h("span", { class: "fact" }, h("span", { class: "muted" }, "after"), " ", shown, sources.length > 12 ? ` and ${sources.length - 12} more` : null);
  }

  #enter(step, facts, frame) {
    if (!facts.child_run_id) return null;
    if (!this.film.below(step, frame)) return h("p", { class: "note" }, `Its run, ${facts.child_run_id}, is not part of this page.`);
    return h("button", { type: "button", class: "enter", onclick: () => this.onEnter(step) }, "Enter its run");
  }

  #attempts(step, frame) {
    const attempts = this.film.attempts(step, frame);
    if (!attempts.length) return null;
    const shown = attempts.slice(-MOST_ROWS);
    const waits = shown.length > 1;
    const row = (attempt, place) => {
      const before = shown[place - 1];
      const waited = before && before.finished_us !== null ? attempt.started_us - before.finished_us : null;
      return h("tr", {}, h("td", { class: "number" }, attempt.number), h("td", {}, chip(this.film.standing(attempt.status, frame))),
        h("td", { class: "number" }, attempt.finished_us !== null ? duration(attempt.finished_us - attempt.started_us) : ""),
        waits ? h("td", { class: "number" }, waited ? duration(waited) : "") : null, h("td", { dir: "auto" }, [attempt.error, attempt.abandoned ? "its thread goes on" : null].filter(Boolean).join(" · ")));
    };
    const head = ["#", "status", "took", ...(waits ? ["waited"] : []), "error"].map((text) => h("th", { scope: "col" }, text));
    return this.#section("attempts", attempts.length === 1 ? "Attempt" : plural(attempts.length, "attempt"),
      h("div", { class: "sideways" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, shown.map(row)))));
  }

  #items(entry, frame) {
    if (!entry.items.length) return null;
    const counts = this.film.counts(entry.items, frame);
    const chips = Object.entries(counts).map(([status, count]) => [h("span", {}, `${count.toLocaleString("en-US")} `), chip(status), " "]);
    const failed = entry.items.filter((item) => this.film.step(item, frame)?.status === "failed").slice(0, 8);
    const links = failed.map((item) => h("button", { type: "button", class: "link", onclick: () => this.onPick(item) }, item));
    return this.#section("items", plural(entry.items.length, "item"), h("p", {}, chips.flat()), links.length ? h("p", { class: "links" }, links) : null);
  }

  // --- the run -------------------------------------------------------------------------------

  #run(frame) {
    const run = this.film.runAt(frame);
    const head = this.film.head;
    const names = ["user_id", "session_id", "casefile_id", "request_id", "parent_run_id"];
    return [
      h("section", { class: "step" }, h("h3", {}, h("span", { class: "id", dir: "auto" }, run.name || head.name || "run"), chip(this.film.runStanding(frame))),
        h("div", { class: "about" }, fact("", head.run_id), fact("started", moment(run.started_us)), fact("ended", moment(run.finished_us)),
          fact("in process", run.pid ? `${run.pid} on ${run.host ?? "?"}` : null), fact("resumed", run.resumed ? plural(run.resumed, "time") : null),
          run.forked_from ? fact("forked from", run.forked_from.run_id) : null,
          names.map((name) => fact(WORDS[name] ?? name, run[name])),
          run.error ? h("p", { class: "trouble failed", dir: "auto" }, run.error) : null)),
      this.#value("context", "Context", run.context),
      head.story && frame >= this.film.last ? this.#section("story", "In words", h("p", { class: "story", dir: "auto" }, head.story)) : null,
      ...this.#record(frame, () => true),
    ].filter(Boolean);
  }

  #record(frame, belongs) {
    const decisions = this.film.decisions.filter((one) => one.frame <= frame && belongs(one));
    const evidence = this.film.evidence.filter((one) => one.frame <= frame && belongs(one));
    const line = (one, texts) => h("li", {}, h("button", { type: "button", class: one.frame === frame ? "line here" : "line", onclick: () => this.onSeek(one.frame) }, texts));
    const decided = decisions.slice(-MOST_ROWS).map((one) => line(one, [h("span", { class: "point" }, shorten(one.point, 60)), " → ", h("b", {}, shorten(one.decision, 80))]));
    const found = evidence.slice(-MOST_ROWS).map((one) => line(one, [h("b", {}, shorten(one.type, 60)), one.source ? ` from ${shorten(one.source, 60)}` : "", confidence(one.confidence_score)]));
    return [
      decided.length ? this.#section("decisions", plural(decisions.length, "decision"), h("ol", { class: "lines" }, decided)) : null,
      found.length ? this.#section("evidence", `${plural(evidence.length, "piece")} of evidence`, h("ol", { class: "lines" }, found)) : null,
    ];
  }

  #value(key, title, number) {
    const entry = this.film.value(number);
    return entry ? this.#section(key, title, valueView(entry)) : null;
  }

  /** A part that stays as it was left: open, or folded away. */
  #section(key, title, ...body) {
    const part = h("details", { class: "section" }, h("summary", {}, h("h4", { class: "name" }, title)), ...body);
    part.open = !this.closed.has(key);
    part.addEventListener("toggle", () => (part.open ? this.closed.delete(key) : this.closed.add(key)));
    return part;
  }
}

function given(value) {
  return value !== null && value !== undefined && value !== "" && value !== false;
}

function plain(value) {
  if (typeof value !== "object") return String(value);
  return value.run_id ? [value.step_id, value.run_id].filter(Boolean).join(" in ") : gist(value, 200);
}

function fact(name, value) {
  if (value === null || value === undefined || value === "") return null;
  return h("span", { class: "fact" }, name ? h("span", { class: "muted" }, name) : null, name ? " " : null, h("span", { dir: "auto" }, String(value)));
}

function operands(entry) {
  const value = entry.value;
  if (value === null || typeof value !== "object" || Array.isArray(value) || !Object.keys(value).length) return valueView(entry);
  return h("table", { class: "operands" }, h("tbody", {}, Object.entries(value).slice(0, MOST_ROWS).map(([name, one]) =>
    h("tr", {}, h("th", { scope: "row", dir: "auto" }, name), h("td", {}, valueView({ value: one, of: null }))))));
}

function confidence(score) {
  if (score === undefined || score === null) return null;
  const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("i"));
  meter.firstChild.style.width = `${Math.round(score * 100)}%`;
  return h("span", { class: "confidence", title: `confidence ${score}` }, meter, h("span", { class: "muted" }, `confidence ${Number(score.toFixed(3))}`));
}

function maker({ origin, point }) {
  if (origin !== "engine") return "Decision of the step";
  return point === "operator" ? "Decision by hand" : "Decision of the engine";
}
