"""A user's own data: tensors or any map-style data set, fetched in the order of the walk."""

import random
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from iskit.errors import InputError, shown
from iskit.inputs import fits, guard
from iskit.own.named import Named, packed, plain
from iskit.randomness import Stream, words
from iskit.samplers import Batch, Sampler
from iskit.training.walk import Batches, Walk

Pair = tuple[Any, Tensor]  # input (a tensor, or Named ones) and target of some examples
Group = tuple[int, list[int]]  # an epoch and the examples to draw for it


class Source(Protocol):
    """Where examples come from."""

    def __len__(self) -> int: ...

    def peek(self) -> Pair:
        """input and target of the first examples, of all where that costs nothing."""

    def fetch(self, rows: Tensor, sizes: list[int], epoch: int) -> Iterator[Pair]:
        """input and target of the examples `rows`, in groups of these sizes, as drawn in this epoch."""


class Tensors:
    """Examples that lie in memory: input (N, ...) and target (N, ...) on any device."""

    def __init__(self, image: Tensor, target: Tensor):
        self.image, self.target = image, target

    def __len__(self) -> int:
        return len(self.image)

    def peek(self) -> Pair:
        return self.image, self.target

    def fetch(self, rows: Tensor, sizes: list[int], epoch: int) -> Iterator[Pair]:
        return ((self.image[group], self.target[group]) for group in rows.to(self.image.device).split(sizes))


class Items:
    """Examples that a data set makes one by one, in `num_workers` processes."""

    def __init__(self, dataset: Dataset[Any], seed: int, num_workers: int, target: str | None):
        self.collate = partial(collate, target=target)
        self.seeded = Seeded(dataset, seed)
        self.groups: list[Group] = []
        self.loader = DataLoader(
            self.seeded,
            batch_sampler=self.groups,  # type: ignore[arg-type]  # a group goes to Seeded whole
            num_workers=num_workers,
            collate_fn=self.collate,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # without one it draws a seed from the global random state
        )

    def __len__(self) -> int:
        return len(self.seeded)

    def peek(self) -> Pair:
        return self.collate(self.seeded.__getitems__((0, list(range(min(2, len(self)))))))

    def fetch(self, rows: Tensor, sizes: list[int], epoch: int) -> Iterator[Pair]:
        self.groups[:] = [(epoch, group.tolist()) for group in rows.cpu().split(sizes)]
        return iter(self.loader)


def sizes(rows: int, first: int, then: int) -> list[int]:
    """Groups that make up `rows`: `first` at most, then `then` each, then the rest."""
    first = min(first, rows)
    full, rest = divmod(rows - first, then)
    return [first] + [then] * full + [rest] * (rest > 0)


def collate(items: list[Any], target: str | None = None) -> Pair:
    """Stacks pairs of (input, target), or dictionaries with the label at `target`. InputError for anything else."""
    with guard("dataset gives examples that cannot be stacked", "give all inputs, and all targets, of one shape"):
        parts = default_collate(items)
    if isinstance(parts, dict):
        return _named(parts, target)
    if target is not None:
        raise InputError(f"target={shown(target)} names a key, but dataset gives no dictionaries: leave target out")
    if not (isinstance(parts, list | tuple) and len(parts) == 2 and all(isinstance(part, Tensor) for part in parts)):
        raise InputError(
            "dataset must give pairs (input, target) of tensors, arrays or numbers, or dictionaries of them: "
            "pack several inputs into one tensor and unpack them in the model"
        )
    return parts[0], parts[1]


def _named(parts: dict[Any, Any], target: str | None) -> Pair:
    keys = ", ".join(map(str, parts))
    if target is None:
        raise InputError(f"dataset gives dictionaries with the keys {keys}: say which is the label, target=...")
    if target not in parts or len(parts) < 2:
        raise InputError(f"target={shown(target)} must be one of dataset's keys, {keys}, beside an input")
    for key, value in parts.items():
        if not isinstance(value, Tensor) or not isinstance(key, str):
            raise InputError(f"dataset's key {shown(key)} holds no tensors, arrays or numbers: leave it out")
    return Named({key: value for key, value in parts.items() if key != target}), parts[target]


class Seeded(Dataset[Any]):
    """Makes each item under random states that are a function of (seed, epoch, index), and restores them after.

    So a data set's random transforms draw the same in any process, in any order and after a restart.
    """

    def __init__(self, dataset: Dataset[Any], seed: int):
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        assert isinstance(self.dataset, Sized)
        return len(self.dataset)

    def __getitems__(self, group: Group) -> list[Any]:
        epoch, index = group
        seeds = words(self.seed, Stream.ITEM, epoch, torch.tensor(index), 1).squeeze(1).tolist()
        items = []
        with _random_states_kept():
            what = f"dataset says that it has {len(self)} examples, but cannot give one of {shown(index)}"
            with guard(what, "correct its length or the example"):
                for i, seed in zip(index, seeds, strict=True):
                    random.seed(seed)
                    np.random.seed(seed)  # noqa: NPY002 - the state that transforms draw from
                    torch.default_generator.manual_seed(seed)
                    items.append(self.dataset[i])
        return items


