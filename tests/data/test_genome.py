"""Bases come back exactly as the file has them, from any place, in any process."""

import gzip
import hashlib
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomix_data import samples
from genomix_data.alphabet import IUPAC, reverse_complement
from genomix_data.bgzf import iter_blocks
from genomix_data.errors import GenomixError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.interval import Interval

MakeFasta = Callable[..., Path]

letters = st.text(alphabet=(IUPAC + IUPAC.lower()).decode(), min_size=1, max_size=120)
contigs = st.lists(letters, min_size=1, max_size=4)


def fasta_text(
    sequences: dict[str, str], width: int, line_end: str = "\n", last_line_end: bool = True
) -> bytes:
    lines = []
    for name, sequence in sequences.items():
        lines.append(f">{name} described")
        lines += [sequence[i : i + width] for i in range(0, len(sequence), width)]
    text = line_end.join(lines) + (line_end if last_line_end else "")
    return text.encode()


@pytest.fixture
def make_fasta(tmp_path: Path) -> MakeFasta:
    def make(text: bytes, name: str = "x.fa", *, bgzip: bool = False) -> Path:
        path = tmp_path / name
        path.write_bytes(text)
        if not bgzip:
            return path
        pysam.tabix_compress(str(path), str(path) + ".gz", force=True)
        return path.with_name(path.name + ".gz")

    return make


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    sequences=contigs,
    width=st.integers(1, 70),
    line_end=st.sampled_from(["\n", "\r\n"]),
    last_line_end=st.booleans(),
    bgzip=st.booleans(),
    data=st.data(),
)
def test_fetch_is_the_slice_of_the_text(
    make_fasta: MakeFasta, sequences: list[str], width: int, line_end: str, last_line_end: bool, bgzip: bool,
    data: st.DataObject,
) -> None:  # fmt: skip
    named = {f"c{i}": sequence for i, sequence in enumerate(sequences)}
    path = make_fasta(fasta_text(named, width, line_end, last_line_end), bgzip=bgzip)
    for suffix in (".fai", ".gzi"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with Genome(path) as genome:
        assert genome.contigs == {name: len(sequence) for name, sequence in named.items()}
        for name, sequence in named.items():
            start = data.draw(st.integers(0, len(sequence)))
            end = data.draw(st.integers(start, len(sequence)))
            assert genome.fetch(name, start, end) == sequence[start:end].encode()
            assert genome.fetch(name, 0, len(sequence)) == sequence.encode()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(sequences=contigs, width=st.integers(1, 70), last_line_end=st.booleans(), bgzip=st.booleans())
def test_index_against_samtools(
    make_fasta: MakeFasta, sequences: list[str], width: int, last_line_end: bool, bgzip: bool
) -> None:
    named = {f"c{i}": sequence for i, sequence in enumerate(sequences)}
    path = make_fasta(fasta_text(named, width, last_line_end=last_line_end), bgzip=bgzip)
    files = [path.with_name(path.name + suffix) for suffix in ([".fai", ".gzi"] if bgzip else [".fai"])]
    for file in files:
        file.unlink(missing_ok=True)
    Genome(path)
    ours = [file.read_bytes() for file in files]
    pysam.faidx(str(path))
    assert ours == [file.read_bytes() for file in files]


def test_index_of_many_blocks_against_samtools(make_fasta: MakeFasta) -> None:
    sequence = samples_sequence("yeast_chrI.fa.gz")
    path = make_fasta(fasta_text({"a": sequence, "b": sequence[::-1]}, 61), bgzip=True)
    assert sum(1 for _ in iter_blocks(path)) > 5
    genome = Genome(path)
    ours = Path(f"{path}.gzi").read_bytes()
    pysam.faidx(str(path))
    assert ours == Path(f"{path}.gzi").read_bytes()
    assert genome.fetch("b", 200_000, 200_100) == sequence[::-1][200_000:200_100].encode()


def samples_sequence(name: str) -> str:
    text = gzip.decompress(samples.path(name).read_bytes()).decode()
    return "".join(line for line in text.splitlines() if not line.startswith(">"))


def test_one_line_of_a_whole_chromosome(make_fasta: MakeFasta) -> None:
    sequence = samples_sequence("yeast_chrI.fa.gz") * 25
    genome = Genome(make_fasta(fasta_text({"a": sequence, "b": "ACGT"}, len(sequence))))
    assert genome.contigs == {"a": len(sequence), "b": 4}
    assert genome.fetch("a", 5_000_000, 5_000_050) == sequence[5_000_000:5_000_050].encode()


def test_blank_lines_around_records(make_fasta: MakeFasta) -> None:
    genome = Genome(make_fasta(b"\n>a\n\nACGT\nAC\n\n\n>b\nGG\n\n"))
    assert [genome.fetch(name, 0, length) for name, length in genome.contigs.items()] == [b"ACGTAC", b"GG"]


def test_strands_windows_and_spellings(make_fasta: MakeFasta) -> None:
    genome = Genome(make_fasta(b">chr1\nAACCGGTTRY\n>chrM\nACGU\n"))
    assert genome.fetch("1", 2, 4) == b"CC"
    assert genome.fetch("MT", 0, 4) == b"ACGU"
    assert genome.fetch("chr1", 3, 3) == b""
    assert genome.fetch_interval(Interval("chr1", 5, 10)) == b"GTTRY"
    assert genome.fetch_interval(Interval("1", 5, 10, "-")) == reverse_complement(b"GTTRY")
    assert genome.fetch_window("chr1", -3, 4) == b"NNNAACC"
    assert genome.fetch_window("chr1", 8, 13, pad=b".") == b"RY..."
    assert genome.fetch_window("chrM", -2, 7) == b"NNACGUNNN"
    assert genome.fetch_window("chr1", -9, -4) == b"NNNNN"
    assert genome.fetch_window("chr1", 20, 23) == b"NNN"
    assert genome.fetch_window("chr1", 4, 4) == b""


@given(start=st.integers(-40, 40), length=st.integers(0, 60))
def test_window_is_the_slice_of_the_padded_contig(start: int, length: int) -> None:
    phix = Genome(samples.path("phix174.fa.gz"))
    (name,) = phix.contigs
    padded = b"N" * 40 + phix.fetch(name, 0, 200)
    assert phix.fetch_window(name, start, start + length) == padded[start + 40 : start + 40 + length]


def test_contig_map(make_fasta: MakeFasta, tmp_path: Path) -> None:
    path = make_fasta(b">chr1\nACGT\n")
    file = tmp_path / "map.tsv"
    file.write_text("NC_000001.11\tchr1\n")
    for contig_map in (file, {"NC_000001.11": "chr1"}):
        assert Genome(path, contig_map=contig_map).fetch("NC_000001.11", 0, 2) == b"AC"


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (0, 11), (11, 12), (5, 3)])
def test_outside_the_contig(make_fasta: MakeFasta, start: int, end: int) -> None:
    genome = Genome(make_fasta(b">chr1\nAACCGGTTRY\n"))
    with pytest.raises(ReferenceMismatchError, match=r"outside the contig: chr1 has 10 bp in x\.fa"):
        genome.fetch("1", start, end)


