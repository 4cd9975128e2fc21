"""Benchmark data sets by name: the registry, the layouts, the check."""

from collections import Counter
from pathlib import Path

import pytest

from genomix_data import samples
from genomix_data.benchmarks import (
    benchmark_sets,
    check_benchmark,
    get_benchmark,
    load_benchmark,
    load_folder,
)
from genomix_data.benchmarks.check import CheckLine
from genomix_data.benchmarks.known_files import known_files
from genomix_data.benchmarks.layout import find_layout
from genomix_data.errors import ConfigError, InputFileError
from genomix_data.tables import SequenceTable
from tests.data.leakage_helpers import random_sequence


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rows(n: int, seed: int, length: int = 101) -> str:
    body = "".join(f"{random_sequence(length, 1000 * seed + i)},{i % 2}\n" for i in range(n))
    return f"sequence,label\n{body}"


def line_of(lines: list[CheckLine], part: str, what: str) -> CheckLine:
    (found,) = [line for line in lines if (line.part, line.what) == (part, what)]
    return found


def test_every_family_is_there_in_full() -> None:
    families = Counter(row.family for row in benchmark_sets().values())
    assert families == {
        "genomic_benchmarks": 9,
        "nucleotide_transformer": 18,
        "nucleotide_transformer_revised": 18,
        "gue": 28,
        "ienhancer_2l": 2,
        "cnnprom": 5,
        "deepsea": 1,
        "mpra": 1,
        "variants": 2,
    }


@pytest.mark.parametrize("name", benchmark_sets())
def test_a_row_agrees_with_itself(name: str) -> None:
    row = get_benchmark(name)
    for part, counts in row.n_per_class.items():
        assert sum(counts.values()) == row.n_sequences[part]
        assert tuple(counts) == row.classes == tuple(sorted(row.classes))
    assert (len(row.classes) == 2) == (row.kind == "binary" or name == "variants/clinvar")
    assert row.length is None or row.length[0] <= row.length[1]
    assert row.source
    assert row.citation
    assert row.obtain
    assert row.licence


def test_totals_are_the_published_ones() -> None:
    assert get_benchmark("human_ensembl_regulatory").n_sequences == {"train": 231348, "test": 57713}
    assert get_benchmark("dummy_mouse_enhancers_ensembl").n_total == 1210
    # The GUE histone sets are those of the Nucleotide Transformer, split anew.
    for mark in (
        "H3",
        "H3K14ac",
        "H3K36me3",
        "H3K4me1",
        "H3K4me2",
        "H3K4me3",
        "H3K79me3",
        "H3K9ac",
        "H4",
        "H4ac",
    ):
        assert (
            get_benchmark(f"gue/EMP/{mark}").n_total
            == get_benchmark(f"nucleotide_transformer/{mark}").n_total
        )


