"""Saturation mutagenesis gives the scores of single variants, skips nothing silently, and writes all files or none."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import ScoreOptions, score_variants
from genomix.variant_effect.contract import Status
from genomix.variant_effect.saturation import (
    MutatedBase,
    Saturation,
    SaturationSummary,
    n_alleles,
    regions_on,
)
from genomix.variant_effect.saturation_files import open_outputs, write_all
from genomix_data.errors import ConfigError, GenomixError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.interval import Interval
from genomix_data.regions import Regions
from genomix_data.variant import Variant
from genomix_data.vcf import VcfRecord, open_vcf
from tests.genomix.variant_effect.conftest import write_fasta

WINDOW = ScoreOptions(window=40, device="cpu")


def mutate(
    genome: Genome, model: LoadedModel, *regions: Interval, deletions: bool = True
) -> tuple[list[MutatedBase], SaturationSummary]:
    run = Saturation(genome, model, WINDOW, deletions=deletions)
    summary = SaturationSummary()
    return list(summary.watch(run.run(regions))), summary


@pytest.mark.parametrize("start", [0, 693, 1195, 1994], ids=["contig start", "N", "R", "contig end"])
def test_every_score_is_that_of_the_variant_alone(genome: Genome, model: LoadedModel, start: int) -> None:
    end = min(start + 9, genome.contigs["chr1"])
    bases, _ = mutate(genome, model, Interval("chr1", start, end))
    assert [base.start for base in bases] == list(range(start, end))
    letters = genome.fetch("chr1", start, end).decode().upper()
    for base, letter in zip(bases, letters, strict=True):
        assert base.ref == (letter if letter in "ACGT" else "N")
        if base.ref == "N":
            assert (base.substitutions, base.deletion) == ((), None)
            continue
        assert [alt for alt, _ in base.substitutions] == [each for each in "ACGT" if each != letter]
        variants = [Variant("chr1", base.start + 1, letter, alt) for alt, _ in base.substitutions]
        expected = score_variants(variants, genome, model, WINDOW)
        for (_, found), wanted in zip(base.substitutions, expected, strict=True):
            assert found.status is wanted.status is Status.OK
            assert found.llr == pytest.approx(wanted.llr, abs=1e-4)


def test_deletions_are_spelt_as_in_a_vcf_and_scored_in_their_normal_form(
    tmp_path: Path, model: LoadedModel
) -> None:
    genome = Genome(
        write_fasta(tmp_path / "run.fa", {"c": b"ACGTTGCAGGTCAAAAATGCCGATTAGCCTGAACGTAGCATCGGATC"})
    )
    bases, summary = mutate(genome, model, Interval("c", 0, 20))
    run = [base.deletion for base in bases[12:17]]
    assert [each[0].pos for each in run if each] == [12, 13, 14, 15, 16]
    assert [(each[0].ref, each[0].alts) for each in run if each] == [("CA", ("C",)), *[("AA", ("A",))] * 4]
    scores = {each[1].llr for each in run if each}
    assert len(scores) == 1, "one haplotype, one score"
    (first,) = score_variants([Variant("c", 12, "CA", "C")], genome, model, WINDOW)
    assert scores.pop() == pytest.approx(first.llr, abs=1e-4)
    start = bases[0].deletion
    assert start is not None
    assert (start[0].pos, start[0].ref, start[0].alts) == (1, "AC", ("C",))
    assert start[1].status is Status.OK
    assert (summary.bases, summary.alleles, summary.scored) == (20, 80, 80)


def test_skipped_bases_are_counted(genome: Genome, model: LoadedModel) -> None:
    regions = [Interval("chr1", 690, 730), Interval("chr1", 1198, 1203)]
    bases, summary = mutate(genome, model, *regions, deletions=False)
    assert (summary.bases, summary.skipped_n, summary.alleles) == (45, 21, 72)
    assert all(base.deletion is None for base in bases)
    assert n_alleles(regions, deletions=False) == 135
    assert n_alleles(regions, deletions=True) == 180


def test_a_deletion_behind_an_n_is_counted_and_has_no_score(genome: Genome, model: LoadedModel) -> None:
    (base,), summary = mutate(genome, model, Interval("chr1", 720, 721))
    assert base.deletion is not None
    assert base.deletion[1].status is Status.NON_ACGT
    assert summary.to_dict()["by_status"] == {"NON_ACGT": 1, "OK": 3}


def test_a_contig_of_one_base(tmp_path: Path, model: LoadedModel) -> None:
    genome = Genome(write_fasta(tmp_path / "one.fa", {"c": b"A"}))
    (base,), summary = mutate(genome, model, Interval("c", 0, 1))
    assert base.deletion is None
    assert summary.by_status == {Status.EDGE: 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr1:11-20,chr1:15-30", ["chr1:11-30"]),
        ("chr2,chr1:5", ["chr1:5-5", "chr2:1-60"]),
        ("2:50-", ["chr2:50-60"]),
    ],
)
def test_regions_are_merged_in_the_order_of_the_genome(
    genome: Genome, text: str, expected: list[str]
) -> None:
    assert [str(region) for region in regions_on(genome, Regions.parse(text))] == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("chr2:50-61", ReferenceMismatchError, "reaches beyond its contig, which has 60 bp"),
        ("chr2:61-", ReferenceMismatchError, "reaches beyond its contig"),
        ("chr7:1-2", ReferenceMismatchError, "chr7"),
        ("^chr2", ConfigError, "name the bases to mutate"),
    ],
)
def test_regions_that_are_not_there(
    genome: Genome, text: str, error: type[GenomixError], message: str
) -> None:
    with pytest.raises(error, match=message):
        regions_on(genome, Regions.parse(text))


def test_a_file_of_regions_must_be_all_there(genome: Genome, tmp_path: Path) -> None:
    bed = tmp_path / "x.bed"
    bed.write_text("chr1\t10\t20\nchr9\t5\t6\n")
    with pytest.raises(ReferenceMismatchError, match="chr9"):
        regions_on(genome, Regions.read(bed))


def test_all_files_tell_the_same(genome: Genome, model: LoadedModel, tmp_path: Path) -> None:
    pytest.importorskip("pyBigWig")
    import pyBigWig

    regions = [Interval("chr1", 690, 725), Interval("chr2", 0, 20)]
    run = Saturation(genome, model, WINDOW, deletions=True)
    names = ["a.tsv", "a.tsv.gz", "a.vcf.gz", "a.bcf", "a.bedgraph", "a.bg.gz", "a.bw"]
    bases = list(run.run(regions))
    outputs = open_outputs(
        [str(tmp_path / name) for name in names], run, regions, track="min", per_strand=True
    )
    write_all(outputs, bases)

    lines = (tmp_path / "a.tsv").read_text().splitlines()
    # two runs of the header differ in nothing but the date
    packed = gzip.decompress((tmp_path / "a.tsv.gz").read_bytes()).decode().splitlines()
    assert [line for line in packed if "Date=" not in line] == [line for line in lines if "Date=" not in line]
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert len(rows) == sum(len(base.substitutions) + (base.deletion is not None) for base in bases)
    by_contig = [(row[0], int(row[1])) for row in rows]
    assert by_contig == sorted(by_contig), "sorted, for tabix and bcftools"

    table = {(row[0], row[1], row[3], row[4]): row[5:] for row in rows}
    for name in ("a.vcf.gz", "a.bcf"):
        with open_vcf(tmp_path / name) as reader:
            found = {}
            for record in reader:
                assert isinstance(record, VcfRecord)
                columns = [
                    str(record.info[key]).split(",") for key in ("GMX_LLR", "GMX_STATUS", "GMX_LLR_RC")
                ]
                for alt, *values in zip(record.alts, *columns, strict=True):
                    found[(record.chrom, str(record.pos), record.ref, alt)] = values
        assert found.keys() == table.keys()
        for key, (llr, status, rc) in found.items():
            assert status == table[key][1]
            if status == "OK":
                wanted = float(table[key][0]), float(table[key][3])
                assert (float(llr), float(rc)) == pytest.approx(wanted, rel=1e-5, abs=1e-6)

    graph = [
        line.split("\t") for line in (tmp_path / "a.bedgraph").read_text().splitlines() if line[0] != "#"
    ]
    assert len(graph) == sum(base.ref != "N" for base in bases)
    for chrom, start, end, value in graph:
        assert int(end) == int(start) + 1
        scores = [
            float(row[5]) for row in rows if row[:2] == [chrom, end] and len(row[3]) == 1 and row[5] != "."
        ]
        assert float(value) == pytest.approx(min(scores), rel=1e-5)
    with pyBigWig.open(str(tmp_path / "a.bw")) as track:
        assert track.chroms() == genome.contigs
        values = [value for chrom in ("chr1", "chr2") for _, _, value in track.intervals(chrom) or ()]
        assert values == pytest.approx([float(row[3]) for row in graph], rel=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_picture_of_a_region(genome: Genome, model: LoadedModel, tmp_path: Path) -> None:
    regions = [Interval("chr1", 690, 725)]
    run = Saturation(genome, model, WINDOW, deletions=True)
    paths = [str(tmp_path / "a.svg"), str(tmp_path / "a.png")]
    write_all(open_outputs(paths, run, regions), run.run(regions))
    assert "chr1:691-725" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_is_left_when_one_output_cannot_be_written(
    tmp_path: Path, genome: Genome, model: LoadedModel
) -> None:
    pytest.importorskip("pyBigWig")
    regions = [Interval("chr1", 702, 710)]  # all N
    run = Saturation(genome, model, WINDOW)
    paths = [str(tmp_path / name) for name in ("a.tsv", "a.bw", "a.bedgraph", "a.png")]
    with pytest.raises(GenomixError, match="no base of the regions has a score"):
        write_all(open_outputs(paths, run, regions), run.run(regions))
    assert list(tmp_path.iterdir()) == []

    def interrupted() -> object:
        yield from run.run([Interval("chr1", 0, 3)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all(open_outputs(paths, run, regions), interrupted())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["a.txt"], {}, "expected a name that ends in .tsv"),
        (["a.tsv", "a.tsv"], {}, "named twice"),
        (["a.png"], {}, "a picture shows one region"),
        (["a.bw"], {"track": "deletion"}, "add --deletions"),
    ],
)
def test_outputs_that_cannot_be_made(
    genome: Genome, model: LoadedModel, paths: list[str], options: dict[str, str], message: str
) -> None:
    regions = [Interval("chr1", 0, 5), Interval("chr2", 0, 5)]
    with pytest.raises(ConfigError, match=message):
        open_outputs(paths, Saturation(genome, model, WINDOW), regions, **options)  # type: ignore[arg-type]


def test_tracks(genome: Genome, model: LoadedModel, tmp_path: Path) -> None:
    regions = [Interval("chr1", 30, 34)]
    run = Saturation(genome, model, WINDOW, deletions=True)
    bases = list(run.run(regions))
    for track in ("mean", "min", "max", "deletion"):
        path = tmp_path / f"{track}.bedgraph"
        write_all(open_outputs([str(path)], run, regions, track=track), bases)
        values = [float(line.split("\t")[3]) for line in path.read_text().splitlines() if line[0] != "#"]
        scores = np.array([[score.llr for _, score in base.substitutions] for base in bases], dtype=float)
        deleted = [base.deletion[1].llr for base in bases if base.deletion]
        wanted = deleted if track == "deletion" else getattr(np, track)(scores, axis=1)
        assert values == pytest.approx(list(wanted), rel=1e-5)
