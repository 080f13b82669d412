"""The whole loops of examples/: a framework trains what the bare loop trains, and each goes on exactly when killed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import trained
from trained import EPOCHS, Killed, Trained, train

from iskit.errors import InputError

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {"lightning_loop": ["lightning"], "hf_trainer": ["transformers", "accelerate"]}
FRAMED = [pytest.param(name, marks=pytest.mark.engines) for name in FRAMEWORKS]
OFFLINE = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
N, B, STEPS = 2000, 40, 60  # 0.3 of 4 epochs

pytestmark = [
    pytest.mark.xdist_group("frameworks"),  # they take seconds to import
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),  # on a machine with Slurm
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists"),  # as it does when a run goes on
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning"),  # Lightning's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.fixture(autouse=True)
def framework(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the example, where it is installed, and without the network."""
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    example = request.node.callspec.params["example"]
    for package in FRAMEWORKS.get(example, []):
        pytest.importorskip(package, reason=f"no {package}: pip install 'iskit[integrations]'")


def run(example: str, folder: Path, dies: int | None = None, **changed: Any) -> Trained:
    folder.mkdir(exist_ok=True)
    return train(example, folder / "checkpoint.pt" if example == "plain_loop" else folder, dies, **changed)


def ends_alike(one: Trained, other: Trained) -> bool:
    parameters = zip(one.parameters, other.parameters, strict=True)
    return torch.equal(one.counts, other.counts) and all(torch.equal(a, b) for a, b in parameters)


@pytest.mark.parametrize("example", FRAMED)
def test_a_framework_trains_what_the_sampler_chose(example: str, tmp_path: Path):
    bare, framed = run("plain_loop", tmp_path / "bare"), run(example, tmp_path / "framed")
    assert framed.passes == bare.passes == STEPS * B
    assert torch.equal(framed.rows, bare.rows)
    assert torch.equal(framed.rows.bincount(minlength=N), framed.counts)
    assert ends_alike(framed, bare)


@pytest.mark.parametrize("example", ["plain_loop", *FRAMED])
def test_killed_between_two_checkpoints_it_ends_the_same(example: str, tmp_path: Path):
    whole = run(example, tmp_path / "whole")
    for dies in (33, 55):
        with pytest.raises(Killed):
            run(example, tmp_path / "killed", dies)
    resumed = run(example, tmp_path / "killed")
    assert torch.equal(resumed.rows, whole.rows[40 * B :])  # from the last checkpoint on
    assert ends_alike(resumed, whole)


@pytest.mark.parametrize("example", FRAMED)
def test_on_two_ranks_each_trains_its_slice(example: str, tmp_path: Path):
    """Of one plan, that no framework has divided once more."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, trained.__file__, example, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    ranks = [Trained(**torch.load(tmp_path / f"{rank}.pt", weights_only=True)) for rank in (0, 1)]
    assert [rank.passes for rank in ranks] == [STEPS * B] * 2  # of both together
    assert [len(rank.rows) for rank in ranks] == [STEPS * B // 2] * 2
    assert torch.equal(torch.cat([rank.rows for rank in ranks]).bincount(minlength=N), ranks[0].counts)
    assert ends_alike(*ranks)


# --- what docs/coming_from.md says of them ---


def arguments(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """Of the Hugging Face example."""
    import transformers

    given = transformers.TrainingArguments
    monkeypatch.setattr(transformers, "TrainingArguments", lambda folder, **told: given(folder, **(told | changed)))


COST = {"unit": "cost", "budget": 0.5, "sampler": "gnorm(tau_min=0.5)"}  # the number of steps is not known


@pytest.mark.filterwarnings("ignore:.*`dataloader_iter`")  # experimental, it says
@pytest.mark.parametrize("example", FRAMED[:1])
def test_lightning_that_does_not_know_the_number_of_steps(example: str, tmp_path: Path, monkeypatch):
    with pytest.raises(InputError, match=r"left without loader\.reduce"):
        run(example, tmp_path / "ahead", **COST)
    monkeypatch.syspath_prepend(trained.EXAMPLES)
    import lightning_loop

    step = lightning_loop.Classifier.training_step

    def asking(self, dataloader_iter):
        return step(self, next(dataloader_iter)[0], 0)

    monkeypatch.setattr(lightning_loop.Classifier, "training_step", asking)
    assert ends_alike(run(example, tmp_path / "asked", **COST), run("plain_loop", tmp_path / "bare", **COST))


@pytest.mark.parametrize("example", FRAMED[1:])
def test_a_trainer_that_does_not_know_the_number_of_steps(example: str, tmp_path: Path, monkeypatch):
    with pytest.raises(ValueError, match="max_steps must be set"):
        run(example, tmp_path / "unknown", **COST)
    arguments(monkeypatch, max_steps=EPOCHS * N // B)
    assert ends_alike(run(example, tmp_path / "known", **COST), run("plain_loop", tmp_path / "bare", **COST))


@pytest.mark.parametrize("example", FRAMED[1:])
def test_what_a_trainer_would_do_with_the_batches_is_refused(example: str, tmp_path: Path, monkeypatch):
    with pytest.raises(Killed):
        run(example, tmp_path, dies=33)
    with monkeypatch.context() as patch:
        arguments(patch, ignore_data_skip=False)
        with pytest.raises(AttributeError, match="'dataset'"):
            run(example, tmp_path)
    arguments(monkeypatch, gradient_accumulation_steps=2)
    with pytest.raises(InputError, match=r"left without loader\.reduce"):
        run(example, tmp_path / "ahead")
