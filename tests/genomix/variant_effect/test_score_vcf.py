"""VCF in, VCF out: each row of the dirty-input table, every container, and the provenance."""

import gzip
import logging
import re
from dataclasses import replace
from pathlib import Path

import pysam
import pytest

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import OutputOptions, ScoreOptions, ScoreSummary, score_variants, score_vcf
from genomix_data.errors import ConfigError, InputFileError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.variant import Variant
from genomix_data.vcf import VcfRecord, open_vcf
from tests.genomix.variant_effect.conftest import write_fasta

OPTIONS = ScoreOptions(window=64, device="cpu")
NATS = 1e-4
HEAD = "##fileformat=VCFv4.2\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


def vcf_text(rows: list[str], meta: str = HEAD, more: str = "") -> str:
    return "\n".join([meta + COLUMNS + more, *rows]) + "\n"


def records_of(path: Path) -> list[VcfRecord]:
    with open_vcf(path) as reader:
        return list(reader)  # type: ignore[arg-type]


def statuses_of(path: Path) -> list[str | None]:
    return [record.info["GMX_STATUS"] for record in records_of(path)]


def dirty_rows(sequences: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return each row of the policy table as a record, with the status that it must get."""
    chr1 = sequences["chr1"].decode()

    def ref(pos: int, length: int = 1) -> str:
        return chr1[pos - 1 : pos - 1 + length]

    def other(pos: int) -> str:
        return "ACGT"["ACGT".index(ref(pos).upper()) - 1]

    third = next(base for base in "ACGT" if base not in (ref(500), other(500)))
    return [
        (f"chr1\t500\trs1\t{ref(500)}\t{other(500)}\t29.0\tPASS\tAF=0.123456789", "OK"),
        (f"chr1\t500\t.\t{ref(500)}\t{other(500)},{third}\t.\t.\t.", "OK,OK"),
        (f"chr1\t500\t.\t{other(500)}\t{ref(500)}\t.\t.\tX", "REF_MISMATCH"),
        (f"chr1\t910\t.\t{ref(910).lower()}\t{other(910).lower()}\t.\t.\t.", "OK"),
        (f"1\t500\t.\t{ref(500)}\t{other(500)}\t.\t.\t.", "OK"),
        (f"MT\t150\t.\t{sequences['chrM'][149:150].decode()}\t<INS>\t.\t.\t.", "SYMBOLIC"),
        (f"chr1\t500\t.\t{ref(500)}\t<DEL>\t.\t.\t.", "SYMBOLIC"),
        (f"chr1\t500\t.\t{ref(500)}\t<DEL>\t.\t.\tEND=510;SVLEN=-10", "SYMBOLIC"),
        (f"chr1\t500\t.\t{ref(500)}\t*,{other(500)}\t.\t.\t.", "STAR,OK"),
        (f"chr1\t500\t.\t{ref(500)}\t.\t.\t.\t.", "."),
        (f"chr1\t500\t.\t{ref(500)}\t{ref(500)}[chr1:900[\t.\t.\t.", "SYMBOLIC"),
        (f"chr1\t500\t.\t{ref(500, 2)}\t{other(500)}{other(501)}\t.\t.\t.", "OK"),
        (f"chr1\t500\t.\t{ref(500, 4)}\t{ref(500)}\t.\t.\t.", "OK"),
        (f"chr1\t500\t.\t{ref(500)}\t{ref(500)}ACGT\t.\t.\t.", "OK"),
        (f"chr1\t500\t.\t{ref(500)}\t{ref(500)}{'ACGT' * 8}\t.\t.\t.", "TOO_LONG"),
        (f"chr1\t500\t.\t{ref(500)}\tN\t.\t.\t.", "NON_ACGT"),
        ("chr1\t710\t.\tN\tA\t.\t.\t.", "NON_ACGT"),
        (f"chr1\t690\t.\t{ref(690)}\t{other(690)}\t.\t.\t.", "OK"),
        (f"chr1\t1\t.\t{ref(1)}\t{other(1)}\t.\t.\t.", "OK"),
        (f"chr1\t2000\t.\t{ref(2000)}\t{other(2000)}\t.\t.\t.", "OK"),
        (f"chr1\t1999\t.\t{ref(1999, 2)}\t{ref(1999)}\t.\t.\t.", "EDGE"),
        ("chr1\t0\t.\tN\t<DEL>\t.\t.\t.", "SYMBOLIC"),
        ("chr1\t2001\t.\tA\tC\t.\t.\t.", "EDGE"),
        ("chrUn_7\t5\t.\tA\tC\t.\t.\tDB", "NO_CONTIG"),
        (f"chr1\t500\t.\t{ref(500)}\t{other(500)}\t.\tq10;s50\tUNDECLARED=1;GMX_LLR=9;GMX_OLD=1", "OK"),
    ]


@pytest.fixture
def dirty(tmp_path: Path, sequences: dict[str, bytes]) -> Path:
    path = tmp_path / "dirty.vcf"
    rows = [row + "\tGT:DP\t0|1:7\t./.:." for row, _ in dirty_rows(sequences)]
    path.write_text(vcf_text(rows, more="\tFORMAT\tS1\tS2"))
    return path


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_dirty_input(
    tmp_path: Path, dirty: Path, suffix: str, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    out = tmp_path / f"out{suffix}"
    expected = [status for _, status in dirty_rows(sequences)]
    summary = score_vcf(dirty, fasta, model, out, OPTIONS)
    before, after = records_of(dirty), records_of(out)
    assert statuses_of(out) == expected
    for a, b, statuses in zip(before, after, expected, strict=True):
        assert (b.chrom, b.pos, b.id, b.ref, b.alts) == (a.chrom, a.pos, a.id, a.ref, a.alts)
        assert b.columns[8] == a.columns[8], "genotypes and their phase stay"
        assert b.columns[6] == a.columns[6]
        assert {key for key in b.info if not key.startswith("GMX_")} == {
            k for k in a.info if not k.startswith("GMX_")
        }
        assert [value != "." for value in str(b.info["GMX_LLR"]).split(",")] == [
            status == "OK" for status in statuses.split(",")
        ]
        assert "GMX_OLD" not in b.info
    if suffix != ".bcf":
        assert [b.columns[:7] for b in after] == [a.columns[:7] for a in before]
    counts = [status for statuses in expected for status in statuses.split(",") if status != "."]
    assert {status.value: n for status, n in summary.by_status.items()} == {
        s: counts.count(s) for s in set(counts)
    }
    assert (summary.records, summary.no_alt, summary.dropped) == (len(expected), 1, 0)
    with pysam.VariantFile(str(out)) as found:
        assert sum(1 for _ in found) == len(expected)


def test_scores_are_those_of_score_variants(
    tmp_path: Path, dirty: Path, fasta: Path, genome: Genome, model: LoadedModel
) -> None:
    out = tmp_path / "out.vcf"
    score_vcf(dirty, fasta, model, out, OPTIONS, output=OutputOptions(per_strand=True))
    n_scored = 0
    for record in records_of(out):
        for i, status in enumerate(str(record.info["GMX_STATUS"]).split(",")):
            if status == "OK":
                variant = Variant(record.chrom, record.pos, record.ref, record.alts[i])
                (alone,) = score_variants([variant], genome, model, OPTIONS)
                found = [
                    float(str(record.info[key]).split(",")[i])
                    for key in ("GMX_LLR", "GMX_LLR_FWD", "GMX_LLR_RC")
                ]
                assert found == pytest.approx([alone.llr, alone.llr_fwd, alone.llr_rc], abs=NATS)
                n_scored += 1
    assert n_scored == 13


def test_header_tells_how(tmp_path: Path, dirty: Path, fasta: Path, model: LoadedModel) -> None:
    out, again = tmp_path / "out.vcf", tmp_path / "again.vcf"
    score_vcf(dirty, fasta, model, out, OPTIONS, output=OutputOptions(command="genomix score x"))
    score_vcf(out, fasta, model, again, OPTIONS)
    for path in (out, again):
        meta = path.read_text().split("#CHROM")[0]
        assert meta.count("##genomixVersion=") == 1
        assert re.search(
            rf"##genomixModel=<ID=small,SHA256={model.sha256},Context=64,Strand=both,Reduce=sum", meta
        )
        assert re.search(
            r"##genomixReference=<ID=small.fa,Bases=2360,Contigs=3,ContigsSHA256=[0-9a-f]{64}>", meta
        )
        assert re.search(r"##INFO=<ID=GMX_LLR,Number=A,Type=Float,.*negative = ALT less likely", meta)
        assert re.search(r"##INFO=<ID=GMX_STATUS,Number=A,Type=String", meta)
        assert "equal length" in meta
        with pysam.VariantFile(str(path)) as found:
            assert found.header.info["GMX_LLR"].number == "A"
    assert "##genomixCommand=genomix score x; Date=" in out.read_text()


@pytest.mark.parametrize("name", ["out.tsv", "out.tsv.gz"])
def test_tsv(tmp_path: Path, dirty: Path, name: str, fasta: Path, model: LoadedModel) -> None:
    out = tmp_path / name
    summary = score_vcf(dirty, fasta, model, out, OPTIONS, output=OutputOptions(per_strand=True))
    text = gzip.decompress(out.read_bytes()).decode() if name.endswith("gz") else out.read_text()
    lines = text.splitlines()
    n_meta = sum(line.startswith("##") for line in lines)
    assert lines[0].startswith("##genomixVersion")
    assert lines[n_meta].split("\t")[:7] == ["#CHROM", "POS", "ID", "REF", "ALT", "GMX_LLR", "GMX_STATUS"]
    rows = [line.split("\t") for line in lines[n_meta + 1 :]]
    assert len(rows) == summary.alleles + summary.no_alt
    assert {len(row) for row in rows} == {9}
    assert rows[0][:5] == ["chr1", "500", "rs1", *rows[0][3:5]]
    assert len(rows[0][5].split(".")[1]) > 8, "full precision"
    assert [row[5] == "." for row in rows] == [row[6] != "OK" for row in rows]


def test_tabix_reads_the_indexed_outputs(
    tmp_path: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    chr1 = sequences["chr1"].decode()
    source = tmp_path / "in.vcf"
    source.write_text(
        vcf_text([f"chr1\t{pos}\t.\t{chr1[pos - 1]}\t*\t.\t.\t." for pos in range(100, 600, 50)])
    )
    for name, kind in (("o.tsv.gz", "tbi"), ("o.tsv.gz", "csi"), ("o.vcf.gz", "tbi")):
        out = tmp_path / name
        score_vcf(
            source,
            fasta,
            model,
            out,
            OPTIONS,
            output=OutputOptions(write_index=True, index_format=kind),  # type: ignore[arg-type]
        )
        with pysam.TabixFile(str(out), index=f"{out}.{kind}") as table:
            assert [row.split("\t")[1] for row in table.fetch("chr1", 149, 250)] == ["150", "200", "250"]
    with pytest.raises(ConfigError, match=r"\.tsv\.gz"):
        score_vcf(source, fasta, model, tmp_path / "o.tsv", OPTIONS, output=OutputOptions(write_index=True))


@pytest.mark.parametrize("meta", [HEAD, ""])
def test_header_only_and_no_file_format(tmp_path: Path, meta: str, fasta: Path, model: LoadedModel) -> None:
    source, out = tmp_path / "in.vcf", tmp_path / "out.vcf"
    source.write_text(meta + COLUMNS + "\n")
    assert score_vcf(source, fasta, model, out, OPTIONS).records == 0
    assert records_of(out) == []


def test_crlf(tmp_path: Path, dirty: Path, fasta: Path, model: LoadedModel) -> None:
    crlf = tmp_path / "crlf.vcf"
    crlf.write_bytes(dirty.read_bytes().replace(b"\n", b"\r\n"))
    score_vcf(dirty, fasta, model, tmp_path / "a.vcf", OPTIONS)
    score_vcf(crlf, fasta, model, tmp_path / "b.vcf", OPTIONS)
    assert [r.columns for r in records_of(tmp_path / "a.vcf")] == [
        r.columns for r in records_of(tmp_path / "b.vcf")
    ]
    assert b"\r" not in (tmp_path / "b.vcf").read_bytes()


def test_check_ref_drops_and_counts(
    tmp_path: Path, dirty: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    out = tmp_path / "out.vcf"
    summary = score_vcf(dirty, fasta, model, out, replace(OPTIONS, check_ref="x"))
    assert summary.dropped == 1
    assert len(records_of(out)) == summary.records - 1 == len(dirty_rows(sequences)) - 1


def test_check_ref_stops_and_leaves_nothing(
    tmp_path: Path, dirty: Path, fasta: Path, model: LoadedModel
) -> None:
    with pytest.raises(ReferenceMismatchError, match=r"dirty\.vcf:5: REF is"):
        score_vcf(dirty, fasta, model, tmp_path / "out.vcf", replace(OPTIONS, check_ref="e"))
    assert list(tmp_path.iterdir()) == [dirty]


def contig_lines(**lengths: int) -> str:
    return HEAD + "".join(f"##contig=<ID={name},length={length}>\n" for name, length in lengths.items())


def test_contig_of_another_length_is_another_assembly(
    tmp_path: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    base = chr(sequences["chr1"][499])
    source, out = tmp_path / "in.vcf", tmp_path / "out.vcf"
    source.write_text(vcf_text([f"chr1\t500\t.\t{base}\t*\t.\t.\t."], contig_lines(chr1=249250621, chr2=60)))
    with pytest.raises(
        ReferenceMismatchError,
        match=r"chr1 has 249,250,621 bp in the VCF .* chr1 has 2,000 bp in small\.fa .*the VCF is of GRCh37/hg19",
    ):
        score_vcf(source, fasta, model, out, OPTIONS)
    assert not out.exists()
    assert score_vcf(source, fasta, model, out, replace(OPTIONS, ignore_contig_lengths=True)).records == 1


def test_other_mitochondrion_is_left_unscored(
    tmp_path: Path,
    sequences: dict[str, bytes],
    fasta: Path,
    model: LoadedModel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """hg19's chrM has 16,571 bp and is not the rCRS of GRCh37, though all chromosomes agree."""
    nuclear, mito = chr(sequences["chr2"][29]), chr(sequences["chrM"][29])
    source, out = tmp_path / "in.vcf", tmp_path / "out.vcf"
    rows = [f"chr2\t30\t.\t{nuclear}\t{nuclear}A\t.\t.\t.", f"MT\t30\t.\t{mito}\t{mito}A\t.\t.\t."]
    source.write_text(vcf_text(rows, contig_lines(chr2=60, MT=16571)))
    with caplog.at_level(logging.WARNING):
        score_vcf(source, fasta, model, out, OPTIONS)
    assert statuses_of(out) == ["OK", "NO_CONTIG"]
    assert "MT has another length" in caplog.text


@pytest.mark.parametrize("meta", [HEAD, contig_lines(NC_000001=2000)])
def test_no_contig_matches(tmp_path: Path, meta: str, fasta: Path, model: LoadedModel) -> None:
    source, out = tmp_path / "in.vcf", tmp_path / "out.vcf"
    source.write_text(vcf_text(["NC_000001\t5\t.\tA\tC\t.\t.\t."], meta))
    with pytest.raises(ReferenceMismatchError, match=r"no contig of the VCF is in small\.fa.*--contig-map"):
        score_vcf(source, fasta, model, out, OPTIONS)
    assert not out.exists()


def test_contig_map(tmp_path: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel) -> None:
    base = chr(sequences["chr1"][499])
    source, out, names = tmp_path / "in.vcf", tmp_path / "out.vcf", tmp_path / "map.tsv"
    source.write_text(vcf_text([f"NC_000001\t500\t.\t{base}\t{base}A\t.\t.\t."]))
    names.write_text("NC_000001\tchr1\n")
    score_vcf(source, fasta, model, out, OPTIONS, contig_map=names)
    assert statuses_of(out) == ["OK"]
    assert records_of(out)[0].chrom == "NC_000001"


def test_truncated_input_leaves_nothing(tmp_path: Path, dirty: Path, fasta: Path, model: LoadedModel) -> None:
    packed = tmp_path / "dirty.vcf.gz"
    pysam.tabix_compress(str(dirty), str(packed))
    packed.write_bytes(packed.read_bytes()[:-28])
    with pytest.raises(InputFileError, match="truncated"):
        score_vcf(packed, fasta, model, tmp_path / "out.vcf", OPTIONS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dirty.vcf", "dirty.vcf.gz"]


def test_output_over_the_input_is_refused(dirty: Path, fasta: Path, model: LoadedModel) -> None:
    before = dirty.read_bytes()
    with pytest.raises(ConfigError, match="is the input itself"):
        score_vcf(dirty, fasta, model, dirty, OPTIONS)
    assert dirty.read_bytes() == before


def test_summary_says_it_all(tmp_path: Path, dirty: Path, fasta: Path, model: LoadedModel) -> None:
    summary = score_vcf(dirty, fasta, model, tmp_path / "out.vcf", OPTIONS)
    assert isinstance(summary, ScoreSummary)
    told = summary.to_dict()
    assert (
        told["alleles"]
        == told["alleles_scored"] + told["alleles_unscored"]
        == sum(told["by_status"].values())
    )
    assert (told["alleles_scored"], told["window_bp"], told["model_sha256"]) == (13, 64, model.sha256)
    assert told["output"].endswith("out.vcf")


def test_bcf_to_bcf_keeps_floats(tmp_path: Path, sequences: dict[str, bytes], model: LoadedModel) -> None:
    """A BCF goes to BCF without its numbers passing through text."""
    fasta = write_fasta(tmp_path / "g.fa", sequences)
    base = chr(sequences["chr1"][499])
    text, first, second = tmp_path / "in.vcf", tmp_path / "a.bcf", tmp_path / "b.bcf"
    meta = HEAD + '##INFO=<ID=AF,Number=A,Type=Float,Description="x">\n'
    text.write_text(vcf_text([f"chr1\t500\t.\t{base}\t{base}A\t.\t.\tAF=0.123456789"], meta))
    score_vcf(text, fasta, model, first, OPTIONS)
    score_vcf(first, fasta, model, second, OPTIONS)
    with pysam.VariantFile(str(second)) as found:
        (row,) = list(found)
    assert row.info["AF"][0] == pytest.approx(0.123456789, rel=1e-7)
    assert row.info["GMX_STATUS"] == ("OK",)
    assert row.info["GMX_LLR"][0] != 0.0