def test_unknown_and_ambiguous_contigs(make_fasta: MakeFasta) -> None:
    genome = Genome(make_fasta(b">chr1\nAA\n>1\nCC\n>chrX\nGG\n"))
    assert genome.fetch("1", 0, 2) == b"CC"
    with pytest.raises(ReferenceMismatchError, match=r"'Chr1' could be any of chr1, 1 in x\.fa"):
        genome.fetch("Chr1", 0, 1)
    with pytest.raises(ReferenceMismatchError, match=r"it has chr1, 1, chrX. Did you mean 'chrX'\?"):
        genome.fetch("chrXX", 0, 1)


def test_closed_genome(make_fasta: MakeFasta) -> None:
    with Genome(make_fasta(b">a\nACGT\n")) as genome:
        genome.fetch("a", 0, 1)
    with pytest.raises(GenomixError, match="is closed"):
        genome.fetch("a", 0, 1)


def test_md5_and_fingerprint(make_fasta: MakeFasta) -> None:
    genome = Genome(make_fasta(b">a\nacgtN\n>b\nGG\n"))
    assert genome.md5("a") == hashlib.md5(b"ACGTN").hexdigest()
    cheap = genome.fingerprint()
    assert (cheap["file"], cheap["n_contigs"], cheap["n_bases"], cheap["contigs"]) == (
        "x.fa",
        2,
        7,
        {"a": 5, "b": 2},
    )
    assert cheap["contigs_sha256"] == hashlib.sha256(b"a\t5\nb\t2\n").hexdigest()
    assert "md5" not in cheap
    assert genome.fingerprint(content=True)["md5"]["b"] == hashlib.md5(b"GG").hexdigest()


