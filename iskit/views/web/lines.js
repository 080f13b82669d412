// Small charts in SVG, functions without state: what sampling.js draws beside the images.

function made(tag, about = {}, ...inside) {
  const svg = ["svg", "path", "line", "text", "circle", "g"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(about)) node.setAttribute(name, value);
  node.append(...inside);
  return node;
}

function unpacked(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer); // little-endian, as all machines with browsers are
}

function number(value) {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value < 0.095 && value > 0 ? String(Number(value.toPrecision(1))) : value.toFixed(2);
}

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;

// What a line {t, value} says at t: its last evaluation until then, or its first.
function now(line, t) {
  let last = 0;
  while (last + 1 < line.t.length && line.t[last + 1] <= t + 1e-9) last++;
  return line.value[last];
}

const polyline = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// A chart over the budget spent, a line a method. methods: {color, lines, t}; top: what its axis at least reaches;
// seek(t): somebody points there. Gives the svg; size() draws it for the width it has, point(moment) says where we are.
function chart(methods, name, title, top, seek) {
  const left = 46, height = 138, upper = 26, lower = height - 20;
  const all = methods.flatMap((one) => one.lines[name].value);
  let low = Math.min(...all), high = Math.max(...all, top);
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const svg = made("svg", { role: "img", "aria-label": `${title} over the budget spent, a line a method`, height });
  const cursor = made("line", { y1: upper, y2: lower, stroke: "currentColor", opacity: 0.55 });
  const points = methods.map((one) => made("circle", { r: 4, fill: one.color }));
  let width = 0;
  const x = (t) => left + (width - left - 8) * Math.min(1, t);
  const y = (value) => lower - ((lower - upper) * (value - low)) / (high - low);

  function size() {
    width = svg.clientWidth || 280;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(made("text", { y: 13, class: "title" }, title));
    for (const value of [low, (low + high) / 2, high]) {
      svg.append(made("line", { x1: left, x2: x(1), y1: y(value), y2: y(value), class: "axis" }));
      svg.append(made("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, number(value)));
    }
    for (const [t, anchor, unit] of [[0, "start", ""], [0.5, "middle", " of the budget"], [1, "end", ""]])
      svg.append(made("text", { x: x(t), y: height - 5, "text-anchor": anchor }, percent(t) + unit));
    methods.forEach((one, i) => {
      const { t, value } = one.lines[name];
      const line = polyline(value.map((each, k) => [x(t[k]), y(each)]));
      svg.append(made("g", { class: "ink" }, made("path", { d: line, class: "line", stroke: one.color }), points[i]));
    });
    svg.append(cursor);
  }

  function point(moment) {
    methods.forEach((one, i) => {
      points[i].setAttribute("cx", x(one.t[moment]));
      points[i].setAttribute("cy", y(now(one.lines[name], one.t[moment])));
    });
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(methods[0].t[moment]));
  }

  function pointed(event) {
    seek((event.clientX - svg.getBoundingClientRect().left - left) / (width - left - 8));
  }
  svg.addEventListener("pointerdown", pointed);
  svg.addEventListener("pointermove", (event) => event.buttons && pointed(event));
  return { svg, size, point };
}

const ROWS = { drawn: "drawn", loss: "loss", prob: "probability of its label" };

// The history of one image under one method into its svg: when it was drawn, its loss, its probability, below each
// other. past: an array of each, a value a moment; tops: what their axes reach. Gives point(moment), which says where
// we are.
function strips(svg, name, color, past, tops) {
  const width = svg.clientWidth || 200, high = 28, each = 54, moments = past.drawn.length, step = width / moments;
  const x = (moment) => (moment + 0.5) * step;
  const numbers = {};
  svg.setAttribute("viewBox", `0 0 ${width} ${3 * each}`);
  svg.setAttribute("height", 3 * each);
  svg.replaceChildren();
  Object.entries(ROWS).forEach(([row, title], place) => {
    const low = (place + 1) * each - 6, y = (value) => low - (high * value) / tops[row];
    const bar = (value, i) => (value ? `M${x(i).toFixed(1)} ${low}V${y(value).toFixed(1)}` : "");
    const drawn = row === "drawn", values = past[row];
    const line = drawn ? values.map(bar).join("") || "M0 0" : polyline(values.map((value, i) => [x(i), y(value)]));
    const thick = `stroke-width: ${drawn ? Math.max(1, Math.min(6, step - 1)) : 1.8}px`;
    svg.append(made("line", { x1: 0, x2: width, y1: low + 1, y2: low + 1, class: "axis" }));
    svg.append(made("g", { class: "ink" }, made("path", { d: line, class: "line", stroke: color, style: thick })));
    numbers[row] = made("text", { x: width, y: low - high - 7, "text-anchor": "end", "font-weight": 600 });
    svg.append(made("text", { y: low - high - 7, opacity: 0.8 }, title), numbers[row]);
  });
  const cursor = made("path", { stroke: "currentColor", opacity: 0.45 });
  svg.append(cursor);
  const sum = (values) => values.reduce((a, b) => a + b, 0);

  return (moment) => {
    const times = sum(past.drawn.slice(0, moment + 1));
    numbers.drawn.textContent = `${times} of ${sum(past.drawn)}×`;
    numbers.loss.textContent = number(past.loss[moment]);
    numbers.prob.textContent = number(past.prob[moment]);
    cursor.setAttribute("d", [1, 2, 3].map((place) => `M${x(moment)} ${place * each - 4}v${-high - 4}`).join(""));
    const rest = `loss ${numbers.loss.textContent}, probability ${numbers.prob.textContent}`;
    svg.setAttribute("aria-label", `${name}: drawn ${times} times so far, ${sum(past.drawn)} in all, ${rest}`);
  };
}
