"""Steps as graphs: what a CPU can show with a stand-in for the capture, and what only a GPU can."""

import itertools
import os
import warnings
from contextlib import contextmanager, nullcontext, suppress

import pytest
import torch
from rehearsal import rehearse, rehearse_in
from test_trainer import BUDGET, dropping, ends_alike, finish, rows

from iskit.bench import gpu as bench
from iskit.bench import laboratory
from iskit.errors import Diverged, InputError
from iskit.runs.compiled import build_again, kept, kind
from iskit.runs.experiment import Experiment
from iskit.runs.parts import build
from iskit.runs.run import Run
from iskit.samplers import Sampler, samplers
from iskit.training import graphs
from iskit.training.graphs import Recorded, Steps, undone
from iskit.training.numerics import numerics
from iskit.training.tally import Tally

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def rehearsed(make, monkeypatch):
    """As `make`, with steps captured by the stand-in."""

    def make_rehearsed(*args, **settings):
        with monkeypatch.context() as patch:
            rehearse_in(patch)
            return make(*args, **settings)

    return make_rehearsed


@pytest.fixture(autouse=True)
def fresh():
    graphs._say.cache_clear()
    yield
    kept.clear()


# --- the trainer on static buffers ---


@pytest.mark.parametrize("augment", ["standard|mixup"])
@pytest.mark.parametrize("name", list(samplers))
def test_captured_steps_train_as_eager_ones_do(make, rehearsed, name, augment):
    settings = {"budget": BUDGET[name], "evals": 7}
    eager, graph = make(name, augment, **settings), rehearsed(name, augment, **settings)
    assert ends_alike(finish(graph), finish(eager))
    assert rows(graph) == rows(eager)
    assert list(graph.learn.graphs) == [0 if name == "ordered" else ()]
    assert not eager.learn.graphs


@pytest.mark.parametrize(
    ("spec", "asked"), [("gnorm(tau_min=0)", {48}), ("selective_backprop(beta=1)", {16}), ("rho(presample=4)", {64})]
)
def test_scoring_is_captured_at_the_size_of_its_pools(make, rehearsed, spec, asked):
    eager, graph = make(spec), rehearsed(spec)
    assert ends_alike(finish(graph), finish(eager))
    assert set(graph.infer.graphs) == asked | {80}  # and the whole test set of 80


@pytest.mark.parametrize("settings", [{"optimizer": "adam", "lr": 0.01}, {"precision": "bf16"}, {"momentum": 0.0}])
def test_optimizers_and_precisions_alike(make, rehearsed, settings):
    assert ends_alike(finish(rehearsed("p", **settings)), finish(make("p", **settings)))


def test_dropout_draws_alike(make, rehearsed):
    assert ends_alike(finish(dropping(rehearsed)), finish(dropping(make)))


def test_a_test_set_of_several_batches_and_a_rest(make, rehearsed, monkeypatch):
    for module in ("evaluation", "trainer"):
        monkeypatch.setattr(f"iskit.training.{module}.EVAL_BATCH", 30)
    eager, graph = make(), rehearsed()
    assert ends_alike(finish(graph), finish(eager))
    assert set(graph.infer.graphs) == {30}  # the rest of 20 is no reason for another


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_resumed_run_captures_what_was_loaded(make, rehearsed, optimizer):
    """Loading replaces the optimizer's tensors: graphs made before would go on with the old ones."""
    settings = {"optimizer": optimizer, "lr": 0.01, "evals": 5}
    whole, killed, resumed = finish(make("p", **settings)), rehearsed("p", **settings), rehearsed("p", **settings)
    for _ in itertools.islice(killed, 11):
        pass
    for _ in itertools.islice(resumed, 3):  # it has captured already
        pass
    resumed.load_state_dict(killed.state_dict())
    assert not resumed.learn.graphs
    assert ends_alike(finish(resumed), whole)
    assert all(group["lr"] is resumed.rate for group in resumed.optimizer.param_groups)


def test_the_rate_is_one_tensor_changed_in_place(make):
    trainer = make(lr=0.3, budget=1)
    rate = trainer.rate
    for t in trainer:
        assert trainer.optimizer.param_groups[0]["lr"] is rate
        assert rate.item() == pytest.approx(trainer.lr * trainer.schedule(t - 16 / 800))


