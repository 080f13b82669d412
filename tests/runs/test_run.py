"""One run = one folder: written whole, never trained twice, going on after a kill."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image

import iskit
from iskit import files
from iskit.errors import InputError
from iskit.runs.experiment import Experiment
from iskit.runs.grid import grid
from iskit.runs.run import Run
from iskit.study.sweep import Sweep

TINY = {"dataset": "digits(limit=200)", "model": "cnn(width=4)", "epochs": 4, "evals": 4}


def numbers(path: Path) -> pd.DataFrame:
    """A run's history without what the clock says."""
    return iskit.history_of(path).filter(regex="^(?!seconds_)")


def test_folder_holds_what_the_design_says(tmp_path):
    run = Run(Experiment(**TINY, sampler="p", budget=0.5), tmp_path)
    result = run.train()
    assert sorted(p.name for p in run.path.iterdir()) == [
        "correct.npy",
        "counts.npy",
        "history.parquet",
        "params.yaml",
        "result.json",
        "run.lock",
        "sample.parquet",
        "status.json",
    ]
    settings = yaml.safe_load((run.path / "params.yaml").read_text())
    assert Experiment.parse(settings) == run.experiment
    assert json.loads((run.path / "status.json").read_text())["state"] == "finished"
    history = iskit.history_of(run.path)
    assert len(history) == 4
    assert history["t"].iloc[-1] == 1.0
    counts = iskit.counts_of(run.path)
    assert counts.sum() == result["passes"]["backward"] == 416  # 0.5 x 4 x 200, to whole batches of 32
    assert result["accuracy"] == history["accuracy"].iloc[-1]
    assert result["best_accuracy"] == history["accuracy"].max()
    q = counts / counts.sum()
    assert result["entropy"] == pytest.approx(-(q[q > 0] * np.log(q[q > 0])).sum())
    assert result["equivalent_budget"] == pytest.approx(416 / 800)


def test_finished_run_is_never_trained_again(tmp_path):
    run = Run(Experiment(**TINY), tmp_path)
    run.train()
    before = {p: p.stat().st_mtime_ns for p in run.path.iterdir()}
    assert list(Run(Experiment(**TINY, study="playground"), tmp_path)) == []
    assert {p: p.stat().st_mtime_ns for p in run.path.iterdir()} == before


def test_the_model_is_kept_if_asked_for_and_may_be_asked_for_later(tmp_path):
    run, later = (Run(Experiment(**TINY, keep_model=keep), tmp_path) for keep in (False, True))
    assert run.path == later.path
    accuracy = run.train()["accuracy"]
    assert not (run.path / "model.pt").exists()
    assert later.train()["accuracy"] == accuracy
    assert list(later) == []
    model = later.trainer.model
    kept = torch.load(run.path / "model.pt", weights_only=True)
    assert kept.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(kept[name], value)


def test_models_are_kept_on_the_way(tmp_path):
    settings = {**TINY, "keep_model": 4}
    whole, parted = (Run(Experiment(**settings), tmp_path / name) for name in ("whole", "parted"))
    names = ["model-0.25.pt", "model-0.5.pt", "model-0.75.pt", "model.pt"]
    seen: dict[str, torch.Tensor] = {}
    for t in whole:
        due = [name for number, name in enumerate(names, 1) if number / 4 <= t]
        assert sorted(path.name for path in whole.path.glob("model*.pt")) == due
        for name in due:
            seen.setdefault(name, next(whole.trainer.model.parameters()).detach().clone())
    for t in parted:
        if t > 0.6:
            break
    parted.train()
    first = next(iter(whole.trainer.model.state_dict()))
    for run, name in itertools.product((whole, parted), names):
        assert torch.equal(torch.load(run.path / name, weights_only=True)[first], seen[name])
    (whole.path / "model-0.5.pt").unlink()
    assert not whole.finished


def test_a_checkpoint_without_the_models_that_are_asked_for_now_is_no_start(tmp_path):
    for t in Run(Experiment(**TINY), tmp_path):
        if t > 0.6:
            break
    later = Run(Experiment(**TINY, keep_model=2), tmp_path)
    with pytest.warns(UserWarning, match=r"did not keep model-0\.5\.pt: the run starts anew"):
        later.train()
    assert (later.path / "model-0.5.pt").exists()


