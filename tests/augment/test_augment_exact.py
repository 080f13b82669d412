"""Every image augmentation, against PIL, torchvision or a plain loop: not one byte may differ."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torchvision.transforms import InterpolationMode, autoaugment

from iskit.augment import Pipeline, augments
from iskit.augment.base import Augment
from iskit.augment.ops import STRENGTHS
from iskit.augment.randaugment import study, torchvision
from iskit.augment.tables import OneByOne, Tables, tables
from iskit.augment.trivialaugment import wide
from iskit.errors import InputError
from iskit.randomness import Stream, words

CPU = torch.device("cpu")
SIZES = (8, 28, 32, 84)
MAGNITUDES = (0, 4, 9, 12, 15, 30)


def affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def solarize_add(image, value):
    raised = np.clip(np.asarray(image).astype(int) + value, 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(raised), 128)


def cutout(image, value, x, y):
    left, top = int(max(0, x - value / 2.0)), int(max(0, y - value / 2.0))
    right, bottom = min(image.width, left + value), min(image.height, top + value)
    image = image.copy()
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), (125, 123, 114) if image.mode == "RGB" else 123)
    return image


# The study's list as methods.md gives it, written down a second time: name, lowest, highest, signed, operation.
STUDY = [
    ("AutoContrast", 0, 1, False, lambda image, v: ImageOps.autocontrast(image)),
    ("Equalize", 0, 1, False, lambda image, v: ImageOps.equalize(image)),
    ("Invert", 0, 1, False, lambda image, v: ImageOps.invert(image)),
    ("Rotate", 0, 30, True, lambda image, v: image.rotate(v)),
    ("Posterize", 0, 4, False, lambda image, v: ImageOps.posterize(image, max(1, int(v)))),
    ("Solarize", 0, 256, False, lambda image, v: ImageOps.solarize(image, v)),
    ("SolarizeAdd", 0, 110, False, solarize_add),
    ("Color", 0.1, 1.9, False, lambda image, v: ImageEnhance.Color(image).enhance(v)),
    ("Contrast", 0.1, 1.9, False, lambda image, v: ImageEnhance.Contrast(image).enhance(v)),
    ("Brightness", 0.1, 1.9, False, lambda image, v: ImageEnhance.Brightness(image).enhance(v)),
    ("Sharpness", 0.1, 1.9, False, lambda image, v: ImageEnhance.Sharpness(image).enhance(v)),
    ("ShearX", 0, 0.3, True, lambda image, v: affine(image, 1, v, 0, 0, 1, 0)),
    ("ShearY", 0, 0.3, True, lambda image, v: affine(image, 1, 0, 0, v, 1, 0)),
    ("Cutout", 0, 40, False, None),
    ("TranslateX", 0, 100, True, lambda image, v: affine(image, 1, 0, v, 0, 1, 0)),
    ("TranslateY", 0, 100, True, lambda image, v: affine(image, 1, 0, 0, 0, 1, v)),
]


def by_pil(number, sign, magnitude, image, x, y):
    """Operation `number` of the study's list on one (H, W, C) array."""
    _, low, high, signed, op = STUDY[number]
    value = magnitude / 30 * (high - low) + low
    value = -value if signed and sign else value
    picture = to_pil(image)
    changed = cutout(picture, value, x, y) if op is None else op(picture, value)
    return np.asarray(changed).reshape(image.shape)


def to_pil(image):
    return Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])


