"""Sequences from coordinates and a genome, as Genomic Benchmarks defines them, and the proof that they are the same.

A set of coordinates is a folder with ``train/<class>.csv.gz`` and ``test/<class>.csv.gz``, columns id, region, start,
end, strand; 0-based and half-open. A region is a chromosome, or an Ensembl transcript without its version. An empty
strand is ``+``; ``-`` is the reverse complement. The published sequences are upper case.

Source: datasets/README.md and loc2seq.py of github.com/ML-Bioinfo-CEITEC/genomic_benchmarks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genomix_data.alphabet import reverse_complement
from genomix_data.errors import InputFileError, ReferenceMismatchError, preview
from genomix_data.genome import Genome
from genomix_data.leakage.splits import pooled
from genomix_data.tables.located import UNKNOWN, LocatedTable, Locations, location_columns, read_locations
from genomix_data.tables.rows import table_columns

Genomes = Genome | Mapping[str, Genome]
"""One genome for all classes, or one for each class (human or worm; transcripts or chromosomes)."""

_MOST_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck:
    """How sequences compare with the genome at their coordinates.

    Args:
        same: Identical letter for letter, once both are in upper case.
        different: Another sequence is there.
        absent: Their contig is not in the genome that was given.
        outside: They reach beyond the end of their contig.
        by_contig: ``{contig: (same, different)}``.
        examples: The first few that differ or reach outside, as regions.
    """

    same: int
    different: int
    absent: int
    outside: int
    by_contig: dict[str, tuple[int, int]]
    examples: tuple[str, ...]


def cut_sequences(locations: Locations, genome: Genome) -> list[str | None]:
    """Return the sequence at each place, in upper case; None where the genome lacks the contig.

    Raises:
        ReferenceMismatchError: if an interval reaches beyond its contig: another assembly.
    """
    return _cut(locations, genome, refuse_outside=True)


def check_coordinates(table: LocatedTable, genomes: Genomes) -> CoordinateCheck:
    """Return how many sequences of a table are those that the genome has at their coordinates."""
    same = different = absent = outside = 0
    by_contig: dict[str, tuple[int, int]] = {}
    examples: list[str] = []
    for label, name in enumerate(table.class_names):
        rows = np.flatnonzero(table.labels == label)
        genome = _genome_of(genomes, name)
        places = table.locations.select(rows)
        found = [None] * len(rows) if genome is None else _cut(places, genome, refuse_outside=False)
        for i, (row, letters) in enumerate(zip(rows.tolist(), found, strict=True)):
            if letters is None:
                absent += 1
                continue
            contig = places.chrom_names[int(places.chrom[i])]
            before = by_contig.get(contig, (0, 0))
            if letters == table.sequences[row].upper():
                same += 1
                by_contig[contig] = (before[0] + 1, before[1])
                continue
            outside += letters == ""
            different += letters != ""
            by_contig[contig] = (before[0], before[1] + 1)
            if len(examples) < _MOST_EXAMPLES:
                examples.append(f"{contig}:{places.start[i] + 1}-{places.end[i]}")
    return CoordinateCheck(
        same=same,
        different=different,
        absent=absent,
        outside=outside,
        by_contig=dict(sorted(by_contig.items())),
        examples=tuple(examples),
    )


def read_coordinate_folder(folder: Path, genomes: Genomes | None) -> dict[str, LocatedTable]:
    """Return the parts of a folder of coordinates, sequences cut from the genome.

    Args:
        folder: Holds train/ and test/ with one table a class.
        genomes: Where to cut from.

    Raises:
        InputFileError: if no genome is given, parts differ in their classes, or a file is no table of coordinates.
        ReferenceMismatchError: if a contig is not in its genome, or an interval reaches beyond it.
    """
    files = coordinate_files(folder)
    if genomes is None:
        raise InputFileError(
            f"{str(folder)!r} holds coordinates, not sequences. Give the genome that they refer to as well "
            "(--genome FASTA)."
        )
    parts: dict[str, LocatedTable] = {}
    for part, by_class in files.items():
        class_names = tuple(by_class)
        tables = [
            _one_class(by_class[name], label, class_names, genomes) for label, name in enumerate(class_names)
        ]
        parts[part] = _stacked(tables, str(folder / part))
    return parts


def coordinate_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Return ``{part: {class: file}}`` of a folder of coordinates, classes sorted.

    Raises:
        InputFileError: if the parts differ in their classes.
    """
    found: dict[str, dict[str, Path]] = {}
    for part in ("train", "valid", "test"):
        if (folder / part).is_dir():
            files = sorted(f for f in (folder / part).iterdir() if f.name.endswith((".csv", ".csv.gz")))
            found[part] = {file.name.removesuffix(".gz").removesuffix(".csv"): file for file in files}
    names = {part: tuple(files) for part, files in found.items()}
    if len(set(names.values())) > 1:
        raise InputFileError(f"the parts of {str(folder)!r} differ in their classes: {names}.")
    return found


