"""Log-likelihoods of windows: what windows have in common goes through the model once, in batches of one length."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from genomix.checkpoint.native import LoadedModel
from genomix.inference.branching import PROBES, Branches, Probes, TracingModel, branch_log_likelihood
from genomix.operators.state import state_bytes
from genomix.variant_effect.contract import Dtype
from genomix.variant_effect.likelihoods import WindowLikelihoods
from genomix.variant_effect.window_set import WindowSet
from genomix_data.errors import ConfigError, GenomixError

TOKENS_PER_BATCH = {"cpu": 1 << 12, "cuda": 1 << 18}
TOKENS_PER_JOB = {"cpu": 1 << 13, "cuda": 1 << 62}
"""With branches: on CPU jobs share the threads, on a GPU the more branches leave together, the better."""
SHORT_WINDOW = 1 << 13

FEATURES_PER_BATCH = 1 << 28
"""Narrow models take more tokens on a GPU, up to so many features and `MOST_TOKENS`, so that launches do not count."""
MOST_TOKENS = 1 << 20
BYTES_A_FEATURE = 32
"""What a forward pass holds of a batch at once (measured: 31 of the shipped model, 23 of the 7B shape)."""

MEMORY_SHARE = 4
"""A batch, what is remembered of one of trunks, and of one of branches, takes at most this part of a GPU's memory."""
TRACE_TO_STATE = 5
"""How many times as large as a state a trace is, at most: three projections, and input and output of each filter."""

