"""Likelihoods of single-base substitutions: windows are put together, and sums taken, on the device.

Only a few numbers an allele come back to the host, once a block, so that a small model on a GPU is not waited for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from genomix.inference.branching import PROBES, Branches, Probes
from genomix.variant_effect.contract import ScoreOptions, Status, VariantScore
from genomix.variant_effect.engine import TOKENS_PER_JOB, Engine, base_entropies, check_finite
from genomix.variant_effect.substitutions import Ints, SubstitutionJob, SubstitutionWindows
from genomix_data.alphabet import ACGT

Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SubstitutionSums:
    """For each row of `SubstitutionWindows`, in nats.

    Attributes:
        ref: Sum over the scored bases of the REF window.
        alt: Likewise of the ALT window.
        n_scored: How many those are.
        entropies: Of the prediction at the substituted base; NaN where no base stands before it, or not asked for.
    """

    ref: Sums
    alt: Sums
    n_scored: Sums
    entropies: Sums


def substitution_sums(
    engine: Engine,
    windows: SubstitutionWindows,
    *,
    wants_entropies: bool = False,
    on_batch: Callable[[int], None] | None = None,
) -> SubstitutionSums:
    """Return the log-likelihoods of all windows.

    Args:
        engine: A language model.
        windows: At least one.
        wants_entropies: Whether to compute `SubstitutionSums.entropies`.
        on_batch: Called now and then with the number of windows begun since.

    Raises:
        GenomixError: if the model gives NaN or an infinity.
    """
    runner = _Runner(engine, windows, wants_entropies)
    jobs = windows.jobs(engine.rows_for, TOKENS_PER_JOB[engine.device.type])
    for n_windows in engine.map_jobs(runner.run, jobs, int(windows.end.max())):
        if on_batch is not None:
            on_batch(n_windows)
    ref, head, tail, n_scored = runner.sums.cpu().numpy()
    alt = np.where(windows.is_same, ref, head + tail)
    check_finite(ref)
    check_finite(alt)
    return SubstitutionSums(ref, alt, n_scored, runner.entropies)


def score_substitutions(
    engine: Engine,
    windows: SubstitutionWindows,
    options: ScoreOptions,
    n_strands: int,
    on_batch: Callable[[int], None] | None = None,
) -> list[VariantScore]:
    """Return the score of each substitution in the order of their numbers.

    Args:
        engine: A language model.
        windows: Of all of them.
        options: Sum or mean, and whether entropies are wanted.
        n_strands: That the windows are of.
        on_batch: See `substitution_sums`.
    """
    wants_entropies = "entropy" in options.scores
    sums = substitution_sums(engine, windows, wants_entropies=wants_entropies, on_batch=on_batch)
    divisor = np.maximum(sums.n_scored, 1) if options.reduce == "mean" else 1.0
    ref = (sums.ref / divisor).reshape(n_strands, -1)
    alt = (sums.alt / divisor).reshape(n_strands, -1)
    llr = alt - ref
    entropies: list[float | None] = [None] * llr.shape[1]
    if wants_entropies:
        of_strands = sums.entropies.reshape(n_strands, -1)
        n_known = (~np.isnan(of_strands)).sum(axis=0)
        mean = np.nansum(of_strands, axis=0) / np.maximum(n_known, 1)
        entropies = [
            value if count else None for value, count in zip(mean.tolist(), n_known.tolist(), strict=True)
        ]
    reverse: list[float | None] = llr[1].tolist() if n_strands == 2 else [None] * llr.shape[1]
    columns = (
        llr.mean(axis=0).tolist(),
        llr[0].tolist(),
        reverse,
        ref.mean(axis=0).tolist(),
        alt.mean(axis=0).tolist(),
        entropies,
    )
    return [VariantScore(Status.OK, *values) for values in zip(*columns, strict=True)]


class _Runner:
    """The buffer on the device, and what is known of each row: four sums, see `run`."""

    def __init__(self, engine: Engine, windows: SubstitutionWindows, wants_entropies: bool) -> None:
        self._engine = engine
        self._windows = windows
        tokenizer = engine.tokenizer
        id_of = np.zeros(256, dtype=np.uint8)
        id_of[np.frombuffer(ACGT, np.uint8)] = tokenizer.acgt_ids
        self._n_id = tokenizer.n_id
        self._letters = self._on_device(tokenizer.encode(windows.letters).copy())
        self._alt_ids = self._on_device(id_of[windows.alt])
        self._at, self._offset, self._begin, self._stop, self._start = (
            self._on_device(each)
            for each in (windows.at, windows.offset, windows.begin, windows.stop, windows.start)
        )
        n_rows = len(windows.at)
        # of REF; of ALT before and after it leaves REF; scored bases
        self.sums = torch.full((4, n_rows), torch.nan, dtype=torch.float64, device=engine.device)
        self.sums[1] = 0.0
        self._wants_entropies = wants_entropies
        self.entropies: Sums = np.full(n_rows, np.nan)

    def run(self, job: SubstitutionJob) -> int:
        """Run a job, note the sums of its rows, and return how many windows it had."""
        on_trunks = self._on_device(job.on_trunks)
        branch_rows = [self._on_device(rows) for rows in job.branches]
        places = np.searchsorted(job.trunks, self._windows.trunk[job.on_trunks])
        trunk_of = self._on_device(places)
        ids = self._rows_of_buffer(self._on_device(job.at), job.end)
        if len(job.whole):
            whole = self._on_device(job.whole)
            numbers = torch.arange(job.n_trunks, len(ids), device=ids.device)
            ids[numbers, self._offset[whole]] = self._alt_ids[whole]
        branches = [
            self._branches(job, rows, given, len(ids))
            for rows, given in zip(branch_rows, job.branches, strict=True)
        ]
        probes, probed = self._probes(job, places)
        for index, values in self._engine.log_likelihoods(ids, branches, probes):
            if index == PROBES:
                found = base_entropies(values, self._engine.tokenizer.acgt_ids)
                self.entropies[probed[0]] = found[probed[1]]
            elif index >= 0:
                self._note_branches(branches[index], branch_rows[index], values)
            else:
                total, counted = self._cumulative(values, ids)
                self._note_trunks(total, counted, on_trunks, trunk_of)
                if len(job.whole):
                    rows = torch.arange(job.n_trunks, len(ids), device=ids.device)
                    self.sums[2, whole] = (
                        total[rows, self._stop[whole] - 1] - total[rows, self._begin[whole] - 1]
                    )
        return job.n_windows

    def _note_trunks(self, total: Tensor, counted: Tensor, rows: Tensor, trunk_of: Tensor) -> None:
        before, last, start = self._begin[rows] - 1, self._stop[rows] - 1, self._start[rows]
        low, high = total[trunk_of, before], total[trunk_of, last]
        self.sums[0, rows] = high - low
        self.sums[3, rows] = (counted[trunk_of, last] - counted[trunk_of, before]).double()
        # a branch has the likelihoods of its trunk up to the token at `start`
        shared = total[trunk_of, torch.minimum(last, start)] - low
        is_branch = (start > 0) & (start > before)
        self.sums[1, rows] = torch.where(is_branch, shared, 0.0)

    def _note_branches(self, branch: Branches, rows: Tensor, log_p: Tensor) -> None:
        total, _ = self._cumulative(log_p, branch.ids)
        numbers = torch.arange(len(rows), device=rows.device)
        last = (self._stop[rows] - 1 - branch.start).clamp_min(0)
        before = (self._begin[rows] - 1 - branch.start).clamp_min(0)
        self.sums[2, rows] = total[numbers, last] - total[numbers, before]

    def _branches(self, job: SubstitutionJob, rows: Tensor, given: Ints, n_in_batch: int) -> Branches:
        start = int(self._windows.start[given[0]])
        length = int(self._windows.end[given[0]]) - start
        ids = self._rows_of_buffer(self._at[rows] + start, length)
        ids[torch.arange(len(rows), device=ids.device), self._offset[rows] - start] = self._alt_ids[rows]
        of_batch = np.searchsorted(job.trunks, self._windows.trunk[given])
        is_one_each = np.array_equal(of_batch, np.arange(n_in_batch))
        return Branches(start, self._on_device(of_batch), ids, is_one_each)

    def _probes(self, job: SubstitutionJob, places: Ints) -> tuple[Probes | None, tuple[Ints, Ints]]:
        """Return the places that predict substituted bases, and for which rows each does."""
        rows = job.on_trunks
        has_one = self._windows.offset[rows] > 0
        if not self._wants_entropies or not has_one.any():
            return None, (rows[:0], rows[:0])
        rows, places = rows[has_one], places[has_one]
        key = (self._windows.offset[rows] - 1) * max(1, job.n_trunks) + places
        distinct, number = np.unique(key, return_inverse=True)
        at, row = np.divmod(distinct, max(1, job.n_trunks))
        return Probes(self._on_device(row), self._on_device(at)), (rows, number)

    def _cumulative(
        self, log_p: Float[Tensor, "B M"], ids: Int[Tensor, "B L"]
    ) -> tuple[Float64[Tensor, "B L"], Int[Tensor, "B L"]]:
        """Return sums from the beginning of each window, zero first, and of how many bases; N counts for nothing."""
        counts = ids[:, 1:] != self._n_id
        total = _running_sums(torch.where(counts, log_p.float(), 0.0), torch.float64)
        return total, _running_sums(counts, torch.int32)

    def _rows_of_buffer(self, at: Int[Tensor, " B"], length: int) -> UInt8[Tensor, "B L"]:
        return self._letters.unfold(0, length, 1)[at]

    def _on_device(self, array: NDArray[np.int64] | NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._engine.device, non_blocking=True)


def _running_sums(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the sums up to each place of each row, zero first: ``(B, M)`` to ``(B, M + 1)``."""
    n_rows, length = values.shape
    # a row alone is summed on a GPU in an order that changes from run to run, two are not
    rows = values.expand(2, -1) if n_rows == 1 else values
    sums = torch.zeros(len(rows), length + 1, dtype=dtype, device=values.device)
    torch.cumsum(rows, dim=1, dtype=dtype, out=sums[:, 1:])
    return sums[:n_rows]
