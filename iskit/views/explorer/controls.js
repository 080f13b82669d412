// The controls: made anew only when what they offer changes, so that a key's focus stays where it is.
const at = id => document.getElementById(id);

function remade(host, offered, make) {
  const now = JSON.stringify(offered);
  if (host.dataset.offered === now) return;
  host.dataset.offered = now;
  host.replaceChildren(...make());
}

const TITLES = {dataset: "data set", model: "network", sampler: "method", augment: "augmentation",
  unit: "budget counted in"};
const titleOf = name => TITLES[name] ?? name.replaceAll("_", " ");
const shipped = new Set(held.studies.filter(study => study.shipped).map(study => study.name));
const wordOf = (name, value) => name === "study" && shipped.has(value) ? `${value} (shipped)` : plain(value);

function drawControls({options, kept, offered}) {
  const host = at("controls");
  remade(host, [offered.map(name => [name, options[name]]), options.augment, options.budget], () => [
    ...offered.map(name => html("label", {}, html("span", {}, titleOf(name)),
      html("select", {"data-one": name, onchange: event => change(() => {
        if (event.target.value === ALL) delete state.one[name];
        else state.one[name] = event.target.value.slice(1);
      })},
      html("option", {value: ALL}, `all (${options[name].length})`),
      options[name].map(value => html("option", {value: `=${plain(value)}`}, wordOf(name, value)))))),
    many("augment", options.augment), many("budget", options.budget),
  ]);
  for (const select of host.querySelectorAll("[data-one]")) {
    const wanted = state.one[select.dataset.one];
    const there = wanted !== undefined && options[select.dataset.one].some(value => plain(value) === wanted);
    select.value = there ? `=${wanted}` : ALL;
  }
  remade(at("methods"), options.sampler, () => [html("legend", {}, "methods"), ...boxes("sampler", options.sampler)]);
  for (const box of document.querySelectorAll("input[data-many]")) {
    box.checked = !kept[box.dataset.many] || kept[box.dataset.many].has(box.value);
  }
  at("paper").checked = state.paper;
  at("each").checked = state.each;
  at("along").value = state.along;
  for (const radio of at("show").querySelectorAll("input")) radio.checked = radio.value === state.show;
  at("along-label").hidden = at("each-label").hidden = state.show === "verdicts";
}

function many(name, values) {
  return html("fieldset", {}, html("legend", {}, titleOf(name)), boxes(name, values));
}

function boxes(name, values) {
  const set = wanted => change(() => { state.many[name] = wanted; if (!wanted) delete state.many[name]; });
  const made = values.map(value => html("label", {class: "chip"},
    html("input", {type: "checkbox", value, "data-many": name, onchange: () => {
      const all = [...document.querySelectorAll(`input[data-many="${name}"]`)];
      const ticked = all.filter(box => box.checked).map(box => box.value);
      set(ticked.length === values.length ? null : new Set(ticked));
    }}), name === "sampler" ? [swatch(value), html("span", {}, labelOf(value))] : html("span", {}, value)));
  if (values.length > 2) {
    const link = (text, word, wanted) =>
      html("button", {type: "button", "aria-label": `${word} ${titleOf(name)}s`, onclick: () => set(wanted())}, text);
    made.push(html("span", {class: "links"}, link("all", "all", () => null), link("none", "no", () => new Set())));
  }
  return made;
}

at("show").append(...Object.entries(SHOW).map(([name, title]) => html("label", {},
  html("input", {type: "radio", name: "show", value: name, onchange: () => change(() => { state.show = name; })}),
  html("span", {}, title))));
at("along").append(...Object.entries(ALONG).map(([name, title]) => html("option", {value: name}, title)));
at("along").addEventListener("change", event => change(() => { state.along = event.target.value; }));
for (const name of ["paper", "each"]) {
  at(name).addEventListener("change", event => change(() => { state[name] = event.target.checked; }));
}
