"""Scores that were computed before, in an SQLite file for each model, which processes of one machine share.

The key of a score says what it was computed from (`genomix.variant_effect.cache_keys`), so none grows old. A value
holds the 64-bit numbers as they were computed, behind a checksum: SQLite itself does not notice a changed byte.
"""

import os
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from genomix.variant_effect.contract import Status, VariantScore
from genomix_data.errors import DiskFullError, GenomixError, InputFileError

FIELDS = ("llr", "llr_fwd", "llr_rc", "ref_ll", "alt_ll", "entropy", "cos", "l2", "head")
"""What is kept of a score: all that does not depend on other variants."""
APPLICATION_ID = int.from_bytes(b"GMXS", "big")
SCHEMA_VERSION = 1
LONGEST_WAIT_S = 60.0
"""For another process that writes."""

_AT_ONCE = 512
_KIBIBYTES_HELD = 16384
_HEAD = struct.Struct("<IH")  # checksum, and which of `FIELDS` there are
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NOT_OURS = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR)
_TABLES = (
    "CREATE TABLE model (sha256 TEXT NOT NULL)",
    "CREATE TABLE settings (digest BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE scores (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class ScoreCache:
    """The scores of one model; use as a context manager. Threads may share it.

    A process that is killed leaves it whole, with all that `add` had taken.

    Args:
        folder: Of the files of all models; made if it is not there.
        model: SHA-256 of the model, see `genomix.variant_effect.cache_keys.identity_of`.

    Raises:
        InputFileError: if the file is damaged, is no such cache or that of another model, or cannot be written.
        GenomixError: if another process keeps it locked.
    """

    def __init__(self, folder: str | os.PathLike[str], model: str) -> None:
        self.model = model
        self.path = Path(folder) / f"{model[:32]}.sqlite"
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputFileError(
                f"the folder {str(folder)!r} of the cache cannot be made: {error.strerror}. Give another with --cache."
            ) from error
        with self._faults():
            self._connection = sqlite3.connect(
                self.path, timeout=LONGEST_WAIT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._faults():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        with self._transaction():
            (identifier,) = self._connection.execute("PRAGMA application_id").fetchone()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            (n_tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not identifier and not n_tables:
                for statement in _TABLES:
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO model VALUES (?)", (self.model,))
            elif identifier != APPLICATION_ID:
                raise InputFileError(
                    f"{str(self.path)!r} is an SQLite file of another program, no cache of scores. Move it away, or "
                    "give another folder with --cache."
                )
            elif version != SCHEMA_VERSION:
                raise InputFileError(
                    f"the cache {str(self.path)!r} is of layout {version}; this genomix knows {SCHEMA_VERSION}. Give "
                    "another folder with --cache, or delete it."
                )
            found = [sha256 for (sha256,) in self._connection.execute("SELECT sha256 FROM model")]
            if found != [self.model]:
                raise InputFileError(
                    f"the cache {str(self.path)!r} is that of the model {' '.join(map(str, found)) or 'of no name'}, "
                    f"expected {self.model}: it was renamed. Give it its name again, or move it away."
                )
        self._write_ahead()
        # with a log written ahead, a killed process loses nothing, and a lost machine the last blocks at most
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA cache_size = -{_KIBIBYTES_HELD}")

    def _write_ahead(self) -> None:
        """Let readers go on while one writes; SQLite does not wait for others here, so this does."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def describe(self, digest: bytes, text: str) -> None:
        """Write down what the settings are that keys stand for; for those who look into the file."""
        with self._faults(), self._lock:
            known = self._connection.execute("SELECT 1 FROM settings WHERE digest = ?", (digest,)).fetchone()
            if not known:
                with self._transaction():
                    self._connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (digest, text))

    def get(self, keys: Sequence[bytes]) -> dict[bytes, VariantScore]:
        """Return the scores of those keys that there are.

        Raises:
            InputFileError: if the file is damaged.
        """
        found: dict[bytes, VariantScore] = {}
        with self._faults(), self._lock:
            for begin in range(0, len(keys), _AT_ONCE):
                some = keys[begin : begin + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self._connection.execute(
                    f"SELECT key, value FROM scores WHERE key IN ({marks})",
                    some,
                )
                for key, value in rows:
                    found[key] = self._score(key, value)
        return found

    def add(self, scores: Mapping[bytes, VariantScore]) -> None:
        """Keep scores, all or none of them; of a key that is there already the one that came first stays."""
        # neighbouring keys lie on one page
        rows = sorted((key, _packed(key, score)) for key, score in scores.items())
        if rows:
            with self._faults(), self._lock, self._transaction():
                self._connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?)", rows)

    def _score(self, key: bytes, value: object) -> VariantScore:
        if isinstance(value, bytes) and len(value) >= _HEAD.size:
            checksum, mask = _HEAD.unpack_from(value)
            fields = [name for bit, name in enumerate(FIELDS) if mask >> bit & 1]
            if len(value) == _HEAD.size + 8 * len(fields) and checksum == zlib.crc32(key + value[4:]):
                numbers = struct.unpack_from(f"<{len(fields)}d", value, _HEAD.size)
                return VariantScore(Status.OK, **dict(zip(fields, numbers, strict=True)))
        raise self._damaged("a score does not fit its checksum")

    def _damaged(self, reason: object) -> InputFileError:
        return InputFileError(
            f"the cache {str(self.path)!r} is damaged, or is none ({reason}). Nothing was taken from it: delete it, "
            "and the next run fills a new one; or leave out --cache."
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Say of what SQLite finds wrong which file it is, and what to do."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise DiskFullError(
                    f"the disk of the cache {str(self.path)!r} is full. Make room, or leave out --cache."
                ) from error
            if code in _BUSY:
                raise GenomixError(
                    f"the cache {str(self.path)!r} was locked by another process for {LONGEST_WAIT_S:.0f} s. Let that "
                    "end, or give another folder with --cache. (On a network disk locks may fail: use a local one.)"
                ) from error
            if code in _NOT_OURS:
                raise InputFileError(
                    f"the cache {str(self.path)!r} cannot be read and written: {error}. Check the permissions and the "
                    "disk, or give another folder with --cache."
                ) from error
            raise self._damaged(error) from error

    def close(self) -> None:
        """Close the file."""
        with self._faults(), self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _packed(key: bytes, score: VariantScore) -> bytes:
    assert score.status is Status.OK, score
    values = [getattr(score, name) for name in FIELDS]
    mask = sum(1 << bit for bit, value in enumerate(values) if value is not None)
    numbers = [value for value in values if value is not None]
    rest = struct.pack(f"<H{len(numbers)}d", mask, *numbers)
    return struct.pack("<I", zlib.crc32(key + rest)) + rest
