"""Run folders that anything happened to: read, named as damaged, or one InputError of one line."""

import json
import shutil
from pathlib import Path

import pytest
from campaign import campaign, result_or_one_line
from hypothesis import example, given
from hypothesis import strategies as st

import iskit
from iskit.runs.experiment import Experiment
from iskit.runs.folder import STATES, status_of
from iskit.runs.run import Run
from iskit.study.archive import correct_of, sample_of

TINY = {"dataset": "digits(limit=200)", "model": "mlp(width=4)", "sampler": "p", "epochs": 2, "evals": 2, "budget": 0.5}
JSON = ("result.json", "status.json")
NAMES = (*JSON, "params.yaml", "history.parquet", "counts.npy", "sample.parquet", "correct.npy", "checkpoint.pt")
READERS = (iskit.history_of, iskit.counts_of, sample_of, correct_of)
STATED = {*STATES, "new", "killed", "damaged"}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(NAMES)
places = st.floats(0, 1, exclude_max=True)
damages = st.one_of(
    st.tuples(st.just("cut"), names, places),
    st.tuples(st.just("flipped"), names, places, st.integers(1, 255)),
    st.tuples(st.just("replaced"), names, st.binary(max_size=20)),
    st.tuples(st.just("swapped"), names, names),
    st.tuples(st.just("gone"), names),
    st.tuples(st.just("folder"), names),
    st.tuples(st.just("value"), st.sampled_from([*JSON, "params.yaml"]), values),
    st.tuples(st.just("key"), st.sampled_from(JSON), places, values),
    st.tuples(st.just("keyless"), st.sampled_from(JSON), places),
    st.tuples(st.just("nowhere"), names),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, and a stopped one's checkpoint in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("project")
        patch.setenv("ISKIT_ROOT", str(root))
        run = Run(Experiment.parse(TINY), root / "outputs")
        next(iter(run))
        checkpoint = (run.path / "checkpoint.pt").read_bytes()
        run.train()
        (run.path / "checkpoint.pt").write_bytes(checkpoint)
        yield run.path


def wreck(folder: Path, kind: str, name: str, *how) -> None:
    path = folder / name
    if not path.is_file():  # another damage took it
        return
    content = path.read_bytes()
    match kind:
        case "cut":
            path.write_bytes(content[: int(how[0] * len(content))])
        case "flipped" if content:
            place = int(how[0] * len(content))
            path.write_bytes(content[:place] + bytes([content[place] ^ how[1]]) + content[place + 1 :])
        case "replaced":
            path.write_bytes(how[0])
        case "swapped" if (folder / how[0]).is_file():
            path.write_bytes((folder / how[0]).read_bytes())
        case "gone":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "nowhere":
            path.unlink()
            path.symlink_to("nowhere")
        case "value":
            path.write_text(json.dumps(how[0]))
        case "key" | "keyless":
            try:
                found = json.loads(content)
                key = list(found)[int(how[0] * len(found))]
            except (ValueError, TypeError, IndexError):
                return
            if not isinstance(found, dict):
                return
            if kind == "key":
                found[key] = how[1]
            else:
                del found[key]
            path.write_text(json.dumps(found))


@campaign
@given(st.lists(damages, min_size=1, max_size=3))
@example([("value", "result.json", None)])
@example([("value", "result.json", {"test_examples": -1})])
def test_any_run_folder_is_read_or_named_or_one_line(finished, wrongs):
    folder = finished
    whole = finished.parents[2] / "whole"
    if not whole.exists():
        shutil.copytree(folder, whole)
    shutil.rmtree(folder)
    shutil.copytree(whole, folder)
    (folder.parent / ".results.parquet").unlink(missing_ok=True)
    for wrong in wrongs:
        wreck(folder, *wrong)
    there = (folder / "result.json").exists() or (folder / "result.json").is_symlink()
    frame = iskit.results(outputs=folder.parents[1])
    named = frame.attrs["damaged"].get(str(folder))
    assert (len(frame) == 1) + (named is not None) == there
    if named is not None:
        assert named.isprintable()
        assert len(named) <= 500
    status = status_of(folder)
    assert status["state"] in STATED
    run = Run(Experiment.parse(TINY), folder.parents[1])
    result_or_one_line(run.check)
    for read in READERS:
        result_or_one_line(read, folder)
