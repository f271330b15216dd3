// The player in the output of a notebook's cell: it takes the place of the still picture.

import { mount } from "./player.js";

/** Start the players of this id that were not started yet. */
export function wake(id) {
  for (const box of document.querySelectorAll(`[data-orchkit-player="${id}"]:not([data-awake])`)) begin(box);
}

async function begin(box) {
  box.dataset.awake = "";
  const still = box.querySelector("[data-orchkit-still]");
  const film = JSON.parse(await read(box.querySelector("script[data-orchkit-film]")));
  const place = document.createElement("div");
  box.append(place);
  try {
    mount(place, film);
    still?.remove();
  } catch (error) {
    place.remove();
    console.error("orchkit: the replay could not be started", error);
  }
}

/** The text of a film; long ones are compressed. */
export async function read(script) {
  if (script.type === "application/json") return script.textContent;
  const bytes = Uint8Array.from(atob(script.textContent), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
