"""Every augmentation that mixes a batch: its targets must promise what its images show."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from stepwise import bound_sampler

from iskit.augment import Pipeline, augments
from iskit.augment.base import Augment, blend
from iskit.errors import InputError
from iskit.randomness import Stream, generator, permutation
from iskit.samplers import Batch, Outcome

MIXES = [name for name in augments if augments[name].mix is not Augment.mix]
SPECS = [*MIXES, *(f"{name}(official=True)" for name in MIXES if "official" in augments.options(name))]
BATCHES = 400


def bound(spec, *, seed=1, place=0):
    stage = augments.create(spec)
    stage.bind(seed=seed, place=place, pad=4, flip=True)
    return stage


def mix(stage, image, target, number):
    mixed = stage.mix(image, number)
    return (image, target) if mixed is None else (mixed[0], blend(target, *mixed[1:]))


def batch(b=6, height=8, width=11, channels=3, dtype=torch.float32):
    """Distinct pixels everywhere, in the memory order of the trainer; one class an image."""
    image = torch.arange(b * height * width * channels, dtype=dtype).view(b, height, width, channels)
    return image.permute(0, 3, 1, 2), torch.eye(b, dtype=dtype)


def test_the_registry_holds_the_studys_mixings():
    assert {"mixup", "ricap", "cutmix"} <= set(MIXES)


@pytest.mark.parametrize("name", SPECS)
def test_images_average_to_what_their_targets_promise(name):
    b, classes = 16, 5
    random = np.random.default_rng(0)
    grey = torch.tensor([-3.0, -1.0, 0.5, 2.0, 7.0])
    stage = bound(name)
    for number in range(30):
        label = torch.from_numpy(random.integers(0, classes, b))
        image = grey[label].view(b, 1, 1, 1).expand(b, 3, 12, 10).clone()
        mixed, target = mix(stage, image, torch.eye(classes)[label], number)
        torch.testing.assert_close(mixed.mean((1, 2, 3)), target @ grey, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(target.sum(1), torch.ones(b))
        assert (target >= 0).all()


@pytest.mark.parametrize("name", SPECS)
def test_inputs_stay_as_they_are_and_batches_differ(name):
    image, target = batch()
    before = image.clone(), target.clone()
    stage = bound(name)
    outs = [mix(stage, image, target, number) for number in range(8)]
    assert torch.equal(image, before[0])
    assert torch.equal(target, before[1])
    for mixed, soft in outs:
        assert mixed.shape == image.shape
        assert mixed.dtype == soft.dtype == torch.float32
        assert mixed.stride() == image.stride()  # channels-last memory stays so
    again = mix(stage, image, target, 0)
    assert torch.equal(again[0], outs[0][0])
    assert torch.equal(again[1], outs[0][1])
    assert len({tuple(soft.flatten().tolist()) for _, soft in outs}) > 4
    for other in (bound(name, seed=2), bound(name, place=1)):
        assert any(not torch.equal(mix(other, image, target, k)[0], outs[k][0]) for k in range(8))


@pytest.mark.parametrize("spec", [f"{name}(alpha=0, official=True)" for name in ("mixup", "ricap")])
def test_alpha_0_mixes_nothing_officially_either(spec):
    assert bound(spec).mix(batch()[0], 0) is None


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("alpha", [0, 1e-6])
def test_alpha_to_zero_is_the_identity(name, alpha):
    image, target = batch()
    stage = bound(f"{name}(alpha={alpha})")
    for number in range(50):
        mixed, soft = mix(stage, image, target, number)
        torch.testing.assert_close(mixed, image)
        torch.testing.assert_close(soft, target)


def shares(name, b=8, size=32):
    """(batches, b, b): how much row r shows of example c, by the targets."""
    image = torch.zeros(b, 1, size, size)
    stage = bound(name)
    return torch.stack([mix(stage, image, torch.eye(b), number)[1] for number in range(BATCHES)])


@pytest.mark.parametrize("name", MIXES)
def test_row_r_shows_example_r_most(name):
    mean = shares(name).mean(0)
    own = mean.diagonal()
    others = mean - torch.diag(own)
    assert (own > 0.5).all()
    assert (own.min() > 2 * others.max()).all()


def larger_part(alpha):
    return beta(alpha, alpha).expect(lambda u: np.maximum(u, 1 - u))


@pytest.mark.parametrize(
    ("name", "expected", "partners"),
    [
        ("mixup", larger_part(0.3), 1),
        ("ricap", larger_part(0.3) ** 2, 3),
        # The box covers (s - s^2 / 4)^2 on average, s^2 uniform up to 1/2; its sides are even numbers of pixels.
        ("cutmix", 1 - 2 * (0.5**2 / 2 - 0.5**2.5 / 5 + 0.5**3 / 48), 1),
    ],
)
def test_own_share_is_what_the_law_says(name, expected, partners):
    b = 8
    # A row that draws itself as a partner shows more of itself: once in b.
    seen = shares(name, b, 64).diagonal(dim1=1, dim2=2).mean(1)
    own = (seen - 1 / b) / (1 - 1 / b)
    error = own.std().item() / BATCHES**0.5
    assert abs(own.mean().item() - expected) < 3.5 * error + 0.012


def test_partners_are_all_others_alike():
    mean = shares("ricap").mean(0)
    others = mean[~torch.eye(8, dtype=torch.bool)]
    assert (others - others.mean()).abs().max() < 0.03


@pytest.mark.parametrize("official", [False, True])
def test_mixup_equals_a_loop(official):
    image, target = batch(dtype=torch.float64)
    for number in range(20):
        mixed, soft = mix(bound(f"mixup(alpha=0.7, official={official})", seed=5, place=1), image, target, number)
        random = generator(5, Stream.MIX + 256, number)
        lam = random.beta(0.7, 0.7)
        lam = lam if official else max(lam, 1 - lam)
        partner = random.permutation(len(image))
        for row in range(len(image)):
            expected = lam * image[row].numpy() + (1 - lam) * image[partner[row]].numpy()
            np.testing.assert_allclose(mixed[row].numpy(), expected, rtol=1e-12)
            weights = lam * (np.arange(len(image)) == row) + (1 - lam) * (np.arange(len(image)) == partner[row])
            np.testing.assert_allclose(soft[row].numpy(), weights, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("official", [False, True])
def test_ricap_equals_a_loop(official):
    """Pixels and weights of every row; the largest patch shows the row's own image, but officially."""
    image, target = batch()
    b, _, height, width = image.shape
    kinds = set()
    for number in range(60):
        mixed, soft = mix(bound(f"ricap(alpha=0.8, official={official})", seed=5, place=1), image, target, number)
        random = generator(5, Stream.MIX + 256, number)
        w = round(width * random.beta(0.8, 0.8))
        h = round(height * random.beta(0.8, 0.8))
        corners = {"ul": (0, 0, h, w), "ur": (0, w, h, width), "ll": (h, 0, height, w), "lr": (h, w, height, width)}
        area = {key: (c[2] - c[0]) * (c[3] - c[1]) for key, c in corners.items()}
        expected = np.full(image.shape, np.nan)
        weights = np.zeros((b, b))
        ranked = sorted(corners, key=lambda key: -area[key])
        kinds.add(ranked[0])
        for rank, key in enumerate(ranked):
            top, left, bottom, right = corners[key]
            order = random.permutation(b) if rank or official else np.arange(b)
            y = random.integers(height - (bottom - top) + 1)
            x = random.integers(width - (right - left) + 1)
            for row in range(b):
                source = image[order[row]].numpy()[:, y : y + bottom - top, x : x + right - left]
                expected[row][:, top:bottom, left:right] = source
                weights[row, order[row]] += area[key] / (height * width)
        np.testing.assert_array_equal(mixed.numpy(), expected)
        np.testing.assert_allclose(soft.numpy(), weights, atol=1e-6)
        owner = mixed.flatten(1).long() // image[0].numel()  # of every pixel
        for row in range(0 if official else b):
            assert (owner[row] == row).double().mean() >= max(area.values()) / (height * width) - 1e-9
    assert kinds == {"ul", "ur", "ll", "lr"}


