"""Single-base substitutions of a block as arrays: which windows they need, and which of them run together.

What `genomix.variant_effect.plan` does for alleles of any kind one by one is done here for all at once, because most
alleles are of this kind: REF and ALT windows lie at the same place, have the same N and the same scored bases. Windows
are rows of a buffer that holds the bases around the variants of a block, and behind them their reverse complement.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomix.variant_effect.window_set import SMALLEST_PREFIX, Grid
from genomix_data.alphabet import COMPLEMENT, reverse_complement
from genomix_data.variant_tiles import longest_allele
from genomix_data.variant_windows import TO_ACGTN

Ints = NDArray[np.int64]

LARGEST_GAP = 1 << 14
"""Stretches of a contig that are nearer to each other than so many bp are read in one piece."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How windows are placed; see `genomix.variant_effect.contract.ScoreOptions`.

    Args:
        window: In bp.
        stride: Of ``tiled`` mode.
        horizon: Bases after the variant that are scored; None: the whole window.
        both_strands: Whether the reverse complement is scored too.
        shares: Whether ALT windows go on from REF windows.
        grid: Where they may leave, and where windows may end.
    """

    window: int
    stride: int | None
    horizon: int | None
    both_strands: bool
    shares: bool
    grid: Grid


class Substitutions:
    """Collects the substitutions of a block, each distinct one once.

    Attributes:
        n_letters: Roughly what is to be run, in tokens, if every window runs whole.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.n_letters = 0
        self._slots: dict[str, dict[int, int]] = {}
        self._n_slots = 0
        self._cost = layout.window * (4 if layout.both_strands else 2)

    def __len__(self) -> int:
        return self._n_slots

    def add(self, contig: str, first: int, alt: int) -> int:
        """Return the number of a substitution.

        Args:
            contig: Name in the genome.
            first: 0-based position of a base that is A, C, G or T there.
            alt: One of these as an upper-case byte, perhaps the same.
        """
        of_contig = self._slots.setdefault(contig, {})
        slot = of_contig.setdefault(first << 8 | alt, self._n_slots)
        if slot == self._n_slots:
            self._n_slots += 1
            self.n_letters += self._cost
        return slot

    def placed(
        self, contigs: dict[str, int], fetch: Callable[[str, int, int], bytes]
    ) -> "PlacedSubstitutions":
        """Return all that was added, in the order of their numbers, with the windows of the forward strand.

        Args:
            contigs: Length of each contig in bp, at least 2.
            fetch: Gives the bases of a contig from a start to an end, 0-based and half-open.
        """
        names = list(self._slots)
        keys = np.concatenate([np.fromiter(each, dtype=np.int64) for each in self._slots.values()])
        slots = np.concatenate([np.fromiter(each.values(), dtype=np.int64) for each in self._slots.values()])
        contig = np.repeat(np.arange(len(names)), [len(each) for each in self._slots.values()])
        order = np.argsort(slots)
        keys, contig = keys[order], contig[order]
        first, alt = keys >> 8, keys & 0xFF
        contig_len = np.array([contigs[name] for name in names], dtype=np.int64)[contig]
        length = np.minimum(self.layout.window, contig_len)
        start = np.minimum(np.maximum(0, self._wanted_start(first, length)), contig_len - length)
        letters, at = _stretches(names, contig, start, start + length, fetch)
        return PlacedSubstitutions(self.layout, letters, at, length, first - start, alt)

    def _wanted_start(self, first: Ints, length: Ints) -> Ints:
        stride = self.layout.stride
        if stride is None:
            return first - length // 2
        return np.asarray((first - longest_allele(self.layout.window, stride)) // stride * stride)


def _stretches(
    names: list[str], contig: Ints, start: Ints, end: Ints, fetch: Callable[[str, int, int], bytes]
) -> tuple[bytes, Ints]:
    """Return the bases that intervals cover, one stretch after the other, and where each interval begins in them."""
    order = np.lexsort((start, contig))
    places = np.empty(len(order), dtype=np.int64)
    pieces: list[bytes] = []
    n_letters = 0
    c, s = contig[order], start[order]
    # the furthest end so far; intervals of one contig have one length, or all start at 0
    reach = end[order]
    is_new = np.r_[True, (c[1:] != c[:-1]) | (s[1:] > reach[:-1] + LARGEST_GAP)]
    bounds = np.r_[np.flatnonzero(is_new), len(order)]
    for begin, stop in itertools.pairwise(bounds.tolist()):
        origin, last = int(s[begin]), int(reach[begin:stop].max())
        places[order[begin:stop]] = s[begin:stop] - origin + n_letters
        pieces.append(fetch(names[c[begin]], origin, last))
        n_letters += last - origin
    return b"".join(pieces).translate(TO_ACGTN), places


@dataclass(frozen=True, slots=True, eq=False)
class PlacedSubstitutions:
    """A substitutions and the windows of the forward strand, each array ``(A,)``.

    Attributes:
        layout: How windows are placed.
        letters: The buffer: A, C, G, T, N.
        at: Where each window begins in the buffer.
        length: Of the window.
        offset: Of the substituted base in it.
        alt: What stands there in the ALT window, as a byte.
    """

    layout: Layout
    letters: bytes
    at: Ints
    length: Ints
    offset: Ints
    alt: Ints

    def only(self, numbers: Ints) -> "PlacedSubstitutions":
        """Return some of them, by their numbers."""
        at, length, offset, alt = (each[numbers] for each in (self.at, self.length, self.offset, self.alt))
        return PlacedSubstitutions(self.layout, self.letters, at, length, offset, alt)

    def windows(self) -> "SubstitutionWindows":
        """Return what is to be run."""
        return SubstitutionWindows.of(self.layout, self.letters, self.at, self.length, self.offset, self.alt)


@dataclass(frozen=True, slots=True, eq=False)
class SubstitutionWindows:
    """The windows of A substitutions on each strand: rows 0 to A - 1 are the forward strand, then the other.

    Attributes:
        letters: The buffer: A, C, G, T, N.
        at: Where the window of each row begins in the buffer, ``(S A,)``.
        length: Of the window.
        offset: Of the substituted base in it.
        alt: What stands there in the ALT window, as a byte.
        begin: First scored position.
        stop: Position after the last scored one.
        end: Tokens that are run.
        start: Tokens that ALT shares with REF and that are not run again; 0 where its window runs whole.
        trunk: Number of the REF window of each row.
        trunk_at: Where each distinct REF window begins in the buffer.
        trunk_end: Tokens of it that are run.
        is_same: Whether ALT is REF, so that only REF is run.
    """

    letters: bytes
    at: Ints
    length: Ints
    offset: Ints
    alt: Ints
    begin: Ints
    stop: Ints
    end: Ints
    start: Ints
    trunk: Ints
    trunk_at: Ints
    trunk_end: Ints
    is_same: NDArray[np.bool_]

    @classmethod
    def of(
        cls, layout: Layout, letters: bytes, at: Ints, length: Ints, offset: Ints, alt: Ints
    ) -> "SubstitutionWindows":
        """Return the windows from those of the forward strand."""
        if layout.both_strands:
            at = np.r_[at, 2 * len(letters) - at - length]
            offset = np.r_[offset, length - 1 - offset]
            alt = np.r_[alt, np.frombuffer(COMPLEMENT, np.uint8).astype(np.int64)[alt]]
            length = np.r_[length, length]
            letters += reverse_complement(letters)
        is_same = np.frombuffer(letters, np.uint8)[at + offset] == alt
        begin, stop = np.ones_like(at), length
        if layout.horizon is not None:
            begin = np.maximum(1, offset)
            stop = np.maximum(1, offset + np.minimum(1 + layout.horizon, length - offset))
        grid = layout.grid
        step, origin = grid.end_step, grid.first_end
        end = np.minimum(length, origin - (origin - np.maximum(2, stop)) // step * step)
        start = np.zeros_like(at)
        if layout.shares:
            step, origin = grid.step, grid.first_start
            start = np.maximum(0, origin + (offset - 1 - origin) // step * step)
            start = np.where(is_same | (start * SMALLEST_PREFIX < end), 0, np.minimum(start, end - 2))
        _, first, trunk = np.unique(at * (layout.window + 1) + length, return_index=True, return_inverse=True)
        trunk_end = np.zeros(len(first), dtype=np.int64)
        np.maximum.at(trunk_end, trunk, end)
        return cls(
            letters, at, length, offset, alt, begin, stop, end, start, trunk, at[first], trunk_end, is_same
        )

    @property
    def n_windows(self) -> int:
        """Windows that are run, whole or from where they leave another."""
        return len(self.at) - int(self.is_same.sum()) + len(self.trunk_at)

    def jobs(self, rows_for: Callable[[int, int], int], most_tokens: int) -> Iterator["SubstitutionJob"]:
        """Yield batches of windows of one length that run whole, each with all that branches off them.

        Args:
            rows_for: Windows that go through the model together, by the last and the first token that are run.
            most_tokens: A batch ends when it has so many, branches included.
        """
        n_trunks = len(self.trunk_at)
        whole = np.flatnonzero((self.start == 0) & ~self.is_same)
        branches = np.flatnonzero(self.start > 0)
        by_trunk = _ByTrunk(np.arange(len(self.trunk)), self.trunk)
        branches_by_trunk = _ByTrunk(branches, self.trunk[branches])
        n_branches = np.bincount(self.trunk[branches], minlength=n_trunks)
        extra = np.bincount(
            self.trunk[branches],
            weights=(self.end - self.start)[branches],
            minlength=n_trunks,
        ).astype(np.int64)
        # what runs whole: REF windows (row -1), then ALT windows that share too little
        row = np.r_[np.full(n_trunks, -1), whole]
        end = np.r_[self.trunk_end, self.end[whole]]
        tokens = end + np.r_[extra, np.zeros(len(whole), dtype=np.int64)]
        has_branches = np.r_[n_branches > 0, np.zeros(len(whole), dtype=np.bool_)]
        for key in np.unique(end * 2 + has_branches):
            items = np.flatnonzero(end * 2 + has_branches == key)
            length = int(key) // 2
            for some in _batches(items, tokens[items], rows_for(length, 0), most_tokens):
                trunks = some[some < n_trunks]
                yield SubstitutionJob(
                    end=length,
                    at=np.r_[self.trunk_at[trunks], self.at[row[some[len(trunks) :]]]],
                    whole=row[some[len(trunks) :]],
                    n_trunks=len(trunks),
                    on_trunks=by_trunk.of(trunks),
                    branches=self._groups(branches_by_trunk.of(trunks), rows_for),
                    trunks=trunks,
                )

    def _groups(self, rows: Ints, rows_for: Callable[[int, int], int]) -> list[Ints]:
        """Return rows in groups that leave at one place and have one length."""
        groups: list[Ints] = []
        if len(rows):
            key = self.start[rows] * (int(self.end.max()) + 1) + self.end[rows]
            for each in np.unique(key):
                alike = rows[key == each]
                size = rows_for(int(self.end[alike[0]]), int(self.start[alike[0]]))
                groups += [alike[i : i + size] for i in range(0, len(alike), size)]
        return groups


@dataclass(frozen=True, slots=True, eq=False)
class SubstitutionJob:
    """Windows of one length, and what branches off them.

    Attributes:
        end: Tokens of each.
        at: Where each begins in the buffer: REF windows, then ALT windows that run whole.
        whole: Rows of these ALT windows.
        n_trunks: REF windows.
        trunks: Their numbers, rising.
        on_trunks: Rows of all alleles on these REF windows.
        branches: Rows of the ALT windows that leave them, in groups of one place and length.
    """

    end: int
    at: Ints
    whole: Ints
    n_trunks: int
    trunks: Ints
    on_trunks: Ints
    branches: list[Ints]

    @property
    def n_windows(self) -> int:
        """Windows in the job."""
        return len(self.at) + sum(map(len, self.branches))


def _batches(items: Ints, tokens: Ints, size: int, most_tokens: int) -> Iterator[Ints]:
    """Yield runs of items: a run ends at ``size`` items, or with the one that brings it to ``most_tokens``."""
    total = np.cumsum(tokens)
    begin = 0
    while begin < len(items):
        before = total[begin - 1] if begin else 0
        stop = int(np.searchsorted(total, before + most_tokens, side="left")) + 1
        stop = min(stop, begin + size, len(items))
        yield items[begin:stop]
        begin = stop


class _ByTrunk:
    """Rows, found by the trunks that they lie on."""

    def __init__(self, rows: Ints, trunk: Ints) -> None:
        order = np.argsort(trunk, kind="stable")
        self._rows, self._trunk = rows[order], trunk[order]

    def of(self, trunks: Ints) -> Ints:
        """Return the rows that lie on ``trunks`` (rising), trunk by trunk."""
        left = np.searchsorted(self._trunk, trunks, side="left")
        counts = np.searchsorted(self._trunk, trunks, side="right") - left
        total = int(counts.sum())
        if not total:
            return self._rows[:0]
        # all numbers from left[i] up to left[i] + counts[i], one after the other
        offsets = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.asarray(self._rows[np.repeat(left, counts) + offsets])
