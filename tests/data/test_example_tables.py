"""Tables of bases and of variant pairs, tables of any kind as one, random splits, and where data sets lie."""

from pathlib import Path

import numpy as np
import pytest

from genomix_data.alphabet import reverse_complement
from genomix_data.benchmarks import benchmark_sets, find_benchmark
from genomix_data.benchmarks.published import published_results
from genomix_data.errors import ConfigError, InputFileError
from genomix_data.leakage import leakage_report, pooled, random_split
from genomix_data.lm_batch import IGNORED
from genomix_data.tables import SequenceTable, read_table
from genomix_data.tables.bases import BaseTable, read_base_table
from genomix_data.tables.joined import as_sequences, joined, row_table
from genomix_data.tables.pairs import PairTable, read_pair_table
from genomix_data.tables.targets import read_target_table


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_base_has_its_class_and_some_have_none(tmp_path: Path) -> None:
    table = read_base_table(write(tmp_path / "t.csv", "sequence,label", "ACGT,ab.a", "gg,bb"))
    assert table.class_names == ("a", "b")
    assert [row.tolist() for row in table.labels] == [[0, 1, IGNORED, 0], [1, 1]]
    assert table.n_per_class == {"a": 2, "b": 3}
    assert table.select([1]).sequences == ["gg"]
    cut = table.cut([2, 1])
    assert ([len(text) for text in cut.sequences], [len(row) for row in cut.labels]) == ([2, 1], [2, 1])
    known = read_base_table(write(tmp_path / "u.csv", "sequence,label", "AC,bb"), class_names=("a", "b"))
    assert known.labels[0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("lines", "names", "message"),
    [
        (["ACGT,ab"], None, "t.csv:2: the label has 2 characters and the sequence 4 letters"),
        (["AC,aa"], None, r"has 1 classes of bases \(a\)"),
        (["AC,.."], None, r"has 0 classes of bases \(none\)"),
        (["AC,ac"], ("a", "b"), "t.csv:2: the label has 'c', which is not one of the classes a, b"),
        (["A!,ab"], None, "not a nucleotide code"),
        ([",ab"], None, "the sequence is empty"),
    ],
)
def test_bad_labels_of_bases_name_their_line(
    tmp_path: Path, lines: list[str], names: tuple[str, ...] | None, message: str
) -> None:
    path = write(tmp_path / "t.csv", "sequence,label", *lines)
    with pytest.raises(InputFileError, match=message):
        read_base_table(path, class_names=names)


def test_pairs_keep_ref_and_alt_together(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "ref_sequence,alt_sequence,label", "AAA,AGA,bad", "CCC,CC,good")
    table = read_pair_table(path)
    assert (table.sequences, table.alts) == (["AAA", "CCC"], ["AGA", "CC"])
    assert table.class_names == ("bad", "good")
    assert table.select([1]).alts == ["CC"]
    assert read_pair_table(path, label_column=None).labels.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("AAA,aaa,x", "are the same, so there is no variant"),
        ("AAA,,x", "the sequence is empty"),
        ("AAA,AGA,", "the label is empty"),
        ("AAA,A-A,x", "not a nucleotide code"),
    ],
)
def test_bad_pairs_name_their_line(tmp_path: Path, row: str, message: str) -> None:
    path = write(tmp_path / "p.csv", "ref_sequence,alt_sequence,label", "CC,CG,y", row)
    with pytest.raises(InputFileError, match=rf"p.csv:3: .*{message}"):
        read_pair_table(path)


def test_tables_of_every_kind_are_joined_and_remember_their_rows(tmp_path: Path) -> None:
    bases = read_base_table(write(tmp_path / "b.csv", "sequence,label", "AC,ab", "G,a"))
    pairs = read_pair_table(write(tmp_path / "p.csv", "ref_sequence,alt_sequence,label", "A,G,x", "C,T,y"))
    targets = read_target_table(write(tmp_path / "t.csv", "sequence,v", "AC,1.5", "GG,"), "regression")
    twice_bases, twice_pairs, twice_targets = joined([bases] * 2), joined([pairs] * 2), joined([targets] * 2)
    assert isinstance(twice_bases, BaseTable)
    assert isinstance(twice_pairs, PairTable)
    assert [len(each) for each in (twice_bases, twice_pairs, twice_targets)] == [4, 4, 4]
    assert twice_pairs.alts == ["G", "T", "G", "T"]
    np.testing.assert_array_equal(twice_targets.targets[:, 0], np.array([1.5, np.nan] * 2, dtype=np.float32))
    rows = row_table(twice_bases).select([3, 0])
    assert (rows.rows.tolist(), rows.sequences) == ([3, 0], ["G", "AC"])
    assert as_sequences(pairs) is pairs
    assert as_sequences(targets).class_names == ("all",)