def test_cutmix_equals_a_loop():
    image, target = batch()
    b, _, height, width = image.shape
    pasted = 0
    for number in range(40):
        mixed, soft = mix(bound("cutmix", seed=5), image, target, number)
        random = generator(5, Stream.MIX, number)
        lam = random.beta(1, 1)
        side = np.sqrt(1 - max(lam, 1 - lam))
        y, x = random.integers(height), random.integers(width)
        high, wide = int(height * side) // 2, int(width * side) // 2
        partner = random.permutation(b)
        for row in range(b):
            expected, count = image[row].numpy().copy(), 0
            for i in range(height):
                for j in range(width):
                    if y - high <= i < y + high and x - wide <= j < x + wide:
                        expected[:, i, j] = image[partner[row]].numpy()[:, i, j]
                        count += 1
            np.testing.assert_array_equal(mixed[row].numpy(), expected)
            weights = np.zeros(b)
            weights[row] += 1 - count / (height * width)
            weights[partner[row]] += count / (height * width)
            np.testing.assert_allclose(soft[row].numpy(), weights, atol=1e-6)
            pasted += count
    assert pasted > 0


def chains(length):
    """All chains of mixings, and whether at most one of them pastes."""
    for names in product(MIXES, repeat=length):
        yield "|".join(names), sum(name in ("cutmix", "ricap") for name in names) <= 1


