// A measure along a cost: a panel an augmentation (and whatever else tells runs apart), a line a method.
const SHARE = "forward and backward passes (share of the full run's)";
const MEASURES = {
  accuracy: {value: point => point.accuracy, title: "Test accuracy (%)", tick: value => `${Number(value.toFixed(4))}`},
  seconds: {value: point => point.seconds, title: "Training and scoring (s)", tick: short},
  variety: {value: point => point.effective, title: "Effective number of images, exp(H)", tick: short},
};
const COSTS = {
  budget: {value: point => point.of.budget, title: unit => held.texts.budgets[unit] ?? "budget"},
  examples: {value: point => point.backward, title: () => "examples trained"},
  passes: {value: point => point.equivalent_budget, title: () => SHARE},
  seconds: {value: point => point.seconds, title: () => "training and scoring (s)"},
  variety: {value: point => point.effective, title: () => "effective number of images, exp(H)"},
};
const MOST_PANELS = 12;

const cited = cell => `the paper, ${cell.table}: ${fixed(cell.accuracy)} ± ${fixed(cell.deviation)} %`;

function told(point) {
  const found = judged.get(point.point), theirs = inPaper.get(point.point);
  return [
    `${labelOf(point.of.sampler)}, ${point.amount}`,
    `${fixed(point.accuracy)}${point.deviation === null ? "" : ` ± ${fixed(point.deviation)}`} %, ` +
      `${point.seeds} seed${point.seeds === 1 ? "" : "s"}`,
    `${fixed(point.seconds)} s, ${count(point.effective)} images (${percent(point.entropy_share)} of log N)`,
    found ? `${found.arm.word}: ${signed(found.arm.difference)} to unif` : null,
    state.paper && theirs ? cited(theirs) : null,
  ].filter(Boolean);
}

function drawPanels(host, points, vary) {
  const measure = MEASURES[state.show], cost = COSTS[state.along];
  const panels = new Map();
  for (const point of points) {
    const title = [point.of.augment, ...vary.map(name => `${name}=${plain(point.of[name])}`)].join(", ");
    if (panels.has(title)) panels.get(title).push(point);
    else panels.set(title, [point]);
  }
  const shown = [...panels].slice(0, MOST_PANELS), room = host.clientWidth;
  const fit = Math.min(shown.length, room >= 1150 ? 3 : room >= 640 ? 2 : 1);
  const columns = shown.length === 4 && fit === 3 ? 2 : fit;  // two and two
  host.style.setProperty("--across", columns);
  const width = Math.floor((room - 20 * (columns - 1)) / columns), height = columns === 1 && room > 640 ? 420 : 290;
  const seen = shown.flatMap(([, here]) => here);
  const ends = seen.flatMap(point => {
    const theirs = state.paper && state.show === "accuracy" ? inPaper.get(point.point) : null;
    const middle = measure.value(point);
    if (middle === null) return [];
    const spread = state.show === "accuracy" ? point.deviation ?? 0 : 0;
    const each = state.each ? point.runs.map(run => single(run, state.show)) : [];
    const high = spread ? 100 - Math.max(error(middle) - spread, 0.1 * error(middle)) : middle;
    return [middle - spread, high, ...each, ...(theirs ? [theirs.accuracy] : [])].filter(value => value !== null);
  });
  // Budgets in seconds and in shares have an axis each.
  const reaches = unit => {
    const alike = seen.filter(point => state.along !== "budget" || point.of.unit === unit).map(cost.value);
    return {nearest: Math.min(...alike), furthest: Math.max(...alike, 0)};
  };
  const span = unit => ({low: Math.min(...ends), high: Math.max(...ends), ...reaches(unit)});
  const specs = distinct(points.map(point => point.of.sampler)).filter(spec => !isFull(spec));
  host.replaceChildren(...shown.map(([title, here]) => html("figure", {},
    html("figcaption", {}, title), panel(here, span(here[0].of.unit), {measure, cost, width, height, specs}))));
  if (panels.size > MOST_PANELS) {
    const more = panels.size - MOST_PANELS;
    host.append(html("p", {class: "soft"}, `${more} panel${more > 1 ? "s" : ""} more: choose a study or a data set.`));
  }
}

const single = (run, show) => ({accuracy: run.of.accuracy, seconds: run.of.training_seconds,
  variety: run.of.entropy === null ? null : Math.exp(run.of.entropy)})[show];
const singleCost = run => COSTS[state.along].value({of: run.of, backward: run.of.passes_backward,
  equivalent_budget: run.of.equivalent_budget, seconds: run.of.training_seconds, effective: Math.exp(run.of.entropy)});

