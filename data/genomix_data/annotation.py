"""Genes, transcripts and exons as intervals, from GFF3, GTF, GenBank or EMBL.

GFF3 and GTF count from 1 and include both ends; here everything is 0-based and half-open.

Source: Sequence Ontology, GFF3 specification 1.26; GTF 2.2 as Ensembl and GENCODE write it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from genomix_data.errors import InputFileError, ReferenceMismatchError
from genomix_data.interval import Interval, Strand

if TYPE_CHECKING:
    from genomix_data.genome import Genome

_CODING = frozenset({"CDS"})
_PIECES = frozenset(
    {
        "exon", "CDS", "UTR", "five_prime_UTR", "three_prime_UTR", "5UTR", "3UTR", "start_codon", "stop_codon",
        "intron", "Selenocysteine", "stop_codon_redefined_as_selenocysteine", "pseudogenic_exon", "polypeptide",
        "noncoding_exon", "coding_exon", "intron_CNS", "inter", "inter_CNS", "5'UTR", "3'UTR", "sig_peptide",
        "mat_peptide", "transit_peptide", "regulatory", "misc_feature", "variation", "gap", "STS",
    }
)  # fmt: skip
_EXONS = frozenset({"exon", "pseudogenic_exon", "noncoding_exon", "coding_exon"})
_TRANSCRIBED = _CODING | {
    "UTR",
    "five_prime_UTR",
    "three_prime_UTR",
    "5UTR",
    "3UTR",
    "5'UTR",
    "3'UTR",
    "stop_codon",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """One annotated stretch of a contig.

    Args:
        interval: Its extent; the name is the one for people (``Name``, ``gene_name``).
        kind: Column 3 of GFF, the feature key of GenBank: gene, mRNA, exon, CDS, ...
        id: What others call it as parent; None where nothing can.
        parents: Ids of what it is part of.
        attributes: Column 9, or the qualifiers: one or more values a key.
        phase: Of a CDS: bases to skip to the next codon, 0 to 2.
        score: Column 6.
        source: Column 2.
        parts: Stretches that it consists of, by coordinate; just its interval unless a GenBank location joins several.
        line: 1-based line in the file; 0 where the format has no lines to speak of.
    """

    interval: Interval
    kind: str
    id: str | None = None
    parents: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    phase: int | None = None
    score: float | None = None
    source: str = ""
    parts: tuple[Interval, ...] = ()
    line: int = 0

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", (self.interval,))

    def get(self, key: str) -> str | None:
        """Return the first value of an attribute, or None."""
        values = self.attributes.get(key)
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Transcript:
    """One transcript of a gene.

    Args:
        id: As the file has it.
        gene_id: Id of its gene.
        interval: Its extent and strand.
        exons: By coordinate, whatever the strand; disjoint. Where the file has none: its coding and untranslated parts.
        cds: Coding parts by coordinate; empty for a non-coding transcript.
        kind: mRNA, transcript, tRNA, ...
        biotype: What the file says of it, such as protein_coding.
    """

    id: str
    gene_id: str
    interval: Interval
    exons: tuple[Interval, ...]
    cds: tuple[Interval, ...] = ()
    kind: str = "transcript"
    biotype: str | None = None

    @property
    def tss(self) -> int:
        """0-based position of the first transcribed base, on either strand."""
        return self.interval.end - 1 if self.interval.strand == "-" else self.interval.start

    @property
    def introns(self) -> tuple[Interval, ...]:
        """What lies between two exons, by coordinate."""
        return tuple(
            replace(left, start=left.end, end=right.start)
            for left, right in zip(self.exons, self.exons[1:], strict=False)
            if right.start > left.end
        )


@dataclass(frozen=True, slots=True)
class Gene:
    """A gene and its transcripts.

    Args:
        id: As the file has it.
        interval: Its extent, strand, and the gene's name.
        transcripts: In file order; may be empty.
        biotype: What the file says of it, such as protein_coding.
    """

    id: str
    interval: Interval
    transcripts: tuple[Transcript, ...] = ()
    biotype: str | None = None


def read_features(path: str | os.PathLike[str], genome: "Genome | None" = None) -> list[Feature]:
    """Return every feature of a GFF3, GTF, GenBank or EMBL file (gzip ok) in file order.

    Args:
        path: The file; its format is told by what is in it.
        genome: Check the features against these contigs, and call each contig by the name that the genome has.

    Raises:
        InputFileError: naming file and line, for a malformed line, an unknown contig, or a feature that reaches beyond
            its contig; and for a file that is missing, damaged or without features.
    """
    from genomix_data.genbank import read_record_features
    from genomix_data.genome_source import is_record_file
    from genomix_data.gff import iter_gff
    from genomix_data.text_input import open_text

    source = Path(path)
    with open_text(source, "annotation") as text:
        head = text.read(256).encode()
    features = read_record_features(source) if is_record_file(head) else list(iter_gff(source))
    if not features:
        raise InputFileError(f"annotation {str(source)!r} has no feature in it. Check the file.")
    return features if genome is None else [_on_genome(source, feature, genome) for feature in features]


def read_genes(path: str | os.PathLike[str], genome: "Genome | None" = None) -> list[Gene]:
    """Return the genes of an annotation with their transcripts and exons; see `read_features` and `genes_of`."""
    return genes_of(read_features(path, genome))


def genes_of(features: Iterable[Feature]) -> list[Gene]:
    """Return genes, transcripts and exons that features make up, in the order in which they first appear.

    A transcript or gene that the file has no line for (GTF files often lack them, bacterial GFF3 has coding sequences
    directly below genes) is made from its parts. The same id on two contigs is two genes (the pseudo-autosomal ones).
    """
    builder = _Builder()
    for feature in features:
        builder.add(feature)
    return builder.genes()


class _Builder:
    """Features met so far, by contig and id."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[str, str], Feature] = {}
        self.pieces: dict[tuple[str, str], list[Feature]] = {}
        self.order: dict[tuple[str, str], None] = {}

    def add(self, feature: Feature) -> None:
        chrom = feature.interval.chrom
        if feature.kind in _PIECES:
            for parent in feature.parents:
                self.pieces.setdefault((chrom, parent), []).append(feature)
                self.order.setdefault((chrom, parent))
            return
        if feature.id is None:
            return
        key = (chrom, feature.id)
        self.order.setdefault(key)
        known = self.nodes.get(key)
        self.nodes[key] = feature if known is None else replace(known, interval=_span([known, feature]))

    def genes(self) -> list[Gene]:
        transcripts: dict[tuple[str, str], list[Transcript]] = {}
        found: dict[tuple[str, str], None] = {}
        for key in self.order:
            node = self.nodes.get(key)
            if node is not None and _is_gene(node):
                found.setdefault(key)
            if key in self.pieces or (node is not None and self._is_transcript(key, node)):
                gene = (key[0], self._gene_id(key))
                found.setdefault(gene)
                transcripts.setdefault(gene, []).append(self._transcript(key, gene[1]))
        return [self._gene(key, transcripts.get(key, [])) for key in found]

    def _is_transcript(self, key: tuple[str, str], node: Feature) -> bool:
        parents = (self.nodes.get((key[0], parent)) for parent in node.parents)
        return not _is_gene(node) and any(parent is not None and _is_gene(parent) for parent in parents)

    def _gene_id(self, key: tuple[str, str]) -> str:
        """Climb to the gene; a transcript without one is a gene of its own."""
        seen = {key}
        while True:
            node = self.nodes.get(key)
            if node is None:
                named = next((p.get("gene_id") for p in self.pieces.get(key, []) if p.get("gene_id")), None)
                return named or key[1]
            if _is_gene(node) or not node.parents:
                return key[1]
            key = (key[0], node.parents[0])
            if key in seen:
                return key[1]
            seen.add(key)

    def _transcript(self, key: tuple[str, str], gene_id: str) -> Transcript:
        node = self.nodes.get(key)
        pieces = self.pieces.get(key, [])
        exons = [part for piece in pieces if piece.kind in _EXONS for part in piece.parts]
        cds = [part for piece in pieces if piece.kind in _CODING for part in piece.parts]
        if not exons and node is not None and not node.line:
            exons = list(node.parts)
        exons = exons or [part for piece in pieces if piece.kind in _TRANSCRIBED for part in piece.parts]
        whole = _span([node] if node is not None else pieces)
        return Transcript(
            id=key[1],
            gene_id=gene_id,
            interval=replace(whole, name=whole.name if node is not None else None),
            exons=_joined(exons or (node.parts if node is not None else (whole,))),
            cds=_joined(cds),
            kind=node.kind if node is not None else "transcript",
            biotype=_biotype(node or pieces[0], "transcript"),
        )

    def _gene(self, key: tuple[str, str], transcripts: list[Transcript]) -> Gene:
        node = self.nodes.get(key)
        if node is not None:
            return Gene(key[1], node.interval, tuple(transcripts), _biotype(node, "gene"))
        intervals = [transcript.interval for transcript in transcripts]
        pieces = [piece for t in transcripts for piece in self.pieces.get((key[0], t.id), [])]
        name = next((piece.get("gene_name") for piece in pieces if piece.get("gene_name")), None)
        biotype = next((found for piece in pieces if (found := _biotype(piece, "gene"))), None)
        return Gene(key[1], replace(_extent(intervals), name=name), tuple(transcripts), biotype)


