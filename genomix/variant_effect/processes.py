"""Processes of this machine that score shards side by side, each with a model of its own.

One process is bound by the host, of which a small model leaves a GPU idle half of the time; several fill it. What one
of them raises is raised here, and ends the others; so does one that dies.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Literal, Self

import torch

from genomix.checkpoint.files import read_settings
from genomix.checkpoint.shipped import located
from genomix.variant_effect.contract import ScoreSummary
from genomix.variant_effect.engine import pick_device
from genomix.variant_effect.score import Progress, language_model
from genomix.variant_effect.sharded_run import ShardedRun
from genomix_data.errors import ConfigError

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""For a process to end that was asked to; then it is killed."""

Prepare = Callable[[], object]


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a process must know to begin."""

    model: str
    device: str
    threads: int
    log_level: int
    prepare: Prepare | None


class ScoringProcesses:
    """Some processes that hold a model; use as a context manager. They begin at once, and load the model meanwhile.

    Args:
        model: Folder of a language model, or the name of one that ships with the package.
        n: How many.
        device: As in `ScoreOptions`; ``auto`` and ``cuda`` deal out all GPUs in turn.
        threads: CPU threads of each; None: those of this process, divided.
        prepare: Called in each before anything else; a function of a module.

    Attributes:
        n: How many.
        model_sha256: Of the weights.
        peak_bytes: GPU memory of all of them, each at its highest in the last shard that it scored.

    Raises:
        ConfigError: if ``n`` is less than one, or there is no such device.
        CheckpointError: if there is no such model.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        n: int,
        *,
        device: str = "auto",
        threads: int | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        if n < 1:
            raise ConfigError(f"processes={n}; expected at least 1.")
        self.n = n
        self.model_sha256 = str(read_settings(located(model)).get("weights_sha256"))
        log_level = logging.getLogger().getEffectiveLevel()
        each = threads or max(1, torch.get_num_threads() // n)
        self._setups = [_Setup(str(model), name, each, log_level, prepare) for name in devices_for(n, device)]
        self._processes: dict[Connection, SpawnProcess] = {}
        self._peaks: dict[Connection, int] = {}
        self._said: set[tuple[str, int, str]] = set()

    @property
    def peak_bytes(self) -> int:
        """See above."""
        return sum(self._peaks.values())

    def __enter__(self) -> Self:
        # a forked process cannot use CUDA; a spawned one imports everything anew
        context = multiprocessing.get_context("spawn")
        try:
            with _interrupts_kept_from_children():
                for setup in self._setups:
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_work, args=(theirs, setup), daemon=True)
                    process.start()
                    self._processes[ours] = process
                    theirs.close()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End the processes, whatever they are at; what they had begun to write is left where it is."""
        for connection, process in self._processes.items():
            connection.close()
            process.terminate()
        for process in self._processes.values():
            process.join(PATIENCE_S)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()

    def score(
        self,
        run: ShardedRun,
        numbers: Sequence[int],
        *,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> dict[int, ScoreSummary]:
        """Return the summaries of shards, which are scored side by side; whatever goes wrong ends all processes.

        Args:
            run: What the shards are of.
            numbers: Of the shards, from 1.
            resume: Go on amid shards that were broken off.
            progress: Called with the number of alleles done since the last call.

        Raises:
            ChildProcessError: if a process dies; else what the first one raises that raises anything.
        """
        assert self._processes, "the processes have not begun, or were ended"
        self._peaks.clear()
        waiting, idle = deque(numbers), deque(self._processes)
        busy: dict[Connection, int] = {}
        found: dict[int, ScoreSummary] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    connection, number = idle.popleft(), waiting.popleft()
                    busy[connection] = number
                    # where nobody takes it, the end of that process is told below
                    with suppress(OSError):
                        connection.send((run, number, resume))
                ready = wait(list(self._processes))
                for connection in [one for one in self._processes if one in ready]:
                    kind, value = self._received(connection)
                    if kind == "done":
                        found[busy.pop(connection)], self._peaks[connection] = value
                        idle.append(connection)
                    elif kind == "raised" and isinstance(value, torch.OutOfMemoryError):
                        raise ChildProcessError(self._too_many(value)) from value
                    elif kind == "raised":
                        raise value
                    elif kind == "logged" and value not in self._said:
                        self._said.add(value)
                        name, level, message = value
                        logging.getLogger(name).log(level, "%s", message)
                    elif kind == "moved" and progress is not None:
                        progress(value)
        except BaseException:
            self.end()
            raise
        return found

    def _too_many(self, error: Exception) -> str:
        where = ", ".join(sorted({setup.device for setup in self._setups}))
        return (
            f"{self.n} processes need more memory than there is on {where}, of which each takes as much as one alone: "
            f"use fewer --processes, or a smaller --batch-size. PyTorch says: {' '.join(str(error).split())}"
        )

    def _received(self, connection: Connection) -> tuple[str, Any]:
        try:
            kind, value = connection.recv()
        except (EOFError, OSError) as error:
            process = self._processes[connection]
            process.join(PATIENCE_S)
            raise ChildProcessError(_how_it_ended(process.exitcode, self.n)) from error
        return kind, value


def _how_it_ended(code: int | None, n: int) -> str:
    if code is None or code >= 0:
        return f"one of {n} processes that scored ended by itself with code {code}, without a word."
    hint = " That is usually a lack of memory: use fewer --processes, or a smaller --batch-size."
    return (
        f"one of {n} processes that scored was ended by signal {-code} ({signal.Signals(-code).name})."
        f"{hint if -code == signal.SIGKILL else ''}"
    )


def devices_for(n: int, device: str) -> list[str]:
    """Return the device of each of ``n`` processes; GPUs are dealt out in turn where none is named.

    Raises:
        ConfigError: as `pick_device`.
    """
    found = pick_device(device)
    if found.type != "cuda" or found.index is not None:
        return [str(found)] * n
    return [f"cuda:{number % torch.cuda.device_count()}" for number in range(n)]


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Have Ctrl-C, which a terminal sends to all processes, reach this one alone: it ends the others."""
    resource_tracker.ensure_running()  # else it begins with the first child, and lets interrupts through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which children inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Sender(logging.Handler):
    """Sends what happens to the process that waits; from any thread. Log records go there too."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._turn = threading.Lock()

    def send(self, kind: Literal["done", "raised", "logged", "moved"], value: object) -> None:
        with self._turn:
            self._connection.send((kind, value))

    def emit(self, record: logging.LogRecord) -> None:
        self.send("logged", (record.name, record.levelno, record.getMessage()))


def _work(connection: Connection, setup: _Setup) -> None:
    """Score shards until there are no more; the life of a process."""
    sender = _Sender(connection)
    logging.basicConfig(handlers=[sender], level=setup.log_level)
    try:
        if setup.prepare is not None:
            setup.prepare()
        torch.set_num_threads(setup.threads)
        is_on_gpu = setup.device.startswith("cuda")
        if is_on_gpu:
            torch.cuda.set_device(setup.device)
        model = language_model(setup.model)
        while (job := _next(connection)) is not None:
            run, number, resume = job
            if is_on_gpu:
                torch.cuda.reset_peak_memory_stats()
            summary = run.score(
                number,
                model,
                device=setup.device,
                resume=resume,
                progress=lambda n_done: sender.send("moved", n_done),
            )
            peak = torch.cuda.max_memory_allocated() if is_on_gpu else 0
            sender.send("done", (summary, peak))
    except ConnectionError:
        pass  # the process that waited was killed
    except Exception as error:  # noqa: BLE001  # raised where it is waited for
        if os.environ.get("GENOMIX_DEBUG"):
            traceback.print_exc(file=sys.stderr)
        with suppress(ConnectionError):
            sender.send("raised", _that_can_be_sent(error))
    # nothing is open any more; at Python's own end extensions would complain of what they still hold
    os._exit(0)


def _next(connection: Connection) -> tuple[ShardedRun, int, bool] | None:
    """Return the next shard to score, and whether to go on amid it; None: there are no more."""
    try:
        job: tuple[ShardedRun, int, bool] = connection.recv()
    except EOFError:
        return None
    return job


def _that_can_be_sent(error: Exception) -> Exception:
    """Return an error, or in its place one that says the same, where it does not come through a pipe."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # whatever its own code raises
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
