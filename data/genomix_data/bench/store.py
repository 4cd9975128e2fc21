"""How fast a token store feeds a training loop: batches of random windows, beside numpy slicing of the same file.

The numpy row is what one would write by hand: ``np.stack([mapped[s : s + width] for s in starts])`` over a
`numpy.memmap`. Every worker is a process of its own with its own random windows; rates are of all of them together,
taken over a time in which all of them run. The file is in the page cache, as it is after the first epoch. Building is
the best of three, onto a disk: what the disk still has to write from before makes it vary. The rows on training batches
take the whole way of a pretraining run, from the number of a window to tensors of inputs and targets.
"""

import functools
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genomix_data.token_store import TokenStore, open_store, token_table
from genomix_data.token_store.build import default_threads
from genomix_data.token_store.layout import BASES
from genomix_data.tokenizers import CharTokenizer

if TYPE_CHECKING:
    from genomix_data.lm_dataset import TrainingWindows

_SHAPES = ((256, 1 << 10), (32, 1 << 13), (8, 1 << 17), (1, 1 << 20))
_SYNTHETIC = 1 << 26
_N_DRAWS = 1024
_N_BUILDS = 3
_BASELINE = "numpy slicing of the mapped file"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Args:
        what: The path that was taken.
        window: Bases of a window; None for building.
        batch: Windows of a batch; None for building.
        workers: Processes, or threads for building.
        million_tokens_per_second: Of all workers together; a token is a byte.
        ratio_to_numpy: The same, as a multiple of numpy slicing with as many workers.
    """

    what: str
    window: int | None
    batch: int | None
    workers: int
    million_tokens_per_second: float
    ratio_to_numpy: float | None = None


@dataclass(frozen=True, slots=True)
class _Draw:
    contigs: NDArray[np.int64]
    starts: NDArray[np.int64]
    places: list[int]


def measure(
    fasta: Path | None = None,
    *,
    workers: int = 2,
    seconds: float = 1.0,
    say: Callable[[str], object] = lambda message: None,
) -> dict[str, Any]:
    """Return the machine, the versions and a `Row` for each way to read, as JSON values.

    Args:
        fasta: Genome to read; random bases if None. Its store is built in a temporary folder.
        workers: Processes that read at once; each shape is measured with one as well.
        seconds: Time for each measurement.
        say: Called with a line on what is being done.
    """
    rows: list[Row] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="genomix-bench-") as scratch:
        genome = fasta if fasta is not None else _random_fasta(Path(scratch))
        open_store(genome, Path(scratch) / "first.gmx").close()  # makes the FASTA's own index
        for threads in sorted({1, default_threads()}):
            say(f"building with {threads} threads")
            rate = 0.0
            for _ in range(_N_BUILDS):
                started = time.perf_counter()
                store = open_store(genome, Path(scratch) / "bench.gmx", rebuild=True, threads=threads)
                rate = max(rate, store.n_bases / (time.perf_counter() - started) / 1e6)
            rows.append(Row("build the store", None, None, threads, rate))
        store.letters.sum()  # into the page cache
        for batch, width in _SHAPES:
            if store.n_bases <= 2 * width:
                continue
            for n in sorted({1, workers}):
                say(f"windows of {width:,}, {n} workers")
                rates = {what: _rate(what, store, batch, width, n, seconds) for what in _PATHS}
                base = rates[_BASELINE]
                rows += [Row(what, width, batch, n, rate, rate / base) for what, rate in rates.items()]
        described = {"n_bases": store.n_bases, "file": genome.name if fasta is not None else "random bases"}
        store.close()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "genome": described,
        "seconds_each": seconds,
        "load_average_before": round(load, 2),
        "machine": machine(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "rows": [asdict(row) for row in rows],
    }


def _gather(store: TokenStore, draw: _Draw, width: int) -> object:
    return store.gather(draw.contigs, draw.starts, width)


def _gather_char(store: TokenStore, draw: _Draw, width: int) -> object:
    return store.gather(draw.contigs, draw.starts, width, _CHAR)


def _windows(store: TokenStore, draw: _Draw, width: int) -> object:
    """The same a window at a time, as a map-style data set reads."""
    names = list(store.contigs)
    batch = np.empty((len(draw.starts), width), dtype=np.uint8)
    for row, (contig, start) in enumerate(zip(draw.contigs.tolist(), draw.starts.tolist(), strict=True)):
        batch[row] = store.window(names[contig], start, start + width)
    return batch


def _numpy(store: TokenStore, draw: _Draw, width: int) -> object:
    mapped = _mapped(store)
    return np.stack([mapped[place : place + width] for place in draw.places])


@functools.cache
def _training_windows(path: Path, width: int, rc_augment: bool) -> "TrainingWindows":
    from genomix_data.corpus import load_corpus
    from genomix_data.holdout import HeldOut
    from genomix_data.lm_dataset import TrainingWindows

    corpus = load_corpus([path], CharTokenizer(), HeldOut(), longest_n_run=width)
    return TrainingWindows(corpus, width, seed=1, jitter=True, rc_augment=rc_augment)


def _training(store: TokenStore, draw: _Draw, width: int) -> object:
    return _training_batch(_training_windows(store.path, width, False), draw)


def _training_both_strands(store: TokenStore, draw: _Draw, width: int) -> object:
    return _training_batch(_training_windows(store.path, width, True), draw)


def _training_batch(windows: "TrainingWindows", draw: _Draw) -> object:
    """Inputs and targets as pretraining makes them: order, jitter, strand, ids; the draw only chooses which."""
    first = draw.places[0] % len(windows)
    return windows.collate(windows.read(range(first, first + len(draw.starts))))


_CHAR = token_table(CharTokenizer())
_PATHS: dict[str, Callable[[TokenStore, _Draw, int], object]] = {
    _BASELINE: _numpy,
    "store.gather (Evo 2 ids)": _gather,
    "store.gather (HyenaDNA ids)": _gather_char,
    "store.window, one at a time": _windows,
    "training batches (HyenaDNA)": _training,
    "training batches, both strands": _training_both_strands,
}
_maps: dict[Path, "np.memmap[Any, np.dtype[np.uint8]]"] = {}


def _mapped(store: TokenStore) -> "np.memmap[Any, np.dtype[np.uint8]]":
    if store.path not in _maps:
        _maps[store.path] = np.memmap(store.path / BASES, dtype=np.uint8, mode="r")
    return _maps[store.path]


def _draws(store: TokenStore, batch: int, width: int, seed: int) -> Iterator[_Draw]:
    """Yield random windows without end, each inside its contig; drawn beforehand, so that they cost nothing."""
    random = np.random.default_rng(seed)
    lengths = np.array(list(store.contigs.values()))
    offsets = np.array([store.contig_start(name) for name in store.contigs])
    usable = np.flatnonzero(lengths > width)
    weights = (lengths[usable] - width) / (lengths[usable] - width).sum()
    drawn: list[_Draw] = []
    for _ in range(_N_DRAWS):
        contigs = random.choice(usable, size=batch, p=weights)
        starts = random.integers(0, lengths[contigs] - width)
        drawn.append(_Draw(contigs, starts, (offsets[contigs] + starts).tolist()))
    while True:
        yield from drawn


def _rate(what: str, store: TokenStore, batch: int, width: int, workers: int, seconds: float) -> float:
    """Return million tokens a second of all workers together."""
    if workers == 1:
        return _count(what, store, batch, width, 0, seconds, None) / seconds / 1e6
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers)
    queue = context.Queue()
    processes = [
        context.Process(target=_work, args=(queue, what, store, batch, width, seed, seconds, barrier))
        for seed in range(workers)
    ]
    for process in processes:
        process.start()
    tokens = sum(queue.get(timeout=60 + 10 * seconds) for _ in processes)
    for process in processes:
        process.join()
    return float(tokens) / seconds / 1e6


def _work(queue: Any, *arguments: Any) -> None:
    queue.put(_count(*arguments))


def _count(
    what: str,
    store: TokenStore,
    batch: int,
    width: int,
    seed: int,
    seconds: float,
    barrier: Barrier | None,
) -> float:
    """Return the tokens read in ``seconds``, after a warm-up of a fifth of that time."""
    read, draws = _PATHS[what], _draws(store, batch, width, seed)
    store.letters.sum()
    warm_until = time.perf_counter() + seconds / 5
    while time.perf_counter() < warm_until:
        read(store, next(draws), width)
    if barrier is not None:
        barrier.wait()
    n_batches = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        read(store, next(draws), width)
        n_batches += 1
    return n_batches * batch * width * seconds / elapsed


def _random_fasta(folder: Path) -> Path:
    random = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[random.integers(0, 4, _SYNTHETIC)]
    path = folder / "random.fa"
    path.write_bytes(b">random\n" + letters.tobytes() + b"\n")
    return path


def machine() -> dict[str, Any]:
    """Return processor, cores and system, as JSON values."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line for line in info.read_text().splitlines() if line.startswith("model name"))
        model = next((line.partition(":")[2].strip() for line in lines), model)
    return {"cpu": model, "cores": default_threads(), "system": platform.system()}
