"""Where a saturation mutagenesis goes: tables, VCF, tracks for genome browsers, pictures; each by its file name.

Every file appears under its name when the whole run is done. Bases come in the order of the genome, and each is written
as it comes, so memory does not grow; a picture holds its region.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from genomix.variant_effect.columns import STATUS_KEY, Column, columns_of
from genomix.variant_effect.contract import VariantScore
from genomix.variant_effect.provenance import info_lines, run_lines
from genomix.variant_effect.saturation import BASES, MutatedBase, Saturation
from genomix.variant_effect.saturation_tracks import BEDGRAPHS, BIGWIGS, BedGraph, BigWig, Track
from genomix.variant_effect.site import Site
from genomix.variant_effect.tsv import TsvWriter
from genomix_data.atomic import atomic_file
from genomix_data.errors import ConfigError
from genomix_data.interval import Interval
from genomix_data.vcf import VcfHeader, VcfRecord, VcfWriter

TABLES = (".tsv", ".tsv.gz", ".tsv.bgz")
VARIANTS = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")
PICTURES = (".png", ".svg", ".pdf")


class Output(Protocol):
    """Takes bases one after the other, as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, base: MutatedBase) -> None:
        """Take the next base."""
        ...

    def finish(self) -> None:
        """Do, after the last base, what may still fail; called before any output takes its name."""
        ...


def open_outputs(
    paths: Sequence[str],
    run: Saturation,
    regions: Sequence[Interval],
    *,
    track: Track = "mean",
    per_strand: bool = False,
    command: str | None = None,
) -> list[Output]:
    """Return what writes each path, chosen by its suffix; ``-`` is a TSV on standard output.

    Args:
        paths: ``.tsv``, ``.vcf``, ``.bcf``, ``.bedgraph`` (all also ``.gz``), ``.bw``, ``.png``, ``.svg`` or ``.pdf``.
        run: What will be written.
        regions: Of the run.
        track: What ``.bedgraph`` and ``.bw`` show.
        per_strand: Add the score of each strand to tables and VCF.
        command: What headers say that was run.

    Raises:
        ConfigError: if a suffix is another, a path comes twice, a picture is asked for of more than one region or of
            one that is too long, pyBigWig is missing for ``.bw``, or a track of deletions is asked for without any.
    """
    check_names(paths)
    if track == "deletion" and not run.deletions:
        raise ConfigError("a track of deletions needs them scored; add --deletions.")
    columns = columns_of(run.options, per_strand=per_strand)
    return [_output(path, run, regions, track, columns, command) for path in paths]


def check_names(paths: Sequence[str]) -> None:
    """Check the names of outputs, before a model is loaded.

    Raises:
        ConfigError: if a suffix is not known, or a path comes twice.
    """
    if len(set(paths)) < len(paths):
        raise ConfigError("an output is named twice; give each file one name.")
    for path in paths:
        if path != "-" and not path.lower().endswith((*TABLES, *VARIANTS, *BEDGRAPHS, *BIGWIGS, *PICTURES)):
            raise ConfigError(
                f"-o {path!r}: expected a name that ends in .tsv, .vcf, .vcf.gz, .bcf, .bedgraph, .bw, .png, .svg or "
                ".pdf."
            )


def _output(
    path: str,
    run: Saturation,
    regions: Sequence[Interval],
    track: Track,
    columns: Sequence[Column],
    command: str | None,
) -> Output:
    name = path.lower()
    lines = run_lines(run.model, run.genome, run.options, run.window, command)
    if path == "-" or name.endswith(TABLES):
        return _Table(path, lines, columns)
    if name.endswith(VARIANTS):
        return _Variants(path, run, lines, columns)
    if name.endswith(BEDGRAPHS):
        return BedGraph(path, lines, track)
    if name.endswith(BIGWIGS):
        return BigWig(path, run, track)
    if name.endswith(PICTURES):
        return _Picture(path, run, regions)
    raise AssertionError(f"{path!r} has a suffix that `check_names` lets pass")


