"""Crops and flips against NumPy image by image, mixing in closed form, and what every augmentation promises."""

import math
import random

import numpy as np
import pytest
import torch
from scipy import stats

from iskit.augment import Augment, Pipeline, augments
from iskit.errors import InputError
from iskit.randomness import Stream, generator, words

ALL = list(augments)


def bound(spec: str, *, seed: int = 1, pad: int = 2, flip: bool = True) -> Pipeline:
    pipeline = Pipeline.parse(spec)
    pipeline.bind(seed=seed, pad=pad, flip=flip)
    return pipeline


def pictures(n: int, height: int, width: int, channels: int) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, height, width, channels), generator=numbers, dtype=torch.uint8)


# --- standard ---


@pytest.mark.parametrize(
    ("pad", "spec"), [(1, "standard"), (4, "standard"), (1, "standard(pad=3)"), (3, "standard(pad=0)")]
)
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("shape", [(8, 8, 1), (6, 9, 3)])
def test_standard_against_numpy_image_by_image(pad, spec, flip, shape):
    image, index, epoch, seed = pictures(40, *shape), torch.arange(100, 140), 3, 7
    got = bound(spec, seed=seed, pad=pad, flip=flip).image(image, index, epoch)
    real = augments.parse(spec)[1].get("pad", pad)
    draws = words(seed, Stream.CROP, epoch, index, 3).numpy()
    height, width, _ = shape
    for picture, draw, ours in zip(image.numpy(), draws, got.numpy(), strict=True):
        down, right = (int(word) * (2 * real + 1) // 2**32 for word in draw[:2])
        padded = np.pad(picture, ((real, real), (real, real), (0, 0)))
        expected = padded[down : down + height, right : right + width]
        if flip and draw[2] >= 2**31:
            expected = expected[:, ::-1]
        assert np.array_equal(ours, expected)


@pytest.mark.parametrize("flip", [True, False])
def test_offsets_and_flips_are_uniform(flip):
    n, pad = 20_000, 2
    image = (1 + torch.arange(64, dtype=torch.uint8)).view(1, 8, 8, 1).expand(n, 8, 8, 1)  # a pixel tells its place
    out = bound("standard", pad=pad, flip=flip).image(image, torch.arange(n), 0)[..., 0].long() - 1
    assert ((out[:, 4, 4] - out[:, 4, 3]).abs() == 1).all()
    flipped = out[:, 4, 3] > out[:, 4, 4]
    down = out[:, 4, 4] // 8 - 4 + pad
    right = torch.where(flipped, out[:, 4, 3], out[:, 4, 4]) % 8 - 4 + pad  # a mirrored column 3 is column 4
    found = torch.bincount(down * 5 + right + 25 * flipped, minlength=50).numpy()
    if flip:
        assert stats.chisquare(found).pvalue > 1e-3
    else:
        assert not found[25:].any()
        assert stats.chisquare(found[:25]).pvalue > 1e-3


def test_negative_options_are_refused():
    for spec, option in (("standard(pad=-1)", "pad=-1"), ("mixup(alpha=-0.1)", "alpha=-0.1")):
        with pytest.raises(InputError, match=option):
            Pipeline.parse(spec)


# --- mixup ---


def test_mixup_in_closed_form():
    image, target = torch.randn(6, 3, 4, 4), torch.eye(10)[:6]
    got_image, got_target = bound("mixup(alpha=0.7)", seed=5).mix(image, target, 11)
    numbers = generator(5, Stream.MIX, 11)
    lam = numbers.beta(0.7, 0.7)
    lam, partner = max(lam, 1 - lam), numbers.permutation(6)
    for row in range(6):
        assert torch.allclose(got_image[row], lam * image[row] + (1 - lam) * image[partner[row]], atol=1e-6)
        assert torch.allclose(got_target[row], lam * target[row] + (1 - lam) * target[partner[row]], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_mixup_s_shares_follow_the_beta_law_folded_at_a_half(alpha):
    pipeline, target = bound(f"mixup(alpha={alpha})"), torch.eye(64)
    shares = []
    for number in range(2000):
        _, mixed = pipeline.mix(torch.zeros(64, 1, 1, 1), target, number)
        own = mixed.diagonal()
        shares.append(own.min().item())
        assert mixed.max(1).values.allclose(own)  # each row shows itself most
    assert stats.kstest(shares, lambda x: 2 * stats.beta.cdf(x, alpha, alpha) - 1).pvalue > 1e-3


def test_partners_are_uniform():
    pipeline, target = bound("mixup(alpha=1)"), torch.eye(5)
    partners = np.zeros((5, 5))
    for number in range(2000):
        partners += (pipeline.mix(torch.zeros(5, 1, 1, 1), target, number)[1] > 0).numpy()
    assert (partners.diagonal() == 2000).all()
    others = partners[~np.eye(5, dtype=bool)]
    assert np.abs(others - 2000 / 5).max() < 4 * np.sqrt(2000 * 0.2 * 0.8)


# --- what every augmentation promises ---


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_images_are_drawn_an_example_and_the_input_stays(name, channels):
    image, index = pictures(60, 16, 16, channels), torch.arange(500, 560)
    before = image.clone()
    pipeline = bound(name)
    out = pipeline.image(image, index, 2)
    assert out.shape == image.shape
    assert out.dtype == torch.uint8
    assert torch.equal(image, before)
    assert torch.equal(pipeline.image(image, index, 2), out)  # nothing is consumed
    some = torch.tensor([41, 3, 3, 17])
    assert torch.equal(pipeline.image(image[some], index[some], 2), out[some])
    assert pipeline.image(image[:0], index[:0], 2).shape == (0, 16, 16, channels)
    if not torch.equal(out, image):
        for other in (
            pipeline.image(image, index, 3),
            pipeline.image(image, index + 1, 2),
            bound(name, seed=2).image(image, index, 2),
        ):
            assert not torch.equal(other, out)


@pytest.mark.parametrize("name", ALL)
def test_mixed_targets_say_what_the_images_show(name):
    """Each image is painted in its class's grey: the mean of a row must be the mean that its target promises."""
    grey = torch.arange(10.0)
    pipeline = bound(name)
    for number in range(30):
        label = torch.randint(10, (16,), generator=torch.Generator().manual_seed(number))
        image = grey[label].view(16, 1, 1, 1).repeat(1, 3, 12, 12)
        target = torch.eye(10)[label]
        kept = image.clone(), target.clone()
        mixed, soft = pipeline.mix(image, target, number)
        assert mixed.shape == image.shape
        assert mixed.dtype == image.dtype
        assert torch.allclose(soft.sum(1), torch.ones(16), atol=1e-5)
        assert soft.min() >= 0
        assert torch.allclose(mixed.mean((1, 2, 3)), soft @ grey, atol=1e-4)
        assert torch.equal(image, kept[0])
        assert torch.equal(target, kept[1])
        again = pipeline.mix(image, target, number)
        assert torch.equal(again[0], mixed)
        assert torch.equal(again[1], soft)


@pytest.mark.parametrize("name", ALL)
def test_a_mixed_row_shows_its_own_example_most_on_average(name):
    pipeline, mean = bound(name), torch.zeros(8, 8)
    for number in range(300):
        mean += pipeline.mix(torch.zeros(8, 3, 12, 12), torch.eye(8), number)[1] / 300
    assert torch.equal(mean.argmax(1), torch.arange(8))
    others = mean[~torch.eye(8, dtype=torch.bool)]
    assert mean.diagonal().min() > 2 * others.max()


@pytest.mark.parametrize("name", [name for name in ALL if augments.card(name).neutral != "none"])
def test_at_its_neutral_setting_nothing_changes(name):
    """The card says `always`, `none` or `name=value[, name=value]`, perhaps `on a data set without flips`."""
    text = augments.card(name).neutral.removesuffix(" on a data set without flips")
    pipeline = bound(name if text == "always" else f"{name}({text})", flip=False)
    images, index = pictures(20, 12, 12, 3), torch.arange(20)
    assert torch.equal(pipeline.image(images, index, 1), images)
    batch, target = torch.randn(8, 3, 12, 12), torch.eye(8)
    for number in range(5):
        mixed, soft = pipeline.mix(batch, target, number)
        assert torch.equal(mixed, batch)
        assert torch.equal(soft, target)


@pytest.mark.parametrize("name", [name for name in ALL if augments.card(name).neutral != "always"])
def test_at_its_defaults_something_changes(name):
    pipeline = bound(name)
    images, batch = pictures(50, 16, 16, 3), torch.randn(8, 3, 12, 12)
    changed = not torch.equal(pipeline.image(images, torch.arange(50), 1), images)
    mixed = not torch.equal(pipeline.mix(batch, torch.eye(8), 0)[0], batch)
    assert changed or mixed


@pytest.mark.parametrize("name", ALL)
def test_no_augmentation_touches_global_random_states(name):
    def states() -> list[str]:
        return [str(torch.get_rng_state().tolist()), str(random.getstate()), str(np.random.get_state())]  # noqa: NPY002

    before = states()
    pipeline = bound(name)
    pipeline.image(pictures(20, 16, 16, 3), torch.arange(20), 0)
    pipeline.mix(torch.zeros(8, 3, 16, 16), torch.eye(8), 0)
    assert states() == before


# --- pipelines ---


class Adds(Augment):
    """Writes down who was called when, and on how many rows."""

    def __init__(self, log: list, name: str):
        self.log, self.name = log, name

    def image(self, image, index, epoch):
        self.log.append(f"image {self.name}")
        return image * 2 + ord(self.name)

    def mix(self, image, number):
        self.log.append(f"mix {self.name}")
        return image * 2 + ord(self.name), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1)


def test_stages_run_in_the_order_written():
    log: list[str] = []
    pipeline = Pipeline([Adds(log, "a"), Adds(log, "b")])
    out = pipeline.image(torch.zeros(1, 1, 1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 0)
    assert out.item() == 2 * ord("a") + ord("b")
    mixed, _ = pipeline.mix(torch.zeros(1, 1, 1, 1), torch.ones(1, 1), 0)
    assert mixed.item() == 2 * ord("a") + ord("b")
    assert log == ["image a", "image b", "mix a", "mix b"]


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("none", "none"),
        (" None | none", "none"),
        ("standard", "standard"),
        ("none|standard|none", "standard"),
        ("Standard | mixup(alpha = 0.30)", "standard|mixup"),
        ("mixup(alpha=1)|standard(pad=2)", "mixup(alpha=1.0)|standard(pad=2)"),
        ("standard|standard", "standard|standard"),
    ],
)
def test_canonical_spellings_of_pipelines(spec, canonical):
    assert Pipeline.canonical(spec) == canonical
    assert Pipeline.canonical(canonical) == canonical


