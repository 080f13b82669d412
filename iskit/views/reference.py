"""What came out: the page docs/findings.md, the README's answer and their figures, made from packed results alone.

    make findings          # after `iskit pack STUDY outputs/reference/NAME.zip`

Every digit and every word of judgement comes from `iskit.judging`. What people say of it stands between marks, is kept
when the page is made anew, and has no digits (a test).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import plotly.io as pio

from iskit import files
from iskit.errors import InputError
from iskit.judging import claims, contrasts
from iskit.judging.claims import CLAIMS, Beside
from iskit.judging.findings import told
from iskit.judging.verdict import Judgement, judge, signed
from iskit.study import packed
from iskit.study.archive import correct_of, results
from iskit.views.verdict import contrasts_in, figure, markdown

PAGE, FIGURES = Path("docs/findings.md"), Path("outputs/reference/figures")
CHOOSING = "choosing-"  # how the names of the contrasts begin that judge samplers
README_MARKS = ("<!-- findings -->", "<!-- end of findings -->")
COMMENT = re.compile(r"<!-- comment: (.+?) -->\n(.*?)\n?<!-- end of comment -->", re.DOTALL)


@dataclass(frozen=True)
class Found:
    """judged: contrast -> its judgement; missing: contrast -> why it has none yet; studies: contrast -> its study;
    runs: all that is packed, a row each."""

    judged: Mapping[str, Judgement]
    missing: Mapping[str, str]
    studies: Mapping[str, str]
    runs: pd.DataFrame


def found(outputs: Path | None = None) -> Found:
    """Judges the contrasts of all studies packed under outputs/reference/. InputError if there are none."""
    shelf = (outputs or files.root() / "outputs") / packed.SHELF
    boxes: dict[str, list[packed.Packed]] = {}
    for path in sorted(shelf.glob(f"*{packed.ENDING}")):
        box = packed.opened(path)
        boxes.setdefault(box.about["study"], []).append(box)
    judged: dict[str, Judgement] = {}
    missing: dict[str, str] = {}
    studies: dict[str, str] = {}
    frames = []
    for study, some in boxes.items():
        section = contrasts_in(some)
        if not section:  # a pilot, or a study that nobody means to judge
            continue
        frame = pd.concat([results(str(box.path)) for box in some], ignore_index=True)
        frame = frame[~frame["path"].map(lambda path: Path(path).name).duplicated()]
        frames.append(frame)
        named = contrasts.read(section)
        for one in named:
            if one.name in studies:
                raise InputError(f"contrast {one.name!r} stands in {studies[one.name]} and {study}: rename one of them")
            studies[one.name] = study
            try:
                judged[one.name] = judge(one, frame, correct=correct_of, families=len(named))
            except InputError as error:
                missing[one.name] = str(error)
    if not frames:
        raise InputError(
            f"{shelf} holds no packed study with contrasts: train one and pack it, `iskit pack STUDY {shelf}/NAME.zip`"
        )
    return Found(judged, missing, studies, pd.concat(frames, ignore_index=True))


def page(known: Found, old: str = "") -> str:
    """The page in Markdown. old: the page as it is, whose comments are kept."""
    said = comments(old)
    parts = [
        "# Findings",
        "What came out of our own runs, claim by claim. All but the comments is made by `make findings` from the "
        "packed results in `outputs/reference/`; every word of judgement is one of `iskit verdict`'s, by contrasts, "
        "margins and rules that were committed before the first run.",
        setting(known),
        "\n".join(answer(known)),
        overview(known),
        *(_claim(number, known, said) for number in range(1, len(CLAIMS) + 1)),
        _rest(known, said),
        _power(known),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def comments(text: str) -> dict[str, str]:
    """Name -> what stands between its marks."""
    return {name: body.strip() for name, body in COMMENT.findall(text)}


def setting(known: Found) -> str:
    """What was trained, in one paragraph."""
    runs = known.runs

    def many(column: str) -> str:
        return ", ".join(f"`{value}`" for value in sorted(runs[column].unique(), key=str))

    return (
        f"{len(runs)} runs: data {many('dataset')}; network {many('model')}; epochs {many('epochs')}, batch "
        f"{many('batch_size')}, seeds {many('seed')}, precision {many('precision_used')}, on {many('device_name')}. "
        "The images are CIFAR-10's as JPEG, shrunk: never set these accuracies beside the paper's own. Not judged "
        "here: CIFAR-100, SVHN, mini-ImageNet (`iskit sweep params/paper/table3.yaml` trains them)."
    )


def answer(known: Found) -> list[str]:
    """The study's question in three sentences, as far as it was judged."""
    choosing = [
        replace(one, contrast=replace(one.contrast, name=name.removeprefix(CHOOSING)))
        for name, one in known.judged.items()
        if name.startswith(CHOOSING)
    ]
    said = [f"Which images? {told(choosing, 'sampler')}"] if choosing else []
    if "varying" in known.judged:
        said.append(f"How they look? With unif, {told([known.judged['varying']], 'augment')}")
    if "full" in known.judged:
        said.append(known.judged["full"].sentence.replace("full: against", "And the full run? Against", 1))
    return [f"{number}. {text}" for number, text in enumerate(said, 1)]


