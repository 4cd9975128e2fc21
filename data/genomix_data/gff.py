"""Lines of GFF3 and GTF as `Feature` records.

Source: Sequence Ontology, GFF3 specification 1.26; GTF 2.2 as Ensembl and GENCODE write it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast
from urllib.parse import unquote

from genomix_data.annotation import Feature
from genomix_data.errors import InputFileError
from genomix_data.interval import Interval, Strand
from genomix_data.text_input import open_text

_N_COLUMNS = 9
_GTF_PAIR = re.compile(r'\s*([^\s";=]+)\s+(?:"((?:[^"\\]|\\.)*)"|([^\s";]+))\s*(?:;|$)')
Attributes = dict[str, tuple[str, ...]]


def iter_gff(path: Path) -> Iterator[Feature]:
    """Yield the features of a GFF3 or GTF file, gzip ok; what column 9 looks like tells the two apart.

    Comments, directives and an embedded ``##FASTA`` section are passed over.

    Raises:
        InputFileError: naming file and line, for a line that is neither.
    """
    layout: Literal["gff3", "gtf"] | None = None
    with open_text(path, "annotation") as text:
        for number, line in enumerate(text, start=1):
            stripped = line.rstrip("\r\n")
            if stripped.startswith("##FASTA") or stripped.startswith(">"):
                return
            if stripped.startswith("##gff-version"):
                layout = "gff3" if stripped.split()[1:2] and stripped.split()[1].startswith("3") else layout
            if not stripped.strip() or stripped.startswith(("#", "track ", "browser ")):
                continue
            columns = stripped.split("\t")
            if len(columns) != _N_COLUMNS:
                raise InputFileError(
                    f"{path}:{number}: a line of GFF3 or GTF has nine columns split by tabs; got {len(columns)}."
                )
            if layout is None and columns[8].strip() not in ("", "."):
                layout = "gtf" if _GTF_PAIR.match(columns[8]) else "gff3"
            yield _feature(f"{path}:{number}", number, columns, layout or "gff3")


def _feature(where: str, number: int, columns: list[str], layout: str) -> Feature:
    chrom, source, kind, start, end, score, strand, phase, _ = (column.strip() for column in columns)
    if not (start.isdecimal() and end.isdecimal()) or int(start) < 1 or int(end) < int(start):
        raise InputFileError(
            f"{where}: start {start!r} and end {end!r} must be whole numbers, 1-based with both ends included, "
            "start not beyond end."
        )
    if strand not in ("+", "-", ".", "?", ""):
        raise InputFileError(f"{where}: strand {strand!r} in column 7 is not one of '+', '-', '.', '?'.")
    if phase not in ("0", "1", "2", ".", ""):
        raise InputFileError(f"{where}: phase {phase!r} in column 8 is not one of 0, 1, 2 and '.'.")
    if not chrom or not kind:
        raise InputFileError(f"{where}: column 1 (contig) or 3 (type) is empty.")
    read = _gtf_attributes if layout == "gtf" else _gff3_attributes
    attributes = read(where, columns[8])
    own, parents = _gtf_ids(kind, attributes) if layout == "gtf" else _gff3_ids(attributes)
    keys = (
        ("gene_name", "gene_id")
        if layout == "gtf" and kind == "gene"
        else ("Name", "transcript_name", "gene_name")
    )
    name = next((attributes[key][0] for key in keys if attributes.get(key)), None)
    contig = unquote(chrom) if layout == "gff3" else chrom
    known = cast(Strand, strand if strand in ("+", "-") else ".")
    return Feature(
        interval=Interval(contig, int(start) - 1, int(end), known, name),
        kind=kind,
        id=own,
        parents=parents,
        attributes=attributes,
        phase=int(phase) if phase in ("0", "1", "2") else None,
        score=_score(where, score),
        source=source,
        line=number,
    )


def _score(where: str, score: str) -> float | None:
    if score in (".", ""):
        return None
    try:
        return float(score)
    except ValueError as error:
        raise InputFileError(
            f"{where}: score {score!r} in column 6 is not a number; write . for none."
        ) from error


def _gff3_attributes(where: str, column: str) -> Attributes:
    attributes: Attributes = {}
    for pair in column.split(";"):
        if not pair.strip() or pair.strip() == ".":
            continue
        key, equals, value = pair.strip().partition("=")
        if not equals or not key:
            raise InputFileError(f"{where}: {pair.strip()!r} in column 9 is not key=value, as GFF3 has it.")
        values = tuple(unquote(part) for part in value.split(",") if part)
        attributes[unquote(key)] = attributes.get(unquote(key), ()) + values
    return attributes


def _gtf_attributes(where: str, column: str) -> Attributes:
    attributes: Attributes = {}
    cursor = 0
    text = column.strip()
    while cursor < len(text):
        pair = _GTF_PAIR.match(text, cursor)
        if pair is None:
            raise InputFileError(
                f'{where}: {text[cursor : cursor + 30]!r} in column 9 is not key "value"; as GTF has it.'
            )
        value = pair[2] if pair[2] is not None else pair[3]
        attributes[pair[1]] = (*attributes.get(pair[1], ()), value)
        cursor = pair.end()
    return attributes


def _gff3_ids(attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
    own = attributes.get("ID")
    return (own[0] if own else None), attributes.get("Parent", ())


def _gtf_ids(kind: str, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
    gene, transcript = (next(iter(attributes.get(key, ())), "") for key in ("gene_id", "transcript_id"))
    if kind == "gene":
        return gene or None, ()
    if kind == "transcript":
        return transcript or None, (gene,) if gene else ()
    parent = transcript or gene
    return None, (parent,) if parent else ()
