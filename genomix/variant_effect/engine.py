"""Log-likelihoods of windows: what windows have in common goes through the model once, in batches of one length."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from genomix.checkpoint.native import LoadedModel
from genomix.inference.branching import Branches, TracingModel, branch_log_likelihood
from genomix.operators.state import state_bytes
from genomix.variant_effect.contract import Dtype
from genomix.variant_effect.likelihoods import WindowLikelihoods
from genomix.variant_effect.window_set import WindowSet
from genomix_data.errors import ConfigError, GenomixError

TOKENS_PER_BATCH = {"cpu": 1 << 12, "cuda": 1 << 18}
TOKENS_PER_JOB = {"cpu": 1 << 13, "cuda": 1 << 62}
"""With branches: on CPU jobs share the threads, on a GPU the more branches leave together, the better."""
SHORT_WINDOW = 1 << 13

MEMORY_SHARE = 4
"""What is remembered of a batch of trunks, and of one of branches, takes at most this part of a GPU's memory."""
TRACE_TO_STATE = 5
"""How many times as large as a state a trace is, at most: three projections, and input and output of each filter."""

_Sums = list[tuple[list[int], NDArray[np.float64]]]


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
        self._model = model.language_model.to(self.device).eval()
        self._tokenizer = model.tokenizer
        self._dtype = dtype
        self._batch_size = batch_size
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
        for sums in self._run(windows):
            for numbers, cumulative in sums:
                if not np.isfinite(cumulative[:, -1]).all():
                    raise GenomixError(
                        "the model gave NaN or an infinite log-likelihood. With --dtype bfloat16 try float32; "
                        "otherwise the checkpoint's weights are damaged, or its training diverged."
                    )
                for number, row in zip(numbers, cumulative, strict=True):
                    found.cumulative[number] = row
            if on_batch is not None:
                on_batch(sum(len(numbers) for numbers, _ in sums))
        return found

    def _run(self, windows: WindowSet) -> Iterator[_Sums]:
        """Yield what each job gives, in order; short windows on CPU run one job a thread, not all threads on a job."""

        def run(job: _Job) -> _Sums:
            return self._sums(windows, job)

        jobs = self._jobs(windows)
        n_threads = torch.get_num_threads()
        is_short = max((window.end for window in windows.windows), default=0) <= SHORT_WINDOW
        if self.device.type != "cpu" or n_threads == 1 or not is_short:
            yield from map(run, jobs)
            return
        torch.set_num_threads(1)
        pool = ThreadPoolExecutor(n_threads)
        try:
            yield from pool.map(run, jobs)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(n_threads)

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
        size = self._rows_for(end)
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
            size = self._rows_for(branch_end, start)
            for begin in range(0, len(rows), size):
                some = slice(begin, begin + size)
                job.branches.append((start, rows[some], numbers[some]))
        return job

    def _rows_for(self, end: int, start: int = 0) -> int:
        """Return how many windows go through the model together, of which tokens ``start`` to ``end`` are run."""
        if self._batch_size is not None:
            return self._batch_size
        rows = max(1, TOKENS_PER_BATCH[self.device.type] // (end - start))
        if self.device.type != "cuda":
            return rows
        if end not in self._rows:
            remembered = sum(map(state_bytes, self._model.init_state(1, max_len=end)))
            if isinstance(self._model, TracingModel):
                remembered *= TRACE_TO_STATE
            memory = torch.cuda.get_device_properties(self.device).total_memory
            self._rows[end] = max(1, memory // MEMORY_SHARE // remembered)
        return min(rows, self._rows[end])

    def _sums(self, windows: WindowSet, job: _Job) -> _Sums:
        trunk_letters = b"".join(windows.windows[number].letters[: job.end] for number in job.trunks)
        letters = [
            b"".join(windows.windows[number].letters for number in each) for _, _, each in job.branches
        ]
        numbers = [each for _, _, each in job.branches]
        sums: _Sums = []
        with torch.inference_mode(), self._precision():
            branches = [
                Branches(start, torch.tensor(rows, device=self.device), self._ids(joined, len(rows)))
                for (start, rows, _), joined in zip(job.branches, letters, strict=True)
            ]
            trunks = self._ids(trunk_letters, len(job.trunks))
            for index, log_p in branch_log_likelihood(self._model, trunks, branches):
                those = job.trunks if index < 0 else numbers[index]
                joined = trunk_letters if index < 0 else letters[index]
                sums.append((those, _cumulative(log_p, joined)))
        return sums

    def _ids(self, letters: bytes, n_windows: int) -> Int[Tensor, "B L"]:
        ids = torch.from_numpy(self._tokenizer.encode(letters).reshape(n_windows, -1).copy())
        return ids.to(self.device)

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


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
