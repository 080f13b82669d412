// Single runs, side by side: the pinned ones and the one that was taken last.
const PART = [["sampler", "method"], ["budget", "budget"], ["augment", "augmentation"], ["seed", "seed"]];
const FOUND = [
  ["accuracy", "test accuracy (%)", 2], ["best_accuracy", "best on the way (%)", 2], ["worst_class_accuracy", "worst class (%)", 2],
  ["loss", "test loss", 4], ["train_loss", "training loss", 4], ["training_seconds", "training and scoring (s)", 2],
  ["seconds_prepare", "preparation (s)", 2], ["passes_backward", "examples trained", 0], ["passes_forward_only", "scored only", 0],
  ["entropy", "entropy of the counts (nats)", 3], ["entropy_share", "as a share of log N", 4], ["coverage", "seen at least once", 4],
  ["unique_examples", "different examples", 0], ["effective_sample_size", "effective sample size", 0], ["acted", "how far it acted", 3],
];
const SLOTS = ["7 0", "6 4", "2 3"];  // dashes

function slots() {
  const found = state.pins.map((id, place) => ({row: byId.get(id), name: "AB"[place], pinned: true}));
  if (state.run && !state.pins.includes(state.run)) found.push({row: byId.get(state.run), name: found.length ? "taken" : "", pinned: false});
  return found.map((slot, place) => ({...slot, dash: SLOTS[place]}));
}

function drawRuns(host) {
  const shown = slots();
  host.hidden = !shown.length;
  if (!shown.length) return host.replaceChildren();
  const title = shown.length > 1 ? "Runs side by side" : "One run";
  host.replaceChildren(html("h2", {}, title),
    html("div", {class: "wide"}, html("table", {class: "runs"}, header(shown), body(shown))),
    html("div", {class: "curves"}, curve(shown, "accuracy", "test accuracy (%) over the budget spent"), curve(shown, "loss", "test loss over the budget spent"),
      ranks(shown)));
}

function header(shown) {
  return html("thead", {}, html("tr", {}, html("td"), shown.map(slot => {
    const {row} = slot, seeds = rows.filter(other => other.point === row.point);
    const choice = html("select", {"aria-label": `seed of run ${slot.name}`.trim(), onchange: event => replace(row.id, event.target.value)},
      seeds.map(other => html("option", {value: other.id, selected: other.id === row.id}, `seed ${other.of.seed}`)));
    return html("th", {scope: "col", "data-run": row.id},
      html("div", {}, slot.name ? html("span", {class: "slot"}, slot.name) : null, swatch(row.of.sampler), " ", labelOf(row.of.sampler)),
      html("div", {class: "deeds"}, choice,
        html("button", {type: "button", "aria-pressed": String(slot.pinned), "data-pin": row.id, onclick: () => pin(row.id)}, slot.pinned ? "Unpin" : "Pin"),
        slot.pinned ? null : html("button", {type: "button", "aria-label": "close this run", onclick: () => pick(null)}, "Close")));
  }), shown.length === 2 ? html("th", {scope: "col", class: "number"}, `${shown[1].name} ${MINUS} ${shown[0].name}`) : null));
}

function body(shown) {
  const line = (title, values, kind = "", more = null) => html("tr", {class: kind}, html("th", {scope: "row"}, title),
    values.map(value => html("td", {}, value)), shown.length === 2 ? html("td", {}, more) : null);
  const said = (row, name) => name === "budget" ? row.amount : plain(row.of[name]);
  const lines = PART.map(([name, title]) => {
    const values = shown.map(slot => said(slot.row, name));
    return line(title, values, distinct(values).length > 1 ? "differs" : "");
  });
  const others = ["study", "dataset", "model", ...held.others].filter(name => distinct(shown.map(slot => plain(slot.row.of[name]))).length > 1);
  lines.push(...others.map(name => line(name, shown.map(slot => said(slot.row, name)), "differs")));
  const verdicts = shown.map(slot => judged.get(slot.row.point)?.arm);
  if (verdicts.some(Boolean)) {
    lines.push(line("verdict against unif", verdicts.map(arm => arm ? `${arm.word}, ${signed(arm.difference)} over ${arm.seeds} seeds` : "")));
  }
  for (const [name, title, digits] of FOUND) {
    const values = shown.map(slot => slot.row.of[name]);
    if (values.every(value => typeof value !== "number")) continue;
    const text = value => typeof value === "number" ? digits ? fixed(value, digits) : count(value) : "";
    const both = values.length === 2 && values.every(value => typeof value === "number");
    const gap = both ? values[1] - values[0] : null;
    lines.push(line(title, values.map(text), "number", both ? (gap > 0 ? "+" : "") + (digits ? fixed(gap, digits) : count(gap).replace("-", MINUS)) : ""));
  }
  const settings = columns.filter(name => !PART.some(([own]) => own === name) && !FOUND.some(([own]) => own === name));
  const rest = html("tr", {}, html("td", {colspan: shown.length + 1 + (shown.length === 2)}, html("details", {},
    html("summary", {}, "all settings, versions and costs"),
    html("dl", {}, settings.map(name => [html("dt", {}, name), html("dd", {}, distinct(shown.map(slot => plain(slot.row.of[name]))).join(" | "))]).flat()))));
  return html("tbody", {}, lines, rest);
}

