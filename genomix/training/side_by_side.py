"""Jobs that run side by side, a process each: small models leave most of a GPU idle, and several of them fill it.

Processes are started once and take one job after the other, so that only the first job of each pays for the start. One
job at a time runs in this process, without any other.
"""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import torch

from genomix_data.errors import GenomixError

Job = TypeVar("Job")
MOST_WORKERS = 8
"""Processes on one GPU, unless told otherwise."""


class JobFailedError(GenomixError):
    """A job could not be done, for a reason that the user can mend."""


@dataclass(frozen=True, slots=True)
class Done(Generic[Job]):
    """How a job ended.

    Args:
        job: The job.
        result: What it returned; None where it failed.
        error: Why it failed; empty where it did not.
    """

    job: Job
    result: Any
    error: str = ""


def n_workers(wanted: int | None, n_jobs: int, device: torch.device) -> int:
    """Return how many jobs to run at once.

    Args:
        wanted: As the user said; None is one on a CPU and up to `MOST_WORKERS` on a GPU, of which each has a core.
        n_jobs: Jobs that there are.
        device: Where they run.
    """
    if wanted is None:
        wanted = min(MOST_WORKERS, len(os.sched_getaffinity(0))) if device.type == "cuda" else 1
    return max(1, min(wanted, n_jobs))


def run_side_by_side(
    function: Callable[[Job], Any], jobs: Sequence[Job], workers: int
) -> Iterator[Done[Job]]:
    """Yield how each job ended, as they end.

    A job that fails with an error that the user can mend is reported and the others go on; any other error ends all.

    Args:
        function: Of a module, so that another process can import it.
        jobs: What to call it with; sent to other processes, if there are any.
        workers: Processes; with 1 the jobs run in this one.
    """
    if workers == 1:
        for job in jobs:
            try:
                yield Done(job, function(job))
            except GenomixError as error:
                yield Done(job, None, str(error))
        return
    with _started(function, workers) as processes:
        waiting = list(jobs)
        busy: dict[Connection, Job] = {}
        idle = list(processes)
        while waiting or busy:
            while waiting and idle:
                connection = idle.pop()
                busy[connection] = waiting.pop(0)
                try:
                    connection.send(busy[connection])
                except OSError as error:
                    raise _died(processes[connection]) from error
            ready = wait(list(busy))
            for connection in [one for one in busy if one in ready]:
                job = busy.pop(connection)
                yield _received(connection, job, processes[connection])
                idle.append(connection)


def _received(connection: Connection, job: Job, process: Any) -> Done[Job]:
    try:
        kind, value = connection.recv()
    except (EOFError, OSError) as error:
        raise _died(process) from error
    if kind == "crash":
        raise RuntimeError(value)
    return Done(job, value) if kind == "done" else Done(job, None, value)


def _died(process: Any) -> RuntimeError:
    process.join()
    return RuntimeError(
        f"a process that trained ended with code {process.exitcode}, without a word; -9 is usually a lack of memory. "
        "Use fewer at once: trainer.workers=1."
    )


@contextmanager
def _started(function: Callable[[Any], Any], workers: int) -> Iterator[dict[Connection, Any]]:
    # A forked process cannot use CUDA; a spawned one imports everything anew.
    context = multiprocessing.get_context("spawn")
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    processes: dict[Connection, Any] = {}
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(function, theirs, threads), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
        yield processes
    finally:
        for connection, process in processes.items():
            connection.close()
            process.terminate()
        for process in processes.values():
            process.join()


def _work(function: Callable[[Any], Any], connection: Connection, threads: int) -> None:
    """Do jobs until there are no more."""
    torch.set_num_threads(threads)
    while True:
        try:
            job = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = ("done", function(job))
        except GenomixError as error:
            answer = ("failed", str(error))
        except KeyboardInterrupt:
            return
        except Exception as error:  # noqa: BLE001  # goes to the process that waits, with its name
            if os.environ.get("GENOMIX_DEBUG"):
                traceback.print_exc(file=sys.stderr)
            answer = ("crash", f"{type(error).__name__}: {error}")
        connection.send(answer)
