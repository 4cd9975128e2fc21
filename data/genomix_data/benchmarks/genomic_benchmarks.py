"""Genomic Benchmarks: nine sets, distributed as coordinates (and cached by its own package as sequences).

Counts are those of the coordinate files at version 0 of the official repository, commit 605d8539.
"""

from genomix_data.benchmarks.registry import BenchmarkSet, TaskKind

_OBTAIN = (
    "coordinates: clone github.com/ML-Bioinfo-CEITEC/genomic_benchmarks and use its folder datasets/{task}, with the "
    "genome ({assembly}); sequences: `pip install genomic-benchmarks`, then genomic_benchmarks.loc2seq."
    "download_dataset({task!r}), which fills ~/.genomic_benchmarks/{task}"
)
_CITATION = (
    "Gresova et al. 2023, Genomic benchmarks: a collection of datasets for genomic sequence classification, "
    "BMC Genomic Data 24:25"
)


def _row(
    task: str,
    what: str,
    assembly: str,
    length: tuple[int, int],
    counts: dict[str, tuple[int, int]],
    note: str = "",
    kind: TaskKind = "binary",
) -> BenchmarkSet:
    parts = ("train", "test")
    n_per_class = {part: {name: n[i] for name, n in sorted(counts.items())} for i, part in enumerate(parts)}
    return BenchmarkSet(
        name=f"genomic_benchmarks/{task}",
        kind=kind,
        what=what,
        classes=tuple(sorted(counts)),
        n_sequences={part: sum(n.values()) for part, n in n_per_class.items()},
        n_per_class=n_per_class,
        length=length,
        metric="accuracy",
        assembly=assembly,
        source="github.com/ML-Bioinfo-CEITEC/genomic_benchmarks",
        licence="Apache-2.0",
        citation=_CITATION,
        obtain=_OBTAIN.format(task=task, assembly=assembly),
        note=note,
    )


ROWS = (
    _row(
        "demo_coding_vs_intergenomic_seqs",
        "protein-coding transcript or stretch between genes",
        "GRCh38 genome, and Ensembl 97 cDNA for coding_seqs",
        (200, 200),
        {"coding_seqs": (37500, 12500), "intergenomic_seqs": (37500, 12500)},
        "coordinates of coding_seqs are on transcripts (ENST...), those of intergenomic_seqs on chromosomes: give a "
        "FASTA for each class, --genome coding_seqs=cdna.fa --genome intergenomic_seqs=hg38.fa",
    ),
    _row(
        "demo_human_or_worm",
        "human or C. elegans",
        "GRCh38 for human, WBcel235 for worm",
        (200, 200),
        {"human": (37500, 12500), "worm": (37500, 12500)},
        "give a FASTA for each class, --genome human=hg38.fa --genome worm=WBcel235.fa; 14.5 % of the worm test "
        "sequences overlap a training one",
    ),
    _row(
        "drosophila_enhancers_stark",
        "enhancer of D. melanogaster or other genomic stretch",
        "dm6 (BDGP6.28)",
        (236, 3237),
        {"negative": (2592, 865), "positive": (2592, 865)},
        "40.6 % of the test positives overlap a training positive, 0.6 % by half or more",
    ),
    _row(
        "dummy_mouse_enhancers_ensembl",
        "mouse enhancer or other genomic stretch",
        "GRCm38 (mm10)",
        (331, 4776),
        {"negative": (484, 121), "positive": (484, 121)},
    ),
    _row(
        "human_enhancers_cohn",
        "human enhancer or other genomic stretch",
        "GRCh38 (hg38)",
        (500, 500),
        {"negative": (10422, 3474), "positive": (10421, 3474)},
    ),
    _row(
        "human_enhancers_ensembl",
        "human enhancer or other genomic stretch",
        "GRCh38 (hg38)",
        (2, 573),
        {"negative": (61936, 15485), "positive": (61936, 15485)},
        "75.5 % of the test positives are contained in a training positive",
    ),
    _row(
        "human_ensembl_regulatory",
        "enhancer, open chromatin region or promoter",
        "GRCh38 (hg38)",
        (71, 802),
        {"enhancer": (85512, 21378), "ocr": (69902, 17476), "promoter": (75934, 18859)},
        kind="multi-class",
    ),
    _row(
        "human_nontata_promoters",
        "human promoter without a TATA box or other genomic stretch",
        "GRCh38 (hg38)",
        (251, 251),
        {"negative": (12355, 4119), "positive": (14742, 4915)},
        "99.6 % of the test negatives overlap a training negative, 99.2 % by half or more: report a cluster or "
        "chromosome split as well",
    ),
    _row(
        "human_ocr_ensembl",
        "open chromatin region or other genomic stretch",
        "GRCh38 (hg38)",
        (71, 593),
        {"negative": (69902, 17476), "positive": (69902, 17476)},
    ),
)
