"""The report of several runs of one config, seeds or folds: means, spread, every run, beside what was published."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genomix.evaluation.metric_names import METRIC_NAMES
from genomix.evaluation.ranking import Separation, separation
from genomix.evaluation.run_record import CLASS_KINDS, RunRecord, read_run
from genomix.provenance import run_record
from genomix.report import evaluation_figures as drawings
from genomix.report.page import Card, Fact, Figure, Page, Section, Table, write_page
from genomix.report.published import published_section
from genomix_data.atomic import atomic_file
from genomix_data.errors import InputFileError

N_RESAMPLES = 200
"""Of the bands of each run's curve, which are drawn and not counted on."""


def write_protocol_report(
    folder: Path, result: Mapping[str, Any], html: Path, json_path: Path
) -> tuple[Path, Path]:
    """Write the report of a folder of runs and return the paths of the page and of the JSON.

    Args:
        folder: Of `genomix.training.protocol.run_protocol`.
        result: Its result.json.
        html: The page.
        json_path: The numbers.

    Raises:
        InputFileError: if a run is missing or damaged.
    """
    names = [str(row["name"]) for row in result["runs"]]
    runs = {name: read_run(_folder_of(folder, row)) for name, row in zip(names, result["runs"], strict=True)}
    with atomic_file(json_path) as temporary:
        content = {"summary": dict(result), "report": run_record()}
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return write_page(_page(folder, result, runs), html), json_path


def _folder_of(folder: Path, row: Mapping[str, Any]) -> Path:
    """Return where a run is: as it was recorded, or beside this folder's record if that was moved."""
    recorded, moved = Path(str(row["folder"])), folder / "runs" / str(row["name"])
    if not moved.exists() and not recorded.exists():
        raise InputFileError(f"the run {row['name']!r} of {str(folder)!r} is not there. Make it again.")
    return moved if moved.exists() else recorded


def _page(folder: Path, result: Mapping[str, Any], runs: Mapping[str, RunRecord]) -> Page:
    provenance = result.get("provenance", {})
    test = result["test"]
    cards = [
        Card(
            label=f"test {METRIC_NAMES.get(name, name)}",
            value=f"{found['mean']:.3f}",
            note=_spread(found, f"mean of {len(runs)} runs"),
        )
        for name, found in list(test.items())[:4]
        if name != "loss"
    ]
    what, name = str(result.get("task") or result.get("benchmark") or "fine-tuning"), folder.resolve().name
    return Page(
        title=what if what.rpartition("/")[2] == name else f"{what}: {name}",
        subtitle=(
            f"{_n_runs(result, runs)}, protocol {result['protocol']}, {result['split']} split, "
            f"method {result['method']}; "
            f"{result['n_train']:,} sequences for training, {result['n_valid']:,} for validation, "
            f"{result['n_test']:,} in the test."
        ),
        cards=cards,
        sections=[
            _metrics(result, runs),
            *_curves(runs),
            _runs(result, runs),
            *published_section(
                result.get("published"),
                {name: found["mean"] for name, found in test.items()},
                f"{len(runs)} runs, {result['protocol']}",
                what=f"protocol {result['protocol']}, {result['split']} split, mean of {len(runs)} runs",
            ),
            Section(
                title="To repeat it",
                paragraphs=["What is finished is kept: the same command goes on where it was stopped."],
                commands=[str(provenance.get("command", ""))],
            ),
        ],
        provenance=[
            Fact(name=name, value=_text(value))
            for name, value in provenance.items()
            if name not in ("config", "tables", "command")
        ],
    )


def _n_runs(result: Mapping[str, Any], runs: Mapping[str, RunRecord]) -> str:
    failed = [str(each["name"]) for each in result.get("failed") or []]
    return f"{len(runs)} runs" + (f" ({', '.join(failed)} could not be made)" if failed else "")


def _spread(found: Mapping[str, Any], what: str) -> str:
    sd = "" if found.get("sd") is None else f", sd {found['sd']:.3f}"
    interval = found.get("ci95")
    between = "" if interval is None else f"; 95 % CI of the test {interval[0]:.3f} to {interval[1]:.3f}"
    return f"{what}{sd}{between}"


