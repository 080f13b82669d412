"""How a run can end early, and what is told of it: to whoever trains it, and in its folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from iskit.errors import Diverged, InputError, Unsaved
from iskit.runs.experiment import Experiment
from iskit.runs.parts import parts
from iskit.runs.writer import Overtaken, Writer

# How cuBLAS, cuDNN, the host, oneDNN and Python put it.
NO_MEMORY = (
    *("out of memory", "ALLOC_FAILED", "DefaultCPUAllocator", "could not create a primitive"),
    "can't start new thread",
)


@contextmanager
def memory_told(e: Experiment) -> Iterator[None]:
    """Training `e`: running out of memory becomes an InputError that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not any(text in str(error) for text in NO_MEMORY):
            raise
        cuda = parts(e).device.type == "cuda"
        raise InputError(
            f"the {'GPU' if cuda else 'machine'}'s memory does not hold batch_size={e.batch_size} of "
            f"model={e.model!r} on dataset={e.dataset!r}: lower batch_size, take a smaller model"
            f"{', or precision=bf16' if e.precision == 'float32' else ''}; or see in "
            f"{'nvidia-smi' if cuda else 'top'} who else takes of it"
        ) from error


@contextmanager
def end_told(path: Path, writer: Writer, keep: Callable[[], None], saved: Callable[[], float | None]) -> Iterator[None]:
    """What ends a run early, from its first moment on, stands in its status.

    keep: writes what was learnt so far; saved: as for `disk_told`.
    """
    try:
        yield
    except (GeneratorExit, OSError, Overtaken):
        raise
    except BaseException as error:
        state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        with suppress(OSError, Overtaken):  # what happened is more than what could not be written of it
            if not (path / "result.json").exists():  # else the weights alone were asked for
                keep()
            writer.say(state, saved=saved(), error=str(error), diverged=isinstance(error, Diverged))
        raise


@contextmanager
def disk_told(path: Path, writer: Writer, saved: Callable[[], float | None]) -> Iterator[None]:
    """A disk that takes no more becomes Unsaved. saved: gives the t of the checkpoint, None if there is none."""
    try:
        yield
    except OSError as error:
        kept = saved()
        left = "nothing of it is saved, and the same command starts it anew"
        if kept is not None:
            left = f"saved is t={kept:.3f}, and the same command goes on from there"
        text = f"{path} cannot be written ({error.strerror or error}), so the run has ended: {left}"
        with suppress(OSError, Overtaken):
            writer.say("failed", saved=kept, error=text)
        raise Unsaved(text) from error
