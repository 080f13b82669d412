"""When choosing could win: classes that are rare, images that come many times, labels that are wrong.

Drawn by the run's seed, on the training part alone, after a validation set was held out (or copies of an image would
lie on both sides). The images stay where they are, shared by all runs: an example says which one it shows.
"""

import torch
from torch import Tensor

from iskit.data.base import Dataset
from iskit.errors import InputError
from iskit.randomness import Stream, permutation, uniform

# What the draws of one seed are for; in place of the epoch, of which a data set has none.
RARE, KEPT, ORIGINAL, COPIED, WRONG = range(5)


def conditioned(data: Dataset, *, imbalance: float, duplicates: float, noise: float, seed: int) -> Dataset:
    """A view of `data`: first the imbalance, then the duplicates, then the noise, once an original.

    imbalance: the rarest class's size over the commonest's, in (0, 1], 1 as it comes; duplicates: share of the
    examples that are further copies of a tenth of the others, in [0, 1); noise: share of the images with a wrong
    label, in [0, 1]. Its flags tell which examples are `rare`, a `copy`, `mislabelled`. InputError for an imbalance
    that empties a class.
    """
    if (imbalance, duplicates, noise) == (1, 0, 0):
        return data
    label, flags = data.label.cpu(), {}
    row = torch.arange(len(label))
    if imbalance < 1:
        row, rare = thinned(label, len(data.classes), imbalance, seed)
        flags["rare"] = rare[label[row]]
    if duplicates:
        chosen, copy = duplicated(label[row], len(data.classes), duplicates, seed)
        row = row[chosen]
        flags = {**{name: flag[chosen] for name, flag in flags.items()}, "copy": copy}
    found = label[row]
    if noise:
        found, flags["mislabelled"] = mislabelled(found, row, len(data.classes), noise, seed)
    return data.view(row, found, flags)


def thinned(label: Tensor, classes: int, imbalance: float, seed: int) -> tuple[Tensor, Tensor]:
    """A long tail: the class of rank k of K keeps at most n imbalance^(k / (K - 1)) examples, n the largest class.

    Which class has which rank is drawn: otherwise a class's own difficulty would pass for its rarity.
    -> the rows kept, in order (m,) int64; whether a class is of the rarer half (K,) bool.
    """
    if classes < 2:
        raise InputError(f"dataset option imbalance={imbalance!r} needs more than one class: leave it out")
    order = permutation(seed, Stream.CONDITION, RARE, classes)  # from the commonest to the rarest
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(classes))
    size = label.bincount(minlength=classes)
    wanted = (size.max() * imbalance ** (rank.double() / (classes - 1))).round().long().minimum(size)
    if not wanted.all():
        raise InputError(
            f"dataset option imbalance={imbalance!r} leaves a class without examples: of {int(size.max())} in the "
            f"largest class, {1 / int(size.max()):.2g} keeps one in the rarest; set a larger one"
        )
    return balanced(label, wanted, seed, KEPT), rank >= classes / 2


def duplicated(label: Tensor, classes: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """(N,) labels -> N rows: (1 - share) N of them once, then further copies of a tenth of those, all as often.

    Only a tenth, since equal copies of all would be more epochs and nothing else. Classes keep their shares.
    -> rows (N,) int64, originals first; copy (N,) bool: whether a row repeats an earlier one.
    """
    n, size = len(label), label.bincount(minlength=classes)
    originals = balanced(label, apportioned(size, max(1, round((1 - share) * n))), seed, ORIGINAL)
    within = label[originals]
    few = apportioned(within.bincount(minlength=classes), max(1, round(len(originals) / 10)))
    source = originals[balanced(within, few, seed, COPIED)]
    extra = source.repeat(-(-n // len(source)))[: n - len(originals)]
    return torch.cat([originals, extra]), torch.arange(n) >= len(originals)


def mislabelled(label: Tensor, row: Tensor, classes: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """A share of the images, whichever examples show them, get another class, drawn uniformly; a higher share
    changes these and more. label, row (N,) -> labels (N,), whether they are wrong (N,) bool."""
    if classes < 2:
        raise InputError(f"dataset option noise={share!r} needs another class to flip to: give more classes")
    image, number = row.unique(return_inverse=True)
    draw = uniform(seed, Stream.CONDITION, WRONG, image, 2)
    step = 1 + (draw[:, 1] * (classes - 1)).long()
    wrong = torch.zeros(len(image), dtype=torch.bool)
    wrong[draw[:, 0].argsort(stable=True)[: round(share * len(image))]] = True
    return torch.where(wrong[number], (label + step[number]) % classes, label), wrong[number]


def balanced(label: Tensor, wanted: Tensor, seed: int, what: int) -> Tensor:
    """Rows, in order: of each class as many as `wanted` (K,), drawn at random."""
    draw = uniform(seed, Stream.CONDITION, what, torch.arange(len(label))).squeeze(1)
    order = draw.argsort(stable=True)
    order = order[label[order].argsort(stable=True)]  # by class, at random within one
    size = label.bincount(minlength=len(wanted))
    place = torch.arange(len(label)) - (size.cumsum(0) - size).repeat_interleave(size)
    return order[place < wanted.repeat_interleave(size)].sort().values


def apportioned(size: Tensor, count: int) -> Tensor:
    """(K,) sizes -> (K,) whole numbers in the same proportions, `count` in all: by largest remainders."""
    exact = size.double() * count / size.sum()
    whole = exact.long()
    rest = (whole - exact).argsort(stable=True)[: count - int(whole.sum())]
    return whole.index_add(0, rest, torch.ones_like(rest))
