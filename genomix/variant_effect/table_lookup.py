"""Scores that were computed before: a table of `genomix tile`, looked up through its tabix index."""

import os
from collections.abc import Sequence
from pathlib import Path

import pysam

from genomix.variant_effect.columns import STATUS_KEY, Column
from genomix.variant_effect.contract import Status, VariantScore
from genomix.variant_effect.site import Site
from genomix_data.errors import ConfigError, InputFileError

_HOW = ("##genomixModel=", "##genomixReference=", "##genomixWindow=")
_SITE = ("#CHROM", "POS", "ID", "REF", "ALT")


class ScoreTable:
    """A table of scores of substitutions; use as a context manager.

    Args:
        path: ``.tsv.gz`` of `genomix tile`, with its index beside it.
        run_lines: What the header of this run says; the table must have been made in the same way.
        columns: That this run writes.

    Raises:
        InputFileError: if the file or its index is missing or damaged, or it is no such table.
        ConfigError: if it was made otherwise, or lacks a column; with what differs.
    """

    def __init__(
        self, path: str | os.PathLike[str], run_lines: Sequence[str], columns: Sequence[Column]
    ) -> None:
        source = Path(path)
        if not source.is_file():
            raise InputFileError(f"table of scores {str(source)!r} does not exist. Check the path.")
        try:
            self._file = pysam.TabixFile(str(source))
            header = list(self._file.header)
        except (OSError, ValueError) as error:
            raise InputFileError(
                f"{str(source)!r} cannot be read through a tabix index: {error}. Make the table with "
                "`genomix tile -o NAME.tsv.gz`, which writes the index."
            ) from error
        self._name = str(source)
        for line in run_lines:
            key = next((key for key in _HOW if line.startswith(key)), None)
            found = next((other for other in header if key and other.startswith(key)), None)
            if key and found != line:
                raise ConfigError(
                    f"{self._name} was made otherwise: it says {found or 'nothing of ' + key!r}, this run "
                    f"{line!r}. Give the same model, genome and options, or leave out --table."
                )
        names = header[-1].split("\t") if header else []
        wanted = [*_SITE, STATUS_KEY, *(column.key for column in columns)]
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ConfigError(
                f"{self._name} has no column {', '.join(missing)}. Make it with the same --scores."
            )
        self._places = {name: names.index(name) for name in wanted}
        self._fields = {column.field: names.index(column.key) for column in columns if column.field != "abs"}
        self._contigs = frozenset(self._file.contigs)
        self._here: tuple[str, int] = ("", 0)
        self._rows: dict[tuple[str, str], VariantScore] = {}

    def scores(self, contig: str | None, site: Site) -> list[VariantScore | None]:
        """Return the scores of the ALT alleles of a site, None where the table has none.

        Args:
            contig: Name of the contig in the genome, which the table uses.
            site: The record.
        """
        if contig not in self._contigs or len(site.ref) != 1 or site.haplotypes is not None:
            return [None] * len(site.alts)
        assert contig is not None
        if self._here != (contig, site.pos):
            self._here = (contig, site.pos)
            self._rows = self._read(contig, site.pos)
        return [self._rows.get((site.ref.upper(), alt.upper())) for alt in site.alts]

    def _read(self, contig: str, pos: int) -> dict[tuple[str, str], VariantScore]:
        found = {}
        try:
            for row in self._file.fetch(contig, max(0, pos - 1), max(1, pos)):
                cells = row.split("\t")
                if cells[self._places["POS"]] == str(pos):
                    key = cells[self._places["REF"]], cells[self._places["ALT"]]
                    found[key] = VariantScore(
                        Status(cells[self._places[STATUS_KEY]]),
                        **{field: _number(cells[at]) for field, at in self._fields.items()},
                    )
        except (OSError, ValueError, IndexError) as error:
            raise InputFileError(
                f"{self._name} is damaged at {contig}:{pos} ({error}). Make it again with `genomix tile`."
            ) from error
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "ScoreTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _number(cell: str) -> float | None:
    return None if cell == "." else float(cell)
