"""How a study stands, how long the rest takes, and what may be deleted of it."""

import json
import os
import shutil

import pandas as pd
import pytest
from filelock import FileLock
from run_folders import write_past, write_run

from iskit.errors import InputError
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.study import clean, plan
from iskit.study.archive import results
from iskit.study.forecast import START, Speed, forecast
from iskit.study.pack import pack
from iskit.study.packed import SHELF
from iskit.study.status import STATES, standing

PLAN = """
study: s
dataset: digits
device: cpu
blocks:
  all: {sampler: [unif, p], seeds: 5}
"""
SECONDS = 6.0 + 2.0 + 1.0 + 0.5 + 4.0  # of a run that write_run made


@pytest.fixture
def study(tmp_path):
    """Ten runs planned, of unif and p: one in each state, but for p's later seeds, which are missing."""
    (tmp_path / "s.yaml").write_text(PLAN)
    plan.keep(plan.read_file(tmp_path / "s.yaml"), tmp_path / "out")
    folder = tmp_path / "out" / "s"

    def begun(seed, sampler="unif", **status):
        path = Run(Experiment(study="s", seed=seed, sampler=sampler), tmp_path / "out").path
        path.mkdir(parents=True)
        settings = Experiment(study="s", seed=seed, sampler=sampler).to_dict()
        (path / "params.yaml").write_text(json.dumps(settings))
        (path / "status.json").write_text(json.dumps(status))
        (path / "run.lock").touch()
        return path

    paths = {"finished": write_run(tmp_path / "out", study="s", seed=1)}
    write_past(paths["finished"])
    paths["running"] = begun(2, state="running", saved=0.5, host="far", process=7)
    paths["stopped"] = begun(3, state="stopped", saved=0.25, t=0.25)
    (paths["stopped"] / "checkpoint.pt").write_bytes(bytes(5000))
    paths["killed"] = begun(4, state="running", saved=None)
    paths["failed"] = begun(5, state="failed", error="lr is too high\nand more", diverged=True)
    paths["damaged"] = write_run(tmp_path / "out", study="s", seed=1, sampler="p")  # without history and counts
    lock = FileLock(paths["running"] / "run.lock")
    lock.acquire()
    yield paths
    lock.release()
    assert folder.is_dir()


def test_a_packed_study_stands_without_its_folder(study, tmp_path):
    outputs = tmp_path / "out"
    shutil.rmtree(study["damaged"])
    pack("s", outputs / SHELF / "s.zip", outputs)
    here = standing("s", outputs)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(outputs / SHELF, elsewhere / SHELF)
    now = standing("s", elsewhere)
    assert {state: now.count(state) for state in STATES if now.count(state)} == {"finished": 1, "missing": 9}
    assert {state: here.count(state) for state in STATES if here.count(state)} == {
        "finished": 1, "running": 1, "stopped": 1, "killed": 1, "failed": 1, "missing": 5,
    }  # fmt: skip
    with pytest.raises(InputError, match="'t' is no folder"):
        standing("t", elsewhere)


def test_every_state_is_told_and_what_is_missing(study, tmp_path):
    now = standing("s", tmp_path / "out")
    assert {state: now.count(state) for state in STATES} == {**dict.fromkeys(study, 1), "missing": 4}
    rows = now.runs.set_index("state")
    for state, path in study.items():
        assert rows.loc[state, "path"] == str(path)
    assert rows.loc["failed", "error"] == "lr is too high"
    assert rows.loc["running", ["host", "process"]].tolist() == ["far", 7]
    assert rows.loc["stopped", ["sampler", "seed", "t"]].tolist() == ["unif", 3, 0.25]
    assert rows.loc["missing", "sampler"].tolist() == ["p"] * 4
    # Halves, quarters and wholes of what a finished one took; the diverged one is given up.
    assert now.left == pytest.approx(SECONDS * (0.5 + 0.75 + 1 + 4))


def test_runs_on_another_device_are_those_of_the_plan(tmp_path):
    (tmp_path / "s.yaml").write_text(PLAN)
    plan.keep(plan.read_file(tmp_path / "s.yaml"), tmp_path / "out")
    write_past(write_run(tmp_path / "out", study="s", seed=1, device="auto", precision="float32", data_dir="else"))
    assert standing("s", tmp_path / "out").count("missing") == 9


