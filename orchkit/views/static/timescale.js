// From times to places on a line, with long times in which nothing happens drawn short.

const SHARE_OF_A_GAP = 0.07;
const MOST_IDLE = 0.75;
const MOST_GAPS = 24;

/**
 * `place(us)` is between 0 and 1, `time(place)` its inverse, `gaps` the times that are drawn short:
 * `[{from, to}]`. The longest ones are, until no more than `MOST_IDLE` of what is left is idle.
 */
export class TimeScale {
  constructor(film, compress = true) {
    const start = film.times[0] ?? 0;
    const end = Math.max(start + 1, film.times[film.last] ?? 0);
    const gaps = between(film.busy(), start, end, film);
    this.gaps = compress ? longOnes(gaps, end - start) : [];
    this.canCompress = longOnes(gaps, end - start).length > 0;
    this.knots = knots(start, end, this.gaps);
  }

  place(us) {
    return along(this.knots, us, 0, 1);
  }

  time(place) {
    return along(this.knots, place, 1, 0);
  }
}

/** The times between frames in which nothing was running. */
function between(busy, start, end, film) {
  const spans = [...busy, ...film.times.map((time) => [time, time])].sort((a, b) => a[0] - b[0]);
  const found = [];
  let last = start;
  for (const [from, to] of spans) {
    if (from > last) found.push({ from: last, to: from });
    last = Math.max(last, to);
  }
  if (end > last) found.push({ from: last, to: end });
  return found;
}

function longOnes(gaps, total) {
  const sorted = [...gaps].sort((a, b) => size(b) - size(a));
  let idle = gaps.reduce((sum, gap) => sum + size(gap), 0);
  let rest = total;
  let smallest = Infinity;
  for (const gap of sorted) {
    if (idle <= MOST_IDLE * rest) break;
    smallest = size(gap) / 2;
    idle -= size(gap);
    rest -= size(gap);
  }
  return sorted.filter((gap) => size(gap) >= smallest).slice(0, MOST_GAPS).sort((a, b) => a.from - b.from);
}

function size(gap) {
  return gap.to - gap.from;
}

/** The corners of the line: `[time, place]`. */
function knots(start, end, gaps) {
  const shortened = gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const share = Math.min(SHARE_OF_A_GAP, 0.5 / Math.max(1, gaps.length));
  const plain = end - start - shortened;
  const unit = (1 - share * gaps.length) / Math.max(1, plain);
  const found = [[start, 0]];
  let [time, place] = found[0];
  for (const gap of gaps) {
    place += (gap.from - time) * unit;
    found.push([gap.from, place], [gap.to, place + share]);
    [time, place] = found[found.length - 1];
  }
  found.push([end, 1]);
  return found;
}

function along(line, value, from, to) {
  let low = 0;
  let high = line.length - 1;
  if (value <= line[0][from]) return line[0][to];
  if (value >= line[high][from]) return line[high][to];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (line[middle][from] <= value) low = middle;
    else high = middle;
  }
  const span = line[high][from] - line[low][from];
  const part = span ? (value - line[low][from]) / span : 0;
  return line[low][to] + part * (line[high][to] - line[low][to]);
}
