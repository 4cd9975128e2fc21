"""iEnhancer-2L and the promoter sets of CNNProm."""

from genomix_data.benchmarks.registry import BenchmarkSet


def _ienhancer(task: str, what: str, train: int, test: int, note: str) -> BenchmarkSet:
    return BenchmarkSet(
        name=f"ienhancer_2l/{task}",
        kind="binary",
        what=what,
        classes=("0", "1"),
        n_sequences={"train": 2 * train, "test": 2 * test},
        n_per_class={"train": {"0": train, "1": train}, "test": {"0": test, "1": test}},
        length=(200, 200),
        metric="accuracy",
        note=note,
        source="Liu et al. 2016; copy of github.com/lhy0322/iEnhancer-BERT@6a54f6db",
        licence="MIT (copy)",
        citation="Liu et al. 2016, iEnhancer-2L: a two-layer predictor for identifying enhancers and their strength, "
        "Bioinformatics 32:362",
        obtain="the supplement of the article, or the data folder of the copy, written as tables sequence,label named "
        f"{task}.train.csv.gz and {task}.test.csv.gz",
    )


def _cnnprom(task: str, what: str, negative: int, positive: int, length: int, note: str) -> BenchmarkSet:
    return BenchmarkSet(
        name=f"cnnprom/{task}",
        kind="binary",
        what=what,
        classes=("0", "1"),
        n_sequences={"all": negative + positive},
        n_per_class={"all": {"0": negative, "1": positive}},
        length=(length, length),
        metric="MCC",
        source="github.com/solovictor/CNNPromoterData@b4d2949e",
        licence="none stated",
        citation="Umarov and Solovyev 2017, Recognition of prokaryotic and eukaryotic promoters using convolutional "
        "deep learning neural networks, PLoS ONE 12:e0171410",
        obtain="clone github.com/solovictor/CNNPromoterData and join the FASTA of promoters (label 1) and of "
        "non-promoters (label 0) into one table sequence,label",
        note=f"no official split: use split=cluster. {note}".strip(),
    )


ROWS = (
    _ienhancer(
        "layer1",
        "human enhancer or not",
        1484,
        200,
        "100 of the 200 test enhancers are also in the training set, letter for letter",
    ),
    _ienhancer("layer2", "strong or weak human enhancer", 742, 100, ""),
    _cnnprom(
        "arabidopsis_nontata_vs_nonprom_big", "Arabidopsis promoter without TATA box", 11459, 5905, 251, ""
    ),
    _cnnprom("arabidopsis_tata_vs_nonprom", "Arabidopsis promoter with TATA box", 2879, 1497, 251, ""),
    _cnnprom(
        "bacillus_prom_vs_nonprom",
        "Bacillus subtilis promoter",
        1000,
        373,
        81,
        "The negatives are overlapping windows: a random split leaks.",
    ),
    _cnnprom(
        "ecoli_sigma70_vs_nonprom",
        "E. coli sigma-70 promoter",
        3000,
        839,
        81,
        "The negatives are overlapping windows: a random split leaks.",
    ),
    _cnnprom("mouse_tata_vs_nonprom", "mouse promoter with TATA box", 3530, 1255, 251, ""),
)
