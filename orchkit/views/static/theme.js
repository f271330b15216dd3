// Whether the page around is light or dark, asked of whoever shows it.

/** Keep `data-theme` of an element as the page is; returns how to stop. */
export function followTheme(element, fixed = null) {
  const set = () => { element.dataset.theme = fixed ?? themeOf(element); };
  set();
  if (fixed) return () => {};
  const query = window.matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(set);
  query.addEventListener("change", set);
  const filter = { attributes: true, attributeFilter: ["class", "style", "theme", "data-theme", "data-jp-theme-light", "data-vscode-theme-kind"] };
  observer.observe(document.body, filter);
  observer.observe(document.documentElement, filter);
  return () => {
    query.removeEventListener("change", set);
    observer.disconnect();
  };
}

function themeOf(element) {
  const lab = document.body.dataset.jpThemeLight;
  if (lab) return lab === "false" ? "dark" : "light";
  const background = backgroundOf(element);
  if (background) return background[0] * 0.299 + background[1] * 0.587 + background[2] * 0.114 < 128 ? "dark" : "light";
  return window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** The first colour behind an element that covers something. */
function backgroundOf(element) {
  for (let one = element.parentElement; one; one = one.parentElement ?? one.getRootNode().host) {
    const parts = getComputedStyle(one).backgroundColor.match(/[\d.]+/g)?.map(Number);
    if (parts && (parts.length < 4 || parts[3] > 0.5)) return parts;
  }
  return null;
}
