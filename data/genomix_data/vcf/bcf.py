"""BCF records as bytes, so that annotation can add INFO keys and leave every other number bit for bit.

A record is ``l_shared l_indiv`` (uint32), then the shared block (site, alleles, FILTER, INFO) and the sample block.
INFO is the last part of the shared block; an added key is appended there, and counts and lengths are set anew.

Source: VCF specification 4.3, section 6 (BCF2).
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from genomix_data.errors import InputFileError
from genomix_data.vcf.header import VcfHeader
from genomix_data.vcf.record import InfoValues
from genomix_data.vcf.streams import truncated

BCF_MAGIC = b"BCF\x02\x02"
_MISSING_FLOAT = struct.pack("<I", 0x7F800001)
_WIDTH = {0: 0, 1: 1, 2: 2, 3: 4, 4: 8, 5: 4, 7: 1}
_INTEGER = {1: "<b", 2: "<h", 3: "<i"}
_FLOAT, _CHAR = 5, 7
_DAMAGE = (struct.error, KeyError, IndexError)
_PIECE = 1 << 24
_SITE = struct.Struct("<iiifI")
_DICTIONARY_LINE = re.compile(r"##(FILTER|INFO|FORMAT|contig)=<.*?\bID=([^,>]+)")
_IDX = re.compile(r",IDX=(\d{1,9})(?=[,>])")


@dataclass(slots=True)
class BcfDictionary:
    """The numbers by which BCF records name keys, filters and contigs."""

    ids: dict[str, int]
    contigs: dict[int, str]

    @classmethod
    def of(cls, lines: list[str]) -> "BcfDictionary":
        """Return the numbers that header ``lines`` give, by ``IDX=`` or else by order; PASS is 0."""
        ids: dict[str, int] = {"PASS": 0}
        contigs: dict[str, int] = {}
        for line in lines:
            match = _DICTIONARY_LINE.match(line)
            if match is None:
                continue
            book = contigs if match[1] == "contig" else ids
            given = _IDX.search(line)
            if given:
                book[match[2]] = int(given[1])
            elif match[2] not in book:
                book[match[2]] = max(book.values(), default=-1) + 1
        return cls(ids, {number: name for name, number in contigs.items()})

    def extended(self, header: VcfHeader) -> tuple["BcfDictionary", VcfHeader]:
        """Return the dictionary with numbers for all keys of ``header``, and the header with each number written."""
        ids = dict(self.ids)
        contigs = {name: number for number, name in self.contigs.items()}
        lines: list[str] = []
        for line in header.meta:
            match = _DICTIONARY_LINE.match(line)
            if match:
                book = contigs if match[1] == "contig" else ids
                number = book.setdefault(match[2], max(book.values(), default=-1) + 1)
                line = f"{line.rstrip().removesuffix('>')},IDX={number}>"
            lines.append(line)
        full = BcfDictionary(ids, {number: name for name, number in contigs.items()})
        return full, VcfHeader(tuple(lines), header.columns)


@dataclass(slots=True)
class BcfRecord:
    """A record of a BCF; the attributes are those of `genomix_data.vcf.record.VcfRecord`."""

    chrom: str
    pos: int
    id: str
    ref: str
    alts: tuple[str, ...]
    where: str
    shared: bytes
    individual: bytes
    info_start: int
    dictionary: BcfDictionary

    @property
    def n_bytes(self) -> int:
        """Size of the record."""
        return len(self.shared) + len(self.individual)

    @property
    def reference_length(self) -> int:
        """Bases of the genome that the record spans (``rlen``), in bp."""
        length: int = _SITE.unpack_from(self.shared)[2]
        return length

    def annotated(self, values: InfoValues, drop_prefix: str = "") -> bytes:
        """Return the record with ``values`` in its INFO, keys that begin with ``drop_prefix`` removed first."""
        ids = self.dictionary.ids
        dropped = {n for name, n in ids.items() if name.startswith(drop_prefix)} if drop_prefix else set()
        chrom, pos, length, qual, counts = _SITE.unpack_from(self.shared)
        n_info = counts & 0xFFFF
        kept = bytearray()
        offset = self.info_start
        n_kept = 0
        try:
            for _ in range(n_info):
                begin = offset
                key, offset = _read_integer(self.shared, offset)
                _, _, offset = _skip_typed(self.shared, offset)
                if key not in dropped:
                    kept += self.shared[begin:offset]
                    n_kept += 1
        except _DAMAGE as error:
            raise _damaged(self.where, error) from error
        if offset > len(self.shared):
            raise _damaged(self.where, "INFO is longer than the record")
        for name, items in values.items():
            kept += _typed_integer(ids[name]) + _typed_values(items)
            n_kept += 1
        site = _SITE.pack(chrom, pos, length, qual, (counts & 0xFFFF0000) | n_kept)
        # NaN payloads must survive: QUAL is copied as bytes, not as a number.
        site = site[:12] + self.shared[12:16] + site[16:]
        shared = site + self.shared[_SITE.size : self.info_start] + bytes(kept)
        return struct.pack("<II", len(shared), len(self.individual)) + shared + self.individual


def read_bcf_header(stream: BinaryIO, name: str) -> tuple[VcfHeader, BcfDictionary]:
    """Return the header of a BCF as VCF text without ``IDX``, and its dictionary; reads up to the first record.

    Raises:
        InputFileError: if the header is cut or of another version of BCF.
    """
    magic = stream.read(5)
    if magic[:4] != BCF_MAGIC[:4] or magic[4:] not in (b"\x01", b"\x02"):
        raise InputFileError(f"{name} is BCF of an unknown version ({magic!r}); expected BCF 2.1 or 2.2.")
    size = struct.unpack("<I", _read_exactly(stream, 4, name))[0]
    text = _read_exactly(stream, size, name).rstrip(b"\x00").decode("utf-8", "surrogateescape")
    lines = [line.rstrip("\r") for line in text.rstrip("\n").split("\n")]
    dictionary = BcfDictionary.of(lines)
    return VcfHeader.from_lines([_IDX.sub("", line) for line in lines], name), dictionary


def bcf_header_bytes(header: VcfHeader) -> bytes:
    """Return a header, whose lines carry their ``IDX``, as it stands at the beginning of a BCF."""
    text = header.to_bytes() + b"\x00"
    return BCF_MAGIC + struct.pack("<I", len(text)) + text


def read_bcf_records(stream: BinaryIO, dictionary: BcfDictionary, name: str) -> Iterator[BcfRecord]:
    """Yield the records that follow the header.

    Raises:
        InputFileError: where the stream ends inside a record, or a record contradicts its own lengths.
    """
    number = 0
    while head := stream.read(8):
        number += 1
        if len(head) < 8:
            raise truncated(name, f"record {number} is cut")
        l_shared, l_individual = struct.unpack("<II", head)
        shared = _read_exactly(stream, l_shared, name)
        individual = _read_exactly(stream, l_individual, name)
        try:
            yield _decode(shared, individual, dictionary, f"{name}, record {number}")
        except _DAMAGE as error:
            raise _damaged(f"{name}, record {number}", error) from error


def _decode(shared: bytes, individual: bytes, dictionary: BcfDictionary, where: str) -> BcfRecord:
    chrom, pos, _, _, counts = _SITE.unpack_from(shared)
    offset = _SITE.size + 4
    identifier, offset = _read_string(shared, offset)
    alleles: list[str] = []
    for _ in range(counts >> 16):
        allele, offset = _read_string(shared, offset)
        alleles.append(allele)
    _, _, offset = _skip_typed(shared, offset)  # FILTER
    return BcfRecord(
        chrom=dictionary.contigs[chrom],
        pos=pos + 1,
        id=identifier or ".",
        ref=alleles[0] if alleles else ".",
        alts=tuple(alleles[1:]),
        where=where,
        shared=shared,
        individual=individual,
        info_start=offset,
        dictionary=dictionary,
    )


def _damaged(where: str, reason: object) -> InputFileError:
    return InputFileError(f"{where}: the BCF record is damaged ({reason!r}). Copy or make the file again.")


def _read_exactly(stream: BinaryIO, size: int, name: str) -> bytes:
    # In pieces, because a damaged length may ask for more than there is memory.
    pieces: list[bytes] = []
    while size > 0 and (piece := stream.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    if size > 0:
        raise truncated(name, "it ends inside a record")
    return b"".join(pieces)


def _skip_typed(data: bytes, offset: int) -> tuple[int, int, int]:
    """Return the type of the value at ``offset``, where its bytes begin, and where they end."""
    kind, size = data[offset] & 0x0F, data[offset] >> 4
    offset += 1
    if size == 15:
        size, offset = _read_integer(data, offset)
    return kind, offset, offset + size * _WIDTH[kind]


def _read_integer(data: bytes, offset: int) -> tuple[int, int]:
    kind, begin, end = _skip_typed(data, offset)
    value: int = struct.unpack_from(_INTEGER[kind], data, begin)[0]
    return value, end


def _read_string(data: bytes, offset: int) -> tuple[str, int]:
    _, begin, end = _skip_typed(data, offset)
    return data[begin:end].rstrip(b"\x00").decode("utf-8", "surrogateescape"), end


def _typed_integer(value: int) -> bytes:
    for kind, limit in ((1, 1 << 7), (2, 1 << 15), (3, 1 << 31)):
        if value < limit:
            return bytes([0x10 | kind]) + struct.pack(_INTEGER[kind], value)
    raise AssertionError(f"{value} does not fit 32 bits")


def _typed_head(kind: int, size: int) -> bytes:
    return bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + _typed_integer(size)


def _typed_values(items: "InfoValues | object") -> bytes:
    assert isinstance(items, (list, tuple))
    if any(isinstance(item, str) for item in items):
        text = ",".join("." if item is None else str(item) for item in items).encode()
        return _typed_head(_CHAR, len(text)) + text
    packed = b"".join(_MISSING_FLOAT if item is None else struct.pack("<f", item + 0.0) for item in items)
    return _typed_head(_FLOAT, len(items)) + packed
