"""Which bases of genomes train, validate and test: the choices, and the arithmetic of intervals behind them."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jaxtyping import Int64
from numpy import ndarray

from genomix_data.bed import read_bed
from genomix_data.errors import InputFileError, preview
from genomix_data.genome import Genome
from genomix_data.interval import Interval

Path = str | os.PathLike[str]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How bases are held out: by a BED file, by contigs, or as a part of every contig.

    Args:
        bed: BED file of one genome; its fourth column is train, valid or test.
        train: Contigs to train on; None is all that are not held out.
        valid: Contigs for validation.
        test: Contigs for the test.
        fraction: Part of each contig for validation and again for the test, where neither of the above is given.
    """

    bed: Path | None = None
    train: Sequence[str] | None = None
    valid: Sequence[str] | None = None
    test: Sequence[str] | None = None
    fraction: float = 0.05


def split_middle(lengths: dict[str, int], fraction: float) -> dict[str, list[Interval]]:
    """Return splits that hold out the middle of every contig: validation left of it, test right of it.

    The middle, because the ends of chromosomes (telomeres) are not like the rest. A contig too short to hold out two
    bases for each goes wholly into training.
    """
    regions: dict[str, list[Interval]] = {split: [] for split in SPLITS}
    for chrom, length in lengths.items():
        size, middle = int(length * fraction), length // 2
        if size < 2 or middle <= size or middle + size >= length:
            regions["train"].append(Interval(chrom, 0, length))
            continue
        regions["train"] += [Interval(chrom, 0, middle - size), Interval(chrom, middle + size, length)]
        regions["valid"].append(Interval(chrom, middle - size, middle))
        regions["test"].append(Interval(chrom, middle, middle + size))
    return regions


def split_by_bed(bed: Path, genome: Genome) -> dict[str, list[Interval]]:
    """Return the splits in the fourth column of a BED file.

    Raises:
        InputFileError: if a split has no interval, or as `read_bed`.
    """
    regions: dict[str, list[Interval]] = {split: [] for split in SPLITS}
    for record in read_bed(bed, genome):
        if record.split is not None:
            regions[record.split].append(record.interval)
    missing = [split for split in SPLITS if not regions[split]]
    if missing:
        raise InputFileError(
            f"{bed} has no interval for {preview(missing)}. Its fourth column must say train, valid or test, "
            "and each must occur."
        )
    return regions


def merge(regions: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the same bases as sorted intervals that do not touch each other."""
    merged: list[Interval] = []
    for region in sorted(regions, key=lambda r: (r.chrom, r.start, r.end)):
        if merged and merged[-1].chrom == region.chrom and region.start <= merged[-1].end:
            merged[-1] = Interval(region.chrom, merged[-1].start, max(merged[-1].end, region.end))
        else:
            merged.append(Interval(region.chrom, region.start, region.end))
    return tuple(merged)


def subtract(regions: Sequence[Interval], holes: Sequence[Interval]) -> tuple[tuple[Interval, ...], int]:
    """Return ``regions`` without the bases of ``holes`` (both merged), and how many bases went."""
    by_chrom: dict[str, list[Interval]] = {}
    for hole in holes:
        by_chrom.setdefault(hole.chrom, []).append(hole)
    kept: list[Interval] = []
    for region in regions:
        start = region.start
        for hole in by_chrom.get(region.chrom, []):
            if hole.end <= start or hole.start >= region.end:
                continue
            if hole.start > start:
                kept.append(Interval(region.chrom, start, hole.start))
            start = max(start, hole.end)
        if start < region.end:
            kept.append(Interval(region.chrom, start, region.end))
    return tuple(kept), sum(map(len, regions)) - sum(map(len, kept))


def cut_n_runs(region: Interval, n_runs: Int64[ndarray, "R 2"], longest: int) -> list[Interval]:
    """Return the pieces of ``region`` between stretches of at least ``longest`` N.

    Args:
        region: The interval to cut.
        n_runs: Start and end of every run of N in the contig, sorted.
        longest: Shortest stretch within the region, in bp, that is cut out.
    """
    pieces, start = [], region.start
    inside = n_runs[(n_runs[:, 1] > region.start) & (n_runs[:, 0] < region.end)]
    for run_start, run_end in inside.clip(region.start, region.end).tolist():
        if run_end - run_start < longest:
            continue
        if run_start > start:
            pieces.append(Interval(region.chrom, start, run_start))
        start = run_end
    if start < region.end:
        pieces.append(Interval(region.chrom, start, region.end))
    return pieces
