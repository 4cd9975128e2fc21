"""The report of a fine-tuning run, made of its folder: one HTML page and the same numbers as JSON."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genomix.evaluation.finetuned import STRATA, TestEvaluation, evaluate_run
from genomix.evaluation.metric_names import METRIC_NAMES
from genomix.evaluation.run_record import CLASS_KINDS, RunRecord, read_run
from genomix.provenance import run_record
from genomix.report import evaluation_figures as drawings
from genomix.report.finetune_results import test_section
from genomix.report.page import Card, Fact, Figure, Page, Section, Table, write_page
from genomix.report.protocol_report import is_protocol, read_result, write_protocol_report
from genomix.report.published import published_section
from genomix_data.atomic import atomic_file

METHODS = {
    "full": "all weights trained",
    "probe": "a head on frozen embeddings",
    "lora": "low-rank adapters and a head",
    "soft_prompt": "a soft prompt and a head",
}


def write_finetune_report(
    folder: str | os.PathLike[str],
    html: str | os.PathLike[str] | None = None,
    *,
    json_path: str | os.PathLike[str] | None = None,
) -> tuple[Path, Path]:
    """Write the report of a run, or of several seeds or folds; return the paths of the page and of the JSON.

    Args:
        folder: Of `genomix.training.finetune.finetune` or `genomix.training.protocol.run_protocol`.
        html: The page; by default ``report.html`` in the folder.
        json_path: The numbers; by default beside the page, with the suffix ``.json``.

    Raises:
        InputFileError: if the folder is of no such run, or a file in it is missing or damaged.
    """
    page_path = Path(html) if html is not None else Path(folder) / "report.html"
    numbers = Path(json_path) if json_path is not None else page_path.with_suffix(".json")
    result = read_result(folder)
    if is_protocol(result):
        return write_protocol_report(Path(folder), result, page_path, numbers)
    run = read_run(folder)
    found = evaluate_run(run)
    content = {
        "run": dict(run.result),
        "evaluation": found.to_dict(),
        "leakage": run.leakage,
        "report": run_record(),
    }
    with atomic_file(numbers) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return write_page(_page(run, found), page_path), numbers


def _page(run: RunRecord, found: TestEvaluation) -> Page:
    result = run.result
    n_by_part = ", ".join(
        f"{result[key]:,} {name}"
        for key, name in (("n_train", "for training"), ("n_valid", "for validation"))
        if key in result
    )
    what = result.get("task") or "fine-tuning run"
    method = str(result.get("method", "full"))
    return Page(
        title=f"{what}: {run.folder.resolve().name}",
        subtitle=(
            f"{METHODS.get(method, method)}; {n_by_part}, {found.n:,} test "
            f"{'bases' if run.kind == 'token_classifier' else 'sequences'}; {result.get('split', 'official')} split, "
            f"protocol {result.get('protocol', 'holdout')}."
        ),
        cards=_cards(run, found),
        sections=[
            _how(run),
            test_section(run, found),
            *_errors(run, found),
            *published_section(
                result.get("published"),
                result["test"],
                f"{result.get('protocol', 'holdout')}, one run",
                what=f"protocol {result.get('protocol', 'holdout')}, {result.get('split', 'official')} split, one seed",
            ),
            *_leakage(run, found),
            _again(run),
        ],
        provenance=[Fact(name=name, value=_text(value)) for name, value in _provenance(run).items()],
    )


def _cards(run: RunRecord, found: TestEvaluation) -> list[Card]:
    cards: list[Card] = []
    overall = found.overall
    if overall is not None:
        cards += [
            Card(label=label, value=f"{each.value:.3f}", note=f"95 % CI {each.low:.3f} to {each.high:.3f}")
            for label, each in (("test accuracy", overall.accuracy), ("test MCC", overall.mcc))
        ]
    areas = list(found.separations.values())
    if areas:
        mean = float(np.mean([each.auroc.value for each in areas]))
        note = (
            f"95 % CI {areas[0].auroc.low:.3f} to {areas[0].auroc.high:.3f}"
            if len(areas) == 1
            else f"mean of {len(areas)} {'labels' if run.kind == 'multilabel' else 'classes against the rest'}"
        )
        cards.append(Card(label="test AUROC", value=f"{mean:.3f}", note=note))
    if len(found.without_near_copies) == 1:
        (clean,) = found.without_near_copies.values()
        cards.append(
            Card(
                label="AUROC without near copies",
                value=f"{clean.auroc.value:.3f}",
                note=f"95 % CI {clean.auroc.low:.3f} to {clean.auroc.high:.3f}; {found.n_without_near_copies:,} left",
            )
        )
    for target, measures in list(found.correlations.items())[:1]:
        cards += [
            Card(
                label=f"{target}, {name}",
                value=f"{each.value:.3f}",
                note=f"95 % CI {each.low:.3f} to {each.high:.3f}",
            )
            for name, each in list(measures.items())[:3]
        ]
    return cards


def _how(run: RunRecord) -> Section:
    log, result = run.log, run.result
    has_l2 = "l2" in log
    x = log["l2"] if has_l2 else log["epoch"]
    metrics = {
        name: values.tolist()
        for name, values in log.items()
        if name not in ("epoch", "step", "train_loss", "valid_loss", "l2") and np.isfinite(values).any()
    }
    chosen = _chosen(run, x)
    wanted = str(result.get("monitor", ""))
    # the metric that chose comes first: drawings show no more than there are colours
    names = sorted(metrics, key=lambda name: name != wanted)[: drawings.MOST_CURVES]
    lines = [f"{result.get('chosen', '')}, chosen by {wanted} on validation."]
    if "seconds" in result:
        lines.append(
            f"{result['seconds']:.1f} s in all, {result.get('train_seconds', 0.0):.1f} s of them in training steps "
            f"({result.get('sequences_per_second', 0.0):,.0f} sequences a second); "
            f"{result.get('n_parameters', 0):,} parameters were trained."
        )
    if result.get("n_truncated"):
        lines.append(f"{result['n_truncated']:,} sequences were cut to the longest input of the model.")
    lines += [str(line) for line in (result.get("counts") or {}).get("warnings", [])]
    curves = drawings.epoch_curves(
        x.tolist(),
        {"training": log["train_loss"].tolist(), "validation": log["valid_loss"].tolist()},
        {name: metrics[name] for name in names},
        x_label="L2 strength" if has_l2 else "epoch",
        chosen=chosen,
        is_log=has_l2,
    )
    return Section(
        title="Training",
        paragraphs=lines,
        figures=[
            Figure(
                svg=curves,
                caption="Loss, and validation metrics, of every "
                f"{'L2 strength' if has_l2 else 'epoch'}; the dotted line is what was kept.",
                is_wide=True,
            )
        ],
    )


def _chosen(run: RunRecord, x: np.ndarray[Any, Any]) -> float | None:
    rows = np.flatnonzero(run.log["epoch"] == run.result.get("best_epoch"))
    return float(x[rows[0]]) if len(rows) else None


def _errors(run: RunRecord, found: TestEvaluation) -> list[Section]:
    if run.kind not in CLASS_KINDS:
        return []
    if run.composition is None:
        lines = ["The run did not write what its test sequences are made of (test_composition.tsv)."]
        return [Section(title="Where it is wrong", paragraphs=lines)]
    assert found.overall is not None
    wrong = 1 - found.overall.accuracy.value
    lines = [
        f"Part of the test that is wrong, in strata of about equal size; {wrong:.1%} over all (dotted line)."
    ]
    if found.constant:
        names = ", ".join(STRATA[name] for name in found.constant)
        lines.append(f"The same in (nearly) all test sequences, and so not drawn: {names}.")
    if "soft_masked" in found.constant:
        lines.append(
            "Without soft-masking in the data, repeats show as words of six bases that come again in a sequence."
        )
    drawn = [
        Figure(
            svg=drawings.shares(bins, x_label=STRATA[name], y_label="wrong", overall=wrong),
            caption=f"Errors by {STRATA[name]}, with 95 % intervals.",
        )
        for name, bins in found.errors.items()
    ]
    rows = [
        [
            STRATA[name],
            f"{each.start:.4g} to {each.end:.4g}",
            f"{each.share.n:,}",
            f"{each.share.value:.3f} ({each.share.low:.3f} to {each.share.high:.3f})",
        ]
        for name, bins in found.errors.items()
        for each in bins
    ]
    tables = [Table(columns=["by", "from", "n", "wrong (95 % CI)"], rows=rows)] if rows else []
    return [Section(title="Where it is wrong", paragraphs=lines, figures=drawn, tables=tables)]


_COMPARED = (
    "n", "accuracy", "mcc", "f1", "auroc", "median_auroc", "auprc", "pearson", "spearman", "r2", "loss"
)  # fmt: skip
"""Metrics of any kind of head that are given with and without near copies."""

_SHARED = {
    "n": "test sequences",
    "identical": "also in training, same strand",
    "identical_other_strand": "in training as their reverse complement",
    "near_identical": "contained in one training sequence by 0.9",
    "near": "contained in one training sequence by 0.5",
    "covered": "half of their words occur in training",
    "overlapping": "overlap a training interval",
    "overlapping_half": "half covered by a training interval",
    "inside": "inside a training interval",
    "has_near_copy": "have a near copy",
}


def _leakage(run: RunRecord, found: TestEvaluation) -> list[Section]:
    if run.leakage is None:
        return []
    groups = {"all": run.leakage["total"], **run.leakage.get("by_class", {})}
    rows = [
        [meaning, *("-" if group.get(key) is None else f"{group[key]:,}" for group in groups.values())]
        for key, meaning in _SHARED.items()
        if any(group.get(key) is not None for group in groups.values())
    ]
    lines = [
        f"What the test shares with the {run.leakage['n_train']:,} sequences of training and validation, by words of "
        f"{run.leakage['k']} bases on either strand, and by coordinates where both have them."
    ]
    tables = [Table(columns=["test sequences that", *groups], rows=rows)]
    clean = run.result.get("test_clean")
    if clean is not None:
        pairs = [
            (name, run.result["test"].get(name), clean.get(name))
            for name in _COMPARED
            if isinstance(clean.get(name), int | float)
        ]
        tables.append(
            Table(
                columns=["metric", "whole test", "without near copies"],
                rows=[
                    [
                        METRIC_NAMES.get(name, name),
                        *(
                            "-" if each is None else f"{each:,}" if name == "n" else f"{each:.4f}"
                            for each in both
                        ),
                    ]
                    for name, *both in pairs
                ],
                caption="The test, and the part of it that has no near copy in training.",
            )
        )
    elif found.n_without_near_copies == 0:
        lines.append(
            "Every test sequence has a near copy in training: nothing is left to judge without them."
        )
    return [Section(title="What the test shares with training", paragraphs=lines, tables=tables)]


def _again(run: RunRecord) -> Section:
    provenance = run.result.get("provenance", {})
    command = str(provenance.get("command", "")) or "(the run did not record its command)"
    tables = provenance.get("tables") or {}
    return Section(
        title="To repeat it",
        paragraphs=[
            f"genomix {provenance.get('genomix', '?')}, commit {provenance.get('commit') or 'not known'}, "
            f"seed {provenance.get('seed', '?')}, on {provenance.get('device', '?')}. All settings are in config.yaml."
        ],
        tables=[
            Table(
                columns=["part", "table"], rows=[[str(name), str(source)] for name, source in tables.items()]
            )
        ]
        if tables
        else [],
        commands=[command],
    )


def _provenance(run: RunRecord) -> dict[str, Any]:
    left_out = ("config", "tables", "command")
    found = {name: value for name, value in run.result.get("provenance", {}).items() if name not in left_out}
    return found | {"model": run.result.get("model", "")}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