def test_warm_up_is_a_phase_of_its_own_and_not_charged_to_the_budget(rehearsed, monkeypatch):
    now = [0.0]
    trainer = rehearsed(budget=5, unit="seconds", evals=1, clock=lambda: now[0])
    forward = trainer.model.forward

    def slow(image):
        now[0] += 1 if len(image) == 16 else 100
        return forward(image)

    monkeypatch.setattr(trainer.model, "forward", slow)
    finish(trainer)
    calls = graphs.WARM_UP + 1
    assert trainer.meter.seconds == {"train": 5, "scoring": 0, "eval": 200, "warmup": 101 * calls, "prepare": 0}


def test_ordered_is_captured_anew_when_q_halves_and_not_under_control(make, rehearsed):
    settings = {"budget": 1, "lr": 0.1}
    eager = finish(make("ordered(ladder=(1, 2, 30))", **settings))
    graph = finish(rehearsed("ordered(ladder=(1, 2, 30))", **settings))
    assert ends_alike(graph, eager)
    assert len(graph.learn.graphs) > 1
    with pytest.warns(UserWarning, match="Ordered"):
        control = finish(rehearsed("ordered(ladder=(1, 2, 30), control=True)", **settings))
    assert not control.learn.graphs
    assert control.infer.graphs


def test_a_reduce_that_does_not_say_what_it_takes_is_not_captured(rehearsed):
    class Own(Sampler):
        def reduce(self, loss, weight):
            return loss.sum()

    trainer = rehearsed("scan")
    trainer.sampler.__class__ = Own
    with pytest.warns(UserWarning, match="one by one, slower than as CUDA graphs: Own"):
        finish(trainer)
    assert not trainer.learn.graphs


def test_steps_of_changing_size_run_eagerly_and_it_is_said_once(make, rehearsed):
    graph, eager = (maker("gnorm(form='constant_variance')", budget=1) for maker in (rehearsed, make))
    for trainer in (graph, eager):
        trainer.sampler.tau.fill_(4)  # else it comes slowly to where batches shrink
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        finish(graph)
    assert [str(w.message) for w in said] == [
        "steps run one by one, slower than as CUDA graphs: GradientNorm changes how many rows a step trains"
    ]
    assert ends_alike(graph, finish(eager))


def test_what_cannot_be_captured_runs_eagerly_with_the_reason(make, rehearsed, monkeypatch):
    def refuse(function):
        function()  # one trial run, then the failure: its traces must go
        tried.append(function)
        raise RuntimeError("operation not permitted when stream is capturing")

    tried = []
    trainer = rehearsed("p", "standard|mixup")
    trainer.learn.record = trainer.infer.record = refuse
    with pytest.warns(UserWarning, match="RuntimeError: operation not permitted"):
        finish(trainer)
    assert len(tried) == 4  # training and evaluating, compiled and not: not again and again
    assert ends_alike(trainer, finish(make("p", "standard|mixup")))
    assert not trainer.learn.graphs


def test_what_cannot_bekept_is_captured_as_it_is_with_the_reason(make, rehearsed):
    def refused(*inputs):
        raise RuntimeError("Failed to find C compiler")

    trainer = rehearsed("p", "standard|mixup")
    trainer.learn.fast = trainer.infer.fast = refused
    with pytest.warns(UserWarning, match="captured without being compiled, .* Failed to find C compiler"):
        finish(trainer)
    assert trainer.learn.graphs
    assert trainer.infer.graphs
    assert ends_alike(trainer, finish(make("p", "standard|mixup")))


def test_a_capture_that_fails_amid_a_step_leaves_no_gradients(make, rehearsed):
    trainer = rehearsed("p", "standard|mixup")
    step = trainer.optimizer.step

    def amid(function):
        trainer.optimizer.step = lambda: 1 / 0
        try:
            return function(), ()
        finally:
            trainer.optimizer.step = step

    trainer.learn.record = amid
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        finish(trainer)
    assert ends_alike(trainer, finish(make("p", "standard|mixup")))


def test_many_kinds_of_networks_may_bekept_in_one_process():
    import torch._dynamo

    graphs.compiled.cache_clear()
    graphs.compiled(torch.nn.Linear(2, 2))
    assert torch._dynamo.config.recompile_limit >= 64  # 8 variants of one class's forward would be the end of it


def test_compile_off_captures_nothing(rehearsed):
    trainer = finish(rehearsed(compile="off"))
    assert not trainer.captures
    assert not trainer.learn.graphs


def test_a_cpu_captures_nothing_and_a_gpu_unless_it_is_off():
    assert graphs.recorder(CPU, "auto") is None
    assert graphs.recorder(CUDA, "off") is None
    assert graphs.recorder(CUDA, "auto") is graphs.record


