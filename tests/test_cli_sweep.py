"""iskit sweep with study files, status and clean: what is refused before training, what is told, what is left."""

import shutil
from pathlib import Path

import papermill
import pytest
import yaml
from run_folders import write_past, write_run
from test_cli import command  # noqa: F401 - a fixture

import iskit
from iskit.cli.words import read_plans
from iskit.runs import folder
from iskit.runs.run import Run
from iskit.study import plan
from iskit.study.sweep import Sweep

PLAN = {
    "study": "s",
    "dataset": "digits(limit=60)",
    "model": "cnn(width=2)",
    **{"epochs": 2, "evals": 1, "batch_size": 16, "seeds": 2, "device": "cpu"},
    "blocks": {"full": {"sampler": "sgd"}, "tight": {"sampler": ["unif", "p"], "budget": 0.5}},
}


def written(where: Path, name: str = "s.yaml", **changes) -> str:
    path = where / name
    path.write_text(yaml.safe_dump({**PLAN, **changes}, sort_keys=False))
    return str(path)


def block(**settings):
    return {"blocks": {"full": {"sampler": "sgd"}, "tight": settings}}


def never(*_, **__):
    raise AssertionError("trained")


def test_a_dry_run_tells_what_is_to_do_and_leaves_nothing(command, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Sweep, "__iter__", never)
    file = written(tmp_path)
    code, out, err = command("sweep", file, "--dry-run")
    assert (code, err) == (0, "")
    assert "s: 6 runs: 6 new; 6 to do, about" in out
    assert "steps measured now" in out
    assert not (tmp_path / "outputs").exists()
    Run(plan.read_file(Path(file)).experiments[0]).train()
    out = command("sweep", file, "--dry-run")[1]
    assert "6 runs: 1 finished, 5 new; 5 to do, about" in out
    assert "by 1 finished runs" in out
    assert "s: 4 runs: 4 new; 4 to do" in command("sweep", file, "--dry-run", "--block", "tight")[1]


def test_a_study_file_is_trained_and_kept_and_only_its_runs_are_shown(warm_workers, command, tmp_path):  # noqa: F811
    file = written(tmp_path)
    write_past(write_run(tmp_path / "outputs", study="s", model="mlp"))
    code, out, _ = command("sweep", file, "--workers", "1")
    assert code == 0
    assert "mlp" not in out
    frame = iskit.results("s")
    own = frame[frame["model"] != "mlp"]
    assert len(own) == 6
    assert set(own["plan"]) == {plan.read_file(Path(file)).digest}
    assert [kept.name for kept in plan.kept("s", tmp_path / "outputs")] == ["s.yaml"]
    code, out, _ = command("status", "s")
    assert (code, out.splitlines()[0]) == (0, "s: 7 runs: 7 finished; nothing left to train")
    assert command("clean", "s", "--yes")[1] == "0 runs, 0.0 MB\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (block(sampler="pp"), "block tight: sampler='pp' is unknown"),
        (block(sampler="unif", budget=0.001), "block tight: budget=0.001 of 2 epochs"),  # known with the data only
        (block(sampler="unif", batch_size=64), "block tight: batch_size=64 is more than the 60"),
        (block(dataset="parquet(path='gone')"), "block tight: dataset option path='gone' is no folder"),
    ],
)
def test_an_invalid_point_is_named_before_any_is_trained(changes, message, command, tmp_path):  # noqa: F811
    code, out, err = command("sweep", written(tmp_path, **changes))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), OSError(28, "No space left on device")])
def test_outputs_that_cannot_be_written_are_found_before_training(error, command, tmp_path, monkeypatch):  # noqa: F811
    def refuse(dir):
        assert Path(dir) == tmp_path
        raise error

    monkeypatch.setattr(folder.tempfile, "TemporaryFile", refuse)
    code, out, err = command("sweep", written(tmp_path))
    assert (code, out) == (2, "")
    assert f"{tmp_path / 'outputs' / 's'} cannot be written ({error.strerror})" in err
    assert not (tmp_path / "outputs").exists()


