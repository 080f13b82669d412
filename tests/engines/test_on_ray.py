"""On a real Ray cluster of two machines, as far as one computer can be two: a study as here, and when one dies."""

import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from pool_work import obey
from studies import check_same, results, study, trained_here

from iskit.engines import Options, on_ray
from iskit.errors import InputError
from iskit.runs.run import Run
from iskit.study.local import Answer, Died, News
from iskit.study.sweep import Sweep

MANY = 30 if os.environ.get("ISKIT_SOAK_SHORT") else 300
pytestmark = [
    pytest.mark.engines,
    pytest.mark.xdist_group("ray"),  # one cluster is enough
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]


@pytest.fixture(scope="module")
def cluster():
    """Two machines of one CPU each; the second may be killed."""
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_raylet_start_wait_time_s", "120")
    patch.setenv("PYTHONPATH", f"{Path(__file__).parents[1]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    whole = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield whole
    whole.shutdown()
    patch.undo()


@pytest.fixture
def second(cluster):
    node = cluster.add_node(num_cpus=1)
    yield node
    if node in cluster.list_all_nodes():
        cluster.remove_node(node, allow_graceful=False)


def cut_power(cluster, node) -> None:
    """Kills all that runs there."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        os.kill(process.pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


@pytest.mark.parametrize(("runs", "epochs"), [(12, 20), pytest.param(MANY, 4, marks=pytest.mark.soak)])
def test_a_study_loses_and_doubles_nothing_when_a_machine_dies(
    runs, epochs, cluster, second, warm_workers, tmp_path, record_property
):
    start = time.monotonic()
    experiments = study(runs, epochs)
    many = Sweep(experiments, outputs=tmp_path / "ray")
    finished: Counter[int] = Counter()
    before = {}

    def follow() -> int:
        for news in many:
            finished[news.number] += news.finished
            if not before and news.number and finished.total() >= runs // 4:
                busy = {seat.node for seat in many.pool.busy}
                if second.node_id in busy:
                    before.update(results(tmp_path / "ray"))
                    cut_power(cluster, second)
        return 0

    with on_ray.engine(Options(address=cluster.address, cpus=1)) as train:
        assert train(many, follow) == 0
    assert before
    assert many.failed == {}
    assert finished == Counter(range(runs))
    after = results(tmp_path / "ray")
    assert len(after) == runs
    assert before.items() <= after.items()
    check_same(trained_here(experiments, tmp_path / "here"), tmp_path / "ray")
    assert not list((tmp_path / "ray").rglob(".*.seen"))
    if runs == MANY:
        row = {"runs": runs, "kills": 1, "compared": runs, "seconds": round(time.monotonic() - start, 1)}
        record_property("soak", {"what": "ray, a machine of two dies", **row})


def test_threads_and_precision_are_the_studys_and_a_pool_is_one(cluster, tmp_path):
    experiments = study(6)[:1]
    machine = tmp_path / "many" / "machine.json"
    Run(experiments[0], tmp_path).train()
    whole = machine.read_text()
    machine.write_text(whole.replace('"threads": 1', '"threads": 2'))
    assert machine.read_text() != whole
    shutil.rmtree(Run(experiments[0], tmp_path).path)
    many = Sweep(experiments, outputs=tmp_path)
    with on_ray.engine(Options(address=cluster.address, cpus=1)) as train:
        train(many, lambda: [*many] and 0)
        found = Run(experiments[0], tmp_path).result
        assert (found["threads"], found["precision"]) == (2, "float32")
        check_words(tmp_path)
        check_stop(many)
        with pytest.raises(InputError, match=r"has 1 CPUs and 0 GPUs, a worker is to have 64 and 0: lower --cpus"):
            on_ray.room(many, Options(cpus=64))
        with pytest.raises(
            InputError, match=r"is not the same folder on .*: put the project where all machines see it"
        ):
            on_ray.check_machines(on_ray.Mark(tmp_path / "absent", "word"))


def check_words(outputs) -> None:
    """A worker tells, answers, stays the same process, and one that dies is news; another takes its place."""
    with on_ray.RayPool(obey, 1, {"num_cpus": 1}, outputs) as pool:
        processes = []
        for task in (("echo", 3), ("process", 0), ("process", 0), ("die", 9), ("process", 0)):
            words = answer(pool, task)
            if task[0] == "echo":
                assert words == [News(("heard", 3)), Answer(3)]
            if task[0] == "die":
                assert words == [News("last word"), Died(-9)]
            if task[0] == "process":
                processes.append(words[-1].what)
        assert processes[0] == processes[1] != processes[2]
        assert os.getpid() not in processes


def answer(pool, task) -> list:
    pool.fill(1)
    while not pool.idle:
        pool.hear(0.1)
    pool.give(task)
    words = []
    while pool.busy:
        words += [word for _, word in pool.hear(0.1)]
        if News("waiting") in words:
            pool.stop()
    return words


def check_stop(many) -> None:
    with on_ray.RayPool(obey, 1, {"num_cpus": 1}, many.outputs) as pool:
        assert answer(pool, ("wait", 0)) == [News("waiting"), Answer("stopped")]


def test_an_address_where_nobody_listens_is_said_at_once(tmp_path):
    for address in ("127.0.0.1:1", "nowhere", "127.0.0.1:99999", "ray://127.0.0.1:1"):
        with pytest.raises(InputError, match=r"cannot be reached .*: give HOST:PORT"), on_ray.engine(Options(address)):
            pass
