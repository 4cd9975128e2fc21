"""The report of `genomix evaluate variants`: curves, scores by class and along the contig, and what was left out."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomix.evaluation.ranking import Separation
from genomix.evaluation.variants import ScoreEvaluation, VariantEvaluation, short_list
from genomix.report import evaluation_figures as figures
from genomix.report.page import Card, Fact, Figure, Page, Section, Table, write_page

CONTIGS_SHOWN = 6
CLASSES_SHOWN = 5


def write_variant_report(
    found: VariantEvaluation,
    path: str | os.PathLike[str],
    *,
    provenance: Mapping[str, Any],
    statuses: Mapping[str, int] | None = None,
) -> Path:
    """Write the report as one HTML file and return its path.

    Args:
        found: What was evaluated.
        path: Where to.
        provenance: Of `run_record`.
        statuses: How many alleles have each status, where they were scored just now.
    """
    best = found.scores[0]
    page = Page(
        title=f"Variant evaluation: {found.variants.source}",
        subtitle=(
            f"{short_list(found.positive)} against {short_list(found.negative)} in {found.label}: "
            f"{int(found.is_positive.sum()):,} positives, {int(found.is_negative.sum()):,} negatives."
        ),
        cards=[
            *(_area_cards(best)),
            Card(
                label="variants judged",
                value=f"{int((found.is_positive | found.is_negative).sum()) - best.n_unscored:,}",
                note=f"of {len(found.variants):,} alleles in the file",
            ),
        ],
        sections=[
            _curves(found),
            _by_class(found),
            _by_position(found),
            *([_by_group(found)] if found.variants.groups is not None else []),
            _counts(found, statuses or {}),
        ],
        provenance=[Fact(name=name, value=_text(value)) for name, value in provenance.items()],
    )
    return write_page(page, path)


def _area_cards(score: ScoreEvaluation) -> list[Card]:
    if score.overall is None:
        return [Card(label=f"{score.name}, AUROC", value="-", note="scored alleles of one side only")]
    overall = score.overall
    return [
        Card(
            label=f"{score.name}, {name}",
            value=f"{area.value:.3f}",
            note=f"95 % CI {area.low:.3f} to {area.high:.3f}; chance {chance:.3f}",
        )
        for name, area, chance in (
            ("AUROC", overall.auroc, 0.5),
            ("AUPRC", overall.auprc, overall.prevalence),
        )
    ]


def _curves(found: VariantEvaluation) -> Section:
    overall = {score.name: score.overall for score in found.scores if score.overall is not None}
    rows = [
        row
        for score in found.scores
        for name, each in ((None, score.overall), *score.by_class.items())
        if each is not None
        for row in [[score.name, found.sides(name), *_areas(each)]]
    ]
    paragraphs = [
        f"{score.name}: {'lower' if score.higher_means == 'negative' else 'higher'} values are taken for "
        f"{short_list(found.positive)}."
        for score in found.scores
    ]
    if len(overall) > figures.MOST_CURVES:
        paragraphs.append(f"The first {figures.MOST_CURVES} of {len(overall)} scores are drawn.")
    return Section(
        title="Separation",
        paragraphs=[
            *paragraphs,
            f"Intervals and bands are 95 % percentiles of {found.n_resamples:,} bootstrap resamples, drawn within "
            "positives and within negatives.",
        ],
        figures=[
            Figure(svg=figures.roc_with_bands(overall), caption="ROC curves."),
            Figure(svg=figures.precision_recall_with_bands(overall), caption="Precision-recall curves."),
        ]
        if overall
        else [],
        tables=[
            Table(
                columns=[
                    "score",
                    "classes",
                    "positives",
                    "negatives",
                    "AUROC (95 % CI)",
                    "AUPRC (95 % CI)",
                    "chance",
                ],
                rows=rows,
                caption="Areas. Chance: the AUPRC of a score that knows nothing.",
            ),
            *_correlation_tables(found),
        ],
    )


def _areas(each: Separation) -> list[str]:
    return [
        f"{each.n_positive:,}",
        f"{each.n_negative:,}",
        str(each.auroc),
        str(each.auprc),
        f"{each.prevalence:.3f}",
    ]


def _correlation_tables(found: VariantEvaluation) -> list[Table]:
    if not found.spearman:
        return []
    rows = [
        [pair, "undefined" if value is None else f"{value:.3f}"] for pair, value in found.spearman.items()
    ]
    return [Table(columns=["scores", "Spearman"], rows=rows, caption="Rank correlation of the scores.")]


def _classes_shown(found: VariantEvaluation, counts: Mapping[str, int]) -> list[str]:
    """Return the classes that drawings show: positive ones first, those of each side with most scored variants."""
    sides = [
        sorted((name for name in side if counts.get(name)), key=lambda name: -counts[name])
        for side in (found.positive, found.negative)
    ]
    positive = sides[0][: max(1, CLASSES_SHOWN - len(sides[1]), CLASSES_SHOWN // 2)]
    return positive + sides[1][: CLASSES_SHOWN - len(positive)]


def _by_class(found: VariantEvaluation) -> Section:
    labels = np.array([name or "" for name in found.variants.labels], dtype=object)
    drawn: list[Figure] = []
    rows: list[list[str]] = []
    for score in found.scores:
        values = found.variants.scores[score.name]
        groups = {
            name: values[(labels == name) & np.isfinite(values)]
            for name in (*found.positive, *found.negative)
        }
        groups = {name: each for name, each in groups.items() if len(each)}
        rows += [[score.name, name, *_quantiles(each)] for name, each in groups.items()]
        if len(drawn) < figures.MOST_CURVES:
            names = _classes_shown(found, {name: len(each) for name, each in groups.items()})
            shown = {name: groups[name] for name in names}
            drawn.append(
                Figure(
                    svg=figures.scores_by_class(shown, y_label=score.name),
                    caption=f"{score.name} by class: points as wide as their density, quartiles (bar), median "
                    f"(ring).{_beyond(np.concatenate(list(shown.values())))}{_not_drawn(len(groups) - len(shown))}",
                    is_wide=len(shown) > 3,
                )
            )
    return Section(
        title="Scores by class",
        figures=drawn,
        tables=[
            Table(
                columns=["score", "class", "variants", "mean", "5 %", "25 %", "median", "75 %", "95 %"],
                rows=rows,
            )
        ],
    )


def _not_drawn(n_classes: int) -> str:
    return f" Classes with fewer variants are not drawn: {n_classes:,}." if n_classes else ""


def _beyond(scores: NDArray[np.float64]) -> str:
    n = figures.n_beyond(scores)
    return f" {n:,} far off are drawn at the ends of the axis." if n else ""


def _quantiles(scores: NDArray[np.float64]) -> list[str]:
    quantiles = np.percentile(scores, [5, 25, 50, 75, 95])
    return [f"{len(scores):,}", *(f"{value:.4g}" for value in (scores.mean(), *quantiles))]


def _by_position(found: VariantEvaluation) -> Section:
    score = found.scores[0]
    values = found.variants.scores[score.name]
    labels = np.array([name or "" for name in found.variants.labels], dtype=object)
    judged = (found.is_positive | found.is_negative) & np.isfinite(values)
    n_by_class = Counter(labels[judged])
    classes = _classes_shown(found, n_by_class)
    kept = judged & np.isin(labels, classes)
    chroms = np.array([allele.chrom for allele in found.variants.alleles], dtype=object)
    names, counts = np.unique(chroms[kept].astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:CONTIGS_SHOWN]
    drawn = []
    for chrom in names[order]:
        rows = np.flatnonzero(kept & (chroms == chrom))
        drawn.append(
            Figure(
                svg=figures.scores_by_position(
                    np.array([found.variants.alleles[row].pos for row in rows]),
                    values[rows],
                    labels[rows].tolist(),
                    classes,
                    x_label=f"position on {chrom} (stretches without variants are cut short)",
                    y_label=score.name,
                ),
                caption=f"{score.name} along {chrom}, {len(rows):,} variants.{_beyond(values[rows])}",
                is_wide=True,
            )
        )
    left = len(names) - len(drawn)
    lines = [f"The {len(drawn)} contigs with most variants are drawn; {left} more are not."] if left else []
    if n_others := int(judged.sum() - kept.sum()):
        lines.append(
            f"{n_others:,} variants of the {len(n_by_class) - len(classes)} classes that have fewest are not drawn."
        )
    return Section(title="Scores by position", paragraphs=lines, figures=drawn)


def _by_group(found: VariantEvaluation) -> Section:
    rows = [
        [score.name, name, *_areas(each)] for score in found.scores for name, each in score.by_group.items()
    ]
    n_small = found.scores[0].n_small_groups
    return Section(
        title="Separation within groups",
        paragraphs=[f"{n_small} groups have fewer than 5 positives or 5 negatives and are not judged."]
        if n_small
        else (),
        tables=[
            Table(
                columns=[
                    "score",
                    "group",
                    "positives",
                    "negatives",
                    "AUROC (95 % CI)",
                    "AUPRC (95 % CI)",
                    "chance",
                ],
                rows=rows,
            )
        ]
        if rows
        else [],
    )


def _counts(found: VariantEvaluation, statuses: Mapping[str, int]) -> Section:
    side = dict.fromkeys(found.positive, "positive") | dict.fromkeys(found.negative, "negative")
    rows = [[name, side.get(name, "left out"), f"{count:,}"] for name, count in found.n_by_class.items()]
    rows.append(["(no class)", "left out", f"{found.n_unlabelled:,}"])
    lines = [
        f"{score.name}: {score.n_unscored:,} labelled alleles have no score and are left out."
        for score in found.scores
        if score.n_unscored
    ]
    if found.n_duplicates:
        lines.append(
            f"{found.n_duplicates:,} labelled alleles stand in the file more than once; each counts."
        )
    tables = [
        Table(columns=[found.label, "taken for", "alleles"], rows=rows, caption="Every allele of the file.")
    ]
    if statuses:
        tables.append(
            Table(
                columns=["status", "alleles"],
                rows=[[name, f"{count:,}"] for name, count in sorted(statuses.items())],
                caption="GMX_STATUS of all alleles.",
            )
        )
    return Section(title="What was counted", paragraphs=lines, tables=tables)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return str(value)