def write_all(outputs: Iterable[Output], bases: Iterable[MutatedBase]) -> None:
    """Write all bases to all outputs; on an error or an interruption none of the files is left."""
    opened = list(outputs)
    with ExitStack() as stack:
        for output in opened:
            stack.enter_context(output)
        for base in bases:
            for output in opened:
                output.write(base)
        for output in opened:
            output.finish()


def _changes(base: MutatedBase) -> Iterable[tuple[Site, list[VariantScore]]]:
    """Return the records of a base, sorted by position: its deletion, then its substitutions."""
    if base.deletion is not None:
        yield base.deletion[0], [base.deletion[1]]
    if base.substitutions:
        alts = tuple(alt for alt, _ in base.substitutions)
        site = Site(base.chrom, base.start + 1, base.ref, alts, f"{base.chrom}:{base.start + 1}")
        yield site, [score for _, score in base.substitutions]


def _record(site: Site) -> VcfRecord:
    columns = (site.chrom, str(site.pos), ".", site.ref, ",".join(site.alts), ".", ".", ".")
    return VcfRecord([column.encode() for column in columns], site.where)


class _Table:
    """One row an allele, in the columns of `genomix score`."""

    def __init__(self, path: str, lines: Sequence[str], columns: Sequence[Column]) -> None:
        self._writer = TsvWriter(path, lines, columns)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def write(self, base: MutatedBase) -> None:
        for site, scores in _changes(base):
            self._writer.write(_record(site), scores)

    def finish(self) -> None:
        """Nothing is left to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)


class _Variants:
    """VCF or BCF: one record a site, with the keys of `genomix score`."""

    def __init__(self, path: str, run: Saturation, lines: Sequence[str], columns: Sequence[Column]) -> None:
        self._columns = columns
        contigs = [f"##contig=<ID={name},length={length}>" for name, length in run.genome.contigs.items()]
        header = VcfHeader(("##fileformat=VCFv4.2", *lines, *contigs, *info_lines(columns)))
        self._writer = VcfWriter(path, header, contig_length=run.genome.contigs.get)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def write(self, base: MutatedBase) -> None:
        for site, scores in _changes(base):
            values: dict[str, list[float | str | None]] = {
                column.key: [column.value(score) for score in scores] for column in self._columns
            }
            values[STATUS_KEY] = [score.status.value for score in scores]
            self._writer.write(_record(site), values)

    def finish(self) -> None:
        """Nothing is left to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)


class _Picture:
    """A logo over a heat map, of one region."""

    def __init__(self, path: str, run: Saturation, regions: Sequence[Interval]) -> None:
        from genomix.report.saturation_figure import MOST_BASES

        if len(regions) != 1 or len(regions[0]) > MOST_BASES:
            raise ConfigError(
                f"{path!r}: a picture shows one region of at most {MOST_BASES:,} bp; there are {len(regions)} with "
                f"{sum(map(len, regions)):,} bp. Narrow -r, or write a .bw or .bedgraph for a genome browser."
            )
        self._path = path
        self._stack = ExitStack()
        self._temporary = Path()
        self._region = regions[0]
        self._letters = bytearray()
        self._llr = np.full((len(regions[0]), len(BASES)), np.nan)
        self._deletion = np.full(len(regions[0]), np.nan) if run.deletions else None
        self._unit = "nats" if run.options.reduce == "sum" else "nats per base"

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(atomic_file(self._path))
        return self

    def write(self, base: MutatedBase) -> None:
        place = len(self._letters)
        self._letters += base.ref.encode()
        for alt, score in base.substitutions:
            if score.llr is not None:
                self._llr[place, BASES.index(alt)] = score.llr
        if self._deletion is not None and base.deletion is not None and base.deletion[1].llr is not None:
            self._deletion[place] = base.deletion[1].llr

    def finish(self) -> None:
        """Draw."""
        from genomix.report.saturation_figure import draw_saturation

        draw_saturation(
            self._temporary,
            self._letters.decode(),
            self._llr,
            self._deletion,
            chrom=self._region.chrom,
            start=self._region.start,
            unit=self._unit,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def output_names(paths: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Return the names of files among outputs."""
    return tuple(str(Path(path)) for path in paths if str(path) != "-")
