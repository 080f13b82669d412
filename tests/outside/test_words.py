"""Settings as text: YAML, key=value words, spec strings: always a result, or one InputError of one line."""

import pytest
import yaml
from campaign import campaign, result_or_one_line
from hypothesis import example, given
from hypothesis import strategies as st

from iskit.augment import Pipeline, augments
from iskit.cli.words import read_settings
from iskit.data import datasets
from iskit.errors import InputError
from iskit.inputs import parse_yaml, read_yaml
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.runs.grid import grid
from iskit.samplers import samplers
from iskit.training.schedules import schedules

REGISTRIES = (samplers, augments, models, schedules, datasets)
NAMES = [name for registry in REGISTRIES for name in registry]
SETTINGS = [*Experiment.help(), "seeds", "bugdet", ""]

# What an attack found: each of these once ended in a traceback, a crash of the process, or minutes of work.
FOUND = [
    "2020-13-45",
    "!!bool x",
    "!!timestamp x",
    "!!int x",
    "!!binary x",
    "!!python/object:os.system x",
    "[" * 100_000,
    "{a: " * 5000,
    "- " * 20_000 + "1",
    "9" * 5000,
    "0x" + "f" * 5000,
    "&a [*a]",
    "a: &a [1, 1]\nb: &b [*a, *a]\n" + "c: [*b, *b]",
    "\0",
    "a\nb",
    "\ud800",
    "[[1], {2: 3}]",
    "\x1b[2J",
    "x" * 1_000_000,
    "inf",
    "1e400",
    "null",
    "on",
    "~",
    "=",
    "",
]
FOUND_SPECS = [
    "+" * 5000,
    "p(a=" + "1+" * 5000 + "1)",
    "p(a=" + "(" * 5000 + ")" * 5000 + ")",
    "p(a=" + "-" * 4000 + "1)",
    "p(a=" + "[" * 150 + "]" * 150 + ")",
    "p" + " " * 100_000 + "!",
    "cnn(width=" + "9" * 4000 + ")",
    "cnn(width=0x" + "f" * 4000 + ")",
    "cnn(width=99999999999999999999)",
    "digits(size=99999999999)",
    "digits(classes=(99999999999999999999,))",
    "imagefolder(path='\\0')",
    "mini-imagenet(path='\\0')",
    "mini-imagenet(path='\0')",
    "parquet(path='" + "a" * 300 + "')",
    "parquet(path='/dev/null')",
    "parquet(path='\\ud800')",
    "parquet(path='a\\d')",
    "finetune(weights='\\0')",
    "finetune(weights='" + "a" * 300 + "')",
    "p(1)",
    "p(**{})",
    "p(smooth=1if)",
    "p(\x1b[2J)",
    "p[/b]",
    "standard|" * 400 + "none",
    "|",
]

yaml_texts = st.one_of(
    st.text(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SETTINGS), inner, max_size=3),
        max_leaves=8,
    ).map(yaml.safe_dump),
    st.lists(
        st.sampled_from([*"[]{}:,-?!&*|>'\"#%@`\n\t ", "a", "1", "!!set", "<<", "---", "*a", "&a"]), max_size=30
    ).map("".join),
)
literals = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.text(max_size=8).map(repr),
    st.sampled_from(["True", "none", "()", "(1,)", "{}", "[1]", "b'x'", "1j", "...", "x", "-", "1+1", "lambda: 0"]),
)
options = [key for registry in REGISTRIES for name in registry for key in registry.options(name)]
specs = st.one_of(
    st.text(max_size=40),
    st.builds(
        lambda name, pairs: f"{name}({', '.join(f'{key}={value}' for key, value in pairs)})",
        st.sampled_from(NAMES),
        st.lists(st.tuples(st.sampled_from(options), literals), max_size=2),
    ),
    st.builds("|".join, st.lists(st.sampled_from([*augments, "", " ", "(", "none()"]), max_size=4)),
)


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISKIT_ROOT", str(tmp_path_factory.mktemp("project")))
        yield


@pytest.mark.parametrize("text", FOUND, ids=lambda text: repr(text[:20]))
def test_found_texts_are_a_value_or_one_line(text, tmp_path):
    result_or_one_line(parse_yaml, "x", text)
    (tmp_path / "x.yaml").write_bytes(text.encode(errors="surrogatepass"))
    result_or_one_line(read_yaml, tmp_path / "x.yaml")
    for name in SETTINGS:
        settings = result_or_one_line(read_settings, [f"{name}={text}"])
        if settings is not None:
            result_or_one_line(Experiment.parse, settings)
            result_or_one_line(grid, settings)


