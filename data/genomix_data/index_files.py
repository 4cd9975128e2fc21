"""Where the index of a FASTA is: beside it, or in ``GENOMIX_INDEX_DIR``; built when it is missing or stale."""

import hashlib
import logging
import os
import shlex
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from genomix_data import bgzf
from genomix_data.atomic import atomic_file
from genomix_data.errors import InputFileError
from genomix_data.fasta_index import FastaEntry, format_fai, parse_fai, scan_fasta

logger = logging.getLogger(__name__)

INDEX_DIR_VARIABLE = "GENOMIX_INDEX_DIR"
_LONGEST_NAME = 1 << 12
_MOST_GAPS = 1 << 12


@dataclass(frozen=True, slots=True)
class FastaIndex:
    """The index files in use, and what they say."""

    fai: Path
    gzi: Path | None
    entries: tuple[FastaEntry, ...]


def open_index(fasta: Path) -> FastaIndex:
    """Return an index that fits ``fasta``, building it where there is none or where it is older than the FASTA.

    Two processes may build at once: each file appears whole, and both write the same bytes.

    Raises:
        InputFileError: if the file is missing, empty, damaged or not FASTA (see `scan_fasta`), or an index is needed
            and cannot be written.
    """
    is_blocked = _require_fasta_file(fasta)
    places = _places(fasta)
    for place in places:
        index = _usable(fasta, place, is_blocked)
        if index is not None:
            return index
    logger.info("indexing %s", fasta)
    entries, sizes = _scan(fasta, is_blocked)
    contents = {".fai": format_fai(entries)} | ({".gzi": bgzf.gzi_bytes(sizes)} if is_blocked else {})
    place = next((place for place in places if _holds(place, contents)), None) or _write(
        fasta, places[-1], contents
    )
    return FastaIndex(_with(place, ".fai"), _with(place, ".gzi") if is_blocked else None, tuple(entries))


def _require_fasta_file(fasta: Path) -> bool:
    """Return whether the file is blocked gzip, after the checks that need no index."""
    if not fasta.exists():
        raise InputFileError(f"FASTA {str(fasta)!r} does not exist. Check the path.")
    if not fasta.is_file():
        raise InputFileError(
            f"FASTA {str(fasta)!r} is not a file that can be read at any place. Give a FASTA file."
        )
    try:
        with fasta.open("rb") as stream:
            head = stream.read(18)
    except OSError as error:
        raise InputFileError(f"FASTA {str(fasta)!r} cannot be read: {error.strerror}.") from error
    if not head:
        raise InputFileError(
            f"FASTA {str(fasta)!r} is empty: it has no bytes. Check how it was made or copied."
        )
    if not bgzf.is_gzip(head):
        return False
    if not bgzf.is_bgzf(head):
        stem = Path(fasta.name.removesuffix(".gz")).stem
        unpack = f"gunzip -c {shlex.quote(str(fasta))}"
        raise InputFileError(
            f"FASTA {str(fasta)!r} is plain gzip, which has no random access. Unpack it: "
            f"`{unpack} > {shlex.quote(stem + '.fa')}`, or compress it in blocks: "
            f"`{unpack} | bgzip > {shlex.quote(stem + '.bgzip.fa.gz')}`."
        )
    bgzf.require_end_marker(fasta)
    return True


def _places(fasta: Path) -> list[Path]:
    """Return the stems of index files to look for; the last is where one is written."""
    folder = os.environ.get(INDEX_DIR_VARIABLE)
    if not folder:
        return [fasta]
    return [fasta, Path(folder).expanduser() / name_apart(fasta)]


def name_apart(path: Path) -> str:
    """Return a name for what belongs to ``path`` in a common folder: two files of one name must not share it."""
    return f"{path.name}.{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"


def _with(place: Path, suffix: str) -> Path:
    return place.with_name(place.name + suffix)


def _usable(fasta: Path, place: Path, is_blocked: bool) -> FastaIndex | None:
    """Return the index at ``place`` if it is at least as new as the FASTA, and fits it."""
    fai = _with(place, ".fai")
    gzi = _with(place, ".gzi") if is_blocked else None
    changed = fasta.stat().st_mtime_ns
    try:
        if any(path.stat().st_mtime_ns < changed for path in (fai, gzi) if path is not None):
            return None
        entries = parse_fai(fai.read_bytes())
    except OSError:
        return None
    if entries is None or not (_fits_blocks(fasta, gzi, entries) if gzi else _fits_text(fasta, entries)):
        logger.warning("the index %s does not fit %s; building it again", fai, fasta)
        return None
    return FastaIndex(fai, gzi, tuple(entries))


