"""Every network: its shapes, its gradients, its seed; the published sizes; fine-tuning from a file."""

import os
import urllib.error

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from iskit.errors import InputError
from iskit.models import models
from iskit.models.wrn import Block


def build(spec, classes=10, channels=3, size=16, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.create(spec, classes, channels, size)


def draw(*shape, seed=5):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def count(spec, classes, channels, size):
    return sum(p.numel() for p in build(spec, classes, channels, size).parameters())


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def refuse(*args, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


@pytest.fixture(params=list(models))
def spec(request, tmp_path):
    """Each network by its name; fine-tuning needs a trained file, with one head for all channels."""
    if request.param != "finetune":
        return lambda channels, size: request.param

    def make(channels, size):
        torch.save(build("resnet8", 3, channels, size).state_dict(), tmp_path / "trained.pt")
        return f"finetune(backbone='resnet8', weights='{tmp_path / 'trained.pt'}')"

    return make


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 9), (3, 16), (1, 28), (3, 32)])
def test_logits_for_any_small_size_and_a_gradient_for_every_parameter(spec, channels, size):
    model = build(spec(channels, size), 7, channels, size)
    logits = model(draw(8, channels, size, size).to(memory_format=torch.channels_last))
    assert logits.shape == (8, 7)
    F.cross_entropy(logits, torch.arange(8) % 7).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_seed_decides_the_start(spec):
    spec = spec(1, 8)
    same, again, other = (build(spec, 4, 1, 8, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert any(not torch.equal(same[name], other[name]) for name in same)


def test_examples_do_not_see_each_other_in_eval_mode(spec):
    model = build(spec(3, 8), 4, 3, 8).eval()
    images = draw(6, 3, 8, 8)
    assert torch.allclose(model(images)[2:4], model(images[2:4]), atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "channels", "size", "expected"),
    [
        ("resnet18", 3, 32, 11_173_962),
        ("wrn", 3, 32, 1_467_610),
        ("resnet20", 3, 32, 272_474),  # He et al. have 269,722: their shortcuts pad with zeros, ours project
        ("resnet8", 3, 32, 78_042),
        ("mlp", 1, 28, 669_706),
        ("lstm", 1, 28, 4 * 128 * (1 + 128 + 2) + 1290),
    ],
)
def test_parameter_counts(spec, channels, size, expected):
    assert count(spec, 10, channels, size) == expected


def test_wide_resnet_has_as_many_layers_as_its_depth():
    for depth in (10, 16, 28):
        model = build(f"wrn(depth={depth}, width=1)")
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert len(layers) == depth - 3  # the stem and 6n, of the 6n + 4
    assert count("wrn(depth=16, width=4)", 10, 3, 32) == 2_748_890


def test_blocks_of_wide_resnets_activate_before_they_convolve():
    """Zagoruyko & Komodakis 2016; where the shape changes, both paths start from the activated input."""
    x = draw(2, 4, 6, 6)
    for block in (Block(4, 8, 2).eval(), Block(4, 4, 1).eval()):
        active = F.relu(F.batch_norm(x, torch.zeros(4), torch.ones(4)))
        inner = F.conv2d(active, block.conv1.weight, stride=block.conv1.stride, padding=1)
        width = inner.shape[1]
        inner = F.conv2d(
            F.relu(F.batch_norm(inner, torch.zeros(width), torch.ones(width))), block.conv2.weight, padding=1
        )
        past = x if width == 4 else F.conv2d(active, block.shortcut.weight, stride=2)
        assert torch.allclose(block(x), inner + past, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18(width=0)", "width=0"),
        ("cnn(width=-1)", "width=-1"),
        ("mlp(width=0)", "width=0"),
        ("mlp(dropout=1.0)", "dropout=1.0"),
        ("lstm(width=0)", "width=0"),
        ("wrn(width=0)", "width=0"),
        ("wrn(depth=27)", r"depth=27 must be 6n \+ 4"),
        ("wrn(depth=4)", "depth=4"),
        ("lstm(permuted='yes')", "must be bool"),
    ],
)
def test_options_that_cannot_work_are_refused(spec, message):
    with pytest.raises(InputError, match=message):
        build(spec)


def test_dropout_is_on_in_training_alone():
    model, image = build("mlp", 10, 1, 8), draw(4, 1, 8, 8)
    assert not torch.equal(model(image), model(image))
    model.eval()
    assert torch.equal(model(image), model(image))
    whole = build("mlp(dropout=0.0)", 10, 1, 8)
    assert torch.equal(whole(image), whole(image))