// Lines of runs over a share of something; the names stand at their ends.
function lines(title, all, {low, high, tick, below}) {
  const width = 330, height = 210, edge = {left: 46, right: 44, top: 8, bottom: 38}, bottom = height - edge.bottom;
  const x = linear(0, 1, edge.left, width - edge.right), y = linear(low, high, bottom, edge.top);
  const made = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title});
  for (const one of niceTicks(low, high, 5)) {
    made.append(svg("line", {class: "grid", x1: edge.left, x2: width - edge.right, y1: y(one), y2: y(one)}),
      svg("text", {class: "tick", x: edge.left - 6, y: y(one) + 4, "text-anchor": "end"}, tick(one)));
  }
  for (const one of [0, 0.5, 1]) made.append(svg("text", {class: "tick", x: x(one), y: bottom + 16, "text-anchor": "middle"}, `${100 * one}%`));
  made.append(svg("text", {class: "name", x: (x(0) + x(1)) / 2, y: height - 5, "text-anchor": "middle"}, below));
  for (const one of all) {
    const places = one.values.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    made.append(svg("polyline", {class: `line ${one.faint ? "faint" : ""}`, style: `--c: ${one.color}`, "stroke-dasharray": one.dash, points: places.join(" ")}));
    if (!one.faint && places.length === 1) made.append(svg("g", {transform: `translate(${places[0]})`}, shape("dot", one.color)));
  }
  const ends = all.filter(one => one.name && one.values.length).map(one => ({name: one.name, color: one.color, y: y(one.values.at(-1)[1])}));
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((end, place) => { if (place) end.y = Math.max(end.y, ends[place - 1].y + 17); });
  const over = Math.max(0, (ends.at(-1)?.y ?? 0) - bottom);
  for (const end of ends) made.append(svg("text", {class: "end", style: `--c: ${end.color}`, x: x(1) + 5, y: end.y - over + 4}, end.name));
  return html("figure", {}, html("figcaption", {}, title), made);
}

function curve(shown, name, title) {
  const all = [];
  for (const {row, dash, name: slot} of shown) {
    for (const other of rows.filter(one => one.point === row.point)) {
      const past = held.past[other.number], own = other === row;
      if (!past || !past[name] || (!own && shown.length > 1)) continue;
      const values = past.t.map((at, place) => [at, past[name][place]]).filter(([at, value]) => at !== null && value !== null);
      all.push({values, color: colorOf(row.of.sampler), dash: own ? dash : "", faint: !own, name: own ? slot : ""});
    }
  }
  all.sort((a, b) => b.faint - a.faint);
  const seen = all.flatMap(one => one.values.map(([, value]) => value));
  if (!seen.length) return html("figure", {}, html("figcaption", {}, title), html("p", {class: "soft"}, "This run keeps no history."));
  const low = Math.min(...seen), high = Math.max(...seen), pad = 0.06 * (high - low || high || 1);
  const few = all.some(one => one.faint) ? `${title}; faint: its other seeds` : title;
  return lines(few, all, {low: Math.max(name === "loss" ? 0 : -Infinity, low - pad), high: high + pad, tick: short, below: "budget spent"});
}

function ranks(shown) {
  const all = shown.filter(slot => held.ranks[slot.row.number]).map(({row, dash, name}) => {
    const counts = held.ranks[row.number];
    return {values: counts.map((value, place) => [place / (counts.length - 1), value]), color: colorOf(row.of.sampler), dash, name};
  });
  const title = "how often each example was trained";
  if (!all.length) return html("figure", {}, html("figcaption", {}, title), html("p", {class: "soft"}, "This run keeps no counts."));
  const high = Math.max(...all.flatMap(one => one.values.map(([, value]) => value)), 1);
  return lines(title, all, {low: 0, high: 1.06 * high, tick: short, below: "examples, most trained first"});
}
