// Elements, and numbers and times as people write them.

import { LOOK } from "./look.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element; texts in `children` stay texts. Properties that begin with `on` are listeners. */
export function h(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** The same for SVG. */
export function s(name, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, name), properties, children);
}

function filled(element, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** The sign of a status as a drawing. Its markup comes from Python, nothing of a record is in it. */
export function sign(status) {
  const drawing = s("svg", { class: `sign ${statusClass(status)}`, viewBox: "0 0 16 16", "aria-hidden": "true" });
  drawing.innerHTML = iconOf(status);
  return drawing;
}

/** The drawing of a status as markup. */
export function iconOf(status) {
  return Object.hasOwn(LOOK.icons, status) ? LOOK.icons[status] : LOOK.icons.pending;
}

/** A status with its sign and its word. */
export function chip(status) {
  return h("span", { class: `chip ${statusClass(status)}` }, sign(status), status);
}

/** `cut off` → `status_cut_off`, as in the pictures. */
export function statusClass(status) {
  return `status_${String(status).replace(/[^A-Za-z0-9_]+/g, "_")}`;
}

/** Microseconds as people say them: `240 ms`, `1.24 s`, `3 min 05 s`, `2 h 07 min`. */
export function duration(us) {
  if (us === null || us === undefined || !Number.isFinite(us)) return "–";
  if (us < 0) return `−${duration(-us)}`;
  const ms = us / 1000;
  if (ms < 999.5) return `${threeDigits(ms)} ms`;
  if (ms < 59950) return `${threeDigits(ms / 1000)} s`;
  return twoUnits(Math.round(ms / 1000));
}

function threeDigits(value) {
  if (value >= 99.95) return value.toFixed(0);
  const text = value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
  return text.replace(/\.?0+$/, "") || "0";
}

function twoUnits(seconds) {
  const steps = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
  const [size, unit, small, smallUnit] = steps.find(([limit]) => seconds >= limit) ?? steps[2];
  const rest = Math.floor((seconds % size) / small);
  return `${Math.floor(seconds / size)} ${unit} ${String(rest).padStart(2, "0")} ${smallUnit}`;
}

/** A time in UTC to the second. */
export function moment(us) {
  return us ? `${new Date(us / 1000).toISOString().slice(0, 19).replace("T", " ")} UTC` : "";
}

/** `1 step`, `1,000 steps`. */
export function plural(count, noun) {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}

/** A text cut to a length. */
export function shorten(text, length) {
  const characters = Array.from(String(text).slice(0, 2 * length + 2));
  return characters.length <= length ? characters.join("") : `${characters.slice(0, length - 1).join("").trimEnd()}…`;
}

/** The name of a step as people say it: compensations are stored as `compensate:ID`. */
export function label(step) {
  return step.startsWith("compensate:") ? `undo ${step.slice("compensate:".length)}` : step;
}
