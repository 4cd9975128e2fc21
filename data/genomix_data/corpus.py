"""Genomes held in memory as token ids, and which of their bases train, validate and test a language model."""

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomix_data.bed import read_bed
from genomix_data.contigs import ContigNames, read_contig_map
from genomix_data.errors import ConfigError, InputFileError, ReferenceMismatchError, preview
from genomix_data.genome import Genome
from genomix_data.interval import Interval
from genomix_data.tokenizers import CharTokenizer

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Corpus:
    """Token ids of every contig, and the intervals of each split; no base is in two splits.

    Args:
        ids: Ids of each contig that is used, ``(contig length,)``.
        regions: For train, valid and test the intervals, sorted and disjoint.
        tokenizer: What made the ids.
        fingerprints: What identifies each FASTA file, and the MD5 (upper-case, as SAM's M5) of each contig used.
        n_removed: Training bases that were left out because they are also held out.
    """

    ids: dict[str, NDArray[np.uint8]]
    regions: dict[str, tuple[Interval, ...]]
    tokenizer: CharTokenizer
    fingerprints: tuple[dict[str, Any], ...]
    n_removed: int = 0

    def n_bases(self, split: str) -> int:
        """Return the number of bases in a split, N included."""
        return sum(len(region) for region in self.regions[split])

    def fetch(self, region: Interval) -> NDArray[np.uint8]:
        """Return the ids of an interval, as a view."""
        return self.ids[region.chrom][region.start : region.end]


def load_corpus(
    fasta: Sequence[Path],
    tokenizer: CharTokenizer,
    held_out: HeldOut,
    *,
    longest_n_run: int = 1024,
    contig_map: Path | None = None,
) -> Corpus:
    """Return the genomes of one or several FASTA files with their splits.

    Stretches of N as long as ``longest_n_run`` (assembly gaps) are cut out of every split.

    Raises:
        InputFileError: for a FASTA or BED that cannot be read, or a contig that two files have.
        ReferenceMismatchError: for a contig that no file has.
        ConfigError: if a split comes out empty.
    """
    aliases = read_contig_map(contig_map) if contig_map is not None else None
    genomes = [Genome(path, contig_map=contig_map) for path in fasta]
    owner: dict[str, Genome] = {}
    for genome in genomes:
        for chrom in genome.contigs:
            if chrom in owner:
                raise InputFileError(
                    f"contig {chrom!r} is in both {owner[chrom].path} and {genome.path}. Rename it in one of them, "
                    "or train on one of the files."
                )
            owner[chrom] = genome
    lengths = {chrom: genome.contigs[chrom] for chrom, genome in owner.items()}
    if held_out.bed is not None:
        regions = _split_by_bed(held_out.bed, genomes)
    elif held_out.valid or held_out.test:
        regions = _split_by_contigs(held_out, lengths, ContigNames(lengths, aliases))
    else:
        regions = split_middle(lengths, held_out.fraction)
    parts = {split: merge(regions[split]) for split in SPLITS}
    parts["test"], _ = subtract(parts["test"], parts["valid"])
    parts["train"], n_removed = subtract(parts["train"], merge([*parts["valid"], *parts["test"]]))
    if n_removed:
        log.warning("%s training bases are also held out; they were left out of training", f"{n_removed:,}")

    used = {region.chrom for split in SPLITS for region in parts[split]}
    ids: dict[str, NDArray[np.uint8]] = {}
    fingerprints: list[dict[str, Any]] = []
    for genome in genomes:
        md5: dict[str, str] = {}
        for chrom in genome.contigs:
            if chrom in used:
                bases = genome.fetch(chrom, 0, lengths[chrom])
                ids[chrom] = tokenizer.encode(bases)
                md5[chrom] = hashlib.md5(bases.upper(), usedforsecurity=False).hexdigest()
        fingerprints.append({**genome.fingerprint(), "md5": md5})
        genome.close()
    for split in SPLITS:
        whole = [
            piece
            for region in parts[split]
            for piece in cut_n_runs(region, ids[region.chrom] == tokenizer.n_id, longest_n_run)
        ]
        parts[split] = tuple(piece for piece in whole if len(piece) >= 2)
        if not parts[split]:
            raise ConfigError(
                f"no base is left for the {split} split. Hold out another part: see data.holdout, "
                "data.valid_contigs and data.test_contigs, data.bed."
            )
    return Corpus(ids, parts, tokenizer, tuple(fingerprints), n_removed)


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


def cut_n_runs(region: Interval, is_n: NDArray[np.bool_], longest: int) -> list[Interval]:
    """Return the pieces of ``region`` between stretches of at least ``longest`` N.

    Args:
        region: The interval to cut.
        is_n: For every base of the contig, whether it is N.
        longest: Shortest stretch, in bp, that is cut out.
    """
    flags = np.concatenate([[False], is_n[region.start : region.end], [False]])
    edges = np.flatnonzero(flags[1:] != flags[:-1]) + region.start
    gaps = [(int(s), int(e)) for s, e in edges.reshape(-1, 2) if e - s >= longest]
    pieces, start = [], region.start
    for gap_start, gap_end in gaps:
        if gap_start > start:
            pieces.append(Interval(region.chrom, start, gap_start))
        start = gap_end
    if start < region.end:
        pieces.append(Interval(region.chrom, start, region.end))
    return pieces


def _split_by_bed(bed: Path, genomes: list[Genome]) -> dict[str, list[Interval]]:
    if len(genomes) != 1:
        raise ConfigError(f"a BED file of splits belongs to one FASTA, but there are {len(genomes)}.")
    regions: dict[str, list[Interval]] = {split: [] for split in SPLITS}
    for record in read_bed(bed, genomes[0]):
        if record.split is not None:
            regions[record.split].append(record.interval)
    missing = [split for split in SPLITS if not regions[split]]
    if missing:
        raise InputFileError(
            f"{bed} has no interval for {preview(missing)}. Its fourth column must say train, valid or test, "
            "and each must occur."
        )
    return regions


def _split_by_contigs(
    held_out: HeldOut, lengths: dict[str, int], names: ContigNames
) -> dict[str, list[Interval]]:
    chosen: dict[str, list[str]] = {}
    for split, wanted in (("valid", held_out.valid), ("test", held_out.test), ("train", held_out.train)):
        chosen[split] = [_resolve(name, names) for name in wanted or ()]
    if held_out.train is None:
        taken = {*chosen["valid"], *chosen["test"]}
        chosen["train"] = [chrom for chrom in lengths if chrom not in taken]
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        both = set(chosen[a]) & set(chosen[b])
        if both:
            raise ConfigError(
                f"contig {preview(sorted(both))} is in both {a} and {b}; a base belongs to one split."
            )
    return {split: [Interval(chrom, 0, lengths[chrom]) for chrom in chosen[split]] for split in SPLITS}


def _resolve(name: str, names: ContigNames) -> str:
    resolved = names.resolve(name)
    if resolved is None:
        close = names.suggest(name)
        hint = f" Did you mean {close!r}?" if close else ""
        raise ReferenceMismatchError(
            f"no FASTA has a contig {name!r}; there are {preview(names.names)}.{hint}"
        )
    return resolved