def test_a_study_without_runs_or_folder(tmp_path):
    (tmp_path / "s").mkdir()
    now = standing("s", tmp_path)
    assert (len(now.runs), now.left) == (0, 0)
    with pytest.raises(InputError, match="study='t' is no folder under outputs/"):
        standing("t", tmp_path)


def test_seconds_are_those_of_alike_runs_scaled(tmp_path):
    for seed, seconds in enumerate((2.0, 3.0, 10.0)):
        write_run(tmp_path, {"seconds": {"train": seconds, "eval": 1.0}}, study="s", seed=seed, budget=0.5)
    write_run(tmp_path, {"equivalent_budget": 0.5, "seconds": {"train": 8.0}}, study="s", sampler="p", budget=0.25)
    speed = Speed(results("s", tmp_path))
    e = {"study": "s"}
    assert speed.seconds(Experiment(**e, budget=0.5, seed=9)) == pytest.approx(4)
    assert speed.seconds(Experiment(**e, budget=1.0, epochs=120)) == pytest.approx(16)
    assert speed.seconds(Experiment(**e, sampler="p", budget=0.5)) == pytest.approx(16)
    # Not seen: the kind's seconds a pass, median of 3 / .5, 4 / .5, 11 / .5 and 8 / .5, times the passes of p.
    alike = Experiment(**e, sampler="p", budget=0.25, augment="none")
    assert speed.seconds(alike) == pytest.approx((8 / 0.5 + 4 / 0.5) / 2 * 0.25 * 2)
    assert speed.seconds(Experiment(**e, model="mlp")) is None
    assert Speed(pd.DataFrame()).seconds(Experiment()) is None


def test_workers_share_what_is_left_and_the_longest_run_bounds_it(tmp_path):
    write_run(tmp_path, {"seconds": {"train": 6.0}}, study="s", budget=0.3)
    frame = results("s", tmp_path)
    one = Experiment(study="s", budget=0.3, device="cpu")
    assert forecast([(one, 1.0)] * 4, frame, 2).seconds == pytest.approx(START + 12)
    assert forecast([(one, 1.0)] * 4, frame, 2, warm=True).seconds == pytest.approx(12)
    assert forecast([(one, 1.0), (one, 0.5)], frame, 2, warm=True).seconds == pytest.approx(6)
    assert forecast([], frame, 2).seconds == 0
    assert "steps measured now" in forecast([(Experiment(model="mlp(width=8)", device="cpu"), 1.0)], frame, 2).why


@pytest.mark.parametrize(
    ("kinds", "states"),
    [(["failed"], {"failed"}), (["stopped"], {"stopped", "killed"}), (["damaged"], {"damaged"})],
)
def test_clean_removes_what_was_chosen_alone(study, tmp_path, kinds, states):
    found = clean.remains(tmp_path / "out" / "s", kinds)
    assert {one.state for one in found} == states
    assert all(path.is_dir() for path in study.values())  # looking deletes nothing
    assert all(clean.remove(one) for one in found)
    assert {state for state, path in study.items() if not path.exists()} == states
    assert not list((tmp_path / "out" / "s").glob(".*removed"))


def test_clean_tells_sizes_and_spares_the_young(study, tmp_path):
    folder = tmp_path / "out" / "s"
    for file in study["stopped"].iterdir():
        os.utime(file, (1, 1))
    [old] = clean.remains(folder, ["stopped"], days=100)
    assert (old.path, old.state) == (study["stopped"], "stopped")
    assert old.bytes == sum(file.stat().st_size for file in old.path.iterdir()) > 5000


def test_clean_spares_what_is_at_work_or_finished_by_now(study, tmp_path):
    found = {one.state: one for one in clean.remains(tmp_path / "out" / "s", clean.KINDS)}
    with FileLock(study["stopped"] / "run.lock"):
        assert not clean.remove(found["stopped"])
    shutil.copytree(study["finished"], study["killed"], dirs_exist_ok=True)
    assert not clean.remove(found["killed"])
    assert study["stopped"].is_dir()
    assert study["killed"].is_dir()
