"""Alleles beside their phased neighbours, and symbolic alleles as the letters that they stand for."""

from dataclasses import replace
from pathlib import Path

import pytest

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import ScoreOptions, score_variants, score_vcf
from genomix.variant_effect.haplotype_sites import with_neighbours
from genomix_data.errors import ConfigError, InputFileError
from genomix_data.genome import Genome
from genomix_data.variant import Variant
from genomix_data.vcf import VcfRecord, open_vcf
from tests.genomix.variant_effect.conftest import NaiveLlr, random_bases, write_fasta

WINDOW = 64
OPTIONS = ScoreOptions(window=WINDOW, device="cpu", strand="forward")
PHASED = replace(OPTIONS, haplotypes=True)
NATS = 1e-4
CONTIG = random_bases(1000, 41)


def base(pos: int) -> str:
    return chr(CONTIG[pos - 1])


def other(pos: int) -> str:
    return "ACGT"["ACGT".index(base(pos)) - 1]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("g") / "g.fa", {"chr1": CONTIG, "chr2": CONTIG[:300]})


def write_vcf(path: Path, rows: list[str], samples: str = "me") -> Path:
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + samples
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def row(pos: int, ref: str, alt: str, call: str, chrom: str = "chr1") -> str:
    return f"{chrom}\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\tGT:PS\t{call}"


def llrs(path: Path) -> list[list[float | None]]:
    with open_vcf(path) as reader:
        return [
            [None if value == "." else float(value) for value in str(record.info["GMX_LLR"]).split(",")]
            for record in reader
            if isinstance(record, VcfRecord)
        ]


def applied(changes: list[tuple[int, str, str]]) -> bytes:
    """Return the contig with changes (1-based POS, REF, ALT) put in, from the last to the first."""
    letters = CONTIG
    for pos, ref, alt in sorted(changes, reverse=True):
        letters = letters[: pos - 1] + alt.encode() + letters[pos - 1 + len(ref) :]
    return letters


def test_neighbours_of_the_same_haplotype_are_in_both_windows(
    tmp_path: Path, fasta: Path, model: LoadedModel, naive_llr: NaiveLlr
) -> None:
    """An SNV beside a deletion and an SNV in phase, another out of phase: windows made by hand."""
    deletion = CONTIG[489:493].decode()
    rows = [
        row(490, deletion, deletion[0], "1|0:7"),
        row(500, base(500), other(500), "1|0:7"),
        row(505, base(505), other(505), "1|0:7"),
        row(508, base(508), other(508), "0|1:7"),
    ]
    out = tmp_path / "out.vcf"
    summary = score_vcf(write_vcf(tmp_path / "in.vcf", rows), fasta, model, out, PHASED)
    neighbours = [(490, deletion, deletion[0]), (505, base(505), other(505))]
    haplotype = applied(neighbours)
    at = 500 - 1 - (len(deletion) - 1)  # the deletion lies before it
    start = at - WINDOW // 2
    ref = haplotype[start : start + WINDOW]
    alt = applied([*neighbours, (500, base(500), other(500))])[start : start + WINDOW]
    assert llrs(out)[1][0] == pytest.approx(naive_llr(ref, alt), abs=NATS)
    assert summary.on_haplotype == 4
    assert summary.haplotype_skipped == {}
    plain = tmp_path / "plain.vcf"
    score_vcf(tmp_path / "in.vcf", fasta, model, plain, OPTIONS)
    assert llrs(plain)[1][0] != pytest.approx(llrs(out)[1][0], abs=NATS)
    with open_vcf(out) as reader:
        assert any(line.startswith("##genomixHaplotypes=<ID=me,") for line in reader.header.meta)


