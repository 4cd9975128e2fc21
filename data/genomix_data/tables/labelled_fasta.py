"""FASTA with the label of each sequence in its header, as the Nucleotide Transformer tasks come.

>name|label      the label is what follows the last |
>some_name_1     without a |, the label is the last character, which must be a digit
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from genomix_data.errors import InputFileError

logger = logging.getLogger(__name__)

FASTA_COLUMNS = ("name", "sequence", "label")


def label_of_header(header: str) -> str | None:
    """Return the label in a FASTA header (without ``>``), or None where there is none.

    >>> label_of_header("chr1:100-400|2"), label_of_header("H3K4me1_promoter_0"), label_of_header("chrX")
    ('2', '0', None)
    """
    if "|" in header:
        return header.rsplit("|", 1)[1].strip() or None
    last = header.rstrip()[-1:]
    return last if last.isdecimal() and last.isascii() else None


def read_labelled_fasta(
    source: Path, first: str, text: TextIO, *, want_label: bool
) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yield the place, and name, sequence and label, of every record.

    Args:
        source: The file, for messages.
        first: Its first line, which begins with ``>``.
        text: The rest.
        want_label: Refuse a header without a label; otherwise the label of such a header is empty.

    Raises:
        InputFileError: if a record has no label but one is wanted, or has no sequence.
    """
    header, number, line_number = first[1:].strip(), 1, 1
    pieces: list[str] = []
    has_bar: set[bool] = set()

    def record() -> tuple[str, tuple[str, str, str]]:
        place = f"{source}:{number}"
        label = label_of_header(header)
        if want_label and label is None:
            raise InputFileError(
                f"{place}: the header '>{header}' has no label; write it after a |, as in '>{header or 'name'}|1'."
            )
        has_bar.add("|" in header)
        if want_label and len(has_bar) > 1:
            raise InputFileError(
                f"{place}: some headers have a | before the label and some have none; write all in one way."
            )
        return place, (header, "".join(pieces), label or "")

    for line in text:
        line_number += 1
        if line.startswith(">"):
            yield record()
            header, number, pieces = line[1:].strip(), line_number, []
        else:
            pieces.append("".join(line.split()))
    yield record()
    if want_label and has_bar == {False}:
        logger.warning("%s: labels are the last character of each header, as no header has a |", source)
