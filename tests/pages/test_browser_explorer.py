"""The explorer in a real browser: from disk and without a network, and the same within JupyterLab and as an app."""

import json
import re
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from browsing import BROWSER, IDLE, ROOT, chromium, lab, menu, opened, served
from explored import write_study
from playwright.sync_api import TimeoutError

import iskit
from iskit.pages.copies import served_copies
from iskit.views.explorer import explore
from iskit.views.explorer.page import embedded

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine"),
]
POINT = "#figure .takeable"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("project") / "outputs"
    write_study(outputs, ("scan", "unif", "p", "c", "p(smooth=False)", "sgd"), seeds=6)
    write_study(outputs, ("unif", "p"), augments=("standard",), dataset="digits(limit=200)", study="more")
    return outputs


@pytest.fixture(scope="module")
def found(outputs):
    return explore(outputs=outputs)


@pytest.fixture(scope="module")
def address(found, outputs):
    found.write(outputs / "explorer.html")
    return (outputs / "explorer.html").as_uri()


@pytest.fixture
def page():
    with chromium(1280, 900) as page:
        page.context.set_offline(True)
        page.set_default_timeout(20_000)
        page.red = []
        page.on("console", lambda said: page.red.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.red.append(str(error)))
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        yield page
        assert page.red == []


def click(page, number: int = 0) -> None:
    """On a point, though another may lie over it."""
    page.locator(POINT).nth(number).dispatch_event("click")


def drawn(page) -> str:
    return page.locator("#figure").inner_html()


def test_opened_from_disk_it_asks_for_nothing_and_every_control_moves_the_figure(page, address):
    page.goto(address)
    page.wait_for_selector(POINT, state="attached")
    assert page.locator(POINT).count() == 2 * (5 * 2 + 1)
    seen = [drawn(page)]

    def moved() -> None:
        assert drawn(page) != seen[-1]
        seen.append(drawn(page))

    page.get_by_label("c · c-SGD", exact=True).uncheck()
    moved()
    assert page.locator(POINT).count() == 2 * (4 * 2 + 1)
    page.get_by_label("10%", exact=True).uncheck()
    moved()
    page.get_by_label("standard|mixup", exact=True).uncheck()
    moved()
    assert page.locator("#figure figure").count() == 1
    page.locator("#along").select_option("seconds")
    moved()
    page.get_by_label("each run", exact=True).check()
    moved()
    for name in ("Seconds", "Variety", "Verdicts", "Accuracy"):
        page.get_by_label(name, exact=True).check()
        moved()
    page.locator("[data-one=study]").select_option("=more")
    moved()
    assert page.asked == [address]


def test_a_point_leads_to_its_run_and_two_are_pinned_side_by_side(page, address, found):
    page.goto(address)
    for number in (3, 14):
        click(page, number)
        page.locator("#run [data-pin][aria-pressed=false]").click()
    names = page.locator("#run th[data-run]").evaluate_all("all => all.map(one => one.dataset.run)")
    assert len(set(names)) == 2
    frame = found.frame.set_index(found.frame["study"] + "/" + found.frame["path"].str.split("/").str[-1])
    cells = page.locator("#run tr:has(th:text-is('test accuracy (%)')) td").all_inner_texts()
    first, second = (frame.loc[name, "accuracy"] for name in names)
    assert cells == [f"{first:.2f}", f"{second:.2f}", f"{second - first:+.2f}".replace("-", "\u2212")]
    assert page.locator("#run polyline.line:not(.faint)").count() == 2 * 3  # accuracy, loss, counts
    page.locator("#run [data-pin]").first.click()
    assert page.locator("#run [data-pin][aria-pressed=true]").count() == 1
    page.get_by_label("seed of run A", exact=True).select_option(label="seed 4")
    shown = page.locator("#run th[data-run]").first.get_attribute("data-run")
    assert frame.loc[shown, "seed"] == 4


