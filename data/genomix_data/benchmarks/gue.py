"""GUE, the Genome Understanding Evaluation of DNABERT-2: train.csv, dev.csv and test.csv in a folder a task."""

from genomix_data.benchmarks.registry import BenchmarkSet

_CITATION = (
    "Zhou et al. 2024, DNABERT-2: efficient foundation model and benchmark for multi-species genome, ICLR"
)

_ROWS: dict[str, tuple[str, int, int, int, int, int]] = {
    "EMP/H3": ("yeast histone H3 occupancy", 11971, 1497, 1497, 2, 500),
    "EMP/H3K14ac": ("yeast histone mark H3K14ac", 26438, 3305, 3305, 2, 500),
    "EMP/H3K36me3": ("yeast histone mark H3K36me3", 27904, 3488, 3488, 2, 500),
    "EMP/H3K4me1": ("yeast histone mark H3K4me1", 25341, 3168, 3168, 2, 500),
    "EMP/H3K4me2": ("yeast histone mark H3K4me2", 24545, 3069, 3069, 2, 500),
    "EMP/H3K4me3": ("yeast histone mark H3K4me3", 29439, 3680, 3680, 2, 500),
    "EMP/H3K79me3": ("yeast histone mark H3K79me3", 23069, 2884, 2884, 2, 500),
    "EMP/H3K9ac": ("yeast histone mark H3K9ac", 22224, 2779, 2779, 2, 500),
    "EMP/H4": ("yeast histone H4 occupancy", 11679, 1461, 1461, 2, 500),
    "EMP/H4ac": ("yeast histone mark H4ac", 27275, 3410, 3410, 2, 500),
    "mouse/0": ("mouse transcription factor binding, Ch12 Nrf2", 6478, 810, 810, 2, 101),
    "mouse/1": ("mouse transcription factor binding, Ch12 Znf384", 53952, 6745, 6745, 2, 101),
    "mouse/2": ("mouse transcription factor binding, Mel JunD", 2620, 328, 328, 2, 101),
    "mouse/3": ("mouse transcription factor binding, Mel MafK", 1904, 239, 239, 2, 101),
    "mouse/4": ("mouse transcription factor binding, Mel Nelf-e", 15064, 1883, 1883, 2, 101),
    "prom/prom_300_all": ("human promoter, 300 bp", 47356, 5920, 5920, 2, 300),
    "prom/prom_300_notata": ("human promoter without TATA box, 300 bp", 42452, 5307, 5307, 2, 300),
    "prom/prom_300_tata": ("human promoter with TATA box, 300 bp", 4904, 613, 613, 2, 300),
    "prom/prom_core_all": ("human core promoter, 70 bp", 47356, 5920, 5920, 2, 70),
    "prom/prom_core_notata": ("human core promoter without TATA box, 70 bp", 42452, 5307, 5307, 2, 70),
    "prom/prom_core_tata": ("human core promoter with TATA box, 70 bp", 4904, 613, 613, 2, 70),
    "splice/reconstructed": ("human splice donor, acceptor or neither", 36496, 4562, 4562, 3, 400),
    "tf/0": ("human transcription factor binding, wgEncodeEH000552", 32378, 1000, 1000, 2, 101),
    "tf/1": ("human transcription factor binding, wgEncodeEH000606", 30672, 1000, 1000, 2, 101),
    "tf/2": ("human transcription factor binding, wgEncodeEH001546", 19000, 1000, 1000, 2, 101),
    "tf/3": ("human transcription factor binding, wgEncodeEH001776", 27294, 1000, 1000, 2, 101),
    "tf/4": ("human transcription factor binding, wgEncodeEH002829", 19000, 1000, 1000, 2, 101),
    "virus/covid": ("SARS-CoV-2 variant of concern", 77669, 7000, 7000, 9, 1000),
}


def _row(task: str, numbers: tuple[str, int, int, int, int, int]) -> BenchmarkSet:
    what, train, valid, test, n_classes, length = numbers
    return BenchmarkSet(
        name=f"gue/{task}",
        kind="binary" if n_classes == 2 else "multi-class",
        what=what,
        classes=tuple(str(label) for label in range(n_classes)),
        n_sequences={"train": train, "valid": valid, "test": test},
        # A few windows at the ends of contigs are shorter.
        length=(1, length),
        metric="MCC",
        source="github.com/MAGICS-LAB/DNABERT_2 (GUE)",
        licence="Apache-2.0 (repository)",
        citation=_CITATION,
        obtain=f"download GUE.zip by the link in the README of DNABERT_2, unpack it, and use GUE/{task}",
    )


ROWS = tuple(_row(task, numbers) for task, numbers in _ROWS.items())
