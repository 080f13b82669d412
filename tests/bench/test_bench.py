"""The benchmark counts right and compares like with like. No test asserts on a time."""

import copy
import json
import multiprocessing
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rehearsal import rehearse_in
from torch import nn

from iskit import files
from iskit.augment import Pipeline
from iskit.bench import figures, gpu, laboratory, limits, report, train
from iskit.bench.limits import Ceiling, ceiling, work
from iskit.bench.plain import TRANSFORMS, Images, Plain
from iskit.bench.records import markdown
from iskit.bench.select import overhead, selection
from iskit.bench.sweep import workers
from iskit.bench.tasks import NOISE, tasks
from iskit.bench.train import AUGMENTS, Way, training, ways
from iskit.data import datasets
from iskit.errors import InputError
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.samplers import samplers
from iskit.training import graphs
from iskit.training.schedules import linear
from iskit.training.trainer import Trainer

CUDA = torch.device("cuda")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def warm(warm_workers, monkeypatch):
    for module in ("augment", "select", "train"):
        monkeypatch.setattr(f"iskit.bench.{module}.get_context", multiprocessing.get_context)


def linear_net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


# --- What is counted ---


def test_flops_of_a_linear_layer_in_closed_form():
    inputs, classes, b = 48, 10, 4
    counted = work(nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes)), torch.ones(b, 3, 4, 4), classes)
    assert counted.flop == 2 * 2 * inputs * classes  # forward, and the weight's gradient: the image needs none


@pytest.mark.parametrize(("width", "flop"), [(64, 3.329e9), (16, None)])
def test_flops_of_resnet18_are_three_forwards_less_the_image_s_gradient(width, flop):
    """He et al.'s counts: 555.4 MMAC forward at 32 pixels and width 64."""
    model = models.create(f"resnet18(width={width})", 10, 3, 32)
    pixels, channels, forward = 32 * 32, 3, 0
    forward += 9 * channels * width * pixels
    inputs = width
    for group in range(4):
        outputs, pixels = width * 2**group, 32 * 32 // 4**group
        forward += 9 * inputs * outputs * pixels + 3 * 9 * outputs * outputs * pixels
        forward += inputs * outputs * pixels * (group > 0)  # the projection
        inputs = outputs
    forward += inputs * 10
    counted = work(model, torch.ones(1, 3, 32, 32), 10)
    assert counted.flop == 2 * (3 * forward - 9 * 3 * width * 32 * 32)
    if flop:
        assert counted.flop == pytest.approx(flop, rel=1e-3)


def test_work_is_an_image_s_share_in_any_batch():
    model = models.create("cnn(width=4)", 10, 1, 8)
    one, many = (work(model, torch.ones(b, 1, 8, 8), 10) for b in (1, 16))
    assert one.flop == many.flop
    assert one.bytes > many.bytes  # the weights are shared


def test_bytes_are_what_every_operation_takes_and_gives():
    """One weight, one example: forward x (4 bytes), w, y; every further operation is on single numbers, too."""

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1 << 16))

        def forward(self, image):
            return (self.w * 2).view(1, -1)

    class Two(One):
        def forward(self, image):
            return ((self.w * 2) * 3).view(1, -1)

    size = (1 << 16) * 4
    one, two = (work(model(), torch.ones(1), 1 << 16).bytes for model in (One, Two))
    assert two - one == 2 * 2 * size  # read and written, in the forward and in the backward pass
    assert one % 4 == 0


def test_bf16_moves_fewer_bytes_for_the_same_work():
    model = models.create("resnet8", 10, 3, 16)
    image = torch.ones(8, 3, 16, 16)
    full, half = (work(model, image, 10, bf16=bf16) for bf16 in (False, True))
    assert full.flop == half.flop
    assert half.bytes < full.bytes


def test_ceilings_are_positive_and_finite():
    most = ceiling(torch.device("cpu"), side=64, megabytes=1)
    assert 0 < most.flop < 1e18
    assert 0 < most.bytes < 1e18


def test_the_limit_is_that_of_the_faster_precision(monkeypatch):
    known = {False: Ceiling(1e9, 2e9), True: Ceiling(3e9, 1e9)}
    monkeypatch.setattr(train, "ceiling", lambda device, bf16: known[bf16])
    assert train._ceiling("cpu") == known[True]


