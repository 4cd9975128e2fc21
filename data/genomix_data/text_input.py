"""Text files, compressed or not, with one clear error for each way in which they can be unreadable."""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from genomix_data.bgzf import is_gzip
from genomix_data.errors import InputFileError

PIPE_REMEDY = "A pipe can be read only once, and this is read again: write it to a file first."


def require_file(path: str | os.PathLike[str], what: str) -> None:
    """Raise an InputFileError if ``path`` is a pipe, where it is to be read more than once.

    Args:
        path: The file.
        what: How the error calls it, such as ``"table"``.
    """
    source = Path(path)
    if source.exists() and not source.is_file() and not source.is_dir():
        raise InputFileError(f"{what} {str(source)!r} is a pipe. {PIPE_REMEDY}")


@contextmanager
def open_text(path: str | os.PathLike[str], what: str) -> Iterator[TextIO]:
    """Open a text file, gzip or bgzip or neither, whatever its suffix; line ends are kept for `csv`.

    Args:
        path: The file.
        what: How errors call it, such as ``"BED file"``.

    Raises:
        InputFileError: here, or while the block reads: missing, a folder, empty, truncated, damaged, or not text.
    """
    source = Path(path)
    name = f"{what} {str(source)!r}"
    if not source.exists():
        raise InputFileError(f"{name} does not exist. Check the path.")
    if source.is_dir():
        raise InputFileError(f"{name} is a folder; give a file.")
    try:
        with source.open("rb") as raw:
            head = raw.peek(4)[:4]  # a pipe, `<(zcat x.bed.gz)`, cannot be read from its beginning again
            if not head and not source.is_file():
                raise InputFileError(f"{name} is a pipe with nothing (more) in it. {PIPE_REMEDY}")
            if not head:
                raise InputFileError(f"{name} is empty: it has no bytes. Check how it was made or copied.")
            if head == b"PK\x03\x04":
                raise InputFileError(
                    f"{name} is a ZIP archive or an Excel workbook, which is not read. Unpack it, or save the sheet "
                    "as CSV (UTF-8)."
                )
            binary = gzip.GzipFile(fileobj=raw) if is_gzip(head) else raw
            with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
                yield text
    except EOFError as error:
        raise InputFileError(
            f"{name} is truncated: the gzip stream ends early. Copy or download it again."
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputFileError(f"{name} is damaged: {error}. Copy or download it again.") from error
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"{name} is not UTF-8 text: {error.reason} at byte {error.start}. Save it as UTF-8 "
            "(in Excel: 'CSV UTF-8'), or check that it is the file that you meant."
        ) from error
    except OSError as error:
        raise InputFileError(f"{name} cannot be read: {error.strerror or error}.") from error
