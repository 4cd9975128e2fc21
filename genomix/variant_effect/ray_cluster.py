"""A Ray cluster: connecting to it, its room for workers, and jobs on workers that may die."""

import importlib
import logging
import os
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from genomix_data.errors import ConfigError, GenomixError

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""How often a job is tried whose worker dies: as often as Ray tries a task."""
CONNECT_WITHIN_S = 10.0
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class RayOptions:
    """Where shards are scored.

    Args:
        address: Of a cluster, such as ``auto``, ``10.0.0.1:6379`` or ``ray://10.0.0.1:10001``; None: what the
            environment variable RAY_ADDRESS says, or else a cluster of this machine for the time of the run.
        workers: Processes that score, each with a model of its own; None: one for each GPU, or for each CPU (of
            ``threads``) where no GPU is used.
        gpus: Of a worker: 1, or a part of one that several workers share, such as 0.5; None: 1 where GPUs are used.
        threads: CPU threads of a worker; None: one, or as many as there are for the ``workers`` asked for.
        forward_logs: Show on this side's standard error what workers say.

    Raises:
        ConfigError: if a number is less than one, or a worker would have no GPU or more than one.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    threads: int | None = None
    forward_logs: bool = True

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}; expected at least 1.")
        if self.gpus is not None and not 0 < self.gpus <= 1:
            raise ConfigError(
                f"gpus={self.gpus}; expected 1, or a part of one such as 0.5: a worker's model is on one GPU. For none "
                "use --device cpu."
            )


@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers a run starts, and what each takes of its node: ``gpus`` is 0, 1, or a part of one."""

    n: int
    threads: int
    gpus: float

    @classmethod
    def of(
        cls, options: RayOptions, device: str, nodes: Sequence[Mapping[str, float]], is_local: bool
    ) -> "Workers":
        """Return the workers that options ask of a cluster.

        Args:
            options: What was asked for.
            device: ``auto``, ``cpu`` or ``cuda``; ``auto`` takes GPUs where there are any.
            nodes: CPUs (``CPU``) and GPUs (``GPU``) of each.
            is_local: Whether no more nodes can come.

        Raises:
            ConfigError: if there is no room for a worker; on a local cluster also if there is none for all.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(
                f"device={device!r}, but Ray gives each worker a GPU of its own; use auto, cpu or cuda."
            )
        if device == "cpu" and options.gpus is not None:
            raise ConfigError(
                f"gpus={options.gpus:g} of a worker, but device='cpu'; leave out one of the two."
            )
        takes_gpus = (
            options.gpus is not None or device == "cuda" or any(node.get("GPU", 0) >= 1 for node in nodes)
        )
        gpus = (options.gpus or 1.0) if takes_gpus and device != "cpu" else 0.0
        threads = options.threads or 1
        if options.threads is None and options.workers is not None and not gpus:
            most = int(max((node.get("CPU", 0) for node in nodes), default=0))
            fitting = (each for each in range(most, 0, -1) if _room(nodes, each, 0) >= options.workers)
            threads = next(fitting, 1)
        room = _room(nodes, threads, gpus)
        wanted = options.workers or room
        who = f"{wanted} workers need" if wanted else "a worker needs"
        of_gpus = {0.0: "", 1.0: " and a GPU"}.get(gpus, f" and {gpus:g} of a GPU")
        each = f"{threads} CPU{'s' * (threads > 1)}{of_gpus}"
        if not wanted or (is_local and wanted > room):
            raise ConfigError(
                f"{who} {each}{' each' * (wanted > 1)}, and the cluster has room for {room}: {_told(nodes)}. Use fewer "
                f"--ray-workers or --threads, {'--device cpu, ' * bool(gpus)}or a larger cluster (--ray-address)."
            )
        if wanted > room:
            logger.warning(
                "the cluster has room for %d of %d workers (%s each); others start when there is more",
                room,
                wanted,
                each,
            )
        return cls(wanted, threads, gpus)

    def actor(self, ray: Any, of: type[object]) -> Any:
        """Return what makes a worker of this size, by ``remote(...)``; it does not come back when it dies."""
        return ray.remote(of).options(
            num_cpus=self.threads, num_gpus=self.gpus, max_restarts=0, max_task_retries=0
        )


def _room(nodes: Sequence[Mapping[str, float]], cpus: int, gpus: float) -> int:
    total = 0
    for node in nodes:
        room = int(node.get("CPU", 0)) // cpus
        if gpus:
            # a worker lies on one GPU: of 0.4 each there is room for two on it
            room = min(room, int(node.get("GPU", 0)) * int(1 / gpus + _ROUNDING))
        total += room
    return total


def _told(nodes: Sequence[Mapping[str, float]]) -> str:
    cpus, gpus = (sum(int(node.get(kind, 0)) for node in nodes) for kind in ("CPU", "GPU"))
    return f"{len(nodes)} node{'s' * (len(nodes) != 1)}, {cpus} CPUs, {gpus} GPUs"


def import_ray() -> Any:
    """Return the module.

    Raises:
        GenomixError: if it is not installed.
    """
    try:
        # Imported by name, so that type checking needs no Ray.
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise  # Ray is there, and broken
        raise GenomixError(
            "Ray is not installed. Install the extra: pip install 'genomix-fm[ray]', or leave out --engine ray."
        ) from error