def pictures(size, channels, count=10, width=None):
    """Noise, smooth ramps, low contrast, few levels, constants: what separates one table from another."""
    random = np.random.default_rng([size, channels])
    width = width or size
    image = random.integers(0, 256, (count, size, width, channels), dtype=np.uint8)
    y, x = np.mgrid[:size, :width]
    for number in range(3, count):
        wave = np.sin(x[..., None] / (2 + number) + y[..., None] / 5 + np.arange(channels))
        image[number] = 128 + wave * (10 * number) + random.normal(0, 4, image[number].shape)
    image[1] = image[1] // 6 + 90
    image[2] = 77
    image[3, : size // 3] = 200
    image[4] = (image[4] > 128) * 90 + 20
    return image


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("number", range(16), ids=[entry[0] for entry in STUDY])
def test_operations_equal_pil_to_the_byte(number, size, channels):
    image = pictures(size, channels)
    places = np.random.default_rng(number).uniform(0, size, (2, len(image)))
    places[:, 0], places[:, 1] = 0, np.nextafter(size, 0)
    for magnitude in MAGNITUDES:
        for by_rows in (True, False):
            tables = Tables(study(magnitude, size, size), size, size, CPU, by_rows)
            for sign in (0, 1):
                setting = torch.full((len(image),), 2 * number + sign)
                ours = tables.apply(torch.from_numpy(image), (setting, *torch.from_numpy(places))).numpy()
                for row, own in enumerate(ours):
                    expected = by_pil(number, sign, magnitude, image[row], *places[:, row])
                    assert (own != expected).sum() == 0, (magnitude, sign, by_rows, row)


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("channels", [3, 1])
def test_randaugment_is_pils_operations_in_a_row_with_its_own_draws(by_rows, channels, monkeypatch):
    monkeypatch.setattr(
        "iskit.augment.randaugment.tables", lambda settings, h, w, device: Tables(settings, h, w, device, by_rows)
    )
    height, width, n, epoch = 20, 28, 3, 5
    image = pictures(height, channels, 120, width)
    index = torch.arange(7000, 7120)
    stage = bound("randaugment(n=3, m=9)", seed=11, place=2)
    ours = stage.image(torch.from_numpy(image), index, epoch).numpy()
    draws = words(11, Stream.OPS + 256 * 2, epoch, index, 4 * n).tolist()
    for row, draw in enumerate(draws):
        expected = image[row]
        for op, sign, x, y in np.reshape(draw, (n, 4)).tolist():
            place = (x + 0.5) / 2**32 * width, (y + 0.5) / 2**32 * height
            expected = by_pil(op * 16 // 2**32, sign // 2**31, 9, expected, *place)
        np.testing.assert_array_equal(ours[row], expected)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("spec", ["randaugment", "randaugment(m=9, policy='torchvision')", "trivialaugment"])
def test_large_images_are_the_same_by_tables_and_one_by_one(spec, channels, monkeypatch):
    image, index = torch.from_numpy(pictures(130, channels, 200, 126)), torch.arange(200)
    stage, outs, used = bound(spec), [], []

    def spy(*size):
        used.append(tables(*size))
        return used[-1]

    monkeypatch.setattr(f"iskit.augment.{spec.partition('(')[0]}.tables", spy)
    for side in (128, 127):
        monkeypatch.setattr("iskit.augment.tables.SIDE", side)
        outs.append(stage.image(image, index, 0))
    assert [type(one) for one in used] == [Tables, OneByOne]
    assert torch.equal(*outs)
    assert not torch.equal(outs[0], image)


@pytest.mark.parametrize(
    ("height", "width", "device", "way"),
    [
        (32, 32, "cpu", Tables),
        (120, 120, "cpu", Tables),
        (120, 121, "cpu", OneByOne),
        (130, 130, "meta", Tables),
    ],
)
def test_a_cpu_applies_pil_to_large_images(height, width, device, way):
    assert type(tables(study(4, height, width), height, width, torch.device(device))) is way


def test_pieces_of_a_chunk_leave_no_seams(monkeypatch):
    image = torch.from_numpy(pictures(8, 3, 64))
    stage = bound("randaugment")
    whole = stage.image(image, torch.arange(64), 0)
    monkeypatch.setattr("iskit.augment.tables.PIECE", 7 * image[0].numel())
    torch.testing.assert_close(stage.image(image, torch.arange(64), 0), whole, rtol=0, atol=0)


def torchvisions(space, op, strength, sign, image):
    """What torchvision's own class makes of one image."""
    values, signed = space[op]
    value = float(values[strength]) if values.ndim else 0.0
    value = -value if signed and sign else value
    changed = autoaugment._apply_op(to_pil(image), op, value, interpolation=InterpolationMode.NEAREST, fill=None)
    return np.asarray(changed).reshape(image.shape)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [(28, 28), (32, 24)])
def test_policy_torchvision_equals_torchvision(size, channels):
    image = pictures(size[0], channels, 5, size[1])
    space = autoaugment.RandAugment()._augmentation_space(STRENGTHS, size)
    for magnitude in MAGNITUDES:
        tables = Tables(torchvision(magnitude, *size), *size, CPU, by_rows=True)
        for setting in range(2 * len(space)):
            _check_setting(tables, setting, image, list(space)[setting // 2], space, magnitude, setting % 2)


def test_trivialaugment_equals_torchvision():
    image = pictures(32, 3, 5)
    space = autoaugment.TrivialAugmentWide()._augmentation_space(STRENGTHS)
    tables = Tables(wide(), 32, 32, CPU, by_rows=True)
    assert len(tables.value) == len(space) * STRENGTHS * 2
    for setting in range(0, len(tables.value), 3):  # a third of them: both signs, all operations and strengths
        op, strength = divmod(setting // 2, STRENGTHS)
        _check_setting(tables, setting, image, list(space)[op], space, strength, setting % 2)


def _check_setting(tables, setting, image, op, space, strength, sign):
    zero = torch.zeros(len(image), dtype=torch.float64)
    ours = tables.apply(torch.from_numpy(image), (torch.full((len(image),), setting), zero, zero)).numpy()
    for row, own in enumerate(ours):
        expected = torchvisions(space, op, strength, sign, image[row])
        assert (own != expected).sum() == 0, (op, strength, sign, row)


@pytest.mark.parametrize(("spec", "settings"), [("randaugment(n=2)", 32), ("trivialaugment", 868)])
def test_all_settings_are_drawn_equally_often_and_apart(spec, settings, monkeypatch):
    drawn = []

    class Spy:
        def apply(self, image, *steps):
            drawn.extend(steps)
            return image

    module = "iskit.augment." + spec.partition("(")[0]
    monkeypatch.setattr(f"{module}.tables", lambda *_: Spy())
    n = 200_000
    bound(spec).image(torch.zeros(n, 16, 32, 1, dtype=torch.uint8), torch.arange(n), 0)
    for setting, x, y in drawn:
        counts = setting.bincount(minlength=settings).double()
        assert len(counts) == settings
        chi_square = ((counts - n / settings) ** 2 / (n / settings)).sum().item()
        assert abs(chi_square - (settings - 1)) < 4.5 * math.sqrt(2 * (settings - 1))
        if spec.startswith("randaugment"):
            assert abs(x.mean().item() - 16) < 0.1
            assert abs(y.mean().item() - 8) < 0.05
            assert 0 < x.min() < x.max() < 32
    if len(drawn) == 2:  # with replacement: the second operation knows nothing of the first
        same = (drawn[0][0] // 2 == drawn[1][0] // 2).double().mean().item()
        assert abs(same - 1 / 16) < 0.003


@pytest.mark.parametrize(("flip", "pad", "channels"), [(True, 4, 3), (False, 2, 1), (True, 0, 3), (False, 0, 3)])
def test_standard_equals_a_loop_over_images(flip, pad, channels):
    n, height, width = 400, 9, 13
    image = pictures(height, channels, n, width)
    stage = bound("standard", pad=pad, flip=flip, seed=4, place=1)
    index = torch.arange(n) * 31
    ours = stage.image(torch.from_numpy(image), index, 2).numpy()
    seen = set()
    for row, (a, b, c) in enumerate(words(4, Stream.CROP + 256, 2, index, 3).tolist()):
        top, left, mirror = a * (2 * pad + 1) // 2**32, b * (2 * pad + 1) // 2**32, flip and c >= 2**31
        padded = np.pad(image[row], ((pad, pad), (pad, pad), (0, 0)))
        crop = padded[top : top + height, left : left + width]
        np.testing.assert_array_equal(ours[row], crop[:, ::-1] if mirror else crop)
        seen.add((top, left, mirror))
    assert len(seen) >= 0.9 * (2 * pad + 1) ** 2 * (1 + flip)


@pytest.mark.parametrize(("size", "channels"), [(0.5, 3), (1.0, 1), (0.2, 3), (2.0, 1)])
def test_cutout_hides_a_clipped_square_of_the_mean_colour(size, channels):
    n, height, width = 60, 12, 17
    mean = (0.4914, 0.4822, 0.4465)[:channels]
    image = pictures(height, channels, n, width)
    stage = bound(f"cutout(size={size})", mean=mean, seed=3)
    ours = stage.image(torch.from_numpy(image), torch.arange(n), 1).numpy()
    side = round(size * height)
    for row, (a, b) in enumerate(words(3, Stream.OPS, 1, torch.arange(n), 2).tolist()):
        y, x = a * height // 2**32 - side // 2, b * width // 2**32 - side // 2
        expected = image[row].copy()
        expected[max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] = np.round(np.array(mean) * 255)
        np.testing.assert_array_equal(ours[row], expected)


def bound(spec, *, seed=1, place=0, pad=4, flip=True, mean=(0.5,)):
    stage = augments.create(spec)
    stage.bind(seed=seed, place=place, pad=pad, flip=flip, mean=mean)
    return stage


def changes_images(name):
    return augments[name].image is not Augment.image


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", list(augments))
def test_images_depend_on_seed_epoch_and_example_alone(name, channels):
    image = torch.from_numpy(pictures(16, channels, 96))
    before = image.clone()
    index = torch.arange(1000, 1096)
    stage = bound(name)
    out = stage.image(image, index, 3)
    assert torch.equal(image, before)
    assert out.dtype == torch.uint8
    assert out.shape == image.shape
    assert out.is_contiguous()
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stage.image(image[order], index[order], 3), out[order])
    parts = [stage.image(image[part], index[part], 3) for part in torch.arange(96).split([1, 2, 50, 43])]
    assert torch.equal(torch.cat(parts), out)
    others = [
        stage.image(image, index, 4),
        stage.image(image, index + 1, 3),
        bound(name, seed=2).image(image, index, 3),
        bound(name, place=1).image(image, index, 3),
    ]
    for other in others:
        changed = (other != out).flatten(1).any(1).double().mean().item()
        assert changed > 0.5 if changes_images(name) else changed == 0


@pytest.mark.parametrize("name", list(augments))
def test_images_may_lie_anyhow_in_memory_and_be_none_at_all(name):
    pipeline = Pipeline.parse(name)
    pipeline.bind(seed=1, pad=2, flip=True)
    one = torch.from_numpy(pictures(12, 3, 5))[4:]
    out = pipeline.image(one.expand(40, -1, -1, -1), torch.arange(40), 0)
    assert torch.equal(out, pipeline.image(one.repeat(40, 1, 1, 1), torch.arange(40), 0))
    turned = one.repeat(40, 1, 1, 1).transpose(1, 2)
    assert torch.equal(
        pipeline.image(turned, torch.arange(40), 0), pipeline.image(turned.contiguous(), torch.arange(40), 0)
    )
    assert pipeline.image(one[:0], torch.arange(0), 0).shape == (0, 12, 12, 3)


@pytest.mark.parametrize("spec", ["none", "randaugment(n=0)", "cutout(size=0)", "mixup(alpha=0)", "standard(pad=0)"])
def test_neutral_settings_leave_images_alone(spec):
    image = torch.from_numpy(pictures(16, 3, 20))
    assert torch.equal(bound(spec, flip=False).image(image, torch.arange(20), 0), image)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU to compare with the CPU")
@pytest.mark.parametrize("name", list(augments))
def test_a_gpu_makes_the_same_bytes(name):
    image = torch.from_numpy(pictures(32, 3, 500))
    index = torch.arange(500)
    stage = bound(name)
    on_gpu = stage.image(image.cuda(), index.cuda(), 3)
    assert torch.equal(on_gpu.cpu(), stage.image(image, index, 3))


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("randaugment(n=-1)", "n=-1"),
        ("randaugment(m=31)", "m=31"),
        ("randaugment(m=-1)", "m=-1"),
        ("randaugment(policy='tv')", "policy='tv'"),
        ("trivialaugment(n=-1)", "n=-1"),
        ("cutout(size=3)", "size=3"),
        ("cutout(size=-0.5)", "size=-0.5"),
        ("ricap(alpha=-1)", "alpha=-1"),
        ("cutmix(alpha=-1)", "alpha=-1"),
        ("mixup(alpha=-1)", "alpha=-1"),
        ("standard(pad=-1)", "pad=-1"),
    ],
)
def test_wrong_options_are_named(spec, named):
    with pytest.raises(InputError, match=named):
        augments.create(spec)


@pytest.mark.parametrize("name", list(augments))
def test_every_augmentation_has_a_card(name):
    card = augments.card(name)
    assert card.summary.endswith(".")
    assert card.neutral
