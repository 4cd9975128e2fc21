"""Whether a data set on the disk is the one that was published: counts, lengths, letters, checksums, overlaps."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genomix_data.benchmarks.coordinates import Genomes, check_coordinates, coordinate_files
from genomix_data.benchmarks.known_files import file_sha256, known_files
from genomix_data.benchmarks.load import AnyTable, Benchmark, load_benchmark
from genomix_data.benchmarks.registry import BenchmarkSet
from genomix_data.genome import Genome
from genomix_data.leakage.report import leakage_report
from genomix_data.tables.identity import either_strand
from genomix_data.tables.located import LocatedTable
from genomix_data.tables.table import SequenceTable
from genomix_data.tables.targets import TargetTable
from genomix_data.tables.variants import VariantTable

Status = Literal["ok", "differs", "note"]


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One thing that was looked at.

    Args:
        part: train, valid, test, all; or ``files``, ``train/test``.
        what: What was looked at.
        expected: What was published; empty where nothing is known.
        found: What is there.
        status: ``ok``, ``differs``, or ``note`` for what is worth knowing and not wrong.
    """

    part: str
    what: str
    expected: str
    found: str
    status: Status


@dataclass(frozen=True)
class CheckReport:
    """All that was looked at.

    Args:
        info: What was published.
        path: Where the files are.
        lines: One each.
    """

    info: BenchmarkSet
    path: Path
    lines: list[CheckLine]

    @property
    def is_right(self) -> bool:
        """Whether nothing differs."""
        return all(line.status != "differs" for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        return {
            "name": self.info.name,
            "path": str(self.path),
            "right": self.is_right,
            "lines": [asdict(line) for line in self.lines],
        }


def check_benchmark(
    name: str, path: str | os.PathLike[str], *, genomes: Genomes | None = None
) -> CheckReport:
    """Return how the data set at ``path`` compares with what was published under ``name``.

    Args:
        name: As `get_benchmark` knows it.
        path: Folder or file.
        genomes: To cut sequences of coordinates from, and to compare sequences with coordinates.

    Raises:
        ConfigError: if the name is not known.
        InputFileError: if the files cannot be read as this data set.
    """
    benchmark = load_benchmark(name, path, genomes=genomes)
    info = benchmark.info
    assert info is not None, "loaded by name"
    lines, pieces = _files(benchmark, info)
    for part, table in benchmark.parts.items():
        lines += _counts(info, part, table, pieces.get(part))
        lines += _sequences(info, part, table)
        lines += _places(part, table, genomes, benchmark.layout.kind == "coordinates")
    absent = [part for part in info.n_sequences if part not in benchmark.parts]
    lines += [
        CheckLine(part, "sequences", f"{info.n_sequences[part]:,}", "not there", "note") for part in absent
    ]
    lines += _overlap(benchmark.parts)
    return CheckReport(info, Path(path), lines)


def _files(benchmark: Benchmark, info: BenchmarkSet) -> tuple[list[CheckLine], dict[str, str]]:
    """Return the lines on checksums, and which piece of the published part a recognised file holds."""
    paths = dict(benchmark.layout.files)
    if benchmark.layout.kind == "coordinates":
        for part, by_class in coordinate_files(benchmark.path).items():
            paths |= {f"{part}/{name}": file for name, file in by_class.items()}
    known = {row.sha256: row for row in known_files(info.name)}
    names = {row.file: row for row in known.values()}
    lines: list[CheckLine] = []
    pieces: dict[str, str] = {}
    for part, file in paths.items():
        row = known.get(file_sha256(file))
        if row is not None:
            lines.append(CheckLine("files", f"sha256 of {file.name}", "known", f"known: {row.what}", "ok"))
            pieces[part] = row.what
        else:
            listed = names.get(f"{part.split('/')[0]}/{file.name}") or names.get(file.name)
            said = "another file of this name" if listed else "not a file that genomix knows"
            lines.append(
                CheckLine(
                    "files", f"sha256 of {file.name}", listed.sha256[:12] if listed else "", said, "note"
                )
            )
    return lines, pieces


def _counts(info: BenchmarkSet, part: str, table: AnyTable, piece: str | None) -> Iterator[CheckLine]:
    is_piece = piece is not None and piece not in ("complete", "coordinates")

    def line(what: str, expected: int | None, found: int) -> CheckLine:
        if expected is None:
            return CheckLine(part, what, "", f"{found:,}", "note")
        if is_piece:
            return CheckLine(part, what, f"{expected:,}", f"{found:,} ({piece})", "note")
        return CheckLine(part, what, f"{expected:,}", f"{found:,}", "ok" if expected == found else "differs")

    yield line("sequences" if info.kind != "variants" else "variants", info.n_sequences.get(part), len(table))
    if isinstance(table, TargetTable):
        yield line("targets", info.n_targets, len(table.target_names))
        missing = int(np.isnan(table.targets).sum())
        yield CheckLine(part, "missing targets", "", f"{missing:,} of {table.targets.size:,}", "note")
        return
    expected_counts = info.n_per_class.get(part, {})
    by_number = dict(enumerate(info.classes))
    for index, (name, found) in enumerate(table.n_per_class.items()):
        published = name if name in expected_counts or not expected_counts else by_number.get(index, name)
        what = f"class {name}" if published == name else f"class {name} ({published})"
        yield line(what, expected_counts.get(published), found)
    if isinstance(table, VariantTable):
        for reason, n in table.skipped.items():
            yield CheckLine(part, f"left out: {reason}", "", f"{n:,}", "note")


def _sequences(info: BenchmarkSet, part: str, table: AnyTable) -> Iterator[CheckLine]:
    if isinstance(table, VariantTable):
        n_twice = len(table) - len({str(variant) for variant in table.variants})
        yield CheckLine(part, "repeated variants", "0", f"{n_twice:,}", "note" if n_twice else "ok")
        return
    sizes = [len(sequence) for sequence in table.sequences]
    found = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    if info.length is None:
        yield CheckLine(part, "length (bp)", "", found, "note")
    else:
        low, high = info.length
        expected = f"{low:,}" if low == high else f"at most {high:,}" if low == 1 else f"{low:,} to {high:,}"
        inside = low <= min(sizes) and max(sizes) <= high
        yield CheckLine(part, "length (bp)", expected, found, "ok" if inside else "differs")
    ambiguous = sum(bool(set(sequence) - set("ACGTUacgtu")) for sequence in table.sequences)
    yield CheckLine(
        part, "with letters other than A C G T", "", f"{ambiguous:,}", "note" if ambiguous else "ok"
    )
    repeated = len(table) - len({sequence.upper() for sequence in table.sequences})
    yield CheckLine(part, "repeated sequences", "", f"{repeated:,}", "note" if repeated else "ok")
    if isinstance(table, SequenceTable):
        torn = _two_labels(table)
        yield CheckLine(part, "sequences of two classes", "0", f"{torn:,}", "note" if torn else "ok")


def _two_labels(table: SequenceTable) -> int:
    """Return how many sequences stand in the table under more than one class, on either strand."""
    seen: dict[str, set[int]] = {}
    for sequence, label in zip(table.sequences, table.labels.tolist(), strict=True):
        seen.setdefault(either_strand(sequence), set()).add(label)
    return sum(len(labels) > 1 for labels in seen.values())


def _places(part: str, table: AnyTable, genomes: Genomes | None, was_cut: bool) -> Iterator[CheckLine]:
    if isinstance(table, VariantTable) and isinstance(genomes, Genome):
        yield from _reference_alleles(part, table, genomes)
    if not isinstance(table, LocatedTable) or was_cut:
        return
    if genomes is None:
        yield CheckLine(part, "coordinates", "", "there; give --genome to compare the sequences", "note")
        return
    check = check_coordinates(table, genomes)
    compared = check.same + check.different + check.outside
    where = f" ({', '.join(check.examples)})" if check.examples else ""
    yield CheckLine(
        part,
        "same as the genome at their coordinates",
        f"{compared:,}",
        f"{check.same:,}{where}",
        "ok" if check.same == compared else "differs",
    )
    if check.absent:
        yield CheckLine(part, "on contigs that the genome lacks", "0", f"{check.absent:,}", "note")


def _reference_alleles(part: str, table: VariantTable, genome: Genome) -> Iterator[CheckLine]:
    same = different = absent = 0
    for variant in table.variants:
        contig = genome.names.resolve(variant.chrom)
        if contig is None or variant.end > genome.contigs[contig]:
            absent += 1
            continue
        matches = genome.fetch(contig, variant.start, variant.end).decode().upper() == variant.ref
        same, different = same + matches, different + (not matches)
    yield CheckLine(
        part,
        "REF as in the genome",
        f"{same + different:,}",
        f"{same:,}",
        "differs" if different else "ok" if same else "note",
    )
    if absent:
        yield CheckLine(part, "not on the genome", "0", f"{absent:,}", "note")


def _overlap(parts: dict[str, AnyTable]) -> Iterator[CheckLine]:
    """Yield what each held-out part shares with training; never wrong, as the published sets are what they are."""
    train = parts.get("train")
    for part in ("valid", "test"):
        held_out = parts.get(part)
        if not isinstance(train, SequenceTable) or not isinstance(held_out, SequenceTable):
            continue
        report = leakage_report(train, held_out)
        total = report.total
        rows = [
            ("also in train, letter for letter", total.identical + total.identical_other_strand),
            ("with a near copy in train", total.has_near_copy),
        ]
        if total.overlapping is not None:
            rows.append(("overlapping train on the genome", total.overlapping))
        for what, n in rows:
            share = f"{n:,} of {total.n:,} ({100 * n / total.n:.1f} %)"
            yield CheckLine(f"train/{part}", what, "0", share, "note" if n else "ok")
