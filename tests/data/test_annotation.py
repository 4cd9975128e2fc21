"""Genes, transcripts and exons from GFF3, GTF, GenBank and EMBL, with lines named where a file is wrong."""

import gzip
import importlib
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomix_data.annotation import Gene, genes_of, iter_exons, read_features, read_genes
from genomix_data.errors import InputFileError
from genomix_data.genome import Genome
from genomix_data.interval import Interval

GFF3 = """##gff-version 3
##sequence-region chr1 1 2000
chr1\tEnsembl\tchromosome\t1\t2000\t.\t.\t.\tID=chromosome:1
# a comment

chr1\tEnsembl\tgene\t101\t900\t.\t+\t.\tID=gene:G1;Name=ABC%3B1;biotype=protein_coding
chr1\tEnsembl\tmRNA\t101\t900\t.\t+\t.\tID=T1;Parent=gene:G1;biotype=protein_coding
chr1\tEnsembl\tmRNA\t101\t700\t.\t+\t.\tID=T2;Parent=gene:G1
chr1\tEnsembl\texon\t101\t200\t.\t+\t.\tParent=T1,T2
chr1\tEnsembl\texon\t801\t900\t12.5\t+\t.\tParent=T1
chr1\tEnsembl\texon\t601\t700\t.\t+\t.\tParent=T2
chr1\tEnsembl\tCDS\t151\t200\t.\t+\t0\tID=P1;Parent=T1
chr1\tEnsembl\tCDS\t801\t850\t.\t+\t2\tID=P1;Parent=T1
chr1\tRefSeq\tgene\t1001\t1300\t.\t-\t.\tID=g2;gene_biotype=protein_coding
chr1\tRefSeq\tCDS\t1001\t1300\t.\t-\t0\tID=c2;Parent=g2
###
##FASTA
>chr1
ACGT
"""

