"""Blocked gzip (bgzip): its blocks, its end marker, and its ``.gzi`` index.

A BGZF file is a row of gzip members of at most 64 KiB, each telling its own size, so that a reader can seek.

Source: SAM/BAM format specification, section 4.1.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from genomix_data.errors import InputFileError

GZIP_MAGIC = b"\x1f\x8b"
END_OF_FILE = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that closes every complete BGZF file."""

_LARGEST_TEXT = 1 << 16
_HEADER = struct.Struct("<4B I 2B H")
_TRAILER = struct.Struct("<II")


def is_gzip(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` is gzip of any kind."""
    return head[:2] == GZIP_MAGIC


def is_bgzf(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` (at least 18 bytes) is blocked gzip."""
    return is_gzip(head) and _block_size(head) is not None


def require_end_marker(path: str | os.PathLike[str]) -> None:
    """Raise unless the BGZF file ends with the end-of-file block; one short read.

    Raises:
        InputFileError: where the marker is missing, as in an interrupted download.
    """
    source = Path(path)
    with source.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - len(END_OF_FILE)))
        tail = stream.read()
    if tail != END_OF_FILE:
        raise _truncated(source, "its end-of-file block is missing")


def iter_blocks(path: str | os.PathLike[str], start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield ``(offset in the file, uncompressed bytes)`` of each block, the empty last one included.

    Args:
        path: The file.
        start: Offset of the block to begin with.

    Raises:
        InputFileError: if a block is cut off, damaged, or not BGZF, or the end marker is missing.
    """
    source = Path(path)
    offset = start
    block = b""
    with source.open("rb") as stream:
        stream.seek(start)
        while head := stream.read(18):
            size = _block_size(head)
            if size is None:
                raise _truncated(source, f"there is no whole block at byte {offset}")
            # A damaged block may say that it is shorter than its own head.
            block = head + stream.read(max(0, size - len(head)))
            if len(block) < size:
                raise _truncated(source, f"the block at byte {offset} is cut off")
            yield offset, _inflate(block, source, offset)
            offset += size
    if block != END_OF_FILE:
        raise _truncated(source, "its end-of-file block is missing")


def gzi_bytes(block_sizes: list[tuple[int, int]]) -> bytes:
    """Return a ``.gzi`` index, the bytes that ``bgzip -r`` writes.

    Args:
        block_sizes: ``(offset in the file, uncompressed size)`` of each block, in order.
    """
    pairs = []
    uncompressed = 0
    for offset, size in block_sizes:
        if offset > 0 and size > 0:
            pairs.append(struct.pack("<QQ", offset, uncompressed))
        uncompressed += size
    return struct.pack("<Q", len(pairs)) + b"".join(pairs)


def _block_size(head: bytes) -> int | None:
    """Return the size in bytes of the block that ``head`` begins, or None where it begins none."""
    if len(head) < 18:
        return None
    magic1, magic2, method, flags, _, _, _, extra = _HEADER.unpack_from(head)
    if (magic1, magic2, method) != (0x1F, 0x8B, 8) or not flags & 4 or extra < 6:
        return None
    if head[12:16] != b"BC\x02\x00":
        return None
    return int.from_bytes(head[16:18], "little") + 1


def _inflate(block: bytes, source: Path, offset: int) -> bytes:
    extra = int.from_bytes(block[10:12], "little")
    checksum, size = _TRAILER.unpack_from(block, len(block) - 8)
    try:
        # Bounded, because damage can turn a block into one of gigabytes.
        data = zlib.decompressobj(-15).decompress(block[12 + extra : -8], _LARGEST_TEXT + 1)
    except zlib.error as error:
        raise _damaged(source, offset) from error
    if len(data) != size or zlib.crc32(data) != checksum:
        raise _damaged(source, offset)
    return data


def _truncated(source: Path, reason: str) -> InputFileError:
    return InputFileError(
        f"{str(source)!r} is truncated: {reason}. Copy or download the file again, or if you made it, "
        "compress the text again with bgzip."
    )


def _damaged(source: Path, offset: int) -> InputFileError:
    return InputFileError(
        f"{str(source)!r} is damaged: the block at byte {offset} does not match its checksum. "
        "Copy or download the file again."
    )
