"""One line of a VCF: the columns that scoring reads, and the bytes of all others as they came.

pysam reformats what it writes: QUAL ``29.0`` becomes ``29``, floats lose all but six digits, ``<DEL>`` gains INFO/END
and ``END`` equal to POS vanishes. So a text record is kept as bytes, and annotation touches the INFO column only.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from genomix_data.errors import InputFileError

InfoValues = Mapping[str, Sequence[float | str | None]]


class VcfRecord:
    """A record of a text VCF.

    Attributes:
        chrom: Contig name as the file spells it.
        pos: 1-based position; 0 is the telomere before the first base.
        ref: Reference allele as it came, case kept.
        alts: ALT alleles in order; empty where the column is ``.``.
        where: ``file:line`` for messages.
        columns: The eight fixed columns as bytes, and FORMAT with all samples as the ninth where present.
    """

    __slots__ = ("alts", "chrom", "columns", "pos", "ref", "where")

    def __init__(self, columns: list[bytes], where: str) -> None:
        self.columns = columns
        self.where = where
        pos = columns[1]
        digits = pos.removeprefix(b"-")
        # int() takes 1_000 and a blank too, which would be scored at a place that nobody wrote down.
        if not (digits.isdigit() and len(digits) <= 18):
            raise InputFileError(
                f"{where}: POS is {_text(pos)[:40]!r}; expected a whole number, 1 for the first base."
            )
        self.pos = int(pos)
        # `_text` spelled out: this is a good part of reading a file
        self.chrom = columns[0].decode("utf-8", "surrogateescape")
        self.ref = columns[3].decode("utf-8", "surrogateescape")
        alts = columns[4]
        self.alts = () if alts in (b".", b"") else tuple(alts.decode("utf-8", "surrogateescape").split(","))

    @classmethod
    def from_line(cls, line: bytes, where: str, n_samples: int) -> "VcfRecord":
        """Return the record of a line without its line end.

        A record may end after INFO, or have more sample columns than the header; htslib accepts both.

        Raises:
            InputFileError: if columns are missing, or POS is not a number.
        """
        columns = line.split(b"\t", 8)
        if len(columns) < 8:
            hint = (
                "parted by tabs, not spaces" if b" " in line and len(columns) == 1 else "or is the file cut?"
            )
            raise InputFileError(f"{where}: {len(columns)} columns; a VCF record has at least 8 ({hint}).")
        found = columns[8].count(b"\t") if len(columns) > 8 else n_samples
        if found < n_samples:
            raise InputFileError(
                f"{where}: the record has {found} sample columns, the #CHROM line has {n_samples}. "
                "The file may be cut or edited by hand."
            )
        return cls(columns, where)

    @property
    def id(self) -> str:
        """The ID column, ``.`` where there is none."""
        return _text(self.columns[2])

    @property
    def n_bytes(self) -> int:
        """Size of the line."""
        return sum(map(len, self.columns))

    @property
    def info(self) -> dict[str, str | None]:
        """INFO as ``{key: text}``; None for a flag."""
        found: dict[str, str | None] = {}
        for item in _text(self.columns[7]).split(";"):
            key, equals, value = item.partition("=")
            if key not in ("", "."):
                found[key] = value if equals else None
        return found

    def annotated(self, values: InfoValues, drop_prefix: str = "") -> bytes:
        """Return the line, closed by a line feed, with ``values`` appended to INFO.

        Args:
            values: For each key its values, one an allele; None is written as ``.``. Floats carry the digits that
                a 32-bit float holds.
            drop_prefix: Keys of INFO with this prefix are removed first (empty: none).
        """
        info = self.columns[7]
        prefix = drop_prefix.encode()
        if prefix and prefix in info:
            info = b";".join(item for item in info.split(b";") if not item.startswith(prefix))
        added = ";".join(
            f"{key}={','.join(map(format_value, items))}" for key, items in values.items()
        ).encode()
        kept = info.strip(b";")
        if not kept or kept == b".":
            kept = added or b"."
        elif added:
            kept = kept + b";" + added
        return b"\t".join((*self.columns[:7], kept, *self.columns[8:])) + b"\n"


def format_value(value: float | str | None) -> str:
    """Return a value as INFO text: ``.`` for None, and for a float the shortest digits that give the same float32."""
    if value is None:
        return "."
    if isinstance(value, str):
        return value
    return str(np.float32(value + 0.0))  # adding 0.0 turns -0.0 into 0.0


def _text(field: bytes) -> str:
    return field.decode("utf-8", "surrogateescape")
