"""The header of a VCF as text: lines are kept as they came, and only added to or replaced by name."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from genomix_data.errors import InputFileError

FIXED_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")

_DECLARATION = re.compile(r"##(?P<kind>INFO|FORMAT|FILTER|contig)=<(?P<body>.*)>?\s*$")
_ID = re.compile(r"(?:^|,)ID=(?P<id>[^,>]+)")
_LENGTH = re.compile(r"(?:^|,)length=(?P<length>\d{1,18})(?!\d)")


@dataclass(frozen=True, slots=True)
class VcfHeader:
    """What stands above the records.

    Attributes:
        meta: The ``##`` lines in order, without line ends.
        columns: The fields of the ``#CHROM`` line.
    """

    meta: tuple[str, ...]
    columns: tuple[str, ...] = FIXED_COLUMNS

    @classmethod
    def from_lines(cls, lines: Iterable[str], source: str) -> "VcfHeader":
        """Return the header of ``lines``, of which the last is the ``#CHROM`` line.

        Raises:
            InputFileError: if the ``#CHROM`` line is missing or lacks one of the eight fixed columns.
        """
        meta = list(lines)
        if not meta or not meta[-1].startswith("#CHROM"):
            raise InputFileError(
                f"{source} has no #CHROM line, so it is not a VCF. "
                "Expected '##fileformat=VCFv4.x' lines, then '#CHROM<TAB>POS<TAB>ID<TAB>REF<TAB>ALT...'."
            )
        columns = tuple(meta.pop().split("\t"))
        if columns[:8] != FIXED_COLUMNS:
            hint = " Columns must be parted by tabs, not spaces." if len(columns) == 1 else ""
            raise InputFileError(
                f"{source}: the #CHROM line has the columns {', '.join(columns[:9])}; "
                f"expected {', '.join(FIXED_COLUMNS)} first.{hint}"
            )
        return cls(tuple(meta), columns)

    @property
    def samples(self) -> tuple[str, ...]:
        """Sample names, in column order."""
        return tuple(name for name in self.columns[9:] if name)

    @property
    def contigs(self) -> dict[str, int | None]:
        """Declared contigs in order, with their length in bp where the header gives it."""
        found: dict[str, int | None] = {}
        for kind, identifier, body in self._declarations():
            if kind == "contig":
                length = _LENGTH.search(body)
                found.setdefault(identifier, int(length["length"]) if length else None)
        return found

    def declared(self, kind: str) -> set[str]:
        """Return the IDs declared as ``kind``: INFO, FORMAT, FILTER or contig."""
        return {identifier for found, identifier, _ in self._declarations() if found == kind}

    def _declarations(self) -> Iterable[tuple[str, str, str]]:
        for line in self.meta:
            match = _DECLARATION.match(line)
            identifier = _ID.search(match["body"]) if match else None
            if match and identifier:
                yield match["kind"], identifier["id"], match["body"]

    def annotated(
        self, lines: Iterable[str], *, replace_info: str = "", replace_meta: str = ""
    ) -> "VcfHeader":
        """Return a header with ``lines`` added below the others.

        Args:
            lines: ``##`` lines to add.
            replace_info: Declarations of INFO keys with this prefix are dropped first (empty: none).
            replace_meta: ``##`` lines with this key prefix, such as ``genomix``, are dropped first (empty: none).
        """
        kept = [line for line in self.meta if not (replace_meta and line.startswith(f"##{replace_meta}"))]
        if replace_info:
            own = re.compile(rf"##INFO=<ID={re.escape(replace_info)}")
            kept = [line for line in kept if not own.match(line)]
        return VcfHeader((*kept, *lines), self.columns)

    def to_bytes(self) -> bytes:
        """Return the header as it stands in a file, each line closed by a line feed."""
        lines = (*self.meta, "\t".join(self.columns))
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


@dataclass(slots=True)
class UsedNames:
    """Contigs, filters and keys that records use; BCF must declare each of them in its header."""

    contigs: dict[str, None]
    filters: dict[str, None]
    info: dict[str, bool]
    formats: dict[str, None]

    @classmethod
    def none(cls) -> "UsedNames":
        """Return an empty collection."""
        return cls({}, {}, {}, {})

    def add(self, columns: list[bytes]) -> None:
        """Note the names in one record, given as its tab-parted columns (the ninth may hold all the rest)."""
        self.contigs[_text(columns[0])] = None
        for name in _text(columns[6]).split(";"):
            self.filters[name] = None
        for item in _text(columns[7]).split(";"):
            key, equals, _ = item.partition("=")
            self.info[key] = self.info.get(key, False) or bool(equals)
        if len(columns) > 8:
            for name in _text(columns[8].split(b"\t", 1)[0]).split(":"):
                self.formats[name] = None


def repair_header(
    header: VcfHeader, used: UsedNames, contig_length: Callable[[str], int | None] | None = None
) -> VcfHeader:
    """Return ``header`` with a declaration for each used name that it lacks.

    htslib cannot write a BCF record whose keys, filters or contig the header does not declare. Undeclared INFO and
    FORMAT keys become ``Number=.,Type=String`` (a flag where no record gives a value), which changes no value. END and
    the file format, which htslib wants too, are declared in any case.

    Args:
        header: The header as it came.
        used: Names that the records use.
        contig_length: Gives the length in bp of a contig by the name that the VCF uses, or None.
    """
    added: list[str] = []
    declared = header.declared("contig")
    for name in used.contigs:
        if name not in declared:
            length = contig_length(name) if contig_length else None
            added.append(
                f"##contig=<ID={name}>" if length is None else f"##contig=<ID={name},length={length}>"
            )
    known = header.declared("FILTER") | {"PASS", ".", ""}
    added += [
        f'##FILTER=<ID={name},Description="Used by a record, declared by genomix">'
        for name in used.filters
        if name not in known
    ]
    known = header.declared("INFO") | {".", ""}
    for key, has_value in used.info.items():
        if key not in known and key != "END":
            kind = "Number=.,Type=String" if has_value else "Number=0,Type=Flag"
            added.append(f'##INFO=<ID={key},{kind},Description="Used by a record, declared by genomix">')
    if "END" not in known:
        added.append('##INFO=<ID=END,Number=1,Type=Integer,Description="End position of the variant">')
    known = header.declared("FORMAT") | {".", ""}
    added += [
        f'##FORMAT=<ID={name},Number=.,Type=String,Description="Used by a record, declared by genomix">'
        for name in used.formats
        if name not in known
    ]
    meta = header.meta
    if not (meta and meta[0].startswith("##fileformat=VCFv4")):
        meta = ("##fileformat=VCFv4.2", *(line for line in meta if not line.startswith("##fileformat=")))
    return VcfHeader((*meta, *added), header.columns)


def _text(field: bytes) -> str:
    return field.decode("utf-8", "surrogateescape")
