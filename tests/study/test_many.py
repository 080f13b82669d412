"""A study of many runs, by two sweeps at once: each run is done once, none lost or doubled."""

from collections import Counter

import pytest

from iskit.study import plan
from iskit.study.archive import results
from iskit.study.sweep import Sweep

pytestmark = pytest.mark.engines  # worker processes

TEXT = """
study: many
dataset: digits(limit=60)
model: cnn(width=2)
epochs: 1
evals: 1
budget: 1.0
device: cpu
blocks:
  full: {{sampler: sgd, seeds: {half}}}
  ours: {{sampler: [unif, p], lr: [0.1, 0.05], seeds: {seeds}}}
"""


@pytest.mark.parametrize("runs", [40, pytest.param(300, marks=pytest.mark.soak)])
def test_each_run_of_a_study_is_done_once(runs, warm_workers, tmp_path):
    (tmp_path / "many.yaml").write_text(TEXT.format(half=runs // 5, seeds=runs // 5))
    study = plan.read_file(tmp_path / "many.yaml")
    assert len(study.experiments) == runs
    sweeps = [Sweep(study.experiments, 1, tmp_path, plan=study.digest, blocks=study.blocks) for _ in range(2)]
    news = {number: iter(many) for number, many in enumerate(sweeps)}
    finished: list[Counter[int]] = [Counter(), Counter()]
    trained: Counter[int] = Counter()
    by: set[int] = set()
    while news:
        for who, many in list(news.items()):
            one = next(many, None)
            if one is None:
                del news[who]
            elif one.finished:
                finished[who][one.number] += 1
            elif one.accuracy is not None:
                trained[one.number] += 1  # the one evaluation
                by.add(who)
    once = dict.fromkeys(range(runs), 1)
    assert finished == [once, once]
    assert trained == once
    assert by == {0, 1}
    frame = results("many", tmp_path)
    assert set(frame["path"]) == {str(sweeps[0].folder(number)) for number in range(runs)}
    assert set(frame["plan"]) == {study.digest}
