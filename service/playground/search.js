// A box that finds items by id or title, and returns the chosen one.

import * as api from "./api.js";
import { make, nameOf, nameWithId } from "./elements.js";

const PAUSE_MS = 120; // after the last key

/** Fills `place` with the box. `choose` gets {item_id, title}; `fail` what went wrong. */
export function searchBox(place, { label, id, choose, fail }) {
  const input = make("input", { id, type: "search", autocomplete: "off", maxLength: 256, placeholder: "id or title" });
  const results = make("ul", { className: "results", hidden: true });
  place.className = "search";
  place.append(make("label", { for: id }, label), input, results);
  let timer = 0;
  let asked = "";

  async function look() {
    asked = input.value.trim();
    if (!asked) return close();
    const wanted = asked;
    try {
      const found = await api.search(wanted);
      if (wanted === asked) show(found);
    } catch (error) {
      fail(error);
    }
  }

  function show(found) {
    const rows = found.map((item) =>
      make("li", {}, make("button", { type: "button", onclick: () => take(item) }, ...nameWithId(item))),
    );
    // An id that the bundle does not know is a new ad.
    if (!found.some((item) => item.item_id === asked)) {
      const item = { item_id: asked, title: "" };
      rows.push(make("li", {}, make("button", { type: "button", onclick: () => take(item) }, `“${asked}”, as an id`)));
    }
    results.replaceChildren(...rows);
    results.hidden = false;
  }

  function close() {
    results.hidden = true;
    results.replaceChildren();
  }

  function take(item) {
    clearTimeout(timer);
    asked = "";
    input.value = "";
    close();
    input.focus();
    choose(item, nameOf(item));
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE_MS);
  });
  place.addEventListener("keydown", (event) => {
    const stops = [input, ...results.querySelectorAll("button")];
    const here = stops.indexOf(document.activeElement);
    if (event.key === "Escape") {
      close();
      input.focus();
    } else if (event.key === "Enter" && here === 0) {
      event.preventDefault();
      stops[1]?.click();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      stops[Math.min(stops.length - 1, Math.max(0, here + (event.key === "ArrowDown" ? 1 : -1)))].focus();
    }
  });
  place.addEventListener("focusout", (event) => {
    if (!place.contains(event.relatedTarget)) close();
  });
}
