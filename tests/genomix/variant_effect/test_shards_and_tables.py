"""Parts of a file put together are the whole file; tables of scores are what scoring gives."""

import gzip
import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pysam
import pytest

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import OutputOptions, ScoreOptions, Shard, score_vcf
from genomix.variant_effect.merge import merge_shards
from genomix.variant_effect.score import BLOCK_RECORDS
from genomix.variant_effect.shards import ShardLine
from genomix.variant_effect.tile import tile_genome
from genomix_data.errors import ConfigError, InputFileError, ReferenceMismatchError
from genomix_data.regions import Regions
from genomix_data.vcf import open_vcf
from tests.genomix.variant_effect.conftest import random_bases, write_fasta

OPTIONS = ScoreOptions(window=16, device="cpu")
ScoreFile = Callable[..., Path]
CONTIG = random_bases(4000, 8)
N_RECORDS = 2 * BLOCK_RECORDS + 300


def snv_rows(n: int) -> list[str]:
    rows = []
    for number in range(n):
        pos = 100 + number
        ref = chr(CONTIG[pos - 1])
        alt = "ACGT"["ACGT".index(ref) - 1]
        alt = alt if number % 97 else f"{alt},{ref}TT,<DEL>"
        rows.append(f"chr1\t{pos}\tr{number}\t{ref}\t{alt}\t.\t.\t.")
    return rows


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``g.fa`` and ``in.vcf`` of more than two blocks."""
    folder = tmp_path_factory.mktemp("inputs")
    write_fasta(folder / "g.fa", {"chr1": CONTIG})
    head = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "in.vcf").write_text(head + "\n".join(snv_rows(N_RECORDS)) + "\n")
    return folder


def body(path: Path) -> bytes:
    """Return all but the line on the command, which has a date."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"##genomixCommand"))


@pytest.fixture(scope="module")
def score(inputs: Path, model: LoadedModel) -> ScoreFile:
    """Score the input into a file, whole or a shard of it."""

    def run(out: Path, shard: str | None = None) -> Path:
        part = None if shard is None else Shard.parse(shard)
        score_vcf(inputs / "in.vcf", inputs / "g.fa", model, out, OPTIONS, shard=part)
        return out

    return run


@pytest.mark.parametrize("suffix", [".vcf.gz", ".tsv"])
@pytest.mark.parametrize("of", [2, 5])
def test_merged_shards_are_the_whole_byte_for_byte(
    tmp_path: Path, suffix: str, of: int, score: ScoreFile
) -> None:
    """With more shards than blocks some are empty."""
    whole = score(tmp_path / f"whole{suffix}")
    parts = [score(tmp_path / f"part{n}{suffix}", f"{n}/{of}") for n in range(1, of + 1)]
    summary = merge_shards(parts[::-1], tmp_path / f"merged{suffix}")
    assert body(tmp_path / f"merged{suffix}") == body(whole)
    assert summary.shards == of
    assert summary.records == N_RECORDS if suffix == ".vcf.gz" else summary.records > N_RECORDS


def test_bcf_parquet_and_index(tmp_path: Path, score: ScoreFile) -> None:
    parquet: Any = importlib.import_module("pyarrow.parquet")  # without types
    whole = parquet.read_table(score(tmp_path / "whole.parquet"))
    parts = [score(tmp_path / f"{n}.parquet", f"{n}/2") for n in (1, 2)]
    merge_shards(parts, tmp_path / "merged.parquet")
    assert parquet.read_table(tmp_path / "merged.parquet").equals(whole)
    parts = [score(tmp_path / f"{n}.bcf", f"{n}/2") for n in (1, 2)]
    merge_shards(parts, tmp_path / "merged.bcf", OutputOptions(write_index=True))
    with pysam.VariantFile(str(tmp_path / "merged.bcf")) as found:
        assert sum(1 for _ in found.fetch("chr1", 99, 200)) == 101
        assert sum(1 for _ in found.fetch()) == N_RECORDS
    with pytest.raises(ConfigError, match="cannot go to standard output"):
        merge_shards([tmp_path / "1.parquet", tmp_path / "2.parquet"], None, OutputOptions(output_type="p"))


