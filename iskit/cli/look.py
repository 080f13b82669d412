"""What was found: iskit status, results, verdict, compare, report."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from iskit import files
from iskit.cli.app import command
from iskit.cli.console import console, read_results, show_tables
from iskit.errors import InputError


@command("status quickstart")
def status(study: Annotated[str, typer.Argument(help="a folder under outputs/")]) -> None:
    """Show how a study stands, from any machine: what is done, running, failed, missing; time left; accuracy so far."""
    from iskit.study.status import SHOWN, standing
    from iskit.views.tables import accuracies, headline, of_frame, open_runs

    now = standing(study)
    console.print(headline(now), soft_wrap=True)
    if len(begun := open_runs(now)):
        console.print(of_frame(begun, ["state", *SHOWN]))
    if len(now.finished):
        show_tables(accuracies(now.finished))


@command(
    "results quickstart",
    "results quickstart --by sampler --columns budget --where augment=standard",
    "results --where 'sampler=[unif, p]' --csv > results.csv",
    "results outputs/reference/digits.zip --columns budget --latex",
)
def results(
    study: Annotated[str | None, typer.Argument(help="a folder under outputs/, or a packed file; default: all")] = None,
    by: Annotated[list[str] | None, typer.Option(help="a setting that names the rows first; may be repeated")] = None,
    columns: Annotated[str | None, typer.Option(help="a setting whose values become columns of accuracies")] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="only these runs; may be repeated")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="print comma-separated values, numbers in full")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="print Markdown")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="print LaTeX, for booktabs")] = False,
) -> None:
    """Print a table of finished runs, mean and deviation over seeds.

    Whatever runs differ in beside the seed is told apart, in a column of its own: nothing else is averaged.
    """
    if csv + markdown + latex > 1:
        raise InputError("--csv, --markdown and --latex are three forms of one table: give one of them")
    from iskit.study import packed
    from iskit.study.folders import check_study

    if study is not None and not study.endswith(packed.ENDING):
        try:
            check_study(study)
        except InputError:
            if not packed.boxes(files.root() / "outputs", study):
                raise
    frame = read_results(study)
    if frame.empty:
        return
    from iskit.views import tables

    frame = tables.chosen(frame, where or [])
    if not (by or columns or csv or markdown or latex):
        show_tables(tables.accuracies(frame))
        return
    rows, names = tables.arranged(frame, by or [], columns)
    if csv:
        print(tables.csv(rows, names, columns), end="")
        return
    if markdown or latex:
        view = tables.shown_by(rows, names, columns)
        print(tables.markdown(view) if markdown else tables.latex(view), end="")
        return
    show_tables(tables.by_task(rows, names, by or [], columns))


@command("verdict quickstart", "verdict params/samplers.yaml --markdown > verdict.md")
def verdict(
    study: Annotated[str, typer.Argument(help="a study's YAML file with contrasts, or a folder under outputs/")],
    contrast: Annotated[str | None, typer.Option(help="one of its contrasts; default: all")] = None,
    markdown: Annotated[bool, typer.Option(help="print Markdown")] = False,
) -> None:
    """Judge what a study found, by the comparisons that its file names beforehand; else every sampler against unif."""
    from iskit.cli.console import show_verdict
    from iskit.views.verdict import verdict as judge

    found = judge(study, contrast)
    if markdown:
        print(found.markdown(), end="")
        return
    show_verdict(found)


@command("compare table2", "compare table1 --study small-table1 --latex > table1.tex")
def compare(
    table: Annotated[str, typer.Argument(help="a table of the paper: table1 to table6")],
    study: Annotated[str | None, typer.Option(help="a folder under outputs/, or a packed file; default: all")] = None,
    markdown: Annotated[bool, typer.Option(help="print Markdown")] = False,
    latex: Annotated[bool, typer.Option(help="print LaTeX, the best of a budget in bold")] = False,
) -> None:
    """Set results beside a table of the paper: in points where the protocol is the same, else by gaps to unif."""
    from iskit.views import compare as views
    from iskit.views.tables import Fitted

    found = views.compare(table, study)
    if markdown or latex:
        print(views.latex(found) if latex else views.markdown(found), end="")
        return
    console.print(views.said(found), style="bold", markup=False, highlight=False, soft_wrap=True)
    for view in (views.exact(found), views.gaps(found)):
        if len(view):
            console.print(Fitted(view, ["data", "schedule", "augmentation", "method", "budget"]))


@command(
    "report outputs/quickstart/quickstart.ipynb outputs/quickstart/report.html",
    "report quickstart --explore",
    "report quickstart outputs/reference/pilot.zip --explore explorer.html",
)
def report(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT",
            help="an executed notebook and the file to write; with --explore folders under outputs/ and packed files "
            "(default: all), and the file to write (default: outputs/explorer.html)",
        ),
    ] = None,
    explore: Annotated[bool, typer.Option("--explore", help="all results of studies, to turn around")] = False,
) -> None:
    """Turn an executed notebook, or with --explore the results of studies, into one self-contained HTML file."""
    words = words or []
    if explore:
        path = _explorer(words)
    else:
        if len(words) != 2:
            raise InputError(
                "give an executed notebook and the file to write, out.ipynb report.html; of studies, iskit report "
                "STUDY --explore"
            )
        from iskit.pages.report import report as write

        path = Path(words[1])
        write(Path(words[0]), path)
    console.print(f"report: {path}", soft_wrap=True)


def _explorer(words: list[str]) -> Path:
    from iskit.views.explorer import explore

    named = [word for word in words if word.lower().endswith((".html", ".htm"))]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} are two files to write: give one")
    path = Path(named[0]) if named else files.root() / "outputs" / "explorer.html"
    found = explore([word for word in words if word not in named])
    found.write(path)
    for folder, wrong in found.frame.attrs["damaged"].items():
        print(f"iskit: {folder} is left out: {wrong}", file=sys.stderr)
    return path