@campaign
@given(yaml_texts)
def test_any_yaml_is_a_value_or_one_line(text):
    result_or_one_line(parse_yaml, "x", text)


@campaign
@given(st.lists(st.tuples(st.sampled_from(SETTINGS), yaml_texts | specs), max_size=3))
@example([("seeds", "1000000000")])
@example([("sampler", "[unif, [p]]")])
@example([("seeds", "[3]")])
@example([("seed", "[1, 2]"), ("seeds", "2")])
def test_any_words_make_a_grid_or_one_line(words):
    settings = result_or_one_line(read_settings, [f"{key}={value}" for key, value in words])
    if settings is not None:
        result_or_one_line(grid, settings)


@pytest.mark.parametrize("spec", FOUND_SPECS, ids=lambda spec: repr(spec[:30]))
def test_found_specs_are_parts_or_one_line(spec):
    check_spec(spec)


@pytest.mark.parametrize("tag", ["timestamp", "bool"])
def test_a_false_tag_is_told_in_plain_words(tag):
    with pytest.raises(InputError, match="a value is not what its tag says"):
        parse_yaml("x", f"!!{tag} x")


def test_text_that_can_be_no_path_is_told_by_its_option():
    with pytest.raises(InputError, match=r"path=.* must be text"):
        datasets.canonical("mini-imagenet(path='\0')")


@campaign
@given(specs)
def test_any_spec_is_a_part_or_one_line(spec):
    check_spec(spec)


def check_spec(spec: str) -> None:
    for registry in REGISTRIES:
        canonical = result_or_one_line(registry.canonical, spec)
        if canonical is not None:
            assert registry.canonical(canonical) == canonical
    for name in ("sampler", "model", "augment", "dataset", "schedule"):
        result_or_one_line(grid, {name: spec})
    pipeline = result_or_one_line(Pipeline.parse, spec)
    if pipeline is not None:
        assert Pipeline.parse(Pipeline.canonical(spec)).stages is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 1_000_000_000}, "more than 100,000 runs: give fewer values of seed"),
        ({name: list(range(12)) for name in list(Experiment.help())[:8]}, "more than 100,000 runs"),
        ({"seed": list(range(400)), "lr": [i / 1000 for i in range(1, 400)]}, "more than 100,000 runs"),
    ],
    ids=["seeds", "axes", "two"],
)
def test_a_grid_too_large_is_refused_before_it_is_made(settings, message):
    with pytest.raises(InputError, match=message):
        grid(settings)


def test_a_grid_parses_each_spec_once_and_checks_what_differs_in_numbers_once(monkeypatch):
    """By counting, not by the clock: 1,000 combinations of two samplers."""
    asked = []
    monkeypatch.setattr("iskit.runs.grid.parts", asked.append)
    found = grid({"sampler": ["p", "unif"], "lr": [i / 1000 for i in range(1, 101)], "seeds": 5})
    assert len(found) == 1000
    assert [one.sampler for one in asked] == ["p", "unif"]


def test_names_that_settings_make_fit_a_file_system():
    with pytest.raises(InputError, match="plain folder name of at most 200 bytes"):
        Experiment(study="a" * 300)
    long = {"sampler": "p", "augment": "|".join(["standard"] * 60)}
    name = Experiment().run_id(long)
    assert len(name.encode()) < 255
    assert name != Experiment(seed=2).run_id(long)


def test_a_file_of_settings_is_a_regular_file_of_bounded_size(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="no regular file"):
        read_yaml(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="is a folder"):
        read_yaml(tmp_path)
    (tmp_path / "large.yaml").write_bytes(b"a" * (1 << 21))
    with pytest.raises(InputError, match="larger than a megabyte"):
        read_yaml(tmp_path / "large.yaml")


@given(st.text(max_size=300), st.integers(0, 3000))
@campaign
def test_a_message_is_one_line_that_keeps_its_head_and_tail(text, length):
    message = str(InputError(f"name={text}{'x' * length}{text}: remedy"))
    assert message.isprintable()
    assert len(message) <= InputError.longest
    assert message.startswith("name=")
    assert message.endswith("remedy")
