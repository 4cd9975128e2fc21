"""Labelled variants are read whole, one row an allele, and judged by the classes that the user names."""

from pathlib import Path

import numpy as np
import pytest

from genomix.evaluation.labelled_variants import LabelledVariants, read_labelled_variants
from genomix.evaluation.variants import evaluate_scores
from genomix.training.metrics import binary_auroc
from genomix_data import samples
from genomix_data.errors import ConfigError, InputFileError

HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def write_vcf(path: Path, *records: str) -> Path:
    path.write_text(HEADER + "".join(f"chr1\t{record}\n".replace(" ", "\t") for record in records))
    return path


def test_values_an_allele_and_values_a_record(tmp_path: Path) -> None:
    vcf = write_vcf(
        tmp_path / "a.vcf",
        "10 . A C,G . . CLASS=LOF,FUNC;GMX_LLR=-2.5,0.5;TYPE=exon",
        "11 . A C,G . . CLASS=LOF;GMX_LLR=.,1;TYPE=intron",
        "12 . A . . . CLASS=LOF",
        "13 . A T . . CLASS=a,b;GMX_LLR=3e-1",
    )
    found = read_labelled_variants(vcf, label="CLASS", score_fields=["GMX_LLR"], group="TYPE")
    assert found.labels == ["LOF", "FUNC", "LOF", "LOF", "a,b"]
    np.testing.assert_equal(found.scores["GMX_LLR"], [-2.5, 0.5, np.nan, 1.0, 0.3])
    assert found.groups == ["exon", "exon", "intron", "intron", None]
    assert [allele.pos for allele in found.alleles] == [10, 10, 11, 11, 13], "no ALT, no allele"


def test_a_table_gives_the_same(tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text(
        "##made=by hand\n#CHROM\tPOS\tREF\tALT\tclass\tscore\nchr1\t10\tA\tC,G\tLOF\t-2.5,0.5\nchr1\t11\tA\tC\tNA\t.\n"
    )
    found = read_labelled_variants(table, label="class", score_fields=["score"])
    assert found.labels == ["LOF", "LOF", None]
    np.testing.assert_equal(found.scores["score"], [-2.5, 0.5, np.nan])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"label": "Class"},
            "has the INFO key 'Class'; there are CLASS, GMX_LLR, FLAG. Did you mean 'CLASS'?",
        ),
        ({"label": "CLASS", "score_fields": ["FS"]}, "has the INFO key 'FS'"),
        ({"label": "CLASS", "score_fields": ["CLASS"]}, "a.vcf:3: CLASS is 'LOF', which is not a number"),
    ],
)
def test_fields_that_are_not_there(tmp_path: Path, options: dict[str, object], message: str) -> None:
    vcf = write_vcf(tmp_path / "a.vcf", "10 . A C . . CLASS=LOF;GMX_LLR=1;FLAG", "11 . A C . . CLASS=FUNC")
    with pytest.raises(InputFileError) as raised:
        read_labelled_variants(vcf, **options)  # type: ignore[arg-type]
    assert message in str(raised.value)


def test_a_field_without_numbers_is_no_score(tmp_path: Path) -> None:
    vcf = write_vcf(tmp_path / "a.vcf", "10 . A C . . CLASS=LOF;FLAG", "11 . A C . . CLASS=FUNC;FLAG")
    variants = read_labelled_variants(vcf, label="CLASS", score_fields=["FLAG"])
    with pytest.raises(InputFileError, match="has a score in 'FLAG'"):
        evaluate_scores(variants, label="CLASS", positive=["LOF"])


def test_files_without_records_or_columns(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="has no records"):
        read_labelled_variants(write_vcf(tmp_path / "none.vcf"), label="CLASS")
    table = tmp_path / "a.csv"
    table.write_text("chrom,pos,ref,alt,klass\nchr1,10,A,C,x\n")
    with pytest.raises(InputFileError, match=r"no column 'klas'.*Did you mean 'klass'"):
        read_labelled_variants(table, label="klas")
    table.write_text("chrom,pos,ref,alt,klass\nchr1,ten,A,C,x\n")
    with pytest.raises(InputFileError, match="'ten' is not a whole number"):
        read_labelled_variants(table, label="klass")


