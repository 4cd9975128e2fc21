"""What the runs of a protocol say together: mean, spread between runs, and bootstrap intervals of the test set.

Everything is read from the folders of the runs, so that a summary can be made again at any time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomix.evaluation.metric_names import METRIC_NAMES
from genomix.evaluation.run_record import RunRecord
from genomix.heads.sequence_model import HeadKind
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.intervals import bootstrap_intervals
from genomix.training.metrics import Metrics, classification_metrics
from genomix.training.target_metrics import metrics_of_labels, metrics_of_numbers
from genomix_data.benchmarks.published import PublishedResult, published_results

CLASS_METRICS = ("auroc", "auprc", "mcc", "accuracy", "f1", "loss")
METRICS: dict[HeadKind, tuple[str, ...]] = {
    "classifier": CLASS_METRICS,
    "variant_classifier": CLASS_METRICS,
    "token_classifier": CLASS_METRICS,
    "multilabel": ("auroc", "median_auroc", "auprc", "loss"),
    "regressor": ("pearson", "spearman", "r2", "loss"),
}
"""What is summed up for each kind of head, the first of which a table is ordered by."""


@dataclass(frozen=True)
class Spread:
    """A metric over several runs.

    Args:
        mean: Over the runs.
        sd: Standard deviation between them (n - 1); None for a single run.
        values: Of each.
        interval: 95 % bootstrap interval of the mean over test sequences; None where the runs have different test sets.
    """

    mean: float
    sd: float | None
    values: tuple[float, ...]
    interval: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "mean": self.mean,
            "sd": self.sd,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
            "ci95": None if self.interval is None else list(self.interval),
        }

    def __str__(self) -> str:
        """``0.8123 ± 0.0042``."""
        return f"{self.mean:.4f}" if self.sd is None else f"{self.mean:.4f} ± {self.sd:.4f}"


@dataclass(frozen=True)
class Summary:
    """What the runs of one config say together.

    Args:
        config: What was run.
        names: Of the runs.
        records: The runs.
        test: Of each metric, over the whole test set.
        test_clean: The same without near copies of training; empty where that leaves nothing.
        ensemble: Metrics of the mean of what the models say; None for a single run or different test sets.
        published: What others have reported on this data set.
        failed: Names of the runs that could not be made, and why.
    """

    config: FinetuneConfig
    names: tuple[str, ...]
    records: tuple[RunRecord, ...]
    test: dict[str, Spread]
    test_clean: dict[str, Spread]
    ensemble: Metrics | None
    published: tuple[PublishedResult, ...]
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def n_runs(self) -> str:
        """How many runs there are, in words: ``5``, or ``4 of 5`` where one could not be made."""
        n = len(self.records)
        return f"{n} of {n + len(self.failed)}" if self.failed else str(n)

    @property
    def not_made(self) -> tuple[str, ...]:
        """What could not be made and why, a line each."""
        task = f"{self.config.task} " if self.config.task else ""
        return tuple(f"{task}{name}: {' '.join(error.split())}" for name, error in self.failed)

    @property
    def best(self) -> RunRecord:
        """The run that was best on its validation set: the model to use."""
        monitor = self.records[0].result["monitor"]
        sign = -1 if monitor == "loss" else 1
        return max(self.records, key=lambda record: sign * (record.result["valid"][monitor] or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        first = self.records[0].result
        return {
            "task": self.config.task,
            "benchmark": self.config.data.benchmark,
            "kind": self.config.head.kind,
            "method": self.config.method.name,
            "protocol": self.config.protocol,
            "split": self.config.data.split,
            "runs": [
                {
                    "name": name,
                    "folder": str(record.folder),
                    "best_epoch": record.result["best_epoch"],
                    "seconds": float(record.result["seconds"]),
                    "valid": record.result["valid"][record.result["monitor"]],
                }
                for name, record in zip(self.names, self.records, strict=True)
            ],
            "failed": [{"name": name, "error": error} for name, error in self.failed],
            "monitor": first["monitor"],
            "n_train": first["n_train"],
            "n_valid": first["n_valid"],
            "n_test": first["test"]["n"],
            "n_near_copies": first["n_near_copies"],
            "test": {name: spread.to_dict() for name, spread in self.test.items()},
            "test_clean": {name: spread.to_dict() for name, spread in self.test_clean.items()} or None,
            "ensemble": None if self.ensemble is None else self.ensemble.to_dict(),
            "model": str(self.best.folder / "model"),
            "published": [row.to_dict() for row in self.published],
            "provenance": first["provenance"],
        }


def headline(record: RunRecord) -> list[tuple[str, float | None]]:
    """Return the names and values of the first test metrics of a run."""
    test = record.result["test"]
    return [(METRIC_NAMES.get(name, name), test[name]) for name in METRICS[record.kind][:3]]


def summarize(
    config: FinetuneConfig,
    names: Sequence[str],
    records: Sequence[RunRecord],
    *,
    failed: Sequence[tuple[str, str]] = (),
) -> Summary:
    """Return what finished runs of one config say together.

    Args:
        config: Of the runs.
        names: Of the finished ones.
        records: The finished ones, at least one.
        failed: Names of those that could not be made, and why.
    """
    first = records[0]
    same_test = all(np.array_equal(record.truth, first.truth, equal_nan=True) for record in records)
    intervals = (
        bootstrap_intervals(
            [record.scores for record in records],
            first.truth,
            first.kind,
            sequence=first.sequence if first.kind == "token_classifier" else None,
        )
        if same_test
        else {}
    )
    test = _spreads([record.result["test"] for record in records], first.kind, intervals)
    clean = [record.result["test_clean"] for record in records]
    ensemble = None
    if same_test and len(records) > 1:
        mean = np.mean([record.scores for record in records], axis=0)
        ensemble = _metrics(mean, first.truth, first.kind, first.names)
    return Summary(
        config=config,
        names=tuple(names),
        records=tuple(records),
        test=test,
        test_clean={} if None in clean else _spreads(clean, first.kind, {}),
        ensemble=ensemble,
        published=tuple(published_results(config.data.benchmark)),
        failed=tuple(failed),
    )


def _spreads(
    results: Sequence[Mapping[str, Any]], kind: HeadKind, intervals: dict[str, tuple[float, float]]
) -> dict[str, Spread]:
    found: dict[str, Spread] = {}
    for name in METRICS[kind]:
        values = [result[name] for result in results]
        if None in values:
            continue
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[name] = Spread(float(np.mean(values)), sd, tuple(values), intervals.get(name))
    return found


def _metrics(
    scores: NDArray[np.float64], truth: NDArray[Any], kind: HeadKind, names: Sequence[str]
) -> Metrics:
    if kind == "regressor":
        return metrics_of_numbers(scores, truth, names)
    if kind == "multilabel":
        return metrics_of_labels(scores, truth, names)
    known = truth >= 0
    return classification_metrics(scores[known], truth[known], names)


def markdown_table(summaries: Sequence[Summary], not_made: Sequence[str] = ()) -> str:
    """Return a table of summaries for a page: a row each, what others have reported in the last column.

    Args:
        summaries: The rows; without any there is a sentence that says so.
        not_made: Runs that could not be made and why; a list below the table.
    """
    rows = _rows(summaries) if summaries else ["No task is finished."]
    below = ["", "Not made:", "", *(f"- {line}" for line in not_made)] if not_made else []
    return "\n".join([*rows, *below]) + "\n"


def _rows(summaries: Sequence[Summary]) -> list[str]:
    kinds = {summary.config.head.kind for summary in summaries}
    metrics = [name for name in METRICS[next(iter(kinds))] if name != "loss"] if len(kinds) == 1 else []
    metrics = metrics or list(
        dict.fromkeys(name for kind in kinds for name in METRICS[kind] if name != "loss")
    )
    head = ["data set", "train / test", "runs", *(METRIC_NAMES.get(name, name) for name in metrics)]
    head += [f"{METRIC_NAMES.get(metrics[0], metrics[0])} without near copies", "ensemble", "published"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for summary in summaries:
        first = summary.records[0].result
        cells = [
            summary.config.task or summary.config.data.benchmark or "-",
            f"{first['n_train']:,} / {first['test']['n']:,}",
            f"{summary.n_runs} ({summary.config.protocol})",
            *(_cell(summary.test.get(name)) for name in metrics),
            _cell(summary.test_clean.get(metrics[0])),
            _ensemble(summary, metrics[0]),
            published_words(summary.published, metrics),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    interval = "" if spread.interval is None else f" ({spread.interval[0]:.3f} to {spread.interval[1]:.3f})"
    return f"{spread}{interval}"


def _ensemble(summary: Summary, metric: str) -> str:
    value = None if summary.ensemble is None else summary.ensemble.value(metric)
    return "-" if value is None else f"{value:.4f}"


def published_words(rows: Sequence[PublishedResult], metrics: Sequence[str]) -> str:
    """Return the best number of each protocol and metric, with what reached it."""
    best: dict[tuple[str, str], PublishedResult] = {}
    for row in rows:
        key = (row.protocol, row.metric)
        if row.metric in metrics and (key not in best or row.value > best[key].value):
            best[key] = row
    return "; ".join(
        f"{METRIC_NAMES.get(row.metric, row.metric)} {row.value:.3f} {row.model} ({row.protocol})"
        for row in best.values()
    )
