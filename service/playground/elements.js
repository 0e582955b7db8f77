// Small helpers to build the page. Texts are only ever set as text, never as markup.

/** An element with properties and children: make("li", { className: "ad" }, "text", child). */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** An item's title, or its id where it has none. */
export const nameOf = (item) => item.title || item.item_id;

/** "Title" with its id beside it, or the id alone. */
export function nameWithId(item) {
  return item.title
    ? [make("span", { className: "title" }, item.title), " ", make("span", { className: "id" }, item.item_id)]
    : [make("span", { className: "title id" }, item.item_id)];
}

export const number = (value, digits) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** A few significant digits, so that small CTRs can be told apart. */
export const ctr = (value) => (value >= 0.01 ? number(value, 4) : value.toPrecision(3));
