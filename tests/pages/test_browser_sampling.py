"""See the sampling in a real browser: in a report from disk with the network off, and in JupyterLab."""

import json
from pathlib import Path

import nbformat
import pytest
from browsing import BROWSER, ROOT, all_cells_drawn, chromium, lab, opened, press, run_all, until
from sampled import embedded, trained

from iskit.inputs import read_yaml
from iskit.pages.notebook import assignments
from iskit.pages.report import report
from iskit.views import sampling

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine"),
]
# Of what is read or pressed, in the page's shadow: boxes that lie on each other though neither holds the other, and
# such as reach beyond the window. Of a chart each text; lines and points may cross.
TROUBLE = """host => {
  const seen = [...host.shadowRoot.querySelectorAll(
    "h3, h4, p, button, input, output, label, .entries span, .method canvas, dt, dd, svg text, .who canvas, li")];
  const boxes = seen.map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => box.width && box.height);
  const name = (one) => `${one.localName} ${one.textContent.trim().slice(0, 30)}`;
  const wrong = [];
  boxes.forEach(([one, a], i) => {
    if (a.left < -0.5 || a.right > innerWidth + 0.5) wrong.push(`${name(one)} leaves the window`);
    for (const [other, b] of boxes.slice(i + 1)) {
      const beside = a.right < b.left + 1.5 || b.right < a.left + 1.5;
      const below = a.bottom < b.top + 2.5 || b.bottom < a.top + 2.5;
      const within = one.contains(other) || other.contains(one);
      if (!beside && !below && !within) wrong.push(`${name(one)} / ${name(other)}`);
    }
  });
  if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page is wider than the window");
  return wrong;
}"""
LIT = """canvas => {  // images that are bright in the middle of their left edge, where the light's frame is
  const context = canvas.getContext("2d"), side = canvas.width / Math.max(8, Math.round(canvas.clientWidth / 20));
  let lit = 0;
  for (let row = 0; row < Math.round(canvas.height / side); row++)
    for (let column = 0; column < Math.round(canvas.width / side); column++) {
      const x = Math.round((column + 0.08) * side), y = Math.round((row + 0.7) * side);
      lit += Math.max(...context.getImageData(x - 1, y, 3, 1).data.filter((_, i) => i % 4 !== 3)) > 140;
    }
  return lit;
}"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report from disk, and what its page holds."""
    folder = tmp_path_factory.mktemp("made")
    html = sampling.see(trained(folder / "outputs")).data
    shown = nbformat.v4.new_output("display_data", data={"text/html": html, "text/plain": "page"})
    cells = [nbformat.v4.new_markdown_cell("# A report"), nbformat.v4.new_code_cell("see()", outputs=[shown])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "out.ipynb")
    report(folder / "out.ipynb", folder / "report.html")
    return folder / "report.html", embedded(html)


@pytest.fixture
def page():
    with chromium() as page:
        yield page


def shown(page, path: Path) -> tuple[list[str], list[str]]:
    """Opens the report with the network off; gives what turns red and what is asked for, as it happens."""
    red: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: red.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: red.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    page.goto(path.as_uri())
    page.wait_for_selector(".iskit-sampling .methods canvas")
    return red, asked


def moment(page) -> int:
    return int(page.locator(".time").input_value())


def test_a_report_plays_seeks_and_tells_an_image_with_the_network_off(made, page):
    path, content = made
    red, asked = shown(page, path)
    last = len(content["methods"][0]["t"]) - 1
    slider = page.get_by_label("Moment of the training")
    slider.focus()
    page.keyboard.press("Home")
    page.get_by_role("button", name="Play").click()
    page.wait_for_selector("button:has-text('Pause')")
    until(lambda: moment(page) == last, "it plays to the end")
    page.wait_for_selector("button:has-text('Again')")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert moment(page) == last - 1
    assert page.locator(".when").inner_text().startswith(f"{last} of {last + 1} · ")
    for number, method in enumerate(content["methods"]):
        lit = (method["drawn"][last - 1] > 0).sum()
        panel = page.locator(".method").nth(number)
        assert panel.locator("dd").first.inner_text() == f"{lit} of {len(content['index'])}"
        assert panel.locator("canvas").get_attribute("aria-label") == (
            f"{method['name']}: {lit} of {len(content['index'])} images drawn since the moment before"
        )
        assert abs(panel.locator("canvas").evaluate(LIT) - lit) <= 1  # the chosen image has a frame of its own
    page.locator(".lines svg").first.click(position={"x": 50, "y": 60})
    assert moment(page) == 0
    told_of_an_image(page, content)
    assert red == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


