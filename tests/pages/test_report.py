"""The report: an article that says first what came out, fits a telephone, and needs nothing but itself."""

import json
import shutil

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from judged import runs
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import sync_playwright

import iskit
from iskit.errors import InputError
from iskit.pages.article import narrow
from iskit.pages.report import PLOTLY, report
from iskit.views import plots
from iskit.views.verdict import differences

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@pytest.fixture
def frame():
    """Five samplers, two budgets, two augmentations, six seeds, as the quickstart has them; numbers made up."""
    random = np.random.default_rng(0)
    parts = []
    for augment in ("standard", "standard|mixup"):
        for budget in (0.1, 0.3):
            names = ("scan", "unif", "p", "c")
            accuracy = {name: list(70 + 60 * budget + random.normal(0, 1, 6)) for name in names}
            parts.append(runs(accuracy, augment=augment, budget=budget))
        parts.append(runs({"sgd": list(95 + random.normal(0, 1, 6))}, augment=augment, budget=1.0))
    made = pd.concat(parts, ignore_index=True)
    return made.assign(entropy=4 + made["budget"], entropy_share=(4 + made["budget"]) / 5.3, examples=200, speedup=0.0)


def shown(figure, *tags):
    data = {PLOTLY: json.loads(figure.to_json())}
    return new_code_cell("panel.show()", outputs=[new_output("display_data", data=data)], metadata={"tags": [*tags]})


@pytest.fixture
def notebook(frame, tmp_path):
    """As the quickstart leaves it, in small."""
    said = new_output("display_data", data={"text/markdown": iskit.findings(frame)._repr_markdown_()})
    table = new_output("display_data", data={"text/html": plots.table(frame).to_html()})
    made = new_notebook(
        cells=[
            new_markdown_cell("# A title & more\n\nA question."),
            new_code_cell('study: str = "quickstart"\nlr: float = 0.1', metadata={"tags": ["parameters"]}),
            new_code_cell("lr = 0.2", metadata={"tags": ["injected-parameters"]}),
            new_markdown_cell("## Train\n\nPress **Run**.", metadata={"tags": ["hands"]}),
            new_markdown_cell("## Before\n\nText."),
            new_code_cell("findings()", outputs=[said], metadata={"tags": ["lead"]}),
            shown(differences(frame), "lead"),
            new_markdown_cell("## After, and on\n\nMore text."),
            shown(plots.accuracy_by_budget(frame)),
            shown(plots.entropy_by_budget(frame)),
            new_code_cell("table", outputs=[table]),
            new_code_cell("origin", outputs=[new_output("stream", text="of 2 cores")], metadata={"tags": ["foot"]}),
        ],
        metadata={"papermill": {"end_time": "2026-11-21T19:04:05.1"}},
    )
    path = tmp_path / "out.ipynb"
    nbformat.write(made, path)
    return path


def page_of(notebook):
    path = notebook.with_suffix(".html")
    report(notebook, path)
    return path


