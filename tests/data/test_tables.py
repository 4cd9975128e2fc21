"""Classification tables: nothing dropped, classes sorted, every fault with its line."""

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomix_data import samples
from genomix_data.errors import ConfigError, InputFileError
from genomix_data.tables import (
    SequenceTable,
    overlap_report,
    read_genomic_benchmarks,
    read_sequences,
    read_splits,
    read_table,
    stratified_split,
    without_overlap,
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str, name: str = "x.csv") -> Path:
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return to_file


def table_of(sequences: list[str], labels: list[int], names: tuple[str, ...] = ("0", "1")) -> SequenceTable:
    return SequenceTable(sequences, np.array(labels, dtype=np.int64), names, "memory")


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv.gz", "x.txt"])
def test_any_separator_under_any_name(write: Write, separator: str, name: str) -> None:
    text = "id,sequence,label\r\na,ACGT,1\r\n\r\nb,acgtn,0\r\n".replace(",", separator)
    table = read_table(write(text, name))
    assert (table.sequences, table.labels.tolist(), table.class_names) == (
        ["ACGT", "acgtn"],
        [1, 0],
        ("0", "1"),
    )
    assert table.labels.dtype == np.int64
    assert table.n_per_class == {"0": 1, "1": 1}


def test_other_columns_quotes_and_a_byte_order_mark(write: Write) -> None:
    table = read_table(
        write('\ufeffseq,"tissue"\n"ACGT",liver\nGG,"brain, left"\n'),
        sequence_column="seq",
        label_column="tissue",
    )
    assert table.class_names == ("brain, left", "liver")
    assert table.labels.tolist() == [1, 0]


def test_classes_are_sorted_not_in_file_order(write: Write) -> None:
    rows = "\n".join(f"ACGT,{label}" for label in (10, 2, 1, 2, 10))
    table = read_table(write(f"sequence,label\n{rows}\n"))
    assert (table.class_names, table.labels.tolist()) == (("1", "2", "10"), [2, 1, 0, 1, 2])
    named = read_table(write("sequence,label\nA,pos\nC,neg\n"))
    assert (named.class_names, named.labels.tolist()) == (("neg", "pos"), [1, 0])


def test_whole_numbers_in_any_spelling_are_one_class(write: Write) -> None:
    table = read_table(write("sequence,label\nA,1.0\nC,0\nG,1\n"))
    assert (table.class_names, table.labels.tolist()) == (("0", "1"), [1, 0, 1])
    mixed = read_table(write("sequence,label\nA,1.0\nC,x\n"))
    assert mixed.class_names == ("1.0", "x")


def test_classes_of_a_model_keep_their_order(write: Write) -> None:
    path = write("sequence,label\nA,pos\nC,pos\n")
    table = read_table(path, class_names=("pos", "neg", "other"))
    assert (table.labels.tolist(), table.n_per_class) == ([0, 0], {"pos": 2, "neg": 0, "other": 0})
    with pytest.raises(InputFileError, match=r"x\.csv:2: label 'pos' is not one of the classes yes, no"):
        read_table(path, class_names=("yes", "no"))


def test_a_cell_may_hold_a_long_sequence(write: Write) -> None:
    sequence = "ACGT" * 60_000
    assert read_table(write(f"sequence,label\n{sequence},1\n")).sequences == [sequence]


