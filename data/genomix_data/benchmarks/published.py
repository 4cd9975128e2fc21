"""What others have reported on the data sets of the registry, with the protocol that each number was made by."""

import csv
import functools
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A number as it was published.

    Args:
        set: Name of the data set.
        protocol: ``paper`` (HyenaDNA: the test set chose the epoch), ``cv5`` and ``cv10`` (5 or 10 runs, each with
            another part of the training set for validation), ``frozen embeddings``, ``official code`` (measured by us
            with the authors' code), ``random split``.
        model: What reached it.
        metric: ``auroc``, ``accuracy``, ``mcc``, ``f1``, or a median AUROC.
        value: As a part of 1.
        spread: As the source has it; None where it has none.
        source: Who says so.
        note: What to beware of.
    """

    set: str
    protocol: str
    model: str
    metric: str
    value: float
    spread: float | None
    source: str
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Return the number as JSON holds it."""
        return {name: value for name, value in asdict(self).items() if name != "set"}


@functools.cache
def _all() -> tuple[PublishedResult, ...]:
    text = files("genomix_data.benchmarks").joinpath("published.tsv").read_text(encoding="utf-8")
    return tuple(
        PublishedResult(
            row["set"],
            row["protocol"],
            row["model"],
            row["metric"],
            float(row["value"]),
            float(row["spread"]) if row["spread"] else None,
            row["source"],
            row["note"],
        )
        for row in csv.DictReader(text.splitlines(), delimiter="\t")
    )


def published_results(name: str | None) -> list[PublishedResult]:
    """Return what was published on a data set of the registry, in the order of the sources; none for no name."""
    return [row for row in _all() if row.set == name]
