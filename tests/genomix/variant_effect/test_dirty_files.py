"""Files that are odd as a whole, not in a record: each is scored, and every record comes back in its place."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import OutputOptions, ScoreOptions, score_vcf
from genomix_data.errors import InputFileError, ReferenceMismatchError
from genomix_data.vcf import VcfRecord, open_vcf

OPTIONS = ScoreOptions(window=64, device="cpu")
HEAD = "##fileformat=VCFv4.2\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def snv(sequences: dict[str, bytes], pos: int, name: str = ".") -> str:
    ref = chr(sequences["chr1"][pos - 1]).upper()
    return f"chr1\t{pos}\t{name}\t{ref}\t{'ACGT'['ACGT'.index(ref) - 1]}\t.\t.\t.\n"


def records(path: Path) -> list[VcfRecord]:
    with open_vcf(path) as reader:
        return [record for record in reader if isinstance(record, VcfRecord)]


def scores(path: Path) -> dict[str, float]:
    return {record.id: float(str(record.info["GMX_LLR"])) for record in records(path)}


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf", ".tsv", ".tsv.gz", ".parquet"])
def test_no_records(tmp_path: Path, suffix: str, fasta: Path, model: LoadedModel) -> None:
    parquet: Any = importlib.import_module("pyarrow.parquet")  # without types
    source, out = tmp_path / "in.vcf", tmp_path / f"out{suffix}"
    source.write_text(HEAD + COLUMNS)
    summary = score_vcf(source, fasta, model, out, OPTIONS)
    assert (summary.records, summary.alleles, summary.windows) == (0, 0, 0)
    if suffix == ".parquet":
        assert parquet.read_table(out).num_rows == 0
    elif "tsv" not in suffix:
        assert records(out) == []


def test_an_index_of_no_records(tmp_path: Path, fasta: Path, model: LoadedModel) -> None:
    (tmp_path / "in.vcf").write_text(HEAD + COLUMNS)
    out = tmp_path / "out.vcf.gz"
    score_vcf(tmp_path / "in.vcf", fasta, model, out, OPTIONS, output=OutputOptions(write_index=True))
    assert Path(f"{out}.csi").exists()
    assert records(out) == []


def test_unsorted_records_keep_their_order_and_their_scores(
    tmp_path: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    rows = [snv(sequences, pos, f"v{pos}") for pos in range(400, 440)]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    (tmp_path / "a.vcf").write_text(HEAD + COLUMNS + "".join(rows))
    (tmp_path / "b.vcf").write_text(HEAD + COLUMNS + "".join(shuffled))
    for name in "ab":
        score_vcf(tmp_path / f"{name}.vcf", fasta, model, tmp_path / f"{name}.out.vcf", OPTIONS)
    assert [record.id for record in records(tmp_path / "b.out.vcf")] == [
        row.split("\t")[2] for row in shuffled
    ]
    assert scores(tmp_path / "b.out.vcf") == pytest.approx(scores(tmp_path / "a.out.vcf"), abs=1e-4)
    index = OutputOptions(write_index=True)
    with pytest.raises(InputFileError, match=r"an index needs sorted records.*bcftools sort"):
        score_vcf(tmp_path / "b.vcf", fasta, model, tmp_path / "c.vcf.gz", OPTIONS, output=index)


def test_duplicate_and_overlapping_records(
    tmp_path: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    """Each record is scored by itself: a deletion over an SNV changes nothing of it."""
    ref = sequences["chr1"][497:503].decode()
    rows = [
        f"chr1\t498\tdeletion\t{ref}\t{ref[0]}\t.\t.\t.\n",
        snv(sequences, 500, "once"),
        snv(sequences, 500, "twice"),
        f"chr1\t500\tlonger\t{ref[2:]}\t{ref[2]}\t.\t.\t.\n",
    ]
    (tmp_path / "in.vcf").write_text(HEAD + COLUMNS + "".join(rows))
    (tmp_path / "alone.vcf").write_text(HEAD + COLUMNS + rows[1])
    score_vcf(tmp_path / "in.vcf", fasta, model, tmp_path / "out.vcf", OPTIONS)
    score_vcf(tmp_path / "alone.vcf", fasta, model, tmp_path / "alone.out.vcf", OPTIONS)
    found = scores(tmp_path / "out.vcf")
    assert list(found) == ["deletion", "once", "twice", "longer"]
    assert found["once"] == found["twice"]
    assert found["once"] == pytest.approx(scores(tmp_path / "alone.out.vcf")["once"], abs=1e-4)


def test_no_contig_lines_into_bcf(
    tmp_path: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    """BCF must declare contigs: they come from the FASTA."""
    (tmp_path / "in.vcf").write_text(HEAD + COLUMNS + snv(sequences, 500))
    score_vcf(tmp_path / "in.vcf", fasta, model, tmp_path / "out.bcf", OPTIONS)
    with pysam.VariantFile(str(tmp_path / "out.bcf")) as found:
        assert found.header.contigs["chr1"].length == len(sequences["chr1"])
        assert [record.pos for record in found] == [500]


def test_unindexed_file_and_regions(
    tmp_path: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    source = tmp_path / "in.vcf"
    source.write_text(HEAD + COLUMNS + snv(sequences, 500) + snv(sequences, 600))
    with pytest.raises(InputFileError, match=r"no index.*bcftools index"):
        score_vcf(source, fasta, model, tmp_path / "out.vcf", OPTIONS, regions="chr1:500")
    assert score_vcf(source, fasta, model, tmp_path / "out.vcf", OPTIONS, targets="chr1:500").records == 1


def test_wrong_assembly_stops_before_much_is_scored(
    tmp_path: Path, sequences: dict[str, bytes], fasta: Path, model: LoadedModel
) -> None:
    """Positions shifted by one base, as 0-based ones are: the first hundred records tell, of thousands."""
    rows = []
    for number in range(3000):
        pos = 100 + number % 500
        fields = snv(sequences, pos).split("\t")
        rows.append("\t".join([fields[0], str(pos + 1), *fields[2:]]))
    (tmp_path / "in.vcf").write_text(HEAD + COLUMNS + "".join(rows))
    n_done: list[float] = []
    with pytest.raises(
        ReferenceMismatchError, match=r"wrong assembly\? REF disagrees .* of the first 100 records"
    ):
        score_vcf(tmp_path / "in.vcf", fasta, model, tmp_path / "out.vcf", OPTIONS, progress=n_done.append)
    assert n_done == []
    assert not (tmp_path / "out.vcf").exists()
