// A film: frames of deltas, and what the run, its steps and their attempts were at any of them.

const NEW_STEP = {
  name: "", node_type: "task", parent: null, status: "pending", scheduled_us: null, finished_us: null,
  error: null, error_type: null, reason: null, forgiven: 0, child_run_id: null, progress: null,
  progress_message: null, source: null, input: null, output: null,
};
const NEW_ATTEMPT = {
  number: 0, status: "running", started_us: 0, finished_us: null, error: null, error_type: null, abandoned: false,
};
const OVER = new Set(["success", "failed", "skipped", "cancelled"]);

/** The place of the last of some ascending numbers that is not larger; -1 when all are. */
export function lastUpTo(numbers, limit) {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** What something was: a version for each frame that changed it. Any frame is found by halving. */
export class History {
  constructor(first) {
    this.first = first;
    this.at = [];
    this.is = [];
  }

  change(frame, change) {
    const last = this.is.length ? this.is[this.is.length - 1] : this.first;
    const next = { ...last, ...change };
    if (this.at[this.at.length - 1] === frame) this.is[this.is.length - 1] = next;
    else {
      this.at.push(frame);
      this.is.push(next);
    }
  }

  /** What it was after this frame; undefined where it was not there yet. */
  get(frame) {
    const place = lastUpTo(this.at, frame);
    return place < 0 ? undefined : this.is[place];
  }

  get last() {
    return this.is[this.is.length - 1];
  }
}

/**
 * One run. Frames are numbered from 0; what is asked for a frame is what was so after it. Frames can be
 * added while a run goes on: `add` takes what a film has, or a part of it.
 */
export class Film {
  constructor(data, root = null) {
    this.root = root ?? this;
    this.data = data;
    this.head = data.run ?? {};
    this.dag = data.dag ?? { svg: "", nodes: {}, inner: [] };
    this.films = new Map();
    this.frames = [];
    this.times = [];
    this.seqs = [];
    this.values = [];
    this.parsed = [];
    this.run = new History({});
    this.steps = new Map();
    this.marks = { decision: [], failure: [] };
    this.decisions = [];
    this.evidence = [];
    this.evidenceById = new Map();
    this.version = 0;
    this.add(data);
  }

  get length() {
    return this.frames.length;
  }

  get last() {
    return this.frames.length - 1;
  }

  /** Take more of the run: `{frames, values, steps, run}`, each of which may be missing. */
  add(part) {
    if (part.run) this.head = { ...this.head, ...part.run };
    for (const value of part.values ?? []) this.values.push(value);
    for (const facts of part.steps ?? []) this.entry(facts.id).facts = facts;
    for (const frame of part.frames ?? []) this.#take(frame);
    this.version += 1;
  }

  #take(frame) {
    const place = this.frames.length;
    this.frames.push(frame);
    // Clocks are set back now and then; a film only goes forward.
    this.times.push(place ? Math.max(frame.ts_us, this.times[place - 1]) : frame.ts_us);
    this.seqs.push(frame.seq);
    if (frame.mark) this.marks[frame.mark].push(place);
    if (frame.step !== undefined) this.entry(frame.step).frames.push(place);
    const delta = frame.d;
    if (!delta) return;
    if (delta.run) this.run.change(place, delta.run);
    for (const step of Object.keys(delta.steps ?? {})) this.#changeStep(place, step, delta.steps[step]);
    for (const step of Object.keys(delta.attempts ?? {})) this.#changeAttempts(place, step, delta.attempts[step]);
    if (delta.decision) this.#addDecision({ ...delta.decision, frame: place, step: frame.step });
    if (delta.evidence) this.#addEvidence({ ...delta.evidence, frame: place, step: frame.step });
  }

  #changeStep(place, step, change) {
    const entry = this.entry(step);
    entry.history.change(place, change);
    if (change.parent && !entry.placed) {
      entry.placed = true;
      this.entry(change.parent).items.push(step);
    }
  }

  #changeAttempts(place, step, changes) {
    const attempts = this.entry(step).attempts;
    for (const key of Object.keys(changes)) (attempts[Number(key)] ??= new History(NEW_ATTEMPT)).change(place, changes[key]);
  }

  #addDecision(decision) {
    this.decisions.push(decision);
    if (decision.point === "condition" && decision.step !== undefined) this.entry(decision.step).judged ??= decision.frame;
  }

  #addEvidence(evidence) {
    this.evidence.push(evidence);
    this.evidenceById.set(evidence.evidence_id, evidence);
  }

  /** Everything about one step; made when it is first mentioned. */
  entry(step) {
    let entry = this.steps.get(step);
    if (!entry) {
      entry = { id: step, facts: { id: step, after: [] }, history: new History(NEW_STEP), attempts: [], frames: [], items: [] };
      this.steps.set(step, entry);
    }
    return entry;
  }

  // --- at a frame --------------------------------------------------------------------------

  /** The facts of the run. */
  runAt(frame) {
    return this.run.get(frame) ?? { status: "pending" };
  }

  /** The facts of a step; undefined where nothing was known of it. */
  step(step, frame) {
    return this.steps.get(step)?.history.get(frame);
  }

  /** The attempts of a step that had begun. */
  attempts(step, frame) {
    const found = [];
    for (const history of this.steps.get(step)?.attempts ?? []) {
      const attempt = history?.get(frame);
      if (attempt) found.push(attempt);
    }
    return found;
  }

  /** The status as it is shown: at the end of a run that was cut off nothing is running any more. */
  standing(status, frame) {
    if (status === "in_doubt") return "in doubt";
    return status === "running" && this.head.cut_off && frame >= this.last ? "cut off" : status;
  }

  /** The standing of the run. */
  runStanding(frame) {
    const status = this.runAt(frame).status ?? "pending";
    return this.head.cut_off && frame >= this.last ? "cut off" : status;
  }

  /** The steps that are no items of maps and no compensations. */
  ownSteps() {
    return [...this.steps.values()].filter((entry) => {
      const facts = entry.history.last;
      return facts && facts.parent === null && !entry.id.startsWith("compensate:");
    });
  }

  /** How many of these steps stand how. */
  counts(steps, frame) {
    const counts = {};
    for (const step of steps) {
      const facts = this.step(step, frame);
      if (facts) {
        const standing = this.standing(facts.status, frame);
        counts[standing] = (counts[standing] ?? 0) + 1;
      }
    }
    return counts;
  }

  /** How many of its own steps are over, and how many there are. */
  progress(frame) {
    const own = this.ownSteps();
    let over = 0;
    for (const entry of own) over += OVER.has(entry.history.get(frame)?.status) ? 1 : 0;
    return { over, total: own.length };
  }

  /** What a step at the end of a path of sub-workflows was: `{film, frame, step, facts}`. */
  at(path, frame) {
    let film = this;
    let here = frame;
    for (const step of path.slice(0, -1)) {
      const child = film.below(step, here);
      if (!child) return undefined;
      // after the last frame everything counts, also what it did when this run said nothing any more
      here = here >= film.last ? child.last : child.frameOfSeq(film.seqs[here]);
      film = child;
    }
    const step = path[path.length - 1];
    return { film, frame: here, step, facts: film.step(step, here) };
  }

  /** The film of the run of a sub-workflow; undefined where the step has none, or it is not part of this. */
  below(step, frame) {
    const id = this.step(step, frame)?.child_run_id;
    return id ? this.root.filmOf(id) : undefined;
  }

  filmOf(id) {
    if (!this.films.has(id) && this.data.below?.[id]) this.films.set(id, new Film(this.data.below[id], this));
    return this.films.get(id);
  }

  // --- places ------------------------------------------------------------------------------

  /** The next frame of this mark after a frame (or the one before it), or -1. */
  next(mark, frame) {
    const places = this.marks[mark];
    return places[lastUpTo(places, frame) + 1] ?? -1;
  }

  previous(mark, frame) {
    return this.marks[mark][lastUpTo(this.marks[mark], frame - 1)] ?? -1;
  }

  /** The last frame that was not later than a time; the first one for earlier times. */
  frameAt(us) {
    return Math.max(0, lastUpTo(this.times, us));
  }

  /** The last frame that was not later in the order of the store; -1 where none was. */
  frameOfSeq(seq) {
    return lastUpTo(this.seqs, seq);
  }

  /** Microseconds from the first frame. */
  since(us) {
    return us - (this.times[0] ?? us);
  }

  // --- values ------------------------------------------------------------------------------

  /** A value by its number: `{value, of}`; `of` is the length of the whole where only a part is here. */
  value(number) {
    if (number === null || number === undefined) return undefined;
    if (!this.parsed[number]) {
      const entry = this.values[number];
      const text = typeof entry === "string" ? entry : entry.text;
      this.parsed[number] = { value: JSON.parse(text), of: typeof entry === "string" ? null : entry.of };
    }
    return this.parsed[number];
  }

  // --- time --------------------------------------------------------------------------------

  /** When some attempt (or the step of a sub-workflow) was running: `[[from, to], …]` without overlaps. */
  busy() {
    if (this.busyVersion !== this.version) {
      this.busySpans = united(this.#working());
      this.busyVersion = this.version;
    }
    return this.busySpans;
  }

  #working() {
    const end = this.times[this.last] ?? 0;
    const spans = [];
    for (const entry of this.steps.values()) {
      const facts = entry.history.last;
      if (facts?.child_run_id && facts.scheduled_us) spans.push([facts.scheduled_us, facts.finished_us ?? end]);
      for (const history of entry.attempts) if (history) spans.push([history.last.started_us, this.attemptEnd(history)]);
    }
    return spans.filter(([from, to]) => to >= from);
  }

  /** When an attempt ended; for one in doubt the last that was heard before its run was taken up again. */
  attemptEnd(history) {
    const attempt = history.last;
    if (attempt.finished_us !== null) return attempt.finished_us;
    const end = attempt.status === "in_doubt" ? Math.max(0, history.at[history.at.length - 1] - 1) : this.last;
    return this.times[end];
  }

  /** How much of the time from the first frame to this one nothing was running. */
  idle(frame) {
    const now = this.times[frame];
    let busy = 0;
    for (const [from, to] of this.busy()) {
      if (from >= now) break;
      busy += Math.min(to, now) - from;
    }
    return Math.max(0, this.since(now) - busy);
  }
}

function united(spans) {
  const found = [];
  for (const [from, to] of spans.sort((a, b) => a[0] - b[0])) {
    const last = found[found.length - 1];
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else found.push([from, to]);
  }
  return found;
}
