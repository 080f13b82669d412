"""Training steps as CUDA graphs: a fast GPU is done with a step sooner than PyTorch with launching it piece by piece.

A captured function knows its tensors by their addresses. So it reads from buffers of its own, whatever it changes must
be changed in place ever after, and what Python does in it happens once: at the capture.
"""

import gc
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3  # calls before a capture: they compile, choose algorithms, and make the optimizer's state

Function = Callable[..., tuple[Tensor, ...]]
# Captures a function without arguments; gives what runs it again, and its outputs, which that overwrites.
Record = Callable[[Callable[[], tuple[Tensor, ...]]], tuple[Callable[[], Any], tuple[Tensor, ...]]]


def recorder(device: torch.device, compile: str) -> Record | None:
    """How steps are captured; None where they are not: on a CPU launching costs next to nothing."""
    return record if compile == "auto" and device.type == "cuda" else None


def record(function: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], Any], tuple[Tensor, ...]]:
    gc.collect()  # graphs of earlier runs, which hold their memory until then
    # One stream for both: autograd remembers on which stream it first met a parameter.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        outputs = function()
    return graph.replay, outputs


@lru_cache(maxsize=1)
def compiled(model: nn.Module) -> nn.Module:
    """The model under torch.compile; kept, so that further runs with the same model need not compile it again.

    In the default mode: "reduce-overhead" brings graphs of its own, which overwrite outputs and skip batch norm.
    """
    import torch._dynamo

    # Trap: it counts all networks of one class that the process ever had, and then compiles no more without a word.
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


class Recorded:
    """A captured function of tensors: call it with inputs of the shapes it was captured with; gives new tensors."""

    def __init__(self, function: Function, inputs: tuple[Tensor, ...], record: Record):
        self.inputs = tuple(given.clone() for given in inputs)
        self.replay, self.outputs = record(lambda: function(*self.inputs))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        for buffer, given in zip(self.inputs, inputs, strict=True):
            buffer.copy_(given)
        self.replay()
        return tuple(output.clone() for output in self.outputs)  # the caller may keep them


class Steps:
    """A function of tensors, run as graphs where that can be: one for each key, captured when it first comes.

    plain: the function; it does the work where there is no graph, and judges those that there are.
    fast: the same, on a compiled model: what is captured, if there is one. record: None for no graphs at all.
    undone: what is entered around a capture, to leave no trace of its trial runs.
    """

    def __init__(
        self,
        plain: Function,
        fast: Function | None,
        record: Record | None,
        undone: Callable[[], AbstractContextManager],
    ):
        self.plain, self.fast, self.record, self.undone = plain, fast, record, undone
        self.graphs: dict[Hashable, Recorded] = {}

    def __call__(self, *inputs: Tensor, key: Hashable | None, reason: str = "") -> tuple[Tensor, ...]:
        """key: what a graph depends on beside the values of tensors; None: not to be captured, said with the reason."""
        if self.record is None:
            return self.plain(*inputs)
        if key is None:
            if reason:
                _say(reason)
            return self.plain(*inputs)
        if key not in self.graphs:
            try:
                self._capture(key, inputs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # the driver's, or the model's own: the plain call will tell
                self.record = None
                _say(f"{type(error).__name__}: {error}")
                return self.plain(*inputs)
        return self.graphs[key](*inputs)

    def _capture(self, key: Hashable, inputs: tuple[Tensor, ...]) -> None:
        assert self.record is not None
        try:
            with self.undone():
                self.graphs[key] = Recorded(self.fast or self.plain, inputs, self.record)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if self.fast is None:
                raise
            self.fast = None  # a machine without a C compiler, say: a graph does not need one
            _say(f"{type(error).__name__}: {error}", "are captured without being compiled, somewhat slower")
            self._capture(key, inputs)

    def forget(self) -> None:
        """Drops the graphs: tensors that they know have been replaced."""
        self.graphs.clear()


@lru_cache  # once a process and reason
def _say(reason: str, how: str = "run one by one, slower than as CUDA graphs") -> None:
    warnings.warn(f"steps {how}: {reason}", stacklevel=2)


@contextmanager
def undone(tensors: Callable[[], Iterable[Tensor]], generator: torch.Generator) -> Iterator[None]:
    """Puts the tensors and the generator back, in place, to what they were; tensors that were not there become zero,
    as what an optimizer remembers begins."""
    before = [(tensor, tensor.detach().clone()) for tensor in tensors()]
    random = generator.get_state()
    try:
        yield
    finally:
        known = {id(tensor): value for tensor, value in before}
        with torch.no_grad():
            for tensor in tensors():
                if id(tensor) in known:
                    tensor.copy_(known[id(tensor)])
                else:
                    tensor.zero_()
        generator.set_state(random)
