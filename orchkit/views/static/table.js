// A table that is there already, made searchable: a field, a choice per column that has few values, sorting by the head.

const FIELD = "font:inherit;color:inherit;background:transparent;border:1px solid rgba(128,128,128,.6);border-radius:6px;padding:3px 8px;margin:0 8px 6px 0;max-width:100%";
const HEAD = "font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:inherit";
const MOST_CHOICES = 60;

/** Start the tables of this id that were not started yet. */
export function wake(id) {
  for (const box of document.querySelectorAll(`[data-orchkit-table="${id}"]:not([data-awake])`)) mount(box);
}

/** As a widget: the same markup, which holds texts of a record only as text. */
export function render({ model, el }) {
  const draw = () => {
    el.innerHTML = model.get("html");
    for (const box of el.querySelectorAll("[data-orchkit-table]")) mount(box);
  };
  draw();
  model.on("change:html", draw);
  return () => model.off("change:html", draw);
}

/** Make the table inside of a box searchable; what is shown without scripts stays as it is. */
export function mount(box) {
  box.dataset.awake = "";
  const table = box.querySelector("table");
  if (!table?.tBodies[0]?.rows.length) return;
  const rows = [...table.tBodies[0].rows].map((row, place) => ({ row, place, text: plain(row.textContent) }));
  const heads = [...table.tHead.rows[0].cells];
  const bar = element("div", { role: "search", style: "margin:4px 0 2px 0" });
  const search = element("input", { type: "search", placeholder: "Search", "aria-label": `Search in ${box.dataset.title}`, style: `${FIELD};width:220px` });
  const count = element("span", { role: "status", "aria-live": "polite", style: "opacity:.75;font-size:92%" });
  const choices = heads.flatMap((head, column) => (head.dataset.choice === undefined ? [] : choice(head, column, rows)));
  bar.addEventListener("focusin", () => { bar.style.colorScheme = isLight(getComputedStyle(bar).color) ? "dark" : "light"; });
  bar.append(search, ...choices.map((one) => one.field), count);
  const show = () => {
    const words = plain(search.value).split(" ").filter(Boolean);
    let shown = 0;
    for (const { row, text } of rows) {
      const fits = words.every((word) => text.includes(word)) && choices.every((one) => one.fits(row));
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    count.textContent = shown === rows.length ? "" : `${shown.toLocaleString("en-US")} of ${rows.length.toLocaleString("en-US")} shown`;
  };
  search.addEventListener("input", show);
  search.addEventListener("keydown", (event) => {
    event.stopPropagation(); // a notebook has keys of its own
    if (event.key === "Escape" && search.value) { search.value = ""; show(); }
  });
  for (const one of choices) one.field.addEventListener("change", show);
  sortable(table, heads, rows);
  table.closest("[data-orchkit-scroll]").before(bar);
  show();
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Whether a colour of text is a light one: then the page is dark, and lists that fold out have to be. */
function isLight(colour) {
  const [red, green, blue] = colour.match(/[\d.]+/g).map(Number);
  return red * 0.299 + green * 0.587 + blue * 0.114 > 128;
}

/** Lower case, without accents, one space between words. */
function plain(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/\s+/g, " ").trim();
}

/** The choice among the values of a column; none where there is nothing, or too much, to choose from. */
function choice(head, column, rows) {
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const counts = new Map();
  for (const { row } of rows) counts.set(value(row), (counts.get(value(row)) ?? 0) + 1);
  if (counts.size < 2 || counts.size > MOST_CHOICES) return [];
  const name = head.textContent.trim();
  const field = element("select", { "aria-label": `Only this ${name}`, style: FIELD }, new Option(`${name}: any`, ""));
  [...counts.keys()].sort().forEach((one, place) => {
    const label = one.length > 40 ? `${one.slice(0, 39)}…` : one || "–";
    field.append(new Option(`${label} (${counts.get(one)})`, String(place + 1)));
  });
  const values = ["", ...[...counts.keys()].sort()];
  field.addEventListener("keydown", (event) => event.stopPropagation());
  return [{ field, fits: (row) => field.value === "" || value(row) === values[Number(field.value)] }];
}

function sortable(table, heads, rows) {
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = element("button", { type: "button", title: "Sort", style: HEAD }, ...head.childNodes);
    const sign = element("span", { "aria-hidden": "true", style: "opacity:.6;display:inline-block;width:1em" });
    head.append(button, sign);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) { other.removeAttribute("aria-sort"); other.querySelector("[aria-hidden]")?.replaceChildren(); }
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sign.textContent = down ? " ↓" : " ↑";
      rows.sort((one, other) => (down ? -1 : 1) * compared(one.row.cells[column], other.row.cells[column]) || one.place - other.place);
      body.append(...rows.map(({ row }) => row));
    });
  });
}

/** Numbers by size, texts by the alphabet, what has nothing first. */
function compared(one, other) {
  const [a, b] = [one.dataset.sort, other.dataset.sort];
  if (a !== undefined || b !== undefined) return Number(a ?? -Infinity) - Number(b ?? -Infinity) || 0;
  return one.textContent.localeCompare(other.textContent, "en", { numeric: true });
}