def test_a_result_says_which_study_file_it_comes_from_and_what_was_right(tmp_path):
    run = Run(Experiment(**TINY), tmp_path, plan="0123abcd")
    result = run.train()
    assert result["plan"] == "0123abcd"
    assert result["dirty"] in (True, False, None)
    correct = iskit.correct_of(run.path)
    assert len(correct) == result["test_examples"] == len(run.trainer.data.test_label)
    assert 100 * correct.mean() == pytest.approx(result["accuracy"])
    np.testing.assert_array_equal(correct, run.trainer.correct.numpy())
    sample = iskit.sample_of(run.path)
    assert sample[sample["t"] == 1]["loss"].mean() == pytest.approx(result["sample_loss"], rel=1e-5)
    history = iskit.history_of(run.path).iloc[-1]
    for name in ("acted", "on", "weighted", "worst_class_accuracy", "sample_loss", "sample_accuracy"):
        assert result[name] == history[name]


def test_results_of_an_earlier_version_are_read(tmp_path):
    old, new = (Run(Experiment(**TINY, seed=seed), tmp_path) for seed in (1, 2))
    for run in (old, new):
        run.train()
    known = "accuracy best_accuracy loss train_loss train_accuracy seconds training_seconds passes steps"
    known += " equivalent_budget entropy entropy_share coverage effective_sample_size examples parameters device"
    known += " precision threads versions commit data"
    (old.path / "result.json").write_text(json.dumps({name: old.result[name] for name in known.split()}))
    for name in ("sample.parquet", "correct.npy"):
        (old.path / name).unlink()
    frame = iskit.results(outputs=tmp_path).set_index("seed")
    assert np.isnan(frame.loc[1, "acted"])
    assert frame.loc[2, "acted"] == 0
    (new.path / "result.json").unlink()
    frame = iskit.results(outputs=tmp_path)
    assert frame[["acted", "worst_class_accuracy", "sample_loss", "plan"]].isna().all(axis=None)
    assert len(iskit.over_seeds(frame)) == 1
    for read in (iskit.sample_of, iskit.correct_of):
        with pytest.raises(InputError, match="earlier version"):
            read(old.path)