def test_what_does_not_belong_together_is_refused(
    tmp_path: Path, inputs: Path, model: LoadedModel, score: ScoreFile
) -> None:
    whole = score(tmp_path / "whole.vcf")
    one, two, three = (score(tmp_path / f"{n}.vcf", f"{n}/3") for n in (1, 2, 3))
    out = tmp_path / "out.vcf"
    for paths, message in (
        ([one, three], r"of 3 shards these are missing: 2\. Score them"),
        ([one, two, two, three], "expected each of 1 to 3 once"),
        ([whole], "is no shard"),
        ([], "no shard was given"),
    ):
        with pytest.raises(ConfigError, match=message):
            merge_shards(paths, out)
    with pytest.raises(ConfigError, match="of different kinds"):
        merge_shards([one, two, three], tmp_path / "out.tsv")
    other = replace(OPTIONS, reduce="mean")
    score_vcf(inputs / "in.vcf", inputs / "g.fa", model, tmp_path / "x.vcf", other, shard=Shard(2, 3))
    with pytest.raises(ConfigError, match="of another run"):
        merge_shards([one, tmp_path / "x.vcf", three], out)
    lines = two.read_bytes().splitlines(keepends=True)
    two.write_bytes(b"".join([*lines, lines[-1]]))
    with pytest.raises(
        InputFileError, match=r"2\.vcf has 1,025 records and its header says 1,024: it was changed"
    ):
        merge_shards([one, two, three], out)
    assert not out.exists()


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".tsv", ".tsv.gz"])
def test_a_shard_that_was_cut(tmp_path: Path, suffix: str, score: ScoreFile) -> None:
    """At the end of a line, amid one, or packed again by a tool that knows nothing of it; not so with all records."""
    one, two, three = (score(tmp_path / f"{n}{suffix}", f"{n}/3") for n in (1, 2, 3))
    plain = gzip.decompress(two.read_bytes()) if suffix.endswith(".gz") else two.read_bytes()
    packed = pysam.tabix_compress if suffix.endswith(".gz") else None

    def write(content: bytes) -> None:
        if packed is None:
            two.write_bytes(content)
        else:
            (tmp_path / "plain").write_bytes(content)
            packed(str(tmp_path / "plain"), str(two), force=True)

    lines = plain.splitlines(keepends=True)
    header = [line for line in lines if line.startswith(b"#")]
    for kept, message in (
        (
            b"".join(lines[:-1]),
            r"and its header says [\d,]+: it was cut, or is not whole\. Copy the shard again",
        ),
        (b"".join(header), "has 0 r(ecord|ow)s"),
        (plain[:-1], "the last r(ecord|ow) of .* is cut"),
        (plain[:-4], "the last r(ecord|ow) of .* is cut"),
    ):
        write(kept)
        with pytest.raises(InputFileError, match=message):
            merge_shards([one, two, three], tmp_path / f"out{suffix}")
    write(plain)
    merge_shards([one, two, three], tmp_path / f"out{suffix}")


def test_a_packed_shard_that_lost_its_end(tmp_path: Path, score: ScoreFile) -> None:
    one, two, three = (score(tmp_path / f"{n}.vcf.gz", f"{n}/3") for n in (1, 2, 3))
    two.write_bytes(two.read_bytes()[:-28])
    with pytest.raises(InputFileError, match="trunca"):
        merge_shards([one, two, three], tmp_path / "out.vcf.gz")