# --- the pieces ---


def test_recorded_reads_from_its_own_buffers_and_gives_new_tensors():
    recorded = Recorded(lambda x, y: (x + y, x * y), (torch.zeros(3), torch.zeros(3)), rehearse)
    x = torch.tensor([1.0, 2, 3])
    first, _ = recorded(x, x)
    recorded(10 * x, x)
    assert first.tolist() == [2, 4, 6]  # not overwritten by the next call
    assert x.tolist() == [1, 2, 3]
    assert not any(buffer.data_ptr() == x.data_ptr() for buffer in recorded.inputs)


def test_buffers_keep_the_memory_format():
    image = torch.rand(4, 8, 8, 3).permute(0, 3, 1, 2)
    recorded = Recorded(lambda x: (x * 2,), (image,), rehearse)
    assert recorded.inputs[0].is_contiguous(memory_format=torch.channels_last)


def test_each_key_has_its_own_graph_and_none_has_none():
    calls = []
    steps = Steps(lambda x: (calls.append("plain"), x)[1:], lambda x: (x + 1,), rehearse, nullcontext)
    x = torch.zeros(2)
    assert [steps(x, key=key)[0].sum().item() for key in ("a", "b", "a", None)] == [2, 2, 2, 0]
    assert list(steps.graphs) == ["a", "b"]
    assert calls == ["plain"]
    steps.record = None
    assert steps(x, key="a")[0] is x
    assert calls == ["plain", "plain"]


def test_undone_puts_back_in_place_and_zeroes_what_is_new():
    one, two, generator = torch.ones(2, requires_grad=True), torch.zeros(2), torch.Generator()
    tensors = [one]
    generator.manual_seed(5)
    with undone(lambda: tensors, generator):
        one.data += 1
        torch.rand(3, generator=generator)
        tensors.append(two.add_(3))
    assert (one.tolist(), two.tolist()) == ([1, 1], [0, 0])
    assert torch.equal(torch.rand(2, generator=generator), torch.rand(2, generator=torch.Generator().manual_seed(5)))


def test_undone_puts_back_after_a_failure_too():
    one = torch.ones(2)
    with suppress(RuntimeError), undone(lambda: [one], torch.Generator()):
        one.add_(1)
        raise RuntimeError
    assert one.tolist() == [1, 1]


# --- trouble ---


@pytest.mark.parametrize("place", [0, 5])
def test_the_tally_remembers_the_first_batch_without_a_number(place):
    tally, nan = Tally(4, CPU), float("nan")
    target = logits = torch.eye(4)
    losses = torch.ones(8, 4)
    losses[place, 1], losses[place, 3], losses[6, 0] = nan, float("inf"), nan
    for number, loss in enumerate(losses):
        size = 3 if number == 2 else 4
        tally.see(torch.arange(size) + 10 * number, target[:size], logits[:size], loss[:size])
    assert tally.wrong.tolist() == [-1, 10 * place + 1, -1, 10 * place + 3]
    assert tally.fine == place
    assert (tally.hits, tally.rows) == (31, 31)
    tally.reset()
    assert tally.alright
    assert (tally.loss, tally.hits, tally.rows) == (0, 0, 0)


def test_without_waiting_the_same_trouble_is_told_at_the_next_evaluation(make):
    messages = []
    for may_wait in (True, False):
        trainer = make(lr=0.3, budget=1, evals=5)
        trainer.may_wait = may_wait
        for _ in itertools.islice(trainer, 23):
            pass
        with torch.no_grad():
            next(trainer.model.parameters()).fill_(float("nan"))
        with pytest.raises(Diverged) as error:
            finish(trainer)
        messages.append(str(error.value))
        assert trainer.meter.steps == (23 if may_wait else 30)
        assert len(trainer.history.rows) == 2
    assert messages[0] == messages[1]
    assert "at step 24 (t=0.460, lr=0.162) for the examples [" in messages[0]


def test_a_run_stopped_after_the_trouble_tells_of_it_as_one_never_stopped(make):
    messages = []
    for stop in (50, 27):
        trainer = make(lr=0.3, budget=1, evals=5)
        trainer.may_wait = False
        for step, _ in enumerate(itertools.islice(trainer, 29)):
            if step == 22:
                with torch.no_grad():
                    next(trainer.model.parameters()).fill_(float("nan"))
            if step == stop:
                state, trainer = trainer.state_dict(), make(lr=0.3, budget=1, evals=5)
                trainer.load_state_dict(state)
                break
        with pytest.raises(Diverged) as error:
            finish(trainer)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "at step 24 (t=0.460, lr=0.162)" in messages[0]


