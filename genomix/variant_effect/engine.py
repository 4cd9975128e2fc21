"""Log-likelihoods of windows: each distinct window goes through the model once, in batches of one length."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from genomix.checkpoint.native import LoadedModel
from genomix.inference.likelihood import token_log_likelihood
from genomix.variant_effect.contract import Dtype
from genomix_data.errors import ConfigError, GenomixError

TOKENS_PER_BATCH = {"cpu": 1 << 12, "cuda": 1 << 18}
SHORT_WINDOW = 1 << 13

_Batch = tuple[list[int], NDArray[np.bool_], NDArray[np.float32]]


class WindowSet:
    """Distinct windows, numbered in the order in which they came; letters A, C, G, T, N."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []
        self.n_letters = 0
        self.kept_rows: set[int] = set()
        self._numbers: dict[bytes, int] = {}

    def add(self, window: bytes) -> int:
        """Return the number of a window, a new one if it has not come before."""
        number = self._numbers.setdefault(window, len(self.letters))
        if number == len(self.letters):
            self.letters.append(window)
            self.n_letters += len(window)
        return number

    def __len__(self) -> int:
        return len(self.letters)


class WindowLikelihoods:
    """What the model gave for each window of a `WindowSet`.

    Attributes:
        totals: Sum of log-likelihoods over the scored positions, fp64, in nats.
        rows: Log-likelihoods of the scored positions in order, fp32, of the windows in ``kept_rows``.
    """

    def __init__(self, n_windows: int) -> None:
        self.totals: NDArray[np.float64] = np.zeros(n_windows)
        self.rows: dict[int, NDArray[np.float32]] = {}


class Engine:
    """A language model that gives the log-likelihood of windows.

    The scored positions of a window are all but the first base, which has nothing before it, and but those whose base
    is N. A window is never padded, so its likelihood does not depend on what else is in the batch.

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

    def likelihoods(
        self, windows: WindowSet, on_batch: Callable[[int], None] | None = None
    ) -> WindowLikelihoods:
        """Return the log-likelihoods of all windows.

        Args:
            windows: Each at most the model's context long.
            on_batch: Called after each batch with the number of windows in it.

        Raises:
            GenomixError: if the model gives NaN or an infinity.
        """
        found = WindowLikelihoods(len(windows))
        for numbers, is_scored, rows in self._run(windows.letters):
            found.totals[numbers] = np.where(is_scored, rows, np.float32(0.0)).sum(axis=1, dtype=np.float64)
            for i, number in enumerate(numbers):
                if number in windows.kept_rows:
                    found.rows[number] = rows[i, is_scored[i]]
            if on_batch is not None:
                on_batch(len(numbers))
        if not np.isfinite(found.totals).all():
            raise GenomixError(
                "the model gave NaN or an infinite log-likelihood. With --dtype bfloat16 try float32; "
                "otherwise the checkpoint's weights are damaged, or its training diverged."
            )
        return found

    def _run(self, letters: Sequence[bytes]) -> Iterator[_Batch]:
        """Yield the batches in order; short windows on CPU take one batch a thread instead of all threads a batch."""

        def run(numbers: list[int]) -> _Batch:
            joined = b"".join(letters[number] for number in numbers)
            is_scored = np.frombuffer(joined, np.uint8).reshape(len(numbers), -1)[:, 1:] != ord("N")
            return numbers, is_scored, self._token_log_likelihoods(joined, len(numbers))

        n_threads = torch.get_num_threads()
        is_short = max(map(len, letters), default=0) <= SHORT_WINDOW
        if self.device.type != "cpu" or n_threads == 1 or not is_short:
            yield from map(run, self._batches(letters))
            return
        torch.set_num_threads(1)
        pool = ThreadPoolExecutor(n_threads)
        try:
            yield from pool.map(run, self._batches(letters))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(n_threads)

    def _batches(self, letters: Sequence[bytes]) -> Iterator[list[int]]:
        by_length: dict[int, list[int]] = {}
        for number, window in enumerate(letters):
            by_length.setdefault(len(window), []).append(number)
        for length, numbers in by_length.items():
            size = self._batch_size or max(1, TOKENS_PER_BATCH[self.device.type] // length)
            for begin in range(0, len(numbers), size):
                yield numbers[begin : begin + size]

    def _token_log_likelihoods(self, letters: bytes, n_windows: int) -> NDArray[np.float32]:
        ids = torch.from_numpy(self._tokenizer.encode(letters).reshape(n_windows, -1).copy()).to(self.device)
        with torch.inference_mode(), self._precision():
            rows: NDArray[np.float32] = token_log_likelihood(self._model, ids).float().cpu().numpy()
        return rows

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


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
