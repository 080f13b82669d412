"use strict";
// What the page holds, and the means over seeds: the same as iskit.over_seeds gives.
const held = JSON.parse(document.getElementById("held").textContent);
const columns = Object.keys(held.columns);
const decoded = column => Array.isArray(column) ? column : column.at.map(place => column.words[place]);
const tables = columns.map(name => decoded(held.columns[name]));
const amounts = decoded(held.amount);

// of: the columns of iskit.results; point: the configuration, shared by the seeds.
const rows = held.point.map((point, number) => {
  const of = Object.fromEntries(columns.map((name, place) => [name, tables[place][number]]));
  return {of, point, number, amount: amounts[number], id: `${of.study}/${of.path.split("/").at(-1)}`};
});
const byId = new Map(rows.map(row => [row.id, row]));

const known = (runs, name) => runs.map(run => run.of[name]).filter(value => value !== null && value !== undefined);
const mean = values => values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
function deviation(values) {
  if (values.length < 2) return null;
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
}
function median(values) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function overSeeds(runs) {
  const groups = new Map();
  for (const run of runs) {
    if (groups.has(run.point)) groups.get(run.point).push(run);
    else groups.set(run.point, [run]);
  }
  return [...groups].map(([point, same]) => {
    const entropy = mean(known(same, "entropy"));
    return {
      point, runs: same, of: same[0].of, amount: same[0].amount,
      accuracy: mean(known(same, "accuracy")), deviation: deviation(known(same, "accuracy")),
      seeds: new Set(known(same, "seed")).size,
      seconds: median(known(same, "training_seconds")), speedup: mean(known(same, "speedup")),
      backward: mean(known(same, "passes_backward")),
      equivalent_budget: mean(known(same, "equivalent_budget")),
      entropy, entropy_share: mean(known(same, "entropy_share")), coverage: mean(known(same, "coverage")),
      effective: entropy === null ? null : Math.exp(entropy),
    };
  });
}

// By point: its word against unif, and the paper's accuracy in the same place under the same protocol.
const judged = new Map(), inPaper = new Map();
for (const family of held.families) {
  if (!family.of_unif || family.measure !== "accuracy") continue;
  for (const arm of family.arms) {
    for (const point of arm.points) if (!judged.has(point)) judged.set(point, {family, arm});
  }
}
for (const cell of held.paper) for (const point of cell.points) if (!inPaper.has(point)) inPaper.set(point, cell);

const method = spec => spec.split("(")[0];
const isFull = spec => method(spec) === "sgd";
const labelOf = spec => held.samplers[spec].label;
const colorOf = spec => isFull(spec) ? "var(--text)" : held.samplers[spec].color;
const DASHES = {solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3"};
const dashOf = spec => DASHES[held.dashes[spec]];

const MINUS = "\u2212";
const fixed = (value, digits = 2) => value === null || value === undefined ? "" :
  value.toFixed(digits).replace("-", MINUS);
const signed = value => value === null ? "∞" : (value < 0 ? "" : "+") + fixed(value);
const percent = value => value === null ? "" : `${fixed(100 * value, 1)} %`;
// Made once: one for each number would take much of a figure's time.
const WHOLE = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const COMPACT = new Intl.NumberFormat("en", {notation: "compact", maximumSignificantDigits: 3});
const count = value => value === null ? "" : WHOLE.format(Math.round(value) + 0).replace("-", MINUS);
const short = value => COMPACT.format(value + 0).replace("-", MINUS);
const plain = value => value === null || value === undefined ? "none" : String(value);
