// Values as trees that open level by level, and what is different between two of them.

import { h, plural } from "./elements.js";

const OPEN_ENTRIES = 60;
const LONG_TEXT = 320;

/** A value by its entry in the film, with a note where a part of it is missing. */
export function valueView(entry) {
  if (!entry) return h("span", { class: "nothing" }, "nothing");
  const view = h("div", { class: "value" }, node(entry.value, true));
  if (entry.of) view.append(h("p", { class: "note" }, `Shown in part: all of it is ${plural(entry.of, "character")} long.`));
  return view;
}

function node(value, open) {
  if (value === null || typeof value !== "object") return leaf(value);
  if (typeof value.$exactly === "string") return h("span", { class: "number" }, value.$exactly);
  if (typeof value.$more === "number") return h("span", { class: "more" }, `… ${value.$more.toLocaleString("en-US")} more`);
  if (value.$table && Array.isArray(value.$table.rows)) return table(value.$table);
  if (typeof value.$is === "string") return preview(value);
  const entries = Array.isArray(value) ? value.map((item, place) => [place, item]) : Object.entries(value);
  if (!entries.length) return h("span", { class: "nothing" }, Array.isArray(value) ? "[ ]" : "{ }");
  if (Array.isArray(value) && isLine(value)) return h("span", { class: "inline" }, value.flatMap((item, place) => (place ? [", ", leaf(item)] : [leaf(item)])));
  return branch(entries, Array.isArray(value), open);
}

/** Whether a list fits on a line. */
function isLine(value) {
  return value.length <= 12 && value.every((item) => item === null || typeof item !== "object") && JSON.stringify(value).length <= 90;
}

function leaf(value) {
  if (typeof value === "string") return text(value);
  return h("span", { class: typeof value === "number" ? "number" : "word" }, String(value));
}

function text(value) {
  const shown = h("span", { class: "text", dir: "auto" }, value.length > LONG_TEXT ? `${value.slice(0, LONG_TEXT)}…` : value);
  if (value === "") return h("span", { class: "nothing" }, "empty text");
  if (value.length <= LONG_TEXT) return shown;
  const more = h("button", { class: "link", type: "button", onclick: () => { shown.textContent = value; more.remove(); } }, "all of it");
  return h("span", {}, shown, " ", more);
}

/** A level: its entries are made when it is opened for the first time. */
function branch(entries, isList, open) {
  const list = h("div", { class: "entries" });
  const fill = () => { if (!list.firstChild) more(list, entries, isList, 0); };
  if (open) {
    fill();
    return list;
  }
  const inside = isList ? `${plural(entries.length, "entry").replace("entrys", "entries")}` : entries.map(([key]) => key).slice(0, 5).join(", ");
  const summary = h("summary", {}, h("span", { class: "gist" }, isList ? `[ ${inside} ]` : `{ ${inside}${entries.length > 5 ? ", …" : ""} }`));
  return h("details", { class: "branch", ontoggle: fill }, summary, list);
}

function more(list, entries, isList, from) {
  const several = entries.length > 1 && entries.length <= 4;
  for (const [key, item] of entries.slice(from, from + OPEN_ENTRIES)) {
    list.append(h("div", { class: "entry" }, h("span", { class: isList ? "place" : "key" }, String(key)), node(item, several && isShort(item))));
  }
  const rest = entries.length - from - OPEN_ENTRIES;
  if (rest <= 0) return;
  const button = h("button", { class: "link", type: "button", onclick: () => { button.remove(); more(list, entries, isList, from + OPEN_ENTRIES); } },
    `${rest.toLocaleString("en-US")} more`);
  list.append(button);
}

function isShort(value) {
  return value !== null && typeof value === "object" && Object.keys(value).length <= 4;
}

function table({ is, shape, columns, rows }) {
  const head = h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column)));
  const body = rows.map((row) => h("tr", {}, row.map((cell) => h("td", { class: typeof cell === "number" ? "number" : "" }, cell === null ? "" : String(cell)))));
  const left = (shape?.[0] ?? rows.length) - rows.length;
  return h("div", { class: "frame" }, h("p", { class: "note" }, `${is ?? "table"}, ${(shape ?? []).join(" × ")}`),
    h("div", { class: "sideways", tabindex: "0", role: "region", "aria-label": "Table" }, h("table", {}, h("thead", {}, head), h("tbody", {}, body))),
    left > 0 ? h("p", { class: "note" }, `… ${plural(left, "more row")}`) : null);
}

function preview(value) {
  const begin = value.begin ? [h("div", { class: "text" }, `${value.begin.join(", ")}…`)] : [];
  return h("span", {}, h("span", { class: "note" }, value.$is), ...begin);
}

/** A value in one line. */
export function gist(value, length = 80) {
  if (typeof value === "string") return value.length > length ? `${value.slice(0, length - 1)}…` : value;
  if (value && typeof value === "object" && (value.$exactly || value.$is)) return value.$exactly ?? value.$is;
  const json = JSON.stringify(value) ?? "";
  return json.length > length ? `${json.slice(0, length - 1)}…` : json;
}

/** Where two values part: `[{path, before, after}]`, at most `most` places. */
export function differences(before, after, most = 40) {
  const found = [];
  const compare = (path, one, other) => {
    if (found.length >= most || Object.is(one, other)) return;
    const both = one !== null && other !== null && typeof one === "object" && typeof other === "object";
    if (!both || Array.isArray(one) !== Array.isArray(other)) {
      if (JSON.stringify(one) !== JSON.stringify(other)) found.push({ path, before: one, after: other });
      return;
    }
    for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
      compare(path ? `${path}.${key}` : key, one[key], other[key]);
    }
  };
  compare("", before, after);
  return found;
}
