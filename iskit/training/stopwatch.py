"""Seconds by phase, on a GPU without waiting for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stopwatch:
    """Adds the time since the last switch to the phase that was on. On a GPU by events, read only in `settle`."""

    def __init__(self, seconds: dict[str, float], device: torch.device, clock: Callable[[], float]):
        self.seconds, self.clock = seconds, clock
        self.events = device.type == "cuda"
        self.phase: str | None = None
        self.since: Any = None
        self.laps: list[tuple[str, Any, Any]] = []

    def switch(self, phase: str | None) -> None:
        now: Any
        if self.events:
            now = torch.cuda.Event(enable_timing=True)
            now.record()
        else:
            now = self.clock()
        if self.phase is not None:
            if self.events:
                self.laps.append((self.phase, self.since, now))
            else:
                self.seconds[self.phase] += now - self.since
        self.phase, self.since = phase, now

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Counts what is within to `phase`, and goes on with the phase that was on."""
        before = self.phase
        self.switch(phase)
        try:
            yield
        finally:
            self.switch(before)

    def settle(self) -> None:
        """Brings `seconds` up to the last switch; waits for the GPU."""
        if self.laps:
            self.laps[-1][2].synchronize()
            for phase, start, stop in self.laps:
                self.seconds[phase] += start.elapsed_time(stop) / 1000
            self.laps.clear()
