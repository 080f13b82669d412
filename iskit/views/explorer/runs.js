// Single runs, side by side: the pinned ones and the one that was taken last.
const PART = [["sampler", "method"], ["budget", "budget"], ["augment", "augmentation"], ["seed", "seed"]];
const FOUND = [  // column, what it is, digits
  ["accuracy", "test accuracy (%)", 2], ["best_accuracy", "best on the way (%)", 2],
  ["worst_class_accuracy", "worst class (%)", 2], ["loss", "test loss", 4], ["train_loss", "training loss", 4],
  ["training_seconds", "training and scoring (s)", 2], ["seconds_prepare", "preparation (s)", 2],
  ["passes_backward", "examples trained", 0], ["passes_forward_only", "scored only", 0],
  ["entropy", "entropy of the counts (nats)", 3], ["entropy_share", "as a share of log N", 4],
  ["coverage", "seen at least once", 4], ["unique_examples", "different examples", 0],
  ["effective_sample_size", "effective sample size", 0], ["acted", "how far it acted", 3],
];
const SLOTS = ["7 0", "6 4", "2 3"];  // dashes

function slots() {
  const found = state.pins.map((id, place) => ({row: byId.get(id), name: "AB"[place], pinned: true}));
  if (state.run && !state.pins.includes(state.run)) {
    found.push({row: byId.get(state.run), name: found.length ? "taken" : "", pinned: false});
  }
  return found.map((slot, place) => ({...slot, dash: SLOTS[place]}));
}

function drawRuns(host) {
  const shown = slots();
  host.hidden = !shown.length;
  host.replaceChildren(...shown.length ? [
    html("h2", {}, shown.length > 1 ? "Runs side by side" : "One run"),
    html("div", {class: "wide"}, html("table", {class: "runs"}, header(shown), body(shown))),
    html("div", {class: "curves"}, curve(shown, "accuracy", "test accuracy (%)"), curve(shown, "loss", "test loss"),
      ranks(shown)),
  ] : []);
}

function header(shown) {
  const both = shown.length === 2 ? `${shown[1].name} ${MINUS} ${shown[0].name}` : null;
  return html("thead", {}, html("tr", {}, html("td"), shown.map(head),
    both ? html("th", {scope: "col", class: "number"}, both) : null));
}

function head({row, name, pinned}) {
  const seeds = rows.filter(other => other.point === row.point);
  const label = {"aria-label": `seed of run ${name}`.trim(), onchange: event => replace(row.id, event.target.value)};
  const pinning = {type: "button", "aria-pressed": String(pinned), "data-pin": row.id, onclick: () => pin(row.id)};
  const closing = {type: "button", "aria-label": "close this run", onclick: () => pick(null)};
  return html("th", {scope: "col", "data-run": row.id},
    html("div", {}, name ? html("span", {class: "slot"}, name) : null,
      swatch(row.of.sampler), " ", labelOf(row.of.sampler)),
    html("div", {class: "deeds"},
      html("select", label, seeds.map(other =>
        html("option", {value: other.id, selected: other.id === row.id}, `seed ${other.of.seed}`))),
      html("button", pinning, pinned ? "Unpin" : "Pin"), pinned ? null : html("button", closing, "Close")));
}

function body(shown) {
  const two = shown.length === 2, values = name => shown.map(slot => slot.row.of[name]);
  const line = (title, texts, kind = "", gap = "") => html("tr", {class: kind}, html("th", {scope: "row"}, title),
    texts.map(text => html("td", {}, text)), two ? html("td", {}, gap) : null);
  const said = name => name === "budget" ? shown.map(slot => slot.row.amount) : values(name).map(plain);
  const differ = name => distinct(said(name)).length > 1;
  const lines = PART.map(([name, title]) => line(title, said(name), differ(name) ? "differs" : ""));
  lines.push(...ONE.filter(differ).map(name => line(titleOf(name), said(name), "differs")));
  const arms = shown.map(slot => judged.get(slot.row.point)?.arm);
  if (arms.some(Boolean)) {
    lines.push(line("verdict against unif",
      arms.map(arm => arm ? `${arm.word}, ${signed(arm.difference)} over ${arm.seeds} seeds` : "")));
  }
  for (const [name, title, digits] of FOUND) {
    const found = values(name), numbers = found.filter(value => typeof value === "number");
    if (!numbers.length) continue;
    const text = value => typeof value !== "number" ? "" : digits ? fixed(value, digits) : count(value);
    const gap = two && numbers.length === 2 ? numbers[1] - numbers[0] : null;
    lines.push(line(title, found.map(text), "number", gap === null ? "" : (gap > 0 ? "+" : "") + text(gap)));
  }
  const told = new Set([...PART, ...FOUND].map(([name]) => name));
  const others = columns.filter(name => !told.has(name)).flatMap(name =>
    [html("dt", {}, name), html("dd", {}, distinct(values(name).map(plain)).join(" | "))]);
  return html("tbody", {}, lines, html("tr", {}, html("td", {colspan: shown.length + 1 + two}, html("details", {},
    html("summary", {}, "all settings, versions and costs"), html("dl", {}, others)))));
}

