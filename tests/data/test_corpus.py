import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data import training_store
from genomix_data.corpus import Corpus, load_corpus
from genomix_data.errors import ConfigError, InputFileError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.holdout import HeldOut, cut_n_runs, merge, split_middle, subtract
from genomix_data.interval import Interval
from genomix_data.token_store import open_store
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from tests.data.corpus_helpers import letters, write_fasta

TOKENIZER = CharTokenizer()


def test_a_part_of_every_contig_is_held_out_and_no_base_twice(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(1000), chr2=letters(401), tiny="ACGT")
    corpus = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1))
    seen = {name: np.zeros(n, int) for name, n in corpus.stores[0].contigs.items()}
    for split in ("train", "valid", "test"):
        for region in corpus.regions[split]:
            seen[region.chrom][region.start : region.end] += 1
    assert all((counts == 1).all() for counts in seen.values())
    assert [str(r) for r in corpus.regions["valid"]] == ["chr1:401-500", "chr2:161-200"]
    assert [str(r) for r in corpus.regions["test"]] == ["chr1:501-600", "chr2:201-240"]
    assert corpus.n_bases("train") == 1000 + 401 + 4 - 280


def test_contigs_can_be_held_out_under_either_spelling(tmp_path: Path) -> None:
    one = write_fasta(tmp_path / "a.fa", chr1=letters(300), chr2=letters(200))
    two = write_fasta(tmp_path / "b.fa", phage=letters(100))
    corpus = load_corpus([one, two], TOKENIZER, HeldOut(valid=["2"], test=["phage"]))
    names = {split: [region.chrom for region in corpus.regions[split]] for split in corpus.regions}
    assert names == {"train": ["chr1"], "valid": ["chr2"], "test": ["phage"]}
    assert len(corpus.fingerprints) == 2


def test_bed_splits_are_used_and_held_out_bases_leave_training(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(1000))
    bed = tmp_path / "splits.bed"
    bed.write_text("1\t0\t500\ttrain\n1\t400\t600\tvalid\n1\t550\t700\ttest\n1\t650\t1000\ttrain\n")
    corpus = load_corpus([fasta], TOKENIZER, HeldOut(bed=bed))
    assert [str(r) for r in corpus.regions["train"]] == ["chr1:1-400", "chr1:701-1000"]
    assert [str(r) for r in corpus.regions["valid"]] == ["chr1:401-600"]
    assert [str(r) for r in corpus.regions["test"]] == ["chr1:601-700"]
    assert corpus.n_removed == 150


@pytest.mark.parametrize(
    ("held_out", "error", "message"),
    [
        (HeldOut(valid=["chr1"], test=["chr9"]), ReferenceMismatchError, "no FASTA has a contig 'chr9'"),
        (HeldOut(valid=["chr1"], test=["chr1"]), ConfigError, "'?chr1'? is in both valid and test"),
        (HeldOut(valid=["chr1"], test=["chr2"]), ConfigError, "no base is left for the train split"),
        (HeldOut(train=["chr1"], valid=["chr1"], test=["chr2"]), ConfigError, "both train and valid"),
    ],
)
def test_impossible_splits_are_refused(
    tmp_path: Path, held_out: HeldOut, error: type[Exception], message: str
) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(100), chr2=letters(100))
    with pytest.raises(error, match=message):
        load_corpus([fasta], TOKENIZER, held_out)


@pytest.mark.parametrize(
    ("bed", "message"),
    [
        ("chr1\t0\t900\ttrain\n", r"splits.bed:1: .*beyond the contig"),
        ("chr1\t0\t50\ttrain\n", "no interval for valid, test"),
        ("chr7\t0\t50\ttrain\n", "splits.bed:1"),
    ],
)
def test_a_bed_that_does_not_fit_is_refused(tmp_path: Path, bed: str, message: str) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(100))
    (tmp_path / "splits.bed").write_text(bed)
    with pytest.raises(InputFileError, match=message):
        load_corpus([fasta], TOKENIZER, HeldOut(bed=tmp_path / "splits.bed"))


def test_the_same_contig_in_two_files_is_refused(tmp_path: Path) -> None:
    files = [write_fasta(tmp_path / name, chr1=letters(100)) for name in ("a.fa", "b.fa")]
    with pytest.raises(InputFileError, match="contig 'chr1' is in both"):
        load_corpus(files, TOKENIZER, HeldOut())


def test_a_bed_goes_with_one_fasta(tmp_path: Path) -> None:
    files = [write_fasta(tmp_path / f"{name}.fa", **{name: letters(100)}) for name in ("a", "b")]
    with pytest.raises(ConfigError, match="belongs to one FASTA, but there are 2"):
        load_corpus(files, TOKENIZER, HeldOut(bed=tmp_path / "x.bed"))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=6), st.data())
@settings(max_examples=40, deadline=None)
def test_merging_and_subtracting_are_set_operations(
    pieces: list[tuple[int, int]], data: st.DataObject
) -> None:
    holes = data.draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=6))

    def bases(regions: Iterable[Interval]) -> list[int]:
        return [b for r in regions for b in range(r.start, r.end)]

    regions, gaps = (merge(Interval("c", s, s + n) for s, n in part) for part in (pieces, holes))
    kept, removed = subtract(regions, gaps)
    assert bases(regions) == sorted({b for s, n in pieces for b in range(s, s + n)})
    assert bases(kept) == sorted(set(bases(regions)) - set(bases(gaps)))
    assert removed == len(bases(regions)) - len(bases(kept))


