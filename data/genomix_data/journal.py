"""What a long run has done so far, on disk: after a crash or ``kill -9`` it goes on from the last commit.

A folder beside the output holds ``records``, to which bytes are appended, and ``journal.jsonl``. The first line of that
says what the run is, each other how many bytes of ``records`` count, and where the run stood then. Bytes are on disk
before the line that counts them; what comes after the last whole line is cut off when the folder is opened again. So
nothing is lost but the work since the last commit, and nothing comes twice.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from genomix_data.errors import ConfigError, InputFileError

JOURNAL, RECORDS = "journal.jsonl", "records"


class Journal:
    """An open journal; one process at a time has it.

    Args:
        folder: Made if it is not there.
        run: What the run is, JSON values; must be the same when it goes on.

    Attributes:
        state: Of the last commit; None where there is none.

    Raises:
        ConfigError: if the folder holds another run (with what differs), or another process is at work on it.
        InputFileError: if the folder is damaged, or cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], run: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.state: dict[str, Any] | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._journal: BinaryIO = (self.folder / JOURNAL).open("a+b")
        except OSError as error:
            raise InputFileError(
                f"the journal {str(self.folder)!r} cannot be written: {error.strerror}."
            ) from error
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._journal.close()
            raise ConfigError(
                f"another run is at work on {str(self.folder)!r}. Wait for it, or end it."
            ) from error
        try:
            self._n_bytes = self._open(json.loads(json.dumps(run)))
            self._records: BinaryIO = (self.folder / RECORDS).open("ab")
            if self._records.tell() < self._n_bytes:
                raise self._damaged(f"{RECORDS} has {self._records.tell()} bytes of {self._n_bytes}")
            self._records.truncate(self._n_bytes)
        except BaseException:
            self._journal.close()  # and with it the lock
            raise

    def _open(self, wanted: dict[str, Any]) -> int:
        """Read what is there, or begin; return how many bytes of records count."""
        self._journal.seek(0)
        data = self._journal.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._journal.truncate(len(whole))
        lines = whole.splitlines()
        if not lines:
            self._append({"run": wanted})
            return 0
        try:
            found = json.loads(lines[0])["run"]
            last = json.loads(lines[-1]) if len(lines) > 1 else None
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(str(error)) from error
        differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        if differing:
            told = "; ".join(
                f"{key} was {found.get(key)!r} and is {wanted.get(key)!r}" for key in differing[:3]
            )
            raise ConfigError(
                f"{str(self.folder)!r} is of another run: {told}. Run the same command again, or remove the folder to "
                "begin anew."
            )
        if last is None:
            return 0
        try:
            self.state, n_bytes = dict(last["state"]), int(last["bytes"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(str(error)) from error
        return n_bytes

    def write(self, data: bytes) -> None:
        """Append to the records; counts from the next `commit` on."""
        self._records.write(data)
        self._n_bytes += len(data)

    def commit(self, state: Mapping[str, Any]) -> None:
        """Note that all that was written counts, and where the run stands."""
        self._records.flush()
        os.fsync(self._records.fileno())
        self._append({"bytes": self._n_bytes, "state": dict(state)})

    def _append(self, entry: dict[str, Any]) -> None:
        # one write: a torn line has no line end
        self._journal.write(json.dumps(entry).encode() + b"\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def open_records(self) -> BufferedReader:
        """Return the records for reading, from their beginning."""
        self._records.flush()
        return (self.folder / RECORDS).open("rb")

    def close(self) -> None:
        """Let go of the folder, which stays."""
        self._records.close()
        self._journal.close()

    def discard(self) -> None:
        """Remove the folder: the run is done."""
        shutil.rmtree(self.folder)
        self.close()

    def _damaged(self, reason: str) -> InputFileError:
        return InputFileError(
            f"the journal {str(self.folder)!r} is damaged ({reason}). Remove the folder to begin anew."
        )
