"""Reading finished runs: what is pooled, what is told apart, what is damaged, what is read a second time."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from run_folders import FOUND, write_past, write_run

import iskit
from iskit import cli, files
from iskit.errors import InputError
from iskit.runs.experiment import Experiment
from iskit.runs.parts import SPELLING
from iskit.study import archive, folders

# Numbers that mislead


def test_the_specs_are_those_that_have_a_spelling():
    assert set(archive.SPECS) == set(SPELLING)


@pytest.mark.parametrize("specs", [True, False], ids=["kept", "older run"])
@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("sampler", "unif", "unif-SGD"),
        ("augment", "standard", "none|Standard"),
        ("model", "cnn", "CNN(width=16)"),
        ("dataset", "digits", "digits(limit=0)"),
        ("schedule", "linear", "Linear"),
    ],
)
def test_seeds_of_synonyms_are_seeds_of_one(tmp_path, name, one, other, specs):
    assert SPELLING[name](one) == SPELLING[name](other) == one
    for seed, spec in enumerate((one, other)):
        write_run(tmp_path, specs=specs, seed=seed, **{name: spec})
    frame = iskit.results(outputs=tmp_path)
    assert frame[name].tolist() == [one, one]
    assert iskit.over_seeds(frame)["seeds"].tolist() == [2]


@pytest.mark.parametrize("specs", [True, False], ids=["kept", "older run"])
def test_speed_up_knows_sgd_by_any_name_and_is_of_training_and_scoring(tmp_path, specs):
    write_run(tmp_path, {"training_seconds": 8.0}, specs, sampler="SGD", budget=1)
    write_run(tmp_path, {"training_seconds": 2.0}, specs, sampler="p", budget=0.3)
    assert iskit.results(outputs=tmp_path).set_index("sampler")["speedup"].to_dict() == {"sgd": 0, "p": 75}


def test_a_method_that_is_known_no_more_keeps_the_text_as_typed(tmp_path):
    for seed, kept in enumerate((True, False)):
        path = write_run(tmp_path, specs=kept, sampler="p", seed=seed)
        text = (path / "params.yaml").read_text().replace("sampler: p\n", "sampler: Gone(x=1)\n")
        (path / "params.yaml").write_text(text)
        if kept:
            found = files.read_json(path / "result.json")
            files.write_json(path / "result.json", {**found, "specs": {**found["specs"], "sampler": "gone"}})
    assert set(iskit.results(outputs=tmp_path)["sampler"]) == {"gone", "Gone(x=1)"}


@pytest.mark.parametrize(
    "other",
    [
        {"validation": 30},
        {"epochs": 90},
        {"deterministic": True},
        {"compile": "off"},
        {"precision": "float32"},
        {"augment": "none"},
        {"batch_size": 16},
        {"optimizer": "adam"},
        {"model": "mlp"},
        {"dataset": "digits(limit=500)"},
        {"found": {"threads": 1}},
        {"found": {"device": "another"}},
        {"found": {"precision": "bf16"}},
    ],
    ids=str,
)
def test_speed_is_compared_on_the_same_task_only(tmp_path, other):
    write_run(tmp_path, {"training_seconds": 8.0}, sampler="sgd", budget=1)
    found = other.get("found", {})
    settings = {name: value for name, value in other.items() if name != "found"}
    write_run(tmp_path, {"training_seconds": 16.0, **found}, sampler="sgd", budget=1, study="x", **settings)
    write_run(tmp_path, {"training_seconds": 4.0}, sampler="p")
    frame = iskit.results(outputs=tmp_path)
    assert frame.loc[frame["sampler"] == "p", "speedup"].tolist() == [50]


@pytest.mark.parametrize("found", [{"threads": 1}, {"device": "another"}, {"precision": "bf16"}], ids=str)
def test_seeds_of_different_machines_are_not_pooled(tmp_path, found):
    write_run(tmp_path, seed=1)
    write_run(tmp_path, found, seed=2)
    frame = iskit.results(outputs=tmp_path)
    assert iskit.over_seeds(frame)["seeds"].tolist() == [1, 1]
    [column] = archive.also_varies(frame)
    assert column in archive.MACHINE


def test_runs_of_different_weights_are_not_pooled(tmp_path):
    for seed, weights in enumerate(("one", "two")):
        path = write_run(tmp_path, seed=seed)
        found = files.read_json(path / "result.json")
        files.write_json(path / "result.json", {**found, "specs": {**found["specs"], "weights": weights}})
    write_run(tmp_path, seed=3)
    frame = iskit.results(outputs=tmp_path)
    assert sorted(frame["weights"]) == ["", "one", "two"]
    assert archive.also_varies(frame) == ["weights"]


def test_over_seeds_against_pandas(tmp_path):
    for seed, accuracy in enumerate((80.0, 90.0, 94.0)):
        write_run(
            tmp_path, {"accuracy": accuracy, "training_seconds": 8.0 + seed, "entropy_share": seed / 2}, seed=seed
        )
    [row] = iskit.over_seeds(iskit.results(outputs=tmp_path)).to_dict("records")
    assert row["accuracy"] == pytest.approx(88)
    assert row["deviation"] == pytest.approx(np.std([80, 90, 94], ddof=1))
    assert (row["seeds"], row["seconds"], row["backward"], row["entropy_share"]) == (3, 9.0, 200, 0.5)


def test_new_findings_are_passed_on_and_absent_in_older_runs(tmp_path):
    write_run(tmp_path, {"unique": 7, "plan": {"kind": "a", "deep": {"er": 1.5}}, "sampler": "not the setting"}, seed=1)
    write_run(tmp_path, seed=2)
    frame = iskit.results(outputs=tmp_path).set_index("seed")
    assert frame.loc[1, ["unique", "plan_kind", "plan_deep_er", "sampler"]].tolist() == [7, "a", 1.5, "unif"]
    assert frame.loc[2, ["unique", "plan_kind", "plan_deep_er"]].isna().all()
    assert {"specs_sampler", "data_source", "identity"}.isdisjoint(frame)


# Copies


def test_a_copied_study_counts_once_and_the_original_is_kept(tmp_path):
    original = [write_run(tmp_path, {"accuracy": 80 + seed}, study="m", seed=seed) for seed in range(3)]
    for copy in ("a", "z"):
        shutil.copytree(tmp_path / "m", tmp_path / copy)
    frame = iskit.results(outputs=tmp_path)
    assert sorted(frame["path"]) == sorted(map(str, original))
    assert frame.attrs["copies"] == {str(tmp_path / copy / p.name): str(p) for copy in "az" for p in original}
    # Looked at by itself, a copy is a study like any other, by its own name.
    alone = iskit.results("a", outputs=tmp_path)
    assert (len(alone), set(alone["study"]), alone.attrs["copies"]) == (3, {"a"}, {})


@pytest.mark.parametrize("name", ["{}-copy", "Copy of {}", "1{}"])
def test_a_copied_run_counts_once(tmp_path, name):
    run = write_run(tmp_path, seed=1)
    copy = run.with_name(name.format(run.name))
    shutil.copytree(run, copy)
    frame = iskit.results(outputs=tmp_path)
    assert frame["path"].tolist() == [str(run)]
    assert frame.attrs["copies"] == {str(copy): str(run)}


def test_one_run_trained_in_two_studies_is_no_copy(tmp_path):
    for study, seconds in {"a": 1.0, "b": 2.0}.items():
        write_run(tmp_path, {"training_seconds": seconds}, study=study)
    frame = iskit.results(outputs=tmp_path)
    assert (len(frame), frame.attrs["copies"]) == (2, {})


# Damage


def lacking(name):
    def damage(path):
        found = files.read_json(path / "result.json")
        del found[name]
        files.write_json(path / "result.json", found)

    return damage


def holding(file, content):
    def damage(path):
        (path / file).write_bytes(content) if isinstance(content, bytes) else (path / file).write_text(content)

    return damage


def replaced(file, old, new):
    def damage(path):
        text = (path / file).read_text()
        assert old in text
        (path / file).write_text(text.replace(old, new))

    return damage


def instead(file, make):
    def damage(path):
        (path / file).unlink()
        make(path / file)

    return damage


DAMAGE = {
    "params missing": (instead("params.yaml", lambda file: None), r"params\.yaml: No such file"),
    "params empty": (holding("params.yaml", ""), "params.yaml holds no settings"),
    "params a list": (holding("params.yaml", "- 1\n"), "params.yaml holds no settings"),
    "params no YAML": (holding("params.yaml", "a: [1\nb: }"), "params.yaml is not readable YAML"),
    "params nested": (holding("params.yaml", "[" * 5000), "params.yaml is not readable YAML"),
    "params binary": (holding("params.yaml", b"\x00\xff\xfe\x93"), "params.yaml is not readable YAML"),
    "params a date": (holding("params.yaml", "seed: 2020-13-45\n"), "params.yaml is not readable YAML"),
    "params unknown": (replaced("params.yaml", "budget:", "bugdet:"), "unknown setting 'bugdet'"),
    "params lacking": (replaced("params.yaml", "sampler: p\n", ""), "params.yaml lacks sampler"),
    "params wrong": (replaced("params.yaml", "epochs: 60", "epochs: many"), "epochs='many' must be a whole number"),
    "params a folder": (instead("params.yaml", Path.mkdir), "params.yaml is no file"),
    "params a pipe": (instead("params.yaml", os.mkfifo), "params.yaml is no file"),
    "params a dangling link": (instead("params.yaml", lambda f: f.symlink_to("gone")), "params.yaml: No such file"),
    "result empty": (holding("result.json", ""), "result.json is not readable JSON"),
    "result null": (holding("result.json", "null"), "result.json holds no result"),
    "result a list": (holding("result.json", "[1, 2]"), "result.json holds no result"),
    "result binary": (holding("result.json", b"\x00\xff\xfe\x93"), "result.json is not readable JSON"),
    "result cut": (holding("result.json", '{"accuracy": 90'), "result.json is not readable JSON"),
    "result nested": (holding("result.json", "[" * 50_000), "result.json is not readable JSON"),
    "result a long number": (holding("result.json", "9" * 5000), "result.json is not readable JSON"),
    "result lacks threads": (lacking("threads"), "result.json lacks threads"),
    "result lacks entropy": (lacking("entropy"), "result.json lacks entropy"),
    "result lacks passes": (lacking("passes"), "result.json lacks passes_backward"),
    "result NaN": (replaced("result.json", '"accuracy": 90.0', '"accuracy": NaN'), "accuracy=nan must be a number"),
    "result null inside": (replaced("result.json", '"threads": 2', '"threads": null'), "threads=None must be"),
    "result words": (replaced("result.json", '"eval": 1.0', '"eval": "long"'), "seconds_eval='long' must be a number"),
    "result a folder": (instead("result.json", Path.mkdir), "result.json is no file"),
    "result a pipe": (instead("result.json", os.mkfifo), "result.json is no file"),
    "result a dangling link": (instead("result.json", lambda f: f.symlink_to("gone")), "result.json: No such file"),
    "result a circle": (instead("result.json", lambda f: f.symlink_to(f.name)), "result.json: Too many levels"),
}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Calls `iskit results` on tmp_path/outputs; gives stdout and stderr."""
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["iskit", "results"])

    def call() -> tuple[str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr()

    return call


def test_the_command_line_tells_copies_in_one_line(tmp_path, command):
    run = write_run(tmp_path / "outputs", study="s")
    shutil.copytree(tmp_path / "outputs" / "s", tmp_path / "outputs" / "t")
    out, err = command()
    copy = tmp_path / "outputs" / "t" / run.name
    assert err == f"iskit: copied run folders count once, 1 left out: {copy} is {run}\n"
    assert out.count("unif") == 1
    assert "preparation (proxy runs) is in neither" in " ".join(out.split())


def test_the_command_line_tells_units_and_machines_apart(tmp_path, command):
    for study, unit, device in (("a", "backward", "cpu"), ("a", "cost", "gpu"), ("b", "backward", "cpu")):
        write_run(tmp_path / "outputs", {"device": device, "steps": ord(study)}, study=study, unit=unit)  # no copies
    out, _ = command()
    both, alone = out.split("b: cnn on digits")
    assert all(word in both for word in ("unit", "device_name", "backward", "cost", "gpu"))
    assert "device_name" not in alone


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_named_in_one_line_and_the_others_are_shown(tmp_path, kind, command):
    damage, message = DAMAGE[kind]
    good = write_run(tmp_path / "outputs", sampler="unif")
    bad = write_run(tmp_path / "outputs", sampler="p")
    iskit.results(outputs=tmp_path / "outputs")  # known by the cache, too
    damage(bad)
    frame = iskit.results(outputs=tmp_path / "outputs")
    assert frame["path"].tolist() == [str(good)]
    assert list(frame.attrs["damaged"]) == [str(bad)]
    out, err = command()
    assert "unif" in out
    assert err.startswith(f"iskit: {bad} is left out: ")
    assert err.count("\n") == 1
    assert re.search(message, err)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_run(tmp_path, sampler="unif")
    bad = write_run(tmp_path, sampler="p")
    read = Path.open

    def refuse(path, *args, **more):
        if path.parent == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **more)

    monkeypatch.setattr(Path, "open", refuse)  # whoever runs the tests as root may read everything
    frame = iskit.results(outputs=tmp_path)
    assert len(frame) == 1
    assert frame.attrs["damaged"] == {str(bad): "result.json: Permission denied"}


