// Every verdict of the study: difference to its reference, interval, word; the paper's gaps beside it.
function drawVerdicts(host, points) {
  const shown = new Set(points.map(point => point.point)), studies = new Set(points.map(point => point.of.study));
  const families = held.families.filter(family => studies.has(family.study))
    .map(family => ({...family, arms: family.arms.filter(arm => arm.points.some(point => shown.has(point)))}));
  const compared = families.filter(family => family.arms.length);
  if (!compared.length) {
    host.replaceChildren(html("p", {}, "Nothing here is held against anything: the verdict needs runs of unif beside " +
      "runs of another method, with the same budget, augmentation and seeds."));
    return;
  }
  const narrow = host.clientWidth < 640, last = host.clientWidth > 1150 ? 420 : 230;
  host.style.setProperty("--last", `${last}px`);
  const room = host.clientWidth - (narrow ? 210 : 330 + last);
  const x = reach(compared.flatMap(family => family.arms), room);
  const heads = ["method", axis(x, room), "verdict", ...(narrow ? [] : ["difference (interval)"])];
  const table = html("table", {class: "forest"}, html("thead", {}, html("tr", {}, heads.map((head, place) =>
    html("th", {scope: "col", class: place === 1 ? "bar" : null}, head)))));
  for (const family of compared) {
    const of = studies.size > 1 ? `${family.study}: ` : "";
    const base = ` against ${family.against}${family.measure === "accuracy" ? "" : `, ${family.measure}`}`;
    table.append(html("tbody", {},
      html("tr", {class: "family"}, html("th", {colspan: heads.length, scope: "rowgroup"}, `${of}${family.name}`,
        html("span", {class: "soft"}, base))),
      ...family.arms.map(arm => armRow(arm, family, x, room, narrow))));
  }
  host.replaceChildren(table);
}

// A range about 0 that one wide interval does not stretch so far that all others shrink to nothing.
function reach(arms, room) {
  const far = arms.map(arm => arm.high === null || arm.low === null ? 2 * Math.abs(arm.difference)
    : Math.max(Math.abs(arm.low), Math.abs(arm.high)));
  const middle = median(far), theirs = state.paper ? arms.flatMap(arm => arm.paper.map(one => Math.abs(one.gap))) : [];
  const most = Math.max(1, 1.05 * Math.min(Math.max(...far), 3 * middle), ...theirs.filter(gap => gap < 4 * middle));
  const scale = linear(-most, most, 8, room - 8);
  return {most, place: value => scale(Math.max(-most, Math.min(most, value ?? most)))};
}

function axis(x, room) {
  const made = svg("svg", {width: room, height: 20, role: "img", "aria-label": "points above the reference"});
  for (const tick of niceTicks(-x.most, x.most, Math.max(4, Math.floor(room / 70)))) {
    made.append(words("tick", x.place(tick), 14, "middle", tick > 0 ? `+${short(tick)}` : short(tick)));
  }
  return made;
}

// With a head where it goes on beyond the range.
function interval(arm, x, color) {
  const ends = [[arm.low, -1], [arm.high, 1]].filter(([end, side]) => end * side > x.most)
    .map(([end, side]) => `M${x.place(end) - 5 * side},7l${5 * side},5l${-5 * side},5`);
  return trace("line", `M${x.place(arm.low)},12H${x.place(arm.high)}${ends.join("")}`, color);
}

function armRow(arm, family, x, room, narrow) {
  const color = arm.sampler && family.of_unif ? colorOf(arm.sampler) : "var(--text)";
  const run = lowest(rows.filter(row => arm.points.includes(row.point)));
  const span = arm.low === null ? "no interval" : `${signed(arm.low)} to ${signed(arm.high)}`;
  const said = `${signed(arm.difference)} (${span})`;
  const gaps = state.paper ? arm.paper : [];
  const made = svg("svg", {width: room, height: 24, role: "img", "aria-label": `${said} points, ${arm.word}`},
    trace("margin", `M${x.place(-family.margin)},0H${x.place(family.margin)}v24H${x.place(-family.margin)}z`, color),
    rule("zero", x.place(0), 0, x.place(0), 24),
    arm.low === null ? null : interval(arm, x, color),
    gaps.map(one => svg("g", {class: "theirs", transform: `translate(${x.place(one.gap)} 12)`},
      svg("title", {}, `the paper, ${one.data}, ${one.table}: ${signed(one.gap)}`), svg("path", {d: SHAPES.diamond}))),
    svg("g", {transform: `translate(${x.place(arm.difference)} 12)`}, Math.abs(arm.difference) > x.most
      ? trace("line", `M${-9 * Math.sign(arm.difference)},-5L0,0L${-9 * Math.sign(arm.difference)},5`, color)
      : shape(arm.shape, color, arm.shape === "dot" ? {class: "mark dot open"} : {})));
  const theirs = gaps.map(one => `${one.data} ${signed(one.gap)}`).join(", ");
  const numbers = [said, theirs ? html("div", {class: "soft"}, `the paper: ${theirs}`) : null];
  const word = arm.shape === "cross" ? `${arm.word}, ${arm.collapsed} of ${arm.seeds}` : arm.word;
  const take = {type: "button", class: "name", "data-arm": run.id, onclick: () => pick(run.id)};
  return html("tr", {class: state.run === run.id ? "picked" : null},
    html("th", {scope: "row"}, html("button", take, arm.name)),
    html("td", {class: "bar"}, made),
    html("td", {class: `word ${arm.shape}`}, word,
      narrow ? html("div", {class: "soft"}, signed(arm.difference)) : null),
    narrow ? null : html("td", {class: "number"}, numbers));
}
