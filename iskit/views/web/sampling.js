// Plays what iskit/views/sampling.py embeds beside this script. Plain JavaScript, no request; all in a shadow root, so
// that neither the page's style nor another such figure disturbs it.

const host = document.currentScript.parentElement;
const told = JSON.parse(host.querySelector("script[type='application/json']").textContent);
const root = host.attachShadow({ mode: "open" });
root.innerHTML = host.querySelector("script[type='text/html']").textContent;
host.dataset.lmSuppressShortcuts = "true"; // JupyterLab's keys: an arrow would leave the cell
const $ = (name) => root.querySelector(name);

const SECONDS = 14; // that the whole takes to play, but a step takes
const STEP = [120, 600]; // milliseconds at least and at most
const RISE = 0.35; // of a step, in which the lights change
const TILE = 20; // pixels of a small image, about
const inside = told.grey ? 1 : 0.25; // of the light, onto the images
const SHOWN = { loss: "loss", entropy: "entropy", effective: "effective images" };

const count = told.index.length;
const methods = told.methods.map((one) => ({
  ...one,
  drawn: unpacked(one.drawn, Uint32Array),
  loss: unpacked(one.loss, Float32Array),
  prob: unpacked(one.prob, Float32Array),
}));
const moments = methods[0].t.length;
const kinds = Object.keys(told.kinds);
const most = Math.max(1, ...methods.map((one) => one.drawn.reduce((a, b) => Math.max(a, b), 0)));
const level = (times) => Math.log1p(times) / Math.log1p(most);
const kind = (image) => (at.mark && told.kinds[at.mark][image] ? at.mark : "plain");
const at = { moment: moments >> 1, mark: kinds[0] || "", arrange: kinds.length ? "kind" : "class", chosen: 0 };
let sheet = null;
let order = []; // the images' numbers, place by place
let begun = null; // when playing came to this moment, in the browser's milliseconds; null while it rests
let charts = [];

// phase: how far a step has come, 0 to 1; null at rest.
function paint(one, phase) {
  const { canvas, side, across } = one, context = canvas.getContext("2d");
  context.fillStyle = NIGHT;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = side < 2 * sheet.tile;
  const here = at.moment * count, before = here - count, moving = phase !== null;
  const risen = moving ? Math.min(1, phase / RISE) : 1;
  const flash = moving ? 1.15 - 0.25 * Math.max(0, (phase - RISE) / (1 - RISE)) : 1;
  const corner = (place) => [(place % across) * side, Math.floor(place / across) * side];
  order.forEach((image, place) => {
    const last = moving && before >= 0 ? 0.9 * level(one.drawn[before + image]) : 0;
    const amount = last + (flash * level(one.drawn[here + image]) - last) * risen;
    glowing(context, cut(sheet, image), kind(image), ...corner(place), side, amount, inside);
  });
  const [x, y] = corner(order.indexOf(at.chosen));
  context.strokeStyle = "#fff";
  context.lineWidth = Math.max(2, side * 0.11);
  context.strokeRect(x + 1, y + 1, side - 2, side - 2);
}

function draw(phase = null) {
  for (const one of methods) paint(one, phase);
}

function tell() {
  const spent = percent(Math.min(1, methods[0].t[at.moment]));
  const words = `${at.moment + 1} of ${moments} · ${spent} of the budget spent`;
  $(".time").value = at.moment;
  $(".time").setAttribute("aria-valuetext", words);
  $(".when").textContent = words;
  for (const one of methods) {
    const drawn = one.drawn.subarray(at.moment * count, (at.moment + 1) * count);
    const lit = drawn.reduce((sum, times) => sum + (times > 0), 0);
    one.canvas.setAttribute("aria-label", `${one.name}: ${lit} of ${count} images drawn since the moment before`);
    one.values.lit.textContent = `${lit} of ${count}`;
    for (const [name, line] of Object.entries(one.lines)) {
      const value = now(line, one.t[at.moment]), share = kinds.includes(name);
      one.values[name].textContent = share ? percent(value) : number(value);
      if (share) one.values[name].parentElement.style.setProperty("--share", `${100 * value}%`);
    }
    one.point(at.moment);
  }
  for (const one of charts) one.point(at.moment);
}