def test_long_gaps_are_cut_and_short_ones_stay() -> None:
    text = "NN" + "A" * 5 + "NNN" + "C" * 4 + "N" + "G" * 3 + "NNNN"
    runs = np.array([[0, 2], [7, 10], [14, 15], [18, 22]])
    pieces = cut_n_runs(Interval("c", 0, len(text)), runs, 3)
    assert [text[p.start : p.end] for p in pieces] == ["NNAAAAA", "CCCCNGGG"]
    assert cut_n_runs(Interval("c", 7, 10), runs, 3) == []
    assert cut_n_runs(Interval("c", 8, 12), runs, 3) == [Interval("c", 8, 12)], "two N of the gap lie inside"
    assert cut_n_runs(Interval("c", 2, 7), runs, 1) == [Interval("c", 2, 7)]


def test_tiny_contigs_go_wholly_into_training() -> None:
    assert split_middle({"a": 5}, 0.49)["train"] == [Interval("a", 0, 5)]
    assert split_middle({"a": 10}, 0.1)["valid"] == []


def test_letters_and_ids_come_from_the_store(tmp_path: Path) -> None:
    text = letters(300)[:150] + "acgtNNry" + letters(300)[150:]
    fasta = write_fasta(tmp_path / "a.fa", chr1=text)
    region = Interval("chr1", 140, 170)
    for tokenizer in (TOKENIZER, ByteTokenizer(), ByteTokenizer(case="upper")):
        corpus = load_corpus([fasta], tokenizer, HeldOut(fraction=0.1))
        assert corpus.letters(region).tobytes().decode() == text[140:170]
        np.testing.assert_array_equal(corpus.fetch(region), tokenizer.encode(text[140:170]))


def test_fingerprints_are_those_of_the_genome(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(200).lower(), chr2=letters(99))
    (found,) = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1)).fingerprints
    assert found == Genome(fasta).fingerprint(content=True)


def test_nothing_is_left_beside_a_small_genome_and_a_store_that_is_there_is_used(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(200))
    said: list[str] = []
    first = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1), notify=said.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fa", "a.fa.fai"]
    store = open_store(fasta)
    second = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1), notify=said.append)
    third = load_corpus([store.path], TOKENIZER, HeldOut(fraction=0.1), notify=said.append)
    assert first.stores[0].path.parent != tmp_path
    assert second.stores[0].path == third.stores[0].path == store.path
    assert said == []
    assert first.regions == second.regions == third.regions


def test_the_store_of_a_large_genome_is_built_beside_it_once_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_store, "SMALL", 100)
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(200))
    said: list[str] = []
    for _ in range(2):
        corpus = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1), notify=said.append)
        assert corpus.stores[0].path == tmp_path / "a.fa.gmx"
    assert len(said) == 1
    assert "building the token store of a.fa, once: 200 bases" in said[0]


def test_a_changed_small_genome_is_read_anew(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1="A" * 200)
    load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1))
    fasta.write_text(">chr1\n" + "C" * 250 + "\n")
    corpus = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1))
    assert corpus.letters(Interval("chr1", 200, 204)).tobytes() == b"CCCC"


def two_assemblies(folder: Path) -> list[Path]:
    return [
        write_fasta(folder / "human.fa", chr1=letters(300, 1), chr2=letters(200, 2)),
        write_fasta(folder / "mouse.fa", chr1=letters(300, 3), chr3=letters(100, 4)),
    ]


def test_two_genomes_may_both_have_a_chr1(tmp_path: Path) -> None:
    corpus = load_corpus(two_assemblies(tmp_path), TOKENIZER, HeldOut(valid=["mouse.fa:1"], test=["chr3"]))
    names = {split: [region.chrom for region in corpus.regions[split]] for split in corpus.regions}
    assert names == {"train": ["chr2", "human.fa:chr1"], "valid": ["mouse.fa:chr1"], "test": ["chr3"]}
    ours, theirs = (Interval(f"{file}:chr1", 0, 300) for file in ("human.fa", "mouse.fa"))
    assert corpus.letters(ours).tobytes().decode() == letters(300, 1)
    assert corpus.letters(theirs).tobytes().decode() == letters(300, 3)
    assert [corpus.genome_of(region) for region in (ours, theirs)] == [0, 1]
    assert [set(print_["md5"]) for print_ in corpus.fingerprints] == [{"chr1", "chr2"}, {"chr1", "chr3"}]


def test_a_contig_of_two_genomes_must_be_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(ReferenceMismatchError, match=r"'chr1' could be any of human.fa:chr1, mouse.fa:chr1"):
        load_corpus(two_assemblies(tmp_path), TOKENIZER, HeldOut(valid=["chr1"], test=["chr3"]))


def test_workers_get_the_path_and_not_the_genome(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(200_000))
    corpus = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1))
    corpus.fetch(Interval("chr1", 0, 10))
    pickled = pickle.dumps(corpus)
    assert len(pickled) < 20_000
    again: Corpus = pickle.loads(pickled)
    np.testing.assert_array_equal(
        again.fetch(Interval("chr1", 5, 500)), corpus.fetch(Interval("chr1", 5, 500))
    )