def test_a_study_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_run(tmp_path, study="a")
    write_run(tmp_path, study="b")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    frame = iskit.results(outputs=tmp_path)
    assert frame["study"].tolist() == ["a"]
    assert frame.attrs["damaged"] == {str(tmp_path / "b"): "b: Permission denied"}


def test_what_is_no_finished_run_is_passed_by(tmp_path):
    (tmp_path / "s" / "running").mkdir(parents=True)
    (tmp_path / "s" / "note.txt").write_text("mine")
    write_run(tmp_path, study="s").rename(tmp_path / "s" / ".trash")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    frame = iskit.results(outputs=tmp_path)
    assert frame.empty
    assert frame.attrs == {"damaged": {}, "copies": {}}


def test_a_setting_that_is_younger_than_the_run_is_at_its_default(tmp_path):
    path = write_run(tmp_path)
    text = (path / "params.yaml").read_text().replace("keep_model: false\n", "").replace("budget: 0.3\n", "")
    (path / "params.yaml").write_text(text)
    frame = iskit.results(outputs=tmp_path)
    assert frame.loc[0, ["keep_model", "budget"]].tolist() == [False, 0.3]


@pytest.mark.parametrize("name", ["history.parquet", "counts.npy"])
@pytest.mark.parametrize("kind", ["missing", "empty", "binary", "cut", "folder", "pipe", "another's"])
def test_damaged_histories_and_counts_are_one_line(tmp_path, name, kind):
    path = write_run(tmp_path)
    write_past(path)
    read = {"history.parquet": iskit.history_of, "counts.npy": iskit.counts_of}[name]
    assert len(read(path))
    whole = (path / name).read_bytes()
    (path / name).unlink()
    match kind:
        case "empty" | "binary" | "cut":
            (path / name).write_bytes({"empty": b"", "binary": b"\x00\xff" * 40, "cut": whole[:-10]}[kind])
        case "folder":
            (path / name).mkdir()
        case "pipe":
            os.mkfifo(path / name)
        case "another's":
            np.save(path / "pictures.npy", np.zeros((3, 2), dtype=np.float32))
            (path / "pictures.npy").rename(path / name)
    with pytest.raises(InputError, match=name) as told:
        read(path)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