def test_shards_of_another_input(tmp_path: Path, inputs: Path, model: LoadedModel, score: ScoreFile) -> None:
    """As many records and the same header, but a record differs: in its alleles, or in INFO only."""
    one, two, three = (score(tmp_path / f"{n}.vcf", f"{n}/3") for n in (1, 2, 3))
    text = (inputs / "in.vcf").read_text()
    last = text.rstrip("\n").split("\n")[-1]
    for number, changed in enumerate((last[:-1] + "AF=0.5", last.replace("chr1\t", "chr1\t1", 1))):
        (tmp_path / "in.vcf").write_text(text.replace(last, changed))
        other = tmp_path / f"other.{number}.vcf"
        score_vcf(tmp_path / "in.vcf", inputs / "g.fa", model, other, OPTIONS, shard=Shard(2, 3))
        with pytest.raises(ConfigError, match=rf"{other.name} is a shard of another input than 1\.vcf"):
            merge_shards([one, other, three], tmp_path / "out.vcf")
    merge_shards([one, two, three], tmp_path / "out.vcf")


@pytest.mark.parametrize("suffix", [".vcf", ".tsv"])
def test_dropped_records_are_no_cut(tmp_path: Path, inputs: Path, model: LoadedModel, suffix: str) -> None:
    """With --check-ref x a shard has fewer records than were read; it says how many before it writes the first."""
    rows = snv_rows(N_RECORDS)
    for at in range(0, N_RECORDS, 50):
        chrom, pos, name, ref, alt, *rest = rows[at].split("\t")
        rows[at] = "\t".join((chrom, pos, name, alt[0], f"{ref},{ref}T,*,<DEL>", *rest))
    for at, alt in ((51, "*"), (52, ".")):  # nothing to judge: not dropped
        chrom, pos, name, _, _, *rest = rows[at].split("\t")
        rows[at] = "\t".join(
            (chrom, pos, name, "ACGT"["ACGT".index(chr(CONTIG[int(pos) - 1])) - 1], alt, *rest)
        )
    head = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "in.vcf").write_text(head + "\n".join(rows) + "\n")
    options = replace(OPTIONS, check_ref="x")
    run = partial(score_vcf, tmp_path / "in.vcf", inputs / "g.fa", model, options=options)
    whole = run(out=tmp_path / f"whole{suffix}")
    assert whole.dropped == len(range(0, N_RECORDS, 50))
    parts = [tmp_path / f"{number}{suffix}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        run(out=part, shard=Shard(number, 3))
    merged = merge_shards(parts, tmp_path / f"merged{suffix}")
    assert body(tmp_path / f"merged{suffix}") == body(tmp_path / f"whole{suffix}")
    if suffix == ".vcf":
        assert merged.records == N_RECORDS - whole.dropped
    parts[1].write_bytes(parts[1].read_bytes().rstrip(b"\n").rpartition(b"\n")[0] + b"\n")
    with pytest.raises(InputFileError, match="it was cut"):
        merge_shards(parts, tmp_path / "again.vcf" if suffix == ".vcf" else tmp_path / "again.tsv")


def test_a_table_with_fewer_rows(tmp_path: Path, score: ScoreFile) -> None:
    parquet: Any = importlib.import_module("pyarrow.parquet")  # without types
    parts = [score(tmp_path / f"{n}.parquet", f"{n}/2") for n in (1, 2)]
    table = parquet.read_table(parts[0])
    parquet.write_table(table.slice(0, len(table) - 1), parts[0])
    with pytest.raises(InputFileError, match=r"1\.parquet has [\d,]+ rows and its header says"):
        merge_shards(parts, tmp_path / "out.parquet")


def test_shards_are_even_and_cover_the_file(tmp_path: Path, score: ScoreFile) -> None:
    found = []
    for number in range(1, 4):
        with open_vcf(score(tmp_path / f"{number}.vcf", f"{number}/3")) as reader:
            shard = ShardLine.find(reader.header.meta)
            assert shard is not None
            assert sum(1 for _ in reader) == shard.records == shard.written
            assert ShardLine.find([str(shard)]) == shard
            found.append((shard.first, shard.records))
    assert found == [(0, BLOCK_RECORDS), (BLOCK_RECORDS, BLOCK_RECORDS), (2 * BLOCK_RECORDS, 300)]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/2/3", "-1/3", "1/0"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="shard"):
        Shard.parse(text)


def test_standard_input_has_no_shards(inputs: Path, model: LoadedModel) -> None:
    with pytest.raises(ConfigError, match="standard input cannot be read twice"):
        score_vcf("-", inputs / "g.fa", model, None, OPTIONS, shard=Shard(1, 2))


def test_a_table_of_all_substitutions(tmp_path: Path, inputs: Path, model: LoadedModel) -> None:
    table = tmp_path / "t.tsv.gz"
    options = replace(OPTIONS, scores=("llr", "entropy"))
    regions = Regions.parse("chr1:101-150,chr1:300-302")
    summary = tile_genome(inputs / "g.fa", model, table, options, regions=regions, per_strand=True)
    assert (summary.records, summary.scored) == (53, 159)
    with pysam.TabixFile(str(table)) as found:
        rows = [row.split("\t") for row in found.fetch("chr1", 300, 301)]
    assert [(row[1], row[3]) for row in rows] == [("301", chr(CONTIG[300]))] * 3
    assert {row[4] for row in rows} | {chr(CONTIG[300])} == set("ACGT")

    plain, looked_up = tmp_path / "plain.tsv", tmp_path / "looked_up.tsv"
    output = OutputOptions(per_strand=True)
    vcf = inputs / "in.vcf"
    direct = score_vcf(vcf, inputs / "g.fa", model, plain, options, output=output, targets="chr1:95-310")
    found_summary = score_vcf(
        vcf, inputs / "g.fa", model, looked_up, options, output=output, targets="chr1:95-310", table=table
    )
    assert found_summary.from_table == 50 + 3  # those of records whose alleles are all substitutions
    assert direct.from_table == 0
    for a, b in zip(plain.read_text().splitlines(), looked_up.read_text().splitlines(), strict=True):
        if a.startswith("#"):
            continue
        for x, y in zip(a.split("\t"), b.split("\t"), strict=True):
            assert x == y or float(x) == pytest.approx(float(y), abs=1e-4)
    with pytest.raises(ConfigError, match=r"was made otherwise: it says '##genomixModel.*Reduce=sum"):
        score_vcf(vcf, inputs / "g.fa", model, plain, replace(options, reduce="mean"), table=table)
    with pytest.raises(ConfigError, match="has no column GMX_REF_LL"):
        score_vcf(vcf, inputs / "g.fa", model, plain, replace(options, scores=("ref_ll",)), table=table)


def test_a_table_of_another_layer_is_refused(tmp_path: Path, inputs: Path, model: LoadedModel) -> None:
    """Its column has the same name, and other numbers."""
    table = tmp_path / "t.tsv.gz"
    options = replace(OPTIONS, scores=("llr", "cos"))
    of_layer = replace(options, layer="backbone.layers.0")
    tile_genome(inputs / "g.fa", model, table, of_layer, regions=Regions.parse("chr1:101-110"))
    run = partial(score_vcf, inputs / "in.vcf", inputs / "g.fa", model, targets="chr1:101-110", table=table)
    assert run(tmp_path / "same.tsv", of_layer).from_table == 10
    with pytest.raises(ConfigError, match=r"was made otherwise: it says.*Layer=backbone\.layers\.0"):
        run(tmp_path / "other.tsv", options)


def test_tables_that_are_none(tmp_path: Path, inputs: Path, model: LoadedModel) -> None:
    vcf, fasta = inputs / "in.vcf", inputs / "g.fa"
    with pytest.raises(InputFileError, match=r"none\.tsv\.gz' does not exist"):
        score_vcf(vcf, fasta, model, tmp_path / "o.vcf", OPTIONS, table=tmp_path / "none.tsv.gz")
    (tmp_path / "x.tsv.gz").write_bytes(b"chr1\t1\n")
    with pytest.raises(InputFileError, match="through a tabix index"):
        score_vcf(vcf, fasta, model, tmp_path / "o.vcf", OPTIONS, table=tmp_path / "x.tsv.gz")
    with pytest.raises(ConfigError, match=r"must be called NAME\.tsv\.gz"):
        tile_genome(fasta, model, tmp_path / "t.vcf", OPTIONS)
    with pytest.raises(ReferenceMismatchError, match="reaches beyond its contig"):
        tile_genome(fasta, model, tmp_path / "t.tsv.gz", OPTIONS, regions=Regions.parse("chr1:3990-4001"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tsv.gz"]


def test_tiled_shards_merge(tmp_path: Path, inputs: Path, model: LoadedModel) -> None:
    regions = Regions.parse("chr1:101-1300")
    whole = tmp_path / "whole.tsv.gz"
    tile_genome(inputs / "g.fa", model, whole, OPTIONS, regions=regions)
    parts = [tmp_path / f"{n}.tsv.gz" for n in (1, 2)]
    for number, part in enumerate(parts, 1):
        tile_genome(inputs / "g.fa", model, part, OPTIONS, regions=regions, shard=Shard(number, 2))
    merge_shards(parts, tmp_path / "m.tsv.gz", OutputOptions(write_index=True, index_format="tbi"))
    assert body(tmp_path / "m.tsv.gz") == body(whole)
    with pysam.TabixFile(str(tmp_path / "m.tsv.gz")) as found:
        assert sum(1 for _ in found.fetch("chr1", 1290, 1300)) == 30


def test_n_has_no_substitutions(
    tmp_path: Path, model: LoadedModel, fasta: Path, sequences: dict[str, bytes]
) -> None:
    table = tmp_path / "t.tsv.gz"
    summary = tile_genome(
        fasta, model, table, OPTIONS, regions=Regions.parse("chr1:690-730,chr1:901-902,chr1:1201")
    )
    assert summary.records == 41 - 20 + 2
    assert summary.scored == 3 * summary.records


def test_shards_of_another_selection_are_refused(tmp_path: Path, inputs: Path, model: LoadedModel) -> None:
    one, two = tmp_path / "1.tsv", tmp_path / "2.tsv"
    for part, number, targets in ((one, 1, "chr1:100-2000"), (two, 2, "chr1:100-1900")):
        shard = Shard(number, 2)
        score_vcf(inputs / "in.vcf", inputs / "g.fa", model, part, OPTIONS, shard=shard, targets=targets)
    with pytest.raises(ConfigError, match=r"another input than 1\.tsv: .* other regions"):
        merge_shards([one, two], tmp_path / "out.tsv")


def test_a_journal_of_other_regions_is_refused(tmp_path: Path, inputs: Path, model: LoadedModel) -> None:
    """A run that is broken off by its caller, and one that asks for something else."""
    table = tmp_path / "t.tsv.gz"

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    for regions in ("chr1:1-2000", "chr1:2001-4000"):
        wanted = Regions.parse(regions)
        with pytest.raises(KeyboardInterrupt if regions == "chr1:1-2000" else ConfigError) as caught:
            tile_genome(inputs / "g.fa", model, table, OPTIONS, regions=wanted, resume=True, progress=stop)
    assert "of another run: input was" in str(caught.value)
    wanted = Regions.parse("chr1:1-2000")
    summary = tile_genome(inputs / "g.fa", model, table, OPTIONS, regions=wanted, resume=True)
    assert summary.records == 2000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.tsv.gz", "t.tsv.gz.tbi"]


@pytest.mark.parametrize("other", [{"check_ref": "x"}, {"sv": True}, {"layer": "backbone.layers.0"}])
def test_a_journal_of_other_options_is_refused(
    other: dict[str, Any], tmp_path: Path, inputs: Path, model: LoadedModel
) -> None:
    """What the header does not tell: half of the records would be scored in one way, half in the other."""
    options = replace(OPTIONS, scores=("llr", "cos"))
    run = partial(score_vcf, inputs / "in.vcf", inputs / "g.fa", model, tmp_path / "o.vcf", resume=True)

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(options, progress=stop, targets="chr1:101-110")
    with pytest.raises(ConfigError, match="is of another run"):
        run(replace(options, **other), targets="chr1:101-110")
    assert run(options, targets="chr1:101-110").records == 10
