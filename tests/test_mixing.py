"""Every augmentation that mixes a batch: its targets must promise what its images show."""

import numpy as np
import pytest
import torch
from scipy.stats import beta

from iskit.augment import Pipeline, augments
from iskit.augment.base import Augment
from iskit.randomness import Stream, generator

MIXES = [name for name in augments if augments[name].mix is not Augment.mix]
BATCHES = 400


def bound(spec, *, seed=1, place=0):
    stage = augments.create(spec)
    stage.bind(seed=seed, place=place, pad=4, flip=True)
    return stage


def batch(b=6, height=8, width=11, channels=3, dtype=torch.float32):
    """Distinct pixels everywhere, in the memory order of the trainer; one class an image."""
    image = torch.arange(b * height * width * channels, dtype=dtype).view(b, height, width, channels)
    return image.permute(0, 3, 1, 2), torch.eye(b, dtype=dtype)


def test_the_registry_holds_the_studys_mixings():
    assert {"mixup", "ricap", "cutmix"} <= set(MIXES)


@pytest.mark.parametrize("name", MIXES)
def test_images_average_to_what_their_targets_promise(name):
    b, classes = 16, 5
    random = np.random.default_rng(0)
    grey = torch.tensor([-3.0, -1.0, 0.5, 2.0, 7.0])
    stage = bound(name)
    for number in range(30):
        label = torch.from_numpy(random.integers(0, classes, b))
        image = grey[label].view(b, 1, 1, 1).expand(b, 3, 12, 10).clone()
        mixed, target = stage.mix(image, torch.eye(classes)[label], number)
        torch.testing.assert_close(mixed.mean((1, 2, 3)), target @ grey, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(target.sum(1), torch.ones(b))
        assert (target >= 0).all()


@pytest.mark.parametrize("name", MIXES)
def test_inputs_stay_as_they_are_and_batches_differ(name):
    image, target = batch()
    before = image.clone(), target.clone()
    stage = bound(name)
    outs = [stage.mix(image, target, number) for number in range(8)]
    assert torch.equal(image, before[0])
    assert torch.equal(target, before[1])
    for mixed, soft in outs:
        assert mixed.shape == image.shape
        assert mixed.dtype == soft.dtype == torch.float32
        assert mixed.stride() == image.stride()  # channels-last memory stays so
    again = stage.mix(image, target, 0)
    assert torch.equal(again[0], outs[0][0])
    assert torch.equal(again[1], outs[0][1])
    assert len({tuple(soft.flatten().tolist()) for _, soft in outs}) > 4
    for other in (bound(name, seed=2), bound(name, place=1)):
        assert any(not torch.equal(other.mix(image, target, k)[0], outs[k][0]) for k in range(8))


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("alpha", [0, 1e-6])
def test_alpha_to_zero_is_the_identity(name, alpha):
    image, target = batch()
    stage = bound(f"{name}(alpha={alpha})")
    for number in range(50):
        mixed, soft = stage.mix(image, target, number)
        torch.testing.assert_close(mixed, image)
        torch.testing.assert_close(soft, target)


def shares(name, b=8, size=32):
    """(batches, b, b): how much row r shows of example c, by the targets."""
    image = torch.zeros(b, 1, size, size)
    stage = bound(name)
    return torch.stack([stage.mix(image, torch.eye(b), number)[1] for number in range(BATCHES)])


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


def test_mixup_equals_a_loop():
    image, target = batch(dtype=torch.float64)
    for number in range(20):
        mixed, soft = bound("mixup(alpha=0.7)", seed=5, place=1).mix(image, target, number)
        random = generator(5, Stream.MIX + 256, number)
        lam = random.beta(0.7, 0.7)
        lam = max(lam, 1 - lam)
        partner = random.permutation(len(image))
        for row in range(len(image)):
            expected = lam * image[row].numpy() + (1 - lam) * image[partner[row]].numpy()
            np.testing.assert_allclose(mixed[row].numpy(), expected, rtol=1e-12)
            weights = lam * (np.arange(len(image)) == row) + (1 - lam) * (np.arange(len(image)) == partner[row])
            np.testing.assert_allclose(soft[row].numpy(), weights, rtol=1e-12, atol=1e-15)


def test_ricap_equals_a_loop():
    """Pixels and weights of every row; the largest patch shows the row's own image."""
    image, target = batch()
    b, _, height, width = image.shape
    kinds = set()
    for number in range(60):
        mixed, soft = bound("ricap(alpha=0.8)", seed=5, place=1).mix(image, target, number)
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
            order = random.permutation(b) if rank else np.arange(b)
            y = random.integers(height - (bottom - top) + 1)
            x = random.integers(width - (right - left) + 1)
            for row in range(b):
                source = image[order[row]].numpy()[:, y : y + bottom - top, x : x + right - left]
                expected[row][:, top:bottom, left:right] = source
                weights[row, order[row]] += area[key] / (height * width)
        np.testing.assert_array_equal(mixed.numpy(), expected)
        np.testing.assert_allclose(soft.numpy(), weights, atol=1e-6)
        owner = mixed.flatten(1).long() // image[0].numel()  # of every pixel
        for row in range(b):
            assert (owner[row] == row).double().mean() >= max(area.values()) / (height * width) - 1e-9
    assert kinds == {"ul", "ur", "ll", "lr"}


def test_cutmix_equals_a_loop():
    image, target = batch()
    b, _, height, width = image.shape
    pasted = 0
    for number in range(40):
        mixed, soft = bound("cutmix", seed=5).mix(image, target, number)
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


@pytest.mark.parametrize("spec", ["ricap|mixup", "mixup|mixup", "standard|cutmix|ricap"])
def test_mixings_add_up(spec):
    grey = torch.tensor([0.0, 1.0, 4.0, 9.0])
    image = grey.view(4, 1, 1, 1).expand(4, 1, 10, 10).clone()
    pipeline = Pipeline.parse(spec)
    pipeline.bind(seed=3, pad=4, flip=True)
    for number in range(10):
        mixed, target = pipeline.mix(image, torch.eye(4), number)
        # The second mixing moves pixels of a mixed image: only its weights of whole images can be held to the means.
        torch.testing.assert_close(target.sum(1), torch.ones(4))
        assert mixed.shape == image.shape
    if spec == "mixup|mixup":
        torch.testing.assert_close(mixed.mean((1, 2, 3)), target @ grey)
        first, second = (stage.mix(image, torch.eye(4), 0)[1] for stage in pipeline.stages)
        assert not torch.equal(first, second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU to compare with the CPU")
@pytest.mark.parametrize("name", MIXES)
def test_a_gpu_mixes_the_same(name):
    image, target = batch()
    for number in range(5):
        mixed, soft = bound(name).mix(image, target, number)
        on_gpu, soft_gpu = bound(name).mix(image.cuda(), target.cuda(), number)
        torch.testing.assert_close(on_gpu.cpu(), mixed)
        torch.testing.assert_close(soft_gpu.cpu(), soft)
