"""The section of a fine-tuning report on the test set: figures and tables by the kind of the head."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genomix.evaluation.finetuned import TestEvaluation
from genomix.evaluation.ranking import Separation
from genomix.evaluation.run_record import CLASS_KINDS, RunRecord
from genomix.report import evaluation_figures as drawings
from genomix.report import figures
from genomix.report.page import Figure, Section, Table

MOST_CELLS = 12
"""Classes of a confusion matrix that can be drawn; more are listed."""
ROWS_SHOWN = 60
"""Of a table with a row a label; the best and the worst are shown, all are in the JSON."""


def test_section(run: RunRecord, found: TestEvaluation) -> Section:
    """Return the section on the test set, by the kind of the head."""
    if run.kind in CLASS_KINDS:
        return _classes(run, found)
    return _labels(run, found) if run.kind == "multilabel" else _numbers(run, found)


def _curve_figures(found: TestEvaluation) -> list[Figure]:
    if not found.separations:
        return []
    n, most = len(found.separations), drawings.MOST_CURVES
    left = f" The first {most} of {n} are drawn." if n > most else ""
    return [
        Figure(
            svg=drawings.roc_with_bands(found.separations), caption=f"ROC, with 95 % bootstrap bands.{left}"
        ),
        Figure(
            svg=drawings.precision_recall_with_bands(found.separations),
            caption=f"Precision and recall, with 95 % bootstrap bands.{left}",
        ),
    ]


def _how_judged(run: RunRecord, found: TestEvaluation) -> list[str]:
    """Return how the test set was used, and what the intervals are of."""
    within = {
        "token_classifier": " of whole sequences, because neighboring bases are no independent draws",
        "multilabel": " within the two sides of each label",
        "regressor": "",
    }.get(run.kind, " within the true classes")
    return [
        "The test set was scored once, after everything had been chosen on validation."
        if run.result.get("protocol", "holdout") != "paper"
        else "The test set chose the epoch, as in HyenaDNA's publication: this result is optimistic.",
        f"Intervals are 95 % percentiles of {found.resamples:,} bootstrap resamples{within}.",
    ]


def _classes(run: RunRecord, found: TestEvaluation) -> Section:
    assert found.overall is not None
    overall, test = found.overall, run.result["test"]
    drawn: list[Figure] = []
    if len(run.names) <= MOST_CELLS:
        drawn.append(
            Figure(
                svg=figures.confusion_matrix(np.asarray(test["confusion"]), run.names),
                caption="Test set: counts, and share of the true class.",
            )
        )
    drawn += _curve_figures(found)
    if found.calibration is not None:
        event = run.names[1] if len(run.names) == 2 else "right"
        drawn.append(
            Figure(
                svg=drawings.calibration_plot(
                    found.calibration, event, "bases" if run.kind == "token_classifier" else "sequences"
                ),
                caption=f"Calibration: expected error {found.calibration.error:.3f}, Brier score "
                f"{found.calibration.brier:.3f}. On the dotted line probabilities are frequencies.",
            )
        )
    rows = [
        [name, str(each)]
        for name, each in (
            ("accuracy", overall.accuracy),
            ("balanced accuracy", overall.balanced_accuracy),
            ("MCC", overall.mcc),
            ("F1 (macro)", overall.macro_f1),
            *(_area_rows(found.separations)),
        )
    ]
    per_class = [
        [
            each.name,
            f"{each.n:,}",
            f"{each.n_predicted:,}",
            *(str(rate) for rate in (each.precision, each.recall, each.specificity, each.f1)),
        ]
        for each in overall.classes
    ]
    return Section(
        title="Test",
        paragraphs=[
            *_how_judged(run, found),
            *(str(note) for note in test.get("notes", [])),
        ],
        figures=drawn,
        tables=[
            Table(columns=["metric", "test (95 % CI)"], rows=rows),
            Table(
                columns=["class", "n", "predicted", "precision", "recall", "specificity", "F1"],
                rows=per_class,
                caption="Each class.",
            ),
        ],
    )


def _area_rows(separations: Mapping[str, Separation]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, each in separations.items():
        found += [
            (f"AUROC of {name}", each.auroc),
            (f"AUPRC of {name} (chance {each.prevalence:.3f})", each.auprc),
        ]
    return found


def _labels(run: RunRecord, found: TestEvaluation) -> Section:
    ranked = sorted(found.separations.items(), key=lambda item: -item[1].auroc.value)
    shown = ranked if len(ranked) <= ROWS_SHOWN else ranked[: ROWS_SHOWN // 2] + ranked[-ROWS_SHOWN // 2 :]
    rows = [
        [name, f"{each.n_positive:,}", f"{each.n_negative:,}", str(each.auroc), str(each.auprc)]
        for name, each in shown
    ]
    areas = [each.auroc.value for each in found.separations.values()]
    median = (
        f"Median AUROC over {len(areas)} labels: {np.median(areas):.3f}."
        if areas
        else "No label has both sides."
    )
    more = (
        []
        if len(shown) == len(ranked)
        else [f"The best and the worst {ROWS_SHOWN // 2} of {len(ranked)} are listed."]
    )
    return Section(
        title="Test",
        paragraphs=[median, *more, *_how_judged(run, found)],
        figures=_curve_figures(found),
        tables=[
            Table(
                columns=["label", "positives", "negatives", "AUROC (95 % CI)", "AUPRC (95 % CI)"], rows=rows
            )
        ],
    )


def _numbers(run: RunRecord, found: TestEvaluation) -> Section:
    assert run.targets is not None
    drawn = []
    for place, name in list(enumerate(run.names))[: drawings.MOST_CURVES]:
        rows = np.isfinite(run.targets[:, place])
        if name in found.correlations:
            svg = drawings.predicted_and_measured(
                run.targets[rows, place], run.scores[rows, place], name=name
            )
            drawn.append(
                Figure(svg=svg, caption=f"{name}: predicted over measured; the dotted line is equality.")
            )
    table = [
        [name, *(str(each) for each in measures.values())] for name, measures in found.correlations.items()
    ]
    columns = ["target", *(f"{name} (95 % CI)" for name in next(iter(found.correlations.values()), {}))]
    left = len(run.names) - drawings.MOST_CURVES
    lines = [f"The first {drawings.MOST_CURVES} of {len(run.names)} targets are drawn."] if left > 0 else []
    return Section(
        title="Test",
        paragraphs=[*_how_judged(run, found), *lines],
        figures=drawn,
        tables=[Table(columns=columns, rows=table)] if table else [],
    )
