"""Normal forms: those of bcftools norm, one for all spellings, and never another sequence."""

from collections.abc import Iterator
from pathlib import Path

import pysam
import pysam.bcftools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.errors import ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.normalize import normalize_alleles, normalize_variant
from genomix_data.variant import Variant
from genomix_data.vcf import VcfRecord, open_vcf

BCFTOOLS = Path(__file__).parent.parent / "fixtures" / "tricky" / "bcftools"
Row = tuple[int, str, tuple[str, ...]]

# Each VCF of bcftools' own tests of norm that has records which fit a FASTA beside it, and how many those are.
CASES = [
    ("norm.vcf", "norm.fa", 20),
    ("norm.merge.vcf", "norm.fa", 23),
    ("norm.merge.2.vcf", "norm.fa", 3),
    ("norm.split.vcf", "norm.fa", 18),
    ("norm.split.5.vcf", "norm.fa", 2),
    ("norm.phased-join.vcf", "norm.fa", 3),
    ("norm.telomere.vcf", "norm.fa", 1),
    ("norm.right-align.vcf", "norm.right-align.fa", 2),
    ("norm.rmdup.3.vcf", "norm.rmdup.3.fa", 2),
    ("norm.2.vcf", "norm.2.fa", 2),
    ("norm.atom-split-norm.vcf", "norm.atom-split-norm.fa", 1),
]


def read_fasta(path: Path) -> dict[str, bytes]:
    contigs: dict[str, bytes] = {}
    for record in path.read_bytes().split(b">")[1:]:
        head, _, body = record.partition(b"\n")
        contigs[head.split()[0].decode()] = body.replace(b"\n", b"")
    return contigs


def ours(contig: bytes, pos: int, ref: str, alts: tuple[str, ...]) -> Row:
    return normalize_alleles(lambda start, end: contig[start:end], len(contig), pos, ref, alts)


def theirs(
    folder: Path, fasta: Path, contigs: dict[str, bytes], chrom: str, row: Row, *options: str
) -> list[Row]:
    one = folder / "one.vcf"
    declared = "".join(f"##contig=<ID={name},length={len(bases)}>\n" for name, bases in contigs.items())
    one.write_text(
        f"##fileformat=VCFv4.2\n{declared}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"{chrom}\t{row[0]}\t.\t{row[1]}\t{','.join(row[2])}\t.\t.\t.\n"
    )
    verbosity = pysam.set_verbosity(0)
    try:
        text = str(pysam.bcftools.norm("--no-version", "-f", str(fasta), *options, str(one)))
    finally:
        pysam.set_verbosity(verbosity)
    fields = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return sorted((int(f[1]), f[3].upper(), tuple(f[4].upper().split(","))) for f in fields)


def fitting_records(vcf: Path, contigs: dict[str, bytes]) -> Iterator[VcfRecord]:
    """Yield the records of letters whose REF is in the FASTA."""
    with open_vcf(vcf) as reader:
        for record in reader:
            assert isinstance(record, VcfRecord)
            found = contigs.get(record.chrom, b"")[record.pos - 1 :][: len(record.ref)].decode()
            letters = set("".join(record.alts).upper())
            if record.alts and letters <= set("ACGTN") and found.upper() == record.ref.upper():
                yield record


@pytest.mark.parametrize(("vcf", "fasta", "n_records"), CASES)
def test_bcftools_own_cases(tmp_path: Path, vcf: str, fasta: str, n_records: int) -> None:
    contigs = read_fasta(BCFTOOLS / fasta)
    copy = tmp_path / fasta
    copy.write_bytes((BCFTOOLS / fasta).read_bytes())
    records = list(fitting_records(BCFTOOLS / vcf, contigs))
    assert len(records) == n_records
    for record in records:
        bases, row = contigs[record.chrom], (record.pos, record.ref, record.alts)
        assert theirs(tmp_path, copy, contigs, record.chrom, row) == [ours(bases, *row)], record.where
        split = sorted(ours(bases, record.pos, record.ref, (alt,)) for alt in record.alts)
        assert theirs(tmp_path, copy, contigs, record.chrom, row, "-m-") == split, record.where


