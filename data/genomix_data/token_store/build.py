"""Write a token store: blocks of contigs are read and written in parallel, and summed up in order.

Threads are enough: inflating, hashing, copying and writing all happen outside of Python's lock.
"""

import hashlib
import os
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from genomix_data.genome import Genome
from genomix_data.token_store.layout import (
    BASES,
    N_RUNS,
    TABLE,
    SourceFile,
    StoredContig,
    StoreTable,
    TokenStoreError,
)  # fmt: skip
from genomix_data.token_store.letters import is_n

BLOCK = 1 << 23
"""Bases in a unit of work; a thread holds about three times as many bytes."""

_MOST_THREADS = 16
_UPPER = 0xDF
_SPARE = 1 << 20

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Block:
    contig: int
    name: str
    start: int
    end: int
    offset: int


@dataclass(slots=True)
class _Sums:
    """What is known of a contig whose blocks were added in order."""

    md5: "hashlib._Hash" = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    n_masked: int = 0
    runs: list[Int64[np.ndarray, "R 2"]] = field(default_factory=list)


def default_threads() -> int:
    """Return how many threads to build with: the cores that this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _MOST_THREADS))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_store(
    genome: Genome, folder: Path, *, threads: int | None = None, progress: Advance | None = None
) -> StoreTable:
    """Fill the empty folder with a store of ``genome``, and return its description.

    Args:
        genome: What to store.
        folder: Under a temporary name: the store is whole only when this returns.
        threads: Readers; by default as many as there are cores.
        progress: Called with the bases just stored and the bases in all.

    Raises:
        TokenStoreError: if the disk has too little space, or a file of the genome changes meanwhile.
        InputFileError: if the genome cannot be read to its end.
        OSError: if writing fails; it names the file.
    """
    n_bases = sum(genome.contigs.values())
    free = shutil.disk_usage(folder).free
    if free < n_bases + _SPARE:
        raise TokenStoreError(
            f"the token store of {genome.path.name} takes {n_bases / 1e6:,.0f} MB, and {str(folder.parent)!r} has "
            f"{free / 1e6:,.0f} MB left. Free some, or build it elsewhere with -o."
        )
    before = [file.stat() for file in genome.files]
    n_threads = threads or default_threads()
    with ThreadPoolExecutor(1) as hasher, ThreadPoolExecutor(n_threads) as readers:
        digests = [hasher.submit(file_sha256, file) for file in genome.files]
        try:
            sums, crc = _copy(genome, folder / BASES, readers, n_threads + 2, n_bases, progress)
        except BaseException:
            readers.shutdown(cancel_futures=True)
            hasher.shutdown(wait=False, cancel_futures=True)
            raise
        sources = [
            SourceFile(file.name, stat.st_size, stat.st_mtime_ns, digest.result())
            for file, stat, digest in zip(genome.files, before, digests, strict=True)
        ]
    table = _finish(genome, folder, sums, crc, tuple(sources))
    for file, stat in zip(genome.files, before, strict=True):
        now = file.stat()
        if (now.st_size, now.st_mtime_ns) != (stat.st_size, stat.st_mtime_ns):
            raise TokenStoreError(
                f"{str(file)!r} changed while it was being read. Run again when it is whole."
            )
    return table


def _blocks(genome: Genome) -> Iterator[_Block]:
    offset = 0
    for contig, (name, length) in enumerate(genome.contigs.items()):
        for start in range(0, length, BLOCK):
            end = min(start + BLOCK, length)
            yield _Block(contig, name, start, end, offset + start)
        offset += length


def _copy(
    genome: Genome,
    path: Path,
    readers: ThreadPoolExecutor,
    ahead: int,
    n_bases: int,
    progress: Advance | None,
) -> tuple[list[_Sums], int]:
    """Write every block; return the sums of each contig and the CRC-32 of the file."""
    sums = [_Sums() for _ in genome.contigs]
    crc = 0
    pending: deque[tuple[_Block, Future[tuple[NDArray[np.uint8], Int64[np.ndarray, "R 2"]]]]] = deque()
    blocks = _blocks(genome)
    with path.open("wb", buffering=0) as stream:
        os.truncate(path, n_bases)
        while True:
            while len(pending) < ahead and (block := next(blocks, None)) is not None:
                pending.append((block, readers.submit(_copy_block, genome, stream.fileno(), path, block)))
            if not pending:
                break
            block, future = pending.popleft()
            letters, runs = future.result()
            crc = zlib.crc32(letters.data, crc)
            contig = sums[block.contig]
            upper = letters & _UPPER
            contig.md5.update(upper.data)
            contig.n_masked += int(np.count_nonzero(letters != upper))
            contig.runs.append(runs)
            if progress is not None:
                progress(len(letters), n_bases)
        os.fsync(stream.fileno())
    return sums, crc


def _copy_block(
    genome: Genome, descriptor: int, path: Path, block: _Block
) -> tuple[NDArray[np.uint8], Int64[np.ndarray, "R 2"]]:
    bases = genome.fetch(block.name, block.start, block.end)
    done = 0
    while done < len(bases):
        try:
            done += os.pwrite(descriptor, memoryview(bases)[done:], block.offset + done)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
    letters: NDArray[np.uint8] = np.frombuffer(bases, dtype=np.uint8)
    return letters, n_runs_of(letters) + block.start


def n_runs_of(letters: NDArray[np.uint8]) -> Int64[np.ndarray, "R 2"]:
    """Return start and end (0-based, half-open) of every run of N or n, sorted.

    >>> n_runs_of(np.frombuffer(b"NNACnNGN", np.uint8)).tolist()
    [[0, 2], [4, 6], [7, 8]]
    """
    flags = is_n(letters)
    if not flags.any():
        return np.empty((0, 2), dtype=np.int64)
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return edges.astype(np.int64).reshape(-1, 2)


def _finish(
    genome: Genome, folder: Path, sums: list[_Sums], crc: int, sources: tuple[SourceFile, ...]
) -> StoreTable:
    contigs: list[StoredContig] = []
    tables: list[Int64[np.ndarray, "R 3"]] = []
    for index, ((name, length), contig) in enumerate(zip(genome.contigs.items(), sums, strict=True)):
        runs = _merge(np.concatenate(contig.runs))
        tables.append(np.column_stack([np.full(len(runs), index, dtype=np.int64), runs]))
        n_n = int((runs[:, 1] - runs[:, 0]).sum())
        contigs.append(StoredContig(name, length, contig.md5.hexdigest(), n_n, contig.n_masked))
    path = folder / N_RUNS
    np.save(path, np.concatenate(tables), allow_pickle=False)
    table = StoreTable(
        contigs=tuple(contigs),
        sources=sources,
        crc32={BASES: crc, N_RUNS: zlib.crc32(path.read_bytes())},
        n_runs_size=path.stat().st_size,
        aliases=genome.own_aliases,
    )
    (folder / TABLE).write_text(table.to_json(), encoding="utf-8")
    return table


def _merge(runs: Int64[np.ndarray, "R 2"]) -> Int64[np.ndarray, "R 2"]:
    """Join runs that touch, where a block ended within one."""
    if len(runs) < 2:
        return runs
    is_first = np.concatenate([[True], runs[1:, 0] != runs[:-1, 1]])
    is_last = np.concatenate([is_first[1:], [True]])
    return np.column_stack([runs[is_first, 0], runs[is_last, 1]])
