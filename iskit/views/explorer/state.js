// What is shown: kept in the page's address, so that a link opens a view.
const ONE = ["study", "dataset", "model", ...held.others];  // of each one value, or all
const MANY = {augment: row => row.of.augment, sampler: row => row.of.sampler, budget: row => row.amount};
const SHOW = {accuracy: "Accuracy", seconds: "Seconds", variety: "Variety", verdicts: "Verdicts"};
const ALONG = {budget: "budget", examples: "examples trained", passes: "forward and backward passes",
  seconds: "seconds", variety: "effective number of images"};
const PINS = 2;
const framed = location.protocol === "about:";  // within a notebook: its address is not ours
const ALL = "all";

const largest = held.studies.reduce((best, one) => one.runs > best.runs ? one : best);
const fresh = () => ({one: {study: largest.name}, many: {}, show: "accuracy", along: "budget", paper: false,
  each: false, run: null, pins: []});
let state = fresh();

// A value of a link that this page does not know is told, and passed over.
function read(text) {
  const given = new URLSearchParams(text.replace(/^#/, "")), found = fresh(), unknown = [];
  const choice = (name, among) => {
    const value = given.get(name);
    if (value === null) return;
    if (Object.hasOwn(among, value)) found[name] = value;
    else unknown.push(`${name}=${value}`);
  };
  choice("show", SHOW);
  choice("along", ALONG);
  found.paper = given.get("paper") === "1";
  found.each = given.get("each") === "1";
  for (const name of ONE) {
    const value = given.get(name);
    if (value === null) continue;
    if (value === "") delete found.one[name];
    else if (rows.some(row => plain(row.of[name]) === value)) found.one[name] = value;
    else unknown.push(`${name}=${value}`);
  }
  for (const [name, of] of Object.entries(MANY)) {
    if (!given.has(name)) continue;
    const values = given.getAll(name), there = values.filter(value => rows.some(row => of(row) === value));
    unknown.push(...values.filter(value => value && !there.includes(value)).map(value => `${name}=${value}`));
    if (there.length || values.every(value => !value)) found.many[name] = new Set(there);
  }
  const runs = [...given.getAll("run").slice(0, 1), ...given.getAll("pin").slice(0, PINS)];
  unknown.push(...runs.filter(id => !byId.has(id)).map(id => `run ${id}`));
  found.run = byId.has(given.get("run")) ? given.get("run") : null;
  found.pins = given.getAll("pin").filter(id => byId.has(id)).slice(0, PINS);
  state = found;
  return unknown;
}

function written() {
  const text = new URLSearchParams(), standard = fresh();
  for (const name of ONE) {
    if (state.one[name] !== standard.one[name]) text.set(name, state.one[name] ?? "");
  }
  for (const [name, values] of Object.entries(state.many)) {
    for (const value of values.size ? values : [""]) text.append(name, value);
  }
  for (const name of ["show", "along"]) if (state[name] !== standard[name]) text.set(name, state[name]);
  for (const name of ["paper", "each"]) if (state[name]) text.set(name, "1");
  if (state.run) text.set("run", state.run);
  for (const id of state.pins) text.append("pin", id);
  return text.toString();
}

const distinct = values => [...new Set(values)];
function inOrder(values) {
  const found = distinct(values);
  return found.every(value => typeof value === "number") ? found.sort((a, b) => a - b) : found;
}

// What tells runs apart, without what follows from the rest: a study that has its own epochs is told by its name.
function telling(runs) {
  const kept = [];
  for (const name of ONE.filter(name => runs.some(row => row.of[name] !== runs[0].of[name]))) {
    const seen = new Map();
    const follows = runs.every(row => {
      const key = JSON.stringify(kept.map(other => row.of[other])), value = plain(row.of[name]);
      if (!seen.has(key)) seen.set(key, value);
      return seen.get(key) === value;
    });
    if (!follows) kept.push(name);
  }
  return kept;
}

function offered(options, task) {
  const own = telling(task);
  return ONE.filter(name => options[name].length > 1 &&
    (["study", "dataset", "model"].includes(name) || own.includes(name) || state.one[name] !== undefined));
}

// The runs that are chosen, and what each control may offer: one after the other, so that none leads nowhere.
function narrowed() {
  let left = rows;
  const options = {};
  for (const name of ONE) {
    options[name] = inOrder(left.map(row => row.of[name]));
    const wanted = state.one[name];
    if (wanted !== undefined && options[name].some(value => plain(value) === wanted)) {
      left = left.filter(row => plain(row.of[name]) === wanted);
    }
  }
  const task = left, kept = {};
  for (const [name, of] of Object.entries(MANY)) {
    options[name] = name === "budget" ? held.amounts.filter(value => task.some(row => row.amount === value))
      : distinct(task.map(of));
    const wanted = state.many[name];
    const there = wanted && (wanted.size === 0 || options[name].some(value => wanted.has(value)));
    kept[name] = there ? wanted : null;
    if (there) left = left.filter(row => wanted.has(of(row)));
  }
  return {chosen: left, options, kept, vary: telling(left), offered: offered(options, task)};
}