def test_full_memory_at_a_capture_is_no_reason_to_go_on_eagerly(rehearsed):
    def full(function):
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer = rehearsed()
    trainer.learn.record = full
    with pytest.raises(torch.OutOfMemoryError):
        finish(trainer)


@pytest.mark.parametrize("deterministic", [True, False])
def test_numerics_sets_torchs_switches_and_puts_them_back(deterministic):
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]  # set at import: without it a repeatable product is refused

    def switches():
        cudnn = torch.backends.cudnn
        return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, cudnn.enabled

    before = switches()
    with suppress(KeyError), numerics(CUDA, deterministic):
        assert switches() == (deterministic, deterministic, not deterministic, True)
        raise KeyError
    assert switches() == before
    with numerics(CPU, deterministic):
        assert switches() == before


def test_switches_are_set_within_steps_and_not_while_other_runs_take_their_turn(make, monkeypatch):
    inside = []

    @contextmanager
    def watched(device, deterministic):
        inside.append(deterministic)
        yield
        inside.pop()

    monkeypatch.setattr("iskit.training.trainer.numerics", watched)
    trainer = make(deterministic=True)
    learn, used = trainer.learn, []
    monkeypatch.setattr(trainer, "learn", lambda *a, **k: (used.append([*inside]), learn(*a, **k))[1])
    for _ in trainer:
        assert inside == []
    assert used == [[True]] * trainer.meter.steps


# --- several runs in one process ---

TINY = {"dataset": "digits(limit=200)", "model": "cnn(width=4)", "epochs": 2, "evals": 2, "sampler": "p"}


def numbers(result):
    return {key: value for key, value in result.items() if "seconds" not in key}


def test_runs_of_one_kind_share_a_model_and_end_as_alone(tmp_path, monkeypatch):
    experiments = [Experiment(**{**TINY, **more}) for more in ({}, {"seed": 2}, {"sampler": "unif"}, {"model": "mlp"})]
    alone = [numbers(Run(e, tmp_path / "alone").train()) for e in experiments]
    rehearse_in(monkeypatch)
    runs = [Run(e, tmp_path / "together") for e in experiments]
    assert [numbers(run.train()) for run in runs] == alone
    first, second, third, other = (run.trainer.model for run in runs)
    assert first is second is third
    assert other is not first
    assert list(kept.values()) == [other]


def test_several_seeds_arekept_once(tmp_path, monkeypatch):
    graphs.compiled.cache_clear()
    compiles = []

    def backend(graph, inputs):
        compiles.append(len(inputs))
        return graph.forward

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: compiler(model, dynamic=dynamic, backend=backend))
    rehearse_in(monkeypatch, graphs.compiled)
    settings = {**TINY, "sampler": "gnorm(tau_min=0)", "model": "resnet8(width=2)"}
    once = []
    for seed in (1, 2):
        run = Run(Experiment(**settings, seed=seed), tmp_path / "compiled")
        result = numbers(run.train())
        once.append(len(compiles))
        with monkeypatch.context() as patch:
            patch.setattr("iskit.training.trainer.recorder", lambda device, compile: None)
            assert result == numbers(Run(run.experiment, tmp_path / "eager").train())
    assert once == [3, 3]  # training, scoring, evaluating
    graphs.compiled.cache_clear()
    torch._dynamo.reset()


def test_a_run_that_still_trains_keeps_its_model(tmp_path, monkeypatch):
    alone = [numbers(Run(Experiment(**TINY, seed=seed), tmp_path / "alone").train()) for seed in (1, 2)]
    rehearse_in(monkeypatch)
    Run(Experiment(**TINY, seed=3), tmp_path).train()  # leaves a model for the next
    one, other = (Run(Experiment(**TINY, seed=seed), tmp_path) for seed in (1, 2))
    for _ in zip(one, other, strict=True):
        pass
    assert one.trainer.model is not other.trainer.model
    assert [numbers(run.result) for run in (one, other)] == alone


def test_a_model_taken_over_begins_as_a_new_one(digits):
    """A run that broke off amid a step left gradients, which a first step without graphs would add to."""
    experiment = Experiment(**TINY)
    known = build(experiment, digits)
    for p in known.parameters():
        p.data += 1
        p.grad = torch.ones_like(p)
    kept[kind(experiment, digits)] = known
    again = build_again(experiment, digits)
    assert again is known
    assert all(p.grad is None for p in again.parameters())
    new = build(experiment, digits).state_dict()
    assert all(torch.equal(value, new[key]) for key, value in again.state_dict().items())


