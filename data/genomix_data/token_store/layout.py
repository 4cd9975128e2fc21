"""The files of a token store, and what its description must say.

A store is a folder, ``NAME.gmx``, of three files:

``bases.bin``
    The letters of all contigs, one byte a base, without separators, in the order of the table of contigs. The byte is
    the letter as the FASTA has it, in ASCII: the low five bits tell the letter (A 1, C 3, G 7, T 20, N 14, ...), bit
    0x20 is set where it is soft-masked (lower case), and bit 0x40 is always set.
``n_runs.npy``
    Every run of N or n, ``(runs, 3)`` int64: contig (0-based row of the table), start, end (0-based, half-open);
    sorted. Other ambiguity codes are not in it.
``store.json``
    `StoreTable`: format and version, contigs with length and MD5 (of the letters in upper case, as SAM's M5), counts
    of N and of soft-masked bases, the files that it was made from (name, size, time of change, SHA-256), and CRC-32 of
    the two other files.

The byte of the letter is the id of Evo 2's tokenizer; other tokenizers are one look-up of 256 entries away, which
`genomix_data.token_store.letters` does. ``docs/decisions/0002-token-store.md`` has the measurements.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genomix_data.errors import InputFileError

FORMAT = "genomix-token-store"
VERSION = 1
SUFFIX = ".gmx"
BASES, N_RUNS, TABLE = "bases.bin", "n_runs.npy", "store.json"


class TokenStoreError(InputFileError):
    """A token store is damaged, of another version, stale, or of another FASTA."""


class StoreVersionError(TokenStoreError):
    """A token store was made by another version of genomix."""


@dataclass(frozen=True, slots=True)
class StoredContig:
    """One contig of the table.

    Args:
        name: As in the FASTA.
        length: In bp.
        md5: Of the letters in upper case.
        n_n: Bases that are N.
        n_masked: Bases in lower case.
    """

    name: str
    length: int
    md5: str
    n_n: int
    n_masked: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that a store was made from, as it was then.

    Args:
        name: File name without folder.
        size: In bytes.
        mtime_ns: Time of the last change.
        sha256: Of all its bytes.
    """

    name: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoreTable:
    """What ``store.json`` holds.

    Args:
        contigs: In the order of their letters.
        sources: Files of the genome.
        crc32: Of ``bases.bin`` and ``n_runs.npy``.
        n_runs_size: Bytes of ``n_runs.npy``.
        aliases: Other names that the source has for its contigs, as GenBank does.
    """

    contigs: tuple[StoredContig, ...]
    sources: tuple[SourceFile, ...]
    crc32: dict[str, int]
    n_runs_size: int
    aliases: dict[str, str] = field(default_factory=dict)

    @property
    def n_bases(self) -> int:
        """Bases of all contigs, which is the size of ``bases.bin``."""
        return sum(contig.length for contig in self.contigs)

    def to_json(self) -> str:
        """Return the text of ``store.json``."""
        record: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "n_bases": self.n_bases,
            **asdict(self),
        }
        return json.dumps(record, indent=1) + "\n"


def read_table(folder: Path) -> StoreTable:
    """Return the description of the store in ``folder``, after checks of the version and of the sizes of its files.

    Raises:
        TokenStoreError: if it is no store, damaged, or of another version; the message says what to do.
    """
    path = folder / TABLE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TokenStoreError(
            f"{str(folder)!r} is not a token store: it has no {TABLE}. Make one with `genomix index FASTA`."
        ) from error
    except (OSError, ValueError) as error:
        raise damaged(folder, f"{TABLE} cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise damaged(folder, f"{TABLE} does not describe a token store")
    if record.get("version") != VERSION:
        raise StoreVersionError(
            f"token store {str(folder)!r} is of version {record.get('version')}, and this genomix reads version "
            f"{VERSION}. Build it again with `genomix index --force`, or use the genomix that made it."
        )
    try:
        table = StoreTable(
            contigs=tuple(StoredContig(**contig) for contig in record["contigs"]),
            sources=tuple(SourceFile(**source) for source in record["sources"]),
            crc32={name: int(record["crc32"][name]) for name in (BASES, N_RUNS)},
            n_runs_size=int(record["n_runs_size"]),
            aliases={str(alias): str(name) for alias, name in record.get("aliases", {}).items()},
        )
        sane = table.contigs and all(contig.length > 0 for contig in table.contigs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder, f"{TABLE} lacks something ({error})") from error
    if not sane or record.get("n_bases") != table.n_bases:
        raise damaged(folder, f"the contigs of {TABLE} do not add up")
    for name, size in ((BASES, table.n_bases), (N_RUNS, table.n_runs_size)):
        file = folder / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            has = "is missing" if found is None else f"has {found:,} bytes"
            raise damaged(folder, f"{name} {has}, and {size:,} are expected")
    return table


def damaged(folder: Path, reason: str) -> TokenStoreError:
    """Return the error for a store that is not whole."""
    return TokenStoreError(
        f"token store {str(folder)!r} is damaged: {reason}. Build it again with `genomix index --force`."
    )
