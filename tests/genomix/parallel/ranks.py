"""Real processes for tests: a function on every rank, over gloo, whose results come back to the test."""

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import start_processes

from genomix.parallel.processes import Ranks, joined
from genomix.parallel.shape import MeshShape

Work = Callable[[Ranks, Path], Any]


def run_on_ranks(shape: MeshShape, work: Work, folder: Path) -> list[Any]:
    """Return what ``work(ranks, folder)`` returned on each rank of a mesh; what it raises fails the test."""
    multiprocessing.set_forkserver_preload([__name__, "genomix.training.pretrain"])  # torch is imported once
    folder.mkdir(parents=True, exist_ok=True)
    arguments = (shape, work, folder, _free_port())
    start_processes(  # type: ignore[no-untyped-call]
        _rank, arguments, nprocs=shape.n_processes, start_method="forkserver"
    )
    return [pickle.loads((folder / f"rank{rank}").read_bytes()) for rank in range(shape.n_processes)]


def _rank(rank: int, shape: MeshShape, work: Work, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(shape.n_processes),
    )
    with joined(shape, torch.device("cpu")) as ranks:
        result = work(ranks, folder)
    (folder / f"rank{rank}").write_bytes(pickle.dumps(result))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