def test_carried_by_both_haplotypes_is_their_mean(tmp_path: Path, fasta: Path, model: LoadedModel) -> None:
    rows = [row(495, base(495), other(495), "0|1:."), row(500, base(500), other(500), "1/1:.")]
    out = tmp_path / "out.vcf"
    score_vcf(write_vcf(tmp_path / "in.vcf", rows), fasta, model, out, PHASED)
    write_fasta(tmp_path / "other.fa", {"chr1": applied([(495, base(495), other(495))])})
    variant = Variant("chr1", 500, base(500), other(500))
    one = score_variants([variant], Genome(fasta), model, OPTIONS)[0].llr
    two = score_variants([variant], Genome(tmp_path / "other.fa"), model, OPTIONS)[0].llr
    assert one is not None
    assert two is not None
    assert llrs(out)[1][0] == pytest.approx((one + two) / 2, abs=NATS)


def test_alone_it_is_the_reference_and_what_is_not_phased_is_counted(
    tmp_path: Path, fasta: Path, model: LoadedModel
) -> None:
    third = next(letter for letter in "ACGT" if letter not in (base(400), other(400)))
    rows = [
        row(100, base(100), other(100), "0|1:."),  # no neighbour
        row(400, base(400), f"{other(400)},{third}", "0|1:5"),  # the second ALT is not carried
        row(420, base(420), other(420), "0/1:."),  # no phase
        row(425, base(425), other(425), "1|0:5"),
        row(430, base(430), other(430), "0|1:6"),  # another phase set
        row(440, base(440), other(440), "./.:."),
        row(5, base(5), other(5), "0|1:.", "chr2"),
    ]
    plain, out = tmp_path / "plain.vcf", tmp_path / "out.vcf"
    source = write_vcf(tmp_path / "in.vcf", rows)
    score_vcf(source, fasta, model, plain, OPTIONS)
    summary = score_vcf(source, fasta, model, out, PHASED)
    before, after = llrs(plain), llrs(out)
    for number in (0, 2, 5, 6):
        assert after[number] == pytest.approx(before[number], abs=NATS)
    assert after[1][1] == pytest.approx(before[1][1], abs=NATS)
    assert summary.haplotype_skipped["not_carried"] == 2
    assert summary.haplotype_skipped["unphased"] == 1
    assert summary.haplotype_skipped["other_phase_set"] == 1
    assert summary.haplotype_skipped["neighbour_unphased"] > 0
    assert summary.on_haplotype == 4
    assert summary.to_dict()["haplotype_skipped"] == summary.haplotype_skipped


def test_which_sample(tmp_path: Path, fasta: Path, model: LoadedModel) -> None:
    rows = [row(495, base(495), other(495), "0|1:.\t0|0:."), row(500, base(500), other(500), "0|1:.\t0|1:.")]
    source = write_vcf(tmp_path / "in.vcf", rows, "me\tyou")
    with pytest.raises(ConfigError, match=r"no sample was named.*me, you.*--sample"):
        score_vcf(source, fasta, model, tmp_path / "out.vcf", PHASED)
    with pytest.raises(ConfigError, match="no sample 'her'"):
        score_vcf(source, fasta, model, tmp_path / "out.vcf", replace(PHASED, sample="her"))
    found = []
    for name in ("me", "you"):
        score_vcf(source, fasta, model, tmp_path / "out.vcf", replace(PHASED, sample=name))
        found.append(llrs(tmp_path / "out.vcf")[1][0])
    reference = score_variants([Variant("chr1", 500, base(500), other(500))], Genome(fasta), model, OPTIONS)
    assert found[1] == pytest.approx(reference[0].llr, abs=NATS)
    assert found[0] != pytest.approx(found[1], abs=NATS)


def test_unsorted_records_are_refused(tmp_path: Path, fasta: Path, model: LoadedModel) -> None:
    rows = [row(500, base(500), other(500), "0|1:."), row(495, base(495), other(495), "0|1:.")]
    with pytest.raises(InputFileError, match=r"haplotypes need sorted records.*bcftools sort"):
        score_vcf(write_vcf(tmp_path / "in.vcf", rows), fasta, model, tmp_path / "out.vcf", PHASED)
    assert not (tmp_path / "out.vcf").exists()


