"""Philox against its published vectors and against plain integers; uniformity, independence, permutations."""

import numpy as np
import pytest
import torch
from scipy import stats

from iskit import randomness
from iskit.randomness import Stream, generator, permutation, philox, torch_seed, uniform, uniform_all, words

# counter, key, result: from kat_vectors of Random123 (philox4x32, 10 rounds)
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def numbers(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """Salmon et al. 2011, figure 4 and its constants, in Python's unbounded integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_words(counter, key, result):
    k0, k1 = numbers(key)
    columns = philox(tuple(torch.tensor([c]) for c in numbers(counter)), (k0, k1))
    assert [int(column) for column in columns] == numbers(result)
    assert plain_philox(numbers(counter), numbers(key)) == numbers(result)


def test_philox_equals_plain_integers_on_many_counters():
    random = np.random.default_rng(0)
    counters = random.integers(0, 2**32, (200, 4))
    key = (3735928559, 2**32 - 1)
    got = torch.stack(philox(tuple(torch.from_numpy(counters).unbind(1)), key), dim=1)
    assert got.tolist() == [plain_philox(counter, list(key)) for counter in counters.tolist()]


def test_words_are_philox_of_index_epoch_and_block():
    index = torch.tensor([0, 7, 2**32 + 5])
    got = words(11, Stream.CROP, 3, index, 6)
    for row, i in zip(got.tolist(), index.tolist(), strict=True):
        blocks = [plain_philox([i % 2**32, i >> 32, 3, block], [11, Stream.CROP]) for block in (0, 1)]
        assert row == (blocks[0] + blocks[1])[:6]


def test_words_take_an_epoch_for_each_row():
    index = torch.arange(5)
    mixed = words(1, Stream.OPS, torch.tensor([4, 4, 9, 9, 4]), index, 3)
    four, nine = (words(1, Stream.OPS, epoch, index, 3) for epoch in (4, 9))
    assert torch.equal(mixed, torch.stack([four[0], four[1], nine[2], nine[3], four[4]]))


def test_a_row_does_not_depend_on_the_others_nor_on_the_number_of_draws():
    everything = uniform(5, Stream.OPS, 2, torch.arange(1000), 7)
    some = torch.tensor([999, 3, 3, 512])
    assert torch.equal(uniform(5, Stream.OPS, 2, some, 7), everything[some])
    assert torch.equal(uniform(5, Stream.OPS, 2, some, 2), everything[some, :2])


@pytest.mark.parametrize("n", [1, 3, 4, 97])
def test_uniform_all_does_not_depend_on_its_chunks(monkeypatch, n):
    whole = uniform_all(5, Stream.CHOICE, 2, n)
    assert whole.shape == (n,)
    for chunk in (1, 2, 5):
        monkeypatch.setattr(randomness, "CHUNK", chunk)
        assert torch.equal(uniform_all(5, Stream.CHOICE, 2, n), whole)
    assert torch.equal(uniform_all(5, Stream.CHOICE, 2, 100)[:n], whole)  # nor on the size of the set


def test_uniforms_are_never_0_or_1(monkeypatch):
    for word, expected in ((0, 2.0**-33), (2**32 - 1, 1 - 2.0**-33)):
        monkeypatch.setattr(
            randomness, "philox", lambda counter, key, word=word: (torch.full_like(counter[0], word),) * 4
        )
        index = torch.arange(2)
        assert torch.equal(uniform(1, Stream.OPS, 0, index), torch.full((2, 1), expected, dtype=torch.float64))
        assert torch.equal(uniform_all(1, Stream.OPS, 0, 4), torch.full((4,), expected, dtype=torch.float64))


SOURCES = {
    "uniform": lambda seed, stream, epoch, n: uniform(seed, stream, epoch, torch.arange(n), 1)[:, 0].numpy(),
    "second draw": lambda seed, stream, epoch, n: uniform(seed, stream, epoch, torch.arange(n), 2)[:, 1].numpy(),
    "fifth draw": lambda seed, stream, epoch, n: uniform(seed, stream, epoch, torch.arange(n), 5)[:, 4].numpy(),
    "uniform_all": lambda seed, stream, epoch, n: uniform_all(seed, stream, epoch, n).numpy(),
    "generator": lambda seed, stream, epoch, n: generator(seed, stream, epoch).random(n),
    "permutation": lambda seed, stream, epoch, n: permutation(seed, stream, epoch, n).numpy() / n,
}
N = 20_000


@pytest.mark.parametrize("source", SOURCES)
def test_seeds_streams_and_epochs_are_independent(source):
    draw = SOURCES[source]
    rows = [draw(*where, N) for where in ((1, 2, 0), (2, 2, 0), (1, 3, 0), (1, 2, 1), (2, 1, 0), (0, 2, 1))]
    correlation = np.corrcoef(rows)
    assert np.abs(correlation[np.triu_indices(len(rows), 1)]).max() < 4 / np.sqrt(N)
    assert np.array_equal(draw(1, 2, 0, N), rows[0])  # nothing is consumed


def test_draws_of_one_place_are_independent_of_each_other():
    rows = [draw(1, 2, 0, N) for draw in SOURCES.values()]
    neighbours = [np.roll(rows[0], 1), np.roll(rows[0], 4), np.roll(rows[3], 1), np.roll(rows[3], 4)]
    correlation = np.corrcoef(rows + neighbours)
    assert np.abs(correlation[np.triu_indices(len(correlation), 1)]).max() < 4 / np.sqrt(N)


def test_uniform_all_shares_no_word_with_uniform():
    whole, rows = uniform_all(1, 2, 0, 4000), uniform(1, 2, 0, torch.arange(4000), 8)
    assert not set(whole.tolist()) & set(rows.flatten().tolist())


@pytest.mark.parametrize("source", [name for name in SOURCES if name != "permutation"])
def test_uniforms_are_uniform(source):
    drawn = SOURCES[source](7, Stream.CHOICE, 5, N)
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert stats.chisquare(np.histogram(drawn, 100, (0, 1))[0]).pvalue > 1e-3
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3


def test_a_permutation_holds_every_example_once():
    for n in (1, 2, 1000):
        assert permutation(1, Stream.ORDER, 0, n).sort().values.tolist() == list(range(n))


def test_each_position_of_a_permutation_is_uniform():
    n, repeats = 6, 6000
    orders = np.stack([permutation(3, Stream.ORDER, epoch, n).numpy() for epoch in range(repeats)])
    for position in range(n):
        assert stats.chisquare(np.bincount(orders[:, position], minlength=n)).pvalue > 1e-3
    # and so is each of the 6! / 3! beginnings: positions are not only uniform but joint
    beginnings = orders[:, 0] * 36 + orders[:, 1] * 6 + orders[:, 2]
    counts = np.bincount(beginnings)
    assert np.count_nonzero(counts) == 120
    assert stats.chisquare(counts[counts > 0]).pvalue > 1e-3


def test_a_large_seed_does_not_disturb_its_neighbours():
    top = 2**32 - 1
    assert not torch.equal(uniform_all(top, 1, 0, 8), uniform_all(0, 1, 0, 8))
    assert not torch.equal(permutation(top, 1, 0, 8), permutation(0, 1, 0, 8))


def test_torch_draws_anew_for_every_seed_and_step():
    """Its generator on a CPU heeds 32 of 64 bits. 40 steps of each of 1,000 seeds, and no draw is had twice."""
    random = torch.Generator()
    seeds = [torch_seed(seed, step) for seed in range(1000) for step in (*range(20), *range(10**6, 10**6 + 20))]
    assert len(set(seeds)) == len({seed % 2**32 for seed in seeds}) == 40_000
    drawn = [torch.rand(2, generator=random.manual_seed(torch_seed(seed, 7))).tolist() for seed in range(50)]
    assert len({tuple(draw) for draw in drawn}) == 50
    assert 0 <= min(seeds) <= torch_seed(2**32 - 1, 2**32 - 1) < 2**64  # what torch takes


def test_no_two_streams_are_one():
    """An IntEnum takes a second name of a number for an alias, silently; and pipelines add 256 a stage."""
    numbers = [stream.value for stream in Stream.__members__.values()]
    assert len(set(numbers)) == len(Stream.__members__)
    assert 0 < min(numbers) <= max(numbers) < 256