# At size


@pytest.fixture
def study(tmp_path):
    for seed in range(4):
        write_run(tmp_path, {"accuracy": 80.0 + seed}, study="s", seed=seed)
    return tmp_path / "s"


@pytest.fixture
def reads(monkeypatch):
    """The folders whose files are read."""
    seen: list[str] = []
    real = folders._read
    monkeypatch.setattr(folders, "_read", lambda folder, stamp: (seen.append(folder.name), real(folder, stamp))[1])
    return seen


def test_an_unchanged_run_is_not_read_again(study, reads):
    first = iskit.results(outputs=study.parent)
    assert len(reads) == 4
    reads.clear()
    pd.testing.assert_frame_equal(iskit.results(outputs=study.parent), first)
    assert reads == []
    assert list(iskit.results("s", outputs=study.parent)) == list(first)


def test_changed_new_and_removed_runs_are_seen(study, reads):
    first = iskit.results(outputs=study.parent)
    reads.clear()
    changed, removed, kept = (Path(path) for path in first["path"][:3])
    text = (changed / "result.json").read_text().replace('"accuracy": 80.0', '"accuracy": 10.0')
    (changed / "result.json").write_text(text)
    os.utime(changed / "result.json", ns=(1, 1))  # as coarse as a clock may be
    text = (kept / "params.yaml").read_text()
    (kept / "params.yaml").write_text(text + "# the same\n")
    shutil.rmtree(removed)
    new = write_run(study.parent, {"accuracy": 99.0}, study="s", seed=9)
    frame = iskit.results(outputs=study.parent).set_index("path")
    assert frame["accuracy"].to_dict() == {
        str(changed): 10.0,
        str(kept): 82.0,
        first["path"][3]: 83.0,
        str(new): 99.0,
    }
    assert sorted(reads) == sorted([changed.name, kept.name, new.name])
    reads.clear()
    assert len(iskit.results(outputs=study.parent)) == 4
    assert reads == []