def test_a_finished_run_of_weights_that_changed_is_another(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    settings = {**TINY, "model": "finetune(backbone='cnn(width=4)', weights='w.pt')"}
    paths = []
    for seed in (1, 2, 1):
        first = Run(Experiment(**TINY, seed=seed, keep_model=True))
        first.train()
        (tmp_path / "w.pt").write_bytes((first.path / "model.pt").read_bytes())
        paths.append(Run(Experiment(**settings)).path)
    assert paths[0] == paths[2] != paths[1]


def test_a_run_on_data_that_changed_is_refused_and_kept(tmp_path, monkeypatch):
    def write(brightest, names=range(6)):
        random = np.random.default_rng(0)
        for part, name, number in itertools.product(("train", "test"), "ab", names):
            path = tmp_path / "pics" / part / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, brightest, (8, 8), dtype=np.uint8)).save(path)

    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    settings = {**TINY, "dataset": "imagefolder(path='pics')", "batch_size": 4}
    write(200)
    done, stopped = (Run(Experiment(**settings, seed=seed)) for seed in (1, 2))
    result = done.train()
    next(iter(stopped))
    write(200)  # the same at another time: nothing has changed
    assert Run(done.experiment).train() == result
    write(100)
    for run in (done, stopped):
        with pytest.raises(InputError, match=r"imagefolder.* has changed since .*: remove that folder .* study="):
            Run(run.experiment).train()
    with pytest.raises(InputError, match="has changed since"):
        list(Sweep([done.experiment]))
    assert done.result == result
    write(200)
    assert Run(done.experiment).train() == result
    assert Run(stopped.experiment).train()["steps"] == result["steps"]


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("load", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")),
        ("load", RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")),
        ("choose", MemoryError()),
        ("Trainer._step", RuntimeError("could not create a primitive")),
        ("Trainer._step", RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")),
    ],
)
def test_full_memory_is_told_with_what_to_lower(where, error, tmp_path, monkeypatch):
    def full(*args):
        raise error

    monkeypatch.setattr(f"iskit.runs.run.{where}", full)
    message = r"memory does not hold batch_size=32 of model='cnn\(width=4\)' on dataset=.*: lower batch_size"
    with pytest.raises(InputError, match=message) as told:
        Run(Experiment(**TINY), tmp_path).train()
    assert "bf16" not in str(told.value)
    with pytest.raises(InputError, match="precision=bf16"):
        Run(Experiment(**TINY, precision="float32"), tmp_path).train()


def test_synonyms_share_a_run(tmp_path):
    one = Run(Experiment(**TINY, sampler="p-SGD(smooth=True)", augment="none|standard"), tmp_path)
    two = Run(Experiment(**TINY, sampler="p", augment="standard"), tmp_path)
    assert one.path == two.path


def test_left_loop_goes_on_to_the_same_numbers(tmp_path):
    experiment = Experiment(**TINY, sampler="c", augment="standard|mixup", budget=0.6)
    whole = Run(experiment, tmp_path / "whole")
    whole.train()
    parted = Run(experiment, tmp_path / "parted")
    for stop in (3, 4, 5):
        for step, _ in enumerate(parted, start=1):
            if step == stop:
                break
        assert json.loads((parted.path / "status.json").read_text())["state"] == "stopped"
    parted.train()
    pd.testing.assert_frame_equal(numbers(whole.path), numbers(parted.path))
    np.testing.assert_array_equal(iskit.counts_of(whole.path), iskit.counts_of(parted.path))
    assert not (parted.path / "checkpoint.pt").exists()


def test_second_process_on_a_folder_refuses(tmp_path):
    run = Run(Experiment(**TINY), tmp_path)
    run.path.mkdir(parents=True)
    with FileLock(run.path / "run.lock"), pytest.raises(InputError, match="another process"):
        Run(Experiment(**TINY), tmp_path).train()


def test_failure_is_told_and_leaves_other_runs_alone(tmp_path):
    good = Run(Experiment(**TINY), tmp_path)
    good.train()
    bad = Run(Experiment(**TINY, lr=1e30, momentum=0.0), tmp_path)
    with pytest.raises(RuntimeError, match=r"not a finite number at step \d+ .*lr=.* for the examples \["):
        bad.train()
    status = json.loads((bad.path / "status.json").read_text())
    assert status["state"] == "failed"
    assert "try lr=" in status["error"]
    assert good.finished
    assert not bad.finished
    assert (bad.path / "counts.npy").exists()  # what was learnt so far
    assert len(iskit.results(outputs=tmp_path)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "pp"}, r"sampler='pp' is unknown"),
        ({"augment": "standart"}, r"augment='standart' is unknown: did you mean 'standard'\?"),
        ({"augment": "standard||mixup"}, "stages joined by"),
        ({"model": "resnet19"}, "did you mean 'resnet18'"),
        ({"dataset": "digit"}, "did you mean 'digits'"),
        ({"schedule": "linaer"}, "did you mean 'linear'"),
        ({"sampler": "sgd", "budget": 0.5}, "use scan"),
        ({"sampler": "p(warmup=2)"}, "warmup=2"),
        ({"model": "cnn(width=0)"}, "width=0"),
        ({"budget": 0.01}, "less than one batch"),
        ({"batch_size": 201}, "batch_size=201"),
        ({"validation": 200}, "validation=200"),
        ({"dataset": "parquet(path='nowhere')"}, "nowhere"),
        ({"device": "cuda"} if not torch.cuda.is_available() else {"device": "tpu"}, "device="),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        Run(Experiment.parse({**TINY, **settings}), tmp_path).train()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=message):
        Run(Experiment.parse({**TINY, **settings}), tmp_path).check()


@pytest.mark.engines
def test_parallel_sweep_gives_the_numbers_of_single_runs(tmp_path):
    experiments = grid({**TINY, "sampler": ["sgd", "unif", "p"], "budget": [0.3, 0.6], "seeds": 2})
    assert len(experiments) == 2 + 2 * 2 * 2
    finished = {news.number for news in Sweep(experiments, workers=2, outputs=tmp_path / "sweep") if news.finished}
    assert finished == set(range(len(experiments)))
    for experiment in experiments[::4]:
        alone = Run(experiment, tmp_path / "alone")
        alone.train()
        pd.testing.assert_frame_equal(numbers(alone.path), numbers(Run(experiment, tmp_path / "sweep").path))
    frame = iskit.results(outputs=tmp_path / "sweep")
    assert len(frame) == len(experiments)
    full = frame.loc[frame["sampler"] == "sgd", "training_seconds"].mean()
    np.testing.assert_allclose(frame["speedup"], 100 * (1 - frame["training_seconds"] / full))
    means = iskit.over_seeds(frame)
    assert set(means["seeds"]) == {2}
    one = frame[(frame["sampler"] == "p") & (frame["budget"] == 0.3)]["accuracy"]
    row = means[(means["sampler"] == "p") & (means["budget"] == 0.3)].iloc[0]
    assert row["accuracy"] == pytest.approx(one.mean())
    assert row["deviation"] == pytest.approx(one.std(ddof=1))