function go(moment) {
  at.moment = Math.max(0, Math.min(moments - 1, moment));
  tell();
  draw();
}

// -- playing

const length = Math.max(STEP[0], Math.min(STEP[1], (1000 * SECONDS) / moments));

function play() {
  if (begun !== null) return rest();
  if (at.moment === moments - 1) at.moment = 0;
  begun = performance.now();
  $(".play").textContent = "❚❚ Pause";
  tell();
  requestAnimationFrame(step);
}

function step(time) {
  if (begun === null) return;
  if (time - begun >= length) {
    if (at.moment === moments - 1) return rest();
    begun = Math.max(begun + length, time - length); // a page that slept does not rush
    at.moment++;
    tell();
  }
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  draw(calm ? null : Math.max(0, (time - begun) / length));
  if (host.isConnected) requestAnimationFrame(step);
  else rest();
}

function rest() {
  begun = null;
  $(".play").textContent = at.moment === moments - 1 ? "↻ Again" : "▶ Play";
  draw();
}

// -- one image

function choose(image) {
  at.chosen = image;
  history();
  draw();
}

function history() {
  const image = at.chosen, label = told.classes[told.label[image]], really = told.classes[told.true[image]];
  const is = kinds.filter((name) => told.kinds[name][image]);
  $(".who h4").textContent = label === really ? `class ${label}` : `labelled ${label}, really ${really}`;
  const which = [`Training image ${told.index[image]}`, ...is].join(", ");
  $(".who p").textContent = `${which}. Its history under each method:`;
  const canvas = $(".who canvas"), context = canvas.getContext("2d");
  canvas.width = canvas.height = 168;
  canvas.setAttribute("aria-label", $(".who h4").textContent);
  context.imageSmoothingEnabled = false;
  context.drawImage(...cut(sheet, image), 0, 0, 168, 168);
  const of = (one, name) => Array.from({ length: moments }, (_, moment) => one[name][moment * count + image]);
  const pasts = methods.map((one) => ({ drawn: of(one, "drawn"), loss: of(one, "loss"), prob: of(one, "prob") }));
  const top = (name) => Math.max(1e-9, ...pasts.flatMap((past) => past[name]));
  const tops = { drawn: top("drawn"), loss: top("loss"), prob: 1 };
  methods.forEach((one, i) => {
    one.point = strips(one.svg, one.name, one.color, pasts[i], tops);
    one.point(at.moment);
  });
}

// -- the page

function arrange() {
  const first = { kind: (image) => -told.kinds[at.mark || kinds[0]]?.[image], index: (image) => image };
  const by = first[at.arrange] || ((image) => told.label[image]);
  order = told.index.map((_, image) => image).sort((a, b) => by(a) - by(b) || told.label[a] - told.label[b] || a - b);
}

function legend() {
  const swatch = (times, of) => {
    const canvas = made("canvas", { "aria-hidden": "true", width: 60, height: 60 }), context = canvas.getContext("2d");
    const image = told.index.findIndex((_, one) => kind(one) === of);
    context.fillStyle = NIGHT;
    context.fillRect(0, 0, 60, 60);
    context.imageSmoothingEnabled = sheet.tile > 22;
    if (image >= 0) glowing(context, cut(sheet, image), of, 8, 8, 44, level(times), inside);
    return canvas;
  };
  const steps = [...new Set([0, 1, most > 3 ? Math.round(Math.sqrt(most)) : 2, most])].filter((times) => times <= most);
  const words = (times) => ["not drawn", "drawn once"][times] || `drawn ${times}×`;
  const entries = steps.map((times) => made("span", {}, swatch(times, "plain"), words(times)));
  const share = at.mark && `${at.mark}: ${percent(told.shares[at.mark])} of all`;
  if (at.mark) entries.push(made("span", {}, swatch(most, at.mark), share));
  $(".entries").replaceChildren(...entries);
}

