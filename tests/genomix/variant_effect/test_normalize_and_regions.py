"""Scoring normal forms, and scoring parts of a VCF."""

from pathlib import Path

import pysam.bcftools
import pytest

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import ScoreOptions, Status, score_variants, score_vcf
from genomix_data.errors import ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.normalize import normalize_variant
from genomix_data.variant import Variant
from genomix_data.vcf import VcfRecord, open_vcf
from tests.genomix.variant_effect.conftest import random_bases, write_fasta

PLAIN = ScoreOptions(window=64, device="cpu")
NORMALIZED = ScoreOptions(window=64, device="cpu", normalize=True)
NATS = 2e-4
REPEAT = b"CAG" * 5
FIRST = 301  # 1-based position of the first base of the repeat


@pytest.fixture
def repeats(tmp_path: Path) -> Genome:
    """One contig with a repeat of CAG between unique flanks that do not continue it."""
    bases = random_bases(299, 5) + b"T" + REPEAT + b"T" + random_bases(300, 6)
    return Genome(write_fasta(tmp_path / "repeats.fa", {"chr1": bases}))


def test_spellings_of_one_deletion_get_one_score(model: LoadedModel, repeats: Genome) -> None:
    spellings = [
        Variant("chr1", FIRST - 1, "TCAG", "T"),
        Variant("chr1", FIRST + 2, "GCAG", "G"),
        Variant("chr1", FIRST + 11, "GCAG", "G"),
        Variant("chr1", FIRST, "CAGCAGC", "CAGC"),
    ]
    assert {str(normalize_variant(variant, repeats)) for variant in spellings} == {str(spellings[0])}
    as_given = [score.llr for score in score_variants(spellings, repeats, model, PLAIN)]
    normalized = [score.llr for score in score_variants(spellings, repeats, model, NORMALIZED)]
    assert normalized == [as_given[0]] * 4
    assert max(as_given) - min(as_given) > 100 * NATS  # type: ignore[type-var, operator]


def test_normalization_leaves_snvs_and_unscored_alleles_alone(model: LoadedModel, repeats: Genome) -> None:
    ref = repeats.fetch("chr1", 99, 100).decode()
    alt = "ACGT"["ACGT".index(ref) - 1]
    variants = [
        Variant("chr1", 100, ref, alt),
        Variant("chr1", 100, ref, ref),
        Variant("chr1", 100, alt, ref),
        Variant("chr9", 100, alt, ref),
    ]
    as_given = score_variants(variants, repeats, model, PLAIN)
    assert [score.status for score in as_given] == [
        Status.OK,
        Status.OK,
        Status.REF_MISMATCH,
        Status.NO_CONTIG,
    ]
    assert score_variants(variants, repeats, model, NORMALIZED) == as_given
    assert as_given[1].llr == 0.0


def test_vcf_records_come_back_as_they_were_and_are_counted(
    tmp_path: Path, model: LoadedModel, repeats: Genome
) -> None:
    source, out = tmp_path / "in.vcf", tmp_path / "out.vcf"
    snv = repeats.fetch("chr1", 99, 100).decode()
    other = "ACGT"["ACGT".index(snv) - 1]
    source.write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t100\t.\t{snv}\t{other}\t.\t.\t.\n"
        f"chr1\t{FIRST + 11}\t.\tGCAG\tG,<DEL>,GCAGCAG\t9.0\t.\tX=1\n"
    )
    summary = score_vcf(source, repeats, model, out, NORMALIZED)
    assert (summary.records, summary.scored, summary.normalized) == (2, 3, 2)
    assert summary.to_dict()["alleles_normalized"] == 2
    before, after = read(source), read(out)
    assert [record.columns[:7] for record in after] == [record.columns[:7] for record in before]
    insertion = score_variants([Variant("chr1", FIRST - 1, "T", "TCAG")], repeats, model, PLAIN)[0].llr
    llrs = str(after[1].info["GMX_LLR"]).split(",")
    assert float(llrs[2]) == pytest.approx(insertion, abs=NATS)
    assert "Normalized=yes" in out.read_text()
    assert score_vcf(source, repeats, model, out, PLAIN).normalized == 0


@pytest.mark.parametrize("suffix", [".vcf", ".bcf", ".tsv"])
def test_regions_and_targets_of_a_vcf(
    tmp_path: Path, model: LoadedModel, repeats: Genome, suffix: str
) -> None:
    plain, packed, out = tmp_path / "in.vcf", tmp_path / "in.vcf.gz", tmp_path / f"out{suffix}"
    rows = [
        f"chr1\t{pos}\tr{pos}\t{repeats.fetch('chr1', pos - 1, pos).decode()}\tA\t.\t.\t."
        for pos in range(50, 500, 50)
    ]
    plain.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        + "\n".join(rows)
        + "\n"
    )
    pysam.bcftools.view("-Oz", "-o", str(packed), "--no-version", str(plain), catch_stdout=False)
    pysam.bcftools.index(str(packed))
    assert score_vcf(packed, repeats, model, out, PLAIN, regions="1:100-200").records == 3
    assert score_vcf(plain, repeats, model, out, PLAIN, targets="^chr1:100-200").records == 6
    with pytest.raises(ReferenceMismatchError, match="contig 'chr2'"):
        score_vcf(plain, repeats, model, out, PLAIN, targets="chr2")


def test_a_table_of_variants_is_scored_as_its_vcf(
    tmp_path: Path, model: LoadedModel, repeats: Genome
) -> None:
    table, out = tmp_path / "in.tsv", tmp_path / "out.tsv"
    rows = [(pos, repeats.fetch("chr1", pos - 1, pos).decode()) for pos in (100, 200)]
    table.write_text("chrom\tpos\tref\talt\n" + "".join(f"1\t{pos}\t{ref}\tA,T\n" for pos, ref in rows))
    assert score_vcf(table, repeats, model, out, PLAIN).scored == 4
    scored = [line.split("\t") for line in out.read_text().splitlines() if not line.startswith("#")]
    variants = [Variant("1", int(row[1]), row[3], row[4]) for row in scored]
    expected = [score.llr for score in score_variants(variants, repeats, model, PLAIN)]
    assert [float(row[5]) for row in scored] == pytest.approx(expected, abs=NATS)
    again = tmp_path / "again.tsv"
    assert score_vcf(out, repeats, model, again, PLAIN).scored == 4


def read(path: Path) -> list[VcfRecord]:
    with open_vcf(path) as reader:
        return list(reader)  # type: ignore[arg-type]
