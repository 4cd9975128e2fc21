"""A 2bit file as a source of a `Genome`; needs the package py2bit, which the extra ``twobit`` installs.

2bit knows A, C, G, T and runs of N, and keeps the soft mask; other ambiguity codes were lost when it was made. N comes
back in upper case, masked or not.

Source: the .2bit format of the UCSC genome browser (FAQ, "Data File Formats").
"""

import importlib
import os
import struct
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from genomix_data.errors import InputFileError, preview
from genomix_data.genome_source import TWOBIT_MAGIC

_VERSION = 0


class TwoBitSource:
    """The contigs of a 2bit file.

    Args:
        path: The file, absolute.

    Raises:
        InputFileError: if py2bit is not installed, or the file is damaged, cut off or of the 64-bit version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _py2bit(path)
        expected = _table_of_contents(path)
        self._local = threading.local()
        self.contigs: dict[str, int] = {name: int(length) for name, length in self._handle().chroms().items()}
        self.aliases: dict[str, str] = {}
        if list(self.contigs) != expected:
            missing = [name for name in expected if name not in self.contigs]
            raise _damaged(path, f"it lists {len(expected)} contigs, but {preview(missing)} cannot be read")
        empty = [name for name, length in self.contigs.items() if length == 0]
        if empty:
            raise InputFileError(f"2bit file {str(path)!r} has contigs without bases: {preview(empty)}.")

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return the letters, soft-masked ones in lower case.

        Raises:
            InputFileError: if the file is damaged or cut off there.
        """
        if start == end:
            return b""
        try:
            bases: bytes = self._handle().sequence(name, start, end).encode("latin-1")
        except (OSError, RuntimeError) as error:
            raise _damaged(self.path, f"{name}:{start + 1}-{end} cannot be read ({error})") from error
        if len(bases) != end - start:
            raise _damaged(
                self.path, f"it gave {len(bases)} of {end - start} bases at {name}:{start + 1}-{end}"
            )
        return bases

    def close(self) -> None:
        """Let go of the file; it is opened again when it is read again."""
        self._local = threading.local()

    def _handle(self) -> Any:
        if getattr(self._local, "pid", None) != os.getpid():
            try:
                handle = _py2bit(self.path).open(str(self.path), True)
            except (OSError, RuntimeError) as error:
                raise _damaged(self.path, str(error)) from error
            if handle is None:
                raise _damaged(self.path, "py2bit cannot open it")
            self._local.handle, self._local.pid = handle, os.getpid()
        return self._local.handle

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


def _py2bit(path: Path) -> ModuleType:
    try:
        return importlib.import_module("py2bit")
    except ModuleNotFoundError as error:
        raise InputFileError(
            f"{str(path)!r} is a 2bit file, and reading one needs the package py2bit: "
            "`pip install 'genomix-fm[twobit]'`. Or turn it into FASTA with `twoBitToFa`."
        ) from error


def _table_of_contents(path: Path) -> list[str]:
    """Return the contig names in order, after checks that keep the C library from reading outside the file."""
    with path.open("rb") as stream:
        data = stream.read(16)
        size = stream.seek(0, os.SEEK_END)
    if len(data) < 16:
        raise _damaged(path, "it ends within its header")
    order = "<" if data[:4] == TWOBIT_MAGIC[0] else ">"
    version, n_contigs, _ = struct.unpack_from(f"{order}III", data, 4)
    if version != _VERSION:
        raise InputFileError(
            f"2bit file {str(path)!r} is of version {version}; only version 0, with offsets of 32 bits, is read. "
            "Turn it into FASTA with `twoBitToFa`."
        )
    names: list[str] = []
    cursor = 16
    with path.open("rb") as stream:
        for _ in range(n_contigs):
            stream.seek(cursor)
            entry = stream.read(260)
            n_name = entry[0] if entry else 0
            if n_name == 0 or len(entry) < n_name + 5:
                raise _damaged(path, "it ends within its list of contigs")
            try:
                name = entry[1 : 1 + n_name].decode("ascii")
            except UnicodeDecodeError as error:
                raise _damaged(path, f"a contig is called {entry[1 : 1 + n_name]!r}") from error
            (offset,) = struct.unpack_from(f"{order}I", entry, 1 + n_name)
            _require_record(path, stream.fileno(), order, name, offset, size)
            names.append(name)
            cursor += n_name + 5
    if not names:
        raise InputFileError(f"2bit file {str(path)!r} is empty: it lists no contig.")
    return names


def _require_record(path: Path, fileno: int, order: str, name: str, offset: int, size: int) -> None:
    """Raise unless the record of a contig lies within the file."""
    cursor = offset
    n_bases = 0
    for field in ("length", "N blocks", "mask blocks"):
        raw = os.pread(fileno, 4, cursor)
        if len(raw) < 4:
            raise _damaged(path, f"the record of {name} lies outside the file")
        (value,) = struct.unpack(f"{order}I", raw)
        cursor += 4
        if field == "length":
            n_bases = value
        else:
            cursor += 8 * value
    end = cursor + 4 + -(-n_bases // 4)
    if end > size:
        raise _damaged(path, f"the bases of {name} end at byte {end:,}, and the file has {size:,}")


def _damaged(path: Path, reason: str) -> InputFileError:
    return InputFileError(f"2bit file {str(path)!r} is damaged: {reason}. Copy or download the file again.")