def told_of_an_image(page, content) -> None:
    """A click at the first image, by class as they lie in the data, shows its history; an arrow key the next one's."""
    page.get_by_label("Arrange").select_option("index")
    canvas = page.locator(".method canvas").first
    canvas.click(position={"x": 8, "y": 8})
    for image in (0, 1):
        words = page.locator(".who").inner_text()
        assert f"Training image {content['index'][image]}" in words
        assert ("mislabelled" in words) == bool(content["kinds"]["mislabelled"][image])
        label, true = (content["classes"][content[name][image]] for name in ("label", "true"))
        assert (f"class {label}" if label == true else f"labelled {label}, really {true}") in words
        at = moment(page)
        for number, method in enumerate(content["methods"]):
            history = page.locator(".past svg").nth(number).get_attribute("aria-label")
            drawn = method["drawn"][:, image]
            assert f"drawn {drawn[: at + 1].sum()} times so far, {drawn.sum()} in all" in history
            assert f"{method['loss'][at, image]:.2f}" in history or method["loss"][at, image] < 0.1
        canvas.press("ArrowRight")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light"), (1920, "dark")])
def test_nothing_lies_on_anything_else(made, page, width, scheme):
    page.set_viewport_size({"width": width, "height": 1000})
    page.emulate_media(color_scheme=scheme)
    red, _ = shown(page, made[0])
    host = page.locator(".iskit-sampling")
    assert host.evaluate(TROUBLE) == []
    assert (host.get_attribute("data-dark") is not None) == (scheme == "dark")
    page.get_by_label("Colour").select_option("mislabelled")
    assert "mislabelled: 20 % of all" in page.locator(".entries").inner_text()
    assert host.evaluate(TROUBLE) == []
    assert red == []


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tmp_path_factory.mktemp("project")


def test_in_jupyterlab_by_hand(project, page):
    notebook = nbformat.read(ROOT / "notebooks" / "03_see_the_sampling.ipynb", 4)
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    values = {**assignments(cell.source), **read_yaml(ROOT / "params" / "pages" / "03_see_the_sampling.yaml")}
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in {**values, "study": "lab"}.items())
    nbformat.write(notebook, project / "see.ipynb")
    all_cells_drawn(project)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    with lab(project) as tree:
        run_all(page, f"{tree}see.ipynb?reset&token=t")
        page.wait_for_selector("text=Nothing trained yet")
        press(page, "Run")
        page.wait_for_selector("text=/finished \\(4 of 4 runs/")
        page.wait_for_selector(".iskit-sampling .method:nth-child(2) canvas")
        slider = page.get_by_label("Moment of the training")
        slider.press("Home")
        active = page.locator(".jp-Notebook .jp-mod-active").inner_text()  # its own cell
        for key in ("ArrowRight", "ArrowDown", "ArrowUp"):  # Lab's own keys go from cell to cell
            slider.press(key)
        assert moment(page) == 1
        assert page.locator(".jp-Notebook .jp-mod-active").inner_text() == active
        page.get_by_role("button", name="Play").click()
        until(lambda: moment(page) == 7, "it plays to the end")
        assert page.locator(".iskit-sampling").evaluate(TROUBLE) == []
        [html] = [text for text in texts(page) if "iskit-sampling" in text]
        told_of_an_image(page, embedded(html))
    assert wrong == []


def texts(page) -> list[str]:
    return page.locator(".iskit-sampling").evaluate_all("hosts => hosts.map((host) => host.outerHTML)")


def test_an_untrusted_notebook_says_what_to_do_and_plays_once_it_is_trusted(project, made, page):
    path = made[0].with_name("out.ipynb")
    content = json.loads(path.read_text())
    content["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    (project / "given.ipynb").write_text(json.dumps(content))
    with lab(project) as tree:
        opened(page, f"{tree}given.ipynb?reset&token=t")
        page.wait_for_selector("text=In JupyterLab trust the notebook")
        assert page.locator(".iskit-sampling canvas, .methods").count() == 0
        page.keyboard.press("Control+Shift+C")
        page.locator(".lm-CommandPalette-input").fill("Trust Notebook")
        page.locator(".lm-CommandPalette-item", has_text="Trust Notebook").first.click()
        page.wait_for_selector(".iskit-sampling .methods canvas")
