"""Spec strings: what can be meant is understood, everything else is refused with a remedy; cards can be read."""

from typing import Literal

import pytest

from iskit.augment import augments
from iskit.data import datasets
from iskit.docstrings import CARD_FIELDS, Card
from iskit.errors import InputError, suggest
from iskit.models import models
from iskit.registry import Registry
from iskit.samplers import samplers
from iskit.training.schedules import schedules

REGISTRIES = {r.kind: r for r in (samplers, augments, models, schedules, datasets)}
PARTS = [(kind, name) for kind, registry in REGISTRIES.items() for name in registry]
METHODS = [(kind, name) for kind, name in PARTS if kind in ("sampler", "augment")]

tools: Registry[tuple] = Registry("tool")


@tools.register("Saw", "hand-saw", "S.1")
class Saw:
    def __init__(
        self,
        supplied: int = 0,
        *,
        teeth: int = 10,
        length: float = 0.5,
        sharp: bool = True,
        kind: Literal["rip", "cross"] = "rip",
        maker: str | None = None,
        cuts: tuple[float, ...] = (),
        grade: Literal["a", "b"] | None = None,
        level: Literal[1, 2] = 1,
    ):
        self.options = {key: value for key, value in vars().items() if key not in ("self", "supplied")}
        self.supplied = supplied


@tools.register("glue")
def glue(supplied: int, *, path: str) -> tuple:
    return supplied, path