function panel(one) {
  const dot = () => made("span", { class: "dot ink", style: `background: ${one.color}` });
  const name = () => made("h4", { title: one.title }, dot(), one.name);
  one.canvas = made("canvas", { role: "img", tabindex: 0 });
  one.values = { lit: made("dd") };
  const list = made("dl", {}, made("div", {}, made("dt", {}, "lit now"), one.values.lit));
  for (const [key, title] of [...Object.entries(SHOWN), ...kinds.map((key) => [key, `of draws ${key}`])]) {
    if (!one.lines[key]) continue;
    one.values[key] = made("dd");
    const bar = { class: "share", style: `--light: rgb(${light(key)}); --all: ${100 * told.shares[key]}%` };
    list.append(made("div", kinds.includes(key) ? bar : {}, made("dt", {}, title), one.values[key]));
  }
  one.svg = made("svg", { role: "img" });
  $(".methods").append(made("div", { class: "method" }, name(), one.canvas, list));
  $(".past").append(made("div", {}, name(), one.svg));
  one.canvas.addEventListener("click", (event) => {
    const box = one.canvas.getBoundingClientRect(), wide = box.width / one.across;
    const column = Math.min(one.across - 1, Math.floor((event.clientX - box.left) / wide));
    const image = order[Math.floor((event.clientY - box.top) / wide) * one.across + column];
    if (image !== undefined) choose(image);
  });
  one.canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -one.across, ArrowDown: one.across }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const image = order[order.indexOf(at.chosen) + move];
    if (image !== undefined) choose(image);
  });
}

function size() {
  for (const one of methods) {
    const width = one.canvas.parentElement.clientWidth * (window.devicePixelRatio || 1);
    if (!width) return; // out of sight, as Lab keeps cells that are scrolled away
    one.across = Math.max(8, Math.round(one.canvas.parentElement.clientWidth / TILE));
    one.side = width / one.across;
    one.canvas.width = Math.round(width);
    one.canvas.height = Math.round(Math.ceil(count / one.across) * one.side);
  }
  for (const one of charts) one.size();
  history();
  tell();
  draw();
}

function select(name, options) {
  const list = $(`.${name}`);
  list.append(...options.map(([value, text]) => made("option", { value }, text)));
  list.value = at[name];
  list.addEventListener("change", () => {
    at[name] = list.value;
    arrange();
    legend();
    draw();
  });
}

function theme() {
  const lab = document.body.dataset.jpThemeLight; // what JupyterLab says goes before what the system says
  host.toggleAttribute("data-dark", lab ? lab === "false" : matchMedia("(prefers-color-scheme: dark)").matches);
}

// The image about which the methods differ most.
function striking() {
  const times = (one, image) => {
    let sum = 0;
    for (let i = image; i < one.drawn.length; i += count) sum += one.drawn[i];
    return sum;
  };
  const spread = told.index.map((_, image) => {
    const all = methods.map((one) => times(one, image));
    return Math.max(...all) - Math.min(...all);
  });
  return spread.indexOf(Math.max(...spread));
}

function start(picture) {
  sheet = { picture, tile: picture.naturalWidth / told.across, across: told.across };
  const how = "An image lights up when the method drew it since the moment before, the brighter the more often.";
  $(".about").textContent = `${told.about}. ${how} Click one for its history.`;
  $(".notes").append(...told.notes.map((note) => made("li", {}, note)));
  $(".play").addEventListener("click", play);
  $(".time").max = moments - 1;
  $(".time").addEventListener("input", () => go(Number($(".time").value)));
  select("mark", [...kinds.map((name) => [name, name]), ["", "all alike"]]);
  const ways = [["kind", "by kind"], ["class", "by class"], ["index", "as in the data"]];
  select("arrange", kinds.length ? ways : ways.slice(1));
  for (const one of methods) panel(one);
  const seek = (t) => {
    const far = methods[0].t.map((one) => Math.abs(one - t));
    go(far.indexOf(Math.min(...far)));
  };
  charts = [
    chart(methods, "loss", "Mean loss of the sample", 0, seek),
    chart(methods, "entropy", "Entropy H of all counts so far", Math.log(told.examples), seek),
    chart(methods, "effective", "Effective number of images, exp(H)", told.examples, seek),
  ];
  $(".lines").append(...charts.map((one) => one.svg));
  at.chosen = striking();
  arrange();
  legend();
  theme();
  size();
  rest();
  new ResizeObserver(size).observe($(".methods"));
  new MutationObserver(theme).observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
}

const picture = host.querySelector("img");
picture.decode().then(() => start(picture));
