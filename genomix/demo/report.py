"""The demo's report: what was made, how good it is, next to what it should be compared with."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomix.demo.story import GENOMES, DemoResult
from genomix.evaluation.ranking import roc_points
from genomix.report import Card, Fact, Figure, Page, Section, Table, figures, write_page
from genomix.training.results import FinetuneResult, PretrainResult
from genomix_data import samples

TASK_TITLES = {
    "promoters": "Human promoters or not (Genomic Benchmarks, human_nontata_promoters: 632 of its 27,097 "
    "training members, 400 of its 9,034 test members)",
    "enhancers": "Human enhancers or not (iEnhancer-2L, layer 1; 100 of its 400 test sequences stand in its training "
    "table too and were left out of training)",
}
CLASS_NAMES = {"0": "negative", "1": "positive"}
EVO2_7B_AUROC, EVO2_7B_PARAMETERS = 0.904, 6.58e9
"""BRCA1, all 3,893 SNVs, windows of 8,192: Brixi et al. 2025, bioRxiv 2025.02.18.638918, table S7."""


def write_demo_report(result: DemoResult, path: str | Path) -> Path:
    """Write ``report.html`` and return its path."""
    pretrained, variants = result.pretrained, result.variants
    total = sum(result.seconds.values())
    page = Page(
        title="genomix demo",
        subtitle=(
            f"A small HyenaDNA, pretrained, fine-tuned and used on real data in {total:.0f} seconds "
            f"on {result.provenance['processor']}."
        ),
        cards=[
            Card(
                label="held-out bits per base",
                value=f"{pretrained.held_out.bits_per_base:.3f}",
                note=f"order-{pretrained.markov.best_order} Markov model {pretrained.markov.bits_per_base:.3f}; "
                "uniform 2.000",
            ),
            *(_task_card(name, task) for name, task in result.finetuned.items()),
            Card(
                label="BRCA1 loss of function, AUROC",
                value=f"{variants.auroc:.3f}",
                note=f"zero-shot, 95 % CI {variants.interval[0]:.3f} to {variants.interval[1]:.3f}; chance 0.500",
            ),
        ],
        sections=[
            _pretraining(pretrained),
            *(_finetuning(name, task) for name, task in result.finetuned.items()),
            _variants(result),
            _next_steps(result),
        ],
        provenance=[
            *(
                Fact(name=name, value=str(result.provenance[name]))
                for name in (
                    "command",
                    "date",
                    "genomix",
                    "commit",
                    "python",
                    "platform",
                    "processor",
                    "seed",
                )
            ),
            Fact(
                name="packages",
                value=", ".join(
                    f"{name} {version}" for name, version in result.provenance["packages"].items()
                ),
            ),
            Fact(
                name="seconds",
                value=", ".join(f"{part} {value:.1f}" for part, value in result.seconds.items()),
            ),
            Fact(name="model sha256", value=variants.summary.model_sha256),
            Fact(
                name="samples",
                value=f"{samples.path('lambda.fa.gz').parent / 'LICENSES.md'} names their sources",
            ),
        ],
    )
    return write_page(page, path)


def _task_card(name: str, task: FinetuneResult) -> Card:
    return Card(
        label=f"{name}, test AUROC",
        value=_three(task.test.auroc),
        note=f"accuracy {task.test.accuracy:.3f}, MCC {task.test.mcc:.3f} on {task.test.n} sequences",
    )


def _pretraining(run: PretrainResult) -> Section:
    tokens = [point.step * _tokens_per_step(run) / 1e6 for point in run.history]
    curve = figures.training_curve(
        tokens,
        [point.loss / np.log(2) for point in run.history],
        x_label="training tokens (millions)",
        y_label="bits per base",
        smooth=10,
        points={
            "validation": (
                [point.step * _tokens_per_step(run) / 1e6 for point in run.validation],
                [point.bits_per_base for point in run.validation],
            )
        },
        levels={f"order-{run.markov.best_order} Markov model, test": run.markov.bits_per_base},
    )
    contigs = [
        [file, name, f"{facts['length']:,}"]
        for file, name, facts in (
            (file, name, facts)
            for file, entry in samples.manifest().items()
            if file in GENOMES
            for name, facts in entry["contigs"].items()
        )
    ]
    gain = run.markov.bits_per_base - run.held_out.bits_per_base
    rival = f"the Markov model (order {run.markov.best_order}, chosen on the validation bases)"
    verdict = (
        f"The model is {gain:.3f} bits per base better than {rival}"
        if gain > 0
        else f"The model is {-gain:.3f} bits per base behind {rival}"
    )
    return Section(
        title="Pretraining",
        paragraphs=[
            f"A causal language model of {run.n_parameters:,} parameters saw {run.n_train_bases:,} bases "
            f"{run.epochs:.1f} times ({run.tokens_per_second:,.0f} tokens/s). A tenth of each contig was held out: one "
            "half chose the weights, the other was scored once, at the end.",
            f"{verdict}, fitted on the same training bases and scored on the same {run.held_out.n_bases:,} held-out "
            "ones. Genomes this small and this dense with genes are hard to compress: 2 bits is what a uniform guess "
            "costs.",
        ],
        figures=[Figure(svg=curve, caption="Loss while training; lower is better.")],
        tables=[
            Table(
                columns=["model", "bits per base"],
                rows=[
                    ["HyenaDNA, this run", f"{run.held_out.bits_per_base:.4f}"],
                    *(
                        [f"Markov, order {order}", f"{bits:.4f}"]
                        for order, bits in enumerate(run.markov.test)
                        if order in _orders_shown(run)
                    ),
                ],
                caption="On the held-out bases. The order of the Markov model is chosen on the validation bases.",
            ),
            Table(columns=["file", "contig", "bases"], rows=contigs, caption="What it was trained on."),
        ],
        commands=[f"genomix pretrain model=hyenadna/demo 'data.fasta=[{','.join(GENOMES)}]' -o my-model"],
    )


def _orders_shown(run: PretrainResult) -> set[int]:
    best = run.markov.best_order
    return {0, 1, 2, best - 1, best, best + 1, 8} & set(range(len(run.markov.test)))


def _tokens_per_step(run: PretrainResult) -> float:
    return run.tokens_per_second * run.train_seconds / run.steps


def _finetuning(name: str, task: FinetuneResult) -> Section:
    labels = np.asarray(task.test_labels)
    scores = np.asarray(task.test_probabilities)[:, 1]
    names = [CLASS_NAMES.get(each, each) for each in task.test.class_names]
    fpr, tpr = roc_points(scores, labels == 1)
    return Section(
        title=f"Fine-tuning: {name}",
        paragraphs=[
            TASK_TITLES[name] + ".",
            f"All weights were trained from the pretrained ones on {task.n_train:,} sequences; "
            f"{task.n_valid:,} more, split off the training set, chose epoch {task.best_epoch}. The {task.test.n:,} "
            f"test sequences were scored once; {task.n_shared} of them stand in the training table too.",
        ],
        figures=[
            Figure(
                svg=figures.confusion_matrix(np.asarray(task.test.confusion), names),
                caption="Test set: counts, and share of the true class.",
            ),
            Figure(
                svg=figures.roc_curves({f"AUROC {_three(task.test.auroc)}": (fpr, tpr)}),
                caption="Test set: ROC curve.",
            ),
        ],
        tables=[
            Table(
                columns=["set", "sequences", "accuracy", "MCC", "F1", "AUROC"],
                rows=[
                    [
                        label,
                        f"{metrics.n:,}",
                        f"{metrics.accuracy:.3f}",
                        f"{metrics.mcc:.3f}",
                        f"{metrics.f1:.3f}",
                        _three(metrics.auroc),
                    ]
                    for label, metrics in (
                        ("validation", task.valid),
                        ("test", task.test),
                        ("test, without near copies of training sequences", task.test_clean),
                    )
                    if metrics is not None
                ],
            )
        ],
        commands=[
            "genomix finetune data.train=train.csv data.test=test.csv model.init=my-model/model -o my-classifier"
        ],
    )


def _variants(result: DemoResult) -> Section:
    run = result.variants
    groups = {
        name: run.llr[run.classes == name] for name in ("LOF", "INT", "FUNC") if (run.classes == name).any()
    }
    fpr, tpr = roc_points(-run.llr, run.classes == "LOF")
    low, high = run.interval
    reading = (
        "That is above chance, and far from useful"
        if low > 0.5
        else "That is no better than chance"
        if high >= 0.5
        else "That is worse than chance"
    )
    return Section(
        title="Scoring variants: BRCA1 saturation genome editing",
        paragraphs=[
            f"{run.summary.scored:,} of {run.summary.alleles:,} variants (Findlay et al. 2018, Nature 562:217) were "
            f"scored on both strands in windows of {run.summary.window} bp, {run.summary.alleles_per_second:,.0f} a "
            "second: log P(window with ALT) - log P(window with REF), in nats. A negative score says that ALT is less "
            "likely than REF.",
            f"The score separates loss of function (LOF) from the rest with an AUROC of {run.auroc:.3f} (95 % "
            f"bootstrap interval {low:.3f} to {high:.3f}). {reading}. It should not surprise: this model has never "
            f"seen a vertebrate genome, and Evo 2 7B, published at {EVO2_7B_AUROC} on this set, zero-shot, has "
            f"{EVO2_7B_PARAMETERS / result.pretrained.n_parameters:,.0f} times as many parameters. The path is the "
            "same for a model that knows more.",
        ],
        figures=[
            Figure(
                svg=figures.score_distributions(groups, x_label="GMX_LLR (nats; negative: ALT less likely)"),
                caption="Scores by the class that the experiment found.",
            ),
            Figure(
                svg=figures.roc_curves({f"LOF against the rest, {run.auroc:.3f}": (fpr, tpr)}),
                caption="ROC curve of -GMX_LLR.",
            ),
        ],
        tables=[
            Table(
                columns=["class", "variants", "mean", "5 %", "median", "95 %"],
                rows=[_quantiles(name, scores) for name, scores in groups.items()],
                caption="GMX_LLR by class, in nats.",
            ),
            Table(
                columns=["status", "alleles"],
                rows=[[str(status), f"{count:,}"] for status, count in sorted(run.summary.by_status.items())],
                caption="Every record came back; none is dropped without being counted.",
            ),
        ],
        commands=["genomix score variants.vcf.gz -f genome.fa -m my-model/model -o scored.vcf.gz -W"],
    )


def _quantiles(name: str, scores: NDArray[np.float64]) -> list[str]:
    low, middle, high = np.percentile(scores, [5, 50, 95])
    return [name, f"{len(scores):,}", f"{scores.mean():.3f}", f"{low:.3f}", f"{middle:.3f}", f"{high:.3f}"]


def _next_steps(result: DemoResult) -> Section:
    folder = result.pretrained.folder.parent
    made: list[tuple[str, Path]] = [
        ("pretrained model", result.pretrained.model_folder),
        *((f"{name} classifier", task.model_folder) for name, task in result.finetuned.items()),
        ("annotated VCF", result.variants.path),
    ]
    return Section(
        title="What was made",
        tables=[
            Table(
                columns=["what", "where"],
                rows=[[what, str(path.relative_to(folder))] for what, path in made],
                caption=f"In {folder.resolve()}.",
            )
        ],
    )


def _three(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
