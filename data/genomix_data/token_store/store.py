"""A token store that is there: windows of letters at the speed of memory."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Int64, UInt8
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from genomix_data.contigs import ContigNames
from genomix_data.errors import GenomixError, ReferenceMismatchError, preview
from genomix_data.token_store.layout import BASES, N_RUNS, StoreTable, damaged, read_table
from genomix_data.token_store.letters import IDENTITY, to_ids

_PAD = ord("N")


class TokenStore:
    """The letters of a genome in memory-mapped form.

    Opening costs a few milliseconds, whatever the size. A store may be handed to any number of workers, forked or
    spawned: only its path is pickled, and the memory is shared by all of them. A store that is rebuilt while it is
    open goes on giving the old letters.

    Args:
        path: Folder of the store; see `genomix_data.token_store.open_store` to make or find that of a FASTA.
        aliases: Other names of the contigs, as for `Genome`.

    Raises:
        TokenStoreError: if it is no store, damaged, or of another version.
    """

    def __init__(self, path: str | os.PathLike[str], *, aliases: dict[str, str] | None = None) -> None:
        self.path = Path(path).absolute()
        self.table: StoreTable = read_table(self.path)
        self.contigs: dict[str, int] = {contig.name: contig.length for contig in self.table.contigs}
        self._aliases = {**self.table.aliases, **(aliases or {})}
        self.names = ContigNames(self.contigs, self._aliases)
        self._index = {name: i for i, name in enumerate(self.contigs)}
        self._lengths: Int64[np.ndarray, " C"] = np.array(list(self.contigs.values()), dtype=np.int64)
        self._offsets: Int64[np.ndarray, " C"] = np.cumsum(self._lengths) - self._lengths
        self._lock = threading.Lock()
        self._letters: NDArray[np.uint8] | None = None
        self._runs: Int64[np.ndarray, "R 3"] | None = None

    @property
    def n_bases(self) -> int:
        """Bases of all contigs."""
        return self.table.n_bases

    @property
    def letters(self) -> NDArray[np.uint8]:
        """All letters, ``(n_bases,)``, read-only and mapped, contig after contig; `contig_start` tells where."""
        if self._letters is None:
            with self._lock:
                if self._letters is None:
                    # A plain array over the mapping: slicing np.memmap itself costs several times as much.
                    self._letters = np.asarray(np.memmap(self.path / BASES, dtype=np.uint8, mode="r"))
        return self._letters

    def contig_index(self, chrom: str) -> int:
        """Return the number of a contig, in any usual spelling, for `gather`.

        Raises:
            ReferenceMismatchError: if there is none, or more than one that could be meant.
        """
        name = self.names.resolve(chrom)
        if name is None:
            candidates = self.names.candidates(chrom)
            meant = (
                f"it could be any of {preview(candidates)}"
                if candidates
                else f"it has {preview(self.contigs)}"
            )
            raise ReferenceMismatchError(f"contig {chrom!r} is not in {self.path.name}; {meant}.")
        return self._index[name]

    def contig_start(self, chrom: str) -> int:
        """Return where the letters of a contig begin in `letters`."""
        return int(self._offsets[self.contig_index(chrom)])

    def window(self, chrom: str, start: int, end: int) -> UInt8[np.ndarray, " L"]:
        """Return ``end - start`` letters, N where the window lies outside the contig.

        A window inside its contig is a read-only view of the mapped file: nothing is copied.

        Args:
            chrom: Contig name in any usual spelling.
            start: 0-based, inclusive; may be negative.
            end: 0-based, exclusive; may lie beyond the contig.

        Raises:
            ReferenceMismatchError: if the contig is not there.
            GenomixError: if ``end < start``.
        """
        if end < start:
            raise GenomixError(f"window {chrom} start={start} end={end}: needs start <= end.")
        return self._window(self.contig_index(chrom), start, end)

    def _window(self, contig: int, start: int, end: int) -> UInt8[np.ndarray, " L"]:
        offset, length = int(self._offsets[contig]), int(self._lengths[contig])
        if start >= 0 and end <= length:
            return self.letters[offset + start : offset + end]
        padded = np.full(end - start, _PAD, dtype=np.uint8)
        left, right = min(max(start, 0), length), min(max(end, 0), length)
        if right > left:
            padded[left - start : right - start] = self.letters[offset + left : offset + right]
        return padded

    def gather(
        self,
        contig_index: Int[np.ndarray, " B"],
        starts: Int[np.ndarray, " B"],
        width: int,
        table: bytes = IDENTITY,
    ) -> UInt8[np.ndarray, "B width"]:
        """Return a batch of windows in one writable array, N where a window lies outside its contig.

        Args:
            contig_index: Contig of each window, as `contig_index` numbers them.
            starts: 0-based first base of each; may be negative or beyond the contig.
            width: Bases of each window.
            table: Give ids instead of letters; see `genomix_data.token_store.token_table`.

        Raises:
            GenomixError: if a contig number is out of range, the two arrays differ in length, or ``width < 1``.
        """
        contigs, first = np.asarray(contig_index), np.asarray(starts)
        if contigs.ndim != 1 or contigs.shape != first.shape or width < 1:
            raise GenomixError(
                f"gather needs two arrays of one length and width >= 1; got shapes {contigs.shape}, {first.shape} and "
                f"width {width}."
            )
        if contigs.size and not (contigs.min() >= 0 and contigs.max() < len(self._lengths)):
            raise GenomixError(
                f"contig numbers run from 0 to {len(self._lengths) - 1}; got {contigs.min()} to {contigs.max()}."
            )
        batch = self._batch(contigs, first, width)
        return batch if table == IDENTITY else to_ids(batch, table, out=batch)

    def _batch(
        self, contigs: Int[np.ndarray, " B"], first: Int[np.ndarray, " B"], width: int
    ) -> UInt8[np.ndarray, "B width"]:
        inside = (first >= 0) & (first + width <= self._lengths[contigs])
        if inside.all():
            return self._rows(self._offsets[contigs] + first, width)
        batch = np.empty((len(first), width), dtype=np.uint8)
        if inside.any():
            batch[inside] = self._rows(self._offsets[contigs[inside]] + first[inside], width)
        for row in np.flatnonzero(~inside).tolist():
            start = int(first[row])
            batch[row] = self._window(int(contigs[row]), start, start + width)
        return batch

    def _rows(self, places: Int64[np.ndarray, " B"], width: int) -> UInt8[np.ndarray, "B width"]:
        """Copy whole windows: every row of a view in which row ``i`` begins at base ``i``."""
        letters = self.letters
        view = as_strided(letters, (max(letters.size - width + 1, 0), width), (1, 1), writeable=False)
        rows: UInt8[np.ndarray, "B width"] = view[places]
        return rows

    def n_runs(self, chrom: str) -> Int64[np.ndarray, "R 2"]:
        """Return start and end (0-based, half-open) of every run of N in a contig, sorted.

        Raises:
            TokenStoreError: if the list of runs is damaged.
        """
        index = self.contig_index(chrom)
        if self._runs is None:
            try:
                runs = np.load(self.path / N_RUNS, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise damaged(self.path, f"{N_RUNS} cannot be read ({error})") from error
            if runs.ndim != 2 or runs.shape[1] != 3 or runs.dtype != np.int64:
                raise damaged(self.path, f"{N_RUNS} is not a table of three columns")
            self._runs = runs
        first, last = np.searchsorted(self._runs[:, 0], [index, index + 1])
        found: Int64[np.ndarray, "R 2"] = self._runs[first:last, 1:]
        return found

    def md5(self, chrom: str) -> str:
        """Return the MD5 of a contig's letters in upper case, as `Genome.md5`; stored, so at no cost."""
        return self.table.contigs[self.contig_index(chrom)].md5

    def close(self) -> None:
        """Let go of the mapping; it comes back when it is read again."""
        with self._lock:
            self._letters = None
            self._runs = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self._aliases)

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}: {len(self.contigs)} contigs, {self.n_bases:,} bp)"


def _reopen(path: str, aliases: dict[str, str]) -> TokenStore:
    return TokenStore(path, aliases=aliases)
