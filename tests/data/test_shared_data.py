"""The whole of the shared test data, where it is at hand: set ``GENOMIX_SHARED_DATA`` to its folder.

The folder holds ``tricky``, ``variants`` and ``genomes``; a part of ``tricky`` is in the fixtures and always tested.
"""

import gzip
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from genomix_data.bed import read_bed
from genomix_data.errors import GenomixError
from genomix_data.genome import Genome
from genomix_data.vcf import open_vcf
from tests.data.tricky import carry

SHARED = os.environ.get("GENOMIX_SHARED_DATA", "")
pytestmark = pytest.mark.skipif(
    not SHARED, reason="GENOMIX_SHARED_DATA does not name the folder of the shared data"
)
ROOT = Path(SHARED)

# file, FASTA (or two), what to subtract from POS, records
REFERENCES = [
    ("brca1_sge/brca1_sge.region.vcf", "variants/brca1_sge/brca1_region.fa", 0, 3893),
    ("brca1_sge/brca1_sge.hg19.vcf.gz", "variants/brca1_sge/brca1_region.fa", 41176311, 3893),
    ("brca1_sge/clinvar_brca1.region.vcf.gz", "variants/brca1_sge/brca1_region.fa", 0, 14998),
    ("human_b37/CG_CEPH_trio_chr17_BRCA1_region.vcf.gz", "variants/brca1_sge/brca1_region.fa", 41176311, 535),
    ("human_b37/1000G_chr20_1-2Mb.hg19.vcf.gz", "genomes/human_hg19_chr20.fa.gz", 0, 28998),
    (
        "human_b37/CEUTrio.20.21.gatk3.7.vcf.gz",
        "genomes/human_hg19_chr20.fa.gz genomes/human_hg19_chr21.fa.gz",
        0,
        1085,
    ),
    ("human_b37/dream3-chr20.vcf.gz", "genomes/human_hg19_chr20.fa.gz", 0, 1205),
    ("human_b37/dbsnp135.chr1_1M.exome_intervals.vcf.gz", "genomes/human_b37_chr1_first1Mb.fa.gz", 0, 734),
    ("human_b37/dbsnp_135.b37.1000.vcf.gz", "genomes/human_b37_chr1_first1Mb.fa.gz", 0, 99),
    ("sars_cov2/problematic_sites_sarsCov2.vcf.gz", "genomes/sars_cov2.fa.gz", 0, 481),
]


def unpacked(path: Path, folder: Path) -> Path:
    """Return a copy outside the shared folder, where an index may be written; the genomes there are plain gzip."""
    copy = folder / path.name.removesuffix(".gz")
    data = path.read_bytes()
    copy.write_bytes(gzip.decompress(data) if path.suffix == ".gz" else data)
    return copy


@pytest.mark.parametrize(("vcf", "fasta", "offset", "n_records"), REFERENCES)
def test_every_reference_allele_is_that_of_its_genome(
    tmp_path: Path, vcf: str, fasta: str, offset: int, n_records: int
) -> None:
    parts = [unpacked(ROOT / part, tmp_path) for part in fasta.split()]
    whole = tmp_path / "whole.fa"
    whole.write_bytes(b"\n".join(part.read_bytes() for part in parts))
    genome = Genome(whole)
    (only,) = genome.contigs if len(genome.contigs) == 1 else (None,)
    counts: Counter[bool] = Counter()
    wrong: list[str] = []
    with open_vcf(ROOT / "variants" / vcf) as reader:
        for record in reader:
            contig = only if offset else record.chrom
            start = record.pos - 1 - offset
            found = genome.fetch(str(contig), start, start + len(record.ref)).decode().upper()
            counts[found == record.ref.upper()] += 1
            if found != record.ref.upper():
                wrong.append(record.where)
    assert counts == {True: n_records}, wrong[:5]


# Files of tricky/ that are refused, and why; all others are read, and VCFs come back byte for byte.
REFUSED_FASTA = {
    "bcftools/aa.fa": "'.' at 1:1 is not a nucleotide code",
    "bcftools/consensus.12.fa": "uneven lengths",
    "bcftools/consensus.fa": "uneven lengths",
    "bcftools/norm.iupac.fa": "'1' at 1:21 is not a nucleotide code",
    "gatk/problematicFASTA.fasta": "'X' at chr1:17010 is not a nucleotide code",
}
REFUSED_VCF = {
    "htsjdk/Homo_sapiens_assembly38.tile_db_header.vcf": "no #CHROM line",
    "htsjdk/corrupt_file_that_starts_with_#.vcf": "no #CHROM line",
    "htsjdk/mangledBaseVariants.vcf": "is not a VCF",
}
REFUSED_BED = {"pyfaidx/malformed.bed": "at least three columns"}


def tricky(*suffixes: str) -> list[str]:
    root = ROOT / "tricky"
    paths = (path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.suffix in suffixes)
    return [path for path in paths if SHARED and "hts-specs" not in path]


@pytest.mark.parametrize("name", tricky(".vcf", ".bcf", ".gz", ".bgz"))
@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_tricky_vcf(tmp_path: Path, name: str, suffix: str) -> None:
    _, error = carry(ROOT / "tricky" / name, tmp_path / f"out{suffix}")
    if name in REFUSED_VCF:
        assert REFUSED_VCF[name] in error
    elif suffix == ".bcf":
        assert not error or "Write VCF.gz instead" in error
    else:
        assert error == ""


@pytest.mark.parametrize("name", tricky(".fa", ".fasta"))
def test_tricky_fasta(tmp_path: Path, name: str) -> None:
    source = unpacked(ROOT / "tricky" / name, tmp_path)
    if name in REFUSED_FASTA:
        with pytest.raises(GenomixError, match=re.escape(REFUSED_FASTA[name])):
            Genome(source)
        return
    expected: dict[str, bytes] = {}
    for part in source.read_bytes().replace(b"\r", b"").split(b">")[1:]:
        head, _, body = part.partition(b"\n")
        expected[head.split()[0].decode()] = body.replace(b"\n", b"")
    genome = Genome(source)
    assert {contig: genome.fetch(contig, 0, length) for contig, length in genome.contigs.items()} == expected


@pytest.mark.parametrize("name", tricky(".bed", ".bed12"))
def test_tricky_bed(name: str) -> None:
    path = ROOT / "tricky" / name
    if name in REFUSED_BED:
        with pytest.raises(GenomixError, match=REFUSED_BED[name]):
            read_bed(path)
    else:
        assert len(read_bed(path)) == sum(1 for line in path.read_text().splitlines() if line.strip())