def test_two_files_of_one_study_that_disagree_are_named(command, tmp_path, monkeypatch):  # noqa: F811
    one, other = written(tmp_path), written(tmp_path, "t.yaml", **block(sampler="scan", budget=0.5))
    message = "iskit: t.yaml and s.yaml of study='s' disagree on the block 'tight': give one of them another name\n"
    assert command("sweep", one, other) == (2, "", message)
    plan.keep(plan.read_file(Path(one)), tmp_path / "outputs")
    assert command("sweep", other) == (2, "", message)


def test_other_words_stand_in_place_of_the_file_s_and_may_cost_its_hash(tmp_path):
    file = written(tmp_path, **block(sampler="unif", budget=0.5, device="auto"))
    [same] = read_plans([file, "device=cpu", "data_dir=elsewhere"], [])
    assert same.digest == plan.read_file(Path(file)).digest
    assert {(e.device, e.data_dir) for e in same.experiments} == {("cpu", "elsewhere")}
    [changed] = read_plans([file, "budget=0.7", "seed=5"], ["tight"])
    assert changed.digest == ""
    assert [(e.sampler, e.budget, e.seed) for e in changed.experiments] == [("unif", 0.7, 5)]


def test_a_study_is_no_single_run(command, tmp_path):  # noqa: F811
    file = written(tmp_path)
    code, _, err = command("run", file)
    assert (code, err) == (2, f"iskit: {file} is a study of many runs: train it by iskit sweep {file}\n")
    code, _, err = command("sweep", file, "--block", "tigt", "--dry-run")
    assert (code, err) == (2, "iskit: --block tigt is unknown: did you mean 'tight'?\n")


def test_clean_shows_and_deletes_only_when_told(command, tmp_path):  # noqa: F811
    path = write_run(tmp_path / "outputs", study="s")  # without a history
    code, out, _ = command("clean", "s")
    assert code == 0
    assert "damaged" in out
    assert "to delete them add --yes" in out
    assert path.is_dir()
    assert str(path) not in command("clean", "s", "--failed", "--yes")[1]
    assert "removed" in command("clean", "s", "--yes")[1]
    assert not path.exists()


def test_a_notebook_that_fails_is_listed_and_costs_no_run(command, tmp_path, monkeypatch):  # noqa: F811
    assert command("sweep", written(tmp_path), "--notebook")[0] == 2  # the project has none
    shutil.copy(Path(__file__).parents[1] / "notebooks" / "run.ipynb", tmp_path / "notebooks")
    asked = []

    def execute(source, target, parameters, **_):
        asked.append((Path(source).name, Path(target).parent.name, parameters["seed"]))
        raise RuntimeError("no kernel")

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    one = written(tmp_path, seeds=1, **block(sampler="unif", budget=0.5))
    experiment = plan.read_file(Path(one)).blocks["tight"][0]
    run = Run(experiment)
    run.train()
    code, out, _ = command("sweep", one, "--block", "tight", "--notebook")
    assert (code, asked) == (0, [("run.ipynb", run.path.name, 1)])
    assert f"no notebook in {run.path}: RuntimeError: no kernel" in out


@pytest.mark.notebooks
def test_notebooks_lie_executed_beside_the_runs(command, tmp_path):  # noqa: F811
    import nbformat

    shutil.copy(Path(__file__).parents[1] / "notebooks" / "run.ipynb", tmp_path / "notebooks")
    one = written(tmp_path, seeds=1, **block(sampler="unif", budget=0.5))
    for _ in range(2):  # the second time it is found
        code, out, _ = command("sweep", one, "--block", "tight", "--notebook", "--workers", "1")
        assert (code, "no notebook" in out) == (0, False)
        [path] = tmp_path.glob("outputs/s/*/run.ipynb")
        assert nbformat.read(path, 4).metadata["iskit"]["status"] == "ok"