def test_a_random_split_keeps_copies_together_and_classes_even(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    texts = ["".join(random.choice(list("ACGT"), 30)) for _ in range(100)]
    rows = [(text, str(i % 2)) for i, text in enumerate(texts)]
    rows += [(reverse_complement(texts[i]), str(i % 2)) for i in range(20)]
    table = read_table(write(tmp_path / "t.csv", "sequence,label", *(f"{a},{b}" for a, b in rows)))
    parts = random_split(table, {"train": 0.8, "test": 0.2}, seed=3)
    assert sum(len(part) for part in parts.values()) == 120
    assert len(parts["test"]) == pytest.approx(24, abs=2)
    counts = parts["test"].n_per_class
    assert counts["0"] == pytest.approx(counts["1"], abs=2)
    report = leakage_report(pooled([parts["train"]]), parts["test"])
    assert report.total.identical + report.total.identical_other_strand == 0
    again = random_split(table, {"train": 0.8, "test": 0.2}, seed=3)
    assert again["test"].sequences == parts["test"].sequences
    assert (
        random_split(table, {"train": 0.8, "test": 0.2}, seed=4)["test"].sequences != again["test"].sequences
    )


def test_data_sets_are_found_where_people_keep_them(tmp_path: Path) -> None:
    (tmp_path / "gue" / "tf" / "0").mkdir(parents=True)
    (tmp_path / "ienhancer_2l").mkdir()
    (tmp_path / "ienhancer_2l" / "layer1.train.csv.gz").touch()
    (tmp_path / "cnnprom").mkdir()
    (tmp_path / "cnnprom" / "mouse_tata_vs_nonprom.csv").touch()
    (tmp_path / "human_ocr_ensembl").mkdir()
    found = {
        name: find_benchmark(tmp_path, name).relative_to(tmp_path).as_posix()
        for name in ("gue/tf/0", "layer1", "mouse_tata_vs_nonprom", "human_ocr_ensembl")
    }
    assert list(found.values()) == [
        "gue/tf/0",
        "ienhancer_2l",
        "cnnprom/mouse_tata_vs_nonprom.csv",
        "human_ocr_ensembl",
    ]
    with pytest.raises(InputFileError, match=r"'gue/tf/1' is not under .* genomix data info gue/tf/1"):
        find_benchmark(tmp_path, "gue/tf/1")
    with pytest.raises(InputFileError, match=r"does not exist\. Check data\.root"):
        find_benchmark(tmp_path / "nowhere", "gue/tf/0")
    with pytest.raises(ConfigError, match="is not known"):
        find_benchmark(tmp_path, "gue/quark")


def test_published_numbers_are_of_known_sets_and_parts_of_one() -> None:
    rows = [row for name in benchmark_sets() for row in published_results(name)]
    assert len(rows) > 400
    assert len(rows) == len(published_results_file())
    assert all(0 < row.value < 1 for row in rows)
    assert all(row.spread is None or 0 < row.spread < 1 for row in rows)
    assert all(row.source and row.model and row.protocol for row in rows)
    assert published_results(None) == []
    best = max(r.value for r in published_results("gue/mouse/3") if r.protocol == "frozen embeddings")
    assert best == 0.762


def published_results_file() -> list[str]:
    from importlib.resources import files

    text = files("genomix_data.benchmarks").joinpath("published.tsv").read_text()
    return text.splitlines()[1:]


def test_a_sequence_table_joined_is_one(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", "sequence,label", "ACGT,a", "GG,b"))
    whole = joined([table, table])
    assert isinstance(whole, SequenceTable)
    assert whole.labels.tolist() == [0, 1, 0, 1]