def test_known_files_belong_to_known_sets() -> None:
    assert {file.dataset for file in known_files()} <= set(benchmark_sets())
    assert len({file.sha256 for file in known_files()}) == len(known_files()) == 124
    assert all(len(file.sha256) == 64 for file in known_files())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("enhancers", "could be any of nucleotide_transformer/enhancers, nucleotide_transformer_revised"),
        ("nontata", "Did you mean genomic_benchmarks/human_nontata_promoters"),
        ("human_notata_promoters", "Did you mean 'genomic_benchmarks/human_nontata_promoters'"),
        ("xyzzy", "genomix data list shows all 84"),
    ],
)
def test_a_name_that_is_not_one(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_benchmark(name)


def test_the_family_may_be_left_out() -> None:
    assert get_benchmark("human_nontata_promoters").name == "genomic_benchmarks/human_nontata_promoters"
    assert get_benchmark("TF/0").name == "gue/tf/0"


def test_a_gue_folder(tmp_path: Path) -> None:
    for part, n in (("train", 8), ("dev", 4), ("test", 6)):
        write(tmp_path / f"{part}.csv", rows(n, n))
    loaded = load_benchmark("gue/tf/0", tmp_path)
    assert {part: len(table) for part, table in loaded.parts.items()} == {"train": 8, "valid": 4, "test": 6}
    assert loaded.label_map == {"0": 0, "1": 1}


def test_fasta_files_of_the_nucleotide_transformer(tmp_path: Path) -> None:
    write(tmp_path / "train.fna", ">chr1:1-4|2\nACGT\nACGT\n>chr2:7|0\nGGGG\n")
    write(tmp_path / "test.fna", ">x|1\nacgtn\n")
    loaded = load_benchmark("nucleotide_transformer/enhancers_types", tmp_path)
    train, test = loaded.parts["train"], loaded.parts["test"]
    assert isinstance(train, SequenceTable)
    assert (train.sequences, train.labels.tolist()) == (["ACGTACGT", "GGGG"], [2, 0])
    assert train.class_names == test.class_names == ("0", "1", "2")  # type: ignore[union-attr]


def test_sequence_folders_and_tables_of_your_own(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("neg", "pos"):
            write(tmp_path / "a" / part / name / "1.txt", "ACGT")
    assert load_folder(tmp_path / "a").label_map == {"neg": 0, "pos": 1}
    write(tmp_path / "b" / "mine.csv", "seq,class\nACGT,10\nGG,9\n")
    mine = load_folder(tmp_path / "b", sequence_column="seq", label_column="class")
    assert (list(mine.parts), mine.label_map) == (["all"], {"9": 0, "10": 1})


def test_the_complete_file_wins_over_a_subset(tmp_path: Path) -> None:
    for name in ("test.csv", "subset_chr19.test.csv", "subset_chr19.train.csv"):
        write(tmp_path / name, rows(4, 1))
    files = find_layout(tmp_path).files
    assert {part: file.name for part, file in files.items()} == {
        "train": "subset_chr19.train.csv",
        "test": "test.csv",
    }


def test_several_sets_in_one_folder_are_told_apart_by_name(tmp_path: Path) -> None:
    for layer in ("layer1", "layer2"):
        write(tmp_path / f"{layer}.train.csv", rows(4, 1))
    assert find_layout(tmp_path, "layer2").files["train"].name == "layer2.train.csv"
    with pytest.raises(
        InputFileError, match=r"train part could be any of layer1.train.csv, layer2.train.csv"
    ):
        find_layout(tmp_path)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        find_layout(tmp_path / "absent")
    with pytest.raises(InputFileError, match="it holds nothing"):
        find_layout(tmp_path)
    write(tmp_path / "train.csv", "sequence,label\nACGT,yes\nGGG,no\n")
    with pytest.raises(InputFileError, match="has the classes no, yes; this data set has 0, 1"):
        load_benchmark("gue/tf/0", tmp_path)


def test_the_check_of_a_right_copy(tmp_path: Path) -> None:
    for part in ("train", "test"):
        name = f"ienhancer_2l.layer1.{part}.csv.gz"
        (tmp_path / f"layer1.{part}.csv.gz").write_bytes(samples.path(name).read_bytes())
    report = check_benchmark("ienhancer_2l/layer1", tmp_path)
    assert report.is_right
    assert line_of(report.lines, "train", "class 1").found == "1,484"
    assert line_of(report.lines, "files", "sha256 of layer1.test.csv.gz").status == "ok"
    shared = line_of(report.lines, "train/test", "also in train, letter for letter")
    assert (shared.found, shared.status) == ("100 of 400 (25.0 %)", "note")


def test_the_check_of_a_wrong_copy(tmp_path: Path) -> None:
    text = rows(6, 1, length=200) + f"{'ACGTN' * 50},1\n{'ACGT' * 50},0\n{'ACGT' * 50},1\n"
    write(tmp_path / "layer1.train.csv", text)
    report = check_benchmark("ienhancer_2l/layer1", tmp_path)
    assert not report.is_right
    differs = {(line.part, line.what): line.found for line in report.lines if line.status == "differs"}
    assert differs == {
        ("train", "sequences"): "9",
        ("train", "class 0"): "4",
        ("train", "class 1"): "5",
        ("train", "length (bp)"): "200 to 250",
    }
    assert line_of(report.lines, "train", "with letters other than A C G T").found == "1"
    assert line_of(report.lines, "train", "repeated sequences").found == "1"
    assert line_of(report.lines, "train", "sequences of two classes").found == "1"
    assert line_of(report.lines, "test", "sequences").found == "not there"
    assert line_of(report.lines, "files", "sha256 of layer1.train.csv").status == "note"
    assert report.to_dict()["right"] is False
