"""A journal gives back what was committed, whatever came after."""

from pathlib import Path

import pytest

from genomix_data.errors import ConfigError, InputFileError
from genomix_data.journal import JOURNAL, RECORDS, Journal

RUN = {"input": "a", "columns": ["x"]}


def records(journal: Journal) -> bytes:
    with journal.open_records() as stream:
        return stream.read()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal of two commits, and some bytes that were not committed."""
    journal = Journal(tmp_path / "out.resume", RUN)
    assert journal.state is None
    journal.write(b"one\n")
    journal.commit({"n": 1})
    journal.write(b"two\n")
    journal.commit({"n": 2})
    journal.write(b"lost\n")
    journal.close()
    return journal.folder


def test_what_was_not_committed_is_gone(folder: Path) -> None:
    journal = Journal(folder, RUN)
    assert (journal.state, records(journal)) == ({"n": 2}, b"one\ntwo\n")
    journal.write(b"three\n")
    journal.commit({"n": 3})
    journal.close()
    again = Journal(folder, RUN)
    assert (again.state, records(again)) == ({"n": 3}, b"one\ntwo\nthree\n")
    again.discard()
    assert not folder.exists()


def test_cut_at_every_byte(folder: Path) -> None:
    """Where the journal is cut anywhere, as by a power loss, the last whole line counts."""
    whole = (folder / JOURNAL).read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    kept = (folder / RECORDS).read_bytes()
    for size in range(len(whole) + 1):
        (folder / JOURNAL).write_bytes(whole[:size])
        (folder / RECORDS).write_bytes(kept)
        journal = Journal(folder, RUN)
        n_commits = max(0, sum(end <= size for end in ends) - 1)
        assert journal.state == ({"n": n_commits} if n_commits else None)
        assert records(journal) == b"one\ntwo\n"[: 4 * n_commits]
        journal.close()


def test_another_run_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"of another run: input was 'a' and is 'b'.*remove the folder"):
        Journal(folder, {**RUN, "input": "b"})
    Journal(folder, RUN).close()


def test_two_at_once(folder: Path) -> None:
    journal = Journal(folder, RUN)
    with pytest.raises(ConfigError, match="another run is at work"):
        Journal(folder, RUN)
    journal.close()
    Journal(folder, RUN).close()


def test_damage(folder: Path, tmp_path: Path) -> None:
    (folder / RECORDS).write_bytes(b"one")
    with pytest.raises(InputFileError, match="records has 3 bytes of 8"):
        Journal(folder, RUN)
    (folder / JOURNAL).write_bytes(b"{}\nx\n")
    with pytest.raises(InputFileError, match="is damaged"):
        Journal(folder, RUN)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputFileError, match="cannot be written"):
        Journal(tmp_path / "file" / "x", RUN)