def test_a_study_that_moved_keeps_its_cache_and_tells_its_new_place(study, reads):
    iskit.results(outputs=study.parent)
    reads.clear()
    study.rename(study.parent / "t")
    frame = iskit.results(outputs=study.parent)
    assert reads == []
    assert set(frame["study"]) == {"t"}
    assert all(Path(path).is_dir() for path in frame["path"])


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "version", "text", "folder", "pipe"])
def test_a_cache_that_cannot_be_trusted_is_ignored(study, damage):
    first = iskit.results(outputs=study.parent)
    cache = study / folders.CACHE
    whole = cache.read_bytes()
    place = whole.index(b'"accuracy": 8') if b'"accuracy": 8' in whole else 200  # strings lie compressed
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    match damage:
        case "empty" | "cut" | "flipped":
            cache.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "flipped": flipped}[damage])
        case "version":
            table = pq.read_table(cache)
            rows = [row.as_py().replace('"accuracy": 8', '"accuracy": 5') for row in table["row"]]
            other = table.set_column(3, "row", [rows]).replace_schema_metadata({"iskit": "another"})
            pq.write_table(other, cache)
        case "text":
            first.to_parquet(cache)
        case "folder" | "pipe":
            cache.unlink()
            {"folder": Path.mkdir, "pipe": os.mkfifo}[damage](cache)
    pd.testing.assert_frame_equal(iskit.results(outputs=study.parent), first)
    if damage not in ("folder", "pipe"):
        pd.testing.assert_frame_equal(iskit.results(outputs=study.parent), first)


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), OSError(28, "No space left on device")])
def test_results_do_without_a_cache_where_none_can_be_written(study, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(files, "write", refuse)
    assert len(iskit.results(outputs=study.parent)) == 4
    assert not (study / folders.CACHE).exists()


def test_what_killed_processes_left_of_the_cache_is_removed(study):
    old, young = (study / f".{folders.CACHE}.{number}.tmp" for number in (1, 2))
    for left in (old, young):
        left.write_text("")
    past = time.time() - 2 * folders.STALE_SECONDS
    os.utime(old, (past, past))
    iskit.results(outputs=study.parent)
    assert (old.exists(), young.exists()) == (False, True)


def test_the_cache_is_renamed_into_place(study, monkeypatch):
    """So that of two processes at once neither meets a half-written one."""
    seen = []

    def watch(path, target):
        seen.append((target.name, str(os.getpid()) in path.name))
        os.replace(path, target)

    monkeypatch.setattr(files.write, "__defaults__", ("", watch))
    iskit.results(outputs=study.parent)
    assert seen == [(folders.CACHE, True)]


def test_a_finished_run_keeps_its_specs(tmp_path):
    settings = {"dataset": "digits(limit=100)", "model": "CNN(width=4)", "epochs": 2, "evals": 1, "sampler": "unif-SGD"}
    run = iskit.Run(Experiment(**settings), tmp_path)
    run.train()
    specs = json.loads((run.path / "result.json").read_text())["specs"]
    assert specs == {
        "dataset": "digits(limit=100)",
        "model": "cnn(width=4)",
        "sampler": "unif",
        "augment": "standard",
        "schedule": "linear",
    }
    assert set(FOUND) | {"specs", "data"} <= set(run.result)