def test_duplicates_are_counted_and_kept(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    table = read_table(write("sequence,label\nACGT,1\nacgt,0\nACGT,1\nGG,0\n"))
    assert (len(table), table.n_duplicates) == (4, 2)
    assert "2 sequences more than once; all are kept" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("sequence,label\n", "has a header and no rows"),
        ("sequence,label\n\n\n", "has a header and no rows"),
        (
            "sequence,labels\nACGT,1\n",
            r"has no column 'label'; it has sequence, labels\. Did you mean 'labels'",
        ),
        (
            "Sequence,label\nACGT,1\n",
            r"has no column 'sequence'; it has Sequence, label\. Did you mean 'Sequence'",
        ),
        ("sequence,x\nACGT,1\n", r"has no column 'label'; it has sequence, x\. Name the column"),
        ("sequence\nACGT\n", "has no column 'label'"),
        ("sequence,label,label\nACGT,1,1\n", "has column 'label' 2 times"),
        ("ACGTACGTACGT,1\nACGT,1\n", r"x\.csv:1: the table has no header"),
        ("sequence,label\nACGT,1\n,0\n", r"x\.csv:3: the sequence is empty"),
        ("sequence,label\nACGT,1\n\nACGT,\n", r"x\.csv:4: the label is empty"),
        (
            "sequence,label\nACGT,1\nAC-T,0\n",
            r"x\.csv:3: '-' at position 3 of the sequence is not a nucleotide",
        ),
        ("sequence,label\nACGÉ,1\n", r"x\.csv:2: 'É' at position 4"),
        ("sequence,label\nACGT,1,2\n", r"x\.csv:2: 3 cells, but the header has 2 columns"),
        ("sequence,label\nACGT\n", r"x\.csv:2: 1 cells"),
        ("sequence,label\nACGT,1\nAC,0.25\n", r"x\.csv:3: label '0\.25' is a measurement, not a class"),
    ],
)
def test_bad_tables(write: Write, text: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read_table(write(text))


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"table .* does not exist"):
        read_table(tmp_path / "none.csv")
    broken = tmp_path / "x.csv.gz"
    broken.write_bytes(samples.path("ienhancer_2l.layer1.test.csv.gz").read_bytes()[:5000])
    with pytest.raises(InputFileError, match="is truncated"):
        read_table(broken)


def test_one_class_only(write: Write) -> None:
    path = write("sequence,label\nACGT,1\nGG,1\n")
    assert read_table(path).n_classes == 1
    with pytest.raises(
        InputFileError, match=r"has one class only: every label in column 'label' is '1'\. A classifier"
    ):
        read_table(path, require_two_classes=True)
    with pytest.raises(InputFileError, match="has one class only"):
        read_table(path, class_names=("0", "1"), require_two_classes=True)


def test_sequences_without_labels(write: Write) -> None:
    assert read_sequences(write("id\tsequence\na\tACGT\nb\tGG\n")) == ["ACGT", "GG"]
    with pytest.raises(InputFileError, match=r"x\.csv:2: 'X' at position 2"):
        read_sequences(write("id,sequence\na,AXGT\n"))


