from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.corpus import Corpus, HeldOut, cut_n_runs, load_corpus, merge, split_middle, subtract
from genomix_data.errors import ConfigError, InputFileError, ReferenceMismatchError
from genomix_data.interval import Interval
from genomix_data.lm_dataset import IGNORED, HeldOutWindows, TrainingWindows, complement_table
from genomix_data.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer()


def letters(n: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))


def write_fasta(path: Path, **contigs: str) -> Path:
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items()))
    return path


def corpus_of(train: list[str], test: list[str] | None = None) -> Corpus:
    contigs = {f"c{i}": text for i, text in enumerate([*train, *(test or [])])}
    intervals = [Interval(name, 0, len(text)) for name, text in contigs.items()]
    regions = {"train": tuple(intervals[: len(train)]), "valid": (), "test": tuple(intervals[len(train) :])}
    return Corpus({name: TOKENIZER.encode(text) for name, text in contigs.items()}, regions, TOKENIZER, ())


def test_a_part_of_every_contig_is_held_out_and_no_base_twice(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "a.fa", chr1=letters(1000), chr2=letters(401), tiny="ACGT")
    corpus = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1))
    seen = {name: np.zeros(len(ids), int) for name, ids in corpus.ids.items()}
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
    is_n = np.array([c == "N" for c in text])
    pieces = cut_n_runs(Interval("c", 0, len(text)), is_n, 3)
    assert [text[p.start : p.end] for p in pieces] == ["NNAAAAA", "CCCCNGGG"]
    assert cut_n_runs(Interval("c", 7, 10), is_n, 3) == []


def test_tiny_contigs_go_wholly_into_training() -> None:
    assert split_middle({"a": 5}, 0.49)["train"] == [Interval("a", 0, 5)]
    assert split_middle({"a": 10}, 0.1)["valid"] == []


def test_every_training_base_is_shown_and_windows_stay_in_their_region() -> None:
    corpus = corpus_of([letters(103), letters(20), letters(7)])
    windows = TrainingWindows(corpus, 10, seed=1, jitter=False)
    covered = {region.chrom: np.zeros(len(region), bool) for region in corpus.regions["train"]}
    for number in range(len(windows)):
        interval, _ = windows.locate(number)
        covered[interval.chrom][interval.start : interval.end] = True
    assert all(flags.all() for flags in covered.values())
    assert len(windows) == 11 + 2 + 1


def test_a_window_is_a_pure_function_of_its_number() -> None:
    corpus = corpus_of([letters(500)])
    a = TrainingWindows(corpus, 16, seed=3, rc_augment=True)
    b = TrainingWindows(corpus, 16, seed=3, rc_augment=True)
    numbers = list(range(3 * len(a)))
    forward = [a[n].tolist() for n in numbers]
    assert forward == [b[n].tolist() for n in reversed(numbers)][::-1]
    assert forward[: len(a)] != forward[len(a) : 2 * len(a)], "every epoch has windows of its own"
    other = TrainingWindows(corpus, 16, seed=4, rc_augment=True)
    assert forward != [other[n].tolist() for n in numbers]


def test_jitter_shows_each_base_at_many_places_of_a_window() -> None:
    windows = TrainingWindows(corpus_of([letters(400)]), 20, seed=0)
    starts = {windows.locate(n)[0].start for n in range(10 * len(windows))}
    assert {start % 20 for start in starts} == set(range(20))
    assert min(starts) == 0
    assert max(starts) == 400 - 21


def test_half_of_the_windows_are_reverse_complemented() -> None:
    corpus = corpus_of([letters(2000)])
    windows = TrainingWindows(corpus, 20, seed=0, rc_augment=True)
    flipped = 0
    for number in range(len(windows)):
        interval, is_rc = windows.locate(number)
        flipped += is_rc
        bases = corpus.fetch(interval)
        expected = complement_table(TOKENIZER)[bases[::-1]] if is_rc else bases
        np.testing.assert_array_equal(windows[number], expected)
    assert 0.3 < flipped / len(windows) < 0.7


def test_targets_are_the_next_bases_without_n_and_padding() -> None:
    windows = TrainingWindows(corpus_of(["ACGNT"]), 6, seed=0)
    batch = windows.collate([windows[0]])
    encode = TOKENIZER.encode
    a, c, g, t = (int(encode(x)[0]) for x in "ACGT")
    assert batch.inputs.tolist() == [[a, c, g, TOKENIZER.n_id, t, TOKENIZER.pad_id]]
    assert batch.targets.tolist() == [[c, g, IGNORED, t, IGNORED, IGNORED]]


def test_a_window_can_end_with_the_separator() -> None:
    windows = TrainingWindows(corpus_of(["ACGTACG"]), 4, seed=0, jitter=False, add_eos=True)
    rows = [windows[n].tolist() for n in range(len(windows))]
    assert all(len(row) == 5 and row[-1] == TOKENIZER.eos_id for row in rows)
    assert all(TOKENIZER.eos_id not in row[:-1] for row in rows)


@given(
    lengths=st.lists(st.integers(2, 60), min_size=1, max_size=4),
    seqlen=st.integers(2, 17),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_every_held_out_base_but_the_first_is_scored_exactly_once(
    lengths: list[int], seqlen: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, seqlen - 1))
    texts = [letters(n, seed=n) for n in lengths]
    corpus = corpus_of(["ACGT"], texts)
    windows = HeldOutWindows(corpus, "test", seqlen, overlap=overlap)
    scored = {f"c{i + 1}": np.zeros(n, int) for i, n in enumerate(lengths)}
    for index, window in enumerate(windows.windows):
        chrom = windows.regions[window.region].chrom
        batch = windows.collate([windows[index]])
        targets = batch.targets[0].numpy()
        places = window.start + 1 + np.flatnonzero(targets != IGNORED)
        assert batch.inputs.shape[1] <= seqlen
        np.testing.assert_array_equal(targets[targets != IGNORED], corpus.ids[chrom][places])
        scored[chrom][places] += 1
        if window.start and len(places):
            assert places[0] - window.start > overlap, "the promised left context"
    for counts in scored.values():
        assert counts[0] == 0
        assert (counts[1:] == 1).all()


def test_held_out_windows_can_be_an_even_sample() -> None:
    corpus = corpus_of(["ACGT"], [letters(1000)])
    some = HeldOutWindows(corpus, "test", 10, limit=5)
    assert [w.start for w in some.windows] == [0, 250, 500, 740, 990]
    assert len(HeldOutWindows(corpus, "test", 10, limit=500)) == 100