@pytest.fixture(scope="module")
def brca1() -> LabelledVariants:
    """The measured function score of Findlay et al. 2018 as the score: it made the classes, so it separates them."""
    return read_labelled_variants(
        samples.path("brca1_sge.vcf.gz"), label="CLASS", score_fields=["FS", "HG19POS"]
    )


def test_brca1(brca1: LabelledVariants) -> None:
    found = evaluate_scores(brca1, label="CLASS", positive=["LOF"], higher_means="negative", n_resamples=100)
    function, position = found.scores
    assert len(brca1) == 3893
    assert found.n_by_class == {"FUNC": 2821, "LOF": 823, "INT": 249}
    assert found.negative == ("FUNC", "INT")
    assert function.overall is not None
    assert function.overall.auroc.value == 1.0
    assert list(function.by_class) == ["FUNC", "INT"]
    assert function.by_class["INT"].n_negative == 249
    assert position.overall is not None
    assert position.overall.auroc.low < position.overall.auroc.value < position.overall.auroc.high
    labels = np.array([label == "LOF" for label in brca1.labels])
    assert position.overall.auroc.value == pytest.approx(binary_auroc(-brca1.scores["HG19POS"], labels))
    assert list(found.spearman) == ["FS / HG19POS"]
    assert found.sides("INT") == "LOF / INT"


def test_the_side_that_a_score_speaks_for() -> None:
    variants = LabelledVariants(source="x", labels=["p", "p", "n", "n"])
    variants.alleles = [("chr1", i, "A", "C") for i in range(4)]  # type: ignore[misc]
    scores = np.array([-3.0, -2, 1, 2])
    variants.scores = {"GMX_LLR": scores, "other": -scores}
    found = evaluate_scores(variants, label="y", positive=["p"], n_resamples=20)
    assert [score.higher_means for score in found.scores] == ["negative", "positive"]
    assert all(score.overall is not None and score.overall.auroc.value == 1 for score in found.scores)
    turned = evaluate_scores(variants, label="y", positive=["p"], higher_means="positive", n_resamples=20)
    assert turned.scores[0].overall is not None
    assert turned.scores[0].overall.auroc.value == 0


def test_nothing_is_dropped_without_being_counted() -> None:
    rng = np.random.default_rng(0)
    labels: list[str | None] = ["p"] * 20 + ["n"] * 30 + ["vus"] * 7 + [None] * 3
    groups: list[str | None] = [*["big"] * 45, *["small"] * 15]
    variants = LabelledVariants(source="x", labels=labels, groups=groups)
    variants.alleles = [("chr1", i // 2, "A", "C") for i in range(60)]  # type: ignore[misc]
    scores = rng.normal(size=60)
    scores[::10] = np.nan
    variants.scores = {"s": scores}
    found = evaluate_scores(variants, label="y", positive=["p"], negative=["n"], n_resamples=20)
    (score,) = found.scores
    assert score.overall is not None
    n_judged = score.overall.n_positive + score.overall.n_negative
    assert n_judged + score.n_unscored + found.n_left_out + found.n_unlabelled == 60
    assert (found.n_left_out, found.n_unlabelled, score.n_unscored) == (7, 3, 5)
    assert found.n_duplicates == 50, "every site stands there twice"
    assert (list(score.by_group), score.n_small_groups) == (["big"], 1)
    assert found.to_dict()["scores"]["s"]["n_unscored"] == 5


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        (["lof"], [], "no variant has the class 'lof'.*Did you mean 'LOF'"),
        (["LOF"], ["LOF"], "named positive and negative"),
        (["LOF", "FUNC", "INT"], [], "every labelled variant"),
    ],
)
def test_classes_that_cannot_be_judged(
    brca1: LabelledVariants, positive: list[str], negative: list[str], message: str
) -> None:
    with pytest.raises((ConfigError, InputFileError), match=message):
        evaluate_scores(brca1, label="CLASS", positive=positive, negative=negative)
