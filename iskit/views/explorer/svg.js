// Elements, scales and axes. Text enters by textContent alone.
function element(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined && child !== ""));
  return made;
}
const html = (name, attributes = {}, ...children) => element(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  element(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const inked = color => `--c: ${color}`;
const words = (kind, x, y, anchor, text) => svg("text", {class: kind, x, y, "text-anchor": anchor}, text);
const rule = (kind, x1, y1, x2, y2, color, dash) =>
  svg("line", {class: kind, x1, y1, x2, y2, style: color && inked(color), "stroke-dasharray": dash});
const trace = (kind, d, color) => svg("path", {class: kind, d, style: inked(color)});
const strand = (kind, places, color, dash) =>
  svg("polyline", {class: kind, points: places.join(" "), style: inked(color), "stroke-dasharray": dash});

function linear(low, high, start, end) {
  const span = high - low || 1;
  return value => start + (value - low) / span * (end - start);
}

const logarithmic = (low, high, start, end) => {
  const place = linear(Math.log(low), Math.log(high), start, end);
  return value => place(Math.log(value));
};
function decades(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const tick of [1, 2, 5].map(factor => factor * 10 ** power)) {
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

function niceTicks(low, high, most) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const raw = span / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= raw * 0.999);
  const ticks = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place++) ticks.push(place * step);
  return ticks;
}

// Accuracies are drawn by the error, on a logarithmic axis: equal distances are equal ratios of the error.
const LEAST_ERROR = 0.01;
const error = accuracy => Math.max(100 - accuracy, LEAST_ERROR);

function errorScale(low, high, start, end) {
  const most = error(low) * 1.12, least = error(high) / 1.12;
  const place = linear(-Math.log(most), -Math.log(least), start, end);
  const scale = accuracy => place(-Math.log(Math.min(Math.max(error(accuracy), least), most)));
  const ticks = [];
  for (const tick of held.texts.ticks) {
    if (error(tick) <= most && error(tick) >= least) {
      if (!ticks.length || Math.abs(scale(tick) - scale(ticks.at(-1))) > 24) ticks.push(tick);
    }
  }
  if (ticks.length < 2) {  // all runs lie close together
    const few = niceTicks(100 - most, 100 - least, 4);
    return {scale, ticks: few.filter(tick => tick <= 100 - least && tick >= 100 - most)};
  }
  return {scale, ticks};
}

const SHAPES = {
  dot: "M0,-4.6a4.6,4.6 0 1,0 .01,0z", up: "M0,-6.4L6,4.4H-6z", down: "M0,6.4L6,-4.4H-6z",
  cross: "M-5,-5L5,5M5,-5L-5,5", diamond: "M0,-6.6L6.6,0L0,6.6L-6.6,0z",
};
const shape = (kind, color, more = {}) =>
  svg("path", {d: SHAPES[kind], class: `mark ${kind}`, style: inked(color), ...more});

// What a line of a method looks like, in a legend.
const swatch = spec => svg("svg", {width: 30, height: 14, "aria-hidden": true},
  rule("line", 1, 7, 29, 7, colorOf(spec), dashOf(spec)),
  svg("g", {transform: "translate(15 7)"}, shape(isFull(spec) ? "diamond" : "dot", colorOf(spec))));

const tip = document.getElementById("tip");
function showTip(mark, lines) {
  tip.replaceChildren(...lines.map((line, place) => html(place ? "div" : "strong", {}, line)));
  tip.hidden = false;
  const box = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.x + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
  const above = box.y - own.height - 8;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 4 ? above : box.bottom + 8) + scrollY}px`;
}
const hideTip = () => { tip.hidden = true; };

// A mark that a hand or a key may take. Arrows lead from one to the next; only the first stands in the order of Tab.
function takeable(group, label, lines, take) {
  element(group, {tabindex: -1, role: "button", "aria-label": label, class: "takeable"}, []);
  group.addEventListener("pointerenter", () => showTip(group, lines()));
  group.addEventListener("focus", () => showTip(group, lines()));
  group.addEventListener("pointerleave", hideTip);
  group.addEventListener("blur", hideTip);
  group.addEventListener("click", take);
  return group;
}
function keys(host) {
  host.addEventListener("keydown", event => {
    const marks = [...host.querySelectorAll(".takeable")], at = marks.indexOf(document.activeElement);
    if (at < 0) return;
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (event.key === "Enter" || event.key === " ") marks[at].dispatchEvent(new MouseEvent("click", {bubbles: true}));
    else if (event.key === "Escape") hideTip();
    else if (step) marks[(at + step + marks.length) % marks.length].focus();
    else return;
    event.preventDefault();
  });
}
