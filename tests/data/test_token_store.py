"""A token store gives back the letters of the genome: from any place, in batches, in any process."""

import hashlib
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomix_data import samples
from genomix_data.alphabet import IUPAC_ANY_CASE, reverse_complement
from genomix_data.errors import ConfigError, GenomixError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.token_store import TokenStore, is_n, open_store, soft_mask, to_ids, token_table
from genomix_data.token_store import build as build_module
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer

letters = st.text(alphabet=IUPAC_ANY_CASE.decode() + "NnNnNn", min_size=1, max_size=150)
Store = Callable[..., TokenStore]


def write_fasta(path: Path, sequences: dict[str, str], width: int = 60) -> Path:
    with path.open("w") as stream:
        for name, sequence in sequences.items():
            stream.write(f">{name}\n")
            stream.writelines(sequence[i : i + width] + "\n" for i in range(0, len(sequence), width))
    return path


@pytest.fixture
def make(tmp_path: Path) -> Store:
    def store_of(sequences: dict[str, str], **options: object) -> TokenStore:
        fasta = write_fasta(tmp_path / "x.fa", sequences)
        return open_store(fasta, tmp_path / "x.gmx", rebuild=True, **options)  # type: ignore[arg-type]

    return store_of


@pytest.fixture(scope="module")
def yeast(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return open_store(samples.path("yeast_chrI.fa.gz"), tmp_path_factory.mktemp("store") / "yeast.gmx")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sequences=st.lists(letters, min_size=1, max_size=4),
    block=st.sampled_from([1, 7, 64, 1 << 23]),
    threads=st.integers(1, 3),
)
def test_round_trip(
    make: Store, monkeypatch: pytest.MonkeyPatch, sequences: list[str], block: int, threads: int
) -> None:
    monkeypatch.setattr(build_module, "BLOCK", block)
    named = {f"c{i}": sequence for i, sequence in enumerate(sequences)}
    store = make(named, threads=threads)
    assert store.contigs == {name: len(sequence) for name, sequence in named.items()}
    for contig, (name, sequence) in zip(store.table.contigs, named.items(), strict=True):
        assert store.window(name, 0, len(sequence)).tobytes() == sequence.encode()
        assert store.md5(name) == hashlib.md5(sequence.upper().encode()).hexdigest()
        flags = np.zeros(len(sequence), dtype=bool)
        for start, end in store.n_runs(name).tolist():
            assert start < end
            assert start == 0 or not flags[start - 1]
            flags[start:end] = True
        assert flags.tolist() == [letter in "Nn" for letter in sequence]
        assert contig.n_n == sum(letter in "Nn" for letter in sequence)
        assert contig.n_masked == sum(letter.islower() for letter in sequence)


def test_against_the_genome(yeast: TokenStore) -> None:
    genome = Genome(samples.path("yeast_chrI.fa.gz"))
    assert yeast.contigs == genome.contigs
    assert yeast.md5("chrI") == genome.md5("chrI")
    random = np.random.default_rng(0)
    for start in random.integers(-500, 230_500, 200).tolist():
        assert yeast.window("I", start, start + 400).tobytes() == genome.fetch_window(
            "chrI", start, start + 400
        )


def test_windows_inside_a_contig_are_views_and_read_only(yeast: TokenStore) -> None:
    window = yeast.window("chrI", 1000, 200_000)
    assert np.shares_memory(window, yeast.letters)
    with pytest.raises(ValueError, match="read-only"):
        window[0] = 0
    padded = yeast.window("chrI", -5, 5)
    assert not np.shares_memory(padded, yeast.letters)
    assert padded[:5].tobytes() == b"NNNNN"


