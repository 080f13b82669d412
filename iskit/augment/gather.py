"""Gathers of whole runs of pixels: a row of a crop is one copy, not a copy a pixel."""

from torch import Tensor


def runs(source: Tensor, first: Tensor, length: int) -> Tensor:
    """(k, length): the runs of `length` items that start at the places first (k,) of contiguous `source`."""
    every = source.view(-1).as_strided((source.numel() - length + 1, length), (1, 1))  # all that there are, overlapping
    return every.index_select(0, first)
