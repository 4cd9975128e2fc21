"""GenBank and EMBL files through Biopython: sequences as a source of a `Genome`, annotation as `Feature` records.

Made for records of bacterial or viral size: the bases are held in memory, and so are pickled along.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomix_data.alphabet import find_non_iupac
from genomix_data.annotation import Feature
from genomix_data.errors import GenomixError, InputFileError
from genomix_data.interval import Interval, Strand
from genomix_data.text_input import open_text

if TYPE_CHECKING:
    from Bio.SeqRecord import SeqRecord

logger = logging.getLogger(__name__)

_WRONG_LENGTH = "Expected sequence length"
_STRANDS: dict[int | None, Strand] = {1: "+", -1: "-"}


class RecordSource:
    """The contigs of a GenBank or EMBL file, gzip ok; a contig is called by accession and version.

    The LOCUS name and the accession without its version are aliases.

    Args:
        path: The file, absolute.

    Raises:
        InputFileError: if the file is damaged, a record comes twice or has no sequence, or a letter is not a
            nucleotide code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bases: dict[str, bytes] = {}
        self.aliases: dict[str, str] = {}
        for record in _records(path):
            name = str(record.id)
            if name in self._bases:
                raise InputFileError(f"{str(path)!r}: record {name!r} comes twice. Rename or remove one.")
            self._bases[name] = _bases_of(path, record)
            for alias in (record.name, name.partition(".")[0]):
                if alias and alias not in (name, "<unknown name>"):
                    self.aliases.setdefault(alias, name)
        self.contigs: dict[str, int] = {name: len(bases) for name, bases in self._bases.items()}

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return the letters in upper case."""
        return self._bases[name][start:end]

    def close(self) -> None:
        """Do nothing: the file is not held open."""


def read_record_features(path: Path) -> list[Feature]:
    """Return the features of a GenBank or EMBL file in file order.

    The id of a gene is its locus tag, else its name; RNAs and coding sequences of the same gene have it as parent.
    Fuzzy ends (``<1..>200``) are taken as they stand. Parts on another record are left out.

    Raises:
        InputFileError: if the file is damaged, or a feature reaches beyond its record.
    """
    return [feature for record in _records(path) for feature in _features_of(path, record)]


def _records(path: Path) -> list["SeqRecord"]:
    from Bio import BiopythonParserWarning, SeqIO

    records: list[SeqRecord] = []
    with open_text(path, "GenBank or EMBL file") as text, warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", BiopythonParserWarning)
        lines = _Lines(text)
        layout = "genbank" if lines.first.lstrip().startswith("LOCUS") else "embl"
        try:
            for record in SeqIO.parse(lines, layout):  # type: ignore[no-untyped-call]
                records.append(record)
        except GenomixError:
            raise
        except (ValueError, AssertionError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise InputFileError(
                f"{str(path)!r} is not a valid {layout} file, after {len(records)} whole "
                f"records: {error}. Download it again, or turn it into FASTA."
            ) from error
    if lines.last.strip() != "//":
        raise InputFileError(
            f"{str(path)!r} is truncated: its last record does not end with //. Copy or download it again."
        )
    for doubt in doubts:
        message = str(doubt.message)
        if message.startswith(_WRONG_LENGTH):
            raise InputFileError(f"{str(path)!r} is damaged: {message} Copy or download it again.")
        logger.warning("%s: %s", path.name, message)
    if not records:
        raise InputFileError(f"{str(path)!r} has no record in it. Check the file.")
    return records


class _Lines:
    """Just so much of a text file as Biopython's scanner asks for; remembers the first and last line with text."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self.first = next((line for line in text if line.strip()), "")
        self.last = self.first
        self._held = [self.first]

    def readline(self) -> str:
        line = self._held.pop() if self._held else next(self._text, "")
        self.last = line if line.strip() else self.last
        return line

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")

    def read(self, size: int = -1) -> str:
        # Biopython asks for no characters, to learn that this is text.
        return "" if size == 0 else "".join(self)


def _bases_of(path: Path, record: "SeqRecord") -> bytes:
    from Bio.Seq import UndefinedSequenceError

    try:
        bases = bytes(record.seq).upper() if record.seq is not None else b""
    except UndefinedSequenceError:
        bases = b""
    if not bases:
        raise InputFileError(
            f"{str(path)!r}: record {record.id!r} has no sequence in it. Download the full record (GenBank (full), "
            "or gbwithparts)."
        )
    offset = find_non_iupac(bases)
    if offset is not None:
        raise InputFileError(
            f"{str(path)!r}: {chr(bases[offset])!r} at {record.id}:{offset + 1} is not a nucleotide code. "
            "Is it a DNA record?"
        )
    return bases


def _features_of(path: Path, record: "SeqRecord") -> Iterator[Feature]:
    rows: list[Feature] = []
    for found in record.features:
        attributes = {
            key: tuple(str(value) for value in (values if isinstance(values, list) else [values]))
            for key, values in found.qualifiers.items()
        }
        parts = tuple(sorted(_parts_of(path, record, found), key=lambda part: part.start))
        if not parts or found.type == "source":
            continue
        name = next(
            (attributes[key][0] for key in ("gene", "locus_tag", "product") if key in attributes), None
        )
        strand = parts[0].strand if len({part.strand for part in parts}) == 1 else "."
        extent = Interval(str(record.id), parts[0].start, max(part.end for part in parts), strand, name)
        gene = _gene_of(attributes)
        own = gene if found.type == "gene" and gene else f"{found.type}-{len(rows) + 1}"
        rows.append(Feature(extent, found.type, own, attributes=attributes, parts=parts))
    yield from _with_parents(rows)


def _with_parents(rows: list[Feature]) -> Iterator[Feature]:
    """Tie RNAs to the gene of the same tag, and a coding sequence to the next mRNA of its gene that holds it."""
    genes = {row.id for row in rows if row.kind == "gene"}
    free = [row for row in rows if row.kind == "mRNA"]
    for row in rows:
        gene = _gene_of(row.attributes)
        if row.kind == "gene" or gene not in genes:
            yield row
            continue
        parent = gene
        if row.kind == "CDS":
            mrna = next(
                (m for m in free if _gene_of(m.attributes) == gene and m.interval.contains(row.interval)),
                None,
            )
            if mrna is not None and mrna.id is not None:
                free.remove(mrna)
                parent = mrna.id
        yield replace(row, parents=(parent,))


def _parts_of(path: Path, record: "SeqRecord", found: Any) -> Iterator[Interval]:
    for part in found.location.parts if found.location is not None else ():
        if part.ref is not None:
            continue
        start, end = int(part.start), int(part.end)
        if not 0 <= start < end <= len(record):
            raise InputFileError(
                f"{str(path)!r}: feature {found.type} of {record.id} at {start + 1}..{end} does not lie within the "
                f"record, which has {len(record):,} bp."
            )
        yield Interval(str(record.id), start, end, _STRANDS.get(part.strand, "."))


def _gene_of(attributes: Mapping[str, tuple[str, ...]]) -> str:
    return next((attributes[key][0] for key in ("locus_tag", "gene") if key in attributes), "")