def read_class_locations(file: Path) -> Locations:
    """Return the coordinates of one class.

    Raises:
        InputFileError: if the file has no columns of coordinates.
    """
    header = table_columns(file)
    columns = location_columns(header)
    if columns is None:
        raise InputFileError(
            f"{str(file)!r} is no table of coordinates: it has the columns {preview(header)}, and needs region, "
            "start and end."
        )
    return read_locations(file, columns)


def _one_class(file: Path, label: int, class_names: tuple[str, ...], genomes: Genomes) -> LocatedTable:
    places = read_class_locations(file)
    genome = _genome_of(genomes, class_names[label])
    if genome is None:
        raise InputFileError(
            f"no genome is given for class {class_names[label]!r}; give one as "
            f"--genome {class_names[label]}=FASTA."
        )
    cut = _cut(places, genome, refuse_outside=True)
    missing = sorted({places.chrom_names[int(places.chrom[i])] for i, text in enumerate(cut) if text is None})
    if missing:
        raise ReferenceMismatchError(
            f"{str(file)!r}: {sum(text is None for text in cut):,} of {len(cut):,} places are on contigs that "
            f"{genome.path.name} lacks ({preview(missing)}). Give the whole genome of the right assembly."
        )
    labels = np.full(len(cut), label, dtype=np.int64)
    return LocatedTable([text or "" for text in cut], labels, class_names, str(file), places)


def _stacked(tables: list[LocatedTable], source: str) -> LocatedTable:
    table = pooled(list(tables))
    assert isinstance(table, LocatedTable), "all have places"
    return LocatedTable(table.sequences, table.labels, table.class_names, source, table.locations)


def _cut(locations: Locations, genome: Genome, *, refuse_outside: bool) -> list[str | None]:
    """Return the sequence at each place: None without such a contig, empty where it reaches outside."""
    contigs = _contigs(genome, locations.chrom_names) | {UNKNOWN: None}
    rows = zip(
        locations.chrom.tolist(),
        locations.start.tolist(),
        locations.end.tolist(),
        locations.is_reverse.tolist(),
        strict=True,
    )
    found: list[str | None] = []
    for chrom, start, end, is_reverse in rows:
        contig = contigs[chrom]
        if contig is None:
            found.append(None)
        elif end > genome.contigs[contig] and not refuse_outside:
            found.append("")
        else:
            letters = genome.fetch(contig, start, end).decode().upper()
            found.append(reverse_complement(letters) if is_reverse else letters)
    return found


def _contigs(genome: Genome, regions: tuple[str, ...]) -> dict[int, str | None]:
    """Return the contig that each region means; an Ensembl identifier is also found without its version."""
    names: list[str | None] = [genome.names.resolve(region) for region in regions]
    if any(name is None and region.startswith("ENS") for name, region in zip(names, regions, strict=True)):
        bare = {contig.partition(".")[0]: contig for contig in genome.contigs}
        names = [name or bare.get(region) for name, region in zip(names, regions, strict=True)]
    return dict(enumerate(names))


def _genome_of(genomes: Genomes, class_name: str) -> Genome | None:
    return genomes if isinstance(genomes, Genome) else genomes.get(class_name)
