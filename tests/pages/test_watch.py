"""A study watched from a notebook: a plain table in batch; for a person a view that follows the folder to the end."""

import time

import ipywidgets as ipw
import pytest
from run_folders import write_past, write_run

import iskit
from iskit.pages import watch as watching
from iskit.study import plan

PLAN = "study: s\ndataset: digits\nsampler: [unif, p]\n"


@pytest.fixture
def shown(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    (tmp_path / "s.yaml").write_text(PLAN)
    plan.keep(plan.read_file(tmp_path / "s.yaml"), tmp_path / "outputs")
    write_past(write_run(tmp_path / "outputs", study="s"))
    displayed: list = []
    monkeypatch.setattr(watching, "display", displayed.append)
    return displayed


def test_in_batch_it_is_a_table(shown):
    iskit.watch("s")
    [html] = shown
    assert "s: 2 runs: 1 finished, 1 missing; time left: about 8 s on one worker" in html.data
    assert "unif" in html.data


def test_the_view_follows_until_all_is_done(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "hands", lambda: True)
    iskit.watch("s", seconds=0)
    [box] = shown
    button, output = box.children
    assert isinstance(output, ipw.HTML)
    assert "1 missing" in output.value
    write_past(write_run(tmp_path / "outputs", study="s", sampler="p"))
    deadline = time.monotonic() + 60
    while not button.disabled and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "2 finished; nothing left to train" in output.value


def test_an_unknown_study_is_refused(shown):
    with pytest.raises(iskit.InputError, match="study='t' is no folder"):
        iskit.watch("t")
