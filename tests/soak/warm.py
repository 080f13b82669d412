"""A process that has imported all there is, and forks a child a job: hundreds of kills cost one start.

A line of JSON in is a job: argv, root, log, at, fault, limits. The child's number comes out at once, its exit status as
it ends. The child runs a command of the kit in the project `root`; what it prints goes to `log`. With `at` its
at-th file operation under `root` is its last: fault "kill", or from then on all that write fail with that errno.
"""

import atexit
import errno
import json
import multiprocessing
import multiprocessing.forkserver as forkserver
import os
import resource
import signal
import sys
import warnings
from pathlib import Path

import torch

from iskit.runs.run import Run

torch.set_num_threads(1)
Run.__init__.__defaults__ = (None, 0.0, None, False)  # a checkpoint after every step: there is always one to lose
PATHS = {"open": 1, "os.rename": 2, "os.remove": 1, "os.mkdir": 1}  # audited events, and how many paths they begin with
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


met = 0  # file operations so far


def arm(root: str, at: int, fault: str) -> None:
    """Strikes at the at-th operation on files under `root`."""

    def strike(writes: bool) -> None:
        global met
        met += 1
        if fault == "kill" and met == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault != "kill" and met >= at and writes:
            code = getattr(errno, fault)
            raise OSError(code, os.strerror(code))

    def hear(event: str, args: tuple) -> None:
        paths = args[: PATHS.get(event, 0)]
        if any(isinstance(path, str | os.PathLike) and os.fspath(path).startswith(root) for path in paths):
            frees = event == "os.remove" and fault in ("ENOSPC", "EMFILE")
            strike(not frees and (event != "open" or bool(args[2] & WRITING) or fault == "EMFILE"))

    flush = os.fsync

    def fsync(file: int) -> None:
        strike(fault != "EMFILE")
        flush(file)

    os.fsync = fsync
    sys.addaudithook(hear)


def limit(name: str, room: int) -> None:
    """room: beyond what the process has by now; for files, the size."""
    if name == "RLIMIT_AS":
        room += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if name == "RLIMIT_NOFILE":
        room += max(map(int, os.listdir("/proc/self/fd"))) + 1
    if name == "SIGXFSZ":  # the death comes amid a write
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        name = "RLIMIT_FSIZE"
    resource.setrlimit(getattr(resource, name), (room, room))


def work(job: dict) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a command begins there is none to be struck
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ["ISKIT_ROOT"] = job["root"]
    os.chdir(job["root"])
    warnings.resetwarnings()
    forkserver._forkserver.ensure_running = lambda: None  # the server's own, which is nobody else's child
    if job["argv"][0] == "papermill":
        from papermill.__main__ import papermill as main
    else:
        from iskit.cli import main
    sys.argv = job["argv"]
    for name, room in job["limits"].items():
        limit(name, room)
    if job["at"]:
        arm(job["root"], job["at"], job["fault"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


def child(job: dict) -> int:
    code = 0
    try:
        work(job)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        if met:
            Path(f"{job['log']}.met").write_text(str(met))
    except OSError:
        pass
    return code


def serve() -> None:
    import nbconvert  # noqa: F401
    import papermill.cli  # noqa: F401

    import iskit.cli
    import iskit.pages.report
    import iskit.study.sweep
    from iskit.runs.experiment import Experiment

    Run(Experiment.parse({"dataset": "digits(limit=200)"})).bind(torch.device("cpu"))  # what is imported late
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["iskit.study.sweep", "warm"])
    forkserver.ensure_running()
    iskit.study.local.multiprocessing.get_context = lambda method: context
    print(forkserver._forkserver._forkserver_pid, flush=True)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            os._exit(child(json.loads(line)))
        print(process, flush=True)
        print(os.waitpid(process, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
