"""Batches: no row is lost or doubled, each looks as its (epoch, index) says, and any step can be resumed."""

import copy

import pytest
import torch

from iskit.augment import Pipeline
from iskit.budget import Budget, Meter
from iskit.randomness import Stream, permutation
from iskit.samplers import Batch, Sampler, samplers
from iskit.training import feed as feed_module
from iskit.training.feed import Feed


def no_score(batch: Batch) -> torch.Tensor:
    raise AssertionError("nothing is to be scored")


@pytest.fixture
def make_feed(tiny):
    def make_feed(
        sampler: str | Sampler = "sgd", augment: str = "none", *, batch_size: int = 24, budget: float = 1.0
    ) -> Feed:
        if isinstance(sampler, str):
            sampler = samplers.create(sampler)
        pipeline = Pipeline.parse(augment)
        limit = Budget(budget, "backward", full=10 * len(tiny))
        sampler.bind(label=tiny.label, budget=limit, epochs=10, batch_size=batch_size, seed=3)
        pipeline.bind(seed=3, pad=tiny.pad, flip=True)
        return Feed(tiny, sampler, pipeline, limit, Meter(), batch_size, seed=3)

    return make_feed


def walk(feed: Feed, batches: int) -> list[Batch]:
    return [feed.batch(0.0, no_score) for _ in range(batches)]


def same(one: Batch, other: Batch) -> bool:
    ours, theirs = one.columns(), other.columns()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class Keeps(Sampler):
    """Shows `pool` candidates, keeps those whose index is a multiple of `every`, and weighs them by their index."""

    def __init__(self, pool: int, every: int):
        self.pool, self.every = pool, every

    def candidates(self) -> int:
        return self.pool

    def select(self, pool, score):
        assert len(pool) == self.pool
        rows = torch.nonzero(pool.index % self.every == 0).squeeze(1)
        return rows, pool.index[rows].float()


class Plans(Sampler):
    def __init__(self, weight: torch.Tensor):
        self.weight = weight

    def plan(self, t, epoch, size):
        return self.weight