# --- The RNN ---


def by_hand(model, sequence):
    """(steps, channels) -> logits, by the LSTM's equations (Hochreiter & Schmidhuber 1997, with a forget gate)."""
    p = dict(model.lstm.named_parameters())
    h = c = torch.zeros(model.lstm.hidden_size)
    for x in sequence:
        gates = p["weight_ih_l0"] @ x + p["bias_ih_l0"] + p["weight_hh_l0"] @ h + p["bias_hh_l0"]
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return model.head(h)


def test_lstm_reads_row_by_row_and_forgets_little_at_first():
    model, image = build("lstm(width=5)", 3, 2, 4), draw(1, 2, 4, 4)
    rows = torch.stack([image[0, :, row, column] for row in range(4) for column in range(4)])
    assert torch.allclose(model(image)[0], by_hand(model, rows), atol=1e-6)
    assert (model.lstm.bias_ih_l0 + model.lstm.bias_hh_l0)[5:10].tolist() == [1] * 5


def test_permuted_lstm_reads_every_pixel_once_in_one_order_for_all_seeds():
    model, image = build("lstm(width=5, permuted=True)", 3, 2, 4), draw(1, 2, 4, 4)
    order = model.order.tolist()
    assert sorted(order) == list(range(16)) != order
    assert build("lstm(permuted=True)", 3, 2, 4, seed=9).order.tolist() == order
    pixels = torch.stack([image[0, :, i // 4, i % 4] for i in order])
    assert torch.allclose(model(image)[0], by_hand(model, pixels), atol=1e-6)


# --- Fine-tuning ---


def trained(path, spec="resnet8", classes=5, channels=3, wrap=False):
    model = build(spec, classes, channels, seed=1)
    state = model.state_dict()
    torch.save({"model": state, "epoch": 3} if wrap else state, path)
    return state


@pytest.mark.parametrize(
    "backbone", ["resnet8", "resnet8(width=4)", "cnn", "wrn(depth=10)", "lstm(permuted=True)", "mlp"]
)
@pytest.mark.parametrize("wrap", [False, True])
def test_everything_but_the_head_comes_from_the_file(backbone, wrap, tmp_path):
    state = trained(tmp_path / "w.pt", backbone, wrap=wrap)
    spec = f"finetune(backbone='{backbone}', weights='{tmp_path / 'w.pt'}')"
    one, other = (build(spec, 4, seed=seed).state_dict() for seed in (2, 3))
    different = [name for name in one if not torch.equal(one[name], other[name])]
    *_, weight, bias = state
    assert different == [weight, bias]
    assert one[weight].shape[0] == len(one[bias]) == 4
    assert all(torch.equal(one[name], state[name]) for name in one if name not in different)


def test_the_head_starts_anew_even_for_as_many_classes(tmp_path):
    state = trained(tmp_path / "w.pt")
    model = build(f"finetune(backbone='resnet8', weights='{tmp_path / 'w.pt'}')", 5)
    assert not torch.equal(model.head.weight, state["head.weight"])


def test_a_relative_path_is_the_project_s(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    trained(tmp_path / "w.pt")
    build("finetune(backbone='resnet8', weights='w.pt')")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_torchvision_backbone_from_a_file(channels, tmp_path):
    import torchvision.models

    state = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=12).state_dict()
    torch.save(state, tmp_path / "w.pt")
    model = build(f"finetune(backbone='shufflenet_v2_x0_5', weights='{tmp_path / 'w.pt'}')", 4, channels, 32)
    image = draw(2, channels, 32, 32)
    assert model(image).shape == (2, 4)
    backbone = model if channels == 3 else model.backbone
    assert torch.equal(backbone.conv1[0].weight, state["conv1.0.weight"])
    model.eval()
    assert torch.equal(model(image), backbone(image.expand(-1, 3, -1, -1)))


def test_published_weights_are_found_where_torch_keeps_them(tmp_path):
    """The file lies there as if downloaded: torchvision loads it, the head has 1,000 classes and is renewed."""
    import torchvision.models

    published = torchvision.models.get_model_weights("shufflenet_v2_x0_5")["DEFAULT"]
    with pytest.raises(InputError) as caught:
        build("finetune(backbone='shufflenet_v2_x0_5')", 4, 3, 32)
    path = tmp_path / "hub" / "hub" / "checkpoints" / published.url.rpartition("/")[2]
    assert "no route to host" in str(caught.value)
    assert f"download {published.url} to {path}" in str(caught.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = torchvision.models.get_model("shufflenet_v2_x0_5").state_dict()
    torch.save(state, path)
    model = build("finetune(backbone='shufflenet_v2_x0_5')", 4, 3, 32)
    assert model.fc.weight.shape[0] == 4
    assert torch.equal(model.conv1[0].weight, state["conv1.0.weight"])


@pytest.mark.parametrize(("backbone", "size"), [("mnasnet0_5", 32), ("googlenet", 64), ("inception_v3", 96)])
def test_backbones_read_files_made_of_them(backbone, size, tmp_path):
    """One keeps versions of its layers in its files; the other is published with heads that only its training needs."""
    import torchvision.models

    options = {} if backbone == "mnasnet0_5" else {"aux_logits": True, "init_weights": False}
    before = torchvision.models.get_model(backbone, **options)
    torch.save(before.state_dict(), tmp_path / "w.pt")
    model = build(f"finetune(backbone='{backbone}', weights='{tmp_path / 'w.pt'}')", 4, 3, size)
    name, first = next(iter(before.named_parameters()))
    assert torch.equal(model.get_parameter(name), first)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 4)  # as it trains


@pytest.mark.parametrize("backbone", ["vit_b_16", "alexnet"])
def test_images_that_a_backbone_cannot_see_are_refused_with_the_size_to_scale_to(backbone, tmp_path):
    import torchvision.models

    torch.save(torchvision.models.get_model(backbone).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=rf"backbone='{backbone}' cannot see images of 32 pixels .* size="):
        build(f"finetune(backbone='{backbone}', weights='{tmp_path / 'w.pt'}')", 4, 3, 32)


def test_a_name_of_both_is_ours_unless_torchvision_is_named(tmp_path):
    trained(tmp_path / "w.pt", "resnet18(width=2)")
    with pytest.raises(InputError, match=r"does not fit the backbone .* 'conv1.weight'"):
        build(f"finetune(backbone='torchvision.resnet18', weights='{tmp_path / 'w.pt'}')")
    build(f"finetune(backbone='resnet18(width=2)', weights='{tmp_path / 'w.pt'}')")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("finetune(backbone='resnet51')", "did you mean 'resnet50'"),
        ("finetune(backbone='resnet8')", "DEFAULT is no file: give the trained weights"),
        ("finetune(backbone='resnet8', weights='gone.pt')", "gone.pt is no file"),
        ("finetune(backbone='shufflenet_v2_x0_5', weights='IMAGENET1K_V7')", "did you mean 'IMAGENET1K_V1'.* is none"),
        ("finetune(backbone='resnet8', weights='text.pt')", "text.pt holds no state dict"),
        ("finetune(backbone='resnet8', weights='cut.pt')", "cut.pt holds no state dict"),
        ("finetune(backbone='resnet8', weights='list.pt')", "list.pt holds no state dict"),
        ("finetune(backbone='resnet8(width=8)', weights='good.pt')", "does not fit the backbone in .* 'body.0.weight'"),
        ("finetune(backbone='resnet20', weights='good.pt')", "does not fit the backbone"),
        ("finetune(backbone='cnn', weights='good.pt')", "does not fit the backbone"),
        ("finetune(backbone='squeezenet1_1', weights='good.pt')", "does not end in one linear layer"),
    ],
)
def test_backbones_and_weights_that_cannot_be_used_are_refused(spec, message, tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    trained(tmp_path / "good.pt")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "good.pt").read_bytes()[:-1000])
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=message):
        build(spec)


def test_a_backbone_with_one_tensor_too_many_is_refused(tmp_path):
    state = trained(tmp_path / "w.pt")
    torch.save({**state, "body.9.weight": torch.ones(2)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"in 1 tensors, e\.g\. 'body.9.weight'"):
        build(f"finetune(backbone='resnet8', weights='{tmp_path / 'w.pt'}')")


class Command:
    """Unpickling it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_file_of_weights_cannot_run_code(tmp_path):
    state = trained(tmp_path / "w.pt")
    torch.save({**state, "extra": Command(str(tmp_path / "ran"))}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="holds no state dict"):
        build(f"finetune(backbone='resnet8', weights='{tmp_path / 'w.pt'}')")
    assert not (tmp_path / "ran").exists()