// Lines of runs over a share of something; the names stand at their ends.
function lines(title, all, {low, high, below}) {
  const width = 330, height = 216, edge = {left: 46, right: 44, top: 8, bottom: 43};
  const bottom = height - edge.bottom, end = width - edge.right;
  const x = linear(0, 1, edge.left, end), y = linear(low, high, bottom, edge.top);
  const made = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title});
  for (const tick of niceTicks(low, high, 5)) {
    made.append(rule("grid", edge.left, y(tick), end, y(tick)),
      words("tick", edge.left - 6, y(tick) + 4, "end", short(tick)));
  }
  for (const share of [0, 0.5, 1]) made.append(words("tick", x(share), bottom + 20, "middle", `${100 * share}%`));
  made.append(words("name", x(0.5), height - 5, "middle", below));
  for (const one of all) {
    const places = one.values.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    made.append(strand(one.faint ? "line faint" : "line", places, one.color, one.dash));
    if (places.length === 1) made.append(svg("g", {transform: `translate(${places[0]})`}, shape("dot", one.color)));
  }
  const ends = all.filter(one => one.name && one.values.length)
    .map(one => ({name: one.name, color: one.color, y: y(one.values.at(-1)[1])})).sort((a, b) => a.y - b.y);
  ends.forEach((one, place) => { if (place) one.y = Math.max(one.y, ends[place - 1].y + 17); });
  const over = Math.max(0, (ends.at(-1)?.y ?? 0) - bottom + 8);
  for (const one of ends) {
    made.append(svg("text", {class: "end", style: inked(one.color), x: end + 5, y: one.y - over + 4}, one.name));
  }
  return html("figure", {}, html("figcaption", {}, title), made);
}

const missing = (title, text) => html("figure", {}, html("figcaption", {}, title), html("p", {class: "soft"}, text));

function curve(shown, name, title) {
  const all = [];
  for (const {row, dash, name: slot} of shown) {
    // Alone, it stands among the other seeds.
    for (const other of shown.length > 1 ? [row] : rows.filter(one => one.point === row.point)) {
      const past = held.past[other.number], own = other === row;
      if (!past?.[name]) continue;
      const values = past.t.map((at, place) => [at, past[name][place]]);
      all.push({values: values.filter(([at, value]) => at !== null && value !== null), color: colorOf(row.of.sampler),
        dash: own ? dash : "", faint: !own, name: own ? slot : ""});
    }
  }
  all.sort((a, b) => b.faint - a.faint);
  const seen = all.flatMap(one => one.values.map(([, value]) => value));
  if (!seen.length) return missing(title, "This run keeps no history.");
  const low = Math.min(...seen), high = Math.max(...seen), pad = 0.06 * (high - low || high || 1);
  return lines(all.some(one => one.faint) ? `${title}; faint: its other seeds` : title, all,
    {low: Math.max(name === "loss" ? 0 : -Infinity, low - pad), high: high + pad, below: "budget spent"});
}

function ranks(shown) {
  const title = "how often each example was trained";
  const all = shown.filter(slot => held.ranks[slot.row.number]).map(({row, dash, name}) => {
    const counts = held.ranks[row.number], values = counts.map((value, place) => [place / (counts.length - 1), value]);
    return {values, color: colorOf(row.of.sampler), dash, name};
  });
  if (!all.length) return missing(title, "This run keeps no counts.");
  const high = Math.max(...all.flatMap(one => one.values.map(([, value]) => value)), 1);
  return lines(title, all, {low: 0, high: 1.06 * high, below: "examples, most trained first"});
}
