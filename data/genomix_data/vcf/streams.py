"""Bytes in and out, plain or blocked gzip (BGZF), over files and pipes alike.

A BGZF file cut between two blocks is still valid gzip, so only the missing closing block tells that the end is lost; a
pipe is checked for it when it has been read.
"""

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

from genomix_data.bgzf import END_OF_FILE, is_bgzf, is_gzip
from genomix_data.errors import InputFileError

READ_FAILURES: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)

_MEMBER_HEAD = bytes.fromhex("1f8b08040000000000ff0600424302")
_MAX_PAYLOAD = 65280  # room for the head and for data that does not compress, as htslib leaves it

Compression = Literal["none", "gzip", "bgzf"]


class BgzfWriter:
    """A byte sink that writes BGZF into another stream, which stays open after `close`."""

    def __init__(self, stream: BinaryIO, level: int = 6) -> None:
        self._stream = stream
        self._level = level
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        """Take ``data``; whole blocks go out at once."""
        self._pending += data
        while len(self._pending) >= _MAX_PAYLOAD:
            self._write_member(bytes(self._pending[:_MAX_PAYLOAD]))
            del self._pending[:_MAX_PAYLOAD]

    def close(self) -> None:
        """Write what is pending and the closing member."""
        if self._pending:
            self._write_member(bytes(self._pending))
            self._pending.clear()
        self._stream.write(END_OF_FILE)
        self._stream.flush()

    def _write_member(self, payload: bytes) -> None:
        deflate = zlib.compressobj(self._level, zlib.DEFLATED, -15)
        body = deflate.compress(payload) + deflate.flush()
        size = len(_MEMBER_HEAD) + 1 + 2 + len(body) + 8
        head = _MEMBER_HEAD + b"\x00" + struct.pack("<H", size - 1)
        self._stream.write(head + body + struct.pack("<II", zlib.crc32(payload), len(payload)))


class _TailKeeper(io.RawIOBase):
    """Passes bytes through and remembers the last of them, because a pipe cannot be read from its end."""

    def __init__(self, read_some: Callable[[int], bytes]) -> None:
        self._read_some = read_some
        self.tail = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self._read_some(len(buffer))
        buffer[: len(data)] = data
        if data:
            self.tail = (self.tail + data[-len(END_OF_FILE) :])[-len(END_OF_FILE) :]
        return len(data)


class ByteSource:
    """The plain bytes of a file or pipe, whichever way it is compressed.

    Args:
        stream: A buffered binary stream at its start (``read1`` is used, so pipes are not waited for).
        name: What messages call it.

    Attributes:
        compression: ``none``, ``gzip`` or ``bgzf``, from the first bytes.
        plain: Buffered stream of the uncompressed bytes.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.name = name
        self._stream = stream
        self._tail = _TailKeeper(stream.read1)  # type: ignore[attr-defined]
        buffered = io.BufferedReader(self._tail, 1 << 18)
        head = buffered.peek(18)[:18]
        self.compression: Compression = "bgzf" if is_bgzf(head) else "gzip" if is_gzip(head) else "none"
        if self.compression == "none":
            self.plain = buffered
        else:
            self.plain = io.BufferedReader(gzip.GzipFile(fileobj=buffered, mode="rb"), 1 << 18)  # type: ignore[arg-type]

    def check_end(self) -> None:
        """Call when all bytes are read.

        Raises:
            InputFileError: if the closing BGZF member is missing: the file was cut.
        """
        if self.compression == "bgzf" and self._tail.tail != END_OF_FILE:
            raise truncated(self.name)

    def close(self) -> None:
        """Close the underlying stream."""
        self._stream.close()


def truncated(name: str, detail: str = "its closing BGZF block is missing") -> InputFileError:
    """Return the error for a compressed input that ends too early."""
    return InputFileError(
        f"{name} is truncated or damaged: {detail}. Copy or download it again; "
        f"`gzip -t {name}` tells whether the copy is whole."
    )


class PieceStream(io.RawIOBase):
    """Pieces of text as one stream, each asked for when it is needed."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill a buffer as far as the next piece goes; return its bytes, 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n
