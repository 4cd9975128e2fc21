"""The VCF conformance suites of hts-specs: what keeps to the specification passes, what does not never does harm.

The files that break it do so mostly where genomix only carries bytes (declarations, FORMAT, samples, values of INFO).
Those come back byte for byte, and are counted. What genomix reads itself (the header line, the number of columns, POS)
it must refuse, and alleles that are no letters it must not score.
"""

import tarfile
from pathlib import Path

import pytest

from genomix.variant_effect.contract import Status
from genomix.variant_effect.windows import allele_status
from genomix_data.vcf import open_vcf
from genomix_data.vcf.conformance import check_vcf
from tests.data.tricky import carry

ARCHIVE = Path(__file__).parent.parent / "fixtures" / "tricky" / "hts_specs_vcf.tar.xz"

# What is refused, and why; the same names in each version of the suite.
REFUSED = {
    "failed_body_pos_000.vcf": "POS is '.'",
    "failed_body_pos_001.vcf": "POS is '123abc'",
    "failed_empty.vcf": "is not a VCF",
    "failed_empty_sample.vcf": "is empty",
    "failed_header_000.vcf": "POSITION",
    "failed_meta_002.vcf": "no #CHROM line",
    "failed_meta_004.vcf": "no #CHROM line",
    "failed_meta_005.vcf": "no #CHROM line",
}
# What a version of the suite holds to be wrong, and `check_vcf` does not.
ALLOWED = {
    "4.1/failed/failed_body_format_003.vcf",  # G_S: from 4.3 on keys may hold an underscore
    "4.2/failed/failed_body_format_003.vcf",
    "4.1/failed/failed_meta_sample_000.vcf",  # SAMPLE without Genomes, which 4.3 no longer has
    "4.2/failed/failed_meta_sample_000.vcf",
    "4.1/failed/failed_meta_sample_001.vcf",  # a quoted value that is no Description, as 4.3 allows
    "4.2/failed/failed_meta_sample_001.vcf",
    "4.3/failed/failed_body_chrom_004.vcf",  # chr*1: the specification allows * but in front, as HLA contigs have it
    "4.3/failed/failed_meta_contig_003.vcf",
    "4.3/failed/failed_meta_sample_003.vcf",
    "4.3/failed/failed_meta_pedigree_001.vcf",  # a colon in a value
}
# Alleles that are no letters: never scored, counted by this status.
UNSCORED = {
    "failed_body_alt_000.vcf": Status.NON_ACGT,
    "failed_body_alt_001.vcf": Status.NON_ACGT,
    "failed_body_alt_003.vcf": Status.SYMBOLIC,
    "failed_body_alt_005.vcf": Status.SYMBOLIC,
    "failed_body_ref_000.vcf": Status.NON_ACGT,
    "failed_body_ref_001.vcf": Status.NON_ACGT,
    "failed_body_ref_002.vcf": Status.NON_ACGT,
}


def members() -> list[str]:
    with tarfile.open(ARCHIVE) as archive:
        return [name for name in archive.getnames() if name.endswith(".vcf")]


NAMES = members()
PASSED = [name for name in NAMES if "/passed/" in name]
FAILED = [name for name in NAMES if "/failed/" in name]


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suites")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_the_suites_are_whole() -> None:
    assert (len(PASSED), len(FAILED)) == (75, 607)


@pytest.mark.parametrize("name", PASSED)
def test_what_keeps_to_the_specification_is_read_and_written(suites: Path, tmp_path: Path, name: str) -> None:
    for suffix in (".vcf", ".vcf.gz", ".bcf"):
        n_records, error = carry(suites / name, tmp_path / f"out{suffix}")
        assert error == ""
        lines = (suites / name).read_bytes().splitlines()
        assert n_records == sum(1 for line in lines if line and not line.startswith(b"#"))


@pytest.mark.parametrize("name", FAILED)
def test_what_breaks_the_specification_is_refused_or_carried_whole(
    suites: Path, tmp_path: Path, name: str
) -> None:
    reason = REFUSED.get(Path(name).name)
    for suffix in (".vcf", ".bcf"):
        _, error = carry(suites / name, tmp_path / f"out{suffix}")
        if reason is not None:
            assert reason in error
        elif suffix == ".vcf":
            assert error == ""
        else:
            # BCF cannot hold text of every kind; then htslib's reason is given and the way out named.
            assert not error or "Write VCF.gz instead" in error


@pytest.mark.parametrize("name", PASSED)
def test_nothing_is_held_against_what_keeps_to_the_specification(suites: Path, name: str) -> None:
    assert check_vcf(suites / name).faults == {}


@pytest.mark.parametrize("name", FAILED)
def test_what_breaks_the_specification_is_noticed(suites: Path, name: str) -> None:
    if Path(name).name in REFUSED:
        return
    found = check_vcf(suites / name)
    assert (sum(found.faults.values()) > 0) == (name not in ALLOWED)
    assert found.first.keys() == found.faults.keys()
    assert all(where.startswith(str(suites / name)) for where in found.first.values())


@pytest.mark.parametrize("name", [name for name in FAILED if Path(name).name in UNSCORED])
def test_alleles_that_are_no_letters_are_not_scored(suites: Path, name: str) -> None:
    with open_vcf(suites / name) as reader:
        (record,) = list(reader)
    assert {allele_status(record.ref, alt) for alt in record.alts} == {UNSCORED[Path(name).name]}