@given(
    labels=st.lists(st.integers(0, 2), min_size=6, max_size=80).filter(
        lambda labels: all(labels.count(label) != 1 for label in range(3))
    ),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_stratified_split_is_a_partition(labels: list[int], fraction: float, seed: int) -> None:
    table = table_of([f"{'ACGT'[i % 4] * (i + 1)}" for i in range(len(labels))], labels, ("a", "b", "c"))
    rest, part = stratified_split(table, fraction, seed)
    assert sorted(rest.sequences + part.sequences) == sorted(table.sequences)
    for label, name in enumerate(table.class_names):
        n = labels.count(label)
        taken = part.n_per_class[name]
        assert taken + rest.n_per_class[name] == n
        assert n == 0 or (1 <= taken <= n - 1 and abs(taken - fraction * n) <= 1)
    order = {sequence: i for i, sequence in enumerate(table.sequences)}
    assert [order[s] for s in part.sequences] == sorted(order[s] for s in part.sequences)
    again = stratified_split(table, fraction, seed)[1]
    assert again.sequences == part.sequences


def test_stratified_split_is_what_it_always_was() -> None:
    table = table_of(["A" * (i + 1) for i in range(20)], [0, 1] * 10)
    lengths = [len(sequence) for sequence in stratified_split(table, 0.3, 7)[1].sequences]
    assert lengths == [1, 4, 6, 8, 11, 17]
    assert [len(s) for s in stratified_split(table, 0.3, 8)[1].sequences] != lengths


def test_stratified_split_refuses() -> None:
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        stratified_split(table_of(["A", "C"], [0, 1]), 1.0, 0)
    with pytest.raises(InputFileError, match="class '1' of memory has one sequence only"):
        stratified_split(table_of(["A", "C", "G"], [0, 1, 0]), 0.5, 0)


def test_overlap_counts_either_strand_and_either_case() -> None:
    train = table_of(["AACC", "GGGG", "ACGT"], [0, 1, 0])
    test = table_of(["aacc", "GGTT", "CCCC", "TTTT"], [0, 1, 1, 0])
    assert overlap_report(train, test) == 3
    assert overlap_report(test, train) == 2
    clean = without_overlap(train, test)
    assert (clean.sequences, clean.labels.tolist(), clean.class_names) == (["ACGT"], [0], ("0", "1"))
    assert overlap_report(clean, test) == 0


def test_splits_from_files(write: Write) -> None:
    train = write(
        "sequence,label\n" + "\n".join(f"{'ACGT'[i % 4] * (i + 2)},{i % 2}" for i in range(20)), "train.csv"
    )
    test = write("sequence,label\nTTTT,1\nAC,1\n", "test.csv")
    splits = read_splits(train, test=test, valid_fraction=0.2, seed=1)
    assert (len(splits.train), len(splits.valid)) == (16, 4)
    assert not set(splits.train.sequences) & set(splits.valid.sequences)
    assert splits.test is not None
    assert (splits.test.class_names, splits.test.labels.tolist()) == (("0", "1"), [1, 1])
    given_valid = read_splits(train, test)
    assert (len(given_valid.train), given_valid.valid.sequences, given_valid.test) == (
        20,
        ["TTTT", "AC"],
        None,
    )
    strange = write("sequence,label\nAC,2\n", "strange.csv")
    with pytest.raises(InputFileError, match=r"strange\.csv:2: label '2' is not one of the classes 0, 1"):
        read_splits(train, test=strange)
    with pytest.raises(InputFileError, match="one class only"):
        read_splits(test)


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    with gzip.open(samples.path("human_nontata_promoters.mini.train.csv.gz"), "rt") as text:
        rows = list(csv.DictReader(text))[:40]
    for i, row in enumerate(rows):
        folder = (
            tmp_path
            / "task"
            / ("test" if i % 4 == 0 else "train")
            / ("negative", "positive")[int(row["label"])]
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.txt").write_text(row["sequence"] + "\n")
        (folder / ".DS_Store").write_bytes(b"\xff")
    return tmp_path / "task"


def test_genomic_benchmarks_folder(benchmark: Path) -> None:
    tables = read_genomic_benchmarks(benchmark)
    assert {part: len(table) for part, table in tables.items()} == {"train": 30, "test": 10}
    for part, table in tables.items():
        assert table.class_names == ("negative", "positive")
        assert {len(sequence) for sequence in table.sequences} == {251}
        for sequence, label in zip(table.sequences, table.labels, strict=True):
            files = (benchmark / part / table.class_names[label]).glob("*.txt")
            assert sequence in {file.read_text().strip() for file in files}
    assert overlap_report(tables["train"], tables["test"]) == 0


def test_bad_genomic_benchmarks_folders(benchmark: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        read_genomic_benchmarks(tmp_path / "none")
    with pytest.raises(InputFileError, match="has no train and no test folder; it has task"):
        read_genomic_benchmarks(tmp_path)
    odd = benchmark / "train" / "positive" / "odd.txt"
    odd.write_text("ACG*T")
    with pytest.raises(InputFileError, match=r"odd\.txt: '\*' at position 4"):
        read_genomic_benchmarks(benchmark)
    odd.write_text("")
    with pytest.raises(InputFileError, match=r"odd\.txt: the sequence is empty"):
        read_genomic_benchmarks(benchmark)
    odd.write_bytes(b"\xff\xfe")
    with pytest.raises(InputFileError, match=r"odd\.txt' is not a text file"):
        read_genomic_benchmarks(benchmark)
    odd.unlink()
    (benchmark / "train" / "third").mkdir()
    with pytest.raises(
        InputFileError, match=r"train has the classes negative, positive, third, but test has"
    ):
        read_genomic_benchmarks(benchmark)
    (benchmark / "test" / "third").mkdir()
    with pytest.raises(InputFileError, match=r"class folder .*third' has no files"):
        read_genomic_benchmarks(benchmark)