@pytest.mark.parametrize("spec", [spec for length in (2, 3) for spec, allowed in chains(length) if allowed])
def test_mixings_add_up(spec):
    grey = torch.tensor([0.0, 1.0, 4.0, 9.0], dtype=torch.float64)
    image, own = grey.view(4, 1, 1, 1).expand(4, 1, 10, 10).clone(), torch.eye(4, dtype=torch.float64)
    pipeline = Pipeline.parse(f"standard|{spec}")
    pipeline.bind(seed=3, pad=4, flip=True)
    for number in range(30):
        mixed, target = pipeline.mix(image, own, number)
        torch.testing.assert_close(mixed.mean((1, 2, 3)), target @ grey, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(target.sum(1), torch.ones(4, dtype=torch.float64), rtol=1e-12, atol=0)
    first, second, *_ = (mix(stage, image, own, 0)[1] for stage in pipeline.stages[1:])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("spec", [spec for length in (2, 3) for spec, allowed in chains(length) if not allowed])
def test_a_second_pasting_is_refused(spec):
    first, second, *_ = (name for name in spec.split("|") if name != "mixup")
    with pytest.raises(InputError, match=rf"augment=.*{second} would cut through what {first} pasted.*; take one"):
        Pipeline.parse(f"standard|{spec}")


@pytest.mark.parametrize("spec", SPECS)
def test_parts_say_which_rows_are_shown_and_keep_their_number_and_order(spec):
    b, sizes = 8, set()
    image, _ = batch(b, 12, 10)
    stage = bound(spec)
    for number in range(60):
        _, rows, share = stage.mix(image, number)
        sizes.add(len(rows))
        assert rows.shape == (len(share), b)
        assert rows.dtype == torch.int64
        for part in rows:
            assert sorted(part.tolist()) == list(range(b))  # every image is shown once in each place
        assert share.sum().item() == pytest.approx(1, abs=1e-6)
        assert share.min() >= 0
        if "ricap" not in spec:
            assert torch.equal(rows[0], torch.arange(b))  # own first, whichever is the larger
    assert sizes == {4 if "ricap" in spec else 2}


@pytest.mark.parametrize("spec", ["ricap", "ricap(official=True)"])
def test_ricaps_parts_are_its_patches_by_place(spec):
    image, _ = batch(6, 12, 10)
    empty = 0
    for number in range(60):
        mixed, rows, share = bound(spec).mix(image, number)
        owner = mixed[:, 0] // image[0].numel()
        corners = [owner[:, y, x] for y in (0, -1) for x in (0, -1)]
        for place, corner in enumerate(corners):
            if share[place] > 0:
                assert torch.equal(corner.long(), rows[place])
        empty += int((share == 0).sum())
    assert empty > 20


def test_an_empty_patch_still_draws_other_rows():
    """Selective backprop may give its rows the weights of a batch in which that patch is not empty."""
    image = torch.zeros(64, 1, 8, 8)
    stage, own, empty = bound("ricap"), 0, 0
    for number in range(100):
        _, rows, share = stage.mix(image, number)
        own += (rows[share == 0] == torch.arange(64)).sum().item()
        empty += rows[share == 0].numel()
    assert empty > 1000
    assert abs(own / empty - 1 / 64) < 4 * (1 / 64 / empty) ** 0.5


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_the_official_lam_is_not_folded(alpha):
    stage, image = bound(f"mixup(alpha={alpha}, official=True)"), torch.zeros(4, 1, 1, 1)
    lam = [stage.mix(image, number)[2][0].item() for number in range(2000)]
    assert kstest(lam, beta(alpha, alpha).cdf).pvalue > 1e-3


def test_the_official_ricap_shows_all_examples_alike_in_a_row():
    """So a score of row r is not of example r; by default its own share is the largest."""
    b = 8
    official, ours = shares("ricap(official=True)", b), shares("ricap", b)
    assert (official.mean(0) - 1 / b).abs().max() < 4 * official.std(0).max() / BATCHES**0.5
    own = [one.diagonal(dim1=1, dim2=2) for one in (official, ours)]
    most = [
        (share >= one.amax(2) - 1e-6).double().mean().item() for share, one in zip(own, (official, ours), strict=True)
    ]
    assert most[0] < 0.3
    assert most[1] > 0.97  # but for a row whose other patches agree on one example
    # The same batches in another order of rows: how much of one image there is in a row has the same law.
    assert kstest(*(one.amax(2).mean(1).tolist() for one in (official, ours))).pvalue > 1e-3


@pytest.mark.parametrize("spec", SPECS)
def test_targets_are_the_shares_times_the_targets_of_the_rows(spec):
    image, _ = batch(16, 12, 10)
    label = torch.arange(16) % 5
    pipeline = Pipeline.parse(f"{spec}|mixup(alpha=1)")
    pipeline.bind(seed=2, pad=4, flip=True)
    for number in range(20):
        target = torch.eye(5)[label]
        _, rows, share = pipeline.parts(image, number)
        _, soft = pipeline.mix(image, target, number)
        torch.testing.assert_close(soft, torch.einsum("k,kbc->bc", share, target[rows]))
        step_by_step = image, target
        for stage in pipeline.stages:
            step_by_step = mix(stage, *step_by_step, number)
        torch.testing.assert_close(soft, step_by_step[1])
        assert torch.equal(pipeline.mix(image, target, number)[0], step_by_step[0])


@pytest.mark.parametrize("spec", ["mixup", "mixup(alpha=1)", "cutmix"])
def test_two_parts_give_the_bits_of_an_interpolation(spec):
    """Runs made before targets were derived from shares stay what they were."""
    image, target = torch.zeros(32, 1, 11, 7), torch.eye(5)[torch.arange(32) % 5]
    for number in range(100):
        _, rows, share = bound(spec).mix(image, number)
        assert torch.equal(blend(target, rows, share), target.lerp(target[rows[1]], share[1].item()))


def test_ricaps_parts_are_summed_from_the_largest():
    """In the order of the areas as before, in float32, where it shows in the last bit."""
    image, target = torch.zeros(32, 1, 11, 7), torch.eye(3)[torch.arange(32) % 3]
    other_way = 0
    for number in range(100):
        _, rows, share = bound("ricap(alpha=1)").mix(image, number)
        ranked = sorted(zip(share.tolist(), target[rows], strict=True), key=lambda part: -part[0])
        expected, backwards = torch.zeros(32, 3), torch.zeros(32, 3)
        for one, part in ranked:
            expected += part * one
        for one, part in reversed(ranked):
            backwards += part * one
        assert torch.equal(blend(target, rows, share), expected)
        other_way += not torch.equal(expected, backwards)
    assert other_way > 10


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("spec", ["p", "c"])
def test_under_the_official_ricap_scores_go_to_the_wrong_examples(spec, official):
    """Half of the examples are hard, and a row is the harder, the more it shows of them."""
    n, b = 256, 32
    hard = (torch.arange(n) % 2).float()
    sampler = bound_sampler(spec, n=n, batch_size=b)
    stage = bound(f"ricap(official={official})")
    for number in range(150):
        index = permutation(3, Stream.ORDER, number, n)[:b]
        image = hard[index].view(b, 1, 1, 1).expand(b, 1, 16, 16).contiguous()
        mixed, target = mix(stage, image, torch.zeros(b, 2), number)
        prob = 0.9 - 0.8 * mixed.mean((1, 2, 3))
        logits = torch.stack([prob.log(), (1 - prob).log()], 1)
        zero = torch.zeros_like(index)
        sampler.update(Outcome(Batch(index, zero, zero, mixed, target, torch.ones(b)), logits, -prob.log()))
    error = sampler.mean_error()
    gap = (error[hard == 1].mean() - error[hard == 0].mean()).item()
    assert gap == pytest.approx(0 if official else 0.8 * larger_part(0.3) ** 2, abs=0.06)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU to compare with the CPU")
@pytest.mark.parametrize("name", MIXES)
def test_a_gpu_mixes_the_same(name):
    image, target = batch()
    for number in range(5):
        mixed, soft = mix(bound(name), image, target, number)
        on_gpu, soft_gpu = mix(bound(name), image.cuda(), target.cuda(), number)
        torch.testing.assert_close(on_gpu.cpu(), mixed)
        torch.testing.assert_close(soft_gpu.cpu(), soft)