function panel(points, span, {measure, cost, width, height, specs}) {
  const edge = {left: 46, right: 14, top: 10, bottom: 42};
  const bottom = height - edge.bottom, end = width - edge.right;
  const unit = points[0].of.unit, share = state.along === "passes" || (state.along === "budget" && unit !== "seconds");
  const room = {low: span.low, high: span.high};
  if (state.show !== "accuracy") {
    room.low = state.show === "seconds" ? 0 : span.low - 0.06 * (span.high - span.low);
    room.high = span.high + 0.06 * (span.high - span.low || span.high || 1);
  }
  const y = state.show === "accuracy" ? errorScale(room.low, room.high, bottom, edge.top)
    : {scale: linear(room.low, room.high, bottom, edge.top), ticks: niceTicks(room.low, room.high, 6)};
  // Varied as images are, their number has no use for an axis that begins at 0.
  const least = state.along === "variety" ? span.nearest : 0, most = span.furthest;
  const pad = 0.05 * (most - least || most || 1);
  const ratio = state.along !== "variety" && span.nearest > 0 && span.furthest / span.nearest > 3;
  const x = ratio ? logarithmic(span.nearest, span.furthest, edge.left + 18, width - edge.right - 18)
    : linear(least - (state.along === "variety" ? pad : 0), most + pad, edge.left, width - edge.right);
  const budgets = distinct(points.map(cost.value)).sort((a, b) => a - b);
  const own = state.along === "budget" && budgets.length <= 8;
  const few = Math.max(3, Math.floor(width / 90));
  const spread = ratio ? decades(span.nearest, span.furthest) : niceTicks(least, most, few);
  const ticks = (own ? budgets : spread).filter((tick, place, all) => !place || x(tick) - x(all[place - 1]) > 26);
  const made = svg("svg", {width, height, role: "group", "aria-label": `${measure.title} along ${cost.title(unit)}`});
  for (const tick of y.ticks) {
    made.append(rule("grid", edge.left, y.scale(tick), end, y.scale(tick)),
      words("tick", edge.left - 7, y.scale(tick) + 4, "end", measure.tick(tick)));
  }
  for (const tick of ticks) {
    made.append(rule("grid", x(tick), bottom, x(tick), bottom + 4),
      words("tick", x(tick), bottom + 17, "middle", share ? `${Number((100 * tick).toFixed(1))}%` : short(tick)));
  }
  made.append(rule("axis", edge.left, bottom, end, bottom),
    words("name", (edge.left + end) / 2, height - 5, "middle", cost.title(unit)));
  // At one budget methods stand beside each other.
  const step = state.along === "budget" ? Math.min(9, 54 / specs.length) : 0;
  const aside = spec => isFull(spec) ? 0 : (specs.indexOf(spec) - (specs.length - 1) / 2) * step;
  const places = point => [Math.min(Math.max(x(cost.value(point)) + aside(point.of.sampler), edge.left + 5), width - 8),
    y.scale(measure.value(point))];
  const back = svg("g"), front = svg("g");
  made.append(back, front);
  for (const spec of distinct(points.map(point => point.of.sampler))) {
    const own = points.filter(point => point.of.sampler === spec);
    const line = own.filter(point => measure.value(point) !== null && cost.value(point) !== null);
    line.sort((a, b) => a.of.budget - b.of.budget);
    const color = colorOf(spec);
    if (isFull(spec) && line.length) {
      const level = places(line[0])[1];
      back.append(rule("full", edge.left, level, end, level));
    }
    if (line.length > 1) {
      const along = line.map(point => places(point).map(value => value.toFixed(1)).join(","));
      back.append(strand("line", along, color, dashOf(spec)));
    }
    for (const point of line) front.append(...marksOf(point, places(point), {color, y, x, aside: aside(spec)}));
  }
  return made;
}

function marksOf(point, [left, top], {color, y, x, aside}) {
  const made = [], theirs = state.paper && state.show === "accuracy" ? inPaper.get(point.point) : null;
  if (theirs) {
    made.push(svg("g", {transform: `translate(${left + 7} ${y.scale(theirs.accuracy)})`, class: "theirs"},
      svg("title", {}, cited(theirs)),
      svg("path", {d: SHAPES.diamond})));
  }
  if (state.each) {
    for (const run of point.runs) {
      const value = single(run, state.show);
      if (value === null) continue;
      made.push(svg("circle", {class: "each", style: inked(color), r: 2.6, cx: x(singleCost(run)) + aside,
        cy: y.scale(value), "data-run": run.id, onclick: () => pick(run.id)}));
    }
  } else if (state.show === "accuracy" && point.deviation !== null) {
    const low = y.scale(point.accuracy - point.deviation);
    const high = y.scale(100 - Math.max(error(point.accuracy) - point.deviation, 0.1 * error(point.accuracy)));
    made.push(trace("bars", `M${left},${low}V${high}M${left - 3},${low}h6M${left - 3},${high}h6`, color));
  }
  const found = judged.get(point.point), spec = point.of.sampler;
  const kind = isFull(spec) ? "diamond" : state.show === "accuracy" && found ? found.arm.shape : "dot";
  const picked = point.runs.some(run => run.id === state.run || state.pins.includes(run.id));
  const group = svg("g", {transform: `translate(${left.toFixed(1)} ${top.toFixed(1)})`, "data-point": point.point},
    svg("circle", {r: 11, class: "hit"}), picked ? svg("circle", {r: 9, class: "picked"}) : null, shape(kind, color));
  made.push(takeable(group, told(point).join("; "), () => told(point), () => pick(first(point).id)));
  return made;
}

const lowest = runs => runs.reduce((low, run) => run.of.seed < low.of.seed ? run : low);
const first = point => lowest(point.runs);