@given(
    starts=st.lists(st.tuples(st.integers(0, 2), st.integers(-60, 120)), max_size=20),
    width=st.integers(1, 150),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_gather_is_the_windows_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, starts: list[tuple[int, int]], width: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "gather"
    folder.mkdir(exist_ok=True)
    fasta = folder / "x.fa"
    if not fasta.exists():
        write_fasta(fasta, {"a": "ACGTNacgtn" * 5, "b": "GGCC", "c": "TTTTTTTTTTR"})
    store = open_store(fasta)
    contigs = np.array([contig for contig, _ in starts], dtype=np.int64)
    first = np.array([start for _, start in starts], dtype=np.int64)
    batch = store.gather(contigs, first, width)
    assert batch.shape == (len(starts), width)
    assert batch.dtype == np.uint8
    names = list(store.contigs)
    expected = [store.window(names[contig], start, start + width).tobytes() for contig, start in starts]
    assert [row.tobytes() for row in batch] == expected
    ids = store.gather(contigs, first, width, token_table(CharTokenizer()))
    assert [row.tolist() for row in ids] == [CharTokenizer().encode(text).tolist() for text in expected]
    batch[:] = 0
    assert store.window("b", 0, 4).tobytes() == b"GGCC"


def test_gather_refuses_what_makes_no_sense(yeast: TokenStore) -> None:
    one = np.array([0])
    with pytest.raises(GenomixError, match=r"contig numbers run from 0 to 0; got -1 to -1"):
        yeast.gather(np.array([-1]), one, 4)
    with pytest.raises(GenomixError, match="contig numbers run from 0 to 0; got 1 to 1"):
        yeast.gather(np.array([1]), one, 4)
    with pytest.raises(GenomixError, match="width 0"):
        yeast.gather(one, one, 0)
    with pytest.raises(GenomixError, match=r"shapes \(1,\), \(2,\)"):
        yeast.gather(one, np.array([0, 1]), 4)
    with pytest.raises(ReferenceMismatchError, match=r"'chrII' is not in yeast\.gmx; it has chrI"):
        yeast.window("chrII", 0, 4)
    with pytest.raises(GenomixError, match="needs start <= end"):
        yeast.window("chrI", 4, 3)


def test_ids_and_masks_of_letters(make: Store) -> None:
    text = "ACGTNacgtnRYKMrUu"
    window = make({"a": text}).window("a", 0, len(text))
    for tokenizer in (
        CharTokenizer(),
        CharTokenizer.official(),
        ByteTokenizer(),
        ByteTokenizer(case="upper"),
    ):
        ids = to_ids(window, token_table(tokenizer))
        assert ids.tolist() == tokenizer.encode(text).tolist()
        backwards = to_ids(window[::-1], token_table(tokenizer, complement=True))
        assert backwards.tolist() == tokenizer.encode(reverse_complement(text)).tolist()
    assert np.shares_memory(to_ids(window, token_table(ByteTokenizer())), window)
    assert soft_mask(window).tolist() == [letter.islower() for letter in text]
    assert is_n(window).tolist() == [letter in "Nn" for letter in text]


def test_ids_of_long_arrays_and_in_place() -> None:
    table = token_table(CharTokenizer())
    text = np.random.default_rng(0).choice(np.frombuffer(b"ACGTNacgtn", np.uint8), (3, 50_000))
    expected = np.frombuffer(table, np.uint8)[text]
    ids = to_ids(text, table)
    assert (ids == expected).all()
    ids[0, 0] = 99  # writable memory of its own
    assert text[0, 0] != 99
    assert to_ids(text, table, out=text) is text
    assert (text == expected).all()


def test_table_needs_one_id_a_letter() -> None:
    class Pairs:
        def encode(self, sequence: bytes) -> list[int]:
            return [0] * (len(sequence) // 2)

    with pytest.raises(ConfigError, match="gives 128 ids for 256 letters"):
        token_table(Pairs())


def _digest(store: TokenStore, seed: int) -> str:
    random = np.random.default_rng(seed)
    batch = store.gather(np.zeros(64, dtype=np.int64), random.integers(-50, 230_000, 64), 300)
    return hashlib.md5(batch.tobytes() + store.n_runs("I").tobytes()).hexdigest()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers(yeast: TokenStore, method: str) -> None:
    expected = [_digest(yeast, seed) for seed in range(3)]
    pool = multiprocessing.get_context(method).Pool(2)
    try:
        assert pool.starmap(_digest, [(yeast, seed) for seed in range(3)], chunksize=1) == expected
    finally:  # leaving a `with` kills the workers, one of which may hold the lock that another waits for
        pool.close()
        pool.join()


def test_pickle_holds_the_path_only(tmp_path: Path, make: Store) -> None:
    make({"chr1": "ACGT" * 5000})
    store = TokenStore(tmp_path / "x.gmx", aliases={"NC_1": "chr1"})
    store.letters.sum()
    data = pickle.dumps(store)
    assert len(data) < 1000
    assert pickle.loads(data).window("NC_1", 2, 6).tobytes() == b"GTAC"


def test_genome_reads_a_store(yeast: TokenStore) -> None:
    genome, plain = Genome(yeast.path), Genome(samples.path("yeast_chrI.fa.gz"))
    assert genome.contigs == plain.contigs
    assert genome.fetch("I", 1000, 1100) == plain.fetch("I", 1000, 1100)
    assert genome.fingerprint()["contigs_sha256"] == plain.fingerprint()["contigs_sha256"]


def test_closed_store_opens_again(make: Store) -> None:
    store = make({"a": "ACGT"})
    store.window("a", 0, 4)
    store.close()
    assert store.window("a", 1, 3).tobytes() == b"CG"
    assert repr(store).endswith("1 contigs, 4 bp)")