@contextmanager
def connected(options: RayOptions) -> Iterator[tuple[Any, bool]]:
    """Yield Ray connected to a cluster, and whether that is one of this machine alone, which ends with the block.

    A process that is connected already stays so.

    Raises:
        ConfigError: if no cluster answers.
        GenomixError: if Ray is not installed.
    """
    # Read when Ray is imported or starts: no report to its makers, and no note on what a later version will do.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = import_ray()
    if ray.is_initialized():
        yield ray, False
        return
    address = options.address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    with _own_sigterm():
        try:
            _knock(address)
            ray.init(
                address=address,
                log_to_driver=options.forward_logs,
                logging_level=logging.ERROR,
                **own,
            )
        except (OSError, RuntimeError, ValueError, ImportError, _exceptions().RayError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            if was_refused(error):
                raise ConfigError(
                    f"the Ray cluster at {address!r} asks for a token, and this side has another or none (RAY_AUTH_MODE"
                    f" is {os.environ.get('RAY_AUTH_MODE', 'not set')}). Set RAY_AUTH_MODE=token here as on the nodes, "
                    "and give their token as Ray's documentation says: in the file ~/.ray/auth_token, or by "
                    "RAY_AUTH_TOKEN_PATH."
                ) from error
            raise ConfigError(
                f"no Ray cluster can be reached at {address!r}: {reason}. Start one with `ray start --head`, or "
                "leave out --ray-address and RAY_ADDRESS to score on this machine."
            ) from error
    try:
        yield ray, address == "local"
    finally:
        ray.shutdown()


def _exceptions() -> Any:
    return importlib.import_module("ray.exceptions")


def was_refused(error: BaseException | None) -> bool:
    """Return whether an error was raised for want of a token; older versions of Ray ask for none."""
    while error is not None:
        # Ray tries some times, and then tells what it was raised by in words
        if "AuthenticationError" in f"{type(error).__name__}: {error}":
            return True
        error = error.__cause__ or error.__context__
    return False


def _knock(address: str) -> None:
    """Raise an OSError or a ValueError if nobody answers at an address: Ray itself would try for many minutes."""
    if address in ("local", "auto"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal() and int(port) < 1 << 16):
        raise ValueError("an address is HOST:PORT, ray://HOST:PORT or auto")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_WITHIN_S).close()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep Ray from taking over what this process does on SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def require_one_gpu(n_seen: int) -> None:
    """Raise a ConfigError in a worker that Ray gave a GPU and whose PyTorch does not see just that one.

    Args:
        n_seen: CUDA devices that PyTorch sees.
    """
    here = (
        f"a worker on {socket.gethostname()} (CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')})"
    )
    if not n_seen:
        raise ConfigError(
            f"Ray gave {here} a GPU, and PyTorch sees no CUDA device there (`genomix doctor` says why). Mend the node, "
            "start it with `ray start --num-gpus 0`, or use --device cpu."
        )
    if n_seen > 1:
        raise ConfigError(
            f"{here} sees {n_seen} GPUs, expected the one that Ray gave it: all workers would take the first. Leave "
            "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES out of the environment of the nodes."
        )


def nodes_of(ray: ModuleType) -> list[Mapping[str, float]]:
    """Return the resources of each node that is up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def hosts_of(ray: ModuleType) -> list[str]:
    """Return the name of the machine of each node that is up."""
    return [node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]]


def results_of(
    ray: Any, start_worker: Callable[[], Any], jobs: Sequence[int], n_workers: int
) -> Iterator[tuple[int, Any]]:
    """Yield each job and what it gave, as they end.

    A job goes to the next worker that is ready, and back into the row where a worker dies over it; a new worker then
    takes the place of the dead one, wherever the cluster has room.

    Args:
        ray: The module, connected.
        start_worker: Returns an actor that does not restart, with methods ``ready()`` and ``work(job)``.
        jobs: Their numbers.
        n_workers: At most so many at a time.

    Raises:
        GenomixError: if workers die `ATTEMPTS` times over one job, or before they are ready.
    """
    exceptions = _exceptions()
    waiting = deque(jobs)
    deaths: Counter[int | None] = Counter()
    running: dict[Any, tuple[Any, int | None]] = {}
    n_left = len(jobs)

    def start() -> None:
        worker = start_worker()
        running[worker.ready.remote()] = (worker, None)

    try:
        for _ in range(min(n_workers, n_left)):
            start()
        while n_left:
            [ended], _ = ray.wait(list(running), num_returns=1)
            worker, job = running.pop(ended)
            try:
                result = ray.get(ended)
            except exceptions.RayTaskError as error:
                # what the job itself raised, without Ray's account of it
                raise error.cause from error
            except exceptions.RayError as error:
                ray.kill(worker)
                deaths[job] += 1
                what = "before it was ready" if job is None else f"over shard {job}"
                if deaths[job] == ATTEMPTS:
                    raise GenomixError(
                        f"a worker died {what}, {ATTEMPTS} times. Too little memory is the usual cause: use fewer "
                        f"--ray-workers or a smaller --batch-size. Ray says: {_first_line(error)}"
                    ) from error
                logger.warning(
                    "a worker died %s: another goes on (try %d of %d)", what, deaths[job] + 1, ATTEMPTS
                )
                if job is not None:
                    waiting.appendleft(job)
                start()
                continue
            if job is not None:
                n_left -= 1
                deaths.pop(None, None)
            if waiting:
                following = waiting.popleft()
                running[worker.work.remote(following)] = (worker, following)
            else:
                ray.kill(worker)
            if job is not None:
                yield job, result
    finally:
        for worker, _ in running.values():
            ray.kill(worker)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
