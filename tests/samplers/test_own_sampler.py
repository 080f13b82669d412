"""A sampler of the user's own, given by its file: loaded anew when it changes, told apart by its text, judged."""

import pickle
import sys

import pytest
import torch
from run_folders import same
from test_cli import TINY, command  # noqa: F401 - a fixture

import iskit
from iskit.errors import InputError
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.samplers import samplers
from iskit.training import contract

HEAD = '''"""Takes the first.

cite: none
changes: which
passes: none extra
rule: i < size
differs: nothing
neutral: budget=1
"""

import torch

from iskit.samplers import Sampler, samplers
'''
MINE = f'''{HEAD}
@samplers.register("mine")
class Mine(Sampler):
    """first: where the examples begin."""

    def __init__(self, *, first: int = 0):
        self.first = first

    def plan(self, t, epoch, size):
        if size >= self.n:
            return None
        weight = torch.zeros(self.n, device=self.device)
        weight[self.first : self.first + size] = 1
        return weight
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def run_id(spec: str) -> str:
    return Run(Experiment(sampler=spec, dataset="digits(limit=60)", model="cnn(width=2)")).path.name


def test_it_is_trained_as_any_other(command, mine):  # noqa: F811
    code, out, err = command("run", *TINY, "sampler=./mine.py:Mine(first=20)", "study=s", "budget=0.5")
    assert (code, err) == (0, "")
    frame = iskit.results("s")
    assert frame.loc[0, "sampler"] == "mine.py:Mine(first=20)"
    counts = iskit.counts_of(frame.loc[0, "path"])
    assert set(counts.nonzero()[0]) == set(range(20, 120))
    code, out, _ = command("results", "s", "--where", "sampler=mine.py:Mine(first=20)", "--csv")
    assert code == 0
    assert "mine.py:Mine(first=20)" in out


def test_workers_load_it_by_its_path(warm_workers, command, mine):  # noqa: F811
    code, out, err = command("sweep", *TINY, "sampler=[unif, ./mine.py:Mine]", "study=s", "--workers", "2")
    assert (code, err) == (0, "")
    assert "mine.py:Mine" in out
    assert set(iskit.results("s")["sampler"]) == {"unif", "mine.py:Mine"}


def test_its_text_is_in_the_run_s_name(mine, tmp_path):
    first = run_id("./mine.py:Mine")
    assert first == run_id("mine.py:Mine") == run_id(f"{tmp_path}/mine.py:Mine(first=0)") == run_id(" mine.py:Mine( ) ")
    assert first != run_id("mine.py:Mine(first=1)")
    mine.write_text(MINE.replace("= 1\n", "= 2\n"))  # as long, and within the same second
    assert samplers.create("mine.py:Mine") is not None
    assert run_id("./mine.py:Mine") != first
    mine.write_text(MINE)
    assert run_id("./mine.py:Mine") == first


def test_an_edited_rule_is_used_at_once(mine):
    def begins() -> int:
        sampler = samplers.create("mine.py:Mine")
        sampler.n, sampler.device = 10, torch.device("cpu")
        return int(sampler.plan(0.0, 0, 3).argmax())

    assert begins() == 0
    mine.write_text(MINE.replace("first: int = 0", "first: int = 5"))
    assert begins() == 5


def test_results_tell_its_texts_apart(command, mine):  # noqa: F811
    assert command("run", *TINY, "sampler=./mine.py:Mine", "study=s")[0] == 0
    assert "sampler_source" not in command("results", "s")[1]
    mine.write_text(MINE + "# edited\n")
    assert command("run", *TINY, "sampler=./mine.py:Mine", "study=s")[0] == 0
    assert iskit.results("s")["sampler_source"].nunique() == 2
    assert "sampler_source" in command("results", "s")[1]
    mine.unlink()  # what was found stays to be seen
    assert command("results", "s", "--markdown")[1].count("mine.py:Mine") == 2
    assert samplers.title("mine.py:Mine") == "mine.py:Mine"


def test_one_that_is_killed_goes_on(mine, tmp_path):
    settings = {"sampler": "mine.py:Mine", "dataset": "digits(limit=60)", "model": "cnn(width=2)", "epochs": 4}
    whole = Run(Experiment(**settings), tmp_path / "one")
    whole.train()
    stopped = Run(Experiment(**settings), tmp_path / "other")
    for t in stopped:
        if t > 0.5:
            break
    assert stopped.status["state"] == "stopped"
    resumed = Run(pickle.loads(pickle.dumps(stopped.experiment)), tmp_path / "other")
    resumed.train()
    same(whole, resumed)


def test_one_s_own_loop_takes_it(mine):
    data = torch.utils.data.TensorDataset(torch.randn(40, 3), torch.arange(40) % 2)
    model = torch.nn.Linear(3, 2)
    loader = iskit.wrap(data, model, sampler="./mine.py:Mine(first=7)", budget=0.25, epochs=4, batch_size=5)
    for image, target in loader:
        logits = model(image)
        loader.reduce(torch.nn.functional.cross_entropy(logits, target, reduction="none"), logits)
    assert set(loader.history.counts.nonzero().flatten().tolist()) == set(range(7, 17))


def test_it_is_no_registered_sampler(mine):
    samplers.create("mine.py:Mine")
    assert "mine" not in samplers  # though it is decorated as if it were the kit's
    assert "mine.py:Mine" not in list(samplers)
    assert samplers.meanings("mine.py:Mine") == {"first": "where the examples begin"}


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        (MINE, "./mine.py:Mien", "sampler='./mine.py:Mien' is no class of the file: did you mean 'Mine'?"),
        (MINE, "./mine.py", "sampler='./mine.py' names no class: known: Mine"),
        (MINE, "./mine.py:torch", "'./mine.py:torch' is no Sampler: write class torch(Sampler)"),
        (MINE, "./mine.py:Mine(frist=1)", "has the unknown option 'frist': did you mean 'first'?"),
        (MINE, "./mine.py:Mine(first='a')", "first='a' must be int"),
        (MINE, "./gone.py:Mine", "gone.py cannot be opened (No such file or directory)"),
        (MINE + "1 +\n", "mine.py:Mine", "mine.py, line 28: SyntaxError: invalid syntax: mend the file"),
        (MINE + "hello\n", "mine.py:Mine", "mine.py, line 28: NameError: name 'hello' is not defined: mend the file"),
        (MINE + "raise SystemExit\n", "mine.py:Mine", "mine.py, line 28: SystemExit"),
        ("", "mine.py:Mine", "write class Mine(Sampler) into the file"),
        (MINE.replace("*, ", ""), "mine.py:Mine", "its parameter first is not keyword-only"),
        (MINE.replace(": int", ": 'Int'"), "mine.py:Mine", "the types of its options cannot be read"),
        (MINE.replace("self.first = first", "self.first = first.x"), "mine.py:Mine", "has no attribute 'x': mend"),
        (MINE.replace("return weight", "return wieght"), "mine.py:Mine", "mine.py, line 27: NameError: name 'wieght'"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(command, mine, text, spec, message):  # noqa: F811
    mine.write_text(text)
    code, _, err = command("run", *TINY, f"sampler={spec}")
    assert code in (1, 2)
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("text", ["\0", "é".encode("latin-1")])
def test_a_file_that_is_no_text_is_one_line(command, mine, text):  # noqa: F811
    mine.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, _, err = command("run", *TINY, "sampler=mine.py:Mine")
    assert (code, err.count("\n")) == (2, 1)
    assert "mine.py" in err


def test_nothing_is_left_beside_it(mine):
    samplers.create("mine.py:Mine")
    assert [path.name for path in mine.parent.iterdir()] == ["mine.py"]
    mine.write_text(MINE + "1 +")
    known = set(sys.modules)
    with pytest.raises(InputError):
        samplers.create("mine.py:Mine")
    assert set(sys.modules) == known


# --- what every sampler promises, broken on purpose ---

BROKEN = {
    contract.has_a_card: "def __init__(self, *, strength: float = 1.0): ...",
    contract.answers_whole: "def plan(self, t, epoch, size): return torch.ones(3)",
    contract.is_neutral: "def plan(self, t, epoch, size): return 1.0 * (torch.arange(self.n) < size / 2)",
    contract.repeats_itself: "def reduce(self, loss, weight): return loss.mean() * random.random()",
    contract.leaves_global_random_states: "def update(self, outcome): torch.rand(1)",
    contract.keeps_its_state_in_place: "def update(self, outcome): self.seen = torch.ones(1)",
    contract.changes_only_tensors: "def plan(self, t, epoch, size): self.epoch = epoch",
    contract.lands_on_its_budget: "def update(self, outcome): object.__setattr__(self.budget, 'amount', 0.1)",
    contract.goes_through_a_file: """calls = 0
    def plan(self, t, epoch, size):
        self.calls += 1
        return 1.0 * (torch.arange(self.n) <= 20 * self.calls)""",
    contract.tells_how_far: """def candidates(self): return 2 * self.batch_size
    def select(self, pool, score):
        rows = score(pool).amax(1).topk(self.batch_size).indices
        return rows, pool.weight[rows]""",
}


@pytest.mark.parametrize("promise", BROKEN, ids=lambda promise: promise.__name__)
def test_a_broken_promise_is_told(mine, promise):
    mine.write_text(f"{HEAD}import random\n\nclass Mine(Sampler):\n    {BROKEN[promise]}\n")
    assert promise(contract.make, "mine.py:Mine") != ""


def test_a_sampler_is_judged_in_plain_words(command, mine):  # noqa: F811
    code, out, err = command("check-sampler", "mine.py")
    assert (code, err) == (0, "")
    assert out.count("kept  ") == len(contract.PROMISES)
    assert "train it: iskit run 'sampler=mine.py:Mine'" in out
    mine.write_text(MINE.replace("weight = torch", "self.epoch = epoch\n        weight = torch"))
    code, out, err = command("check-sampler", "./mine.py:Mine(first=3)")
    assert (code, err) == (1, "")
    assert out.count("BROKEN") == 1
    assert "BROKEN  keeps all that changes in tensors: epoch changed and is in no checkpoint" in out
    mine.write_text("")
    code, _, err = command("check-sampler", "mine.py")
    assert (code, err.count("\n")) == (2, 1)
    assert "mine.py holds no sampler: write class Mine(Sampler)" in err


def test_one_that_cannot_be_trained_is_asked_no_more(mine):
    mine.write_text(MINE.replace("return weight", "return wieght"))
    *_, (promise, wrong) = contract.judge("mine.py:Mine")
    assert contract.PROMISES[promise] is contract.answers_whole
    assert wrong == "mine.py, line 27: NameError: name 'wieght' is not defined"
