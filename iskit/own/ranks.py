"""One run on several ranks: each holds all that the sampler knows, draws the same plan, and trains its slice."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from iskit.budget import Meter
from iskit.data.cache import digest
from iskit.errors import InputError, shown
from iskit.own.named import Named
from iskit.samplers import Batch
from iskit.training.scorer import Scorer


class Ranks:
    """Of a model in DistributedDataParallel, the processes that share it; of any other, `group`, or this one alone."""

    def __init__(self, model: nn.Module, group: dist.ProcessGroup | None = None):
        self.group = model.process_group if isinstance(model, DistributedDataParallel) else group
        self.wrapped = isinstance(model, DistributedDataParallel)
        self.count = 1 if self.group is None else dist.get_world_size(self.group)
        self.rank = 0 if self.group is None else dist.get_rank(self.group)

    def agree(self, settings: dict[str, Any]) -> None:
        """InputError on all of them if they were not given the same."""
        told = self._all(settings)
        for name in settings:
            values = [one[name] for one in told]
            if any(value != values[0] for value in values):
                listed = ", ".join(f"{shown(value)} on rank {rank}" for rank, value in enumerate(values))
                raise InputError(f"{name} is {listed}: give all ranks the same data and settings")

    def check_shared(self, model: nn.Module) -> None:
        """After the first step: InputError if it was not the same on all, where nobody has promised that it is."""
        if self.count > 1 and not self.wrapped:
            told = {name: value.detach().cpu().double().numpy() for name, value in model.named_parameters()}
            if len(set(self._all(digest(told)))) > 1:
                raise InputError(
                    "the model is another one on each rank after the first step: put it into DistributedDataParallel, "
                    "or leave group out of wrap, for a run of its own on each"
                )

    def _all(self, value: Any) -> list[Any]:
        found = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(found, value, group=self.group)
        return found

    def slice(self, rows: int) -> slice:
        """This rank's of so many rows. InputError if they cannot be divided."""
        if rows % self.count:
            raise InputError(
                f"a batch of {rows} examples cannot be divided by {self.count} ranks: set batch_size to a multiple of "
                f"{self.count}, and use a sampler that trains so many in every step"
            )
        part = rows // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def gather(self, part: Tensor) -> Tensor:
        """All ranks' parts (m, ...), in their order: (count x m, ...)."""
        if self.count == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.count)]
        dist.all_gather(parts, part.contiguous(), group=self.group)
        return torch.cat(parts)

    def same(self, tensors: Iterable[Tensor], device: torch.device) -> None:
        """Gives all ranks the first one's, in place, of those on this device: what each trained may differ in bits."""
        for tensor in tensors:
            if self.count > 1 and tensor.device == device:
                dist.broadcast(tensor, group=self.group, group_src=0)

    def share(self, loss: Tensor, scalar: Callable[[Tensor], Tensor]) -> Tensor:
        """The scalar of all ranks' losses, of which this one's are (m,); its gradient so large that the mean over the
        ranks, which DistributedDataParallel takes, is that of the scalar."""
        if self.count == 1:
            return scalar(loss)
        parts = list(self.gather(loss.detach()).split(len(loss)))
        parts[self.rank] = loss
        whole = scalar(torch.cat(parts))
        return whole.detach() + self.count * (whole - whole.detach())


class SharedScorer(Scorer):
    """Each rank asks its copy of the model about its part of a pool; all are told, and charged for, the whole."""

    ranks: Ranks

    def __call__(self, pool: Batch) -> Tensor:
        return self._whole(super().__call__, pool)[0]

    def feature(self, pool: Batch) -> tuple[Tensor, Tensor]:
        logits, feature = self._whole(super().feature, pool)
        return logits, feature

    def gradient_norm(self, pool: Batch) -> Tensor:
        return self._whole(super().gradient_norm, pool)[0]

    def _whole(self, ask: Callable[[Batch], Any], pool: Batch) -> list[Tensor]:
        rows = len(pool)
        part = -(-rows // self.ranks.count)
        # The last ranks may be short of some: these ask about the last row again.
        index = (self.ranks.rank * part + torch.arange(part)).clamp(max=rows - 1).to(pool.index.device)
        before = self.meter.forward_only
        found = ask(pool.take(index))
        charged = self.meter.forward_only - before
        self.meter.forward_only = before + charged // part * rows
        return [self.ranks.gather(one)[:rows] for one in (found if isinstance(found, tuple) else (found,))]


def scorer(ranks: Ranks, model: nn.Module, meter: Meter, around: Callable[[], Any]) -> Scorer:
    """Of this rank alone, or of all."""
    if ranks.count == 1:
        return Scorer(model, meter, around)
    shared = SharedScorer(model, meter, around)
    shared.ranks = ranks
    return shared


def fingerprint(image: Any, target: Tensor) -> str:
    """Of the first inputs, and of the targets that are known."""
    columns = image[:2].columns if isinstance(image, Named) else {"input": image[:2]}
    return digest({name: column.cpu().double().numpy() for name, column in {**columns, "target": target}.items()})