def test_a_gpu_s_seconds_are_its_own_of_ten_calls_after_one_that_warms_up(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("record")

        def synchronize(self):
            log.append("wait")

        def elapsed_time(self, stop):
            return 50.0 if stop is not self else 0.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    assert limits._seconds(lambda: log.append("call"), CUDA) == pytest.approx(0.005)
    assert log == ["call", "record", *["call"] * 10, "record", "wait"]


# --- The plain loop is the same recipe ---


def test_plain_images_are_the_kit_s(tmp_path):
    data = datasets.create("digits(limit=50)", tmp_path).load()
    plain = Plain(linear_net(), data, augment="none", workers=0, batch_size=50, epochs=1, lr=0.1)
    image = torch.stack([plain.train.dataset[number][0] for number in range(50)])
    torch.testing.assert_close(image, data.normalise(data.image), rtol=0, atol=1e-5)
    assert [plain.train.dataset[number][1] for number in range(50)] == data.label.tolist()


def test_plain_crops_are_crops_of_the_padded_image(tmp_path):
    data = datasets.create("digits(limit=20)", tmp_path).load()
    from torchvision import transforms

    images = Images(data.image, data.label, transforms.Compose([*TRANSFORMS["standard"](data), transforms.ToTensor()]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shown = torch.stack([images[number][0] for number in range(20)])
    padded = torch.nn.functional.pad(data.image[..., 0].float() / 255, (data.pad,) * 4)
    corners = range(2 * data.pad + 1)
    for number in range(20):
        crops = [padded[number, y : y + 8, x : x + 8] for y in corners for x in corners]
        assert any(torch.allclose(shown[number, 0], crop, atol=1e-6) for crop in crops)
    assert not torch.equal(shown[:, 0], data.image[..., 0].float() / 255)


def test_plain_loop_and_kit_come_to_a_similar_loss(tmp_path):
    data = datasets.create("digits(limit=600)", tmp_path).load()
    recipe = {"batch_size": 32, "epochs": 8, "lr": 0.05}

    def network() -> nn.Module:
        torch.manual_seed(1)
        return models.create("cnn(width=8)", 10, 1, 8)

    with torch.random.fork_rng():
        plain = Plain(network(), data, workers=0, **recipe)
        torch.manual_seed(1)
        losses = [plain.epoch()[0] for _ in range(8)]
        accuracy, loss = plain.evaluate()
        kit = Trainer(
            network(), data, samplers.create("sgd"), Pipeline.parse("standard"), budget=1.0, schedule=linear, evals=8,
            **recipe,
        )  # fmt: skip
    for _ in kit:
        pass
    past = kit.history.frame()
    assert plain.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(past["train_loss"], losses, rtol=0.3, atol=0.03)
    assert past["accuracy"].iloc[-1] == pytest.approx(accuracy, abs=8)
    assert past["loss"].iloc[-1] == pytest.approx(loss, rel=0.5)


@pytest.fixture
def moved(monkeypatch):
    """The tensors that are sent to a GPU; they stay where they are."""
    tensors, to = [], torch.Tensor.to

    def send(self, *args, **settings):
        if CUDA not in args:
            return to(self, *args, **settings)
        tensors.append(self)
        return self

    monkeypatch.setattr(torch.Tensor, "to", send)
    return tensors


def test_plain_batches_go_to_the_model_s_device(tmp_path, moved):
    data = datasets.create("digits(limit=50)", tmp_path).load()
    plain = Plain(linear_net(), data, CUDA, workers=0, batch_size=20, epochs=1, lr=0.1)
    assert len(moved) == 2  # weight and bias
    plain.epoch()
    assert len(moved) == 2 + 2 * 3
    plain.evaluate()
    assert len(moved) == 2 + 2 * 3 + 2 * len(plain.test)


def test_the_plain_loop_trains_where_the_kit_does(project, moved, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("multiprocessing.set_start_method", lambda method, force: None)
    one = Experiment(dataset="digits(limit=64)", model="cnn(width=2)", batch_size=32)
    usual = train.Usual(one, Way("plain, no workers", "standard", 0, threads=1))
    assert usual.device.type == usual.plain.device.type == "cuda"
    assert moved


def test_plain_refuses_what_it_does_not_know(tmp_path):
    data = datasets.create("digits(limit=50)", tmp_path).load()
    with pytest.raises(InputError, match=r"augment='ricap' is not in the plain loop"):
        Plain(linear_net(), data, augment="ricap", batch_size=10, epochs=1, lr=0.1)


# --- Whole benchmarks, in smoke size ---


def test_training_compares_all_ways_of_one_network(warm, project, monkeypatch):
    monkeypatch.setattr(train, "_ceiling", {"cpu": Ceiling(1e12, 1e10)}.__getitem__)  # seconds of large products
    one = Experiment(dataset="digits(limit=96)", model="cnn(width=4)", batch_size=32)
    contenders = [
        Way("plain, 1 workers", "standard", 1),
        Way("plain, no workers", "standard", 0),
        Way("iskit", "standard|mixup"),
    ]
    frame = training(one, contenders, laps=2, images=40)
    assert frame["way"].tolist() == [way.name for way in contenders]
    kit = frame[2:]
    assert frame["flop"].nunique() == 1
    assert (frame["images_per_second"] > 0).all()
    best = frame[frame["way"].str.startswith("plain")]["images_per_second"].max()
    speed = kit["images_per_second"].item()
    assert kit["times_best"].item() == pytest.approx(speed / best)
    assert kit["times_plain"].item() == pytest.approx(speed / frame["images_per_second"].iloc[0])
    assert kit["step_ms"].item() == pytest.approx(32e3 / speed)
    ratio = frame["flop_share"] / frame["images_per_second"]
    assert ratio.to_list() == pytest.approx([ratio[0]] * 3)  # one limit for all
    for column in ("train_seconds", "eval_seconds", "peak_mb", "net_ms", "flop_share", "byte_share"):
        assert kit[column].item() > 0
    figures.speeds({"train, x": frame})
    figures.shares({"train, x": frame})


def test_phases_are_settled_before_they_are_told(project, monkeypatch):
    one = Experiment(dataset="digits(limit=64)", model="cnn(width=2)", batch_size=32, precision="float32")
    kit = train.Kit(one)
    seconds = kit.trainer.meter.seconds
    monkeypatch.setattr(kit.trainer.watch, "settle", lambda: seconds.update(train=1e6, scoring=2e6))
    monkeypatch.setitem(train._ways, 0, kit)
    found = train._end(0)
    assert (found["train_seconds"], found["scoring_seconds"]) == (1e6, 2e6)


def test_selection_plans_its_share_of_an_epoch(warm):
    frame = selection([200_000], ["unif", "p"], budget=0.3, repeats=1)
    assert frame["sampler"].tolist() == ["unif", "p"]
    assert frame["chosen"].tolist() == [60_000, 60_000]
    assert (frame["bytes_an_example"] > 8).all()  # the order alone takes 8


def test_overhead_is_against_unif_and_its_passes(project):
    one = Experiment(dataset="digits(limit=200)", model="cnn(width=4)", budget=0.5, epochs=6, evals=1)
    frame = overhead(one, ["p", "selective_backprop(beta=1)"], laps=1).set_index("sampler")
    assert frame.loc["unif", "times_unif"] == frame.loc["unif", "times_cost"] == 1
    assert frame.loc["p", "times_cost"] == 1
    # The first epoch trains all; then every second candidate is kept, and each costs a forward pass of three.
    assert 1.3 < frame.loc["selective_backprop(beta=1)", "times_cost"] < 1.7


def test_workers_are_compared_with_one(warm, project):
    experiment = Experiment(
        dataset="digits(limit=100)", model="cnn(width=2)", budget=1.0, epochs=1, evals=1, device="cpu"
    )
    frame = workers(experiment, laps=1)
    many = frame["runs"][0]
    assert frame[["workers", "threads"]].to_numpy().tolist() == [[1, 1], [many, 1], [1, many]]
    assert (frame["images_per_second"] > 0).all()
    assert frame["times_one"][0] == 1


def test_random_pixels_stand_in_for_images_that_are_not_there(project):
    experiments, said = tasks("nowhere")
    assert "random pixels" in said
    assert "nowhere" in said
    large = datasets.create(experiments[-1].dataset, files.root() / "data").load()
    assert tuple(large.image.shape) == (NOISE, 32, 32, 3)
    assert large.image.float().std() > 60
    again, _ = tasks("nowhere")
    assert again == experiments
    (project / "mine").mkdir()
    experiments, said = tasks("mine")
    assert said == "images: mine"
    assert "mine" in experiments[-1].dataset


def test_bench_keeps_what_it_shows(warm, project):
    seen = []
    found = report.bench("augment", "nowhere", smoke="true", show=lambda name, table: seen.append(name))
    assert seen == list(found["tables"])
    assert list(found["tables"]["augment, RandAugment"]["size"].unique()) == [32, 84, 224]
    kept = json.loads(found["path"].read_text())
    assert found["path"].parent == project / "outputs" / "bench"
    assert kept["about"]["part"] == "augment"
    assert kept["about"]["smoke"] is True
    assert {"device", "versions", "commit", "load_before", "load_after", "threads", "data"} <= set(kept["about"])
    again = report.read(found["path"])
    assert list(again["tables"]) == list(found["tables"])
    for name, table in found["tables"].items():
        pd.testing.assert_frame_equal(again["tables"][name], table)
        shown = report.shown(name, table)
        assert len(shown) == len(table)
        assert shown.map(lambda text: isinstance(text, str)).all(axis=None)
    assert not list(found["path"].parent.glob("*.tmp"))


def test_the_tables_of_records_are_printed_from_what_was_kept(tmp_path):
    """One row of each kind, as they stand there."""
    records = (Path(__file__).parents[2] / "RECORDS.md").read_text(encoding="utf-8")
    row = {"way": "plain, 4 workers", "augment": "randaugment|standard", "images_per_second": 5002.0}
    row |= {"deviation": 0.168, "times_plain": 1.0, "times_best": 1.0, "step_ms": 6.4, "net_ms": np.nan}
    row |= {"around_us": 1.0, "flop_share": 0.000127, "byte_share": 0.1, "eval_seconds": 0.0787, "warmup_seconds": 0.0}
    row |= {"peak_mb": 856.0, "threads": 4, "precision": "float32", "dataset": "digits", "model": "mlp(width=64)"}
    tables = {
        "train, mlp(width=64)": [row],
        "select, resnet8": [{"sampler": "p", "seconds": 7.83, "times_unif": 1.0, "times_cost": 1.0, "own": 0.000174}],
    }
    about = {"device": "cpu (X)", "threads": 4, "versions": {"torch": "2.15.0"}, "data": "images: a", "commit": "abc"}
    files.write_json(tmp_path / "a.json", {"about": about | {"load_before": 1.0, "load_after": 2.0}, "tables": tables})
    first, *lines = markdown(tmp_path / "a.json").splitlines()
    assert first == "cpu (X), 4 threads; torch 2.15.0; images: a; load 1.0 before, 2.0 after; abc"
    for line in lines:
        assert f"\n{line}\n" in records
    assert [line for line in lines if line.startswith("**")] == ["**mlp(width=64)**", "**select, resnet8**"]
    assert sum(line.startswith("| ") for line in lines) == 4


def test_part_must_be_known(project, capsys):
    from typer.testing import CliRunner

    from iskit.cli import app

    done = CliRunner().invoke(app, ["bench", "trian"])
    assert isinstance(done.exception, InputError)
    assert "did you mean 'train'?" in str(done.exception)


def test_the_usual_ways_compare_every_augmentation():
    usual = ways(AUGMENTS, workers=4)
    assert usual[0] == Way("plain, 4 workers", "standard", 4)
    assert [way.augment for way in usual if way.name == "iskit"] == list(AUGMENTS)
    for way in usual:
        Pipeline.parse(way.augment)
        assert way.workers is None or way.augment in TRANSFORMS


# --- The check of a GPU, where there is none ---


SMALL = {"examples": 160, "model": "cnn(width=2)", "batch_size": 32, "steps": 4, "epochs": 3, "settle": 2,
         "device": "cpu"}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(gpu, "SAMPLERS", ("p",))


class Fast(nn.Module):
    """A compiled model that rounds to bf16, and multiplies what it gives."""

    def __init__(self, model, factor=1.0):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, image):
        with torch.autocast("cpu", torch.bfloat16):
            return self.factor * self.model(image)


def apart(make, monkeypatch, compiled):
    rehearse_in(monkeypatch, compiled)
    trainer = make("unif", budget=1, lr=0.1, epochs=8)
    found = laboratory.compare(trainer)
    for _ in trainer:
        pass
    assert len(found) == 2 * trainer.meter.steps
    return max(found[::2]), max(found[1::2])


def test_rounding_is_no_error_of_a_graph(make, monkeypatch):
    loss, after = apart(make, monkeypatch, Fast)
    assert 0 < loss < gpu.APART
    assert 0 < after < gpu.APART


def test_a_wrong_loss_of_a_graph_is_found(make, monkeypatch):
    loss, _ = apart(make, monkeypatch, lambda model: Fast(model, 1.1))
    assert loss > gpu.APART


def test_an_update_that_a_graph_leaves_out_is_found(make, monkeypatch):
    loss, after = apart(make, monkeypatch, copy.deepcopy)  # a model whose gradients the optimizer does not see
    assert loss < gpu.APART < after


def test_comparing_does_not_change_the_run(make, monkeypatch):
    rehearse_in(monkeypatch)
    one, other = make("p", "standard|mixup"), make("p", "standard|mixup")
    assert set(laboratory.compare(one)) <= {0.0}
    for _ in zip(one, other, strict=True):
        pass
    assert torch.equal(one.history.counts, other.history.counts)
    assert one.history.rows[-1]["train_loss"] == other.history.rows[-1]["train_loss"]
    assert all(map(torch.equal, one.model.parameters(), other.model.parameters()))


def test_nothing_is_shown_of_graphs_that_could_not_be_captured(small, monkeypatch):
    def refuse(function):
        raise RuntimeError("no such driver")

    monkeypatch.setattr(
        "iskit.training.trainer.recorder", lambda device, compile: refuse if compile == "auto" else None
    )
    graphs._say.cache_clear()
    with pytest.warns(UserWarning, match="no such driver"):
        graphs._say("RuntimeError: no such driver")  # it is said once a process
    found = gpu.gpu(**SMALL).set_index("check")
    for check in ("captured", "captured, evaluation"):
        assert found.loc[check, "good"] is False
        assert "no such driver" in found.loc[check, "note"]
    for check in (
        "warm-up", "graph against eager", "graph against eager, drift", "overhead of p", "overhead of standard|mixup",
        "deterministic run repeats", "deterministic run resumes",
    ):  # fmt: skip
        assert np.isnan(found.loc[check, "value"])
        assert found.loc[check, "good"] is None
        assert found.loc[check, "note"].startswith("not shown")
    assert found.loc["train, standard", "value"] > 0


def test_a_check_that_fails_is_a_row_and_every_row_is_kept_at_once(small, project, monkeypatch, capsys):
    def fail(error):
        raise error

    monkeypatch.setattr(gpu, "_randaugment", lambda lab: fail(RuntimeError("out of luck\nat length")))
    monkeypatch.setattr(gpu, "_bytes", lambda lab: fail(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        gpu.main(**SMALL)
    [path] = (project / "outputs" / "bench").iterdir()
    rows = files.read_json(path)["tables"]["gpu"]
    known = {row["check"]: row for row in rows}
    failed = known["RandAugment, an epoch"]
    assert (failed["value"], failed["good"], failed["note"]) == (None, False, "RuntimeError: out of luck\nat length")
    assert rows[-1]["check"] == "graph against eager, drift"
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(rows)
    assert [line.partition("  ")[0] for line in shown] == list(known)
    assert len(report.read(path)["tables"]["gpu"]) == len(rows)


def test_evaluation_is_timed_as_a_run_evaluates(small, monkeypatch):
    entered = []

    @contextmanager
    def numerics(device, deterministic):
        entered.append(deterministic)
        yield
        entered.pop()

    def measure(logits, data):
        measured.append(list(entered))

    measured = []
    monkeypatch.setattr(laboratory, "numerics", numerics)
    monkeypatch.setattr(laboratory, "measure", measure)
    settings = {**SMALL, "device": torch.device("cpu")}
    assert laboratory.Laboratory(**settings).first.evaluation >= 0
    assert measured == [[False], [False]]


# A machine with a GPU may have torch, torchvision, numpy, pandas, pyarrow, and what these bring, and nothing else.
BARE = """
import sys

for name in (
    "pydantic typer rich click scipy sklearn papermill nbformat nbclient plotly kaleido ipywidgets IPython yaml tqdm"
).split():
    sys.modules[name] = None  # importing it raises ImportError

from iskit.bench import gpu

gpu.SAMPLERS = ("p",)
gpu.main(examples=160, model="cnn(width=2)", batch_size=32, steps=4, epochs=3, settle=2, device="cpu")
"""


def test_the_check_of_a_gpu_needs_little_beside_torch(project):
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", BARE], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Error" not in done.stdout
    assert "kept: " in done.stdout