@tools.register("nail")
class Nail:
    pass


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("Saw", {}),
        ("saw", {}),
        (" SAW ( ) ", {}),
        ("hand-saw()", {}),
        ("S.1", {}),
        ("saw(teeth=3)", {"teeth": 3}),
        ("saw(length=2)", {"length": 2.0}),
        ("saw(length=1e-3, sharp=False)", {"length": 0.001, "sharp": False}),
        ("saw(sharp=false)", {"sharp": False}),  # as YAML spells it
        ("saw(maker=none)", {"maker": None}),
        ("saw(maker='a (b), c=\"d|e\"')", {"maker": 'a (b), c="d|e"'}),
        ("saw(kind='cross', )", {"kind": "cross"}),
        ("saw(cuts=(0.1, 0.2))", {"cuts": (0.1, 0.2)}),
        ("saw(grade=None)", {"grade": None}),
        ("saw(grade='b')", {"grade": "b"}),
        ("saw(teeth=-3)", {"teeth": -3}),
        ("saw(\n  teeth=3,\n  length=1.0\n)", {"teeth": 3, "length": 1.0}),
    ],
)
def test_what_can_be_meant_is_understood(spec, options):
    assert tools.parse(spec) == ("Saw", options)
    assert {key: type(value) for key, value in tools.parse(spec)[1].items()} == {
        key: type(value) for key, value in options.items()
    }
    created = tools.create(spec, 7)
    assert created.supplied == 7
    assert options.items() <= created.options.items()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "write name or name(option=value"),
        ("saw(", "write name or name(option=value"),
        ("saw)", "write name or name(option=value"),
        ("saw teeth=3", "write name or name(option=value"),
        ("saw(teeth=3", "write name or name(option=value"),
        ("(teeth=3)", "write name or name(option=value"),
        ("saw(teeth=3))", "options are written name=value"),
        ("saw(3)", "options are written name=value"),
        ("saw(teeth)", "options are written name=value"),
        ("saw(**{'teeth': 3})", "options are written name=value"),
        ("saw(*(1, 2))", "options are written name=value"),
        ("saw(kind=cross)", "words in quotes"),
        ("saw(kind='cross)", "options are written name=value"),
        ("saw(teeth=__import__('os').getpid())", "options are written name=value"),
        ("saw(teeth=1+1)", "options are written name=value"),
        ("saw(teeth=3)(length=1.0)", "options are written name=value"),  # not: length alone
        ("saw()()", "options are written name=value"),
        ("saw(teeth=3, teeth=4)", "options are written name=value"),  # not: the last one
        ("saw(cuts={[]: 1})", "options are written name=value"),
        ("saw(lenght=1.0)", "did you mean 'length'?"),
        ("saw(zzz=1.0)", "known: cuts, grade, kind, length, level, maker, sharp, teeth"),
        ("saw(supplied=1)", "unknown option 'supplied'"),
        ("nail(a=1)", "nail has no options"),
        ("sow", "did you mean 'Saw'?"),
        ("hand-sw", "did you mean 'hand-saw'?"),
        ("xyz", "known: Saw, glue, nail"),
        ("saw(teeth=3.0)", "teeth=3.0 must be int"),
        ("saw(teeth=True)", "teeth=True must be int"),
        ("saw(teeth='3')", "teeth='3' must be int"),
        ("saw(length=True)", "length=True must be float"),
        ("saw(length='0.3x')", "length='0.3x' must be float"),
        ("saw(length=None)", "length=None must be float"),
        ("saw(length=1e999)", "length=inf must be"),
        ("saw(sharp=1)", "sharp=1 must be bool"),
        ("saw(sharp='no')", "sharp='no' must be bool"),
        ("saw(kind='crass')", "did you mean 'cross'?"),
        ("saw(kind=3)", "kind=3 is unknown: known: cross, rip"),
        ("saw(grade='c')", "grade='c' is unknown"),
        ("saw(level=True)", "level=True is unknown"),
        ("saw(maker=3)", "maker=3 must be str or None"),
        ("saw(cuts=0.5)", "cuts=0.5 must be tuple"),
        ("saw(cuts=[0.5])", "cuts=[0.5] must be tuple"),
        ("saw(length=1" + 400 * "0" + ")", "a number is too large"),
        ("glue", "needs path: write glue(path=...)"),
        ("glue()", "needs path: write glue(path=...)"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(spec, words):
    for understand in (tools.parse, tools.canonical, tools.partial, tools.create):
        with pytest.raises(InputError) as error:
            understand(spec)
        assert words in str(error.value)
        assert "tool=" in str(error.value)
        assert "\n" not in str(error.value)  # one line


@pytest.mark.parametrize(
    "spec", ["Saw(length=2.0, teeth=3)", "saw(teeth=3,length=2)", "HAND-SAW( teeth = 3, length=2., sharp = True )"]
)
def test_synonyms_have_one_canonical_spelling(spec):
    assert tools.canonical(spec) == "Saw(length=2.0, teeth=3)"
    assert tools.canonical(tools.canonical(spec)) == tools.canonical(spec)


def test_defaults_are_left_out_of_the_canonical_spelling():
    assert tools.canonical("s.1(teeth=10, maker=None, cuts=(), length=0.50)") == "Saw"
    assert tools.canonical("saw(length=0)") == "Saw(length=0.0)"


def test_canonical_spellings_of_odd_texts_can_be_read_again():
    spec = tools.canonical("""saw(maker='it''s "odd" \\\\ (x=1)\\n')""")
    assert tools.parse(spec) == ("Saw", {"maker": 'its "odd" \\ (x=1)\n'})


def test_names_and_aliases():
    assert list(tools) == ["Saw", "glue", "nail"]  # sorted
    assert "SAW" in tools
    assert "hand-saw" in tools
    assert "sow" not in tools
    assert 3 not in tools
    assert tools["hand-SAW"] is Saw
    assert list(tools.options("glue")) == ["path"]


@pytest.mark.parametrize("names", [("saw",), ("axe", "GLUE"), ("hand-Saw",), ("pin", "S.1")])
def test_a_taken_name_is_refused_and_leaves_nothing_behind(names):
    with pytest.raises(ValueError, match="registered already"):
        tools.register(*names)(Nail)
    assert list(tools) == ["Saw", "glue", "nail"]
    assert "axe" not in tools
    assert "pin" not in tools


def test_people_are_shown_the_first_alias():
    assert tools.title("s.1( sharp=True )") == "hand-saw"
    assert tools.title("SAW(teeth=3)") == "hand-saw(teeth=3)"
    assert tools.title("glue(path='glue')") == "glue(path='glue')"
    assert samplers.title("selective_backpropagation") == "SB"
    assert samplers.title("p") == "p-SGD"
    assert samplers.title("gone(k=1)") == "gone(k=1)"


def test_suggest_gives_the_nearest_or_all():
    assert suggest("Bugdet", ["lr", "budget"]) == "did you mean 'budget'?"
    assert suggest("zzz", ["lr", "budget"], aliases=["rate"]) == "known: budget, lr"
    assert suggest("rat", ["lr", "budget"], aliases=["Rate"]) == "did you mean 'Rate'?"


def test_the_nearest_name_of_a_misspelt_alias_is_the_alias():
    with pytest.raises(InputError, match="did you mean 'p-SGD'"):  # not 'sgd', another method
        samplers.parse("p-SGDD")


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_registered_part_can_be_found_and_its_options_have_types(kind, name):
    registry = REGISTRIES[kind]
    assert registry[name.upper()] is registry[name]
    required = [key for key, option in registry.options(name).items() if option.default is option.empty]
    if required:
        with pytest.raises(InputError, match=required[0]):
            registry.parse(name)
    else:
        assert registry.canonical(name) == registry.canonical(registry.title(name)) == name
    for key, option in registry.options(name).items():
        assert option.annotation is not option.empty, f"{key} has no type"
        if option.default is not option.empty:  # a default must itself be a value that one may write
            written = ", ".join([f"{key}={option.default!r}", *(f"{other}='x'" for other in required)])
            registry.parse(f"{name}({written})")


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_every_method_has_a_card(kind, name):
    card = REGISTRIES[kind].card(name)
    assert card.name == name
    assert card.summary.endswith(".")
    assert len(card.summary) <= 120
    assert all(getattr(card, field) for field in CARD_FIELDS)


CARD = """Does a thing.

cite: Somebody 2020, "A title: with a colon"
changes: this
passes: none extra
rule: x -> y,
  then y -> z
differs: nothing
neutral: budget=1
"""


def test_a_card_is_read_field_by_field():
    card = Card.read("thing", CARD)
    assert card.summary == "Does a thing."
    assert card.cite == 'Somebody 2020, "A title: with a colon"'
    assert card.rule == "x -> y, then y -> z"
    assert card.neutral == "budget=1"


@pytest.mark.parametrize("field", CARD_FIELDS)
def test_a_card_that_lacks_a_field_is_refused(field):
    lines = CARD.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{field}:"))
    with pytest.raises(ValueError, match=f"'thing' lacks {field}"):
        Card.read("thing", "\n".join([*lines[:start], f"{field}:", *lines[start + 1 :]]).replace("  then y -> z\n", ""))


def test_an_alias_class_may_bring_its_own_card():
    own: Registry[object] = Registry("thing")
    own.register("other")(type("Other", (), {"__doc__": CARD, "__module__": __name__}))
    assert own.card("OTHER").summary == "Does a thing."


motors: Registry[None] = Registry("motor")


@motors.register("drill", "D", revised={"": 3, "hammer=True": 2, "speed": 4, "bit='wood'": 2})
def drill(supplied: int = 0, *, hammer: bool = False, speed: float = 1.0, bit: str = "metal") -> None: ...


@motors.register("fan")
def fan() -> None: ...


@pytest.mark.parametrize(
    ("spec", "revisions"),
    [
        ("fan", {}),
        ("drill", {"drill": 3}),
        ("D(hammer=False, speed=1)", {"drill": 3}),
        ("drill(hammer=true)", {"drill": 3, "drill(hammer=True)": 2}),
        ("drill(speed=2)", {"drill": 3, "drill(speed)": 4}),  # any value but the default
        ("drill(bit='wood')", {"drill": 3, "drill(bit='wood')": 2}),
        ("drill(bit='stone')", {"drill": 3}),
    ],
)
def test_what_of_a_part_was_revised(spec, revisions):
    assert motors.revisions(spec) == revisions


def test_a_value_of_an_option_may_be_revised_that_is_its_default():
    gears: Registry[None] = Registry("gear")

    @gears.register("worm", revised={"teeth=10": 2})
    def worm(*, teeth: int = 10) -> None: ...

    assert gears.revisions("worm") == gears.revisions("worm(teeth=10)") == {"worm(teeth=10)": 2}
    assert gears.revisions("worm(teeth=11)") == {}


def test_a_revision_of_an_option_that_is_not_there_is_an_error():
    gears: Registry[None] = Registry("gear")
    with pytest.raises(ValueError, match="gear 'screw' has no option for the revision of 'heda=2'"):
        gears.register("screw", revised={"heda=2": 2})(lambda *, head=1: None)