@contextmanager
def _random_states_kept() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def source(
    data: Any, *, seed: int = 0, num_workers: int = 0, name: str = "dataset", target: str | None = None
) -> Source:
    """Tensors (a tuple or a TensorDataset) or a map-style Dataset as a Source. InputError if it is neither.

    target: where examples are dictionaries, the key of the label.
    """
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple | list) and any(isinstance(part, np.ndarray) for part in data):
        raise InputError(f"{name} holds arrays: give tensors, torch.from_numpy(array)")
    if isinstance(data, tuple | list) and all(isinstance(part, Tensor) for part in data):
        if len(data) != 2 or data[0].ndim == 0 or data[1].ndim == 0 or len(data[0]) != len(data[1]):
            shapes = ", ".join(str(tuple(part.shape)) for part in data)
            raise InputError(f"{name} holds tensors of shape {shapes}: give two of one length, (input, target)")
        if target is not None:
            raise InputError(f"target={shown(target)} names a key, but {name} holds two tensors: leave target out")
        return Tensors(*data)
    if isinstance(data, DataLoader):
        raise InputError(f"{name} is a DataLoader: give the data set in it, loader.dataset")
    if isinstance(data, IterableDataset):
        raise InputError(
            f"{name} is an IterableDataset, which gives its examples in an order of its own: a sampler chooses which "
            "come next, so give a data set with __len__ and __getitem__"
        )
    if not isinstance(data, Sized) or not hasattr(data, "__getitem__"):
        raise InputError(
            f"{name} of type {type(data).__name__} has no length or cannot be indexed: a budget needs a number of "
            "examples, so give a tuple of tensors or a data set with __len__ and __getitem__"
        )
    with guard(f"{name} of type {type(data).__name__} has no length", "give one that tells how many examples it has"):
        fits(f"{name}, {shown(len(data))} examples,", 64 * len(data), "correct its length")
    return Items(data, seed, num_workers, target)  # type: ignore[arg-type]


def has_classes(target: Tensor) -> bool:
    """Whether targets are class ids (b,) or soft rows (b, C): nonnegative numbers that sum to 1."""
    if target.is_floating_point():
        return target.ndim == 2 and bool((target >= 0).all() and ((target.sum(1) - 1).abs() < 1e-3).all())
    return target.ndim == 1 and target.dtype != torch.bool


def check_labels(target: Tensor, classes: int, name: str = "dataset") -> None:
    """InputError if a class id or the width of soft rows does not fit a model of `classes` logits."""
    if target.is_floating_point():
        if target.shape[1] != classes:
            raise InputError(f"{name} gives targets of {target.shape[1]} classes, the model {classes} logits")
    elif len(target) and (target.min() < 0 or target.max() >= classes):
        wrong = int(target.min() if target.min() < 0 else target.max())
        raise InputError(
            f"{name} gives the label {wrong}: the model has {classes} logits, labels are 0 to {classes - 1}"
        )


class Examples(Batches):
    """Fetches the walk's rows from a source and moves them to the model's device.

    classes: of the model; 0 for targets that are no classes: then labels are -1 and targets stay as they come.
    target: the key of the label, where examples are dictionaries. ids: whether targets are class ids, not rows.
    """

    def __init__(
        self,
        walk: Walk,
        sampler: Sampler,
        batch_size: int,
        data: Source,
        classes: int,
        ids: bool,
        target: str | None = None,
    ):
        super().__init__(walk, sampler, batch_size)
        self.data, self.classes, self.ids, self.target = data, classes, ids, target
        self.fetched: Iterator[Pair] = iter(())
        self.fetched_epoch = -1

    def read(self, most: int) -> tuple[Tensor, Tensor, Tensor]:
        walk, device = self.walk, self.walk.rows.device
        if walk.epoch != self.fetched_epoch:
            # Workers fetch ahead within an epoch only: the next one is planned when this one is used up.
            rows = walk.rows[walk.position :]
            self.fetched = self.data.fetch(rows, sizes(len(rows), most, self.batch_size), walk.epoch)
            self.fetched_epoch = walk.epoch
        image, target = next(self.fetched)
        label, target = read_target(target, self.classes)
        image, target = image.to(device, non_blocking=True), target.to(device, non_blocking=True)
        return label.to(device, non_blocking=True), image, target

    def forget(self) -> None:
        self.fetched_epoch = -1

    def given(self, batch: Batch) -> Any:
        """Input and target as the data set gives them: class ids where it gives ids, by name where it gives names."""
        target = batch.label if self.ids else batch.target
        if isinstance(batch.image, Named):
            return {**batch.image.columns, self.target: target}
        return batch.image, target

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return state | {key: state[key] and plain(state[key]) for key in ("mixed", "kept")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state | {key: state[key] and packed(state[key]) for key in ("mixed", "kept")})


def read_target(target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Targets as they come -> label (b,) and soft rows (b, classes). InputError as `check_labels`."""
    if classes == 0:
        return torch.full((len(target),), -1, device=target.device), target
    if not target.is_cuda:  # tensors on a GPU were checked once and for all: a check waits for it
        check_labels(target, classes)
    if target.is_floating_point():
        return target.argmax(1), target.float()
    return target.long(), F.one_hot(target.long(), classes).float()