def test_a_run_hands_its_settings_on(tmp_path, monkeypatch):
    rehearse_in(monkeypatch)
    for compile, deterministic in (("off", False), ("auto", True)):
        trainer = Run(Experiment(**TINY, compile=compile, deterministic=deterministic), tmp_path).bind(CPU)
        assert (trainer.captures, trainer.deterministic) == (compile == "auto", deterministic)


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_steps_are_captured_but_notkept(make, monkeypatch, deterministic):
    compiled = []
    rehearse_in(monkeypatch, lambda model: compiled.append(model) or model)
    trainer = finish(make(deterministic=deterministic))
    assert compiled == ([] if deterministic else [trainer.model])
    assert trainer.learn.graphs


# --- the capture itself, of a GPU that is not there ---


def test_the_capture_comes_after_trial_runs_on_the_same_side_stream(monkeypatch):
    log, current = [], []

    class Stream:
        def wait_stream(self, other):
            log.append("wait")

    class Graph:
        def replay(self):
            log.append("replay")

    @contextmanager
    def entered(what, stream=None):
        current.append(stream or what)
        yield
        current.pop()

    for name, stand_in in {"Stream": Stream, "CUDAGraph": Graph, "current_stream": Stream}.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "graph", entered)
    streams = []
    replay, outputs = graphs.record(lambda: (log.append("call"), streams.append(current[-1]), (torch.ones(1),))[2])
    assert log == ["wait", *["call"] * graphs.WARM_UP, "wait", "call"]
    assert len(set(streams)) == 1
    assert outputs == (torch.ones(1),)
    replay()
    assert log[-1] == "replay"


# --- the check that a person with a GPU runs ---


def test_the_checks_themselves_run_without_a_gpu(monkeypatch):
    rehearse_in(monkeypatch)
    monkeypatch.setattr(bench, "SAMPLERS", ("p", "selective_backprop(beta=1, history=32)"))
    found = bench.gpu(160, "cnn(width=2)", 32, 4, 3, 2, device="cpu").set_index("check")
    assert found.loc["train, standard", "value"] > 0
    for check in ("captured", "captured, evaluation", "deterministic run repeats", "deterministic run resumes"):
        assert found.loc[check, "good"]
    for check in ("graph against eager", "graph against eager, drift"):
        assert found.loc[check, "value"] == 0
    assert "overhead of selective_backprop(beta=1, history=32)" in found.index
    assert found.loc["RandAugment, an epoch", "value"] > 0
    assert found.loc["RandAugment as on a CPU", "good"]
    assert found.loc["unif, standard waits", "note"] == "not measured on a GPU"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused():
    with pytest.raises(InputError, match="device='cuda' is not there"):
        bench.gpu()


# --- on a GPU ---


@contextmanager
def no_waiting():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.parametrize("name", list(samplers))
def test_gpu_losses_of_graph_and_eager_agree_at_each_of_200_steps(make, digits, name):
    trainer = make(name, "standard", digits.to("cuda"), budget=1, epochs=6, batch_size=32, lr=0.02, evals=4)
    graph = trainer.learn
    apart = laboratory.compare(trainer)
    finish(trainer)
    assert laboratory.captured(graph)
    assert all(each < bench.APART for each in apart)
    assert len(apart) == 2 * trainer.meter.steps


@needs_gpu
@pytest.mark.parametrize("name", ["unif", "p", "c", "ordered", "infobatch"])
def test_gpu_steps_do_not_wait(make, digits, name):
    trainer = make(name, "randaugment|standard|ricap", digits.to("cuda"), epochs=9, batch_size=32, evals=1)
    steps = iter(trainer)
    for _ in range(3):  # captures
        next(steps)
    with no_waiting():
        for _ in range(10):  # within the first epoch
            next(steps)


@needs_gpu
@pytest.mark.parametrize("name", list(samplers))
def test_gpu_deterministic_runs_repeat_and_resume_bit_for_bit(make, digits, name):
    settings = {"data": digits.to("cuda"), "budget": BUDGET[name], "epochs": 3, "evals": 4, "deterministic": True}
    one, same, killed, resumed = (make(name, "randaugment|standard|mixup", **settings) for _ in range(4))
    assert ends_alike(finish(one), finish(same))
    for _ in itertools.islice(killed, 9):
        pass
    resumed.load_state_dict(killed.state_dict())
    assert ends_alike(finish(resumed), one)
