"""A guess is kept beside the runs and stands beside what came out, with hands and without."""

import json

import pytest

import iskit
from iskit.errors import InputError
from iskit.lessons import guess as guesses

QUESTION = "Which is better?"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(guesses, "display", lambda _: None)
    return tmp_path


@pytest.fixture
def pressed(project, monkeypatch):
    """Somebody is there: gives a question's widget by a function that asks it."""
    shown = []
    monkeypatch.setattr(guesses, "hands", lambda: True)
    monkeypatch.setattr(guesses, "display", shown.append)

    def asked():
        question = iskit.ask(QUESTION, "one", "other", study="s")
        return (
            question,
            {button.description: button for button in shown[-1].children[1].children},
            shown[-1].children[2],
        )

    return asked


def test_in_batch_the_guess_is_the_parameter_or_none(project):
    assert iskit.ask(QUESTION, "one", "other", study="s").choice is None
    assert not list(project.rglob("*.json"))  # nothing was said, nothing is kept
    assert iskit.ask(QUESTION, "one", "other", study="s", guess="other").choice == "other"
    [file] = (project / "outputs" / "s").iterdir()
    assert {"question": QUESTION, "guess": "other"}.items() <= json.loads(file.read_text()).items()
    assert iskit.ask(QUESTION, "one", "other", study="s").choice == "other"  # of the run before
    assert iskit.ask("Another?", "one", "other", study="s").choice is None
    assert len(iskit.results("s")) == 0  # the file is no run, and breaks none


def test_a_button_keeps_the_guess_and_a_restarted_kernel_finds_it(pressed, project):
    question, buttons, said = pressed()
    assert list(buttons) == ["one", "other", "Skip"]
    told = []
    question.then.append(lambda: told.append(question.choice))
    assert not question.made
    buttons["one"].click()
    assert told == ["one"]
    assert all(button.disabled for button in buttons.values())
    again, buttons, said = pressed()
    assert (again.made, again.choice) == (True, "one")
    assert "Your guess: <b>one</b>" in said.value
    assert all(button.disabled for button in buttons.values())
    [file] = (project / "outputs" / "s").iterdir()
    file.unlink()
    assert not pressed()[0].made


def test_who_skips_has_made_no_guess_and_goes_on(pressed):
    question, buttons, _ = pressed()
    buttons["Skip"].click()
    assert (question.made, question.choice) == (True, None)
    assert pressed()[0].made


@pytest.mark.parametrize("text", ["", "[1]", '{"guess": "third"}', '{"guess": "o'])
def test_a_damaged_guess_is_none(pressed, project, text):
    pressed()[1]["one"].click()
    [file] = (project / "outputs" / "s").iterdir()
    file.write_text(text)
    assert not pressed()[0].made


@pytest.mark.parametrize(
    ("choices", "guess", "message"),
    [
        (["one"], "", "at least two different answers"),
        (["one", "one"], "", "at least two different answers"),
        (["one", "other"], "otter", "guess='otter' is no answer: did you mean 'other'?"),
    ],
)
def test_what_cannot_be_asked_is_refused(project, choices, guess, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        iskit.ask(QUESTION, *choices, study="s", guess=guess)
    with pytest.raises(InputError, match="plain folder name"):
        iskit.ask(QUESTION, "one", "other", study="../s")


@pytest.mark.parametrize(
    ("choice", "came", "held"),
    [
        ("one", {"one": 1}, "it held"),
        ("one", {"other": 1}, "it did not hold"),
        ("one", {"": 1}, "not decided by these runs"),
        ("one", {"one": 2, "other": 1, "": 1}, "it held in 2 of 4 comparisons, 1 is not decided by these runs"),
        ("one", {}, "nothing to hold it against yet"),
        (None, {"one": 1}, "no guess"),
    ],
)
def test_a_guess_stands_beside_what_came_out(project, choice, came, held):
    question = iskit.ask(QUESTION, "one", "other", study="s", guess=choice or "")
    beside = question.beside(came, "one by 3 points (1 to 5).")
    assert beside.held == held
    text = beside._repr_markdown_()
    assert held in text
    assert "What came out: one by 3 points (1 to 5)." in text
