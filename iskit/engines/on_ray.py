"""A study on the machines of a Ray cluster: the sweep runs here, its processes there, the run folders are shared."""

import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from iskit import files
from iskit.engines import Options, Train
from iskit.errors import InputError
from iskit.runs.machine import kind, known_choice
from iskit.study.local import Answer, Died, News, Pool, Work
from iskit.study.sweep import Sweep, environments
from iskit.study.worker import train

PATIENCE = 5.0  # seconds for an address to answer
STARTING = 60.0  # for machines to look into a folder, for runs to be saved
HEARING = 1.0  # that a seat waits for news before it answers


@contextmanager
def engine(options: Options) -> Iterator[Train]:
    """On a cluster that runs at options.address, or one of this machine alone. InputError if it does not answer."""
    if options.address:
        check_address(options.address)
    try:
        ray.init(options.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError) as error:
        where = "a cluster of this machine" if options.address is None else f"address={options.address!r}"
        raise InputError(
            f"{where} does not answer as Ray ({error}): see `ray status`; one that was started with "
            "RAY_AUTH_MODE=token wants that, and its token, here too"
        ) from None

    def trained(many: Sweep, follow: Callable[[], int]) -> int:
        with RayPool(train, *room(many, options), many.outputs) as pool:
            many.pool, many.workers = pool, pool.most
            return follow()

    try:
        yield trained
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """InputError if nobody listens there; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    try:
        with socket.create_connection((host, int(port)), PATIENCE):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"address={address!r} cannot be reached ({error}): give HOST:PORT as `ray start --head` printed it"
        ) from None


def room(many: Sweep, options: Options) -> tuple[int, dict[str, float]]:
    """How many workers the cluster has room for, and what each is given: the threads of its runs and, where there are
    GPUs, one. InputError if there is no room for any."""
    there = ray.cluster_resources()
    environments(many.experiments, many.workers, many.outputs)  # decides threads and precision, which all then obey
    known = [
        known_choice(e, many.outputs / e.study) for e in {(e.study, kind(e)): e for e in many.experiments}.values()
    ]
    threads = max((choice.threads for choice in known if choice), default=1)
    gpu = there.get("GPU", 0) > 0 and any(e.device != "cpu" for e in many.experiments)
    wanted = {
        "CPU": threads if options.cpus is None else options.cpus,
        "GPU": float(gpu) if options.gpus is None else options.gpus,
    }
    most = min(int(there.get(name, 0) / amount) for name, amount in wanted.items() if amount)
    if most < 1:
        raise InputError(
            f"the cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs, a worker is to have "
            f"{wanted['CPU']:g} and {wanted['GPU']:g}: lower --cpus or --gpus"
        )
    return min(most, many.workers or most), {"num_cpus": wanted["CPU"], "num_gpus": wanted["GPU"]}


class RayPool:
    """As `iskit.study.local.Pool`: processes that do `work`, at most `most`, wherever the cluster has room for them.

    resources: `num_cpus` and `num_gpus` of each. outputs: a folder that all machines must see; InputError, when the
    pool is entered, if one does not. A task whose machine is gone is `Died(None)`.
    """

    def __init__(self, work: Work, most: int, resources: Mapping[str, float], outputs: Path):
        self.work, self.most, self.resources = work, most, resources
        self.seats: list[Seat] = []
        self.mark = Mark(outputs / f".{socket.gethostname()}.{os.getpid()}.seen", secrets.token_hex(8))

    def __enter__(self) -> "RayPool":
        self.mark.path.parent.mkdir(parents=True, exist_ok=True)
        self.mark.path.write_text(self.mark.word, encoding="utf-8")
        try:
            check_machines(self.mark)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def lent(self) -> AbstractContextManager["RayPool"]:
        """For one sweep: what that leaves behind is ended by `close`."""
        return nullcontext(self)

    def close(self) -> None:
        """Ends all workers, those at work by `stop`, and waits for them."""
        if last := [seat.actor.close.remote() for seat in self.seats if seat.ready]:
            ray.wait(last, num_returns=len(last), timeout=STARTING)
        for seat in self.seats:
            ray.kill(seat.actor)
        self.seats.clear()
        self.mark.path.unlink(missing_ok=True)

    @property
    def idle(self) -> list["Seat"]:
        return [seat for seat in self.seats if seat.ready and seat.task is None]

    @property
    def busy(self) -> list["Seat"]:
        return [seat for seat in self.seats if seat.task is not None]

    def fill(self, tasks: int) -> None:
        """Asks the cluster for processes until there is one for each of so many further tasks, or all there may be."""
        actor = ray.remote(Actor).options(scheduling_strategy="SPREAD", **self.resources)
        free = len(self.seats) - len(self.busy)
        for _ in range(min(self.most - len(self.seats), tasks - free)):
            self.seats.append(Seat(actor.remote(self.work, {"ISKIT_ROOT": str(files.root())}, self.mark)))

    def give(self, task: Any) -> None:
        """To one of the idle."""
        seat = self.idle[0]
        seat.task = task
        seat.actor.give.remote(task)
        seat.listen()

    def stop(self) -> None:
        """Asks for an end of all tasks."""
        for seat in self.busy:
            seat.actor.stop.remote()

    def hear(self, seconds: float) -> list[tuple[Any, News | Answer | Died]]:
        """Tasks and what is said of them, after at most so many seconds of waiting."""
        asked = {seat.hearing: seat for seat in self.seats if seat.hearing is not None}
        if not asked:
            return []
        ray.wait(list(asked), timeout=seconds)
        said, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0)
        heard: list[tuple[Any, News | Answer | Died]] = []
        for ref in said:
            seat = asked[ref]
            try:
                seat.node, ready, words = ray.get(ref)
            except RayActorError as error:
                if error.actor_init_failed:
                    raise InputError(str(error).splitlines()[-1].partition(": ")[2]) from None
                self._bury(seat)
                if seat.task is not None:
                    lost = isinstance(error, ActorUnavailableError) or not is_alive(seat.node)
                    heard.append((seat.task, Died(None if lost else -9)))
                continue
            for word in words:
                heard.append((seat.task, word))
                if not isinstance(word, News):
                    seat.task = None
            seat.ready = ready or seat.task is not None
            if seat.task is not None or not ready:
                seat.listen()
            else:
                seat.hearing = None
        return heard

    def _bury(self, seat: "Seat") -> None:
        self.seats.remove(seat)
        ray.kill(seat.actor)  # it may live, and the way to it be broken


class Seat:
    """A worker of the cluster as seen from here. hearing: what it was asked and has not answered; None: it is idle."""

    def __init__(self, actor: Any):
        self.actor = actor
        self.node: str | None = None
        self.task: Any = None
        self.ready = False
        self.listen()

    def listen(self) -> None:
        self.hearing = self.actor.hear.remote(HEARING)


class Mark:
    """A file in the shared folder, and what it says: by it a machine knows that it sees the very folder."""

    def __init__(self, path: Path, word: str):
        self.path, self.word = path, word

    def check(self) -> None:
        try:
            seen = self.path.read_text(encoding="utf-8") == self.word
        except OSError:
            seen = False
        if not seen:
            raise InputError(
                f"{self.path.parent} is not the same folder on {socket.gethostname()}: put the project where all "
                "machines see it, or set ISKIT_ROOT to such a place"
            )


class Actor:
    """A worker on a machine of the cluster: a process for the runs, and, as Ray's actor, who asks after it.

    Ray's threads, signals and OMP_NUM_THREADS do not concern the runs; and when one kills its process the actor tells.
    """

    def __init__(self, work: Work, environment: Mapping[str, str], mark: Mark):
        mark.check()
        self.pool = Pool(work, [environment])
        self.pool.fill(1)

    def hear(self, seconds: float) -> tuple[str, bool, list[News | Answer | Died]]:
        """Its machine, whether it is ready for a task, and what is said of the one it has."""
        words = [word for _, word in self.pool.hear(seconds)]
        self.pool.fill(1)  # in place of one that died
        return ray.get_runtime_context().get_node_id(), bool(self.pool.idle), words

    def give(self, task: Any) -> None:
        self.pool.give(task)

    def stop(self) -> None:
        self.pool.stop()

    def close(self) -> None:
        self.pool.close()


def machines() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def is_alive(node: str | None) -> bool:
    return node in machines()


def check_machines(mark: Mark) -> None:
    """InputError if one of them does not see the folder, or has no iskit."""
    look = ray.remote(Mark.check)
    looks = [look.options(num_cpus=0, scheduling_strategy=_on(node)).remote(mark) for node in machines()]
    seen, _ = ray.wait(looks, num_returns=len(looks), timeout=STARTING)
    for answer in seen:
        try:
            ray.get(answer)
        except RayTaskError as error:
            raise InputError(str(error.cause)) from None


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)
