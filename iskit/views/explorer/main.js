// From what is chosen to what is drawn, and the deeds: take, pin, download, start over.
let unknown = [];

function change(how) {
  how();
  unknown = [];
  draw();
  const text = written();
  if (!framed) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function pick(id) {
  change(() => { state.run = id; });
  if (id) at("run").querySelector("h2")?.scrollIntoView({block: "nearest", behavior: "smooth"});
}
const pin = id => change(() => {
  if (state.pins.includes(id)) {
    state.pins = state.pins.filter(other => other !== id);
    state.run ??= id;
  } else state.pins = [...state.pins, id].slice(-PINS);
});
const replace = (before, after) => change(() => {
  if (state.run === before) state.run = after;
  state.pins = distinct(state.pins.map(id => id === before ? after : id));
});

function heading(points) {
  if (state.show === "verdicts") return "Differences to the reference, in points";
  return `${MEASURES[state.show].title} along ${COSTS[state.along].title(points[0]?.of.unit)}`;
}

// How to read the figure.
const READ = {
  verdicts: "Bars: intervals (95 %) that hold for a whole family together. ▲ better and ▼ worse are told apart by " +
    "the verdict's test; an open dot is not, however far out it lies. Shaded: the margin below which a difference " +
    "would not matter. An arrow leads beyond the axis.",
  accuracy: "▲ better, ▼ worse than unif at the same budget, told apart by the verdict; ● not told apart, or nothing " +
    "to hold it against; ◆ the full run.",
  seconds: "Points: medians over seeds.", variety: "Points: of the mean entropy over seeds.",
};

function key(points) {
  const parts = [READ[state.show]];
  if (state.show === "accuracy") {
    const bars = points.some(point => point.deviation !== null) ? "Bars: standard deviation over seeds."
      : "One seed each: no deviation, and nothing can be told apart.";
    parts.push(state.each ? "Small dots: single runs." : bars);
  }
  if (state.paper) parts.push(beside(new Set(points.map(point => point.point))));
  return parts.join(" ");
}

function beside(shown) {
  if (state.show === "verdicts") {
    const arms = held.families.flatMap(family => family.arms).filter(arm => arm.paper.length);
    if (!arms.some(arm => arm.points.some(one => shown.has(one)))) return "For nothing shown here has the paper a number.";
    return `◇ the paper's gaps to unif at the same place of its tables: of its own data sets and protocol (${held.protocol}).`;
  }
  if (state.show === "accuracy" && [...shown].some(one => inPaper.has(one))) {
    return "◇ the paper's, by the same protocol.";
  }
  return `The paper's numbers belong to another protocol (${held.protocol}): its gaps to unif are under Verdicts.`;
}

function drawFindings(points) {
  const there = new Set(points.map(point => point.of.study));
  const item = kind => text => html("li", {class: kind}, text);
  at("findings").replaceChildren(...held.studies.filter(study => there.has(study.name)).map(study => html("div", {},
    html("h2", {}, `What ${study.name}${study.shipped ? " (shipped)" : ""} found`),
    html("ul", {}, study.sentences.map(item()), study.notes.map(item("soft"))))));
}

function drawNumbers(points, vary) {
  const details = at("numbers"), host = details.querySelector("div");
  if (!details.open) return host.replaceChildren();
  const heads = ["method", "augmentation", "budget", ...vary.map(titleOf), "accuracy (%)", "deviation", "seeds",
    "seconds", "saved %", "entropy", "verdict against unif"];
  const texts = point => [point.of.augment, point.amount, ...vary.map(name => plain(point.of[name])),
    fixed(point.accuracy), fixed(point.deviation), String(point.seeds), fixed(point.seconds), fixed(point.speedup, 0),
    fixed(point.entropy, 3), judged.get(point.point)?.arm.word ?? ""];
  const take = point => ({type: "button", class: "name", onclick: () => pick(first(point).id)});
  host.replaceChildren(html("table", {},
    html("thead", {}, html("tr", {}, heads.map(head => html("th", {scope: "col"}, head)))),
    html("tbody", {}, points.map(point => html("tr", {},
      html("th", {scope: "row"}, html("button", take(point), labelOf(point.of.sampler))),
      texts(point).map(text => html("td", {}, text)))))));
}

const NOTHING = "Nothing is chosen: tick a method, an augmentation and a budget, or press Start over.";
let answered = 0;  // ms that the last change took, for those who measure
function draw() {
  const begun = performance.now(), focused = document.activeElement?.dataset?.point;
  hideTip();
  const found = narrowed(), points = overSeeds(found.chosen), figure = at("figure");
  drawControls(found);
  at("heading").textContent = heading(points);
  const runs = found.chosen.length;
  at("said").textContent = [
    unknown.length ? `This file does not hold what the link asks for: ${unknown.join(", ")}.` : "",
    runs ? `${runs} run${runs === 1 ? "" : "s"}, ${points.length} configuration${points.length === 1 ? "" : "s"}.` : "",
  ].filter(Boolean).join(" ");
  figure.className = state.show === "verdicts" ? "" : "panels";
  if (!runs) figure.replaceChildren(html("p", {class: "empty"}, NOTHING));
  else if (state.show === "verdicts") drawVerdicts(figure, points);
  else drawPanels(figure, points, found.vary);
  at("key").textContent = runs ? key(points) : "";
  at("csv").disabled = !runs;
  drawRuns(at("run"));
  drawFindings(points);
  drawNumbers(points, found.vary);
  const mark = focused && figure.querySelector(`[data-point="${focused}"]`);
  (mark || figure.querySelector(".takeable"))?.setAttribute("tabindex", 0);
  if (mark) mark.focus({preventScroll: true});
  if (framed) at("foot").querySelector("code").textContent = written() || "(nothing changed yet)";
  answered = performance.now() - begun;
}

function csv() {
  const quoted = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const cell = value => value === null || value === undefined ? "" : quoted(String(value));
  const lines = [columns, ...narrowed().chosen.map(row => columns.map(name => row.of[name]))];
  const file = new Blob([lines.map(line => line.map(cell).join(",")).join("\n") + "\n"], {type: "text/csv"});
  const link = html("a", {href: URL.createObjectURL(file), download: "iskit-runs.csv"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  at("said").textContent = `${lines.length - 1} runs are in iskit-runs.csv.`;
}

at("csv").addEventListener("click", csv);
at("reset").addEventListener("click", () => change(() => { state = fresh(); }));
at("numbers").addEventListener("toggle", draw);
keys(at("figure"));
addEventListener("hashchange", () => { unknown = read(location.hash); draw(); });
const whole = held.studies.length === 1 ? `the study ${held.studies[0].name}` : `${held.studies.length} studies`;
at("about").textContent = `${count(rows.length)} runs of ${whole}: click a point to see its run.`;
const gone = Object.entries(held.left_out);
at("foot").append(html("p", {}, framed ? "This view, for the notebook's parameter view or behind a page's #: " :
  "This page holds all its results: it needs no network, no server and no kernel. Its address is a link to this view.",
  framed ? html("code") : null),
...gone.map(([path, why]) => html("p", {}, `Left out: ${path}: ${why}`)));
unknown = read(framed ? held.view : location.hash || held.view);
if (matchMedia("(max-width: 900px)").matches) at("choices").open = false;
if (framed && frameElement) {
  const light = frameElement.ownerDocument.body.dataset.jpThemeLight;  // JupyterLab's, whatever the system's is
  if (light) document.documentElement.style.colorScheme = light === "true" ? "light" : "dark";
  const fit = () => { frameElement.style.height = `${document.documentElement.offsetHeight + 4}px`; };
  new ResizeObserver(fit).observe(document.body);
}
let width = 0;
new ResizeObserver(() => {
  if (at("figure").clientWidth === width) return;
  width = at("figure").clientWidth;
  draw();
}).observe(at("figure"));
draw();