def test_a_link_opens_its_view(page, address):
    page.goto(address)
    page.get_by_label("scan · scan-SGD", exact=True).uncheck()
    page.locator("#along").select_option("passes")
    page.get_by_label("Variety", exact=True).check()
    click(page, 2)
    page.locator("#run [data-pin]").click()
    link, figure, run = page.url, drawn(page), page.locator("#run").inner_html()
    assert "#" in link
    again = page.context.new_page()
    again.goto(link)
    assert (drawn(again), again.locator("#run").inner_html()) == (figure, run)
    assert again.get_by_label("scan · scan-SGD", exact=True).is_checked() is False
    again.goto(f"{address}#study=more&sampler=nosuch&show=verdicts&run=made/none")
    again.wait_for_selector("text=This file does not hold what the link asks for: sampler=nosuch, run made/none.")
    assert again.locator(".forest").count() == 1


def test_what_is_downloaded_is_the_frame_of_the_chosen_runs(page, address, found, tmp_path):
    page.goto(address)
    page.get_by_label("c · c-SGD", exact=True).uncheck()
    page.get_by_label("30%", exact=True).uncheck()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    download.value.save_as(tmp_path / "runs.csv")
    own = found.frame.query("study == 'made' and sampler != 'c' and budget != 0.3")
    text = {name: str for name in own if pd.api.types.is_string_dtype(own[name])}  # a version is no number
    got = pd.read_csv(tmp_path / "runs.csv", keep_default_na=False, na_values=[""], dtype=text)
    assert got.columns.tolist() == own.columns.tolist()
    assert len(got) == 2 * (4 * 6 + 6)
    for name in own.columns.drop("path"):
        ours, theirs = ([None if pd.isna(value) or value == "" else value for value in one[name]] for one in (own, got))
        assert theirs == ours, name


def test_means_over_seeds_are_those_of_python(page, address, found):
    page.goto(address)
    names = ("accuracy", "deviation", "seeds", "seconds", "speedup", "backward", "equivalent_budget", "entropy")
    names += ("entropy_share", "coverage")
    got = page.evaluate(f"overSeeds(rows).map(point => {json.dumps(names)}.map(name => point[name]))")
    means = iskit.over_seeds(found.frame)
    np.testing.assert_allclose(np.array(got, float), means[list(names)].to_numpy(float), rtol=1e-12)
    page.locator("#numbers summary").click()
    row = page.locator("#numbers tbody tr").first.locator("td").all_inner_texts()
    one = means[means["study"] == "made"].iloc[0]
    assert (row[2], row[3], row[4]) == (f"{one['accuracy']:.2f}", f"{one['deviation']:.2f}", "6")


def test_words_on_the_page_are_the_embedded_ones(page, address, found):
    page.goto(f"{address}#show=verdicts&paper=1")
    arms = [arm for family in embedded(found.html)["families"] if family["study"] == "made" for arm in family["arms"]]
    assert page.locator(".forest td.word").all_inner_texts() == [arm["word"] for arm in arms]
    assert page.locator(".forest .theirs").count() == sum(len(arm["paper"]) for arm in arms) > 0
    page.locator("[data-arm]").first.click()
    page.wait_for_selector("#run h2 >> text=One run")


def test_nothing_chosen_says_what_to_do(page, address):
    page.goto(address)
    page.get_by_role("button", name="no methods").click()
    page.wait_for_selector("text=Nothing is chosen: tick a method")
    assert page.get_by_role("button", name="Download CSV").is_disabled()
    page.get_by_role("button", name="Start over").click()
    page.wait_for_selector(POINT, state="attached")


def test_it_is_used_by_keys_and_everything_has_a_name(page, address):
    page.goto(address)
    page.locator(f"{POINT}[tabindex='0']").focus()
    before = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    after = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert after != before  # and the point is still there to go on from
    page.wait_for_selector("#run h2 >> text=One run")
    assert page.locator(f"{POINT}[tabindex='0']").count() >= 1
    unnamed = """[...document.querySelectorAll("button, select, input, svg[role], [role=button]")].filter(one =>
        !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.[0]?.textContent.trim())).length"""
    assert page.evaluate(unnamed) == 0


