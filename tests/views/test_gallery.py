"""Images to look at: what is shown is what the augmentations give and the counts say, each with its text."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from run_folders import write_past, write_run

import iskit
from iskit.augment import Pipeline
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.views import gallery

SPECS = ["standard", "randaugment(m=9)|standard", "ricap(alpha=1)", "standard|mixup(alpha=1)"]


@pytest.fixture(params=[(3, 32), (1, 8)], ids=["colour", "grey"])
def data(request):
    channels, size = request.param
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.integers(0, 256, (40, size, size, channels), dtype=np.uint8))
    label = torch.arange(40) % 5
    names = ("ant", "a class with a long name", "cat", "dog", "emu")
    return Dataset(image, label, image, label, (0.4,) * channels, (0.2,) * channels, names)


class Page(HTMLParser):
    """images: decoded, in order; captions: of each its lines; alternatives: of each; texts: all others."""

    def __init__(self, page):
        super().__init__()
        self.images, self.captions, self.alternatives, self.texts, self.below = [], [], [], [], False
        self.feed(page.data)

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if tag == "img":
            kind, _, code = told["src"].partition(",")
            assert kind == "data:image/png;base64"
            pixels = np.asarray(Image.open(BytesIO(b64decode(code))))
            self.images.append(pixels[..., None] if pixels.ndim == 2 else pixels)
            self.alternatives.append(told["alt"])
        if tag == "figcaption":
            self.below = True
            self.captions.append([])

    def handle_endtag(self, tag):
        self.below &= tag != "figcaption"

    def handle_data(self, text):
        (self.captions[-1] if self.below else self.texts).append(text)


def test_rows_show_the_images_before_and_after(data):
    page = Page(gallery.before_and_after(data, SPECS, first=3, count=6, seed=2, number=7))
    assert page.texts == ["A batch before and after", "as it is", *SPECS]
    index, image = torch.arange(3, 9), data.image[3:9]
    for row, spec in enumerate(["none", *SPECS]):
        pipeline = Pipeline.parse(spec)
        pipeline.bind(seed=2, pad=data.pad, flip=data.flip, mean=data.mean)
        after = pipeline.image(image, index, 7)
        target = torch.eye(5)[data.label[3:9]]
        mixed, soft = pipeline.mix(data.normalise(after), target, 7)
        expected = (mixed.permute(0, 2, 3, 1) * 0.2 + 0.4) * 255
        for column in range(6):
            assert np.abs(page.images[6 * row + column] - expected[column].numpy()).max() <= 0.51
            if spec.endswith(")") and soft is not target:
                best = soft[column].argmax()
                line = f"{round(100 * soft[column].max().item())}% {data.classes[best][:10]}"
                assert page.captions[6 * row + column][0].startswith(line)


def test_captions_promise_all_of_the_image(data):
    page = Page(gallery.before_and_after(data, ["mixup(alpha=1)", "ricap(alpha=1)"], count=8))
    told = [lines for lines in page.captions if "%" in "".join(lines)]
    assert len(told) == 16
    for lines in told:
        assert abs(sum(int(line.split("%")[0]) for line in lines) - 100) <= 2


def test_every_image_has_a_text_for_those_who_do_not_see_it(data):
    page = Page(gallery.before_and_after(data, SPECS))
    assert all(page.alternatives)
    assert "ricap(alpha=1) 2" not in page.alternatives  # its shares are told instead
    assert "standard 2" in page.alternatives


def test_names_are_text_and_no_markup():
    image = torch.zeros(4, 8, 8, 1, dtype=torch.uint8)
    label = torch.arange(4) % 2
    data = Dataset(image, label, image, label, (0.5,), (0.5,), ("<b>", '"'))
    page = gallery.before_and_after(data, ["standard"], count=2)
    assert "<b>&lt;" not in page.data
    assert Page(page).captions[:2] == [["<b>"], ['"']]
    assert Page(page).alternatives[:2] == ["<b>", '"']


def test_operations_shows_all_sixteen(data):
    page = Page(gallery.operations(data, 4, which=2))
    assert len(page.images) == 17
    assert ["Posterize", "0.53 bits, at least 1"] in page.captions
    assert ["TranslateX", "13.3 pixels"] in page.captions
    inverted = page.images[page.captions.index(["Invert"])]
    np.testing.assert_array_equal(inverted, 255 - data.image[2].numpy())


@pytest.mark.parametrize("m", [4, 30])
def test_one_operation_is_that_of_the_sheet(data, m):
    page, one = Page(gallery.operations(data, m, which=2)), Page(gallery.operation(data, "Solarize", m, first=2))
    place = [caption[0] for caption in page.captions].index("Solarize")
    np.testing.assert_array_equal(one.images[6], page.images[place])
    np.testing.assert_array_equal(one.images[0], data.image[2].numpy())
    assert one.texts[-1] == page.captions[place][1]


def test_pictures_are_cifars_where_they_lie_else_photographs(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path / "project"))
    (tmp_path / "project").mkdir()
    name, data = gallery.pictures()
    assert "photographs" in name
    assert data.image.shape == (16, 48, 48, 3)
    assert data.label[:4].tolist() == [0, 1, 0, 1]
    assert data.image.float().std(dim=(1, 2, 3)).min() > 20  # there is something to see on each
    (tmp_path / "project" / "data" / "cifar-10-batches-py").mkdir(parents=True)
    asked = []
    monkeypatch.setattr(gallery, "load", lambda spec, *_: asked.append(spec) or data)
    assert gallery.pictures()[0] == "cifar10"
    assert gallery.pictures("digits")[0] == "digits"
    assert asked == ["cifar10", "digits"]


def test_wrong_arguments_are_refused(data):
    with pytest.raises(InputError, match="m=31"):
        gallery.operations(data, 31)
    with pytest.raises(InputError, match="did you mean 'Rotate'"):
        gallery.operation(data, "rotate")
    with pytest.raises(InputError, match="count=41"):
        gallery.before_and_after(data, count=41)
    with pytest.raises(InputError, match="blurr"):
        gallery.before_and_after(data, ["blurr"])


def trained(outputs, counts, *, seed=1, dataset="digits(limit=100)", sampler="p"):
    path = write_run(outputs, seed=seed, sampler=sampler, budget=0.3, dataset=dataset)
    write_past(path, counts)


def times(page):
    return [line.split(" · ")[1] for (line,) in Page(page).captions]


def test_a_gallery_is_of_all_runs_the_most_trained_above_the_least(tmp_path):
    first = np.zeros(100, dtype=np.int64)
    first[[5, 6]] = 9, 1
    second = np.ones(100, dtype=np.int64)
    second[[6, 7]] = 30, 0
    for seed, counts in enumerate((first, second)):
        trained(tmp_path, counts, seed=seed)
    # Another data set of another size is not counted with it.
    trained(tmp_path, np.arange(200), dataset="digits(limit=200)")
    shown = gallery.trained(iskit.results(outputs=tmp_path), "p", each=2)
    page = Page(shown)
    assert times(shown) == ["31×", "10×", "1×", "0×"]  # 6, 5; one of the others, 7
    data = gallery.load("digits(limit=100)", tmp_path, 0, torch.device("cpu"), 1)
    for place, index in ((0, 6), (1, 5), (3, 7)):
        np.testing.assert_array_equal(page.images[place], data.image[index].numpy())
        assert page.captions[place][0].startswith(f"{data.classes[data.label[index]]} ")
    title = "p · p-SGD: the images trained most and least in 2 runs on digits(limit=100)"
    assert page.texts == [title, "most", "least"]


def test_a_gallery_of_examples_that_each_seed_draws_is_of_one_seed(tmp_path):
    for seed in (1, 2):
        trained(tmp_path, np.arange(100), seed=seed, dataset="digits(limit=100, noise=0.5)")
    shown = gallery.trained(iskit.results(outputs=tmp_path), "p", each=2)
    assert "in 1 run on" in shown.data
    assert times(shown) == ["99×", "98×", "1×", "0×"]


def test_most_and_least_of_any_data():
    image = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 4, 4, 3).contiguous()
    data = Dataset(image, torch.tensor([0, 1, 0, 1, 0, 1]), image, torch.zeros(6).long(), (0.5,), (0.5,), ("a", "b"))
    page = Page(gallery.most_and_least(data, np.array([3, 9, 4, 1, 5, 0]), each=2))
    assert page.captions == [["b · 9×"], ["a · 5×"], ["b · 1×"], ["b · 0×"]]
    assert [int(image[0, 0, 0]) for image in page.images] == [1, 4, 3, 5]
    assert page.texts[0] == "Most and least trained images"


def test_choosers_are_those_that_choose_p_first(tmp_path):
    for sampler in ("sgd", "scan", "unif", "p"):
        budget = 1 if sampler == "sgd" else 0.3
        write_run(tmp_path, seed=1, sampler=sampler, budget=budget, dataset="digits(limit=100)")
    frame = iskit.results(outputs=tmp_path)
    assert gallery.choosers(frame) == ["p", "unif"]
    assert gallery.choosers(frame[frame["sampler"] == "scan"]) == ["scan"]
    gone = frame.assign(sampler=frame["sampler"].replace("unif", "gone(x=1)"))
    assert gallery.choosers(gone) == ["p", "gone(x=1)"]


def test_a_page_of_them_is_small(data):
    page = gallery.before_and_after(data, SPECS)
    assert len(page.data) < 1.6 * 30 * data.image[0].numel() + 30_000
    assert not re.search(r"width: \d{4}", page.data)
