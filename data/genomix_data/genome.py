"""Random access to the bases of a genome: FASTA (plain or bgzip), 2bit, GenBank, EMBL, one file or several.

Letters come back as the file has them: case kept, IUPAC codes kept, U (RNA) kept. Coordinates are 0-based, half-open.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from genomix_data.alphabet import reverse_complement
from genomix_data.assembly import guess_build
from genomix_data.contigs import ContigNames, read_contig_map
from genomix_data.errors import GenomixError, InputFileError, ReferenceMismatchError, preview
from genomix_data.genome_source import GenomePath, GenomeSource, genome_files, open_source
from genomix_data.interval import Interval

_BLOCK = 1 << 24


class Genome:
    """The contigs of one or several files, to be read at any place.

    Safe in worker processes: each process and thread opens the files for itself, and a pickled genome reopens them.
    A missing or stale index of a FASTA is built in one pass, which also checks every letter of the file.

    Args:
        path: FASTA, plain or bgzip (``.fa``, ``.fa.gz``), 2bit, GenBank, EMBL or a token store; a folder of such
            files; or several paths, whose contigs together are one genome.
        contig_map: Other names of the contigs: a dictionary, or a file for `read_contig_map`. ``chr1``/``1`` and
            ``chrM``/``MT`` need no map.

    Raises:
        InputFileError: if a file is missing, empty, of no known format, plain gzip, truncated, has uneven lines or
            letters outside the IUPAC code, or needs an index that cannot be written; if a contig comes twice, in
            one file or in two.
    """

    def __init__(
        self,
        path: GenomePath | Sequence[GenomePath],
        *,
        contig_map: Mapping[str, str] | str | os.PathLike[str] | None = None,
    ) -> None:
        files = genome_files(path)
        self.path = _path_of(path, files)
        self.files: tuple[Path, ...] = tuple(files)
        sources = [open_source(file) for file in files]
        self._owner = _owners(sources)
        self._sources = tuple(sources)
        self.contigs: dict[str, int] = {
            name: length for source in sources for name, length in source.contigs.items()
        }
        self.own_aliases: dict[str, str] = _own_aliases(sources, self.contigs)
        given = (
            contig_map
            if isinstance(contig_map, Mapping) or contig_map is None
            else read_contig_map(contig_map)
        )
        self.names = ContigNames(self.contigs, {**self.own_aliases, **(given or {})})
        self._md5: dict[str, str] = {}
        self._closed = False

    def fetch(self, chrom: str, start: int, end: int) -> bytes:
        """Return the bases ``start`` up to ``end`` of a contig.

        Args:
            chrom: Contig name in any spelling that `names` resolves.
            start: 0-based, inclusive.
            end: 0-based, exclusive; at most the length of the contig.

        Raises:
            ReferenceMismatchError: if the contig is not there, or the coordinates reach outside it.
            GenomixError: if a letter is not a nucleotide code; the contig and the 1-based position are named.
        """
        name = self.resolve(chrom)
        length = self.contigs[name]
        if not 0 <= start <= end <= length:
            raise ReferenceMismatchError(
                f"{chrom} start={start} end={end} (0-based, half-open) is outside the contig: {name} has {length:,} bp "
                f"in {self.path.name}. Check that the coordinates belong to this assembly."
            )
        return self._read(name, start, end)

    def fetch_interval(self, interval: Interval) -> bytes:
        """Return the bases of an interval, as the reverse complement where its strand is ``-``."""
        bases = self.fetch(interval.chrom, interval.start, interval.end)
        return reverse_complement(bases) if interval.strand == "-" else bases

    def fetch_window(self, chrom: str, start: int, end: int, pad: bytes = b"N") -> bytes:
        """Return ``end - start`` letters: the bases, with ``pad`` where the window lies outside the contig.

        Args:
            chrom: Contig name in any spelling that `names` resolves.
            start: 0-based, inclusive; may be negative.
            end: 0-based, exclusive; may lie beyond the contig.
            pad: One letter.
        """
        if end < start or len(pad) != 1:
            raise GenomixError(
                f"window {chrom} start={start} end={end} with pad={pad!r}: needs start <= end, one letter."
            )
        name = self.resolve(chrom)
        length = self.contigs[name]
        left, right = min(max(start, 0), length), min(max(end, 0), length)
        n_before = min(max(-start, 0), end - start)
        bases = self._read(name, left, right)
        return (pad * n_before + bases).ljust(end - start, pad)

    def resolve(self, chrom: str) -> str:
        """Return the name that the FASTA has for a contig.

        Raises:
            ReferenceMismatchError: if it has none, or more than one that could be meant.
        """
        name = self.names.resolve(chrom)
        if name is not None:
            return name
        candidates = self.names.candidates(chrom)
        if candidates:
            raise ReferenceMismatchError(
                f"contig {chrom!r} could be any of {preview(candidates)} in {self.path.name}. Use the exact name."
            )
        closest = self.names.suggest(chrom)
        hint = f"Did you mean {closest!r}? " if closest else ""
        raise ReferenceMismatchError(
            f"contig {chrom!r} is not in {self.path.name}; it has {preview(self.contigs)}. {hint}"
            "'chr' and 'M'/'MT' are translated already; other names need a contig map (two columns)."
        )

    def md5(self, chrom: str) -> str:
        """Return the MD5 of a contig's letters in upper case, as in the M5 tag of a SAM header; kept once computed."""
        name = self.resolve(chrom)
        if name not in self._md5:
            digest = hashlib.md5(usedforsecurity=False)
            for start in range(0, self.contigs[name], _BLOCK):
                digest.update(self._read(name, start, min(start + _BLOCK, self.contigs[name])).upper())
            self._md5[name] = digest.hexdigest()
        return self._md5[name]

    def fingerprint(self, *, content: bool = False) -> dict[str, Any]:
        """Return what tells this genome from another: file name and size, assembly, contigs and their lengths.

        Args:
            content: Add the MD5 of every contig, which reads the whole file.
        """
        table = "".join(f"{name}\t{length}\n" for name, length in self.contigs.items())
        record: dict[str, Any] = {
            # a folder may be given as `.`, which has no name
            "file": self.path.name or self.path.absolute().name,
            "file_size": sum(_size(file) for file in self.files),
            "assembly": guess_build(self.contigs.values()),
            "n_contigs": len(self.contigs),
            "n_bases": sum(self.contigs.values()),
            "contigs_sha256": hashlib.sha256(table.encode()).hexdigest(),
            "contigs": dict(self.contigs),
        }
        if len(self.files) > 1:
            record["files"] = [file.name for file in self.files]
        if content:
            record["md5"] = {name: self.md5(name) for name in self.contigs}
        return record

    def close(self) -> None:
        """Let go of the files; further reading raises."""
        self._closed = True
        for source in self._sources:
            source.close()

    def _read(self, name: str, start: int, end: int) -> bytes:
        if self._closed:
            raise GenomixError(f"genome {self.path.name} is closed; open it again.")
        return self._owner[name].read(name, start, end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Genome({str(self.path)!r}: {len(self.contigs)} contigs, {sum(self.contigs.values()):,} bp)"


def _path_of(path: GenomePath | Sequence[GenomePath], files: list[Path]) -> Path:
    """Return what to call the genome by: the path as it was given, or the folder of several files."""
    if isinstance(path, str | os.PathLike):
        return Path(path)
    return Path(path[0]) if len(path) == 1 else Path(os.path.commonpath([file.parent for file in files]))


def _owners(sources: list[GenomeSource]) -> dict[str, GenomeSource]:
    owner: dict[str, GenomeSource] = {}
    for source in sources:
        for name in source.contigs:
            if name in owner:
                raise InputFileError(
                    f"contig {name!r} is in both {str(owner[name].path)!r} and {str(source.path)!r}. Rename it in one "
                    "of them, or leave one of the files out."
                )
            owner[name] = source
    return owner


def _own_aliases(sources: list[GenomeSource], contigs: Mapping[str, int]) -> dict[str, str]:
    """Return the names that the files themselves offer, but for those that could mean two contigs."""
    pairs = [(alias, name) for source in sources for alias, name in source.aliases.items()]
    count = Counter(alias for alias, _ in pairs)
    return {alias: name for alias, name in pairs if count[alias] == 1 and alias not in contigs}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