GTF = """#!genome-build GRCh38
chr1\tHAVANA\tgene\t101\t900\t.\t+\t.\tgene_id "G1"; gene_type "protein_coding"; gene_name "ABC;1"; level 2;
chr1\tHAVANA\ttranscript\t101\t900\t.\t+\t.\tgene_id "G1"; transcript_id "T1"; gene_name "ABC;1"; tag "a"; tag "b";
chr1\tHAVANA\texon\t801\t900\t.\t+\t.\tgene_id "G1"; transcript_id "T1"; exon_number 2;
chr1\tHAVANA\texon\t101\t200\t.\t+\t.\tgene_id "G1"; transcript_id "T1"; exon_number 1;
chr1\tHAVANA\tCDS\t151\t200\t.\t+\t0\tgene_id "G1"; transcript_id "T1";
chr1\tHAVANA\tstop_codon\t201\t203\t.\t+\t0\tgene_id "G1"; transcript_id "T1";
chrX\tucsc\texon\t11\t20\t.\t-\t.\tgene_id "G9"; transcript_id "T9"; gene_name "PAR1";
chrX\tucsc\texon\t31\t40\t.\t-\t.\tgene_id "G9"; transcript_id "T9"; gene_name "PAR1";
chrY\tucsc\texon\t11\t20\t.\t-\t.\tgene_id "G9"; transcript_id "T9"; gene_name "PAR1"
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def spans(intervals: tuple[Interval, ...]) -> list[tuple[int, int]]:
    return [(interval.start, interval.end) for interval in intervals]


def by_id(genes: list[Gene]) -> dict[tuple[str, str], Gene]:
    return {(gene.interval.chrom, gene.id): gene for gene in genes}


def test_gff3_features(tmp_path: Path) -> None:
    features = read_features(write(tmp_path / "x.gff3", GFF3))
    assert [feature.line for feature in features] == [3, *range(6, 16)]
    gene, exon, cds = features[1], features[5], features[8]
    assert gene.interval == Interval("chr1", 100, 900, "+", "ABC;1")
    assert (gene.id, gene.get("biotype"), gene.source) == ("gene:G1", "protein_coding", "Ensembl")
    assert (exon.kind, exon.score, features[4].parents) == ("exon", 12.5, ("T1", "T2"))
    assert (cds.phase, cds.interval.start, cds.interval.end) == (2, 800, 850)


def test_gff3_genes(tmp_path: Path) -> None:
    genes = read_genes(write(tmp_path / "x.gff3", GFF3))
    assert [(gene.id, gene.interval.name, gene.biotype) for gene in genes] == [
        ("gene:G1", "ABC;1", "protein_coding"),
        ("g2", None, "protein_coding"),
    ]
    one, two = genes[0].transcripts
    assert (one.id, one.kind, one.gene_id, one.biotype) == ("T1", "mRNA", "gene:G1", "protein_coding")
    assert spans(one.exons) == [(100, 200), (800, 900)]
    assert spans(one.cds) == [(150, 200), (800, 850)]
    assert spans(one.introns) == [(200, 800)]
    assert spans(two.exons) == [(100, 200), (600, 700)]
    assert two.cds == ()
    (bacterial,) = genes[1].transcripts
    assert spans(bacterial.exons) == spans(bacterial.cds) == [(1000, 1300)]
    assert (one.tss, bacterial.tss) == (100, 1299)
    assert [str(exon) for exon in iter_exons(genes)][-1] == "chr1:1001-1300(-)"


def test_gtf_genes(tmp_path: Path) -> None:
    path = tmp_path / "x.gtf.gz"
    path.write_bytes(gzip.compress(GTF.encode()))
    features = read_features(path)
    assert features[1].attributes["tag"] == ("a", "b")
    assert features[2].get("exon_number") == "2"
    genes = by_id(read_genes(path))
    assert list(genes) == [("chr1", "G1"), ("chrX", "G9"), ("chrY", "G9")]
    whole, derived = genes["chr1", "G1"], genes["chrX", "G9"]
    assert whole.interval == Interval("chr1", 100, 900, "+", "ABC;1")
    assert spans(whole.transcripts[0].exons) == [(100, 200), (800, 900)]
    assert derived.interval == Interval("chrX", 10, 40, "-", "PAR1")
    assert (derived.transcripts[0].id, derived.transcripts[0].tss) == ("T9", 39)
    assert spans(genes["chrY", "G9"].transcripts[0].exons) == [(10, 20)]


def test_only_untranslated_and_coding_parts(tmp_path: Path) -> None:
    text = (
        "c\tx\tgene\t1\t100\t.\t+\t.\tID=g\nc\tx\tmRNA\t1\t100\t.\t+\t.\tID=t;Parent=g\n"
        "c\tx\tfive_prime_UTR\t1\t10\t.\t+\t.\tParent=t\nc\tx\tCDS\t11\t50\t.\t+\t0\tParent=t\n"
        "c\tx\tCDS\t81\t100\t.\t+\t1\tParent=t\nc\tx\tlnc_RNA\t1\t30\t.\t+\t.\tID=n;Parent=g\n"
    )
    (gene,) = read_genes(write(tmp_path / "x.gff", text))
    assert [spans(transcript.exons) for transcript in gene.transcripts] == [[(0, 50), (80, 100)], [(0, 30)]]


def test_deep_and_circular_parents(tmp_path: Path) -> None:
    text = (
        "c\tx\tncRNA_gene\t1\t100\t.\t+\t.\tID=g\nc\tx\tprimary\t1\t90\t.\t+\t.\tID=p;Parent=g\n"
        "c\tx\tmiRNA\t5\t20\t.\t+\t.\tID=m;Parent=p\nc\tx\texon\t5\t20\t.\t+\t.\tParent=m\n"
        "c\tx\tmRNA\t1\t9\t.\t+\t.\tID=a;Parent=b\nc\tx\tmRNA\t1\t9\t.\t+\t.\tID=b;Parent=a\n"
        "c\tx\texon\t1\t9\t.\t+\t.\tParent=a\n"
    )
    genes = by_id(read_genes(write(tmp_path / "x.gff3", text)))
    assert [transcript.id for transcript in genes["c", "g"].transcripts] == ["p", "m"]
    assert sum(len(gene.transcripts) for gene in genes.values()) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("c\tx\tgene\t1\t9\t.\t+\t.", "nine columns split by tabs; got 8"),
        ("c x gene 1 9 . + . ID=g", "nine columns split by tabs; got 1"),
        ("c\tx\tgene\t0\t9\t.\t+\t.\tID=g", "start '0' and end '9' must be whole numbers, 1-based"),
        ("c\tx\tgene\t9\t8\t.\t+\t.\tID=g", "start not beyond end"),
        ("c\tx\tgene\tx\t8\t.\t+\t.\tID=g", "start 'x' and end '8'"),
        ("c\tx\tgene\t1\t9\t.\tx\t.\tID=g", r"strand 'x' in column 7"),
        ("c\tx\tgene\t1\t9\t.\t+\t3\tID=g", r"phase '3' in column 8"),
        ("c\tx\tgene\t1\t9\tbad\t+\t.\tID=g", r"score 'bad' in column 6"),
        ("\tx\tgene\t1\t9\t.\t+\t.\tID=g", r"column 1 \(contig\) or 3 \(type\) is empty"),
        ("c\tx\tgene\t1\t9\t.\t+\t.\tID", "'ID' in column 9 is not key=value"),
    ],
)
def test_bad_lines(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "x.gff3", f"##gff-version 3\nc\tx\tgene\t1\t9\t.\t+\t.\tID=a\n{line}\n")
    with pytest.raises(InputFileError, match=rf"x\.gff3:3: .*{message}"):
        read_features(path)


def test_bad_gtf_column(tmp_path: Path) -> None:
    text = 'c\tx\texon\t1\t9\t.\t+\t.\tgene_id "g"; transcript_id "t";\nc\tx\texon\t1\t9\t.\t+\t.\tgene_id "g; x\n'
    with pytest.raises(InputFileError, match=r"x\.gtf:2: 'gene_id \"g; x' in column 9 is not key \"value\""):
        read_features(write(tmp_path / "x.gtf", text))


def test_empty_and_missing(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="has no feature in it"):
        read_features(write(tmp_path / "x.gff", "##gff-version 3\n"))
    with pytest.raises(InputFileError, match=r"annotation .* does not exist"):
        read_features(tmp_path / "none.gff")


def test_against_a_genome(tmp_path: Path) -> None:
    genome = Genome(write(tmp_path / "x.fa", ">1\n" + "ACGT" * 250 + "\n"))
    path = write(tmp_path / "x.gff", "chr1\tx\tgene\t1\t1000\t.\t+\t.\tID=g\n")
    (feature,) = read_features(path, genome)
    assert (feature.interval.chrom, feature.parts[0].chrom) == ("1", "1")
    assert genome.fetch_interval(feature.interval)[:4] == b"ACGT"
    write(path, "chr1\tx\tgene\t1\t1001\t.\t+\t.\tID=g\n")
    with pytest.raises(InputFileError, match=r"x\.gff:1: gene chr1:1-1001\(\+\) reaches beyond the contig"):
        read_features(path, genome)
    write(path, "chr2\tx\tgene\t1\t10\t.\t+\t.\tID=g\n")
    with pytest.raises(InputFileError, match=r"x\.gff:1: contig 'chr2' is not in x\.fa"):
        read_features(path, genome)


@given(start=st.integers(0, 10**9), length=st.integers(1, 10**6), layout=st.sampled_from(["gff3", "gtf"]))
def test_coordinates(tmp_path_factory: pytest.TempPathFactory, start: int, length: int, layout: str) -> None:
    column = "ID=g;Name=n" if layout == "gff3" else 'gene_id "g"; gene_name "n";'
    path = tmp_path_factory.getbasetemp() / f"x.{layout}"
    (feature,) = read_features(write(path, f"c\tx\tgene\t{start + 1}\t{start + length}\t.\t-\t.\t{column}\n"))
    assert feature.interval == Interval("c", start, start + length, "-", "n")
    assert str(feature.interval) == f"c:{start + 1}-{start + length}(-)"
    assert genes_of([feature])[0].id == "g"


def record_file(layout: str) -> str:
    from Bio import SeqIO
    from Bio.Seq import Seq
    from Bio.SeqRecord import SeqRecord

    bio: Any = importlib.import_module("Bio.SeqFeature")
    location, feature, join = bio.SimpleLocation, bio.SeqFeature, bio.CompoundLocation
    record = SeqRecord(Seq("ACGT" * 50), id="X1.1", name="X1", annotations={"molecule_type": "DNA"})
    joined = join([location(100, 120, -1), location(50, 80, -1)])
    coding = join([location(100, 110, -1), location(60, 80, -1)])
    fuzzy = location(bio.BeforePosition(0), bio.ExactPosition(30), 1)
    record.features = [
        feature(location(0, 200), type="source", qualifiers={"organism": ["x"]}),
        feature(fuzzy, type="gene", qualifiers={"locus_tag": ["L1"]}),
        feature(location(0, 30, 1), type="CDS", qualifiers={"locus_tag": ["L1"], "product": ["p"]}),
        feature(location(50, 120, -1), type="gene", qualifiers={"gene": ["abc"]}),
        feature(joined, type="mRNA", qualifiers={"gene": ["abc"]}),
        feature(coding, type="CDS", qualifiers={"gene": ["abc"]}),
        feature(location(150, 160, 1), type="misc_feature", qualifiers={"note": ["n"]}),
    ]  # fmt: skip
    out = StringIO()
    SeqIO.write([record], out, layout)
    return out.getvalue()


@pytest.mark.parametrize("layout", ["genbank", "embl"])
def test_record_files(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path / "x.txt", record_file(layout))
    genome = Genome(path)
    features = read_features(path, genome)
    assert [feature.kind for feature in features] == ["gene", "CDS", "gene", "mRNA", "CDS", "misc_feature"]
    assert features[0].interval == Interval("X1.1", 0, 30, "+", "L1")
    assert spans(features[3].parts) == [(50, 80), (100, 120)]
    first, second = genes_of(features)
    assert (first.id, spans(first.transcripts[0].cds)) == ("L1", [(0, 30)])
    (transcript,) = second.transcripts
    assert (second.id, transcript.kind, transcript.interval.strand, transcript.tss) == (
        "abc",
        "mRNA",
        "-",
        119,
    )
    assert spans(transcript.exons) == [(50, 80), (100, 120)]
    assert spans(transcript.cds) == [(60, 80), (100, 110)]


def test_feature_outside_its_record(tmp_path: Path) -> None:
    text = record_file("genbank").replace("151..160", "151..260")
    with pytest.raises(
        InputFileError, match=r"misc_feature of X1\.1 at 151\.\.260 does not lie within the record"
    ):
        read_features(write(tmp_path / "x.gb", text))
