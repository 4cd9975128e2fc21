"""The 18 tasks of the Nucleotide Transformer, in both editions: that of 2023, and the revised one of 2024."""

from genomix_data.benchmarks.registry import BenchmarkSet

_CITATION = (
    "Dalla-Torre et al. 2024, Nucleotide Transformer: building and evaluating robust foundation models for human "
    "genomics, Nature Methods"
)
_HISTONES_2023 = {
    "H3": (13468, 1497),
    "H3K14ac": (29743, 3305),
    "H3K36me3": (31392, 3488),
    "H3K4me1": (28509, 3168),
    "H3K4me2": (27614, 3069),
    "H3K4me3": (33119, 3680),
    "H3K79me3": (25953, 2884),
    "H3K9ac": (25003, 2779),
    "H4": (13140, 1461),
    "H4ac": (30685, 3410),
}
_OTHERS_2023 = {
    "enhancers": (14968, 400, 2, 200),
    "enhancers_types": (14968, 400, 3, 200),
    "promoter_all": (53276, 5920, 2, 300),
    "promoter_no_tata": (47767, 5299, 2, 300),
    "promoter_tata": (5509, 621, 2, 300),
    "splice_sites_acceptors": (19961, 2218, 2, 600),
    "splice_sites_all": (27000, 3000, 3, 400),
    "splice_sites_donors": (19775, 2198, 2, 600),
}
_REVISED = {
    "H2AFZ": (30000, 3000, 2, 1000),
    "H3K27ac": (30000, 1616, 2, 1000),
    "H3K27me3": (30000, 3000, 2, 1000),
    "H3K36me3": (30000, 3000, 2, 1000),
    "H3K4me1": (30000, 3000, 2, 1000),
    "H3K4me2": (30000, 2138, 2, 1000),
    "H3K4me3": (30000, 776, 2, 1000),
    "H3K9ac": (23274, 1004, 2, 1000),
    "H3K9me3": (27438, 850, 2, 1000),
    "H4K20me1": (30000, 2270, 2, 1000),
    "enhancers": (30000, 3000, 2, 400),
    "enhancers_types": (30000, 3000, 3, 400),
    "promoter_all": (30000, 1584, 2, 300),
    "promoter_no_tata": (30000, 1372, 2, 300),
    "promoter_tata": (5062, 212, 2, 300),
    "splice_sites_acceptors": (30000, 3000, 2, 600),
    "splice_sites_all": (30000, 3000, 3, 600),
    "splice_sites_donors": (30000, 3000, 2, 600),
}


def _what(task: str) -> str:
    if task.startswith("H"):
        return f"histone mark {task}" if task not in ("H3", "H4") else f"histone {task} occupancy"
    return task.replace("_", " ").replace("no tata", "without TATA box").replace("tata", "with TATA box")


def _metric(task: str) -> str:
    if task.startswith(("H", "enhancers")):
        return "MCC"
    return "accuracy" if task == "splice_sites_all" else "F1"


def _row(
    family: str, repository: str, task: str, numbers: tuple[int, int, int, int], note: str
) -> BenchmarkSet:
    train, test, n_classes, length = numbers
    return BenchmarkSet(
        name=f"{family}/{task}",
        kind="binary" if n_classes == 2 else "multi-class",
        what=_what(task),
        classes=tuple(str(label) for label in range(n_classes)),
        n_sequences={"train": train, "test": test},
        # Some windows at the ends of contigs are shorter, so the published length is the longest.
        length=(1, length),
        metric=_metric(task),
        source=f"huggingface.co/datasets/InstaDeepAI/{repository}",
        licence="see the data set card; not stated in the copy that was read",
        citation=_CITATION,
        obtain=f"download {task}/train.fna and {task}/test.fna from huggingface.co/datasets/InstaDeepAI/{repository}",
        note=note,
    )


ROWS = (
    *(
        _row(
            "nucleotide_transformer",
            "nucleotide_transformer_downstream_tasks",
            task,
            numbers,
            "edition of 2023; yeast histone marks; some negatives are generated",
        )
        for task, numbers in sorted(
            ({task: (*n, 2, 500) for task, n in _HISTONES_2023.items()} | _OTHERS_2023).items()
        )
    ),
    *(
        _row(
            "nucleotide_transformer_revised",
            "nucleotide_transformer_downstream_tasks_revised",
            task,
            numbers,
            "edition of 2024; human only, test sets are held-out chromosomes",
        )
        for task, numbers in sorted(_REVISED.items())
    ),
)
