"""Published data sets, where they are at hand: set ``GENOMIX_SHARED_DATA`` to the folder of the shared data.

It holds ``benchmarks/genomic_benchmarks/SET/subset_*.csv.gz`` (official members with coordinates), official complete
test sets from another source, and ``genomes``. Coordinates are hg38 and dm6; of hg38 only chr19 is there. Members on
chr20, chr21 and chrY were cut from hg19 at lifted coordinates, so that they can be found on hg19, not looked up.
"""

import gzip
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from genomix_data.benchmarks import check_benchmark
from genomix_data.benchmarks.coordinates import check_coordinates
from genomix_data.benchmarks.known_files import known_files
from genomix_data.genome import Genome
from genomix_data.leakage import cluster_split, leakage_report, pooled
from genomix_data.tables import read_table
from genomix_data.tables.located import LocatedTable, read_located_table

SHARED = os.environ.get("GENOMIX_SHARED_DATA", "")
pytestmark = pytest.mark.skipif(
    not SHARED, reason="GENOMIX_SHARED_DATA does not name the folder of the shared data"
)
SETS = Path(SHARED) / "benchmarks"

# Members on hg38 chr19 or dm6 chr2L and chr2R, which must be the same; and members on other contigs.
MEMBERS = {
    "drosophila_enhancers_stark": {"train": (1887, 0), "test": (692, 0)},
    "human_enhancers_cohn": {"train": (460, 771), "test": (152, 243)},
    "human_enhancers_ensembl": {"train": (3192, 5470), "test": (785, 1337)},
    "human_ensembl_regulatory": {"train": (7488, 8148), "test": (1811, 2033)},
    "human_nontata_promoters": {"train": (1264, 616), "test": (382, 206)},
    "human_ocr_ensembl": {"train": (2550, 5351), "test": (631, 1377)},
}


def members(task: str, part: str) -> LocatedTable:
    (file,) = (SETS / "genomic_benchmarks" / task).glob(f"subset_*.{part}.csv.gz")
    table = read_located_table(file)
    assert isinstance(table, LocatedTable)
    return table


def contig_letters(name: str) -> bytes:
    lines = gzip.decompress((Path(SHARED) / "genomes" / name).read_bytes()).split(b"\n")
    return b"".join(lines[1:]).upper()


@pytest.fixture(scope="module")
def genomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Genome]:
    """Return hg38 (chr19) and dm6 (chr2L, chr2R); the files there are plain gzip, so they are unpacked."""
    found = {}
    for build, names in (
        ("hg38", ["human_hg38_chr19.fa.gz"]),
        ("dm6", ["drosophila_dm6_chr2L.fa.gz", "drosophila_dm6_chr2R.fa.gz"]),
    ):
        path = tmp_path_factory.mktemp(build) / f"{build}.fa"
        parts = [gzip.decompress((Path(SHARED) / "genomes" / name).read_bytes()) for name in names]
        path.write_bytes(b"\n".join(parts))
        found[build] = Genome(path)
    return found


@pytest.mark.parametrize("task", MEMBERS)
def test_official_members_reproduce_from_coordinates_and_genome(
    genomes: dict[str, Genome], task: str
) -> None:
    genome = genomes["dm6" if task.startswith("drosophila") else "hg38"]
    for part, (n_same, n_absent) in MEMBERS[task].items():
        check = check_coordinates(members(task, part), genome)
        assert (check.same, check.different, check.outside, check.absent) == (n_same, 0, 0, n_absent)


@pytest.mark.parametrize("task", ["human_nontata_promoters", "human_enhancers_cohn"])
def test_members_stand_in_the_complete_test_set_of_another_source(task: str) -> None:
    complete = read_table(SETS / "genomic_benchmarks" / task / "test.csv.gz")
    known = set(zip(complete.sequences, complete.labels.tolist(), strict=True))
    found = members(task, "test")
    assert all(pair in known for pair in zip(found.sequences, found.labels.tolist(), strict=True))
    assert len(found) == sum(MEMBERS[task]["test"])


@pytest.mark.slow
@pytest.mark.parametrize("contig", ["chr20", "chr21", "chrY"])
def test_lifted_members_lie_on_hg19_at_a_few_shifts(contig: str) -> None:
    letters = contig_letters(f"human_hg19_{contig}.fa.gz")
    shifts: Counter[int] = Counter()
    n_members = n_found = 0
    for task in MEMBERS:
        for part in ("train", "test"):
            table = members(task, part)
            places = table.locations
            if contig not in places.chrom_names:
                continue
            for row in np.flatnonzero(places.chrom == places.chrom_names.index(contig)).tolist():
                sequence = table.sequences[row].encode()
                if places.is_reverse[row]:
                    sequence = sequence[::-1].translate(bytes.maketrans(b"ACGT", b"TGCA"))
                start = int(places.start[row])
                n_members += 1
                assert len(sequence) == int(places.end[row]) - start
                for shift, _ in shifts.most_common():
                    if letters.startswith(sequence, start + shift):
                        n_found += 1
                        shifts[shift] += 1
                        break
                else:
                    # Within five megabases, the nearest copy: assemblies differ by gaps of up to a few megabases.
                    low = max(start - 5_000_000, 0)
                    at = letters.find(sequence, low, start + 5_000_000)
                    if at >= 0:
                        n_found += 1
                        shifts[at - start] += 1
    assert n_found == n_members > 0
    assert shifts.most_common(1)[0][1] > 50


def test_what_is_published_of_the_leaks() -> None:
    nontata = "human_nontata_promoters"
    report = leakage_report(members(nontata, "train"), members(nontata, "test"))
    negative = report.by_class["0"]
    assert (negative.n, negative.overlapping_same_class, negative.overlapping_half_same_class) == (88, 88, 88)
    assert negative.near == 88
    ensembl = leakage_report(
        members("human_enhancers_ensembl", "train"), members("human_enhancers_ensembl", "test")
    )
    positive = ensembl.by_class["1"]
    assert positive.inside_same_class is not None
    assert positive.inside_same_class / positive.n == pytest.approx(0.755, abs=0.04)


def test_a_cluster_split_of_all_promoters_at_hand_leaks_nothing() -> None:
    parts = [members("human_nontata_promoters", part) for part in ("train", "test")]
    split = cluster_split(pooled(list(parts)), {"train": 0.7, "valid": 0.1, "test": 0.2}, seed=0)
    report = leakage_report(pooled([split["train"], split["valid"]]), split["test"])
    assert report.total.has_near_copy == report.total.overlapping == 0
    for part in split.values():
        assert min(part.n_per_class.values()) > 30


def known_at_hand() -> list[tuple[str, Path]]:
    roots = {"genomic_benchmarks": "genomic_benchmarks", "gue": "gue", "cnnprom": "", "ienhancer_2l": ""}
    found: dict[str, Path] = {}
    for file in known_files():
        family, task = file.dataset.split("/", 1)
        if file.what == "coordinates" or family not in roots:
            continue
        found[file.dataset] = SETS / family / task if roots[family] else SETS / family
        if family == "cnnprom":
            found[file.dataset] = SETS / family / file.file
    return sorted(found.items())


@pytest.mark.parametrize(("name", "path"), known_at_hand() if SHARED else [], ids=str)
def test_every_set_at_hand_is_as_published(name: str, path: Path) -> None:
    report = check_benchmark(name, path)
    assert report.is_right, [line for line in report.lines if line.status == "differs"]
    assert any(line.part == "files" and line.status == "ok" for line in report.lines)