# Texts of one figure that lie over each other, and what lies outside of the page or its own box.
OVERLAPS = """() => {
    const found = [];
    const all = selector => [...document.querySelectorAll(selector)].filter(one => one.getClientRects().length);
    const before = (a, b) => a.right <= b.left + 1 || a.bottom <= b.top + 1;
    const apart = (a, b) => before(a, b) || before(b, a);
    const disjoint = ones => ones.forEach((one, place) => ones.slice(place + 1).forEach(other => {
        if (!apart(one.getBoundingClientRect(), other.getBoundingClientRect())) {
            found.push(`${one.textContent} | ${other.textContent}`);
        }
    }));
    all("#figure svg, .curves svg").forEach(one => disjoint([...one.querySelectorAll("text")]));
    const texts = ["#methods .chip", "#methods .links", "#figure figcaption", "#figure td", ".tools > *"];
    disjoint(all([...texts, "#figure th", "h1", "h2"].join()));
    for (const one of all([...texts, "#figure text", ".curves text"].join())) {
        const box = one.getBoundingClientRect();
        if (box.left < -1 || box.right > innerWidth + 1) found.push(`outside: ${one.textContent}`);
        if (one.matches(".chip, figcaption") && one.scrollWidth > one.clientWidth + 1) {
            found.push(`cut: ${one.textContent}`);
        }
    }
    if (document.documentElement.scrollWidth > innerWidth) found.push("the page is wider than the window");
    return found;
}"""


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light"), (1920, "dark")])
def test_nothing_overlaps_or_is_cut_off(width, scheme, page, address):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    views = [
        "",
        "along=seconds",
        "show=variety&along=variety",
        "show=verdicts&paper=1",
        "study=&show=seconds&along=examples",
    ]
    for view in views:
        page.goto("about:blank")
        page.goto(f"{address}#{view}")
        if "verdicts" not in view:
            click(page, 4)
            page.locator("#run [data-pin]").click()
            click(page, 9)
        assert page.evaluate(OVERLAPS) == [], f"{view} at {width}"
    ink, back = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    bright = [sum(map(int, re.findall(r"\d+", one)[:3])) for one in (ink, back)]
    assert (bright[0] > bright[1]) == (scheme == "dark")


@pytest.fixture
def project(outputs, tmp_path):
    """With the notebook, as `make lab` has it."""
    shutil.copytree(outputs, tmp_path / "outputs")
    for folder in ("notebooks", "params"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_in_jupyterlab_it_is_the_same_page_within_the_notebook(project):
    with lab(project) as tree, chromium() as page:
        opened(page, f"{tree}notebooks/11_explorer.ipynb?reset&token=t")
        frame = page.frame_locator("iframe[title='the explorer']")
        for _ in range(12):  # the menu is there before the notebook listens to it
            menu(page, "Run", "Run All Cells")
            try:
                frame.locator(POINT).first.wait_for(state="attached", timeout=10_000)
                break
            except TimeoutError:
                continue
        page.wait_for_selector(IDLE)
        before = frame.locator("#figure").inner_html()
        frame.get_by_label("c · c-SGD", exact=True).uncheck()
        assert frame.locator("#figure").inner_html() != before
        frame.locator(POINT).first.dispatch_event("click")
        frame.locator("#run h2 >> text=One run").wait_for()
        assert "sampler=scan" in frame.locator("footer code").inner_text()  # its state, since the address is Lab's
        page.wait_for_selector("text=/144 runs on the page are those of their files/")


def test_as_an_app_it_is_the_same_page(project, tmp_path):
    served_copies(project / "notebooks", tmp_path / "served")
    for path in (tmp_path / "served").glob("*.ipynb"):
        if path.name != "11_explorer.ipynb":
            path.unlink()
    assert nbformat.read(tmp_path / "served" / "11_explorer.ipynb", 4).cells
    options = re.findall(r"(--template=\S+|--VoilaExporter\.\S+)", (ROOT / "Makefile").read_text())
    path = str(tmp_path / "served" / "11_explorer.ipynb")
    command = ["voila", path, "--no-browser", "--Voila.ip=127.0.0.1", "--port=PORT", *options]
    ours = {"JUPYTER_PATH": str(ROOT / "notebooks" / ".jupyter")}
    with (
        served(command, project, "/voila/templates/base/static/require.min.js", **ours) as address,
        chromium() as page,
    ):
        page.goto(address)
        frame = page.frame_locator("iframe[title='the explorer']")
        frame.locator(POINT).first.wait_for(state="attached")
        frame.get_by_label("Verdicts", exact=True).check()
        frame.locator(".forest").wait_for()
