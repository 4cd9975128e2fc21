"""A data set from local files: its parts as tables, read as the name of the set says."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genomix_data.benchmarks.coordinates import Genomes, read_coordinate_folder
from genomix_data.benchmarks.layout import Layout, find_layout
from genomix_data.benchmarks.registry import BenchmarkSet, get_benchmark
from genomix_data.errors import InputFileError
from genomix_data.genome import Genome
from genomix_data.tables.genomic_benchmarks import read_genomic_benchmarks
from genomix_data.tables.located import read_located_table
from genomix_data.tables.table import SequenceTable
from genomix_data.tables.targets import TargetTable, read_target_table
from genomix_data.tables.variants import VariantTable, read_brca1_sge, read_clinvar

AnyTable = SequenceTable | TargetTable | VariantTable


@dataclass(frozen=True)
class Benchmark:
    """A data set that has been read.

    Args:
        info: What was published; None for a data set of the user's own.
        parts: The tables, by part: train, valid, test, or all.
        layout: How it lies on the disk.
        path: Where.
    """

    info: BenchmarkSet | None
    parts: dict[str, AnyTable]
    layout: Layout
    path: Path

    @property
    def label_map(self) -> dict[str, int]:
        """``{class name: index}`` in sorted order (numbers by value); of targets, their columns."""
        table = next(iter(self.parts.values()))
        names = table.target_names if isinstance(table, TargetTable) else table.class_names
        return {name: index for index, name in enumerate(names)}

    def classification_parts(self) -> dict[str, SequenceTable]:
        """Return the parts of a classification task.

        Raises:
            InputFileError: if it is another kind of task.
        """
        tables = {part: table for part, table in self.parts.items() if isinstance(table, SequenceTable)}
        if len(tables) < len(self.parts):
            kind = self.info.kind if self.info else "other"
            raise InputFileError(f"{str(self.path)!r} is a {kind} task, not a classification of sequences.")
        return tables


def load_benchmark(name: str, path: str | os.PathLike[str], *, genomes: Genomes | None = None) -> Benchmark:
    """Return a data set by name, read from a folder or a file of yours; nothing is downloaded.

    Args:
        name: As `get_benchmark` knows it.
        path: Folder or file; `find_layout` says how it may look.
        genomes: For sets that are coordinates: where to cut the sequences from.

    Raises:
        ConfigError: if the name is not known.
        InputFileError: if the files cannot be used, or have classes that the set has not.
    """
    info = get_benchmark(name)
    source = Path(path)
    layout = find_layout(source, info.name.split("/")[-1])
    if info.kind in ("multi-label", "regression"):
        genome = genomes if isinstance(genomes, Genome) else None
        seqlen = info.length[0] if info.length and info.length[0] == info.length[1] else None
        parts: dict[str, AnyTable] = {
            part: read_target_table(file, info.kind, genome=genome, seqlen=seqlen)
            for part, file in layout.files.items()
        }
    elif info.kind == "variants":
        read = read_clinvar if info.name == "variants/clinvar" else read_brca1_sge
        parts = {part: read(file) for part, file in layout.files.items()}
    else:
        parts = dict(_classification(source, layout, genomes, info.classes))
    return Benchmark(info, parts, layout, source)


def load_folder(
    path: str | os.PathLike[str],
    *,
    genomes: Genomes | None = None,
    sequence_column: str = "sequence",
    label_column: str = "label",
) -> Benchmark:
    """Return a classification data set of yours, in any layout that `find_layout` knows.

    Raises:
        InputFileError: if the files cannot be used.
    """
    source = Path(path)
    layout = find_layout(source)
    columns = (sequence_column, label_column)
    return Benchmark(None, dict(_classification(source, layout, genomes, (), columns)), layout, source)


def _classification(
    source: Path,
    layout: Layout,
    genomes: Genomes | None,
    classes: Sequence[str],
    columns: tuple[str, str] = ("sequence", "label"),
) -> dict[str, SequenceTable]:
    if layout.kind == "sequence files":
        return read_genomic_benchmarks(source)
    if layout.kind == "coordinates":
        return dict(read_coordinate_folder(source, genomes))
    parts: dict[str, SequenceTable] = {}
    names: Sequence[str] | None = None
    for part, file in layout.files.items():
        table = read_located_table(
            file, sequence_column=columns[0], label_column=columns[1], class_names=names
        )
        if names is None:
            names = _class_names(table, classes)
            if names != table.class_names:
                table = read_located_table(
                    file, sequence_column=columns[0], label_column=columns[1], class_names=names
                )
        parts[part] = table
    return parts


def _class_names(table: SequenceTable, classes: Sequence[str]) -> tuple[str, ...]:
    """Return all classes of the task, of which the first part may lack some.

    Raises:
        InputFileError: if the table has others.
    """
    if not classes or set(table.class_names) <= set(classes):
        return tuple(classes) or table.class_names
    # Tables made from class folders often number the sorted classes.
    numbers = tuple(str(number) for number in range(len(classes)))
    if set(table.class_names) <= set(numbers):
        return numbers
    raise InputFileError(
        f"{table.source} has the classes {', '.join(table.class_names)}; this data set has {', '.join(classes)} "
        f"(or {', '.join(numbers)}, in that order)."
    )
