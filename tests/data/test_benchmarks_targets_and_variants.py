"""Multi-label and regression tables, Parquet, labelled FASTA, and variants with classes."""

from pathlib import Path

import numpy as np
import pytest

from genomix_data import samples
from genomix_data.benchmarks import check_benchmark, load_benchmark
from genomix_data.errors import GenomixError, InputFileError
from genomix_data.genome import Genome
from genomix_data.tables import read_sequences, read_table
from genomix_data.tables.located import LocatedTable, read_located_table
from genomix_data.tables.targets import TargetTable, read_target_table
from genomix_data.tables.variants import VariantTable, read_brca1_sge, read_clinvar, read_variant_table

CLINVAR = """##fileformat=VCFv4.1
##INFO=<ID=CLNSIG,Number=.,Type=String,Description="s">
##INFO=<ID=CLNREVSTAT,Number=.,Type=String,Description="r">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
1\t10\ta\tA\tG\t.\t.\tCLNSIG=Benign;CLNREVSTAT=reviewed_by_expert_panel
1\t11\tb\tC\tT\t.\t.\tCLNSIG=Pathogenic/Likely_pathogenic|drug_response;CLNREVSTAT=criteria_provided,_single_submitter
1\t12\tc\tC\tT\t.\t.\tCLNSIG=Uncertain_significance
1\t13\td\tC\tT,<DEL>\t.\t.\tCLNSIG=Likely_pathogenic
1\t14\te\tC\t.\t.\t.\tCLNSIG=Benign
1\t15\tf\tC\tG\t.\t.\tAF=0.1
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_multi_label_from_sequences(tmp_path: Path) -> None:
    table = read_target_table(
        write(tmp_path / "x.tsv", "id\tsequence\tDNase\tCTCF\na\tACGT\t1\t0\nb\tGGG\t\t1\n"), "multi-label"
    )
    assert (table.target_names, table.sequences) == (("DNase", "CTCF"), ["ACGT", "GGG"])
    np.testing.assert_array_equal(table.targets, [[1, 0], [np.nan, 1]])
    assert table.n_positive == {"DNase": 1, "CTCF": 1}
    assert table.select([1]).sequences == ["GGG"]


def test_profiles_from_coordinates_and_a_genome(tmp_path: Path) -> None:
    genome = Genome(samples.path("yeast_chrI.fa.gz"))
    names = ",".join(f"f{i}" for i in range(919))
    ones, zeros = ",".join("1" * 919), ",".join("0" * 919)
    for part in ("train", "test"):
        write(
            tmp_path / f"{part}.csv",
            f"chrom,start,end,{names}\nchrI,1000,1200,{ones}\nchrI,100,300,{zeros}\n",
        )
    loaded = load_benchmark("deepsea/chromatin_profiles", tmp_path, genomes=genome)
    table = loaded.parts["train"]
    assert isinstance(table, TargetTable)
    assert table.targets.shape == (2, 919)
    assert table.sequences[0] == genome.fetch("chrI", 600, 1600).decode()
    assert table.sequences[1] == "N" * 300 + genome.fetch("chrI", 0, 700).decode()
    assert table.locations is not None
    assert table.locations.start.tolist() == [1000, 100]
    assert loaded.label_map["f918"] == 918
    report = check_benchmark("deepsea/chromatin_profiles", tmp_path, genomes=genome)
    assert [line.found for line in report.lines if line.what == "targets"] == ["919", "919"]
    with pytest.raises(InputFileError, match="columns of coordinates but no genome"):
        load_benchmark("chromatin_profiles", tmp_path)


def test_regression_of_chosen_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "mpra.csv", "sequence,element,log2FC,p\nACGT,LDLR,-1.5,0.1\nGGGG,TERT,2e-1,nan\n")
    table = read_target_table(path, "regression", target_columns=["log2FC", "p"])
    np.testing.assert_allclose(table.targets, [[-1.5, 0.1], [0.2, np.nan]])
    with pytest.raises(InputFileError, match=r"mpra.csv:2: 'LDLR' in column 'element' is not a number"):
        read_target_table(path, "regression")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence,a\nACGT,2\n", "'2' in column 'a' should be 0 or 1 for a multi-label task"),
        ("sequence,id\nACGT,2\n", "no column of targets"),
        ("chrom,start,end,a\nchr1,1,5,0\n", "columns of coordinates but no genome"),
        ("x,a\n1,0\n", "no column 'sequence', and no columns of coordinates either"),
        ("sequence,a\nACZT,1\n", "not a nucleotide code"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read_target_table(write(tmp_path / "x.csv", text), "multi-label")
    with pytest.raises(InputFileError, match="should be a finite number"):
        read_target_table(write(tmp_path / "y.csv", "sequence,a\nACGT,inf\n"), "regression")


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow (the extra parquet) is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"sequence": ["ACGT", "GGG", "TT"], "label": [10, 2, 10], "chrom": ["chr1", "chr2", None]}
    columns |= {"start": [0, 5, None], "end": [4, 8, None], "signal": [0.5, None, 2.0]}
    path = tmp_path / "x.parquet"
    parquet.write_table(arrow.table(columns), path, row_group_size=2)
    table = read_located_table(path)
    assert (table.sequences, table.class_names, table.labels.tolist()) == (
        ["ACGT", "GGG", "TT"],
        ("2", "10"),
        [1, 0, 1],
    )
    assert isinstance(table, LocatedTable)
    assert table.locations.is_known.tolist() == [True, True, False]
    targets = read_target_table(path, "regression", target_columns=["signal"]).targets
    np.testing.assert_array_equal(targets, [[0.5], [np.nan], [2.0]])
    with pytest.raises(InputFileError, match="no column 'cell'"):
        read_table(path, label_column="cell")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputFileError, match="is damaged"):
        read_table(path)
    parquet.write_table(arrow.table({"sequence": [], "label": []}), path)
    with pytest.raises(InputFileError, match="has no rows"):
        read_table(path)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None in sys.modules is how Python itself marks a module that must not be imported.
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1....")
    with pytest.raises(GenomixError, match=r"pip install 'genomix-fm\[parquet\]'"):
        read_table(tmp_path / "x.parquet")


def test_fasta_with_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "x.fa", ">seq a|enh\nAC\nGT\n>b|none\nGG\n")
    assert read_table(path).class_names == ("enh", "none")
    assert read_sequences(path) == ["ACGT", "GG"]
    digits = write(tmp_path / "y.fa", ">a_1\nAC\n>b_0\nGG\n")
    assert read_table(digits).labels.tolist() == [1, 0]
    assert "labels are the last character of each header" in caplog.text
    with pytest.raises(InputFileError, match=r"x.fa:3: the header '>b' has no label; write it after a \|"):
        read_table(write(tmp_path / "x.fa", ">a|1\nAC\n>b\nGG\n"))
    with pytest.raises(InputFileError, match="write all in one way"):
        read_table(write(tmp_path / "x.fa", ">a|1\nAC\n>b2\nGG\n"))
    with pytest.raises(InputFileError, match="the sequence is empty"):
        read_table(write(tmp_path / "x.fa", ">a|1\n>b|1\nGG\n"))
    with pytest.raises(InputFileError, match="no column 'class'; it has name, sequence, label"):
        read_table(path, label_column="class")


def test_the_brca1_variants() -> None:
    loaded = load_benchmark("brca1_sge", samples.path("brca1_sge.vcf.gz"))
    table = loaded.parts["all"]
    assert isinstance(table, VariantTable)
    assert table.n_per_class == {"FUNC": 2821, "INT": 249, "LOF": 823}
    assert table.scores is not None
    means = [table.scores[table.labels == label].mean() for label in range(3)]
    assert means[0] > means[1] > means[2], "loss of function scores low"


def test_the_brca1_table(tmp_path: Path) -> None:
    path = write(
        tmp_path / "sge.csv",
        "chrom,pos,ref,alt,func.class,function.score.mean\nchr17,5,T,A,LOF,-1.2\nchr17,6,G,C,FUNC,0.1\n",
    )
    table = read_brca1_sge(path)
    assert [str(variant) for variant in table.variants] == ["chr17:5:T>A", "chr17:6:G>C"]
    assert (table.class_names, table.labels.tolist()) == (("FUNC", "LOF"), [1, 0])
    with pytest.raises(InputFileError, match=r"sge.csv:2: not a variant"):
        read_variant_table(write(path, "chrom,pos,ref,alt,c\nchr17,x,T,A,1\n"), "c")


def test_clinvar_keeps_benign_and_pathogenic(tmp_path: Path) -> None:
    path = write(tmp_path / "c.vcf", CLINVAR)
    table = read_clinvar(path)
    assert [(v.pos, label) for v, label in zip(table.variants, table.labels.tolist(), strict=True)] == [
        (10, 0),
        (11, 1),
        (13, 1),
    ]
    assert table.skipped == {
        "CLNSIG uncertain_significance": 1,
        "alleles without letters": 1,
        "no ALT": 1,
        "CLNSIG absent": 1,
    }
    assert len(read_clinvar(path, min_stars=1)) == 2
    assert read_clinvar(path, min_stars=3).n_per_class == {"benign": 1, "pathogenic": 0}
    with pytest.raises(InputFileError, match="no benign or pathogenic variant left"):
        read_clinvar(path, min_stars=4)


def test_reference_alleles_are_compared(tmp_path: Path) -> None:
    genome = write(tmp_path / "g.fa", ">1\nAAAAAAAAAACCGC\n")
    report = check_benchmark("clinvar", write(tmp_path / "c.vcf", CLINVAR), genomes=Genome(genome))
    (line,) = [line for line in report.lines if line.what == "REF as in the genome"]
    assert (line.expected, line.found, line.status) == ("3", "2", "differs")
