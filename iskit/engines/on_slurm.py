"""A study as a few jobs of a Slurm cluster, many runs each; what is done stands in the run folders, which all share.

Each job is a sweep over the whole list: the folders' locks and writers share it out. One that is preempted, or whose
time is over, saves its runs and returns to the queue; one whose machine dies is put there by Slurm.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from submitit.core.job_environment import JobEnvironment
from submitit.core.submission import process_job
from submitit.core.utils import DelayedSubmission
from submitit.slurm.slurm import _make_sbatch_string

from iskit import files
from iskit.engines import Options, Train
from iskit.errors import InputError, one_line
from iskit.study.local import Pool
from iskit.study.sweep import Sweep, environments
from iskit.study.worker import train

NOTICE = 120  # seconds before its end in which a job saves its runs and returns to the queue
AGAIN = 1000  # times at most, after time-outs
OWN = ("/tmp", "/var/tmp", "/dev/shm")  # of each machine


@contextmanager
def engine(options: Options) -> Iterator[Train]:
    """Submits, or prints what it would submit. InputError if this machine has no Slurm."""
    if not options.text_only and shutil.which("sbatch") is None:
        raise InputError("engine='slurm' needs sbatch, which is not here: run this where jobs are submitted")

    def submitted(many: Sweep, follow: Callable[[], int]) -> int:
        study = many.experiments[0].study
        folder = (many.outputs / study / ".slurm").resolve()
        if not options.text_only:
            check_seen(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = script(folder, Job(many), options)
        if options.text_only:
            print(text)
            return 0
        slurm("sbatch", "--test-only", text=text)
        number = slurm("sbatch", "--parsable", text=text).split(";")[0]
        print(f"submitted: {number}, {options.jobs} jobs of {options.minutes} min; what they print: {folder}")
        print(f"how it stands: iskit status {study}; to end it: scancel {number}")
        return 0

    yield submitted


class Job:
    """The sweep over the whole list, within a job."""

    def __init__(self, many: Sweep):
        self.experiments, self.workers, self.outputs = many.experiments, many.workers, many.outputs.resolve()
        self.retries, self.plan, self.take_over = many.retries, many.plan, many.take_over
        self.pool: Pool | None = None

    def __call__(self) -> None:
        many = Sweep(self.experiments, self.workers, self.outputs, self.retries, self.plan, take_over=self.take_over)
        with Pool(train, environments(self.experiments, self.workers, self.outputs)) as self.pool:
            many.pool = self.pool
            for news in many:
                if news.finished or news.error:
                    said = news.error or f"{news.accuracy:.2f} %"
                    print(f"{many.folder(news.number).name}: {said}", flush=True)
        self.pool = None
        print(f"{len(self.experiments) - len(many.failed)} of {len(self.experiments)} runs finished", flush=True)
        if many.failed:
            sys.exit(1)

    def checkpoint(self) -> DelayedSubmission:
        """What submitit calls when the job must end: saves what is at work. -> what goes on in its next life."""
        if self.pool:
            self.pool.close()
        return DelayedSubmission(self)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "pool": None}


def script(folder: Path, job: Job, options: Options) -> str:
    """The text to submit, by the kit or by hand; the job itself is written beside what it will print."""
    delayed = DelayedSubmission(job)
    delayed.set_timeout(options.minutes, AGAIN)
    path = folder / f"{files.digest([repr(one) for one in job.experiments])}.pkl"
    files.write(path, delayed.dump)
    return _make_sbatch_string(
        shlex.join(["exec", sys.executable, "-u", "-m", "iskit.engines.on_slurm", str(path)]),
        folder,
        job_name=f"iskit-{job.experiments[0].study}",
        partition=options.partition,
        time=options.minutes,
        cpus_per_task=None if options.cpus is None else int(options.cpus),
        gpus_per_node=None if options.gpus is None else int(options.gpus),
        wckey=None,  # type: ignore[arg-type]  # sites refuse those that they do not know
        map_count=options.jobs,
        array_parallelism=options.jobs,
        setup=[f"export ISKIT_ROOT={shlex.quote(str(files.root()))}"],
        stderr_to_stdout=True,
        use_srun=False,
        # Trap: without B: and exec the signal would end the processes of the runs, or reach the shell alone.
        additional_parameters={"signal": f"B:USR2@{min(NOTICE, 30 * options.minutes)}", "requeue": True},
    )


def check_seen(folder: Path) -> None:
    """InputError if the machines that Slurm has are others, and the folder lies where each has its own."""
    machines = set(slurm("sinfo", "-h", "-N", "-o", "%n").split())
    here = socket.gethostname().split(".")[0]
    if any(folder.is_relative_to(place) for place in OWN) and machines - {here}:
        raise InputError(
            f"{folder} is not seen by the machines that run jobs ({', '.join(sorted(machines)[:3])}): put the project "
            "where all see it, your home as a rule, or set ISKIT_ROOT to such a place"
        )


def slurm(*command: str, text: str = "") -> str:
    """What a command of Slurm prints. InputError, with Slurm's own reason, if it refuses."""
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(one_line(f"{command[0]} refuses: {said[0]}; nothing is submitted", InputError.longest))
    return done.stdout.strip()


def main(path: Path) -> None:
    """A job's first steps, and those of each further life of it."""
    os.environ["SUBMITIT_FOLDER"] = str(path.parent)
    own = JobEnvironment().paths.submitted_pickle  # as its last life left it
    if not own.exists():
        shutil.copyfile(path, own)
    process_job(path.parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
