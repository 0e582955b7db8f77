// The ads of an answer as rows that move to their place.

import { ctr, make, nameWithId, number } from "./elements.js";

const MOVE_MS = 250;
const SLIDER_MAX = 2;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * A list kept in sync with the answers. Rows stay the same elements as long as their candidate does: a slider can be
 * dragged while the rows move around it.
 */
export class RankingList {
  /** `act` has setBid(candidate, bid), remove(candidate) and select(candidate); without it the list only shows. */
  constructor(list, act = null) {
    this.list = list;
    this.act = act;
    this.rows = new Map(); // by candidate
    list.addEventListener("change", () => this.settle());
  }

  /** `places` are {candidate, ad, because, moved} in the answer's order; `left` candidates that are not in it. */
  show(places, left, selected) {
    const before = new Map([...this.rows.values()].map((row) => [row.element, row.element.getBoundingClientRect().top]));
    const wanted = new Set([...places.map((place) => place.candidate), ...left]);
    for (const [candidate, row] of this.rows) {
      if (!wanted.has(candidate)) {
        row.element.remove();
        this.rows.delete(candidate);
      }
    }
    places.forEach((place, order) => this.row(place.candidate).fill(place, order, place.candidate === selected));
    left.forEach((candidate, order) => this.row(candidate).fill(null, places.length + order, false));
    if (!this.isBusy()) this.settle();
    if (!calm.matches) for (const row of this.rows.values()) glide(row.element, before.get(row.element));
  }

  row(candidate) {
    if (!this.rows.has(candidate)) {
      const row = new Row(candidate, this.act);
      this.rows.set(candidate, row);
      this.list.append(row.element);
    }
    return this.rows.get(candidate);
  }

  /** True while a slider is dragged: moving its row in the document would end that. */
  isBusy() {
    return this.list.querySelector("input[type=range]:active") !== null;
  }

  /**
   * Bring the document's order, which keys and screen readers follow, in line with what is seen. The row that has the
   * focus stays and the others move around it: an input that is taken out loses focus and caret, and says `change`.
   */
  settle() {
    const elements = [...this.rows.values()].sort((one, other) => one.order - other.order).map((row) => row.element);
    if (elements.every((element, place) => this.list.children[place] === element)) return;
    const still = elements.findIndex((element) => element.contains(document.activeElement));
    if (still >= 0) elements[still].before(...elements.slice(0, still));
    this.list.append(...elements.slice(still + 1));
  }
}

function glide(element, topBefore) {
  if (topBefore === undefined) return;
  const distance = topBefore - element.getBoundingClientRect().top;
  if (distance) element.animate([{ transform: `translateY(${distance}px)` }, { transform: "none" }], MOVE_MS);
}

class Row {
  constructor(candidate, act) {
    const name = candidate.title || candidate.item_id;
    this.candidate = candidate;
    this.rank = make("span", { className: "rank" });
    this.moved = make("span", { className: "moved" });
    this.because = make("p", { className: "because quiet" });
    this.figures = make("dl", { className: "figures" });
    const title = make("span", { className: "name" }, ...nameWithId(candidate), this.moved);
    this.element = make("li", { className: "ad" }, this.rank);
    if (!act) {
      this.element.append(make("div", { className: "what" }, title), this.figures);
      return;
    }
    this.selector = make("button", { type: "button", className: "select", onclick: () => act.select(candidate) }, title);
    this.slider = make("input", {
      type: "range", min: 0, max: SLIDER_MAX, step: 0.01, "aria-label": `Bid for ${name}`, className: "slider",
    });
    this.exact = make("input", {
      type: "number", min: 0, step: 0.01, inputMode: "decimal", "aria-label": `Exact bid for ${name}`, className: "exact",
    });
    for (const input of [this.slider, this.exact]) {
      input.addEventListener("input", () => {
        if (input.value !== "" && input.validity.valid) act.setBid(candidate, Number(input.value));
      });
    }
    const remove = make("button", {
      type: "button", className: "remove", "aria-label": `Remove ${name}`, onclick: () => act.remove(candidate),
    }, "×");
    this.element.append(
      make("div", { className: "what" }, this.selector, this.because),
      make("div", { className: "bid" }, this.slider, this.exact),
      this.figures,
      remove,
    );
  }

  fill(place, order, isSelected) {
    this.order = order;
    this.element.style.order = order;
    this.element.classList.toggle("selected", isSelected);
    this.element.classList.toggle("left-out", place === null);
    this.rank.textContent = place === null ? "–" : place.ad.rank;
    this.moved.textContent = place?.moved ? (place.moved > 0 ? ` ▲${place.moved}` : ` ▼${-place.moved}`) : "";
    this.because.textContent = place?.because ?? (place === null ? "bids less than the reserve price" : "");
    this.selector?.setAttribute("aria-pressed", String(isSelected));
    if (this.slider) {
      const bid = this.candidate.bid;
      this.slider.max = Math.max(SLIDER_MAX, Number(this.slider.max), bid);
      if (document.activeElement !== this.slider) this.slider.value = bid;
      if (document.activeElement !== this.exact) this.exact.value = bid;
    }
    const figures = place === null ? [] : [["CTR", ctr(place.ad.ctr)], ["eCPM", number(place.ad.ecpm, 4)]];
    if (place?.ad.price !== undefined) figures.push(["pays", number(place.ad.price, 4)]);
    this.figures.replaceChildren(
      ...figures.map(([what, value]) => make("div", {}, make("dt", {}, what), make("dd", {}, value))),
    );
  }
}
