"""The pages' copies under docs/notebooks are those of the sources, small, and found; and what a copy is made of."""

import re
from base64 import b64encode
from pathlib import Path

import nbformat
import pytest

from iskit.errors import InputError
from iskit.lessons import rendered

ROOT = Path(__file__).parents[2]
COPIES = ROOT / "docs" / "notebooks"
NAMES = rendered.pages(ROOT)
MOST = 3_000_000  # bytes of all


def links(path: Path) -> list[Path]:
    """The files that a page leads to, pictures too."""
    found = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    return [(path.parent / link).resolve() for link in found if not re.match(r"\w+:", link)]


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_of_the_page_as_it_stands(name):
    copy, nb = COPIES / f"{name}.md", nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
    assert rendered.made_of(copy) == rendered.cells_of(nb), "run `make pages`"
    text = copy.read_text(encoding="utf-8").replace(".md)", ".ipynb)")
    for cell in nb.cells:
        assert cell.source in text, "run `make pages`"


def test_the_index_names_every_page_and_its_question():
    text = (COPIES / rendered.INDEX).read_text(encoding="utf-8")
    assert text == rendered.index(ROOT, NAMES), "run `make pages`"
    assert text.count("?") >= len(NAMES) - 1  # the explorer is there to ask one's own
    assert {path.stem for path in COPIES.glob("*.md")} == {*NAMES, "README"}


def test_every_link_of_the_copies_leads_somewhere_and_no_picture_is_left_over():
    shown = {target for path in COPIES.glob("*.md") for target in links(path)}
    assert [target for target in shown if not target.exists()] == []
    assert set(COPIES.glob("pictures/*")) == {target for target in shown if target.suffix == ".png"}
    assert sum(path.stat().st_size for path in COPIES.rglob("*.*")) < MOST


def test_a_reader_of_the_readme_finds_each_page_in_two_clicks():
    one = {path for path in links(ROOT / "README.md") if path.suffix == ".md" and path.exists()}
    two = {target for path in one for target in links(path)}
    assert {COPIES / f"{name}.md" for name in NAMES} <= one | two


PIXEL = b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
        "0000000049454e44ae426082"
    )
).decode()


def page(*cells) -> nbformat.NotebookNode:
    heading = nbformat.v4.new_markdown_cell("# A page\n\nWhat is it? Then [another](02_other.ipynb).")
    return nbformat.v4.new_notebook(cells=[heading, *cells])


def code(source: str, *tags: str, **data: str) -> nbformat.NotebookNode:
    shown = [nbformat.v4.new_output("display_data", data={kind.replace("_", "/"): one for kind, one in data.items()})]
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}, outputs=shown if data else [])


def written(nb, folder: Path) -> str:
    nbformat.write(nb, folder / "01_page.ipynb")
    rendered.write_page(folder / "01_page.ipynb", folder / "docs", ["01_page", "02_other"])
    return (folder / "docs" / "01_page.md").read_text()


def test_what_came_out_is_folded_from_the_question_on_and_pictures_lie_beside(tmp_path):
    nb = page(
        code("seeds: int = 6", "parameters"),
        code("one()", image_png=PIXEL),
        code('page.ask("Is it?")', text_html="Is it? better"),
        code("other()", image_png=PIXEL, text_plain="Figure"),
        code("page.origin()", "foot", text_markdown="made here"),
    )
    text = written(nb, tmp_path)
    before, _, after = text.partition(rendered.SECRET)
    assert "![figure](pictures/01_page-1.png)" in before
    assert re.fullmatch(r"</summary>\s+!\[figure\]\(pictures/01_page-2.png\)\s+</details>.*", after, flags=re.DOTALL)
    assert after.rstrip().endswith("</details>\n\nmade here")
    assert "<summary>Parameters</summary>\n\n```python\nseeds: int = 6" in before
    assert "[another](02_other.md)" in text
    assert "[the page after](02_other.md)" in text
    written(page(code("one()", image_png=PIXEL)), tmp_path)
    assert [path.name for path in (tmp_path / "docs" / "pictures").iterdir()] == ["01_page-1.png"]


def test_a_copy_is_stale_when_a_cell_says_something_else_and_not_for_what_came_out(tmp_path):
    nb = page(code("one()"))
    written(nb, tmp_path)
    copy = tmp_path / "docs" / "01_page.md"
    assert rendered.made_of(copy) == rendered.cells_of(nb) == rendered.cells_of(page(code("one()", text_plain="1")))
    assert rendered.made_of(copy) != rendered.cells_of(page(code("two()")))
    assert rendered.made_of(tmp_path / "none.md") == ""


def test_an_executed_page_is_found_again_until_it_changes(tmp_path, monkeypatch):
    import papermill

    ran = []

    def execute(source, path, **_):
        ran.append(source)
        nb = nbformat.read(source, 4)
        nb.metadata["iskit"] = {"status": "ok"}
        nbformat.write(nb, path)

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    source = tmp_path / "01_page.ipynb"
    for cell in ("one()", "one()", "two()"):
        nbformat.write(page(code(cell)), source)
        rendered.executed(source, tmp_path / "ran")
    assert len(ran) == 2


def test_a_figure_without_a_still_image_is_no_copy(tmp_path):
    with pytest.raises(InputError, match="needs Chromium"):
        written(page(code("one()", **{"application_vnd.plotly.v1+json": {}})), tmp_path)
