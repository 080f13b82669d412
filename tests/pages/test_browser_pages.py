"""The pages of the study in JupyterLab, three of them by turns: they run, their controls move what they say they move,
nothing turns red, lies on anything else or is cut off."""

from datetime import date

import nbformat
import pytest
from browsing import BROWSER, ROOT, all_cells_drawn, chromium, lab, press, run_all, until

from iskit.inputs import read_yaml
from iskit.pages.notebook import assignments

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine"),
]
NOTEBOOKS = {path.stem: nbformat.read(path, 4) for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
LESSONS = [name for name, nb in NOTEBOOKS.items() if nb.metadata.iskit.settings == "lesson"]
TURN = date.today().toordinal() * 3  # each day the next three
TODAY = [LESSONS[(TURN + number) % len(LESSONS)] for number in range(3)]
PLAIN = ("07_extreme_budgets", "12_your_method")  # without a control but the panel's, or of one choice at smoke size
# A cell's output that shows something by a control; not the panel that trains.
SHOWN = ".jp-Cell-outputArea:not(:has(.iskit-panel)):has(.js-plotly-plot, [role=group])"
CONTROLS = {"slider": ".widget-slider .noUi-handle", "dropdown": ".widget-dropdown select"}
DRAWN = """area => [
  ...[...area.querySelectorAll(".js-plotly-plot")].map((plot) => JSON.stringify([plot.layout.title, plot._fullData.map(
    (line) => [line.x, line.y, line.name, line.marker?.size])])),
  ...[...area.querySelectorAll("[role=group]")].map((group) => group.outerHTML)].join("")"""
# Of each figure: texts that lie on each other, and those that are cut off by its edge; the page: figures wider than it.
TROUBLE = """() => {
  const wrong = [];
  for (const plot of document.querySelectorAll(".jp-Notebook .js-plotly-plot")) {
    const title = plot.querySelector(".gtitle")?.textContent ?? "a figure", edge = plot.getBoundingClientRect();
    if (!edge.width) continue;
    const texts = [...plot.querySelectorAll(
      ".gtitle, .gtitle-subtitle, .legendtext, .xtitle, .ytitle, .xtick text, .ytick text, .annotation-text")]
      .filter((one) => one.textContent.trim() && getComputedStyle(one).visibility !== "hidden")
      .map((one) => [one.textContent.slice(0, 40), one.getBoundingClientRect()]).filter(([, box]) => box.width);
    texts.forEach(([name, a], i) => {
      if (a.left < edge.left - 1 || a.right > edge.right + 1 || a.top < edge.top - 1 || a.bottom > edge.bottom + 1)
        wrong.push(`${title}: ${name} is cut off`);
      for (const [other, b] of texts.slice(i + 1))
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 6)
          wrong.push(`${title}: ${name} / ${other}`);
    });
    for (const legend of plot.querySelectorAll(".legend")) {
      const held = legend.querySelector(".bg").getBoundingClientRect();
      for (const entry of legend.querySelectorAll(".traces")) {
        const box = entry.getBoundingClientRect();
        if (box.bottom > held.bottom + 2 || box.right > edge.right + 2)
          wrong.push(`${title}: the legend cuts off ${entry.textContent}`);
      }
    }
    const area = plot.closest(".jp-OutputArea-output").getBoundingClientRect();
    if (edge.right > area.right + 2) wrong.push(`${title} is wider than its cell`);
  }
  const kinds = ["error", "stderr"].map((kind) => `.jp-Notebook [data-mime-type='application/vnd.jupyter.${kind}']`);
  for (const red of document.querySelectorAll(kinds.join(", ")))
    wrong.push(`red: ${red.textContent.trim().slice(0, 300)}`);
  return wrong;
}"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def tree(project):
    all_cells_drawn(project)
    with lab(project) as tree:
        yield tree


def small(name: str) -> tuple[nbformat.NotebookNode, dict]:
    """The page with its parameters at smoke size and one seed, and these."""
    nb = nbformat.from_dict(NOTEBOOKS[name])
    [cell] = [cell for cell in nb.cells if "parameters" in cell.metadata.get("tags", [])]
    values = {**assignments(cell.source), **read_yaml(ROOT / "params" / "pages" / f"{name}.yaml"), "seeds": 1}
    cell.source = "\n".join(f"{key} = {value!r}" for key, value in values.items())
    return nb, values


def played(name: str, project, tree) -> None:
    nb, values = small(name)
    nbformat.write(nb, project / f"{name}.ipynb")
    with chromium(1280, 1000) as page:
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        run_all(page, f"{tree}{name}.ipynb?reset&token=t")
        page.locator(f".jp-OutputArea button:text-is('{values['guess']}')").first.click()
        page.wait_for_selector("text=/Your guess: /")
        press(page, "Run")
        page.wait_for_selector("text=/finished \\(\\d+ of \\d+ runs/", timeout=180_000)
        page.wait_for_selector(".jp-OutputArea >> text=/What came out: /")
        until(lambda: page.locator(SHOWN).count() > 0, "the figures are drawn", page=page)
        moved = [kind for kind, control in CONTROLS.items() if moves(page, kind, control)]
        assert bool(moved) != (name in PLAIN), f"{name}: moved {moved}"
        for width in (1280, 1920):
            page.set_viewport_size({"width": width, "height": 1000})
            page.wait_for_timeout(1_000)  # figures follow the window
            assert page.evaluate(TROUBLE) == [], f"{name} at {width} pixels"
        assert page.locator("text=/cannot be shown so/").count() == 0
        assert wrong == []


def moves(page, kind: str, control: str) -> bool:
    """Whether the page has a control of this kind with something to choose; it is moved, and its figure must change."""
    for area in page.locator(SHOWN).filter(has=page.locator(control)).all():
        handle = area.locator(control).first
        before, options = area.evaluate(DRAWN), handle.locator("option").all_inner_texts()
        if kind == "dropdown" and len(options) < 2:
            continue
        if kind == "dropdown":
            handle.select_option(options[1])
        else:
            handle.focus()
            handle.press("ArrowRight")
        until(lambda: area.evaluate(DRAWN) not in ("", before), f"the {kind} changes its figure", 30, page)  # noqa: B023
        return True
    return False


@pytest.mark.parametrize("name", TODAY)
def test_a_page_of_the_day_is_played_in_jupyterlab(name, project, tree):
    played(name, project, tree)


@pytest.mark.soak
@pytest.mark.parametrize("name", LESSONS)
def test_every_page_is_played_in_jupyterlab(name, project, tree):
    played(name, project, tree)
