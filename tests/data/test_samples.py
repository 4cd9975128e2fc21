"""The samples that ship are the data they say they are."""

import hashlib
from pathlib import Path

import pysam
import pytest

from genomix_data import samples
from genomix_data.errors import InputFileError
from genomix_data.genome import Genome
from genomix_data.tables import overlap_report, read_table, without_overlap

FASTA = [name for name in samples.names() if name.endswith(".fa.gz")]
TABLES = [name for name in samples.names() if name.endswith(".csv.gz")]
FOLDER = samples.path("lambda.fa.gz").parent

# Facts from the sources, not from our files: length in bp and MD5 of the upper-case sequence.
SOURCES = {
    "yeast_chrI.fa.gz": ("chrI", 230218, "6681ac2f62509cfc220d78751b8dc524"),
    "lambda.fa.gz": ("gi|9626243|ref|NC_001416.1|", 48502, "509bdb356475a21077713babc47a4a35"),
    "phix174.fa.gz": ("NC_001422.1", 5386, "3332ed720ac7eaa9b3655c06f6b9e196"),
    "sars_cov2.fa.gz": ("MN908947.3", 29903, "105c82802b67521950854a851fc6eefd"),
    "brca1_region.fa.gz": ("BRCA1_hg19_chr17_41176312_41370000", 193689, "ff967ab1908ca6d1abd72a2c3ced2af9"),
}


def test_every_file_is_in_the_manifest_and_unchanged() -> None:
    samples.verify()
    files = {file.name for file in FOLDER.iterdir() if file.is_file()}
    described = {"__init__.py", "MANIFEST.json", "LICENSES.md"}
    assert files - described == set(samples.manifest())
    for name, entry in samples.manifest().items():
        data = (FOLDER / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert entry["source"]
        assert entry["licence"]


def test_the_samples_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir() if file.is_file()) < 1_000_000


def test_every_sample_has_its_licence_in_words() -> None:
    text = (FOLDER / "LICENSES.md").read_text()
    for name in samples.names():
        stem = name.replace("test.csv.gz", "train.csv.gz")
        assert f"`{stem}`" in text


def test_changed_samples_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in FOLDER.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(samples, "_FOLDER", tmp_path)
    samples.verify()
    (tmp_path / "phix174.fa.gz").write_bytes(b"x")
    (tmp_path / "lambda.fa.gz.fai").unlink()
    with pytest.raises(InputFileError, match=r"missing or changed: lambda\.fa\.gz\.fai, phix174\.fa\.gz\."):
        samples.verify()


def test_unknown_sample() -> None:
    with pytest.raises(InputFileError, match=r"no sample 'hg38\.fa'; there are yeast_chrI\.fa\.gz"):
        samples.path("hg38.fa")


@pytest.mark.parametrize("name", FASTA)
def test_sequences_are_those_of_their_sources(name: str) -> None:
    contig, length, md5 = SOURCES[name]
    genome = Genome(samples.path(name))
    assert genome.contigs == {contig: length}
    assert genome.md5(contig) == md5
    assert samples.manifest()[name]["contigs"] == {contig: {"length": length, "md5": md5}}
    assert set(genome.fetch(contig, 0, length).upper()) <= set(b"ACGT")


@pytest.mark.parametrize("name", FASTA)
def test_indexes_are_those_of_samtools(name: str, tmp_path: Path) -> None:
    copy = tmp_path / name
    copy.write_bytes(samples.path(name).read_bytes())
    pysam.faidx(str(copy))
    for suffix in (".fai", ".gzi"):
        assert (tmp_path / f"{name}{suffix}").read_bytes() == (FOLDER / f"{name}{suffix}").read_bytes()


def test_variants_match_the_region() -> None:
    genome = Genome(samples.path("brca1_region.fa.gz"))
    (contig,) = genome.contigs
    bases = genome.fetch(contig, 0, genome.contigs[contig]).decode().upper()
    classes: dict[str, int] = {}
    with pysam.VariantFile(str(samples.path("brca1_sge.vcf.gz"))) as file:
        for record in file:
            assert bases[record.start : record.stop] == record.ref
            assert record.info["HG19POS"] == record.pos + 41176312 - 1
            classes[record.info["CLASS"]] = classes.get(record.info["CLASS"], 0) + 1
    assert sum(classes.values()) == 3893 == samples.manifest()["brca1_sge.vcf.gz"]["n_records"]
    assert set(classes) == {"FUNC", "INT", "LOF"}


def test_variants_can_be_fetched_by_region() -> None:
    with pysam.VariantFile(str(samples.path("brca1_sge.vcf.gz"))) as file:
        contig = str(next(iter(file.header.contigs)))
        assert [record.alts for record in file.fetch(contig, 21410, 21411)] == [("A",), ("C",), ("G",)]


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_balanced(name: str) -> None:
    table = read_table(samples.path(name), require_two_classes=True)
    entry = samples.manifest()[name]
    assert (len(table), table.n_per_class) == (entry["n_rows"], entry["n_per_class"])
    assert len(set(table.n_per_class.values())) == 1
    assert sorted({len(sequence) for sequence in table.sequences}) == entry["sequence_length"]
    assert table.n_duplicates == 0


@pytest.mark.parametrize(
    ("task", "n_shared"), [("human_nontata_promoters.mini", 0), ("ienhancer_2l.layer1", 100)]
)
def test_overlap_of_train_and_test_is_what_the_licence_page_says(task: str, n_shared: int) -> None:
    train, test = (read_table(samples.path(f"{task}.{part}.csv.gz")) for part in ("train", "test"))
    assert overlap_report(train, test) == n_shared
    clean = without_overlap(train, test)
    assert (len(clean), overlap_report(clean, test)) == (len(train) - n_shared, 0)
    note = samples.manifest()[f"{task}.test.csv.gz"].get("note", "")
    assert (f"{n_shared} of the {len(test)}" in note) == (n_shared > 0)
