"""A store is whole or not there, built once however many ask, and never used when the genome has changed."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from genomix_data import samples
from genomix_data.errors import GenomixError, InputFileError
from genomix_data.genome import Genome
from genomix_data.token_store import TokenStore, TokenStoreError, check_store, find_store, open_store
from genomix_data.token_store import build as build_module
from genomix_data.token_store import opening as opening_module

BIG = "ACGTacgtNN" * 40_000


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "x.fa"
    path.write_text(f">a\n{BIG}\n>b\nGGCC\n")
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_default_place_and_second_call(fasta: Path) -> None:
    seen: list[tuple[int, int]] = []
    store = open_store(fasta, progress=lambda n, total: seen.append((n, total)))
    assert store.path == fasta.with_name("x.fa.gmx")
    assert names(store.path) == ["bases.bin", "n_runs.npy", "store.json"]
    assert names(fasta.parent) == ["x.fa", "x.fa.fai", "x.fa.gmx"]
    assert sum(n for n, _ in seen) == store.n_bases == seen[0][1] == len(BIG) + 4
    seen.clear()
    stamp = (store.path / "bases.bin").stat().st_mtime_ns
    again = open_store(fasta, progress=lambda n, total: seen.append((n, total)))
    assert seen == []
    assert (again.path / "bases.bin").stat().st_mtime_ns == stamp
    found = find_store(fasta)
    assert found is not None
    assert found.path == store.path


def test_folder_and_several_files_as_one_genome(tmp_path: Path) -> None:
    folder = tmp_path / "genome"
    folder.mkdir()
    (folder / "chr2.fa").write_text(">chr2\nGG\n")
    (folder / "chr10.fa").write_text(">chr10\nTTT\n")
    store = open_store(folder)
    assert store.path == tmp_path / "genome.gmx"
    assert list(store.contigs) == ["chr2", "chr10"]
    (folder / "chr3.fa").write_text(">chr3\nA\n")
    assert list(open_store(folder).contigs) == ["chr2", "chr3", "chr10"]
    files = [folder / "chr2.fa", folder / "chr10.fa"]
    with pytest.raises(TokenStoreError, match=r"chr2\.fa, chr10\.fa as one genome need a folder .*-o FOLDER"):
        open_store(files)
    assert open_store(files, tmp_path / "two.gmx").n_bases == 5


def test_index_folder(fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENOMIX_INDEX_DIR", str(tmp_path / "mine"))
    store = open_store(fasta)
    assert store.path.parent == tmp_path / "mine"
    assert store.path.name.startswith("x.fa.")
    assert store.path.suffix == ".gmx"
    assert names(tmp_path) == ["mine", "x.fa"]
    assert open_store(fasta).path == store.path


def test_folder_that_cannot_be_written(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Genome(fasta)
    before = names(fasta.parent)
    # Permission bits do not bind root, so the question itself is answered here.
    monkeypatch.setattr("genomix_data.token_store.opening.os.access", lambda folder, mode: False)
    with pytest.raises(TokenStoreError, match=r"read-only.*-o.*GENOMIX_INDEX_DIR"):
        open_store(fasta)
    assert names(fasta.parent) == before


def test_changed_fasta_is_stored_again(fasta: Path) -> None:
    old = open_store(fasta)
    old_letters = old.letters
    fasta.write_text(f">a\n{BIG.replace('A', 'G')}\n>b\nGGCC\n")
    assert find_store(fasta) is None
    with pytest.raises(TokenStoreError, match=r"is stale: x\.fa has changed since"):
        check_store(fasta)
    with pytest.raises(TokenStoreError, match="is stale"):
        open_store(old.path)
    new = open_store(fasta)
    assert new.window("a", 0, 4).tobytes() == b"GCGT"
    assert old_letters[:4].tobytes() == b"ACGT"


def test_touched_fasta_is_not(fasta: Path) -> None:
    store = open_store(fasta)
    stamp = (store.path / "bases.bin").stat().st_mtime_ns
    os.utime(fasta, ns=(1, 1))
    again = open_store(fasta)
    assert (again.path / "bases.bin").stat().st_mtime_ns == stamp
    assert json.loads((store.path / "store.json").read_text())["sources"][0]["mtime_ns"] == 1
    check_store(fasta)


def test_same_size_and_time_but_other_bases_are_found_by_check(fasta: Path) -> None:
    open_store(fasta)
    stat = fasta.stat()
    text = bytearray(fasta.read_bytes())
    text[3] = ord("T")
    fasta.write_bytes(text)
    os.utime(fasta, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(TokenStoreError, match="is stale"):
        check_store(fasta)


def test_store_of_another_fasta(fasta: Path, tmp_path: Path) -> None:
    store = open_store(fasta, tmp_path / "s.gmx")
    other = tmp_path / "y.fa"
    other.write_text(">y\nAC\n")
    for ask in (open_store, check_store, find_store):
        with pytest.raises(TokenStoreError, match=r"is of x\.fa, not of y\.fa\. .*--force"):
            ask(other, store.path)
    assert list(open_store(other, store.path, rebuild=True).contigs) == ["y"]


def test_other_things_are_left_alone(fasta: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    for place in (mine, mine / "thesis.txt"):
        with pytest.raises(TokenStoreError, match="holds something that is not a token store"):
            open_store(fasta, place, rebuild=True)
    assert (mine / "thesis.txt").read_text() == "x"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert open_store(fasta, empty).n_bases == len(BIG) + 4


class Damage(NamedTuple):
    name: str
    content: bytes | None
    message: str


@pytest.mark.parametrize(
    "damage",
    [
        Damage("bases.bin", b"ACGT", "bases.bin has 4 bytes, and 400,004 are expected"),
        Damage("bases.bin", None, "bases.bin is missing"),
        Damage("n_runs.npy", b"x", "n_runs.npy has 1 bytes"),
        Damage("store.json", b"{", "store.json cannot be read"),
        Damage("store.json", b"\xff", "store.json cannot be read"),
        Damage("store.json", b"[]", "does not describe a token store"),
        Damage("store.json", b'{"format": "genomix-token-store", "version": 1}', "store.json lacks something"),
        Damage(
            "store.json",
            b'{"format": "genomix-token-store", "version": 1, "contigs": [], "sources": [], '
            b'"crc32": {"bases.bin": 0, "n_runs.npy": 0}, "n_runs_size": 0, "n_bases": 0}',
            "do not add up",
        ),
    ],
)  # fmt: skip
def test_damaged_store(fasta: Path, damage: Damage) -> None:
    store = open_store(fasta)
    file = store.path / damage.name
    if damage.content is None:
        file.unlink()
    else:
        file.write_bytes(damage.content)
    with pytest.raises(TokenStoreError, match=rf"is damaged: .*{damage.message}.*genomix index --force"):
        TokenStore(store.path)
    assert find_store(fasta) is None
    assert open_store(fasta).window("b", 0, 4).tobytes() == b"GGCC"


def test_flipped_byte_is_found_by_check(fasta: Path) -> None:
    store = open_store(fasta)
    for name in ("bases.bin", "n_runs.npy"):
        file = store.path / name
        good = file.read_bytes()
        file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(TokenStoreError, match=rf"bytes of {name} do not match their checksum"):
            check_store(fasta)
        file.write_bytes(good)
    seen: list[int] = []
    check_store(fasta, progress=lambda n, total: seen.append(n))
    assert sum(seen) == sum((store.path / name).stat().st_size for name in ("bases.bin", "n_runs.npy"))


def test_store_of_another_version(fasta: Path) -> None:
    store = open_store(fasta)
    table = store.path / "store.json"
    table.write_text(table.read_text().replace('"version": 1', '"version": 99'))
    for ask in (open_store, find_store, check_store):
        with pytest.raises(TokenStoreError, match=r"is of version 99, and this genomix reads version 1"):
            ask(fasta)
    assert open_store(fasta, rebuild=True).n_bases == len(BIG) + 4


def test_no_store(fasta: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenStoreError, match=r"x\.fa has no token store\. Make one with `genomix index`"):
        check_store(fasta)
    with pytest.raises(TokenStoreError, match=r"is not a token store: it has no store\.json"):
        TokenStore(tmp_path)
    with pytest.raises(InputFileError, match="does not exist"):
        open_store(tmp_path / "none.fa", tmp_path / "new" / "folder")
    assert names(tmp_path) == ["x.fa"]
    store = open_store(fasta)
    with pytest.raises(TokenStoreError, match="to build it again, give the FASTA"):
        open_store(store.path, rebuild=True)
    assert open_store(store.path).n_bases == store.n_bases


def test_bad_letters_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">a\nACGT\n>b\nAC*T\n")
    # An index by samtools says nothing of the letters.
    (tmp_path / "x.fa.fai").write_text("a\t4\t3\t4\t5\nb\t4\t11\t4\t5\n")
    with pytest.raises(GenomixError, match=r"'\*' at b:3"):
        open_store(path)
    assert names(tmp_path) == ["x.fa", "x.fa.fai"]


def test_fasta_that_changes_meanwhile(fasta: Path) -> None:
    with pytest.raises(TokenStoreError, match="changed while it was being read"):
        open_store(fasta, progress=lambda n, total: os.utime(fasta, ns=(5, 5)))
    assert "x.fa.gmx" not in names(fasta.parent)


def test_too_little_space(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("genomix_data.token_store.build.shutil.disk_usage", lambda path: Usage(1000))
    with pytest.raises(TokenStoreError, match=r"has 0 MB left\. Free some, or build it elsewhere with -o"):
        open_store(fasta)
    assert names(fasta.parent) == ["x.fa", "x.fa.fai"]


def _build_with_small_files(path: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        open_store(path)
    except OSError as error:
        sys.exit(7 if error.errno == errno.EFBIG and str(error.filename).endswith("bases.bin") else 8)


def test_write_that_fails_leaves_nothing(fasta: Path) -> None:
    Genome(fasta)
    child = multiprocessing.get_context("fork").Process(target=_build_with_small_files, args=(str(fasta),))
    child.start()
    child.join(60)
    assert child.exitcode == 7
    assert names(fasta.parent) == ["x.fa", "x.fa.fai"]


def _open_and_read(
    path: str, barrier: "threading.Barrier", queue: "multiprocessing.Queue[tuple[bool, bytes]]"
) -> None:
    built: list[int] = []

    def slowly(n: int, total: int) -> None:
        built.append(n)
        time.sleep(0.3)

    barrier.wait()
    store = open_store(path, threads=1, progress=slowly)
    queue.put((bool(built), store.window("b", 0, 4).tobytes()))


def test_many_processes_build_at_once(fasta: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue, barrier = context.Queue(), context.Barrier(3)
    children = [context.Process(target=_open_and_read, args=(str(fasta), barrier, queue)) for _ in range(3)]
    for child in children:
        child.start()
    answers = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert [letters for _, letters in answers] == [b"GGCC"] * 3
    assert sorted(built for built, _ in answers) == [False, False, True]
    assert names(fasta.parent) == ["x.fa", "x.fa.fai", "x.fa.gmx"]


def _hang_in_the_middle(path: str, started: "multiprocessing.synchronize.Event") -> None:
    def stop(n: int, total: int) -> None:
        started.set()
        time.sleep(60)

    open_store(path, progress=stop)


@pytest.mark.parametrize("had_store", [False, True])
def test_kill_in_the_middle(fasta: Path, had_store: bool) -> None:
    if had_store:
        open_store(fasta)
        fasta.write_text(f">a\n{BIG}\n>b\nTTTT\n")
    context = multiprocessing.get_context("fork")
    started = context.Event()
    child = context.Process(target=_hang_in_the_middle, args=(str(fasta), started))
    child.start()
    assert started.wait(30)
    child.kill()
    child.join(30)
    assert find_store(fasta) is None
    final = fasta.with_name("x.fa.gmx")
    assert final.exists() == had_store
    left = [name for name in names(fasta.parent) if name.startswith(".x.fa.gmx.")]
    assert len(left) == 2  # the lock, and what was written under a temporary name
    assert open_store(fasta).window("b", 0, 4).tobytes() == (b"TTTT" if had_store else b"GGCC")
    assert names(fasta.parent) == ["x.fa", "x.fa.fai", "x.fa.gmx"]


def test_without_locks_it_is_still_right(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("genomix_data.token_store.lock.fcntl.flock", no_locks)
    assert open_store(fasta).n_bases == len(BIG) + 4
    assert names(fasta.parent) == ["x.fa", "x.fa.fai", "x.fa.gmx"]


def test_bgzip_of_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "BLOCK", 10_007)
    source = samples.path("yeast_chrI.fa.gz")
    store = open_store(source, tmp_path / "yeast.gmx", threads=3)
    genome = Genome(source)
    assert store.letters.tobytes() == genome.fetch("chrI", 0, 230_218)
    assert store.md5("chrI") == genome.md5("chrI")
    assert opening_module.find_store(source, tmp_path / "yeast.gmx") is not None


def test_runs_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "BLOCK", 4)
    path = tmp_path / "x.fa"
    path.write_text(">a\nNNNNNNNNNNAC\n>b\nNNNN\n>c\nAC\n>d\nACNNNNNNNNCN\n")
    store = open_store(path)
    runs = {name: store.n_runs(name).tolist() for name in store.contigs}
    assert runs == {"a": [[0, 10]], "b": [[0, 4]], "c": [], "d": [[2, 10], [11, 12]]}
    assert store.n_runs("c").dtype == np.int64