def test_pickle(make_fasta: MakeFasta, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_fasta(b">a\nACGTACGT\n")
    monkeypatch.chdir(tmp_path)
    genome = Genome("x.fa")
    assert genome.fetch("a", 0, 4) == b"ACGT"
    data = pickle.dumps(genome)
    monkeypatch.chdir("/")
    copy = pickle.loads(data)
    assert (copy.fetch("a", 2, 6), copy.contigs) == (b"GTAC", genome.contigs)


def _digest_of_slices(genome: Genome, seed: int) -> str:
    (name, length) = next(iter(genome.contigs.items()))
    digest = hashlib.md5()
    for i in range(400):
        start = (i * 7919 + seed * 104729) % (length - 100)
        digest.update(genome.fetch(name, start, start + 100))
    return digest.hexdigest()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_after_the_parent_has_read(method: str) -> None:
    genome = Genome(samples.path("yeast_chrI.fa.gz"))
    expected = [_digest_of_slices(genome, seed) for seed in range(4)]
    context = multiprocessing.get_context(method)
    with context.Pool(4) as pool:
        found = pool.starmap(_digest_of_slices, [(genome, seed) for seed in range(4)], chunksize=1)
        # not left to terminate(): forked children inherit whatever SIGTERM handler the test runner has
        pool.close()
        pool.join()
    assert found == expected


def _inherited(
    genome: Genome, seed: int, barrier: threading.Barrier, queue: "multiprocessing.Queue[str]"
) -> None:
    barrier.wait()
    queue.put(_digest_of_slices(genome, seed))


def test_children_that_inherit_an_open_file() -> None:
    genome = Genome(samples.path("yeast_chrI.fa.gz"))
    expected = {_digest_of_slices(genome, seed) for seed in range(3)}
    context = multiprocessing.get_context("fork")
    queue, barrier = context.Queue(), context.Barrier(3)
    children = [context.Process(target=_inherited, args=(genome, seed, barrier, queue)) for seed in range(3)]
    for child in children:
        child.start()
    assert {queue.get(timeout=60) for _ in children} == expected
    for child in children:
        child.join()
    assert _digest_of_slices(genome, 0) in expected


def test_threads_read_at_once() -> None:
    genome = Genome(samples.path("yeast_chrI.fa.gz"))
    expected = [_digest_of_slices(genome, seed) for seed in range(4)]
    found: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.__setitem__(seed, _digest_of_slices(genome, seed)))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[seed] for seed in range(4)] == expected


def _open(path: str, barrier: threading.Barrier) -> None:
    barrier.wait()
    genome = Genome(path)
    assert genome.fetch("a", 0, 4) == b"ACGT"
    os._exit(0)


def test_two_processes_index_at_once(make_fasta: MakeFasta) -> None:
    path = make_fasta(fasta_text({"a": "ACGT" * 200_000}, 60), bgzip=True)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    children = [context.Process(target=_open, args=(str(path), barrier)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0, 0, 0, 0]
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == ["x.fa", "x.fa.gz", "x.fa.gz.fai", "x.fa.gz.gzi"]