def _is_gene(feature: Feature) -> bool:
    return feature.kind.lower().endswith("gene")


def _span(features: list[Feature]) -> Interval:
    return replace(_extent([feature.interval for feature in features]), name=features[0].interval.name)


def _extent(intervals: list[Interval]) -> Interval:
    strands = {interval.strand for interval in intervals}
    strand: Strand = intervals[0].strand if len(strands) == 1 else "."
    start, end = min(i.start for i in intervals), max(i.end for i in intervals)
    return Interval(intervals[0].chrom, start, end, strand)


def _joined(parts: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the parts by coordinate, without names; those that overlap or touch become one."""
    joined: list[Interval] = []
    for part in sorted(parts, key=lambda part: (part.start, part.end)):
        if joined and part.start <= joined[-1].end:
            joined[-1] = replace(joined[-1], end=max(joined[-1].end, part.end))
        else:
            joined.append(replace(part, name=None))
    return tuple(joined)


def _biotype(feature: Feature, what: str) -> str | None:
    keys = (f"{what}_type", f"{what}_biotype", "biotype", "gene_biotype", "gene_type")
    return next((value for key in keys if (value := feature.get(key))), None)


def _on_genome(source: Path, feature: Feature, genome: "Genome") -> Feature:
    where = f"{source}:{feature.line}" if feature.line else str(source)
    try:
        chrom = genome.resolve(feature.interval.chrom)
    except ReferenceMismatchError as error:
        raise InputFileError(f"{where}: {error}") from error
    length = genome.contigs[chrom]
    if feature.interval.end > length:
        raise InputFileError(
            f"{where}: {feature.kind} {feature.interval} reaches beyond the contig, which has {length:,} bp in "
            f"{genome.path.name}. Check that both are of the same assembly."
        )
    if chrom == feature.interval.chrom:
        return feature
    parts = tuple(replace(part, chrom=chrom) for part in feature.parts)
    return replace(feature, interval=replace(feature.interval, chrom=chrom), parts=parts)


def iter_exons(genes: Iterable[Gene]) -> Iterator[Interval]:
    """Yield every exon of every transcript, named by its gene; an exon of several transcripts comes several times."""
    for gene in genes:
        for transcript in gene.transcripts:
            for exon in transcript.exons:
                yield replace(exon, name=gene.interval.name or gene.id)