@pytest.mark.engines
def test_stopped_sweep_ends_soon_and_goes_on(warm_workers, tmp_path):
    experiments = grid({**TINY, "epochs": 400, "sampler": ["unif", "scan"], "seeds": 2})
    sweep = Sweep(experiments, workers=1, outputs=tmp_path)
    for news in sweep:
        if news.t > 0:
            sweep.stop()
    assert not all(Run(experiment, tmp_path).finished for experiment in experiments)
    assert list(tmp_path.glob("*/*/checkpoint.pt"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": []}, "sampler=.* names nothing"),
        ({"seeds": 0}, "seeds=0"),
        ({"seeds": 2, "seed": 1}, "in place of seed"),
        ({"samplers": ["p"]}, "did you mean 'sampler'"),
        ({"sampler": ["p", "q"]}, "sampler='q' is unknown"),
    ],
)
def test_grid_refuses(settings, message):
    with pytest.raises(InputError, match=message):
        grid({**TINY, **settings})


def test_sweep_with_one_impossible_run_trains_none(tmp_path):
    experiments = grid({**TINY, "sampler": ["unif", "gnorm(presample=100)"]})
    with pytest.raises(InputError, match="presample=100"):
        list(Sweep(experiments, workers=1, outputs=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_runs_of_different_settings_are_no_seeds_of_one(tmp_path):
    for experiment in grid({**TINY, "epochs": [2, 4], "lr": [0.1, 0.01], "seeds": 2}):
        Run(experiment, tmp_path).train()
    frame = iskit.results(outputs=tmp_path)
    means = iskit.over_seeds(frame)
    assert set(zip(means["epochs"], means["lr"], strict=True)) == {(2, 0.1), (2, 0.01), (4, 0.1), (4, 0.01)}
    assert set(means["seeds"]) == {2}
    assert set(iskit.over_seeds(frame[(frame["epochs"] == 2) & (frame["lr"] == 0.1)]).columns) == {*means} - {
        "epochs",
        "lr",
    }


def test_the_speedup_is_against_full_runs_of_the_same_epochs(tmp_path):
    for epochs, sampler, seconds in ((2, "sgd", 10.0), (4, "sgd", 40.0), (2, "scan", 2.0), (4, "scan", 30.0)):
        budget = 1.0 if sampler == "sgd" else 0.5
        run = Run(Experiment(**{**TINY, "epochs": epochs}, sampler=sampler, budget=budget), tmp_path)
        run.train()
        files.write_json(run.path / "result.json", {**run.result, "training_seconds": seconds})
    found = iskit.results(outputs=tmp_path).set_index(["sampler", "epochs"])["speedup"]
    assert found.to_dict() == {("sgd", 2): 0, ("sgd", 4): 0, ("scan", 2): 80, ("scan", 4): 25}


def test_no_results_is_an_empty_frame(tmp_path):
    assert iskit.results(outputs=tmp_path).empty
    with pytest.raises(InputError, match="no finished run"):
        iskit.history_of(tmp_path)


@pytest.mark.engines
def test_workers_end_when_their_sweep_is_killed(tmp_path):
    settings = {**TINY, "epochs": 4000, "sampler": ["unif", "scan"], "study": "orphans"}
    code = (
        "from pathlib import Path; from iskit.runs.grid import grid; from iskit.study.sweep import Sweep\n"
        "if __name__ == '__main__':\n"
        f"    for news in Sweep(grid({settings!r}), workers=2, outputs=Path({str(tmp_path)!r})): pass\n"
    )
    script = tmp_path / "sweep.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("orphans/*/status.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = children.read_text().split() if children.exists() else []
    process.kill()
    process.wait()
    while time.monotonic() < deadline:
        states = [json.loads(path.read_text())["state"] for path in tmp_path.glob("orphans/*/status.json")]
        if states == ["stopped", "stopped"]:
            break
        time.sleep(0.05)
    assert states == ["stopped", "stopped"]
    assert len(list(tmp_path.glob("orphans/*/checkpoint.pt"))) == 2
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))  # none waits for work that never comes


def alive(process: str) -> bool:
    """Whether a process runs; one that ended but was not yet asked for its end does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
