"""Reads of several genomes as a table of species: the task of HyenaDNA for long context.

A read is drawn by species, then by contig, then by place, each uniformly; training and test reads come from different
contigs. Source: Nguyen et al. 2023 (HyenaDNA), species classification: human, lemur, mouse, pig and hippopotamus, test
chromosomes 1, 3, 12 and 13.
"""

import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genomix_data.atomic import atomic_file
from genomix_data.errors import ConfigError, InputFileError, preview
from genomix_data.genome import Genome
from genomix_data.sampler import mix64

TEST_CONTIGS = ("chr1", "chr3", "chr12", "chr13")
"""Held out by default, under any name that a genome knows them by."""

MOST_N = 0.1
"""A read with a larger part of N is drawn again; so many times at most:"""
_TRIES = 100


def write_species_tables(
    genomes: Mapping[str, Genome],
    folder: Path,
    *,
    length: int = 1024,
    n: Mapping[str, int],
    test_contigs: Sequence[str] = TEST_CONTIGS,
    seed: int = 0,
) -> dict[str, Path]:
    """Write a table of reads for each part, and return the files: columns sequence, label, region, start, end.

    Args:
        genomes: By the name of the species.
        folder: Where to.
        length: Bases of a read.
        n: Reads of each part, of all species together.
        test_contigs: Contigs of the test reads; all others are for training and validation.
        seed: Of the reads.

    Raises:
        ConfigError: for fewer than two genomes, or a length or number that is not above 0.
        InputFileError: if a genome has no contig for a part, or nothing but N.
    """
    if len(genomes) < 2:
        raise ConfigError(f"species are told apart; give two genomes at least, not {len(genomes)}.")
    if length < 1 or any(count < 1 for count in n.values()):
        raise ConfigError(f"length {length} and numbers of reads {dict(n)} must be at least 1.")
    names = sorted(genomes)
    contigs = {name: _contigs(name, genomes[name], test_contigs, length) for name in names}
    written: dict[str, Path] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for part_number, (part, count) in enumerate(n.items()):
        random = np.random.RandomState(mix64(seed, part_number) % 2**32)
        path = folder / f"{part}.csv.gz"
        with atomic_file(path) as temporary, gzip.open(temporary, "wt", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["sequence", "label", "region", "start", "end"])
            for _ in range(count):
                name = names[random.randint(len(names))]
                own = contigs[name]["test" if part == "test" else "train"]
                writer.writerow(_read(genomes[name], name, own, length, random))
        written[part] = path
    return written


def _contigs(name: str, genome: Genome, test: Sequence[str], length: int) -> dict[str, list[str]]:
    held_out = {genome.names.resolve(contig) for contig in test}
    long_enough = [contig for contig, size in genome.contigs.items() if size >= length]
    parts = {
        "train": [contig for contig in long_enough if contig not in held_out],
        "test": [contig for contig in long_enough if contig in held_out],
    }
    for part, found in parts.items():
        if not found:
            raise InputFileError(
                f"{name}: {genome.path.name} has no contig of {length:,} bp or more for the {part} reads; it has "
                f"{preview(genome.contigs)}. Say which contigs are the test: --test-contigs."
            )
    return parts


def _read(
    genome: Genome, name: str, contigs: Sequence[str], length: int, random: np.random.RandomState
) -> tuple[str, str, str, int, int]:
    for _ in range(_TRIES):
        contig = contigs[random.randint(len(contigs))]
        start = int(random.randint(genome.contigs[contig] - length + 1))
        letters = genome.fetch(contig, start, start + length).decode().upper()
        if letters.count("N") <= MOST_N * length:
            return letters, name, contig, start, start + length
    raise InputFileError(
        f"{name}: {_TRIES} reads of {genome.path.name} in a row were mostly N. Give a genome with sequence in it, or "
        "shorter reads."
    )