def _metrics(result: Mapping[str, Any], runs: Mapping[str, RunRecord]) -> Section:
    clean = result.get("test_clean") or {}
    ensemble = result.get("ensemble") or {}
    rows = []
    for name, found in result["test"].items():
        interval = found.get("ci95")
        rows.append(
            [
                METRIC_NAMES.get(name, name),
                f"{found['mean']:.4f}",
                "-" if found.get("sd") is None else f"{found['sd']:.4f}",
                f"{found['min']:.4f} to {found['max']:.4f}",
                "-" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}",
                f"{clean[name]['mean']:.4f}" if name in clean else "-",
                f"{ensemble[name]:.4f}" if isinstance(ensemble.get(name), float) else "-",
            ]
        )
    return Section(
        title="Test",
        paragraphs=[
            "The spread is between runs: seeds, or folds. The interval is of the test set: what one of this size "
            "leaves open for the mean of the runs. Neither holds the other."
            if result["protocol"] != "paper"
            else "The test set chose the epoch, as in HyenaDNA's publication: these results are optimistic.",
        ],
        tables=[
            Table(
                columns=[
                    "metric", "mean", "sd of runs", "runs", "95 % of the test", "without near copies", "mean of models"
                ],
                rows=rows,
                caption="Mean of models: what their averaged outputs reach.",
            )
        ],
    )  # fmt: skip


def _curves(runs: Mapping[str, RunRecord]) -> list[Section]:
    """Return the ROC and precision-recall curves of the runs, where there are two classes or one label."""
    first = next(iter(runs.values()))
    if first.kind not in CLASS_KINDS or len(first.names) != 2:
        return []
    found: dict[str, Separation] = {}
    for name, run in list(runs.items())[: drawings.MOST_CURVES]:
        rows = run.labels >= 0
        each = separation(run.scores[rows, 1], run.labels[rows] == 1, n_resamples=N_RESAMPLES)
        if each is not None:
            found[name] = each
    if not found:
        return []
    more = len(runs) - len(found)
    return [
        Section(
            title="Curves",
            paragraphs=[f"The first {len(found)} of {len(runs)} runs are drawn."] if more else (),
            figures=[
                Figure(
                    svg=drawings.roc_with_bands(found), caption="ROC of each run, with 95 % bootstrap bands."
                ),
                Figure(
                    svg=drawings.precision_recall_with_bands(found),
                    caption="Precision and recall of each run, with 95 % bootstrap bands.",
                ),
            ],
        )
    ]


def _runs(result: Mapping[str, Any], runs: Mapping[str, RunRecord]) -> Section:
    names = [name for name in result["test"] if name != "loss"]
    rows = []
    for row in result["runs"]:
        test = runs[str(row["name"])].result["test"]
        values = [test.get(name) for name in names]
        rows.append(
            [
                str(row["name"]),
                str(row["best_epoch"]),
                f"{row['valid']:.4f}" if isinstance(row.get("valid"), float) else "-",
                *("-" if value is None else f"{value:.4f}" for value in values),
                f"{row['seconds']:.0f}",
            ]
        )
    monitor = result.get("monitor", "")
    columns = ["run", "best epoch", f"validation {METRIC_NAMES.get(monitor, monitor)}"]
    columns += [f"test {METRIC_NAMES.get(name, name)}" for name in names] + ["seconds"]
    seconds = float(np.sum([row["seconds"] for row in result["runs"]]))
    return Section(
        title="Runs",
        paragraphs=[
            f"{seconds:,.0f} s in all. Each run has a folder of its own, and a page: genomix report RUN.",
            f"The model to use is {result.get('model', '')}, the best on its validation set.",
        ],
        tables=[Table(columns=columns, rows=rows)],
    )


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return "" if value is None else str(value)


def is_protocol(result: Mapping[str, Any]) -> bool:
    """Return whether a result.json is of several runs."""
    return isinstance(result.get("runs"), list) and isinstance(result.get("test"), Mapping)


def read_result(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the result.json of a folder; empty where there is none that can be read, which `read_run` explains."""
    try:
        values = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