def overview(known: Found) -> str:
    rows = [
        f"| {number} | [{claim.text}](#claim-{number}) | {claims.holds(claim, known.judged)} |"
        for number, claim in enumerate(CLAIMS, 1)
    ]
    return "\n".join(["| | the claim | here |", "|---|---|---|", *rows])


def _claim(number: int, known: Found, said: Mapping[str, str]) -> str:
    claim = CLAIMS[number - 1]
    lines = [
        f'<a id="claim-{number}"></a>',
        "",
        f"## {number}. {claims.holds(claim, known.judged)}",
        "",
        claim.text,
        "",
    ]
    lines += [f"- {part.text}: **{claims.standing(part, known.judged)}**" for part in claim.parts]
    if claim.beside:
        lines += ["", "In the paper: " + "; ".join(map(_beside, claim.beside)) + "."]
    for name in claim.contrasts:
        lines += ["", *_contrast(name, known)]
    return "\n".join([*lines, "", _comment(f"claim {number}", said)])


def _beside(one: Beside) -> str:
    shown = [
        f"{dataset} {f'{value:.2f}' if one.minutes else signed(value)}"
        for dataset, value in claims.in_paper(one).items()
    ]
    return f"{one.text} {', '.join(shown)}"


def _contrast(name: str, known: Found) -> list[str]:
    if name not in known.judged:
        return [f"`{name}` is not judged yet: {known.missing.get(name, 'its runs are not packed')}."]
    command = f"`iskit verdict {known.studies[name]} --contrast {name}`"
    return [
        *(markdown(known.judged[name]), ""),
        *(f"![{name}](../{FIGURES.as_posix()}/{name}.png)", "", command),
    ]


def _rest(known: Found, said: Mapping[str, str]) -> str:
    """What was judged beyond the claims."""
    shown = {name for claim in CLAIMS for name in claim.contrasts}
    names = [name for name in known.studies if name not in shown]
    if not names:
        return ""
    lines = ["## Beyond the claims"]
    for name in names:
        lines += ["", *_contrast(name, known)]
    return "\n".join([*lines, "", _comment("beyond", said)])


def _power(known: Found) -> str:
    """Where an effect as large as the margin would likely have stayed unseen."""
    lines = []
    for name, one in known.judged.items():
        if "smallest" in one.table and (blind := one.table[one.table["smallest"] > one.contrast.margin]).size:
            arms = ", ".join(f"{row.arm} {row.smallest:.2f}" for row in blind.itertuples())
            lines.append(f"- `{name}`, margin {one.contrast.margin:g}: {arms}")
    if not lines:
        return ""
    head = "Effects in points that would have been seen with a chance of 80 %, where that is more than the margin:"
    return "\n".join(["## What the power could not show", "", head, "", *lines])


def _comment(name: str, said: Mapping[str, str]) -> str:
    return f"<!-- comment: {name} -->\n{said.get(name, '')}\n<!-- end of comment -->"


def write(root: Path) -> None:
    """Makes the page, the README's answer and the figures (which want a browser) anew."""
    known = found(root / "outputs")
    path = root / PAGE
    files.write_text(path, page(known, path.read_text(encoding="utf-8") if path.exists() else ""))
    readme = root / "README.md"
    files.write_text(readme, answered(readme.read_text(encoding="utf-8"), known))
    (root / FIGURES).mkdir(parents=True, exist_ok=True)
    names = list(known.judged)
    pio.write_images(
        [figure(known.judged[name]) for name in names], [root / FIGURES / f"{name}.png" for name in names], width=760
    )


def answered(readme: str, known: Found) -> str:
    """The README with the answer between its marks. InputError if it has none."""
    begin, end = README_MARKS
    if begin not in readme or end not in readme:
        raise InputError(f"README.md has no place for the answer: put {begin} and {end} into it")
    before, after = readme.split(begin)[0], readme.split(end)[1]
    return "\n".join([f"{before}{begin}", *answer(known), f"{end}{after}"])
