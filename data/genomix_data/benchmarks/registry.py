"""The benchmark data sets that genomix knows by name: what is in them, where they come from, how to get them.

A row says what was published; nothing here downloads. Counts and lengths are those of the publication or its official
repository, and None where we could not verify them.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from genomix_data.errors import ConfigError, preview

TaskKind = Literal["binary", "multi-class", "multi-label", "regression", "variants"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkSet:
    """A data set as it was published.

    Args:
        name: ``family/task``.
        kind: What is predicted.
        what: One line on the task.
        classes: Names of the classes as the files have them, sorted; empty for multi-label and regression.
        n_targets: Outputs of a multi-label or regression task.
        n_sequences: Number of sequences of each part; empty where it is not known.
        n_per_class: Number of sequences of each class in each part; empty where it is not known.
        length: Shortest and longest sequence in bp.
        metric: What is usually reported.
        assembly: What coordinates refer to.
        source: Where it is published.
        licence: Under what terms.
        citation: What to cite.
        obtain: How a person gets the files.
        note: What to beware of, such as leaks.
    """

    name: str
    kind: TaskKind
    what: str
    classes: tuple[str, ...] = ()
    n_targets: int | None = None
    n_sequences: Mapping[str, int] = field(default_factory=dict)
    n_per_class: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    length: tuple[int, int] | None = None
    metric: str = ""
    assembly: str | None = None
    source: str
    licence: str
    citation: str
    obtain: str
    note: str = ""

    @property
    def family(self) -> str:
        """The collection that the set belongs to."""
        return self.name.split("/")[0]

    @property
    def n_total(self) -> int | None:
        """Sequences of all parts together, where they are known."""
        return sum(self.n_sequences.values()) if self.n_sequences else None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON holds it."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "classes": list(self.classes),
            "n_sequences": dict(self.n_sequences),
            "n_per_class": {part: dict(counts) for part, counts in self.n_per_class.items()},
            "length": list(self.length) if self.length else None,
        }


def benchmark_sets() -> dict[str, BenchmarkSet]:
    """Return every known set by name, in the order of the families."""
    # Imported here, because the families are made of rows of this module.
    from genomix_data.benchmarks import (
        chromatin_and_variants,
        genomic_benchmarks,
        gue,
        promoters_and_enhancers,
    )
    from genomix_data.benchmarks import nucleotide_transformer as nt

    families = (genomic_benchmarks, nt, gue, promoters_and_enhancers, chromatin_and_variants)
    rows = [row for family in families for row in family.ROWS]
    assert len({row.name for row in rows}) == len(rows), "names are unique"
    return {row.name: row for row in rows}


def get_benchmark(name: str) -> BenchmarkSet:
    """Return the set of this name; the family may be left out where no other set has the rest.

    Raises:
        ConfigError: if there is none, or more than one, with a suggestion.
    """
    sets = benchmark_sets()
    if name in sets:
        return sets[name]
    folded = name.lower().strip("/")
    matches = [key for key in sets if key.lower() == folded or key.lower().endswith(f"/{folded}")]
    if len(matches) == 1:
        return sets[matches[0]]
    if matches:
        raise ConfigError(f"data set {name!r} could be any of {preview(matches)}. Give the whole name.")
    inside = [key for key in sets if folded in key.lower()]
    if inside:
        raise ConfigError(f"data set {name!r} is not known. Did you mean {preview(inside)}?")
    tails = {key.split("/", 1)[-1].lower(): key for key in sets} | {key.lower(): key for key in sets}
    close = difflib.get_close_matches(folded, tails, n=1)
    hint = f"Did you mean {tails[close[0]]!r}? " if close else ""
    raise ConfigError(f"data set {name!r} is not known. {hint}genomix data list shows all {len(sets)}.")
