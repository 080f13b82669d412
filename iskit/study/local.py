"""Worker processes of this machine, a pipe to each: the death of one is news, and the others go on."""

import _thread
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, Protocol

Work = Callable[[Any, Callable[[Any], None], threading.Event], Any]


@dataclass(frozen=True)
class Died:
    """In place of an answer: the process ended amid a task.

    code: as multiprocessing gives it, -9 for SIGKILL; None where its whole machine is gone.
    """

    code: int | None


@dataclass(frozen=True)
class News:
    """Of a task that is being worked on."""

    what: Any


@dataclass(frozen=True)
class Answer:
    """What the work gave: the task is done."""

    what: Any


class Crew(Protocol):
    """What a sweep asks of processes that do its work, wherever they are, see `Pool`."""

    @property
    def idle(self) -> Sequence[Any]: ...
    @property
    def busy(self) -> Sequence[Any]: ...
    def lent(self) -> "AbstractContextManager[Crew]": ...
    def fill(self, tasks: int) -> None: ...
    def give(self, task: Any) -> None: ...
    def stop(self) -> None: ...
    def hear(self, seconds: float) -> "list[tuple[Any, News | Answer | Died]]": ...


@dataclass
class Worker:
    process: BaseProcess
    pipe: connection.Connection
    place: int
    ready: bool = False
    task: Any = None


class Pool:
    """Processes that do `work`, kept warm until the pool is closed; several sweeps may use it one after another.

        with Pool(work, [{}, {}]) as pool:
            pool.fill(len(waiting))                   # starts processes, as many as can be used
            while pool.idle and waiting: pool.give(waiting.pop())
            for task, word in pool.hear(0.1): ...     # word: News, then an Answer or Died

    work(task, tell, stop): a function of a module, called in a worker; tell(what) sends news, stop is set when the
    task should come to an end soon. environments: of each process, the variables in which it differs; as many
    processes at most. Workers end with the process that made them, however that ends, once their task has seen `stop`.
    RuntimeError if processes do not even start.
    """

    def __init__(self, work: Work, environments: Sequence[Mapping[str, str]]):
        self.work, self.environments = work, environments
        self.context = multiprocessing.get_context("spawn")  # a forked child must not inherit torch's threads
        self.workers: list[Worker] = []
        self.lost: set[int] = set()  # places where processes do not start
        # At exit too, and before multiprocessing waits for its children, which wait for the end of their pipes.
        self._close = Finalize(self, _close, (self.workers,), exitpriority=10)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all workers, those at work by `stop`, and waits for them; those that still start are killed."""
        self._close()

    @contextmanager
    def lent(self) -> Iterator["Pool"]:
        """For one sweep, which leaves no task behind: what it did not wait for is told to stop, and waited for."""
        self.lost.clear()  # what kept a process from starting may be over
        try:
            yield self
        finally:
            self.stop()
            while self.busy:
                self.hear(1.0)

    @property
    def idle(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.ready and worker.task is None]

    @property
    def busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.task is not None]

    def fill(self, tasks: int) -> None:
        """Starts processes until there is one for each of so many further tasks, or all there may be."""
        taken = {worker.place for worker in self.workers} | self.lost
        free = [place for place in range(len(self.environments)) if place not in taken]
        for place in free[: max(0, tasks - (len(self.workers) - len(self.busy)))]:
            pipe, far = self.context.Pipe()
            process = self.context.Process(target=_serve, args=(far, self.work, dict(self.environments[place])))
            process.start()
            far.close()
            self.workers.append(Worker(process, pipe, place))

    def give(self, task: Any) -> None:
        """To one of the idle."""
        worker = self.idle[0]
        worker.task = task
        with suppress(OSError):  # it died: `hear` tells
            worker.pipe.send(task)

    def stop(self) -> None:
        """Asks for an end of all tasks."""
        for worker in self.busy:
            with suppress(OSError):
                worker.pipe.send(_STOP)

    def hear(self, seconds: float) -> list[tuple[Any, News | Answer | Died]]:
        """Tasks and what is said of them, after at most so many seconds of waiting."""
        pipes = {worker.pipe: worker for worker in self.workers}
        heard: list[tuple[Any, News | Answer | Died]] = []
        for pipe in connection.wait(pipes, seconds):
            worker = pipes[pipe]  # type: ignore[index]
            try:
                while worker.pipe.poll():
                    word = worker.pipe.recv()
                    if word == _READY:
                        worker.ready = True
                        continue
                    heard.append((worker.task, word))
                    if isinstance(word, Answer):
                        worker.task = None
            except (EOFError, OSError):  # its end of the pipe closed with it
                self._bury(worker)
                if worker.task is not None:
                    heard.append((worker.task, Died(worker.process.exitcode)))
                elif not worker.ready:
                    self._lose(worker)
        return heard

    def _lose(self, worker: Worker) -> None:
        self.lost.add(worker.place)
        if len(self.lost) == len(self.environments):
            raise RuntimeError(
                f"worker processes end as they start (exit code {worker.process.exitcode}): see what they print; "
                "a script that starts them needs `if __name__ == '__main__':`"
            )

    def _bury(self, worker: Worker) -> None:
        self.workers.remove(worker)
        worker.process.join()
        worker.pipe.close()


_READY, _STOP = "ready", "stop"


def _close(workers: list[Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
        if not worker.ready:
            worker.process.kill()
    for worker in workers:
        worker.process.join()
    workers.clear()


def _serve(pipe: connection.Connection, work: Work, environment: dict[str, str]) -> None:
    """A worker's life: one task after another, until its pipe ends or somebody sends SIGTERM."""
    os.environ |= environment
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who started the workers tells them to stop
    inbox = _Inbox(pipe)
    signal.signal(signal.SIGTERM, lambda *_: inbox.end())
    threading.Thread(target=inbox.listen, daemon=True).start()

    def say(word: Any) -> None:
        with suppress(OSError):  # nobody is there any more: what is begun is saved all the same
            pipe.send(word)

    say(_READY)
    while (item := inbox.tasks.get()) is not None:
        task, stop = item
        say(Answer(work(task, lambda what: say(News(what)), stop)))


@contextmanager
def broken_by(stop: threading.Event) -> Iterator[None]:
    """For what cannot look at `stop` itself: once it is set, a main thread in here gets a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()

    def breaks(*_: object) -> None:
        if stop.is_set() and not over.is_set():  # a Ctrl-C by hand is not for workers
            raise KeyboardInterrupt

    def watch() -> None:
        while not over.is_set():
            if stop.wait(0.1):
                _thread.interrupt_main()
                return

    before = signal.signal(signal.SIGINT, breaks)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGINT, before)


class _Inbox:
    """What the other end sends: tasks, each with a `stop` of its own, so that none is stopped for another."""

    def __init__(self, pipe: connection.Connection):
        self.pipe = pipe
        self.tasks: queue.SimpleQueue[tuple[Any, threading.Event] | None] = queue.SimpleQueue()
        self.stop = threading.Event()  # of the task that came last

    def listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                word = self.pipe.recv()
                if word == _STOP:
                    self.stop.set()
                else:
                    self.stop = threading.Event()
                    self.tasks.put((word, self.stop))
        self.end()

    def end(self) -> None:
        self.stop.set()
        self.tasks.put(None)