def test_findings_come_first_and_what_made_them_last(notebook):
    page = page_of(notebook).read_text()
    parts = [
        *("A question.", "Which images?", "figure-0", '<nav aria-label="contents">', 'id="Before"', "More text."),
        *("figure-2", "test accuracy (%) by budget", "<footer>", "<dd>0.2</dd>", "2026-11-21 19:04 UTC", "of 2 cores"),
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert "<title>A title &amp; more</title>" in page
    for name, text in (("Before", "Before"), ("After,-and-on", "After, and on")):
        assert f'<a href="#{name}">{text}</a>' in page
        assert f'id="{name}"' in page


def test_a_page_speaks_of_no_buttons_and_shows_no_parameters_cell(notebook):
    page = page_of(notebook).read_text()
    body = page[: page.index("<footer>")]
    assert "Press <strong>Run" not in body
    assert "#Train" not in body
    assert "quickstart" not in body
    assert "<dt>study</dt><dd>quickstart</dd>" in page


def test_a_notebook_of_another_is_a_page_too(tmp_path):
    figure = go.Figure(go.Scatter(y=[1, 2]))
    made = new_notebook(cells=[new_code_cell("%magic", metadata={"tags": ["parameters"]}), shown(figure)])
    nbformat.write(made, tmp_path / "out.ipynb")
    page = page_of(tmp_path / "out.ipynb").read_text()
    assert "<dt>saved</dt>" in page
    assert 'aria-label="figure"' in page


def test_text_in_a_figure_ends_no_script(tmp_path):
    figure = go.Figure(go.Scatter(y=[1], name="</script><b>"), layout={"title": "</script>"})
    nbformat.write(new_notebook(cells=[shown(figure)]), tmp_path / "out.ipynb")
    page = page_of(tmp_path / "out.ipynb").read_text()
    place = page.index('<script type="application/json">') + len('<script type="application/json">')
    told = json.loads(page[place : page.index("</script>", place)])
    assert told["data"][0]["name"] == "</script><b>"


def test_without_a_figure_to_draw_it_carries_no_plotly(tmp_path):
    table = new_output("display_data", data={"text/html": "<table><tr><td>1</td></tr></table>"})
    nbformat.write(new_notebook(cells=[new_code_cell("t", outputs=[table])]), tmp_path / "out.ipynb")
    assert page_of(tmp_path / "out.ipynb").stat().st_size < 100_000


def test_a_notebook_that_shows_nothing_is_refused(tmp_path):
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Text")]), tmp_path / "out.ipynb")
    with pytest.raises(InputError, match="no figures"):
        page_of(tmp_path / "out.ipynb")


def test_on_little_width_panels_stand_below_each_other(frame):
    figure = json.loads(plots.accuracy_by_budget(frame).to_json())
    wide, small = figure["layout"], narrow(figure["data"], figure["layout"])
    assert len({tuple(wide[name]["domain"]) for name in ("xaxis", "xaxis2")}) == 2
    assert [small[name]["domain"] for name in ("xaxis", "xaxis2")] == [[0, 1], [0, 1]]
    first, second = (small[name]["domain"] for name in ("yaxis", "yaxis2"))
    assert first[0] > second[1] + 0.1  # room for a title and for what is written below the axis
    assert [note["y"] for note in small["annotations"]] == [first[1], second[1]]
    assert [note["text"] for note in small["annotations"]] == ["standard", "standard|mixup"]
    assert small["height"] > wide["height"]
    assert small["legend"]["orientation"] == "h"
    assert wide["legend"]["orientation"] == "v"  # as it was


# Elements that are wider than the page, and texts that lie on others, as the browser laid them out.
MEASURE = """() => {
  const told = element => element.tagName + " " + element.textContent.trim().slice(0, 40);
  const seen = element => element.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const wide = [...document.querySelectorAll("body *")]
    .filter(element => (!element.closest("svg") || element.tagName == "text") && seen(element))
    .filter(element => {
      const box = element.getBoundingClientRect();
      return box.width && box.height && (box.right > innerWidth + 1 || box.left < -1);
    });
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), boxes = [], over = [];
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (!node.data.trim() || node.parentElement.closest("script, style") || !seen(node.parentElement)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects())
      for (const [other, before] of boxes.concat([[box, node]]).slice(0, -1))
        if (before !== node && Math.min(box.right, other.right) - Math.max(box.left, other.left) > 2
            && Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top) > 4)
          over.push(before.data.trim().slice(0, 40) + " | " + node.data.trim().slice(0, 40));
    for (const box of range.getClientRects()) boxes.push([box, node]);
  }
  return {scroll: document.documentElement.scrollWidth, wide: wide.map(told), over: over, texts: boxes.length};
}"""


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser
        browser.close()


def opened(chromium, path, width, height=800, scheme="light"):
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(90_000)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function(
        "[...document.querySelectorAll('.plot > div')].every(one => one.querySelector('.gtitle, .xtick'))"
    )
    return page


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_nothing_is_wider_than_the_page_and_no_text_lies_on_another(chromium, notebook, width):
    page = opened(chromium, page_of(notebook), width)
    found = page.evaluate(MEASURE)
    assert found["scroll"] == width
    assert found["wide"] == []
    assert found["over"] == []
    assert found["texts"] > 100
    assert page.asked == [notebook.with_suffix(".html").as_uri()]
    page.close()


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_window_that_is_made_narrow_gets_the_other_layout(chromium, notebook):
    page = opened(chromium, page_of(notebook), 1280)
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth == 390")
    page.wait_for_function("document.querySelectorAll('#figure-1 .xtitle, #figure-1 .x2title').length == 2")
    page.wait_for_function(
        """() => {
          const [one, two] = ['.xtitle', '.x2title'].map(name =>
            document.querySelector('#figure-1 ' + name).getBoundingClientRect());
          return two.top > one.bottom + 50 && innerWidth == 390;
        }"""
    )
    page.close()


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_the_answer_is_on_the_first_screen_and_code_behind_one_switch(chromium, notebook):
    page = opened(chromium, page_of(notebook), 1280)
    assert page.locator("text=How varied?").bounding_box()["y"] < 400
    figure = page.locator("#figure-0").bounding_box()
    assert figure["y"] + 0.75 * figure["height"] < 800
    assert not page.locator("text=panel.show()").first.is_visible()
    page.get_by_label("show the code").check()
    assert page.locator("pre:has-text('panel.show')").first.is_visible()
    page.close()


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_everything_has_a_name_and_is_light_on_dark_where_that_is_asked_for(chromium, notebook):
    page = opened(chromium, page_of(notebook), 1280, scheme="dark")
    names = page.eval_on_selector_all("figure", "all => all.map(one => one.getAttribute('aria-label'))")
    assert names == [
        "What a choice or a look changes, 6 seeds",
        "Accuracy against budget",
        "How varied the images were",
    ]
    unnamed = "all => all.filter(one => !(one.labels?.length || one.textContent.trim() || one.ariaLabel)).length"
    assert page.eval_on_selector_all("input, button, a[href]", unnamed) == 0
    back, text = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    light = [sum(map(int, colour.strip("rgb()").split(","))) for colour in (back, text)]
    assert light[0] < 150 < 600 < light[1]
    assert "invert" in page.evaluate("getComputedStyle(document.querySelector('.plot svg')).filter")
    page.close()
