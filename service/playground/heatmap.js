// Activation weights as a map: ads by rank downwards, behaviours from old to new to the right.

import { make } from "./elements.js";

const MOST_BEHAVIOURS = 200; // the newest so many are drawn

/** Weights minus their behaviour's mean over the ads: the part specific to each ad. */
export function apartFromMean(rows) {
  const means = rows[0].weights.map((_, place) => rows.reduce((sum, row) => sum + row.weights[place], 0) / rows.length);
  return rows.map((row) => row.weights.map((weight, place) => weight - means[place]));
}

/**
 * One answer's map. `colours` has a number for every weight where that is not the weight itself. `rows` are {name, weights} by rank, `behaviours` names oldest first, `read` is told what a cell says.
 */
export function heatMap({ caption, rows, behaviours, colours, read }) {
  const first = Math.max(0, behaviours.length - MOST_BEHAVIOURS);
  const shown = colours ?? rows.map((row) => row.weights);
  const strongest = Math.max(...shown.flatMap((line) => line.slice(first).map(Math.abs)), 0);
  const body = make("tbody");
  const cells = [];
  rows.forEach((row, down) => {
    const line = make("tr", {}, make("th", { scope: "row" }, row.name));
    cells.push([]);
    for (let place = first; place < behaviours.length; place += 1) {
      const weight = row.weights[place];
      const cell = make("td", {
        tabIndex: -1,
        className: shown[down][place] < 0 ? "negative" : "positive",
        title: `${behaviours[place]} × ${row.name}: ${weight.toFixed(3)}`,
      }, make("span", { className: "unseen" }, weight.toFixed(3)));
      cell.style.setProperty("--strength", strongest ? Math.abs(shown[down][place]) / strongest : 0);
      const tell = () => read(`${row.name}: “${behaviours[place]}”, ${age(behaviours.length - 1 - place)}, has weight ${weight.toFixed(3)}`);
      cell.addEventListener("focus", tell);
      cell.addEventListener("pointerenter", tell);
      cells[down].push(cell);
      line.append(cell);
    }
    body.append(line);
  });
  const table = make("table", { className: "heat" }, make("caption", {}, caption), body);
  if (cells[0]?.length) walkByKeys(table, cells);
  return make("div", { className: "heat-frame" }, table);
}

function age(before) {
  return before === 0 ? "the newest behaviour" : `${before} before the newest`;
}

/** One stop for the tabulator key; arrows, Home and End move within. */
function walkByKeys(table, cells) {
  let here = [0, cells[0].length - 1];
  const cell = () => cells[here[0]][here[1]];
  cell().tabIndex = 0;
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -1e9], End: [0, 1e9] };
  const within = (value, size) => Math.min(size - 1, Math.max(0, value));
  table.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    move([within(here[0] + step[0], cells.length), within(here[1] + step[1], cells[0].length)]);
    cell().focus();
  });
  table.addEventListener("focusin", (event) => {
    const down = cells.findIndex((line) => line.includes(event.target));
    if (down >= 0) move([down, cells[down].indexOf(event.target)]);
  });
  function move(there) {
    cell().tabIndex = -1;
    here = there;
    cell().tabIndex = 0;
  }
}