def test_each_record_has_those_within_reach() -> None:
    def record(chrom: str, pos: int) -> VcfRecord:
        return VcfRecord.from_line(f"{chrom}\t{pos}\t.\tA\tC\t.\t.\t.".encode(), "x", 0)

    places = [("1", 1), ("1", 5), ("1", 6), ("1", 6), ("1", 16), ("2", 5), ("2", 16)]
    found = {}
    for number, (each, near) in enumerate(with_neighbours([record(*place) for place in places], 10)):
        assert (each.chrom, each.pos) == places[number]
        assert each in near
        found[number] = [(other.chrom, other.pos) for other in near]
    for number, (chrom, pos) in enumerate(places):
        assert found[number] == [(c, p) for c, p in places if c == chrom and abs(p - pos) <= 10]


@pytest.mark.parametrize("suffix", [".vcf", ".bcf"])
def test_symbolic_alleles_are_scored_as_their_letters(
    tmp_path: Path, suffix: str, fasta: Path, model: LoadedModel
) -> None:
    def symbolic(pos: int, alt: str, info: str) -> str:
        return f"chr1\t{pos}\t.\t{base(pos)}\t{alt}\t.\t.\t{info}"

    rows = [
        symbolic(300, "<DEL>", "END=310;SVLEN=-10;SVTYPE=DEL"),
        symbolic(400, "<DUP:TANDEM>", "END=406;SVTYPE=DUP"),
        symbolic(500, "<INV>", "END=512"),
        symbolic(600, "<INS>", "SEQ=ACGTAC"),
        symbolic(650, "<INS>", "SVLEN=6"),
        symbolic(700, "<DEL>", "END=990"),
        symbolic(800, f"<DEL>,{other(800)}", "END=804"),
    ]
    meta = "".join(
        f'##INFO=<ID={key},Number={number},Type={kind},Description="x">\n'
        for key, number, kind in (
            ("END", 1, "Integer"), ("SVLEN", ".", "Integer"), ("SVTYPE", 1, "String"), ("SEQ", 1, "String")
        )
    )  # fmt: skip
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    source, out = tmp_path / "in.vcf", tmp_path / f"out{suffix}"
    source.write_text("##fileformat=VCFv4.2\n" + meta + columns + "\n".join(rows) + "\n")
    options = replace(OPTIONS, sv=True)
    summary = score_vcf(source, fasta, model, out, options)
    text = tmp_path / "text.vcf"
    score_vcf(out, fasta, model, text, options)  # what was written can be scored again, BCF too
    with open_vcf(out) as reader:
        statuses = [record.info["GMX_STATUS"] for record in reader if isinstance(record, VcfRecord)]
    assert statuses == ["OK", "OK", "OK", "OK", "SYMBOLIC", "TOO_LONG", "OK,OK"]
    assert summary.spelled_out == 5
    spelled = [
        Variant("chr1", 300, CONTIG[299:310].decode(), base(300)),
        Variant("chr1", 400, base(400), CONTIG[399:406].decode()),
        Variant("chr1", 600, base(600), base(600) + "ACGTAC"),
        Variant("chr1", 800, CONTIG[799:804].decode(), base(800)),
    ]
    expected = [score.llr for score in score_variants(spelled, Genome(fasta), model, OPTIONS)]
    found = llrs(out)
    assert [found[n][0] for n in (0, 1, 3, 6)] == pytest.approx(expected, abs=NATS)
    assert [values[0] for values in llrs(text)] == pytest.approx([values[0] for values in found], abs=NATS)
    score_vcf(source, fasta, model, tmp_path / "without.vcf", OPTIONS)
    assert [values[0] for values in llrs(tmp_path / "without.vcf")] == [None] * 7