@pytest.mark.parametrize("batch_size", [1, 7, 24, 199, 200])
def test_rows_come_in_the_common_order_and_partial_batches_are_carried_over(make_feed, batch_size):
    batches = walk(make_feed(batch_size=batch_size), 600 // batch_size)
    assert all(len(batch) == batch_size for batch in batches)
    index, epoch = (torch.cat([getattr(b, key) for b in batches]) for key in ("index", "epoch"))
    expected = torch.cat([permutation(3, Stream.ORDER, e, 200) for e in range(3)])
    assert torch.equal(index, expected[: len(index)])
    assert torch.equal(epoch, torch.arange(3).repeat_interleave(200)[: len(index)])


def test_over_a_full_run_every_example_is_trained_once_an_epoch(make):
    trainer = make("sgd", budget=1, epochs=4, batch_size=32)  # 4 x 200 rows are 25 batches of 32
    for _ in trainer:
        pass
    assert trainer.history.counts.tolist() == [4] * 200


def test_a_row_carries_its_own_label_target_image_and_weight(make_feed, tiny):
    for batch in walk(make_feed(), 10):
        assert torch.equal(batch.label, tiny.label[batch.index])
        assert torch.equal(batch.target, torch.eye(4)[batch.label])
        assert torch.equal(batch.image, tiny.normalise(tiny.image[batch.index]))
        assert torch.equal(batch.weight, torch.ones(24))


def test_a_plan_leaves_out_and_weighs(make_feed):
    weight = torch.where(torch.arange(200) % 3 == 0, torch.arange(200) / 10.0, 0.0)
    batches = walk(make_feed(Plans(weight), batch_size=22), 6)  # 66 rows an epoch: 0 is left out by its weight 0
    index = torch.cat([b.index for b in batches])
    assert index[:66].sort().values.tolist() == index[66:].sort().values.tolist() == list(range(3, 200, 3))
    assert not torch.equal(index[:66], index[66:])
    assert torch.equal(torch.cat([b.weight for b in batches]), weight[index])


@pytest.mark.parametrize("augment", ["standard", "standard|mixup", "mixup|standard(pad=2)|standard"])
@pytest.mark.parametrize("chunk", [1, 7, 24, 150, 4096])
def test_the_augmented_view_is_the_direct_augment_of_the_same_epoch_and_index(
    make_feed, tiny, monkeypatch, augment, chunk
):
    monkeypatch.setattr(feed_module, "CPU_CHUNK", chunk * tiny.image[0].numel())
    feed = make_feed(augment=augment)
    for number, batch in enumerate(walk(feed, 18)):
        direct = torch.cat(
            [feed.augment.image(tiny.image[[i]], torch.tensor([i]), e)
             for i, e in zip(batch.index.tolist(), batch.epoch.tolist(), strict=True)]
        )  # fmt: skip
        image, target = feed.augment.mix(tiny.normalise(direct), torch.eye(4)[batch.label], number)
        assert torch.equal(batch.image, image)
        assert torch.equal(batch.target, target)
    assert batch.epoch.max() == 2


def test_augmenting_leaves_the_data_set_as_it_is(make_feed, tiny):
    before = tiny.image.clone()
    walk(make_feed(augment="standard|mixup"), 18)
    assert torch.equal(tiny.image, before)


@pytest.mark.parametrize("pool", [5, 24, 31, 72, 200])
def test_candidates_are_the_same_however_many_are_shown_at_once(make_feed, pool):
    """Mixing is drawn once a batch_size of rows, so what a row looks like does not depend on the pool."""
    one, other = make_feed(Keeps(24, 1), "standard|mixup"), make_feed(Keeps(pool, 1), "standard|mixup")
    for a, b in zip(walk(one, 20), walk(other, 20), strict=True):
        assert same(a, b)


@pytest.mark.parametrize("pool", [24, 31, 72])
def test_kept_rows_wait_until_a_batch_is_full_and_are_trained_as_shown(make_feed, pool):
    kept = walk(make_feed(Keeps(pool, 3), "standard|mixup"), 8)
    every = walk(make_feed(augment="standard|mixup"), 40)
    shown = [(b, r) for b in every for r in range(24) if b.index[r] % 3 == 0]
    rows = [(b, r) for b in kept for r in range(24)]
    for (ours, r), (theirs, s) in zip(rows, shown, strict=False):
        for key in ("index", "epoch", "label", "image", "target"):
            assert torch.equal(getattr(ours, key)[r], getattr(theirs, key)[s])
        assert ours.weight[r] == ours.index[r]


def test_a_selector_that_keeps_nothing_raises(make_feed):
    class Nothing(Keeps):
        def select(self, pool, score):
            return torch.empty(0, dtype=torch.int64), torch.empty(0)

    with pytest.raises(RuntimeError, match=r"kept none of 100\d\d candidates in a row: loosen its options"):
        walk(make_feed(Nothing(24, 1)), 1)


def test_a_selector_may_keep_little_for_long(make_feed):
    batch = walk(make_feed(Keeps(24, 199)), 1)[0]  # 0 and 199: two rows an epoch, 12 epochs a batch
    assert sorted(batch.index.tolist()) == [0] * 12 + [199] * 12
    assert batch.epoch.tolist() == [e for e in range(12) for _ in range(2)]


def test_epochs_without_an_example_are_passed_over(make_feed):
    batches = walk(make_feed("unif", budget=0.001), 1)  # .2 of an example an epoch
    gaps = batches[0].epoch.diff()
    assert batches[0].epoch[0] > 0
    assert gaps.min() >= 1
    assert gaps.double().mean() == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize("spec", ["sgd", "unif", "pool"])
@pytest.mark.parametrize("done", [0, 1, 8, 9, 13])
def test_a_resumed_feed_gives_the_same_batches(make_feed, tmp_path, spec, done):
    def fresh() -> Feed:
        sampler = Keeps(60, 3) if spec == "pool" else spec
        return make_feed(sampler, "standard|mixup", budget=0.4 if spec == "unif" else 1.0)

    feed, resumed = fresh(), fresh()
    walk(feed, done)
    torch.save(feed.state_dict(), tmp_path / "feed.pt")
    resumed.load_state_dict(torch.load(tmp_path / "feed.pt", weights_only=True))
    for a, b in zip(walk(feed, 15), walk(resumed, 15), strict=True):
        assert same(a, b)


def test_a_saved_feed_is_not_changed_by_going_on(make_feed):
    feed = make_feed(Keeps(60, 3), "standard|mixup")
    walk(feed, 3)
    state = feed.state_dict()
    before = copy.deepcopy(state)
    walk(feed, 20)
    resumed, other = (make_feed(Keeps(60, 3), "standard|mixup") for _ in range(2))
    resumed.load_state_dict(state)
    other.load_state_dict(before)
    for a, b in zip(walk(resumed, 15), walk(other, 15), strict=True):
        assert same(a, b)


def test_a_checkpoint_of_the_feed_does_not_grow_with_the_images(make_feed, tmp_path):
    feed = make_feed("sgd", "standard")
    walk(feed, 4)
    torch.save(feed.state_dict(), tmp_path / "feed.pt")
    assert (tmp_path / "feed.pt").stat().st_size < 200 * (8 + 4) + 8000  # rows and weights, no images
