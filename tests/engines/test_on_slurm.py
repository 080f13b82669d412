"""On a real Slurm of two machines, as far as one computer can be two: a study as here, a signal, and when one dies."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from studies import check_same, results, study, trained_here

from iskit.engines import Options, on_slurm
from iskit.errors import InputError
from iskit.runs.folder import held, status_of
from iskit.study.sweep import Sweep

SHARED = Path(__file__).resolve().parents[2] / "../shared/slurm"
ROOT = Path(__file__).resolve().parents[2]
MUNGED = Path("/run/munge/munged.pid")
PATIENCE = 300.0  # seconds, on however busy a machine

MANY = 30 if os.environ.get("ISKIT_SOAK_SHORT") else 300
pytestmark = [pytest.mark.engines, pytest.mark.xdist_group("slurm")]  # its ports are taken once
real = pytest.mark.skipif(not SHARED.is_dir(), reason="what starts a real Slurm is not there: ../shared/slurm")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The folder of a cluster of two machines, n1 and n2, of one CPU each."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("slurm")
    begun = not MUNGED.exists()
    for _ in range(3):  # on a busy machine the controller may not come up in the time that the script gives it
        told = subprocess.run([SHARED / "up", folder, "1"], check=True, stdout=subprocess.PIPE, text=True).stdout
        patch.setenv("SLURM_CONF", told.strip().partition("=")[2])
        answer = subprocess.run(["sinfo", "-h", "-o", "%t %D"], capture_output=True, text=True).stdout
        if "idle 2" in answer:
            break
        subprocess.run([SHARED / "down", folder], check=True)
    patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield folder
    subprocess.run([SHARED / "down", folder], check=True)
    if begun and MUNGED.exists():
        os.kill(int(MUNGED.read_text()), signal.SIGTERM)
    patch.undo()


def submitted(many: Sweep, **options) -> None:
    with on_slurm.engine(Options(**options)) as train:
        assert train(many, lambda: 1) == 0


def wait(true, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@real
@pytest.mark.parametrize(("runs", "epochs"), [(12, 4), pytest.param(MANY, 8, marks=pytest.mark.soak)])
def test_a_study_is_as_here_also_when_a_machine_dies(runs, epochs, cluster, warm_workers, tmp_path, record_property):
    start = time.monotonic()
    experiments = study(runs, epochs)
    out = tmp_path / "slurm"
    submitted(Sweep(experiments, 1, out), jobs=2, minutes=30)
    before = {}
    if runs == MANY:
        wait(lambda: len(results(out)) >= MANY // 4)
        before = results(out)
        subprocess.run([SHARED / "node-dies", cluster, "n1"], check=True)
    wait(lambda: len(results(out)) == runs)
    after = results(out)
    assert before.items() <= after.items()
    wait(lambda: all(status_of(path.parent)["state"] == "finished" for path in after))
    check_same(trained_here(experiments, tmp_path / "here"), out)
    told = "".join(path.read_text() for path in (out / "many" / ".slurm").glob("*.out"))
    assert "Traceback" not in told
    if runs == MANY:
        row = {"runs": runs, "kills": 1, "compared": runs, "seconds": round(time.monotonic() - start, 1)}
        record_property("soak", {"what": "slurm, a machine of two dies", **row})


@real
def test_a_job_that_must_end_saves_its_run_and_returns_to_the_queue(cluster, tmp_path, capsys):
    experiments = study(6, epochs=3000)[:1]
    many = Sweep(experiments, 1, tmp_path)
    submitted(many, jobs=1, minutes=5)
    number = capsys.readouterr().out.split()[1].strip(",")
    path = many.folder(0)
    wait(lambda: held(path) and status_of(path)["state"] == "running")
    subprocess.run(["scancel", "--batch", "--signal=USR2", f"{number}_0"], check=True)
    wait(lambda: status_of(path)["state"] == "stopped")
    assert (path / "checkpoint.pt").exists()
    wait(lambda: "PENDING" in on_slurm.slurm("squeue", "-h", "-j", number, "-o", "%T"))
    subprocess.run(["scancel", number], check=True)


@real
@pytest.mark.soak
def test_a_job_whose_time_is_over_goes_on_in_its_next_life(cluster, tmp_path, record_property):
    start = time.monotonic()
    experiments = study(6, epochs=6000)[:1]  # more than the minute that the job has
    many = Sweep(experiments, 1, tmp_path / "slurm")
    submitted(many, jobs=1, minutes=1)
    path = many.folder(0)
    wait(lambda: (path / "status.json").exists() and status_of(path)["state"] == "stopped", 2 * PATIENCE)
    wait(lambda: (path / "result.json").exists(), 4 * PATIENCE)  # Slurm waits two minutes before each further life
    wait(lambda: status_of(path)["state"] == "finished")
    check_same(trained_here(experiments, tmp_path / "here"), tmp_path / "slurm")
    told = "".join(log.read_text() for log in (tmp_path / "slurm" / "many" / ".slurm").glob("*.out"))
    lives = 1 + told.count("Requeued")
    assert "Traceback" not in told
    row = {"runs": 1, "kills": lives - 1, "compared": 1, "seconds": round(time.monotonic() - start, 1)}
    record_property("soak", {"what": "slurm, a job's time is over", **row})


@real
def test_what_slurm_refuses_is_said_and_not_submitted(cluster, tmp_path):
    many = Sweep(study(6)[:1], 1, tmp_path)
    with pytest.raises(InputError, match=r"sbatch refuses: .*[Ii]nvalid partition.*; nothing is submitted"):
        submitted(many, partition="nowhere")
    assert on_slurm.slurm("squeue", "-h", "-o", "%P") == ""


def test_the_text_is_printed_where_no_slurm_is(tmp_path, capsys, monkeypatch):
    many = Sweep(study(6), None, tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="needs sbatch, which is not here"):
        submitted(many)
    submitted(many, jobs=8, minutes=110, partition="gpu", gpus=1, cpus=4, text_only=True)
    text = capsys.readouterr().out.splitlines()
    for line in (
        *("--array=0-7%8", "--time=110", "--partition=gpu", "--gpus-per-node=1", "--cpus-per-task=4"),
        *("--requeue", "--signal=B:USR2@120", "--open-mode=append"),
    ):
        assert f"#SBATCH {line}" in text
    [command] = [line for line in text if line.startswith("exec ")]
    assert Path(command.split()[-1]).is_file()


def test_a_folder_of_this_machine_alone_is_refused(monkeypatch):
    monkeypatch.setattr(on_slurm, "slurm", lambda *command: "n1\nn2")
    with pytest.raises(InputError, match=r"/tmp/project is not seen by the machines that run jobs \(n1, n2\)"):
        on_slurm.check_seen(Path("/tmp/project"))
    on_slurm.check_seen(Path("/home/me/project"))
    monkeypatch.setattr(on_slurm, "slurm", lambda *command: os.uname().nodename.split(".")[0])
    on_slurm.check_seen(Path("/tmp/project"))