@pytest.mark.parametrize("spec", ["", " ", "|", "standard|", "|mixup", "standard||mixup", "standart", "standard|mixap"])
def test_unreadable_pipelines_are_refused(spec):
    for understand in (Pipeline.parse, Pipeline.canonical):
        with pytest.raises(InputError, match="augment="):
            understand(spec)


@pytest.mark.parametrize("spec", ["none|standard|mixup", "standard|none|mixup"])
def test_synonyms_share_a_run_so_they_must_draw_alike(spec):
    image, batch = pictures(30, 8, 8, 1), torch.randn(8, 1, 8, 8)
    one, other = bound(spec), bound("standard|mixup")
    assert torch.equal(one.image(image, torch.arange(30), 0), other.image(image, torch.arange(30), 0))
    for ours, theirs in zip(one.mix(batch, torch.eye(8), 0), other.mix(batch, torch.eye(8), 0), strict=True):
        assert torch.equal(ours, theirs)


def test_two_stages_of_one_kind_draw_apart():
    n, pad = 5000, 1
    image = (1 + torch.arange(64, dtype=torch.uint8)).view(1, 8, 8, 1).expand(n, 8, 8, 1)
    out = bound("standard|standard", pad=pad, flip=False).image(image, torch.arange(n), 0)[:, 4, 4, 0].long() - 1
    down = (out // 8 - 4).numpy()  # the sum of two draws from -1, 0, 1; of twice the same draw there is no 1
    expected = n * np.array([1, 2, 3, 2, 1]) / 9
    assert stats.chisquare(np.bincount(down + 2, minlength=5), expected).pvalue > 1e-3


def test_mixup_twice_mixes_up_to_four():
    target = bound("mixup(alpha=1)|mixup(alpha=1)").mix(torch.zeros(32, 1, 1, 1), torch.eye(32), 3)[1]
    assert (target > 0).sum(1).max() == 4
    assert math.isclose(target.sum().item(), 32, rel_tol=1e-5)