_Place = tuple[int, int]
_Work = TypeVar("_Work")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class _Found:
    """What one job gives: sums of windows by number, and entropies by number and position."""

    sums: list[tuple[list[int], NDArray[np.float64]]] = field(default_factory=list)
    entropies: dict[_Place, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    """Some trunks of one length, and all branches that leave them: the number of each."""

    trunks: list[int]
    end: int
    branches: list[tuple[int, list[int], list[int]]] = field(default_factory=list)  # start, rows, numbers


class Engine:
    """A language model that gives the log-likelihood of windows.

    The first base of a window has nothing before it and is not scored, nor is a base that is N. A window is never
    padded, so its likelihood does not depend on what else is in the batch.

    Args:
        model: A language model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``bfloat16`` runs the matrix products in it (autocast); parameters and log-softmax stay fp32.
        batch_size: Windows in a forward pass; None: by length and device.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: str = "auto",
        dtype: Dtype = "float32",
        batch_size: int | None = None,
    ) -> None:
        self.device = pick_device(device)
        self.model = model.language_model.to(self.device).eval()
        self.tokenizer = model.tokenizer
        self._dtype = dtype
        self._batch_size = batch_size
        self._tokens_per_batch = self._most_tokens(model.config.d_model)
        self._rows: dict[int, int] = {}

    def likelihoods(
        self, windows: WindowSet, on_batch: Callable[[int], None] | None = None
    ) -> WindowLikelihoods:
        """Return the log-likelihoods of all windows.

        Args:
            windows: Each at most the model's context long.
            on_batch: Called now and then with the number of windows done since.

        Raises:
            GenomixError: if the model gives NaN or an infinity.
        """
        found = WindowLikelihoods(windows)
        longest = max((window.end for window in windows.windows), default=0)
        for each in self.map_jobs(lambda job: self._sums(windows, job), self._jobs(windows), longest):
            for numbers, cumulative in each.sums:
                check_finite(cumulative[:, -1])
                for number, row in zip(numbers, cumulative, strict=True):
                    found.cumulative[number] = row
            found.entropies.update(each.entropies)
            if on_batch is not None:
                on_batch(sum(len(numbers) for numbers, _ in each.sums))
        return found

    def map_jobs(
        self, work: Callable[[_Work], _Result], jobs: Iterable[_Work], longest: int
    ) -> Iterator[_Result]:
        """Yield what each job gives, in order; short windows on CPU run one job a thread, not all threads on a job.

        Args:
            work: Does a job.
            jobs: Of any kind.
            longest: Tokens of the longest window.
        """
        n_threads = torch.get_num_threads()
        if self.device.type != "cpu" or n_threads == 1 or longest > SHORT_WINDOW:
            yield from map(work, jobs)
            return
        torch.set_num_threads(1)
        pool = ThreadPoolExecutor(n_threads)
        try:
            yield from pool.map(work, jobs)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(n_threads)

    def log_likelihoods(
        self, trunks: Int[Tensor, "B L"], branches: Sequence[Branches], probes: Probes | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield what `branch_log_likelihood` yields, in the precision of this engine.

        Each step is taken in inference mode; the caller's own work between the steps is not.
        """
        steps = branch_log_likelihood(self.model, trunks, branches, probes=probes)
        while True:
            with self.inference():
                step = next(steps, None)
            if step is None:
                return
            yield step

    def inference(self) -> AbstractContextManager[object]:
        """Return the context in which the model runs."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if self.device.type == "cuda":
            stack.enter_context(torch.cuda.device(self.device))
        stack.enter_context(self._precision())
        return stack

    def _jobs(self, windows: WindowSet) -> Iterator[_Job]:
        """Yield the trunks in batches of one length, those whose branches leave at the same places side by side."""
        by_shape: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for number, window in enumerate(windows.windows):
            if window.trunk is None:
                starts = {windows.windows[child].start for child in windows.branches.get(number, ())}
                by_shape.setdefault((window.end, tuple(sorted(starts))), []).append(number)
        by_length: dict[tuple[int, bool], list[int]] = {}
        for (end, places), trunks in sorted(by_shape.items()):
            # trunks without branches apart: they need neither state nor trace
            by_length.setdefault((end, bool(places)), []).extend(trunks)
        for (end, _), trunks in by_length.items():
            for some in self._batches(windows, trunks, end):
                yield self._job(windows, some, end)

    def _batches(self, windows: WindowSet, trunks: list[int], end: int) -> Iterator[list[int]]:
        size = self.rows_for(end)
        most_tokens = TOKENS_PER_JOB[self.device.type]
        batch: list[int] = []
        n_tokens = 0
        for trunk in trunks:
            batch.append(trunk)
            n_tokens += end + sum(
                len(windows.windows[each].letters) for each in windows.branches.get(trunk, ())
            )
            if len(batch) == size or n_tokens >= most_tokens:
                yield batch
                batch, n_tokens = [], 0
        if batch:
            yield batch

    def _job(self, windows: WindowSet, trunks: list[int], end: int) -> _Job:
        job = _Job(trunks, end)
        alike: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        for row, trunk in enumerate(trunks):
            for number in windows.branches.get(trunk, ()):
                branch = windows.windows[number]
                rows, numbers = alike.setdefault((branch.start, branch.end), ([], []))
                rows.append(row)
                numbers.append(number)
        for (start, branch_end), (rows, numbers) in sorted(alike.items()):
            size = self.rows_for(branch_end, start)
            for begin in range(0, len(rows), size):
                some = slice(begin, begin + size)
                job.branches.append((start, rows[some], numbers[some]))
        return job

    def rows_for(self, end: int, start: int = 0) -> int:
        """Return how many windows go through the model together, of which tokens ``start`` to ``end`` are run."""
        if self._batch_size is not None:
            return self._batch_size
        rows = max(1, self._tokens_per_batch // (end - start))
        if self.device.type != "cuda":
            return rows
        if end not in self._rows:
            remembered = sum(map(state_bytes, self.model.init_state(1, max_len=end)))
            if isinstance(self.model, TracingModel):
                remembered *= TRACE_TO_STATE
            memory = torch.cuda.get_device_properties(self.device).total_memory
            self._rows[end] = max(1, memory // MEMORY_SHARE // remembered)
        return min(rows, self._rows[end])

    def _most_tokens(self, d_model: int) -> int:
        """Return how many tokens of a model of this width go through it together."""
        usual = TOKENS_PER_BATCH[self.device.type]
        if self.device.type != "cuda":
            return usual
        memory = torch.cuda.get_device_properties(self.device).total_memory
        wanted = min(max(usual, FEATURES_PER_BATCH // d_model), MOST_TOKENS)
        return min(wanted, memory // MEMORY_SHARE // (d_model * BYTES_A_FEATURE))

    def _sums(self, windows: WindowSet, job: _Job) -> _Found:
        trunk_letters = b"".join(windows.windows[number].letters[: job.end] for number in job.trunks)
        letters = [
            b"".join(windows.windows[number].letters for number in each) for _, _, each in job.branches
        ]
        numbers = [each for _, _, each in job.branches]
        probed = sorted(
            (at, row) for row, number in enumerate(job.trunks) for at in windows.probes.get(number, ())
        )
        found = _Found()
        with self.inference():
            branches = [
                Branches(start, torch.tensor(rows, device=self.device), self._ids(joined, len(rows)))
                for (start, rows, _), joined in zip(job.branches, letters, strict=True)
            ]
            trunks = self._ids(trunk_letters, len(job.trunks))
            probes = self._probes(probed)
        for index, values in self.log_likelihoods(trunks, branches, probes):
            if index == PROBES:
                entropies = base_entropies(values, self.tokenizer.acgt_ids).tolist()
                found.entropies = {
                    (job.trunks[row], at): entropy
                    for (at, row), entropy in zip(probed, entropies, strict=True)
                }
                continue
            those = job.trunks if index < 0 else numbers[index]
            joined = trunk_letters if index < 0 else letters[index]
            found.sums.append((those, _cumulative(values, joined)))
        return found

    def _probes(self, places: Sequence[_Place]) -> Probes | None:
        if not places:
            return None
        at, rows = torch.tensor(places, device=self.device).unbind(1)
        return Probes(rows, at)

    def _ids(self, letters: bytes, n_windows: int) -> Int[Tensor, "B L"]:
        ids = torch.from_numpy(self.tokenizer.encode(letters).reshape(n_windows, -1).copy())
        return ids.to(self.device)

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def base_entropies(logits: Float[Tensor, "P V"], acgt_ids: Sequence[int]) -> Float64[np.ndarray, " P"]:
    """Return the entropy in nats of each prediction over A, C, G and T alone: 0 to ln 4; fp64."""
    log_p = torch.log_softmax(logits[:, list(acgt_ids)].double(), dim=1)
    return np.asarray((-(log_p.exp() * log_p).sum(1)).cpu().numpy())


def check_finite(sums: NDArray[np.float64]) -> None:
    """Raise a GenomixError if a log-likelihood is NaN or infinite."""
    if not np.isfinite(sums).all():
        raise GenomixError(
            "the model gave NaN or an infinite log-likelihood. With --dtype bfloat16 try float32; "
            "otherwise the checkpoint's weights are damaged, or its training diverged."
        )


def _cumulative(log_p: Tensor, letters: bytes) -> NDArray[np.float64]:
    """Return sums from the beginning of each window, zero first; N adds nothing."""
    n_windows, n_scored = log_p.shape
    is_n = np.frombuffer(letters, np.uint8).reshape(n_windows, -1)[:, 1:] == ord("N")
    values = log_p.float().cpu().numpy()
    sums = np.zeros((n_windows, n_scored + 1))
    np.cumsum(np.where(is_n, np.float32(0.0), values), axis=1, dtype=np.float64, out=sums[:, 1:])
    return sums


def pick_device(device: str) -> torch.device:
    """Return the device that ``device`` names; ``auto`` is CUDA where there is one.

    Raises:
        ConfigError: if it is neither cpu nor cuda, or CUDA is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = device.split(":", 1)[0]
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"device={device!r}; expected auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device='cuda', but PyTorch sees no CUDA device (`genomix doctor` says why). Use --device cpu."
        )
    return torch.device(device)