@st.composite
def sites(draw: st.DrawFn) -> tuple[bytes, Row]:
    """Draw a contig of few letters, where indels have many spellings, and one to three ALTs."""
    contig = draw(st.text("AC", min_size=1, max_size=40))
    start = draw(st.integers(0, len(contig) - 1))
    ref = contig[start : start + draw(st.integers(1, 6))]
    alts = draw(st.lists(st.text("AC", min_size=1, max_size=6), min_size=1, max_size=3, unique=True))
    return contig.encode(), (start + 1, ref, tuple(alts))


def applied(contig: bytes, pos: int, ref: str, alt: str) -> bytes:
    return contig[: pos - 1] + alt.encode() + contig[pos - 1 + len(ref) :]


@given(sites())
@settings(max_examples=300, deadline=None)
def test_the_normal_form_is_the_same_change_and_its_own_normal_form(site: tuple[bytes, Row]) -> None:
    contig, (pos, ref, alts) = site
    found = ours(contig, pos, ref, alts)
    assert ours(contig, *found) == found
    assert contig[found[0] - 1 :].startswith(found[1].encode())
    assert [applied(contig, pos, ref, alt) for alt in alts] == [
        applied(contig, found[0], found[1], alt) for alt in found[2]
    ]


@given(sites())
@settings(max_examples=150, deadline=None)
def test_all_spellings_of_a_change_have_one_normal_form(site: tuple[bytes, Row]) -> None:
    contig, (pos, ref, (alt, *_)) = site
    changed = applied(contig, pos, ref, alt)
    forms = set()
    for start in range(len(contig)):
        for end in range(start + 1, len(contig) + 1):
            # The ALT that makes the changed contig of this REF, if there is one.
            kept_left, kept_right = contig[:start], contig[end:]
            middle = changed[start : len(changed) - len(kept_right)]
            is_same = kept_left + middle + kept_right == changed and len(changed) >= start + len(kept_right)
            if is_same and middle and middle != contig[start:end]:
                forms.add(ours(contig, start + 1, contig[start:end].decode(), (middle.decode(),)))
    assert len(forms) == (changed != contig)


@given(sites())
@settings(max_examples=60, deadline=None)
def test_against_bcftools(tmp_path_factory: pytest.TempPathFactory, site: tuple[bytes, Row]) -> None:
    contig, (pos, ref, alts) = site
    alts = tuple(alt for alt in alts if alt != ref)
    if not alts:
        return
    folder = tmp_path_factory.mktemp("norm")
    fasta = folder / "x.fa"
    fasta.write_bytes(b">c\n" + contig + b"\n")
    split = theirs(folder, fasta, {"c": contig}, "c", (pos, ref, alts), "-m-")
    assert split == sorted(ours(contig, pos, ref, (alt,)) for alt in alts)


def test_long_repeats_and_contig_ends() -> None:
    contig = b"G" + b"CA" * 5000 + b"T"
    assert ours(contig, 9999, "ACA", ("A",)) == (1, "GCA", ("G",))
    assert ours(b"AAAT", 3, "A", ("AA",)) == (1, "A", ("AA",))
    assert ours(b"AAAT", 2, "AA", ("A",)) == (1, "AA", ("A",))
    assert ours(b"ACGT", 2, "C", ("C", "G")) == (2, "C", ("C", "G"))
    assert ours(b"ACGT", 2, "c", ("c",)) == (2, "C", ("C",))


def test_variants_of_a_genome(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">chr1\nGGGCACACACAGGG\n")
    genome = Genome(path)
    found = normalize_variant(Variant("1", 8, "cac", "c", id="rs1"), genome)
    assert found == Variant("1", 3, "GCA", "G", id="rs1")
    with pytest.raises(ReferenceMismatchError, match=r"1:8:T>A: REF is not what x\.fa has there, 'C'"):
        normalize_variant(Variant("1", 8, "T", "A"), genome)
    with pytest.raises(ReferenceMismatchError, match="REF is not what"):
        normalize_variant(Variant("1", 14, "GN", "G"), genome)


@given(sites())
def test_the_change_of_a_variant_is_all_that_it_changes(site: tuple[bytes, Row]) -> None:
    contig, (pos, ref, (alt, *_)) = site
    start, end, letters = Variant("c", pos, ref, alt).change
    assert contig[:start] + letters.encode() + contig[end:] == applied(contig, pos, ref, alt)
    removed = contig[start:end].decode()
    assert not (removed and letters) or (removed[0] != letters[0] and removed[-1] != letters[-1])
