"""The operations of `ops.py` on whole batches, by table look-ups: the same bytes as PIL, on any device.

Strengths are few and fixed, so almost all can be worked out before: moving pixels is a gather by a table that PIL
makes from an image of pixel numbers; changing levels is a table of 256 that PIL makes from a ramp; blending with a
grey or a smoothed image is a table of 256 x 256. AutoContrast, Equalize and Contrast need a table an image, made
from that image. Nothing is computed in floating point that could round differently elsewhere.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iskit.augment.ops import FILL, OPS, Setting, apply

MOVES = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
LEVELS = ("Invert", "Posterize", "Solarize", "SolarizeAdd", "Brightness")
OWN_LEVELS = ("AutoContrast", "Equalize", "Contrast")
BLENDS = ("Color", "Sharpness")
FAMILIES = (("Identity",), MOVES, LEVELS + OWN_LEVELS, BLENDS, ("Cutout",))
OUTSIDE = 1 << 40  # where a moved image shows nothing
PIECE = 1 << 22  # bytes of images a CPU thread has at a time: enough work to share, little enough to stay in its cache
SIDE = 120  # of larger images PIL is faster than a CPU thread with tables, about as fast as four

# One operation an image: setting (n,) int64 into the list of settings; x, y (n,) float64, in pixels, place a cutout.
Step = tuple[Tensor, Tensor, Tensor]


class Tables:
    """What some settings do to images of one size.

    by_rows: an operation is worked out for the rows that drew it only (best on a CPU); otherwise for all rows and
    then selected, so that the host need not know who drew what and never waits for the device (best on a GPU).
    """

    def __init__(self, settings: tuple[Setting, ...], height: int, width: int, device: torch.device, by_rows: bool):
        self.height, self.width, self.by_rows = height, width, by_rows
        self.value = torch.tensor([value for _, value in settings], dtype=torch.float64, device=device)
        self.fill = {c: torch.tensor(colour, dtype=torch.uint8, device=device) for c, colour in FILL.items()}
        self.row = torch.zeros(len(settings), dtype=torch.int64, device=device)  # of a setting in its table

        def group(*groups: tuple[str, ...]) -> Tensor:
            """(settings,) int64: which of the groups each one's operation is in, 0 if none."""
            inside = torch.tensor([[op in ops for ops in groups] for op, _ in settings], device=device)
            return inside.int().argmax(1)

        def table(ops: tuple[str, ...], make: Callable[[Setting], np.ndarray]) -> Tensor:
            members = [number for number, setting in enumerate(settings) if setting.op in ops]
            self.row[members] = torch.arange(len(members), device=device)
            return torch.from_numpy(np.stack([make(settings[number]) for number in members])).to(device)

        self.family = group(*FAMILIES)
        self.leveller = group(LEVELS, *((op,) for op in OWN_LEVELS))
        self.blender = group(*((op,) for op in BLENDS))

        numbers = Image.fromarray(np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width))
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        levels = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
        degenerate, original = Image.fromarray(levels.T.copy()), Image.fromarray(levels)

        def source(setting: Setting) -> np.ndarray:
            seen = np.asarray(OPS[setting.op](numbers, setting.value)).astype(np.int64).ravel()
            return np.where(seen > 0, seen - 1, OUTSIDE)

        # (moves, H W): the pixel to look at; (level tables, 256); (blends, 256, 256): by degenerate, own level.
        self.sources = table(MOVES, source)
        self.levels = table(LEVELS, lambda setting: np.asarray(OPS[setting.op](ramp, setting.value))[0])
        self.blends = table(
            (*BLENDS, "Contrast"), lambda setting: np.asarray(Image.blend(degenerate, original, setting.value))
        )

    def apply(self, image: Tensor, *steps: Step) -> Tensor:
        """(n, H, W, C) uint8 -> a new (n, H, W, C), after one step or more."""
        changes = [keep, self.move, self.relevel, self.blend, self.cut]
        count = max(1, torch.get_num_threads() * PIECE // image[0].numel()) if self.by_rows else len(image)
        for step in steps:
            pieces = zip(*(part.split(count) for part in (image.contiguous(), *step)), strict=True)
            image = torch.cat([self._each(self.family[piece[1]], changes, *piece) for piece in pieces])
        return image

    def _each(self, kind: Tensor, changes: Sequence[Callable[..., Tensor]], *inputs: Tensor) -> Tensor:
        """Row r of the result is that of changes[kind[r]](*inputs)."""
        if self.by_rows:
            order = kind.argsort()
            groups = order.split(kind.bincount(minlength=len(changes)).tolist())
            parts = [
                change(*(part.index_select(0, rows) for part in inputs))
                for change, rows in zip(changes, groups, strict=True)
                if len(rows)
            ]
            return torch.cat(parts).index_select(0, order.argsort())
        out = changes[0](*inputs)
        for number, change in enumerate(changes[1:], 1):
            out = torch.where((kind == number).view(-1, *[1] * (out.dim() - 1)), change(*inputs), out)
        return out

    def _row(self, setting: Tensor, table: Tensor) -> Tensor:
        """The settings' rows of the table; any row for those of other tables, whose result is not selected."""
        return self.row[setting].clamp_(max=len(table) - 1)

    def move(self, image: Tensor, setting: Tensor, x: Tensor, y: Tensor) -> Tensor:
        n, pixels, channels = len(image), self.height * self.width, image.shape[-1]
        flat = torch.cat([image.view(n * pixels, channels), image.new_zeros(1, channels)])  # the last one is black
        first = torch.arange(0, n * pixels, pixels, device=image.device)[:, None]
        source = (self.sources[self._row(setting, self.sources)] + first).clamp_(max=n * pixels)
        return flat.index_select(0, source.view(-1)).view_as(image)

    def relevel(self, image: Tensor, setting: Tensor, x: Tensor, y: Tensor) -> Tensor:
        n, pixels, channels = len(image), self.height * self.width, image.shape[-1]
        makers = [self.fixed, autocontrast, equalize, self.contrast]
        levels = self._each(self.leveller[setting], makers, image, setting)
        entry = image.view(n, -1).long()
        # Flat: adding along so short an axis as the channels is slow on a CPU.
        entry += torch.arange(0, channels * 256, 256, device=image.device).repeat(pixels)
        return levels.view(n, -1).gather(1, entry).view_as(image)

    def fixed(self, image: Tensor, setting: Tensor) -> Tensor:
        """(n, C, 256): each operation's own table."""
        return self.levels[self._row(setting, self.levels)][:, None].repeat(1, image.shape[-1], 1)

    def contrast(self, image: Tensor, setting: Tensor) -> Tensor:
        """(n, C, 256): the blend with the image's mean grey, rounded half up."""
        pixels = self.height * self.width
        mean = (2 * grey(image).sum((1, 2)) + pixels) // (2 * pixels)
        return self.blends[self._row(setting, self.blends), mean][:, None].repeat(1, image.shape[-1], 1)

    def blend(self, image: Tensor, setting: Tensor, x: Tensor, y: Tensor) -> Tensor:
        entry = self._each(self.blender[setting], [colourless, smooth], image).view(len(image), -1)
        entry = entry * 256
        entry += image.view_as(entry)
        entry += 65536 * self._row(setting, self.blends)[:, None].int()
        return self.blends.view(-1).index_select(0, entry.view(-1)).view_as(image)

    def cut(self, image: Tensor, setting: Tensor, x: Tensor, y: Tensor) -> Tensor:
        value, channels = self.value[setting], image.shape[-1]

        def covered(at: Tensor, size: int) -> Tensor:
            first = (at - value / 2).clamp(min=0).long()
            last = (first + value).clamp(max=size).long()
            place = torch.arange(size, device=image.device)
            return (place >= first[:, None]) & (place <= last[:, None])

        columns = covered(x, self.width).repeat_interleave(channels, dim=1)
        inside = covered(y, self.height)[:, :, None] & columns[:, None, :]
        return torch.where(inside, self.fill[channels].repeat(self.width), image.view_as(inside)).view_as(image)


def keep(image: Tensor, setting: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return image


def grey(image: Tensor) -> Tensor:
    """(n, H, W, C) uint8 -> (n, H, W) int32: luminance 0 to 255 in PIL's fixed point."""
    if image.shape[-1] == 1:
        return image[..., 0].int()
    red, green, blue = (image[..., channel].int() for channel in range(3))
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def colourless(image: Tensor) -> Tensor:
    """(n, H, W, C) uint8 -> int32: its grey in every channel."""
    return grey(image)[..., None].expand(image.shape).contiguous()


def smooth(image: Tensor) -> Tensor:
    """(n, H, W, C) uint8 -> int32: the mean of 3 x 3 pixels, the middle one counted 5 times; the border as it is.

    PIL rounds a floating-point sum / 13, which is never close to a half: whole numbers give the same.
    """
    n, height, width, channels = image.shape
    out = image.int().view(n, height, width * channels)
    inner = slice(channels, -channels)
    rows = out[:, :-2] + out[:, 1:-1] + out[:, 2:]
    total = rows[:, :, inner] + rows[:, :, : -2 * channels] + rows[:, :, 2 * channels :] + 4 * out[:, 1:-1, inner]
    out[:, 1:-1, inner] = (2 * total + 13) * 40330 >> 20  # // 26, for numbers this small
    return out.view(image.shape)


def autocontrast(image: Tensor, setting: Tensor) -> Tensor:
    """(n, C, 256): stretches each channel's levels to 0 .. 255."""
    low, high = (edge.double()[..., None] for edge in torch.aminmax(image.flatten(1, 2), dim=1))
    # A true division: `255.0 / x` may be computed as a reciprocal times 255, a level off now and then.
    scale = torch.full_like(low, 255.0) / (high - low)
    level = torch.arange(256, device=image.device, dtype=torch.float64)
    stretched = (level * scale - low * scale).clamp(0, 255)
    return torch.where(high > low, stretched, level).byte()


def equalize(image: Tensor, setting: Tensor) -> Tensor:
    """(n, C, 256): spreads each channel's levels so that all are about as frequent."""
    n, channels = len(image), image.shape[-1]
    first = torch.arange(0, channels * 256, 256, device=image.device)
    bins = image.view(n, -1) + first.repeat(image[0].numel() // channels)
    counts = torch.zeros(n, channels * 256, dtype=torch.int32, device=image.device)
    counts.scatter_add_(1, bins, torch.ones(1, 1, dtype=torch.int32, device=image.device).expand_as(bins))
    counts = counts.view(n, channels, 256)
    highest = image.flatten(1, 2).amax(1)[..., None].long()
    step = (counts.sum(2, keepdim=True) - counts.gather(2, highest)) // 255
    before = counts.cumsum(2) - counts
    level = torch.arange(256, device=image.device)
    spread = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, spread, level).byte()


class OneByOne:
    """What some settings do to images, by PIL itself: the same bytes as `Tables`."""

    def __init__(self, settings: tuple[Setting, ...]):
        self.settings = settings

    def apply(self, image: Tensor, *steps: Step) -> Tensor:
        """As `Tables.apply`, on a CPU."""
        out = image.clone(memory_format=torch.contiguous_format)
        pixels = (out[..., 0] if out.shape[-1] == 1 else out).numpy()
        each = zip(*(zip(*(part.tolist() for part in step), strict=True) for step in steps), strict=True)
        for place, settings in enumerate(each):
            picture = Image.fromarray(pixels[place])
            for number, x, y in settings:
                picture = apply(picture, self.settings[number], x, y)
            pixels[place] = np.asarray(picture)
        return out


_kept = lru_cache(maxsize=8)(Tables)


def tables(settings: tuple[Setting, ...], height: int, width: int, device: torch.device) -> Tables | OneByOne:
    """What applies the settings in the faster way."""
    if device.type == "cpu" and height * width > SIDE**2:
        return OneByOne(settings)
    return _kept(settings, height, width, device, by_rows=device.type == "cpu")
