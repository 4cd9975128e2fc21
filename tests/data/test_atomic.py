"""Outputs are whole or absent."""

import os
import threading
from pathlib import Path

import pytest

from genomix_data.atomic import atomic_file, atomic_folder, refuse_inputs, require_writable
from genomix_data.errors import ConfigError, InputFileError


def interrupt_file(final: Path, error: type[BaseException]) -> None:
    with atomic_file(final) as temporary:
        temporary.write_text("half")
        raise error


def interrupt_folder(final: Path) -> None:
    with atomic_folder(final) as temporary:
        (temporary / "config.json").write_text("half")
        raise KeyboardInterrupt


def listing(folder: Path) -> list[str]:
    return sorted(str(item.relative_to(folder)) for item in folder.rglob("*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_interrupted_file_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        interrupt_file(tmp_path / "out.vcf.gz", error)
    assert listing(tmp_path) == []


def test_interrupted_file_keeps_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "out.txt"
    final.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupt_file(final, KeyboardInterrupt)
    assert (final.read_text(), listing(tmp_path)) == ("old", ["out.txt"])


def test_file_appears_whole_with_usual_permissions(tmp_path: Path) -> None:
    final = tmp_path / "new" / "folder" / "out.vcf.gz"
    with atomic_file(final) as temporary:
        assert temporary.name.endswith(".vcf.gz")
        assert temporary.parent.parent == final.parent
        temporary.write_text("whole")
        assert not final.exists()
    mask = os.umask(0)
    os.umask(mask)
    assert final.read_text() == "whole"
    assert final.stat().st_mode & 0o777 == 0o666 & ~mask
    assert listing(final.parent) == ["out.vcf.gz"]


@pytest.mark.parametrize("existing", [False, True])
def test_interrupted_folder_leaves_what_was_there(tmp_path: Path, existing: bool) -> None:
    final = tmp_path / "model"
    if existing:
        final.mkdir()
        (final / "config.json").write_text("old")
    before = listing(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        interrupt_folder(final)
    assert listing(tmp_path) == before
    assert not existing or (final / "config.json").read_text() == "old"


def test_folder_is_replaced_whole(tmp_path: Path) -> None:
    final = tmp_path / "model"
    final.mkdir()
    (final / "stale.bin").write_text("old")
    with atomic_folder(final) as temporary:
        (temporary / "config.json").write_text("new")
        assert (final / "stale.bin").exists()
    assert listing(tmp_path) == ["model", "model/config.json"]


def lose_folder(final: Path) -> None:
    with atomic_folder(final) as temporary:
        temporary.rmdir()


def test_folder_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    final = tmp_path / "model"
    final.mkdir()
    (final / "config.json").write_text("old")
    with pytest.raises(FileNotFoundError):
        lose_folder(final)
    assert listing(tmp_path) == ["model", "model/config.json"]


def test_pipes_and_devices_are_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with atomic_file(pipe) as temporary:
        temporary.write_text("through")
    reader.join(timeout=10)
    assert (read, pipe.is_fifo(), listing(tmp_path)) == (["through"], True, ["pipe"])


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data" / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_file(link) as temporary:
        temporary.write_text("new")
    assert (link.is_symlink(), target.read_text()) == (True, "new")
    assert listing(tmp_path) == ["data", "data/target.txt", "link.txt"]


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputFileError, match="is a folder"), atomic_file(tmp_path):
        pass
    with pytest.raises(InputFileError, match="is a file"), atomic_folder(file):
        pass
    with pytest.raises(InputFileError, match="cannot create the folder"), atomic_file(file / "sub" / "out"):
        pass


def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permission bits do not bind root, so the question itself is answered here.
    monkeypatch.setattr("genomix_data.atomic.os.access", lambda path, mode: False)
    with pytest.raises(InputFileError, match="is not writable"), atomic_file(tmp_path / "out"):
        pass
    assert listing(tmp_path) == []


def test_an_output_does_not_take_the_place_of_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "in.csv"
    table.write_text("x")
    (tmp_path / "link.csv").symlink_to(table)
    for output in ("in.csv", "./in.csv", table, "link.csv"):
        with pytest.raises(ConfigError, match="is the input itself"):
            refuse_inputs(output, None, "absent.bed", table)
    for output in ("out.csv", "-", "/dev/null"):
        refuse_inputs(output, None, "absent.bed", "-", table)


def test_an_output_that_cannot_be_written_is_known_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    for output in ("out.tsv", "new/folder/out.tsv", tmp_path / "file"):
        require_writable(output)
    assert listing(tmp_path) == ["file"]
    with pytest.raises(InputFileError, match="is not a folder"):
        require_writable("file/out.tsv")
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # tests may run as root, who may write anywhere
    with pytest.raises(InputFileError, match="is not writable"):
        require_writable("new/out.tsv")