def _fits_text(fasta: Path, entries: list[FastaEntry]) -> bool:
    """Tell whether the last contig begins after its header and ends within the file."""
    last = max(entries, key=lambda entry: entry.offset)
    if max(entry.end_offset() for entry in entries) > fasta.stat().st_size:
        return False
    with fasta.open("rb") as stream:
        stream.seek(max(0, last.offset - _LONGEST_NAME))
        header = stream.read(min(last.offset, _LONGEST_NAME)).rstrip(b"\r\n").rsplit(b"\n", 1)[-1]
        stream.seek(last.end_offset() - 1)
        tail = stream.read(_LONGEST_NAME)
        names_contig = header[:1] != b">" or header[1:].split(maxsplit=1)[:1] == [last.name.encode()]
        fits = names_contig and bool(tail.strip()) and not tail[1:].strip()
        return fits and not _skips_records(stream, entries)


def _skips_records(stream: BinaryIO, entries: list[FastaEntry]) -> bool:
    """Tell whether not one header lies between two contigs: samtools leaves a contig out that comes twice."""
    ordered = sorted(entries, key=lambda entry: entry.offset)[:_MOST_GAPS]
    for before, after in pairwise(ordered):
        gap = after.offset - before.end_offset()
        if gap < 0:
            return True  # they overlap, so the line lengths of the first are not those of the file
        stream.seek(before.end_offset())
        if stream.read(min(gap, _LONGEST_NAME)).count(b"\n>") > 1:
            return True
    return False


def _fits_blocks(fasta: Path, gzi: Path, entries: list[FastaEntry]) -> bool:
    """Tell whether the last block is where the index says, and the text ends with the last contig."""
    table = gzi.read_bytes()
    if len(table) < 8 or len(table) != 8 + 16 * int.from_bytes(table[:8], "little"):
        return False
    last_block, text_before = struct.unpack("<QQ", table[-16:]) if len(table) > 8 else (0, 0)
    with fasta.open("rb") as stream:
        stream.seek(last_block)
        head = stream.read(18)
        stream.seek(-len(bgzf.END_OF_FILE) - 4, os.SEEK_END)
        n_text = text_before + int.from_bytes(stream.read(4), "little")
    n_after = n_text - max(entry.end_offset() for entry in entries)
    return bgzf.is_bgzf(head) and 0 <= n_after < _LONGEST_NAME


def _scan(fasta: Path, is_blocked: bool) -> tuple[list[FastaEntry], list[tuple[int, int]]]:
    sizes: list[tuple[int, int]] = []

    def blocked() -> Iterator[bytes]:
        for offset, data in bgzf.iter_blocks(fasta):
            sizes.append((offset, len(data)))
            yield data

    if is_blocked:
        return scan_fasta(blocked(), fasta), sizes
    with fasta.open("rb") as stream:
        return scan_fasta(iter(lambda: stream.read(1 << 22), b""), fasta), sizes


def _holds(place: Path, contents: dict[str, bytes]) -> bool:
    """Tell whether the files are there with the same bytes: only their time stamps were behind."""
    try:
        if any(_with(place, suffix).read_bytes() != data for suffix, data in contents.items()):
            return False
    except OSError:
        return False
    try:
        for suffix in contents:
            _with(place, suffix).touch()
    except OSError as error:
        logger.debug("the index of %s is right, but its time stamp cannot be set: %s", place, error)
    return True


def _write(fasta: Path, place: Path, contents: dict[str, bytes]) -> Path:
    folder = place.parent
    reason = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            for suffix in sorted(contents, reverse=True):
                with atomic_file(_with(place, suffix)) as temporary:
                    temporary.write_bytes(contents[suffix])
            return place
        reason = "the folder is read-only"
    except OSError as error:
        reason = error.strerror or str(error)
    raise InputFileError(
        f"FASTA {str(fasta)!r} has no index, and none can be written to {str(folder)!r}: {reason}. "
        f"Run `samtools faidx {fasta.name}` where you may write, or set {INDEX_DIR_VARIABLE} to a folder of yours "
        "in which genomix keeps its indexes."
    )
